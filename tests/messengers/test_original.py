"""The original's mistakes that can exist here (`reference/original.md`, section 4), one by one."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from tests.messengers.support import ADA, ADA_MAIL, Fake, bench, clock, mail, sms
from voxyray.errors import MessengerError
from voxyray.messengers.attempts import Policy
from voxyray.messengers.delivery import Delivery
from voxyray.messengers.listing import rows
from voxyray.stores.memory import MemoryStore
from voxyray.twin import virtual

ORDER_1 = "Order 1: one Hawaiian, 15.95."
ORDER_2 = "Order 2: a Caesar salad, 9.95."


def deliver(*outcomes: Any, **options: Any) -> tuple[Delivery, Fake]:
    fake = Fake(list(outcomes))
    kinds = {"sms": fake, "email": fake}
    return Delivery(MemoryStore(clock()), kinds, now=clock(), **options), fake


@virtual
async def test_mistake_22_a_second_order_is_confirmed_by_its_own_words() -> None:
    delivery, fake = deliver()
    await delivery.accept(sms(ORDER_1, key="CA1/2/place_order"))
    await delivery.accept(sms(ORDER_2, key="CA1/5/place_order"))
    await delivery.settle(10)
    assert [message.body for message in fake.sent] == [ORDER_1, ORDER_2]
    assert [entry.body for entry in await delivery.entries()] == [ORDER_2, ORDER_1]


async def test_mistake_23_an_e_mail_has_one_text_and_it_is_the_messages() -> None:
    async with bench("sendgrid") as one:
        await one.messenger.send(mail(ORDER_1))
        assert one.taken() == [(ADA_MAIL, ORDER_1)]


@pytest.mark.parametrize("words", ["Tue-Thu 11-21, Fri-Sat 11-23.", "101 Spear Street"])
def test_mistake_24_hours_and_location_need_no_order(words: str) -> None:
    @virtual
    async def run() -> None:
        delivery, fake = deliver()
        await delivery.accept(sms(words, key="CA1/1/send_info"))
        await delivery.settle(10)
        assert [message.body for message in fake.sent] == [words]

    run()


@virtual
async def test_mistake_38_a_message_is_listed_as_what_it_is() -> None:
    delivery, _ = deliver(MessengerError("no such number", code="21211"))
    await delivery.accept(sms("Your tour is on Tuesday at 1:30 pm.\nBring an ID, please, Ada."))
    await delivery.settle(10)
    await delivery.accept(mail(subject="Your tour", body="It is on Tuesday."))
    await delivery.settle(10)
    email, text = rows(await delivery.entries(), timezone(timedelta(hours=2)))
    assert (email.kind, email.status, email.to) == ("email", "sent", "a…@example.com")
    assert (text.kind, text.status, text.to) == ("sms", "failed (21211)", "…00")
    assert email.words == "Your tour It is on Tuesday."
    assert text.words == "Your tour is on Tuesday at 1:30 pm. Bring an ID…"
    assert (email.when, rows(await delivery.entries(), UTC)[0].when) == (
        "2025-06-15 17:06",
        "2025-06-15 15:06",
    )


def test_mistake_42_no_message_is_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    @virtual
    async def run() -> None:
        delivery, _ = deliver(MessengerError("busy", retryable=True))
        await delivery.accept(sms(ORDER_1))
        await delivery.settle(100)
        await delivery.close()

    run()
    assert "sent by fake" in caplog.text
    for hidden in (ADA, "Hawaiian", "15.95"):
        assert hidden not in caplog.text


@virtual
async def test_mistake_44_what_cannot_be_delivered_is_kept_as_a_dead_letter() -> None:
    busy = [MessengerError("busy", retryable=True, code="503") for _ in range(3)]
    delivery, fake = deliver(*busy, policy=Policy(attempts=3))
    await delivery.accept(sms(ORDER_1))
    await delivery.settle(1000)
    (entry,) = await delivery.entries()
    assert (entry.status, entry.code, entry.reason, entry.attempts) == ("failed", "503", "busy", 3)
    assert entry.body == ORDER_1
    await asyncio.sleep(10_000)
    assert len(fake.sent) == 3
