"""Functions and their execution environments: cold starts, reuse, concurrency, timeouts, kills.

A `Pool` is a function. It starts an environment for an invocation when none is idle; an environment
handles one invocation at a time. `InProcess` runs a coroutine function, for fast tests;
`voxyray.twin.cloud.runtime.Process` runs a handler under the real runtime client.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from voxyray.twin.cloud.errors import FunctionFailed, FunctionTimedOut, Throttled

REGION: Final = "eu-central-1"
ACCOUNT: Final = "000000000000"
_PATIENCE: Final = 100  # how often a coroutine that will not end is told to


class Invocation(msgspec.Struct, frozen=True):
    """One invocation; number: from 1 in the order of arrival; deadline_ms: epoch time."""

    number: int
    request_id: str
    event: bytes
    deadline_ms: int
    arn: str


class Environment(Protocol):
    """Where a function runs, one invocation at a time."""

    async def start(self) -> None:
        """Run the function's init.

        Raises:
            FunctionFailed: it failed.
        """

    async def run(self, invocation: Invocation) -> bytes:
        """Give the answer, as JSON.

        Raises:
            FunctionFailed: the handler raised, or the environment died.
        """

    async def stop(self) -> None:
        """End it at once, as Lambda ends what is late: nothing is cleaned up. May come twice."""

    @property
    def alive(self) -> bool:
        """Whether it can run another invocation."""


# How long after its start the environment of an invocation dies, in seconds; None: it lives.
Fate: TypeAlias = Callable[[Invocation], float | None]


class Pool:
    """A function: invoke it with an event.

    environment: makes one. concurrency: most environments at a time, beyond them invocations are
    throttled. at_most: so many does this machine bear, beyond them invocations wait. fate: kills
    environments amid invocations, for tests.

    cold_starts_ms: what each cold start took. invocations, throttled, timed_out: counts.
    """

    def __init__(
        self,
        name: str,
        environment: Callable[[], Environment],
        *,
        timeout_s: float = 28,
        concurrency: int = 1000,
        at_most: int | None = None,
        fate: Fate | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self.concurrency = concurrency
        self.fate = fate
        self.cold_starts_ms: list[float] = []
        self.invocations = self.throttled = self.timed_out = 0
        self.arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
        self._make = environment
        self._clock = clock
        self._idle: list[Environment] = []
        self._busy: dict[int, tuple[Environment, asyncio.Event]] = {}
        self._starting: set[Environment] = set()
        self._asked = 0
        self._places = asyncio.Semaphore(at_most or concurrency or 1)

    @property
    def environments(self) -> int:
        """How many there are, busy or not."""
        return len(self._idle) + len(self._busy) + len(self._starting)

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the invocations that run."""
        return tuple(self._busy)

    async def invoke(self, event: Any) -> Any:
        """Run the function with an event and give its answer.

        Raises:
            FunctionFailed: it raised, died, was late (`FunctionTimedOut`) or has too many
                environments (`Throttled`).
        """
        payload = msgspec.json.encode(event)
        answer = await self.invoke_raw(payload)
        return msgspec.json.decode(answer) if answer else None

    async def invoke_raw(self, event: bytes) -> bytes:
        """Do the same with JSON as it travels."""
        if self._asked >= self.concurrency:
            self.throttled += 1
            raise Throttled(self.name)
        self._asked += 1
        self.invocations += 1
        number = self.invocations
        try:
            async with self._places:
                return await self._invoke(number, event)
        finally:
            self._asked -= 1

    async def warm(self, environments: int) -> None:
        """Start environments beforehand, as provisioned concurrency does."""
        missing = environments - self.environments
        self._idle += await asyncio.gather(*[self._start() for _ in range(missing)])

    def kill(self, number: int) -> None:
        """Kill the environment that runs an invocation.

        Raises:
            KeyError: it does not run.
        """
        self._busy[number][1].set()

    async def close(self) -> None:
        """End every environment."""
        busy = [environment for environment, _ in self._busy.values()]
        everything = [*self._idle, *busy, *self._starting]
        self._idle.clear()
        await asyncio.gather(*[each.stop() for each in everything])

    async def _invoke(self, number: int, event: bytes) -> bytes:
        environment = self._idle.pop() if self._idle else await self._start()
        deadline_ms = int((self._clock() + self.timeout_s) * 1000)
        invocation = Invocation(number, str(uuid.uuid4()), event, deadline_ms, self.arn)
        killed = asyncio.Event()
        self._busy[number] = environment, killed
        try:
            return await self._run(environment, invocation, killed)
        finally:
            del self._busy[number]
            if environment.alive:
                self._idle.append(environment)
            else:
                await environment.stop()

    async def _start(self) -> Environment:
        began = time.perf_counter()
        environment = self._make()
        self._starting.add(environment)
        try:
            await environment.start()
        except BaseException:
            await environment.stop()
            raise
        finally:
            self._starting.discard(environment)
        self.cold_starts_ms.append((time.perf_counter() - began) * 1000)
        return environment

    async def _run(
        self, environment: Environment, invocation: Invocation, killed: asyncio.Event
    ) -> bytes:
        working = asyncio.ensure_future(environment.run(invocation))
        dying = asyncio.ensure_future(self._doom(invocation, killed))
        try:
            await asyncio.wait(
                {working, dying}, timeout=self.timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if working.done():
                return working.result()
            if dying.done():
                raise _exited(invocation.request_id)
            self.timed_out += 1
            raise FunctionTimedOut(invocation.request_id, self.timeout_s)
        finally:
            dying.cancel()
            if not working.done():
                await environment.stop()
                working.cancel()

    async def _doom(self, invocation: Invocation, killed: asyncio.Event) -> None:
        after_s = self.fate(invocation) if self.fate else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                await killed.wait()


def _exited(request_id: str) -> FunctionFailed:
    said = f"RequestId: {request_id} Error: Runtime exited with error: signal: killed"
    return FunctionFailed("Runtime.ExitError", said)


class InProcess:
    """An environment in this process: a coroutine function from event to answer.

    What it takes and gives passes through JSON, so that nothing is shared. Killed, it is cancelled
    wherever it waits; tasks of its own that it does not wait for go on, unlike in a real one.
    """

    def __init__(self, handle: Callable[[Any], Awaitable[Any]]) -> None:
        self.alive = True
        self._handle = handle
        self._working: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Do nothing: what there was to import is imported."""

    async def run(self, invocation: Invocation) -> bytes:
        """Await the function."""
        event = msgspec.json.decode(invocation.event)
        self._working = asyncio.ensure_future(self._handle(event))
        try:
            return msgspec.json.encode(await self._working)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise FunctionFailed(type(error).__name__, str(error)) from error

    async def stop(self) -> None:
        """Cancel the function, again wherever it waits to clean up."""
        self.alive = False
        working = self._working
        for _ in range(_PATIENCE):
            if working is None or working.done():
                return
            working.cancel()
            await asyncio.sleep(0)
