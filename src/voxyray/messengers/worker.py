"""Works the outbox off in this process: attempts when they are due, so many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import secrets
from dataclasses import dataclass, field

from voxyray.errors import StoreError
from voxyray.messengers import Kind
from voxyray.messengers.attempts import Attempts
from voxyray.messengers.records import Place

_log = logging.getLogger(__name__)


@dataclass(order=True)
class _Job:
    due: float  # the loop's time
    number: int
    place: Place = field(compare=False)
    kind: Kind = field(compare=False)
    token: str = field(compare=False)
    store_failures: int = field(default=0, compare=False)


class Worker:
    """A queue in memory and the tasks that work it off; a restart finds the rest in the store."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._queue: list[_Job] = []
        self._numbers = itertools.count()
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._closing = False

    def put(self, place: Place, kind: Kind, wait_s: float = 0.0) -> None:
        """Have a stored message sent, after wait_s."""
        due = asyncio.get_running_loop().time() + wait_s
        self._push(_Job(due, next(self._numbers), place, kind, secrets.token_hex(8)))

    def _push(self, job: _Job) -> None:
        if self._closing:
            return  # stored as accepted: the next start sends it
        heapq.heappush(self._queue, job)
        self._wake.set()
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._work_off())

    async def _work_off(self) -> None:
        """Start what is due, as much as may run at a time, until nothing is left."""
        loop = asyncio.get_running_loop()
        while self._queue or self._running:
            self._wake.clear()
            room = self._attempts.policy.concurrency - len(self._running)
            while room > 0 and self._queue and self._queue[0].due <= loop.time():
                task = asyncio.create_task(self._attempt(heapq.heappop(self._queue)))
                self._running.add(task)
                task.add_done_callback(self._done)
                room -= 1
            until = self._queue[0].due if self._queue and room > 0 else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._wake.wait()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error(
                "an attempt to send broke; a restart calls it unknown", exc_info=task.exception()
            )
        self._wake.set()

    async def _attempt(self, job: _Job) -> None:
        try:
            again_s = (await self._attempts.once(job.place, job.kind, job.token)).again_s
        except StoreError as error:
            job.store_failures += 1
            again_s = self._attempts.pause_s(job.store_failures)
            _log.warning("message %s waits for the store, %.1f s: %s", job.place.id, again_s, error)
        if again_s is not None:
            # With its token: a claim that could not be given back is then still known as ours.
            job.due = asyncio.get_running_loop().time() + again_s
            self._push(job)

    async def settle(self, limit_s: float) -> bool:
        """Wait until nothing is left to send; false if that takes longer."""
        if self._work is not None and not self._work.done():
            await asyncio.wait([self._work], timeout=limit_s)
        return self._work is None or self._work.done()

    async def close(self, limit_s: float) -> None:
        """Make the attempts that are due; what is not done within the limit is cut off."""
        self._closing = True
        now = asyncio.get_running_loop().time()
        self._queue = [job for job in self._queue if job.due <= now]
        heapq.heapify(self._queue)
        self._wake.set()
        if not await self.settle(limit_s):
            _log.warning("%d messages were still being sent", len(self._running))
            self._queue.clear()
            left = [task for task in (self._work, *self._running) if task is not None]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
