"""Carries out a call's commands with asyncio; the only place where a call meets I/O.

`receive` is synchronous: an event goes into the call and its commands are carried out before
anything else can happen. That is what makes an interrupt final: no token waits in a queue of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import zoneinfo
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Final, Protocol, TypeAlias, get_args

import msgspec

from voxyray import events, frames
from voxyray.agent import Listing
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ConditionFailed, ModelError, ModelTimeout, StoreError, ToolError
from voxyray.events import Event
from voxyray.messengers.delivery import Delivery
from voxyray.models import Delta, Model
from voxyray.notes import (
    FAILED_UNEXPECTEDLY,
    LOST,
    NOT_RECORDED,
    OUT_OF_TIME,
    OUTCOME_UNKNOWN,
)
from voxyray.recorder import Recorder
from voxyray.results import encode_result
from voxyray.stores import Exists, Missing, Put, Store, Update, keys
from voxyray.tracebacks import traced

_log = logging.getLogger(__name__)

# A write that was begun is given this long to finish after the caller has gone.
LINGER_S: Final = 30.0
_STUBBORN_S: Final = 1.0  # for what swallows its cancellation
_DELTAS: Final = frozenset(get_args(Delta))
_Outcome: TypeAlias = events.ToolReturned | events.ToolFailed
_CRASH_WORDS: Final = "I'm sorry, something went wrong on my side. Please call again. Goodbye."


class Line(Protocol):
    """The host's side of the socket."""

    def send(self, data: bytes) -> None:
        """Send a text frame at once, or queue it behind a slow reader; never raises."""
        ...

    def purge(self) -> None:
        """Throw away queued `text` frames."""
        ...

    async def drain(self) -> None:
        """Wait until a slow reader has caught up."""
        ...

    def close(self) -> object:
        """Close the socket soon."""
        ...


