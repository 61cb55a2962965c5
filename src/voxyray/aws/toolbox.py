"""Runs one agent's tools in a Lambda function of their own.

The function is invoked for one tool at a time and always answers: with a result, or with an error
worded for the model. A `write` runs once for its key, however often it is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import time
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from voxyray.agent import Agent
from voxyray.aws.queues import open_outgoing
from voxyray.aws.starting import open_at_start
from voxyray.aws.tool_calls import Action, ToolAnswer, ToolRequest, Who, who
from voxyray.aws.use_case import open_use_case
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import (
    ConditionFailed,
    StoreError,
    ToolArgumentError,
    ToolError,
    VoxyrayError,
)
from voxyray.messengers.delivery import Delivery
from voxyray.notes import FAILED_UNEXPECTEDLY, NOT_RECORDED, OUTCOME_UNKNOWN
from voxyray.results import encode_result
from voxyray.stores import Item, Missing, Put, Store, Update, keys
from voxyray.tool import Tool, by_name
from voxyray.tracebacks import traced

_log = logging.getLogger(__name__)

_DAY_S: Final = 86_400
_MARGIN_S: Final = 1.0  # for the answer, before the function is stopped from outside
_MAX_KEY: Final = 400  # characters
_BEGUN, _DONE = "begun", "done"
_NOT_ASKED: Final = "It did not run: it was asked for in a way it does not understand."
_NO_TOOL: Final = "It did not run: there is no such tool at the moment."
_LATE: Final = "It took too long and was stopped; what it did until then is unknown."


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Run a tool; this is what Lambda calls."""
    try:
        loop, toolbox = _opened()
        within_s = context.get_remaining_time_in_millis() / 1000 - _MARGIN_S
        return loop.run_until_complete(toolbox.answer(event, within_s))
    # A setting that is wrong, or a tool that cancels itself.
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - always an answer
        told = str(error) if isinstance(error, VoxyrayError) else traced(error)
        _log.error("no tool can be run: %s", told)
        return _plain(ToolAnswer(error=FAILED_UNEXPECTEDLY.format(type(error).__name__)))


def open_toolbox(environ: Mapping[str, str] = os.environ) -> Toolbox:
    """Open what the environment names.

    Raises:
        SettingsError: a setting is missing or wrong; the message names it and the fix.
        AgentError: the folder holds no agent that can be used.
    """
    use_case = open_use_case(environ)
    days = use_case.settings.retention_days
    outgoing = open_outgoing(environ)
    delivery = Delivery(use_case.store, {}, retention_days=days, dispatcher=outgoing)
    return Toolbox(use_case.agent, use_case.store, delivery, retention_days=days)


@functools.cache
def _opened() -> tuple[asyncio.AbstractEventLoop, Toolbox]:
    toolbox = open_toolbox()
    # One loop for the life of the process: connections and locks belong to it.
    return asyncio.new_event_loop(), toolbox


