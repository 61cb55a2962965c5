"""One attempt to send a message: claimed in the store first, so that nothing is sent twice."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import msgspec

from voxyray.errors import MessageRefused, MessengerError, StoreError
from voxyray.messengers import Kind, Messenger, codes
from voxyray.messengers.records import Entry, Place, Records, Status

_log = logging.getLogger(__name__)

_STORE_TRIES: Final = 5

_T = TypeVar("_T")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How messages are delivered.

    attempts: in all, before a message is a dead letter. first_s, factor, most_s: the pause after
    the first refusal, how it grows, and where that ends; of it a random half is taken away.
    timeout_s: for one attempt. max_age_s: older ones are not sent any more; 36,000 is what
    Twilio's ValidityPeriod allows a message. concurrency: attempts at the same time in a worker.

    With a queue, where others are at work too: claim_s: whoever has been at a message for so long
    is taken for dead; more than an attempt takes. lost_s: a message that has been due for so long
    is taken for lost on its way to the queue.
    """

    attempts: int = 6
    first_s: float = 2.0
    factor: float = 3.0
    most_s: float = 600.0
    timeout_s: float = 60.0
    max_age_s: float = 36_000.0
    concurrency: int = 4
    claim_s: float = 120.0
    lost_s: float = 300.0

    def pause_s(self, attempt: int, jitter: float) -> float:
        """Give the pause after the attempt of this number (from 1); jitter is from 0 to 1."""
        # Bounded before it is raised, for a float's power overflows.
        full = min(self.most_s, self.first_s * self.factor ** min(attempt - 1, 64))
        return full * (1 - jitter / 2)


class Outcome(msgspec.Struct, frozen=True):
    """What is known of a message after an attempt.

    status: None if it is gone, or in other hands. again_s: look at it again in so many seconds;
    None if nothing is left to do.
    """

    status: Status | None
    again_s: float | None = None


