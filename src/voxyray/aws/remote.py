"""Tools that run in a Lambda function of their own, which is invoked directly and waited for.

Whatever happens there, or on the way, there is a result: what the tool returned, or a `ToolError`
worded for the model. An invocation whose answer was lost may have run. It is repeated once, with
the key by which the function knows that it did.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from voxyray.arguments import harmless
from voxyray.aws import clients
from voxyray.aws.tool_calls import ToolAnswer, ToolRequest, Who, where, who
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import FrameError, SettingsError, ToolError
from voxyray.tool import Tool
from voxyray.tool_definitions import ToolDefinition, build

_log = logging.getLogger(__name__)

Ask: TypeAlias = Callable[..., Awaitable[Any]]

MAX_BYTES: Final = 6 * 1024 * 1024  # of a request or an answer, by Lambda's limit

NOT_RUN: Final = "It did not run: it cannot be reached right now. Offer to try again later."
NO_ANSWER: Final = "It gave no answer. Tell the caller that it does not work right now."
UNKNOWN: Final = (
    "Its answer was lost, so whether it was done is unknown. Do not repeat it; tell the caller."
)
_TOO_LARGE: Final = "It did not run: it was given more than can be sent. Use shorter arguments."

_GRACE_S: Final = 1.0  # for the way, beyond the tool's own time
_THROTTLED: Final = frozenset({"TooManyRequestsException", "EC2ThrottledException"})
_PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8)  # after a throttled attempt
# What botocore raises before a request has left.
_NOT_SENT: Final = frozenset(
    {
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "ProxyConnectionError",
        "SSLError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
        "ParamValidationError",
        "SettingsError",
    }
)
# Of what Lambda reports as an error of the function: its code could not be started.
_NOT_STARTED: Final = frozenset(
    {
        "Runtime.ImportModuleError",
        "Runtime.HandlerNotFound",
        "Runtime.MalformedHandlerName",
        "Runtime.UserCodeSyntaxError",
    }
)
# Of their own: functions that hang must not take the threads that the store is asked with.
_THREADS: Final = ThreadPoolExecutor(64, "voxyray-remote")
_decode: Final = msgspec.json.Decoder(ToolAnswer).decode


async def _ask(method: Callable[..., Any], **arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(method, **arguments))


def remote_tool(
    definition: ToolDefinition,
    ask: Ask = _ask,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    grace_s: float = _GRACE_S,
) -> Tool:
    """Make a tool that the definition's Lambda function runs.

    ask: calls something that blocks. grace_s: how long an answer is waited for beyond the tool's
    own time.

    Raises:
        AgentError: the definition cannot be used.
    """
    return build(definition, _Function(definition, ask, sleep, grace_s))


async def warm(tools: Iterable[Tool]) -> None:
    """Make the clients that remote tools need, which takes some 50 ms; never raises."""
    functions = [tool.function for tool in tools if isinstance(tool.function, _Function)]
    await asyncio.gather(*(each.warm() for each in functions), return_exceptions=True)


class _NotRunError(Exception):
    """It certainly did not run."""


class _LostError(Exception):
    """It may have run."""


class _Function:
    """Invokes a function for one tool."""

    def __init__(
        self,
        definition: ToolDefinition,
        ask: Ask,
        sleep: Callable[[float], Awaitable[object]],
        grace_s: float,
    ) -> None:
        self._tool = definition.name
        self._writes = definition.effect == "write"
        self._function = definition.function
        self._timeout_s = definition.timeout_s + grace_s
        self._ask = ask
        self._sleep = sleep

    async def __call__(self, arguments: dict[str, Any], caller: Caller, call: CallContext) -> Any:
        sent = who(caller)
        body = msgspec.json.encode(ToolRequest(self._tool, arguments, where(call), sent))
        if len(body) > MAX_BYTES:
            raise ToolError(_TOO_LARGE)
        try:
            answer = await self._answer(body)
        except _NotRunError as error:
            self._complain(call, error)
            raise ToolError(NOT_RUN) from error
        except _LostError as error:
            self._complain(call, error)
            raise ToolError(UNKNOWN if self._writes else NO_ANSWER) from error
        if answer.caller is not None:
            _take_over(caller, sent, answer.caller)
        if isinstance(answer.error, str):
            raise ToolError(answer.error)
        call.actions.extend(answer.actions)
        return answer.result

    async def warm(self) -> None:
        """Make the client."""
        await self._ask(self._client)

    def _client(self) -> Any:
        return clients.client("lambda", read_timeout_s=self._timeout_s, attempts=1)

    def _complain(self, call: CallContext, error: Exception) -> None:
        _log.error("call %s tool %s (%s): %s", call.id, self._tool, self._function, error)

    async def _answer(self, body: bytes) -> ToolAnswer:
        failure, reply = await self._invoked(body)
        if failure:
            kind = _error_type(reply)
            not_started = kind in _NOT_STARTED
            raise (_NotRunError if not_started else _LostError)(f"the function failed: {kind}")
        try:
            answer = _decode(reply)
        except (msgspec.MsgspecError, FrameError, UnicodeError, RecursionError) as error:
            raise _LostError(f"its answer is none: {type(error).__name__}") from error
        if isinstance(answer.result, msgspec.UnsetType) == isinstance(
            answer.error, msgspec.UnsetType
        ):
            raise _LostError("its answer has neither a result nor an error, or both")
        return answer

    async def _invoked(self, body: bytes) -> tuple[str, bytes]:
        """Invoke it, more than once if need be, and give its kind of failure and its answer."""
        pauses, lost = iter(_PAUSES_S), False
        while True:
            try:
                reply: tuple[str, bytes] = await self._ask(self._invoke, body=body)
            except Exception as error:
                code = clients.code_of(error)
                if code in _THROTTLED and (pause_s := next(pauses, None)):
                    await self._sleep(pause_s * random.uniform(0.5, 1))
                elif _may_have_run(error, code):
                    # There is no time for another, or that one was lost too.
                    if lost or code == "ReadTimeoutError":
                        raise _LostError(_explained(error)) from error
                    lost = True
                else:
                    raise (_LostError if lost else _NotRunError)(_explained(error)) from error
            else:
                return reply

    def _invoke(self, body: bytes) -> tuple[str, bytes]:
        reply = self._client().invoke(FunctionName=self._function, Payload=body)
        return reply.get("FunctionError", ""), reply["Payload"].read()


def _may_have_run(error: Exception, code: str) -> bool:
    """Whether the request may have reached the function: all but what says otherwise."""
    answer = getattr(error, "response", None) or {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return code not in _THROTTLED | _NOT_SENT and not 400 <= status < 500


def _explained(error: Exception) -> str:
    return str(error) if isinstance(error, SettingsError) else clients.explain(error)


def _error_type(reply: bytes) -> str:
    """Name what a function failed of; its message may quote the caller."""
    try:
        found = msgspec.json.decode(reply)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "unknown"
    return harmless(str(found.get("errorType")))[:80] if isinstance(found, dict) else "unknown"


def _take_over(caller: Caller, sent: Who, now: Who) -> None:
    """Know of the caller what the tool has changed; others may have changed the rest meanwhile."""
    for name in Who.__struct_fields__:
        value = getattr(now, name)
        if name not in ("number", "notes") and value != getattr(sent, name):
            setattr(caller, name, value)
    changed = {name: text for name, text in now.notes.items() if sent.notes.get(name) != text}
    caller.notes = {**caller.notes, **changed}