class Toolbox:
    """An agent's tools, and what they work with.

    delivery: sends their messages; None if they may send none. now: epoch seconds.
    """

    def __init__(
        self,
        agent: Agent,
        store: Store,
        delivery: Delivery | None = None,
        *,
        retention_days: int = 30,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._agent = agent
        self._tools = by_name(agent.tools)
        self._store = store
        self._delivery = delivery
        self._retention_s = retention_days * _DAY_S
        self._now = now

    async def answer(self, event: Any, within_s: float | None = None) -> dict[str, Any]:
        """Run what an event asks for; never raises, whatever the event is.

        within_s: when the function itself would be stopped; a tool is stopped before.
        """
        try:
            async with asyncio.timeout(within_s):
                answer = await self._answer(event)
        except TimeoutError:
            _log.error("a tool was stopped: the function's own time is over")
            answer = ToolAnswer(error=_LATE)
        except Exception as error:  # noqa: BLE001 - an answer in every case
            _log.error("a tool could not be run: %s", traced(error))
            answer = ToolAnswer(error=FAILED_UNEXPECTEDLY.format(type(error).__name__))
        return _plain(answer)

    async def _answer(self, event: Any) -> ToolAnswer:
        try:
            request = msgspec.convert(event, ToolRequest)
            zone = zoneinfo.ZoneInfo(request.call.time_zone)
            ledger = keys.call(request.call.id)
        except (msgspec.ValidationError, StoreError, ValueError, OSError, LookupError) as error:
            _log.error("an event that asks for no tool: %s", type(error).__name__)
            return ToolAnswer(error=_NOT_ASKED)
        tool = self._tools.get(request.tool)
        if tool is None:
            _log.error("%s has no tool %.64r; deploy it again", self._agent.name, request.tool)
            return ToolAnswer(error=_NO_TOOL)
        try:
            values = tool.parse(msgspec.json.encode(request.arguments).decode())
        except ToolArgumentError as error:
            return ToolAnswer(error=encode_result(str(error)))
        call = CallContext(
            id=request.call.id,
            agent=request.call.agent,
            turn=request.call.turn,
            store=self._store,
            key=request.call.key,
            agents=request.call.agents,
            zone=zone,
            clock=self._now,
            delivery=self._delivery,
        )
        caller = _caller(request.caller, self._store)
        if tool.effect == "write":
            return await self._once(ledger, tool, values, caller, call)
        return await _run(tool, values, caller, call)

    async def _once(
        self, pk: str, tool: Tool, values: dict[str, Any], caller: Caller, call: CallContext
    ) -> ToolAnswer:
        """Run a write: its intent is stored before, its outcome before it is told."""
        if not 0 < len(call.key) <= _MAX_KEY:
            _log.error("call %s tool %s: a write without a usable key", call.id, tool.name)
            return ToolAnswer(error=_NOT_ASKED)
        sk = f"TOOLBOX#{call.key}"
        until = int(self._now()) + self._retention_s
        intent: Item = {"pk": pk, "sk": sk, "status": _BEGUN, "expires_at": until}
        try:
            await self._store.write(Put(intent, Missing()))
        except ConditionFailed:
            return await self._earlier(pk, sk, call)
        except StoreError as error:
            _log.error("call %s tool %s not run: %s", call.id, tool.name, error)
            return ToolAnswer(error=NOT_RECORDED)
        answer = await _run(tool, values, caller, call)
        text = msgspec.json.encode(answer).decode()
        try:
            await self._store.update(Update(pk, sk, set={"status": _DONE, "answer": text}))
        except StoreError as error:
            _log.error("call %s tool %s: outcome not stored: %s", call.id, tool.name, error)
        return answer

    async def _earlier(self, pk: str, sk: str, call: CallContext) -> ToolAnswer:
        """Give the outcome of the same write, if it is known."""
        try:
            item = await self._store.get(pk, sk) or {}
            if item.get("status") == _DONE:
                return msgspec.json.decode(str(item["answer"]), type=ToolAnswer)
        except (StoreError, KeyError, msgspec.MsgspecError) as error:
            _log.error("call %s: outcome not readable: %s", call.id, type(error).__name__)
        return ToolAnswer(error=OUTCOME_UNKNOWN)


async def _run(tool: Tool, values: dict[str, Any], caller: Caller, call: CallContext) -> ToolAnswer:
    """Run a tool; whatever it raises becomes a message for the model."""
    before = who(caller)
    try:
        value = await tool.run(values, caller, call)
    except ToolError as error:
        return ToolAnswer(error=encode_result(str(error)), caller=_changed(before, caller))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a tool raises
        _log.error("call %s tool %s failed: %s", call.id, tool.name, traced(error))
        failed = FAILED_UNEXPECTEDLY.format(type(error).__name__)
        return ToolAnswer(error=failed, caller=_changed(before, caller))
    result = None if value is None else encode_result(value)
    actions = tuple(action for action in call.actions if isinstance(action, Action))
    return ToolAnswer(result, actions=actions, caller=_changed(before, caller))


def _caller(given: Who, store: Store) -> Caller:
    fields = {name: getattr(given, name) for name in Who.__struct_fields__}
    return Caller(**{**fields, "notes": dict(given.notes)}, store=store)


def _changed(before: Who, caller: Caller) -> Who | None:
    after = who(caller)
    return None if after == before else after


def _plain(answer: ToolAnswer) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(answer)
    return plain


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # before the first caller waits for it
    with contextlib.suppress(Exception):  # which the handler meets again, and tells
        _opened()


open_at_start(_opened)
