"""A clock that jumps: minutes of call in milliseconds of test, the same every time.

`VirtualLoop` is an asyncio loop whose time stands still while anything is ready to run and jumps
to the next timer when nothing is. Work handed to threads holds it still until it is done. Real
sockets do not: use `memory_pipe` on this loop, and a normal loop for real sockets.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import selectors
import sys
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

from voxyray.twin.errors import Deadlock

PATIENCE_S = 60.0  # real seconds that one job in a thread may hold the clock
LIMIT_S = 24 * 3600.0  # virtual seconds; longer is a wait that never ends

_T = TypeVar("_T")
_P = ParamSpec("_P")
_Args = TypeVarTuple("_Args")


class _Selector(selectors.DefaultSelector):
    """Asks the loop what to do where a real one would wait."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.loop.held:
            ready = super().select(PATIENCE_S)
            if not ready:
                raise Deadlock(f"a job in a thread has held the clock for {PATIENCE_S:g} s")
            return ready
        self.loop.jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Run tasks on virtual time, which starts at 0 and jumps to the next timer.

    Raises:
        Deadlock: nothing is scheduled, or time has passed limit_s, while a task still waits.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._now_s = 0.0
        self._limit_s = limit_s
        self._jobs = 0
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Give the virtual time in seconds."""
        return self._now_s

    @property
    def held(self) -> bool:
        """Tell whether a job in a thread keeps time from passing."""
        return self._jobs > 0

    def jump(self, by_s: float | None) -> None:
        """Let time pass; None means that nothing at all is scheduled."""
        if by_s is None:
            raise Deadlock("nothing is scheduled, so nobody will ever wake" + _waiting(self))
        self._now_s += by_s
        if self._now_s > self._limit_s:
            raise Deadlock(f"not done after {self._limit_s:g} virtual seconds" + _waiting(self))

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[Unpack[_Args]], _T],
        *args: *_Args,
    ) -> asyncio.Future[_T]:
        """Run a function in a thread; time stands still until it has returned."""
        if executor is None:
            executor = self._pool or self._open_pool()
        job = executor.submit(func, *args)
        self._jobs += 1
        # Wrapped first, so that the result is set before the clock is let go.
        future = asyncio.wrap_future(job, loop=self)
        job.add_done_callback(self._release_from_thread)
        return future

    async def shutdown_default_executor(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncio's own signature
    ) -> None:
        """Wait for the threads; this too is a job that the clock waits for."""
        self._jobs += 1
        try:
            if sys.version_info >= (3, 12):
                await super().shutdown_default_executor(timeout)
            else:
                await super().shutdown_default_executor()
        finally:
            self._release()

    def _open_pool(self) -> concurrent.futures.ThreadPoolExecutor:
        self._pool = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="virtual")
        self.set_default_executor(self._pool)
        return self._pool

    def _release_from_thread(self, _job: object) -> None:
        if not self.is_closed():
            self.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self._jobs -= 1


def run_virtual(coro: Coroutine[Any, Any, _T], *, limit_s: float = LIMIT_S) -> _T:
    """Run a coroutine to its end on a virtual clock and give its result.

    Raises:
        Deadlock: it waits for something that will not come.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(limit_s)) as runner:
        return runner.run(coro)


def virtual(function: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, _T]:
    """Decorate an async test so that it runs on a virtual clock."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return run_virtual(function(*args, **kwargs))

    return run


def _waiting(loop: asyncio.AbstractEventLoop) -> str:
    lines = []
    for task in asyncio.all_tasks(loop):
        frames = task.get_stack(limit=1)
        where = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "?"
        lines.append(f"\n  {task.get_name()} waits at {where}")
    return "; unfinished tasks:" + "".join(sorted(lines)) if lines else ""
