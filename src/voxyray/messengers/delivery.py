"""Accepts messages at once and delivers them behind the talk, each at most once.

    delivery = Delivery(store, open_messengers(settings))
    await delivery.recover()
    outbox_id = await delivery.accept(message)      # one durable write, no provider is asked

That a message is being sent is stored before a provider is asked. So after a crash it is known
which were never tried (they are sent), and which may have been (they are marked `unknown`).

Who makes the attempts: a worker in this process, or, given a `Dispatcher`, whoever is at the other
end of its queue and calls `attempt`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Container, Mapping
from typing import Final, Protocol

import msgspec

from voxyray.errors import MessageRefused, QueueError
from voxyray.messengers import Kind, Message, Messenger, codes, masked
from voxyray.messengers.attempts import Attempts, Outcome, Policy
from voxyray.messengers.checks import checked, recipient
from voxyray.messengers.records import Entry, Place, Records, Status
from voxyray.messengers.worker import Worker
from voxyray.stores import Store

_log = logging.getLogger(__name__)

CLOSE_S: Final = 5.0
_PAGE: Final = 100


class Dispatcher(Protocol):
    """A way to a process elsewhere that calls `Delivery.attempt`.

    kinds: the kinds of messages it takes.
    """

    @property
    def kinds(self) -> Container[str]: ...  # noqa: D102

    async def dispatch(self, place: Place, kind: Kind, wait_s: float = 0.0) -> None:
        """Have `attempt` called for a stored message, once or more often, after wait_s or sooner.

        Raises:
            QueueError: it may not be called.
        """
        ...


class Recovered(msgspec.Struct, frozen=True):
    """What was taken up: messages to send, and messages that may have been sent."""

    resent: int = 0
    unknown: int = 0


class Delivery:
    """The outbox, and what works it off.

    messengers: by kind; none are needed where a dispatcher is and no attempts are made.
    now: epoch seconds; a worker's pauses are on the loop's clock. jitter: gives 0 to 1.
    allow: says whether a message may be sent, such as to the caller's own number only.
    dispatcher: has others make the attempts; None has them made by a worker in this process.
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
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self.policy = policy or Policy()
        self._messengers = dict(messengers)
        self._records = Records(store, now, retention_days)
        self._attempts = Attempts(self._records, self._messengers, self.policy, now, jitter)
        self._allow = allow
        self._dispatcher = dispatcher
        self._worker = Worker(self._attempts)
        self._kinds = self._messengers if dispatcher is None else dispatcher.kinds
        self._keeping: set[asyncio.Task[tuple[Place, bool]]] = set()
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
        if message.kind not in self._kinds:
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
        if self._dispatcher is None:
            if new:
                self._worker.put(place, message.kind)
            return place, new
        try:
            # Also if it is not new: whoever stored it may have died before it was in the queue.
            await self._dispatcher.dispatch(place, message.kind)
        except QueueError as error:
            # It is accepted all the same: `recover` finds it.
            _log.error("message %s is stored, but not in the queue yet: %s", place.id, error)
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

    # Working it off

    async def attempt(self, place: Place) -> Outcome:
        """Make the attempt that a queue asks for, and say when to ask again, if at all.

        The record decides: a queue may ask twice, late, or after whoever it asked has died.

        Raises:
            StoreError: it could not begin; ask again.
        """
        return await self._attempts.queued(place)

    async def recover(self) -> Recovered:
        """Take up what was left.

        With a worker: what an earlier process left; call it once, at the start. With a
        dispatcher: what nobody has touched for `Policy.lost_s`, or `Policy.claim_s` if it was
        being sent; call it every few minutes, anywhere.

        Raises:
            StoreError: not all could be looked at.
            QueueError: not all could be dispatched.
        """
        resent = unknown = 0
        after = ""
        while places := await self._records.pending(after, _PAGE):
            after = places[-1].sk
            for place in places:
                status = await self._take_up(place)
                resent += status == "accepted"
                unknown += status == "unknown"
        if unknown:
            _log.warning("%d messages may have been sent before a stop; not sent again", unknown)
        return Recovered(resent, unknown)

    async def _take_up(self, place: Place) -> Status | None:
        """Have an accepted message sent, call one `unknown` whose sender is dead, or neither."""
        entry = await self._records.at(place)
        if entry is None or entry.status not in ("accepted", "sending"):
            await self._records.forget_pending(place)
            return None
        wait_s = self._attempts.wait_s(entry)
        if entry.status == "sending":
            alive = self._dispatcher is not None and wait_s > 0
            return None if alive or not await self._records.give_up_sending(place) else "unknown"
        if self._dispatcher is None:
            self._worker.put(place, entry.kind, min(max(0.0, wait_s), self.policy.most_s))
            return "accepted"
        if entry.kind not in self._kinds or wait_s > -self.policy.lost_s:
            return None
        await self._dispatcher.dispatch(place, entry.kind)
        # So that a queue with a long backlog is not given the same messages in every pass.
        await self._records.postpone(place)
        return "accepted"

    # The end

    async def settle(self, limit_s: float) -> bool:
        """Wait for what is done in this process; false if that takes longer.

        With a worker: until every message is sent, or has failed for good. With a dispatcher:
        until what was being accepted is stored and in the queue.
        """
        until = asyncio.get_running_loop().time() + limit_s
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=limit_s)
        left_s = max(0.0, until - asyncio.get_running_loop().time())
        return await self._worker.settle(left_s) and not self._keeping

    async def close(self, limit_s: float = CLOSE_S) -> None:
        """Accept no more, send what is due within the limit, and close the messengers.

        What waits for another attempt stays accepted, for the next start. What is being sent when
        the limit is reached is cut off, and will be `unknown`.
        """
        if self._keeping:
            await asyncio.wait(self._keeping)
        self._closing = True
        await self._worker.close(limit_s)
        for messenger in {id(one): one for one in self._messengers.values()}.values():
            await messenger.close()