class Runner:
    """Runs one call.

    expires_at: when its records may be forgotten, epoch seconds. agents: the other agents, for
    tools. delivery: sends their messages. clock: seconds, monotonic; None takes the loop's.
    """

    def __init__(
        self,
        call: Call,
        *,
        line: Line,
        model: Model,
        caller: Caller,
        store: Store,
        recorder: Recorder,
        expires_at: int,
        agents: Sequence[Listing] = (),
        delivery: Delivery | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.call = call
        self._line = line
        self._model = model
        self.caller = caller
        self._store = store
        self._recorder = recorder
        self._expires_at = expires_at
        self._agents = agents
        self._delivery = delivery
        self._loop = loop
        self._clock = clock or loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._tools: dict[int, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[Any]] = set()
        self._crashed = False  # or let go

    def receive(self, event: Event) -> None:
        """Give an event to the call and carry out what it commands."""
        if self._crashed:
            return
        try:
            for command in self.call.receive(event, self._clock()):
                self._CARRY_OUT[type(command)](self, command)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not be silence on the line
            _log.error(
                "call %s failed on %s: %s", self.call.id, type(event).__name__, traced(error)
            )
            self._crash()

    async def finish(self) -> None:
        """Let begun writes finish after the socket has closed, and stop everything else."""
        if self._timer is not None:
            self._timer.cancel()
        waiting = [*self._tools.values(), *self._requests.values(), *self._others]
        for task in (*self._requests.values(), *self._others):
            task.cancel()
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=LINGER_S)
            for task in late:
                task.cancel()
            if late:
                _, late = await asyncio.wait(late, timeout=_STUBBORN_S)
            if late:
                _log.error("call %s: %d tasks will not be stopped", self.call.id, len(late))

    # For hosts whose processes come and go within a call

    @property
    def work(self) -> set[asyncio.Task[None]]:
        """The requests and tools under way."""
        return {*self._requests.values(), *self._tools.values()}

    @property
    def loose(self) -> set[asyncio.Task[Any]]:
        """What goes on when the call was let go: writes, closing requests, warming."""
        return {*self.work, *self._others}

    async def take_over(self) -> None:
        """Settle what a process left under way that is gone: nobody waits for it any more."""
        asked, ending, runs = self.call.under_way()
        for run in runs.running():
            if ending is not None and ending.start is not None and ending.start.run is run:
                if ending.acting:
                    self.receive(events.ToolFailed(run.id, OUTCOME_UNKNOWN))
            elif run.effect == "write":
                pk, sk = keys.call(self.call.id), f"TOOL#{run.key}"
                self.receive(await self._earlier_outcome(run.id, pk, sk))
            else:
                self.receive(events.ToolFailed(run.id, LOST))
        request = self.call.guessing if asked is None else asked.id
        if request is not None:
            self.receive(events.ModelFailed(request, "whoever asked is gone", retryable=True))

    def give_up_waiting(self) -> None:
        """Fail what is under way, but for writes: the process must end soon."""
        for number, task in tuple(self._requests.items()):
            task.cancel()
            self.receive(events.ModelFailed(number, "the time for this turn is up"))
        for run in self.call.under_way()[2].running():
            if run.id in self._tools and run.effect == "read":
                self._tools[run.id].cancel()
                self.receive(events.ToolFailed(run.id, OUT_OF_TIME))

    def let_go(self) -> None:
        """Do nothing more: another process goes on with the call, or it is over."""
        self._crashed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._requests.values():
            task.cancel()

    # Commands

    def _send(self, command: events.Send) -> None:
        self._line.send(frames.encode(command.frame))

    def _purge(self, _: events.Purge) -> None:
        self._line.purge()

    def _record(self, command: events.Record) -> None:
        self._recorder.record(self.call.id, command.entry, self._expires_at)

    def _wake(self, command: events.Wake) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, command.at - self._clock())
        self._timer = self._loop.call_later(delay, self.receive, events.Tick())

    def _warm(self, _: events.Warm) -> None:
        self._spawn(self._model.warm())

    def _ask_model(self, command: events.AskModel) -> None:
        task = self._loop.create_task(self._stream(command))
        self._requests[command.request] = task
        task.add_done_callback(lambda _: self._requests.pop(command.request, None))

    def _cancel_model(self, command: events.CancelModel) -> None:
        task = self._requests.get(command.request)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _start_tool(self, command: events.RunTool) -> None:
        task = self._loop.create_task(self._run_tool(command))
        self._tools[command.run] = task
        task.add_done_callback(lambda _: self._tools.pop(command.run, None))

    def _cancel_tool(self, command: events.CancelTool) -> None:
        task = self._tools.get(command.run)
        if task is not None:
            task.cancel()

    def _hang_up(self, _: events.HangUp) -> None:
        self._line.close()

    _CARRY_OUT: ClassVar[dict[type, Callable[[Runner, Any], None]]] = {
        events.Send: _send,
        events.Purge: _purge,
        events.Record: _record,
        events.Wake: _wake,
        events.Warm: _warm,
        events.AskModel: _ask_model,
        events.CancelModel: _cancel_model,
        events.RunTool: _start_tool,
        events.CancelTool: _cancel_tool,
        events.HangUp: _hang_up,
    }

    # The model

    async def _stream(self, command: events.AskModel) -> None:
        request = command.request
        try:
            async with contextlib.aclosing(self._model.stream(command.ask)) as stream:
                async for delta in stream:
                    if type(delta) not in _DELTAS:
                        raise ModelError(f"a delta of {type(delta).__name__}, which is none")
                    self.receive(events.ModelEvent(request, delta))
                    await self._line.drain()
        except ModelError as error:
            retryable = error.retryable and not isinstance(error, ModelTimeout)
            _log.warning("call %s request %d: %s", self.call.id, request, error.loggable)
            self.receive(events.ModelFailed(request, str(error), retryable))
        except Exception as error:  # noqa: BLE001 - whatever a model raises
            _log.error("call %s request %d failed: %s", self.call.id, request, traced(error))
            self.receive(events.ModelFailed(request, f"{type(error).__name__}: {error}"))
        else:
            # Of no effect after a finish; without one the model broke its promise.
            self.receive(events.ModelFailed(request, "the stream ended without a finish"))

    # Tools

    async def _run_tool(self, command: events.RunTool) -> None:
        once = command.tool.effect == "write"
        self.receive(await (self._run_once(command) if once else self._attempt(command)))

    async def _attempt(self, command: events.RunTool) -> _Outcome:
        """Run the tool; whatever it raises becomes a message for the model."""
        tool, context = command.tool, self._context(command)
        try:
            value = await tool.run(command.values, self.caller, context)
        except ToolError as error:
            return events.ToolFailed(command.run, encode_result(str(error)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a tool raises
            _log.error("call %s tool %s failed: %s", self.call.id, tool.name, traced(error))
            return events.ToolFailed(command.run, FAILED_UNEXPECTEDLY.format(type(error).__name__))
        result = encode_result(value)
        handoff = result if tool.effect == "end" and value is not None else None
        if handoff is not None:
            await self._carry_over()
        return events.ToolReturned(command.run, result, tuple(context.actions), handoff)

    async def _carry_over(self) -> None:
        """Store what the call's next session needs, before the carrier can ask for it."""
        carried = msgspec.json.encode(self.call.carry()).decode()
        try:
            await self._store.update(
                Update(keys.call(self.call.id), keys.HEAD, set={"carried": carried}, when=Exists())
            )
        except StoreError as error:
            # Whoever takes over begins without the history, which beats a call that ends.
            _log.error("call %s: nothing is carried over: %s", self.call.id, error)

    async def _run_once(self, command: events.RunTool) -> _Outcome:
        """Run a write: its intent is stored before, its outcome before the caller hears of it."""
        pk, sk = keys.call(self.call.id), f"TOOL#{command.key}"
        intent = {"pk": pk, "sk": sk, "status": "begun", "expires_at": self._expires_at}
        try:
            await self._store.write(Put(intent, Missing()))
        except ConditionFailed:
            return await self._earlier_outcome(command.run, pk, sk)
        except StoreError as error:
            _log.error("call %s tool %s not run: %s", self.call.id, command.tool.name, error)
            return events.ToolFailed(command.run, NOT_RECORDED)
        outcome = await self._attempt(command)
        done = isinstance(outcome, events.ToolReturned)
        text = outcome.result if isinstance(outcome, events.ToolReturned) else outcome.message
        values = {"status": "done" if done else "failed", "result": text}
        try:
            await self._store.update(Update(pk, sk, set=values))
        except StoreError as error:
            _log.error("call %s %s: outcome not stored: %s", self.call.id, sk, error)
        return outcome

    async def _earlier_outcome(self, run: int, pk: str, sk: str) -> _Outcome:
        try:
            item = await self._store.get(pk, sk) or {}
        except StoreError as error:
            _log.error("call %s %s: outcome not readable: %s", self.call.id, sk, error)
            item = {}
        text = str(item.get("result", ""))
        if item.get("status") == "done":
            return events.ToolReturned(run, text)
        return events.ToolFailed(run, text if item.get("status") == "failed" else OUTCOME_UNKNOWN)

    def _context(self, command: events.RunTool) -> CallContext:
        agent = self.call.agent
        return CallContext(
            id=self.call.id,
            agent=agent.name,
            turn=command.turn,
            store=self._store,
            key=f"{self.call.id}:{command.key}" if command.key else "",
            zone=zoneinfo.ZoneInfo(agent.time_zone),
            clock=time.time,
            agents=self._agents,
            delivery=self._delivery,
        )

    # Trouble

    def _crash(self) -> None:
        self._crashed = True
        for task in (*self._requests.values(), *self._others):
            task.cancel()
        self._line.purge()
        self._line.send(frames.encode(frames.Text(_CRASH_WORDS, last=True)))
        handoff = msgspec.json.encode({"reasonCode": "application-failure"}).decode()
        self._line.send(frames.encode(frames.End(handoff)))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._others.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("call %s: warming failed: %s", self.call.id, traced(error))
