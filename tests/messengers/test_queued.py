"""Messages that a queue works off: what it may do to them, and what may die on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.messengers.queueing import Queued, Sqs, Yielding
from tests.messengers.support import Fake, clock, sms
from voxyray.aws.queues import Ticket
from voxyray.errors import MessengerError, StoreError
from voxyray.messengers.attempts import Outcome, Policy
from voxyray.messengers.delivery import Delivery, Recovered
from voxyray.messengers.records import PENDING, Entry, Place, Records
from voxyray.stores import Item, Put, Store, Update
from voxyray.stores.memory import MemoryStore
from voxyray.twin import virtual

BUSY = MessengerError("busy", retryable=True, code="20429")


def desk(fake: Fake, store: Store | None = None, sqs: Sqs | None = None, **options: Any) -> Queued:
    options = {"now": clock(), "jitter": lambda: 0.0, **options}
    return Queued(store or MemoryStore(clock()), {"sms": fake, "email": fake}, sqs=sqs, **options)


async def only(delivery: Delivery) -> Entry:
    (entry,) = await delivery.entries()
    return entry


async def place_of(store: Store) -> Place:
    (place,) = await Records(store, clock(), 30).pending("", 2)
    return place


@virtual
async def test_tickets_say_where_a_message_is_and_nothing_personal() -> None:
    delivery = desk(Fake())
    await delivery.accept(sms("secret words"))
    (body,) = delivery.sqs.sent
    assert set(body) & set("+@") == set()
    assert "secret" not in body
    assert len(body) < 120
    await delivery.close()


@virtual
async def test_copies_of_a_ticket_at_once_are_one_attempt() -> None:
    fake = Fake(takes_s=5)
    delivery = desk(fake, Yielding(clock()), Sqs(copies=5))
    for number in range(4):
        await delivery.accept(sms(str(number)))
    assert await delivery.settle(10_000)
    assert sorted(message.body for message in fake.sent) == list("0123")
    assert {entry.status for entry in await delivery.entries()} == {"sent"}
    await delivery.close()


@virtual
async def test_an_old_ticket_does_nothing() -> None:
    fake = Fake()
    delivery = desk(fake)
    await delivery.accept(sms())
    await delivery.settle(10)
    before = await only(delivery)
    delivery.sqs.put(delivery.sqs.sent[0])
    await delivery.settle(10)
    assert await only(delivery) == before
    assert len(fake.sent) == 1
    await delivery.close()


@virtual
async def test_a_copy_does_not_shorten_the_pause_that_a_provider_asked_for() -> None:
    fake = Fake([MessengerError("busy", retryable=True, retry_after_s=90)])
    delivery = desk(fake)
    await delivery.accept(sms())
    await asyncio.sleep(10)
    delivery.sqs.put(delivery.sqs.sent[0])
    assert await delivery.settle(1000)
    assert fake.at == [0, 90]
    await delivery.close()


@virtual
async def test_a_pause_longer_than_sqs_knows_is_waited_for_in_parts() -> None:
    fake = Fake([BUSY])
    delivery = desk(fake, policy=Policy(first_s=2000, most_s=3000))
    await delivery.accept(sms())
    assert await delivery.settle(10_000)
    assert fake.at == [0, 2000]
    assert not delivery.sqs.dead
    await delivery.close()


@virtual
async def test_a_sender_that_dies_in_an_attempt_leaves_it_unknown() -> None:
    fake = Fake(takes_s=30)
    delivery = desk(fake)
    await delivery.accept(sms())
    await asyncio.sleep(10)
    await delivery.sqs.stop()
    fake.takes_s = 0
    delivery.sqs.restart()
    await delivery.settle(10_000)
    entry = await only(delivery)
    assert (entry.status, len(fake.sent)) == ("unknown", 1)
    assert entry.reason == "stopped while a provider was asked"
    await delivery.close()


@virtual
async def test_a_sender_that_dies_before_an_attempt_costs_nothing_but_time() -> None:
    fake = Fake()
    delivery = desk(fake)
    await delivery.accept(sms())
    await delivery.sqs.stop()
    delivery.sqs.restart()
    await delivery.settle(10_000)
    assert ((await only(delivery)).status, len(fake.sent)) == ("sent", 1)
    await delivery.close()


@virtual
async def test_nobody_calls_dead_who_is_only_slow() -> None:
    fake = Fake(takes_s=50)
    delivery = desk(fake)
    await delivery.accept(sms())
    await asyncio.sleep(1)
    place = await place_of(delivery._records._store)
    assert await delivery.far.attempt(place) == Outcome("sending", 119)
    assert await delivery.recover() == Recovered()
    await delivery.settle(1000)
    assert ((await only(delivery)).status, len(fake.sent)) == ("sent", 1)
    await delivery.close()


@virtual
async def test_a_death_between_the_record_and_the_queue_is_found_by_recovery() -> None:
    store, fake = MemoryStore(clock()), Fake()
    await Records(store, clock(), 30).keep(sms())
    delivery = desk(fake, store)
    assert await delivery.recover() == Recovered(), "it may be on its way"
    await asyncio.sleep(400)
    assert await delivery.recover() == Recovered(resent=1)
    await delivery.settle(10)
    assert ((await only(delivery)).status, len(fake.sent)) == ("sent", 1)
    assert await delivery.recover() == Recovered()
    assert not await store.query(PENDING)
    await delivery.close()


@virtual
async def test_a_death_between_the_record_and_the_queue_is_mended_by_accepting_again() -> None:
    store, fake = MemoryStore(clock()), Fake()
    place, _ = await Records(store, clock(), 30).keep(sms())
    delivery = desk(fake, store)
    assert await delivery.accept(sms()) == place.id
    await delivery.settle(10)
    assert ((await only(delivery)).status, len(fake.sent)) == ("sent", 1)
    await delivery.close()


@virtual
async def test_a_queue_that_is_away_refuses_no_message(caplog: pytest.LogCaptureFixture) -> None:
    fake = Fake()
    delivery = desk(fake)
    delivery.sqs.fails = 1
    assert await delivery.accept(sms())
    assert "not in the queue yet" in caplog.text
    assert (await only(delivery)).status == "accepted"
    await asyncio.sleep(400)
    assert await delivery.recover() == Recovered(resent=1)
    await delivery.settle(10)
    assert ((await only(delivery)).status, len(fake.sent)) == ("sent", 1)
    await delivery.close()


@virtual
async def test_recovery_gives_a_queue_that_stands_still_each_message_once_a_while() -> None:
    store, fake = MemoryStore(clock()), Fake()
    records = Records(store, clock(), 30)
    for number in range(150):
        await records.keep(sms(str(number)))
    delivery = desk(fake, store, policy=Policy(concurrency=0))
    delivery.sqs._visibility_s = 10**6
    delivery.sqs.sender = None  # type: ignore[assignment]
    await asyncio.sleep(400)
    dispatched = []
    for _ in range(6):
        dispatched.append((await delivery.recover()).resent)
        await delivery.sqs.stop()
        await asyncio.sleep(100)
    assert dispatched == [150, 0, 0, 150, 0, 0]
    await delivery.close()


@virtual
async def test_recovery_leaves_kinds_to_others_that_it_has_no_queue_for() -> None:
    store = MemoryStore(clock())
    await Records(store, clock(), 30).keep(sms())

    class Mail(Sqs):
        kinds = ("email",)  # type: ignore[assignment]

    delivery = desk(Fake(), store, Mail())
    await asyncio.sleep(400)
    assert await delivery.recover() == Recovered()
    await delivery.close()


@virtual
async def test_recovery_calls_unknown_what_a_dead_sender_was_at() -> None:
    store, fake = MemoryStore(clock()), Fake()
    records = Records(store, clock(), 30)
    place, _ = await records.keep(sms())
    assert await records.claim(place, "dead", "fake")
    delivery = desk(fake, store)
    assert await delivery.recover() == Recovered()
    await asyncio.sleep(200)
    assert await delivery.recover() == Recovered(unknown=1)
    assert ((await only(delivery)).status, fake.sent) == ("unknown", [])
    await delivery.close()


@virtual
async def test_a_retry_that_cannot_be_queued_comes_by_the_old_ticket() -> None:
    fake = Fake([BUSY])
    delivery = desk(fake)
    await delivery.accept(sms())
    delivery.sqs.fails = 1
    await delivery.settle(10_000)
    assert fake.at == [0, 360]
    assert (await only(delivery)).status == "sent"
    await delivery.close()


class Away(MemoryStore):
    """A store that cannot be read while it is away."""

    away = False

    async def get(self, pk: str, sk: str) -> Item | None:
        if self.away:
            raise StoreError("away")
        return await super().get(pk, sk)

    async def update(self, update: Update) -> Item:
        if self.away:
            raise StoreError("away")
        return await super().update(update)


@virtual
async def test_without_the_store_tickets_end_among_the_dead_letters_and_are_recovered() -> None:
    store, fake = Away(clock()), Fake()
    delivery = desk(fake, store)
    await delivery.accept(sms())
    store.away = True
    assert await delivery.sqs.settle(10_000)
    assert len(delivery.sqs.dead) == 1
    assert delivery.sqs.invoked == 5
    assert not fake.sent
    store.away = False
    assert await delivery.recover() == Recovered(resent=1)
    await delivery.settle(10)
    assert ((await only(delivery)).status, len(fake.sent)) == ("sent", 1)
    await delivery.close()


@virtual
async def test_a_claim_whose_outcome_nobody_learns_is_never_sent_and_said_to_be_unknown() -> None:
    class Dying(Away):
        async def update(self, update: Update) -> Item:
            if not self.away:
                await super().update(update)
            self.away = True
            raise StoreError("away")

    store, fake = Dying(clock()), Fake()
    delivery = desk(fake, store)
    await delivery.accept(sms())
    await delivery.settle(10_000)
    store.away = False
    assert await delivery.recover() == Recovered(unknown=1)
    assert ((await only(delivery)).status, fake.sent) == ("unknown", [])
    await delivery.close()


@virtual
async def test_records_that_are_gone_or_nobody_s_are_left_alone() -> None:
    store, fake = MemoryStore(clock()), Fake()
    delivery = desk(fake, store)
    gone = Place("OUTBOX#2026-01-01", "001750000000000#" + "0" * 24)
    assert await delivery.attempt(gone) == Outcome(None)
    damaged = {"pk": gone.pk, "sk": gone.sk, "status": "accepted", "kind": "fax"}
    await store.write(Put(damaged))
    with pytest.raises(StoreError, match="damaged"):
        await delivery.attempt(gone)
    assert await store.get(gone.pk, gone.sk) == damaged
    await delivery.close()


@virtual
async def test_settling_waits_for_what_a_cancelled_tool_was_accepting() -> None:
    class Slow(Sqs):
        async def dispatch(self, *args: Any) -> None:
            await asyncio.sleep(2)
            await super().dispatch(*args)

    fake = Fake()
    delivery = desk(fake, sqs=Slow())
    tool = asyncio.create_task(delivery.accept(sms()))
    await asyncio.sleep(1)
    tool.cancel()
    assert not await Delivery.settle(delivery, 0.5)
    assert await Delivery.settle(delivery, 5)
    assert len(delivery.sqs.sent) == 1
    await delivery.settle(10)
    assert len(fake.sent) == 1
    await delivery.close()


def test_a_ticket_can_only_name_places_of_the_outbox() -> None:
    good = {"pk": "OUTBOX#2026-11-22", "sk": "001750000000000#" + "a" * 24, "kind": "sms"}
    assert msgspec.convert(good, Ticket).place == Place(good["pk"], good["sk"])
    for bad in (
        {"pk": "ORDER#2026-11-22"},
        {"pk": "OUTBOX#PENDING"},
        {"pk": "OUTBOX#2026-11-22\n"},
        {"sk": "PLACE"},
        {"sk": good["sk"] + "\n"},
        {"kind": "fax"},
        {"pk": 3},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**good, **bad}, Ticket)
