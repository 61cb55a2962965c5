"""Accepts messages at once and delivers them behind the talk, each at most once.

    delivery = Delivery(store, open_messengers(settings))
    await delivery.recover()
    outbox_id = await delivery.accept(message)      # one durable write, no provider is asked

That a message is being sent is stored before a provider is asked. So after a crash it is known
which were never tried (they are sent), and which may have been (they are marked `unknown`).
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from voxyray.errors import MessageRefused, MessengerError, StoreError
from voxyray.messengers import Kind, Message, Messenger, codes, masked
from voxyray.messengers.checks import checked, recipient
from voxyray.messengers.records import Entry, Place, Records, Status
from voxyray.stores import Store

_log = logging.getLogger(__name__)

CLOSE_S: Final = 5.0
_PAGE: Final = 100
_STORE_TRIES: Final = 5


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How messages are delivered.

    attempts: in all, before a message is a dead letter. first_s, factor, most_s: the pause after
    the first refusal, how it grows, and where that ends; of it a random half is taken away.
    timeout_s: for one attempt. max_age_s: older ones are not sent any more; 36,000 is what
    Twilio's ValidityPeriod allows a message. concurrency: attempts at the same time.
    """

    attempts: int = 6
    first_s: float = 2.0
    factor: float = 3.0
    most_s: float = 600.0
    timeout_s: float = 60.0
    max_age_s: float = 36_000.0
    concurrency: int = 4

    def pause_s(self, attempt: int, jitter: float) -> float:
        """Give the pause after the attempt of this number (from 1); jitter is from 0 to 1."""
        # Bounded before it is raised, for a float's power overflows.
        full = min(self.most_s, self.first_s * self.factor ** min(attempt - 1, 64))
        return full * (1 - jitter / 2)


class Recovered(msgspec.Struct, frozen=True):
    """What a start found: messages to send, and messages that may have been sent."""

    resent: int = 0
    unknown: int = 0


@dataclass(order=True)
class _Job:
    due: float  # the loop's time
    number: int
    place: Place = field(compare=False)
    token: str = field(compare=False)
    kind: Kind = field(compare=False)
    store_failures: int = field(default=0, compare=False)


