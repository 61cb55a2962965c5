"""A thread that takes work in batches and answers on the event loops it came from."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from voxyray.errors import StoreError

W = TypeVar("W")

# Enough to share one fsync among every call of a busy server, few enough to answer soon.
_MOST: Final = 256


class _Job(Generic[W]):
    __slots__ = ("future", "loop", "work")

    def __init__(
        self,
        work: W,
        loop: asyncio.AbstractEventLoop | None = None,
        future: asyncio.Future[Any] | None = None,
    ) -> None:
        self.work = work
        self.loop = loop
        self.future = future


class Lane(Generic[W]):
    """Hand work to one thread, in order; whatever waits meanwhile is the next batch.

    handle: gets a batch in the thread, gives an outcome for each; an exception among them is
    raised where that work was submitted.
    finish: runs in the thread when all is done.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[Sequence[W]], Sequence[Any]],
        finish: Callable[[], None],
    ) -> None:
        self._handle = handle
        self._finish = finish
        self._queue: queue.SimpleQueue[_Job[W] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._stopped = False
        # A store that nobody closed must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: W) -> asyncio.Future[Any]:
        """Queue work and return its outcome to come, on the running loop.

        Cancelling it does not undo the work, nor tell whether it is done.

        Raises:
            StoreError: the lane was stopped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._put(_Job(work, loop, future)):
            raise StoreError("the store is closed")
        return future

    def post(self, work: W) -> None:
        """Queue work whose outcome nobody needs; from any thread, dropped once stopped."""
        self._put(_Job(work))

    def stop(self) -> None:
        """Take no more work; what is queued will still be done."""
        with self._guard:
            if not self._stopped:
                self._stopped = True
                self._queue.put(None)

    def join(self) -> None:
        """Wait, blocking, until a stopped lane has done all its work."""
        self._thread.join()

    def _put(self, job: _Job[W]) -> bool:
        # The guard keeps a job from slipping in behind the mark of the end, never to be done.
        with self._guard:
            if not self._stopped:
                self._queue.put(job)
            return not self._stopped

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._take()
            if batch:
                _answer(batch, self._outcomes(batch))
        self._finish()

    def _take(self) -> tuple[list[_Job[W]], bool]:
        job = self._queue.get()
        batch: list[_Job[W]] = []
        with contextlib.suppress(queue.Empty):
            while job is not None:
                batch.append(job)
                if len(batch) == _MOST:
                    break
                job = self._queue.get_nowait()
        return batch, job is not None

    def _outcomes(self, batch: list[_Job[W]]) -> Sequence[Any]:
        try:
            return self._handle([job.work for job in batch])
        except Exception as error:  # noqa: BLE001 - a dead thread would leave everybody waiting
            return [StoreError(f"the store failed: {error!r}") for _ in batch]


def _answer(batch: Sequence[_Job[Any]], outcomes: Sequence[Any]) -> None:
    answers: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for job, outcome in zip(batch, outcomes, strict=True):
        if job.loop is not None and job.future is not None:
            answers.setdefault(job.loop, []).append((job.future, outcome))
    for loop, resolved in answers.items():
        # A loop that was closed meanwhile has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, resolved)


def _resolve(resolved: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in resolved:
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