class Attempts:
    """Makes attempts; who asks for them, and when, is a worker's or a queue's business."""

    def __init__(
        self,
        records: Records,
        messengers: Mapping[str, Messenger],
        policy: Policy,
        now: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.policy = policy
        self._records = records
        self._messengers = messengers
        self._now = now
        self._jitter = jitter

    async def once(self, place: Place, kind: Kind, token: str) -> Outcome:
        """Make an attempt that is due.

        token: whose attempt it is; the same one after a StoreError, which may have hidden a claim.

        Raises:
            StoreError: it could not begin, and no provider was asked.
        """
        begun = await self._begin(place, kind, token)
        return Outcome(None) if begun is None else await self._carry_out(place, token, *begun)

    async def queued(self, place: Place) -> Outcome:
        """Make the attempt that a queue asks for, if the record says that there is one to make.

        Queues ask twice, late, and again after whoever they asked has died: all of that is fine.

        Raises:
            StoreError: it could not begin; ask again.
        """
        entry = await self._records.at(place)
        if entry is None or entry.status not in ("accepted", "sending"):
            return Outcome(entry.status if entry else None)
        wait_s = self.wait_s(entry)
        if wait_s > 0:
            return Outcome(entry.status, wait_s)
        if entry.status == "accepted":
            return await self._due(place, entry.kind)
        if await self._records.give_up_sending(place):
            _log.warning("message %s may have been sent before a stop; not sent again", entry.id)
            return Outcome("unknown")
        return Outcome("sending", self.policy.claim_s)

    async def _due(self, place: Place, kind: Kind) -> Outcome:
        # A token of its own: whoever was asked before may be dead, or only slow.
        token = secrets.token_hex(8)
        # A claim of unknown outcome can be told from somebody else's only here and now.
        begun = await self._retried(lambda: self._begin(place, kind, token))
        if begun is None:
            return Outcome("sending", self.policy.claim_s)  # whoever was first may die of it
        return await self._carry_out(place, token, *begun)

    def wait_s(self, entry: Entry) -> float:
        """Give how long to leave a message alone: until it is due, or its sender must be dead."""
        if entry.status == "sending":
            return entry.updated_at_ms / 1000 + self.policy.claim_s - self._now()
        return max(entry.next_at_ms, entry.created_at_ms) / 1000 - self._now()

    def pause_s(self, attempt: int) -> float:
        """Give the pause after the attempt of this number (from 1)."""
        return self.policy.pause_s(attempt, self._jitter())

    async def _begin(
        self, place: Place, kind: Kind, token: str
    ) -> tuple[Entry, Messenger | MessengerError] | None:
        """Claim a message; give it, and who sends it or what forbids that; None if others did."""
        messenger = self._messengers.get(kind)
        entry = await self._records.claim(place, token, messenger.name if messenger else "")
        if entry is None:
            return None
        if messenger is None:
            return entry, MessengerError(f"nobody here delivers {entry.kind}")
        return entry, await self._obstacle(entry) or messenger

    async def _obstacle(self, entry: Entry) -> MessengerError | None:
        """Say what forbids a send that was accepted; opt-outs may have come meanwhile."""
        if await self._records.is_opted_out(entry.to):
            return MessengerError(codes.meaning(codes.OPTED_OUT), code=codes.OPTED_OUT)
        if self._now() - entry.created_at_ms / 1000 > self.policy.max_age_s:
            return MessengerError("too old to be sent", code="expired")
        return None

    async def _carry_out(
        self, place: Place, token: str, entry: Entry, sender: Messenger | MessengerError
    ) -> Outcome:
        if isinstance(sender, MessengerError):
            return await self._failed(place, token, entry, sender)
        answer = await self._ask(entry, sender)
        if isinstance(answer, MessengerError):
            return await self._failed(place, token, entry, answer)
        return await self._taken(place, token, entry, answer)

    async def _ask(self, entry: Entry, messenger: Messenger) -> str | MessengerError:
        """Have a messenger send it: the provider's id, or what went wrong."""
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                return await messenger.send(entry.message)
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

    async def _taken(self, place: Place, token: str, entry: Entry, provider_id: str) -> Outcome:
        if not provider_id:
            return await self._end(place, token, "stored")
        await self._stored(lambda: self._sent(place, token, entry, provider_id))
        _log.info("message %s (%s): sent by %s", entry.id, entry.kind, entry.via)
        return Outcome("sent")

    async def _sent(self, place: Place, token: str, entry: Entry, provider_id: str) -> None:
        if await self._records.sent(place, token, provider_id) == codes.OPTED_OUT:
            await self._records.opt_out(entry.to)

    async def _failed(
        self, place: Place, token: str, entry: Entry, error: MessengerError
    ) -> Outcome:
        """Store a failure: to be tried again, unknown, or a dead letter."""
        code, reason = error.code, str(error)
        if error.opted_out:
            await self._stored(lambda: self._records.opt_out(entry.to))
        again = error.retryable and not (error.maybe_sent or error.opted_out)
        if again and entry.attempts < self.policy.attempts:
            asked_s = min(error.retry_after_s or 0.0, self.policy.most_s)
            pause_s = max(asked_s, self.pause_s(entry.attempts))
            due_ms = int((self._now() + pause_s) * 1000)
            await self._stored(lambda: self._records.put_back(place, token, code, reason, due_ms))
            _log.info("message %s: again in %.1f s: %s", entry.id, pause_s, reason)
            return Outcome("accepted", pause_s)
        status: Status = "unknown" if error.maybe_sent else "failed"
        level = logging.ERROR if code in codes.OURS else logging.WARNING
        _log.log(level, "message %s (%s): %s: %s", entry.id, entry.kind, status, reason)
        return await self._end(place, token, status, code, reason)

    async def _end(
        self, place: Place, token: str, status: Status, code: str = "", reason: str = ""
    ) -> Outcome:
        await self._stored(lambda: self._records.end(place, token, status, code, reason))
        return Outcome(status)

    async def _stored(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write what happened, though the store fails for a while; lost, it becomes `unknown`."""
        try:
            await self._retried(write)
        except StoreError as error:
            _log.error("what became of a message is not stored; it will be unknown: %s", error)

    async def _retried(self, work: Callable[[], Awaitable[_T]]) -> _T:
        for attempt in range(1, _STORE_TRIES):
            try:
                return await work()
            except StoreError as error:
                _log.warning("a message waits for the store: %s", error)
                await asyncio.sleep(self.pause_s(attempt))
        return await work()