class Delivery:
    """The outbox and the worker behind it.

    messengers: by kind. now: epoch seconds; pauses are on the loop's clock. jitter: gives 0 to 1.
    allow: says whether a message may be sent, such as to the caller's own number only.
    """

    def __init__(
        self,
        store: Store,
        messengers: Mapping[str, Messenger],
        *,
        policy: Policy | None = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        allow: Callable[[Message], bool] | None = None,
        retention_days: int = 30,
    ) -> None:
        self.policy = policy or Policy()
        self._messengers = dict(messengers)
        self._records = Records(store, now, retention_days)
        self._now = now
        self._jitter = jitter
        self._allow = allow
        self._queue: list[_Job] = []
        self._numbers = itertools.count()
        self._running: set[asyncio.Task[None]] = set()
        self._keeping: set[asyncio.Task[tuple[Place, bool]]] = set()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closing = False

    # The outbox

    async def accept(self, message: Message) -> str:
        """Store a message to be sent soon, and give its id in the outbox.

        A message of the same key gives the first one's id and is not sent again.

        Raises:
            MessageRefused: it cannot or may not be sent; the message says why.
            StoreError: it could not be stored, so it will not be sent.
        """
        if self._closing:
            raise MessageRefused("messages cannot be sent right now; offer another way", "closed")
        message = checked(message)
        if message.kind not in self._messengers:
            raise MessageRefused(f"no {message.kind} can be sent from here", "not_allowed")
        if self._allow is not None and not self._allow(message):
            raise MessageRefused("messages to this recipient are not allowed", "not_allowed")
        if await self._records.is_opted_out(message.to):
            raise MessageRefused(
                "the recipient has opted out of messages from us; they can text START to get them "
                "again",
                "opted_out",
            )
        # What is stored is also sent, even if the caller cuts in and the tool is cancelled.
        task = asyncio.create_task(self._keep(message))
        self._keeping.add(task)
        task.add_done_callback(self._kept)
        place, _ = await asyncio.shield(task)
        return place.id

    def _kept(self, task: asyncio.Task[tuple[Place, bool]]) -> None:
        self._keeping.discard(task)
        if not task.cancelled():
            task.exception()  # whoever awaits it gets it; if nobody does, nobody needs it

    async def _keep(self, message: Message) -> tuple[Place, bool]:
        place, new = await self._records.keep(message)
        if new:
            self._enqueue(place, message.kind)
        return place, new

    async def entries(self, limit: int = 50) -> list[Entry]:
        """List messages and what became of them, newest first."""
        return await self._records.latest(limit) if limit > 0 else []

    async def entry(self, outbox_id: str) -> Entry | None:
        """Give one message and what became of it; None if there is none of this id."""
        return await self._records.get(outbox_id)

    async def status(self, provider_id: str, status: str, code: str = "") -> bool:
        """Apply a provider's status callback, in any order and any number; whether it was news.

        status, code: as Twilio's MessageStatus and ErrorCode; unknown ones change nothing.

        Raises:
            StoreError: it could not be stored; the provider should call again.
        """
        entry = await self._records.apply(provider_id, status, code)
        if entry is None:
            return False
        if code == codes.OPTED_OUT:
            await self._records.opt_out(entry.to)
        level = logging.INFO if entry.status == "delivered" else logging.WARNING
        _log.log(level, "message %s: %s %s %s", entry.id, entry.status, entry.code, entry.reason)
        return True

    async def opt_out(self, to: str) -> None:
        """Send nothing to a number or address any more.

        Raises:
            MessageRefused: it is neither.
        """
        await self._records.opt_out(to)
        _log.info("%s has opted out", masked(to))

    async def opt_in(self, to: str) -> None:
        """Send to a number or address again.

        Raises:
            MessageRefused: it is neither.
        """
        await self._records.opt_in(to)
        _log.info("%s has opted in", masked(to))

    async def is_opted_out(self, to: str) -> bool:
        """Whether a number or address wants nothing from us.

        Raises:
            MessageRefused: it is neither.
        """
        return await self._records.is_opted_out(recipient(to))

    async def recover(self) -> Recovered:
        """Take up at the start what an earlier process left; call it once."""
        resent = unknown = 0
        after = ""
        while places := await self._records.pending(after, _PAGE):
            after = places[-1].sk
            for place in places:
                entry = await self._records.at(place)
                if entry is not None and entry.status == "accepted":
                    wait_s = max(0.0, entry.next_at_ms / 1000 - self._now())
                    self._enqueue(place, entry.kind, min(wait_s, self.policy.most_s))
                    resent += 1
                elif entry is not None and entry.status == "sending":
                    unknown += await self._records.give_up_sending(place)
                else:
                    await self._records.forget_pending(place)
        if unknown:
            _log.warning("%d messages may have been sent before a stop; not sent again", unknown)
        return Recovered(resent, unknown)

    # The worker

    def _enqueue(self, place: Place, kind: Kind, wait_s: float = 0.0) -> None:
        due = asyncio.get_running_loop().time() + wait_s
        self._push(_Job(due, next(self._numbers), place, secrets.token_hex(8), kind))

    def _push(self, job: _Job) -> None:
        if self._closing:
            return  # stored as accepted: the next start sends it
        heapq.heappush(self._queue, job)
        self._wake.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        """Start what is due, as much as may run at a time, until nothing is left."""
        loop = asyncio.get_running_loop()
        while self._queue or self._running:
            self._wake.clear()
            room = self.policy.concurrency - len(self._running)
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
        messenger = self._messengers.get(job.kind)
        try:
            entry = await self._records.claim(
                job.place, job.token, messenger.name if messenger else ""
            )
            if entry is None:
                return  # another process has it, or it has expired
            problem = await self._obstacle(entry, messenger)
        except StoreError as error:
            self._later(job, error)
            return
        if problem is None and messenger is not None:
            problem = await self._ask(job, entry, messenger)
        if problem is not None:
            await self._failed(job, entry, problem)

    async def _obstacle(self, entry: Entry, messenger: Messenger | None) -> MessengerError | None:
        """Say what forbids a send that was accepted; opt-outs may have come meanwhile."""
        if messenger is None:
            return MessengerError(f"nobody here delivers {entry.kind}")
        if await self._records.is_opted_out(entry.to):
            return MessengerError(codes.meaning(codes.OPTED_OUT), code=codes.OPTED_OUT)
        if self._now() - entry.created_at_ms / 1000 > self.policy.max_age_s:
            return MessengerError("too old to be sent", code="expired")
        return None

    async def _ask(self, job: _Job, entry: Entry, messenger: Messenger) -> MessengerError | None:
        """Have a messenger send it; store that, or give what went wrong."""
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                provider_id = await messenger.send(entry.message)
        except MessengerError as error:
            return error
        except MessageRefused as error:
            return MessengerError(str(error), code=error.reason)
        except TimeoutError:
            return MessengerError(
                f"no answer within {self.policy.timeout_s:g} s; it may have been sent",
                maybe_sent=True,
            )
        except Exception as error:  # noqa: BLE001 - a messenger's fault must not send it twice
            # Only its kind: whatever it says may quote the message.
            return MessengerError(
                f"{messenger.name} broke: {type(error).__name__}", maybe_sent=True
            )
        if provider_id:
            await self._stored(lambda: self._sent(job, entry, provider_id))
            _log.info("message %s (%s): sent by %s", entry.id, entry.kind, messenger.name)
        else:
            await self._stored(lambda: self._records.end(job.place, job.token, "stored"))
        return None

    async def _sent(self, job: _Job, entry: Entry, provider_id: str) -> None:
        if await self._records.sent(job.place, job.token, provider_id) == codes.OPTED_OUT:
            await self._records.opt_out(entry.to)

    async def _failed(self, job: _Job, entry: Entry, error: MessengerError) -> None:
        """Store a failure: to be tried again, unknown, or a dead letter."""
        code, reason = error.code, str(error)
        if error.opted_out:
            await self._stored(lambda: self._records.opt_out(entry.to))
        again = error.retryable and not (error.maybe_sent or error.opted_out)
        if again and entry.attempts < self.policy.attempts:
            pause_s = self._pause_s(entry.attempts, error)
            due_ms = int((self._now() + pause_s) * 1000)
            await self._stored(
                lambda: self._records.put_back(job.place, job.token, code, reason, due_ms)
            )
            _log.info("message %s: again in %.1f s: %s", entry.id, pause_s, reason)
            self._again(job, pause_s)
            return
        status: Status = "unknown" if error.maybe_sent else "failed"
        await self._stored(lambda: self._records.end(job.place, job.token, status, code, reason))
        level = logging.ERROR if code in codes.OURS else logging.WARNING
        _log.log(level, "message %s (%s): %s: %s", entry.id, entry.kind, status, reason)

    def _pause_s(self, attempts: int, error: MessengerError) -> float:
        asked_s = min(error.retry_after_s or 0.0, self.policy.most_s)
        return max(asked_s, self.policy.pause_s(attempts, self._jitter()))

    def _later(self, job: _Job, error: StoreError) -> None:
        """Try again when the store is back; the message is as it was."""
        job.store_failures += 1
        pause_s = self.policy.pause_s(job.store_failures, self._jitter())
        _log.warning("message %s waits for the store, %.1f s: %s", job.place.id, pause_s, error)
        self._again(job, pause_s)

    def _again(self, job: _Job, pause_s: float) -> None:
        # With its token: a claim that could not be given back is then still known as ours.
        job.due = asyncio.get_running_loop().time() + pause_s
        self._push(job)

    async def _stored(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write what happened, though the store fails for a while; lost, it becomes `unknown`."""
        for attempt in range(1, _STORE_TRIES + 1):
            try:
                await write()
            except StoreError as error:
                _log.warning("what became of a message is not stored yet: %s", error)
                await asyncio.sleep(self.policy.pause_s(attempt, self._jitter()))
            else:
                return
        _log.error("what became of a message could not be stored; a restart calls it unknown")

    # The end

    async def settle(self, limit_s: float) -> bool:
        """Wait until every message is sent, or has failed for good; false if that takes longer."""
        if self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker], timeout=limit_s)
        return self._worker is None or self._worker.done()

    async def close(self, limit_s: float = CLOSE_S) -> None:
        """Accept no more, send what is due within the limit, and close the messengers.

        What waits for another attempt stays accepted, for the next start. What is being sent when
        the limit is reached is cut off, and will be `unknown`.
        """
        if self._keeping:
            await asyncio.wait(self._keeping)
        self._closing = True
        now = asyncio.get_running_loop().time()
        self._queue = [job for job in self._queue if job.due <= now]
        heapq.heapify(self._queue)
        self._wake.set()
        if not await self.settle(limit_s):
            _log.warning("%d messages were still being sent", len(self._running))
            self._queue.clear()
            left = [task for task in (self._worker, *self._running) if task is not None]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        for messenger in {id(one): one for one in self._messengers.values()}.values():
            await messenger.close()
