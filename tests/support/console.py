"""A call in memory: the twin on one end of a pipe, a `Runner` on the other, time that jumps."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from voxyray import frames, twin
from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.events import Closed
from voxyray.models import Model
from voxyray.recorder import Recorder
from voxyray.runner import Runner
from voxyray.stores import Store
from voxyray.stores.memory import MemoryStore

CALL_ID = "CA00000000000000000000000000000000"


class PipeLine:
    """A runner's line over a pipe in memory, which takes everything at once."""

    def __init__(self, end: twin.Line) -> None:
        self._end = end
        self._closing: asyncio.Task[None] | None = None

    def send(self, data: bytes) -> None:
        sending = self._end.send(data.decode())
        try:
            sending.__await__().__next__()
        except (StopIteration, ConnectionError):
            return
        raise AssertionError("a pipe in memory never waits")

    def purge(self) -> None:
        pass

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        self._closing = asyncio.ensure_future(self._end.close())


class Console:
    """One call of an agent; call: as it stands at the end."""

    def __init__(
        self,
        agent: Agent,
        model: Model,
        *,
        store: Store | None = None,
        caller: Caller | None = None,
    ) -> None:
        self.agent = agent
        self.model = model
        self.store = store or MemoryStore(now=lambda: 0)
        self.caller = caller or Caller()
        self.recorder = Recorder(self.store)
        self.call = Call(
            CALL_ID,
            agent,
            instructions=agent.instructions,
            greeting=agent.greeting,
            started_at=time.time(),
        )
        self.runner: Runner | None = None

    async def talk(self, script: twin.Script, **settings: Any) -> twin.CallRecord:
        """Let a caller talk to the agent; gives what the carrier saw."""
        here, there = twin.memory_pipe(latency_ms=settings.pop("latency_ms", 0))
        serving = asyncio.create_task(self._serve(there))
        attributes = twin.RelayAttributes(
            welcome_greeting=self.agent.greeting,
            events=frozenset(settings.pop("events", ("speaker-events", "tokens-played"))),
            dtmf_detection=True,
            report_input_during_agent_speech="any",
        )
        try:
            return await twin.run_relay(here, script, **{"attributes": attributes, **settings})
        finally:
            await serving
            await self.recorder.close()

    async def _serve(self, end: twin.Line) -> None:
        runner = self.runner = Runner(
            self.call,
            line=PipeLine(end),
            model=self.model,
            caller=self.caller,
            store=self.store,
            recorder=self.recorder,
            expires_at=2_000_000_000,
        )
        while not isinstance(got := await end.receive(), twin.Closed):
            runner.receive(frames.decode(got))
        runner.receive(Closed(got.code))
        await runner.finish()
