"""The outbox and what works it off, on a virtual clock, over every store of this machine.

`either` stands for both ways: a worker in the process, and a queue with a sender behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.messengers.queueing import Queued
from tests.messengers.support import ADA, ADA_MAIL, Fake, Held, clock, mail, sms
from voxyray.errors import MessageRefused, MessengerError, StoreError, ToolError
from voxyray.messengers.attempts import Policy
from voxyray.messengers.delivery import Delivery, Recovered
from voxyray.messengers.outbox import OutboxMessenger
from voxyray.messengers.records import PENDING, Entry, Records
from voxyray.stores import Item, Store, Update, Write
from voxyray.stores.memory import MemoryStore
from voxyray.twin import virtual

IDLE = Policy(concurrency=0)  # a worker that has not come to it yet
BUSY = MessengerError("busy", retryable=True, code="20429")
DEAD = MessengerError("no such number", code="21211")
LOST = MessengerError("no answer", maybe_sent=True)
STOPPED = MessengerError("opted out", code="21610", opted_out=True)


def deliver(store: Store, *messengers: Fake, queued: bool = False, **options: Any) -> Delivery:
    by_kind = dict(zip(("sms", "email"), messengers * 2, strict=False))
    way = Queued if queued else Delivery
    return way(store, by_kind, **{"now": clock(), "jitter": lambda: 0.0, **options})


async def only(delivery: Delivery) -> Entry:
    (entry,) = await delivery.entries()
    return entry


class Opener(NamedTuple):
    """Opens stores; queued: whether a queue works them off."""

    path: Path | None
    queued: bool = False

    def __call__(self) -> Store:
        return Held(self.path) if self.path else MemoryStore(clock())


@pytest.fixture(params=["memory", "sqlite"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return Opener(tmp_path / "store.db" if request.param == "sqlite" else None)


@pytest.fixture(params=["worker", "queue"])
def either(request: pytest.FixtureRequest, opener: Opener) -> Opener:
    return opener._replace(queued=request.param == "queue")


@asynccontextmanager
async def desk(
    opener: Opener, outcomes: list[Any] | None = None, **options: Any
) -> AsyncGenerator[tuple[Delivery, Fake, Store]]:
    store, fake = opener(), Fake(outcomes or [])
    delivery = deliver(store, fake, queued=opener.queued, **options)
    yield delivery, fake, store
    await delivery.close()
    await store.close()


def settled(opener: Opener, *outcomes: Any, **options: Any) -> tuple[Entry, Fake]:
    """Accept one SMS, let it come to its end, and give what is stored."""

    @virtual
    async def run() -> tuple[Entry, Fake]:
        async with desk(opener, list(outcomes), **options) as (delivery, fake, store):
            await delivery.accept(sms())
            assert await delivery.settle(86_000)
            assert not await store.query(PENDING)
            return await only(delivery), fake

    return run()


def test_accepting_asks_no_provider_and_takes_no_time(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either) as (delivery, fake, _):
            fake.takes_s = 30
            outbox_id = await delivery.accept(sms(call="CA1", agent="shop"))
            assert asyncio.get_running_loop().time() == 0
            entry = await only(delivery)
            assert entry.id == outbox_id
            assert entry.status in ("accepted", "sending")
            assert (entry.call, entry.agent, entry.to) == ("CA1", "shop", ADA)
            await delivery.settle(60)

    run()


def test_a_message_is_sent_and_its_delivery_reported(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either) as (delivery, fake, _):
            outbox_id = await delivery.accept(sms())
            await delivery.settle(1)
            entry = await only(delivery)
            assert (entry.status, entry.provider_id, entry.via) == ("sent", "SM1", "fake")
            assert fake.sent == [sms()]
            assert await delivery.status("SM1", "delivered")
            assert (await only(delivery)).status == "delivered"
            assert (await delivery.entry(outbox_id)) == await only(delivery)
            assert await delivery.entry("nothing") is None

    run()


def test_pauses_grow_up_to_a_limit_and_the_last_refusal_is_a_dead_letter(either: Opener) -> None:
    policy = Policy(attempts=5, first_s=2, factor=3, most_s=10)
    entry, fake = settled(either, *[BUSY] * 5, policy=policy)
    assert fake.at == [0, 2, 8, 18, 28]
    assert (entry.status, entry.code, entry.reason) == ("failed", "20429", "busy")
    assert entry.attempts == 5


def test_jitter_takes_up_to_half_of_a_pause_away() -> None:
    assert Policy().pause_s(1, 0) == 2
    assert Policy().pause_s(1, 1) == 1
    assert Policy().pause_s(10**9, 0) == 600


def test_the_provider_says_how_long_to_wait(either: Opener) -> None:
    busy = MessengerError("busy", retryable=True, retry_after_s=77)
    entry, fake = settled(either, busy)
    assert fake.at == [0, 77]
    assert (entry.status, entry.code, entry.reason) == ("sent", "", "")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(DEAD, "failed"), (LOST, "unknown"), (ZeroDivisionError("1 415 555 0100"), "unknown")],
)
def test_what_must_not_be_tried_again_is_not(
    either: Opener, outcome: Exception, status: str
) -> None:
    entry, fake = settled(either, outcome)
    assert (entry.status, len(fake.sent)) == (status, 1)
    assert "415" not in entry.reason


def test_a_messenger_that_hangs_is_cut_off_and_the_message_unknown(either: Opener) -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    entry, fake = settled(either, never)
    assert (entry.status, len(fake.sent)) == ("unknown", 1)


def test_an_opt_out_is_remembered_and_never_tried_again(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either, [STOPPED]) as (delivery, fake, _):
            await delivery.accept(sms("one"))
            await delivery.settle(10)
            assert ((await only(delivery)).status, len(fake.sent)) == ("failed", 1)
            assert await delivery.is_opted_out(" +1 415 555-0100 ")
            with pytest.raises(MessageRefused, match="START") as caught:
                await delivery.accept(sms("two"))
            assert isinstance(caught.value, ToolError)  # a model is told it
            assert caught.value.reason == "opted_out"
            await delivery.opt_in(ADA)
            await delivery.accept(sms("three"))
            await delivery.settle(10)
            assert [message.body for message in fake.sent] == ["one", "three"]

    run()


def test_an_opt_out_counts_for_what_was_accepted_before_it(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either, [BUSY]) as (delivery, fake, _):
            await delivery.accept(sms())
            await asyncio.sleep(1)
            await delivery.opt_out(ADA)
            await delivery.settle(60)
            entry = await only(delivery)
            assert (entry.status, entry.code, len(fake.sent)) == ("failed", "21610", 1)

    run()


def test_addresses_opt_out_whatever_their_case(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener) as (delivery, _, _):
            await delivery.opt_out("Ada@Example.com")
            assert await delivery.is_opted_out(ADA_MAIL)
            for nonsense in ("", "12345\ud800", "withheld", "x@y"):
                with pytest.raises(MessageRefused):
                    await delivery.opt_out(nonsense)

    run()


def test_the_same_key_is_sent_once(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either) as (delivery, fake, _):
            first = await delivery.accept(sms("Your table is booked.", key="CA1/3/book"))
            again = await delivery.accept(sms("Your table is booked!", key="CA1/3/book"))
            await delivery.settle(1)
            late, *_ = await asyncio.gather(
                *(delivery.accept(sms("Booked", key="CA1/3/book")) for _ in range(5))
            )
            await delivery.settle(1)
            assert first == again == late
            assert [message.body for message in fake.sent] == ["Your table is booked."]
            assert len(await delivery.entries()) == 1

    run()


def test_a_key_of_another_recipient_is_refused_rather_than_swallowed(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either) as (delivery, _, _):
            await delivery.accept(sms(key="k"))
            for other in (sms(key="k", to="+14155550199"), mail(key="k")):
                with pytest.raises(MessageRefused, match="key"):
                    await delivery.accept(other)

    run()


def test_only_so_many_are_sent_at_a_time(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener, policy=Policy(concurrency=3)) as (delivery, fake, _):
            fake.takes_s = 1
            for number in range(10):
                await delivery.accept(sms(str(number)))
            await delivery.settle(60)
            assert (fake.most, len(fake.sent)) == (3, 10)
            assert asyncio.get_running_loop().time() == 4

    run()


def test_a_message_that_waits_holds_up_no_other(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either, [BUSY], policy=Policy(concurrency=1)) as (delivery, fake, _):
            await delivery.accept(sms("waits"))
            await asyncio.sleep(0.5)
            await delivery.accept(sms("goes"))
            await delivery.settle(60)
            assert [message.body for message in fake.sent] == ["waits", "goes", "waits"]

    run()


def test_who_may_not_be_written_to_is_not(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either, allow=lambda one: one.to == ADA) as (delivery, _, _):
            await delivery.accept(sms())
            with pytest.raises(MessageRefused, match="not allowed"):
                await delivery.accept(sms("Hi", to="+882161234567"))
            with pytest.raises(MessageRefused):
                await delivery.accept(sms("Hi", kind="fax"))

    run()


@virtual
async def test_without_an_account_messages_are_stored_and_never_called_sent() -> None:
    delivery = Delivery(MemoryStore(clock()), {"sms": OutboxMessenger()}, now=clock())
    await delivery.accept(sms())
    await delivery.settle(1)
    assert (await only(delivery)).status == "stored"
    # Nor are they sent when an account comes later.
    assert await delivery.recover() == Recovered()
    with pytest.raises(MessageRefused, match="no email"):
        await delivery.accept(mail())


@pytest.mark.parametrize(
    ("statuses", "ends"),
    [
        (["queued", "sent", "delivered"], "delivered"),
        (["delivered", "sent", "queued", "delivered"], "delivered"),
        (["undelivered", "delivered", "sent"], "undelivered"),
        (["delivered", "failed"], "delivered"),
        (["canceled"], "failed"),
        (["read", "delivered"], "delivered"),
        (["sent", "sending", "accepted", "", "nonsense", "received"], "sent"),
    ],
)
def test_callbacks_in_any_order_never_take_a_final_status_back(
    either: Opener, statuses: list[str], ends: str
) -> None:
    @virtual
    async def run() -> None:
        async with desk(either) as (delivery, _, _):
            await delivery.accept(sms())
            await delivery.settle(1)
            changed = [await delivery.status("SM1", status) for status in statuses]
            assert sum(changed) == (ends != "sent")
            assert (await only(delivery)).status == ends

    run()


def test_a_callback_that_overtakes_the_answer_is_kept_for_it(either: Opener) -> None:
    @virtual
    async def run() -> None:
        store = either()

        async def overtake() -> None:
            assert not await delivery.status("SM1", "sent")
            assert not await delivery.status("SM1", "undelivered", "30005")
            assert not await delivery.status("SM1", "delivered")

        delivery = deliver(store, Fake([overtake]), queued=either.queued)
        await delivery.accept(sms())
        await delivery.settle(1)
        entry = await only(delivery)
        assert (entry.status, entry.code) == ("undelivered", "30005")
        assert entry.reason == "the number is unknown"
        assert not await delivery.status("SM1", "delivered")
        await delivery.close()
        await store.close()

    run()


@pytest.mark.parametrize("early", [False, True])
def test_an_opt_out_told_by_a_callback_is_remembered(either: Opener, early: bool) -> None:
    @virtual
    async def run() -> None:
        async with desk(either) as (delivery, fake, _):

            async def tell() -> None:
                await delivery.status("SM1", "failed", "21610")

            fake.outcomes = [tell] if early else []
            await delivery.accept(sms())
            await delivery.settle(1)
            await tell()
            assert await delivery.is_opted_out(ADA)
            assert (await only(delivery)).status == "failed"

    run()


def test_a_provider_that_gives_an_id_twice_confuses_nobody(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either, ["SM1", "SM1"]) as (delivery, _, _):
            await delivery.accept(sms("one"))
            await delivery.settle(1)
            await delivery.accept(sms("two"))
            await delivery.settle(1)
            assert [entry.status for entry in await delivery.entries()] == ["sent", "sent"]

    run()


def test_callbacks_that_are_not_ours_change_nothing(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener) as (delivery, _, _):
            for provider_id in ("", "SM404", "\ud800", "x" * 5000, "a b"):
                assert not await delivery.status(provider_id, "delivered", "30003")
                assert not await delivery.status(provider_id, "delivered", "\x00'")

    run()


class Crash:
    """A process that dies: its tasks are gone, its store stays."""

    @staticmethod
    async def of(delivery: Delivery) -> None:
        worker = delivery._worker
        tasks = [task for task in (worker._work, *worker._running) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_after_a_crash_what_was_never_tried_is_sent(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener, policy=IDLE) as (before, _, store):
            await before.accept(sms())
            await Crash.of(before)
            fake = Fake()
            after = deliver(store, fake)
            assert await after.recover() == Recovered(resent=1)
            await after.settle(1)
            assert ((await only(after)).status, len(fake.sent)) == ("sent", 1)
            assert await after.recover() == Recovered()

    run()


def test_after_a_crash_what_was_being_sent_is_unknown(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener) as (before, asked, store):
            asked.takes_s = 10
            await before.accept(sms())
            await asyncio.sleep(1)
            await Crash.of(before)
            assert len(asked.sent) == 1
            fake = Fake()
            after = deliver(store, fake)
            assert await after.recover() == Recovered(unknown=1)
            await after.settle(1)
            entry = await only(after)
            assert (entry.status, fake.sent) == ("unknown", [])
            # The provider may still tell.
            assert not await store.query(PENDING)

    run()


def test_a_pause_goes_on_after_a_restart(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener, [BUSY], policy=Policy(first_s=60)) as (before, _, store):
            await before.accept(sms())
            await asyncio.sleep(20)
            await before.close()
            fake = Fake()
            after = deliver(store, fake)
            assert await after.recover() == Recovered(resent=1)
            await after.settle(100)
            assert fake.at == [60]

    run()


def test_many_messages_are_recovered_page_by_page(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener, policy=IDLE) as (before, _, store):
            for number in range(250):
                await before.accept(sms(str(number)))
            await Crash.of(before)
            fake = Fake()
            after = deliver(store, fake)
            assert await after.recover() == Recovered(resent=250)
            await after.settle(100)
            assert sorted(int(message.body) for message in fake.sent) == list(range(250))

    run()


def test_what_lay_too_long_is_a_dead_letter(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener, policy=IDLE) as (before, _, store):
            await before.accept(sms())
            await Crash.of(before)
            await asyncio.sleep(40_000)
            fake = Fake()
            after = deliver(store, fake)
            await after.recover()
            await after.settle(100)
            entry = await only(after)
            assert (entry.status, entry.code, fake.sent) == ("failed", "expired", [])

    run()


def test_two_processes_with_one_store_send_once(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener) as (one, fake, store):
            fake.takes_s = 5
            other_fake = Fake(takes_s=5, ids="other")
            other = deliver(store, other_fake)
            for number in range(8):
                await one.accept(sms(str(number)))
            await other.recover()
            await asyncio.gather(one.settle(90), other.settle(90))
            assert len(fake.sent) + len(other_fake.sent) == 8
            # One that came up while the other was sending has not the last word.
            await one.accept(sms("more"))
            await asyncio.sleep(1)
            assert await other.recover() == Recovered(unknown=1)
            await one.settle(90)
            assert {entry.status for entry in await one.entries()} == {"sent"}

    run()


def test_a_claim_that_was_taken_over_cannot_be_given_back_again(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        store = opener()
        records = Records(store, clock(), 30)
        place, _ = await records.keep(sms())
        assert await records.claim(place, "ours", "fake")
        assert await records.claim(place, "ours", "fake"), "known as ours if told twice"
        await records.put_back(place, "ours", "429", "busy", 0)
        assert await records.claim(place, "theirs", "fake")
        # As after a write that was done though the store said that it failed.
        await records.put_back(place, "ours", "429", "busy", 0)
        assert await records.claim(place, "ours", "fake") is None
        await records.sent(place, "theirs", "SM1")
        # As when it was still being sent a moment ago, when recovery looked.
        assert not await records.give_up_sending(place)
        entry = await records.at(place)
        assert entry is not None
        assert entry.status == "sent"
        await store.close()

    run()


class Moody(MemoryStore):
    """A store that fails when told to, before or after a write is done."""

    def __init__(self) -> None:
        super().__init__(clock())
        self.fails: list[str] = []

    async def write(self, *writes: Write) -> None:
        fails = self._next()
        if fails != "before":
            await super().write(*writes)
        if fails:
            raise StoreError("moody")

    async def update(self, update: Update) -> Item:
        fails = self._next()
        item = {} if fails == "before" else await super().update(update)
        if fails:
            raise StoreError("moody")
        return item

    def _next(self) -> str:
        return self.fails.pop(0) if self.fails else ""


@pytest.mark.parametrize("fails", [["", "before"], ["", "after"], ["", "after", "before"]])
@pytest.mark.parametrize("queued", [False, True])
def test_a_store_that_fails_before_a_send_delays_it(fails: list[str], queued: bool) -> None:
    @virtual
    async def run() -> None:
        store, fake = Moody(), Fake()
        delivery = deliver(store, fake, queued=queued)
        store.fails = list(fails)
        await delivery.accept(sms())
        await delivery.settle(100)
        assert ((await only(delivery)).status, len(fake.sent)) == ("sent", 1)

    run()


@pytest.mark.parametrize("fails", [["before"] * 3, ["after"], ["after", "before"]])
@pytest.mark.parametrize("queued", [False, True])
def test_a_store_that_fails_after_a_send_does_not_repeat_it(fails: list[str], queued: bool) -> None:
    @virtual
    async def run() -> None:
        store, fake = Moody(), Fake()
        delivery = deliver(store, fake, queued=queued)
        store.fails = ["", "", *fails]
        await delivery.accept(sms())
        await delivery.settle(100)
        assert ((await only(delivery)).status, len(fake.sent)) == ("sent", 1)

    run()


@virtual
async def test_what_could_not_be_stored_was_not_accepted() -> None:
    store, fake = Moody(), Fake()
    delivery = deliver(store, fake)
    store.fails = ["before"]
    with pytest.raises(StoreError):
        await delivery.accept(sms())
    assert await delivery.settle(10)
    assert not fake.sent
    await delivery.accept(sms())
    await delivery.settle(10)
    assert len(fake.sent) == 1


def test_a_caller_who_cuts_in_cancels_no_message_half_accepted(either: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(either) as (delivery, fake, _):
            tool = asyncio.create_task(delivery.accept(sms()))
            for _ in range(3):  # past the look at the opt-outs, or before it: all or nothing
                await asyncio.sleep(0)
            tool.cancel()
            await asyncio.gather(tool, return_exceptions=True)
            await asyncio.sleep(1)
            await delivery.settle(10)
            entries = await delivery.entries()
            assert len(fake.sent) == len(entries)
            assert all(entry.status == "sent" for entry in entries)

    run()


@virtual
async def test_a_message_that_is_being_stored_when_the_caller_cuts_in_is_sent() -> None:
    class Slow(MemoryStore):
        async def write(self, *writes: Write) -> None:
            await super().write(*writes)
            await asyncio.sleep(1)

    fake = Fake()
    delivery = deliver(Slow(clock()), fake)
    tool = asyncio.create_task(delivery.accept(sms()))
    await asyncio.sleep(0.5)
    tool.cancel()
    await asyncio.sleep(5)
    assert tool.cancelled()
    assert ((await only(delivery)).status, len(fake.sent)) == ("sent", 1)


def test_closing_sends_what_is_due_and_leaves_the_rest_for_the_next_start(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        store, fake = opener(), Fake([BUSY, "SM2"])
        delivery = deliver(store, fake)
        await delivery.accept(sms("waits"))
        await asyncio.sleep(1)
        await delivery.accept(sms("due"))
        await delivery.close()
        assert fake.closed
        assert asyncio.get_running_loop().time() == 1
        statuses = {entry.body: entry.status for entry in await delivery.entries()}
        assert statuses == {"waits": "accepted", "due": "sent"}
        with pytest.raises(MessageRefused) as caught:
            await delivery.accept(sms("late"))
        assert caught.value.reason == "closed"
        await store.close()

    run()


def test_closing_waits_no_longer_than_its_limit(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        store, fake = opener(), Fake(takes_s=50)
        delivery = deliver(store, fake)
        await delivery.accept(sms())
        await asyncio.sleep(1)
        await delivery.close(limit_s=3)
        assert asyncio.get_running_loop().time() == 4
        assert (await only(delivery)).status == "sending"
        await store.close()

    run()


def test_entries_are_newest_first_across_days(opener: Opener) -> None:
    @virtual
    async def run() -> None:
        async with desk(opener) as (delivery, _, _):
            for number in range(5):
                await delivery.accept(sms(str(number)))
                await asyncio.sleep(40_000 if number % 2 else 0.01)
            assert [entry.body for entry in await delivery.entries()] == list("43210")
            assert [entry.body for entry in await delivery.entries(3)] == list("432")
            assert await delivery.entries(0) == []

    run()


def test_logs_name_no_numbers_addresses_or_words(
    either: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    @virtual
    async def run() -> None:
        async with desk(either, [BUSY, DEAD, LOST, None, STOPPED]) as (delivery, _, _):
            for number in range(4):
                await delivery.accept(mail(f"secret words {number}", to=f"{number}{ADA_MAIL}"))
                await delivery.settle(100)
            await delivery.opt_out(ADA)
            await delivery.opt_in(ADA)
            await delivery.status("SM4", "failed", "30007")
            for entry in await delivery.entries():
                logging.getLogger("voxyray").warning("%r %r", entry, entry.message)

    run()
    text = caplog.text
    assert "…@example.com" in text
    for hidden in (ADA, ADA_MAIL, "secret", "5550100"):
        assert hidden not in text
