"""The function that sends SMS and e-mail: works off the queues of the outbox.

    {"Records": [...]}     from SQS, with tickets, also wrapped by SNS: one attempt for each
    anything else          from a schedule: takes up what got lost on its way to the queue

What an attempt comes to is in the message's record. A record of the batch is reported as failed
only if that could not be looked at: SQS gives it again, and has it in the dead letters in the end.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from voxyray.aws.environment import open_settings
from voxyray.aws.queues import Ticket, open_outgoing
from voxyray.aws.starting import open_at_start
from voxyray.errors import QueueError, StoreError
from voxyray.messengers.delivery import Delivery, Dispatcher
from voxyray.messengers.opening import open_messengers
from voxyray.stores.opening import open_store
from voxyray.tracebacks import traced

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 10
_MARGIN_S: Final = 2.0  # for the answer, before the function is stopped from outside
_MOST_CHARS: Final = 16_384


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Work off what a queue or a schedule gives; this is what Lambda calls."""
    loop, sender = _opened()
    limit_s = context.get_remaining_time_in_millis() / 1000 - _MARGIN_S
    return loop.run_until_complete(sender.handle(event, limit_s))


def open_sender() -> Sender:
    """Open what the environment names.

    Raises:
        SettingsError: a setting is missing or wrong; the message names it and the fix.
    """
    settings = open_settings()
    outgoing = open_outgoing(os.environ)
    delivery = Delivery(
        open_store(settings.store),
        open_messengers(settings),
        retention_days=settings.retention_days,
        dispatcher=outgoing,
    )
    return Sender(delivery, outgoing)


@functools.cache
def _opened() -> tuple[asyncio.AbstractEventLoop, Sender]:
    # One loop for the life of the process: connections and locks belong to it.
    return asyncio.new_event_loop(), open_sender()


class Sender:
    """Feeds what a queue gives to `Delivery.attempt`."""

    def __init__(self, delivery: Delivery, dispatcher: Dispatcher) -> None:
        self._delivery = delivery
        self._dispatcher = dispatcher

    async def handle(self, event: Any, limit_s: float) -> dict[str, Any]:
        """Work an event off within limit_s, and give what Lambda is to be told of it."""
        records = event.get("Records") if isinstance(event, Mapping) else None
        if isinstance(records, list):
            return await self._work_off(records, limit_s)
        return await self._recover(limit_s)

    async def _work_off(self, records: list[Any], limit_s: float) -> dict[str, Any]:
        until = asyncio.get_running_loop().time() + max(0.0, limit_s)
        room = asyncio.Semaphore(_AT_ONCE)

        async def done(record: Any) -> bool:
            try:
                async with asyncio.timeout_at(until), room:
                    return await self._one(record)
            except TimeoutError:
                # Cut off in the middle of an attempt, the record says so; before it, nothing is.
                _log.error("a record of the queue took too long; it comes again")
                return False

        went = await asyncio.gather(*(done(record) for record in records))
        failed = [_id(record) for record, ok in zip(records, went, strict=True) if not ok]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}

    async def _one(self, record: Any) -> bool:
        """Make the attempt that a record asks for; false if the record is to come again."""
        ticket = ticket_of(record)
        if ticket is None:
            _log.error("record %s of the queue is no ticket of ours", _id(record))
            return False
        try:
            outcome = await self._delivery.attempt(ticket.place)
            if outcome.again_s is not None:
                # As a new one: this one would count what it waits for as failures to receive it.
                await self._dispatcher.dispatch(ticket.place, ticket.kind, outcome.again_s)
        except (StoreError, QueueError) as error:
            _log.error("message %s comes again: %s", ticket.place.id, error)
            return False
        except Exception as error:  # noqa: BLE001 - one record must not fail the others
            _log.error("message %s comes again: %s", ticket.place.id, traced(error))
            return False
        return True

    async def _recover(self, limit_s: float) -> dict[str, Any]:
        # What goes wrong here is the schedule's to see: the invocation fails.
        async with asyncio.timeout(max(0.0, limit_s)):
            recovered = await self._delivery.recover()
        return msgspec.structs.asdict(recovered)


def ticket_of(record: Any) -> Ticket | None:
    """Read the ticket of an SQS record, also of one that SNS has wrapped; None if it holds none."""
    body = record.get("body") if isinstance(record, Mapping) else None
    if not isinstance(body, str) or len(body) > _MOST_CHARS:
        return None
    try:
        said = msgspec.json.decode(body)
        if isinstance(said, dict) and said.get("Type") == "Notification":
            said = msgspec.json.decode(str(said.get("Message")))
        return msgspec.convert(said, Ticket)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None


def _id(record: Any) -> str:
    # Without an id of a record, Lambda takes the whole batch for failed: as it should.
    return str(record.get("messageId", "")) if isinstance(record, Mapping) else ""


open_at_start(_opened)
