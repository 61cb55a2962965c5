"""The sender function: batches, what does not belong into a queue, and a real queue behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.messengers.support import Fake, sms
from tests.support.ministack import MiniStack
from voxyray.aws import clients, sender
from voxyray.aws.queues import Outgoing, Queue, open_outgoing
from voxyray.aws.sender import Sender, ticket_of
from voxyray.errors import MessengerError, StoreError
from voxyray.messengers.attempts import Policy
from voxyray.messengers.delivery import Delivery
from voxyray.messengers.records import Place
from voxyray.stores import Item, Put, Store
from voxyray.stores.dynamodb import create_table
from voxyray.stores.memory import MemoryStore
from voxyray.stores.opening import open_store

TICKET = {"pk": "OUTBOX#2026-11-22", "sk": "001750000000000#" + "a" * 24, "kind": "sms"}
BUSY = MessengerError("busy", retryable=True)


class Tickets:
    """A dispatcher that keeps what it is given."""

    kinds = ("sms", "email")

    def __init__(self) -> None:
        self.given: list[tuple[Place, str, float]] = []

    async def dispatch(self, place: Place, kind: str, wait_s: float = 0.0) -> None:
        self.given.append((place, kind, wait_s))

    def events(self) -> dict[str, Any]:
        places = [{"pk": place.pk, "sk": place.sk, "kind": kind} for place, kind, _ in self.given]
        return event(*(json.dumps(each) for each in places))


def event(*bodies: Any) -> dict[str, Any]:
    records = [{"messageId": f"m{number}", "body": body} for number, body in enumerate(bodies)]
    return {"Records": records}


def desk(fake: Fake, store: Store | None = None, **policy: Any) -> tuple[Delivery, Tickets, Sender]:
    tickets = Tickets()
    delivery = Delivery(
        store or MemoryStore(), {"sms": fake}, dispatcher=tickets, policy=Policy(**policy)
    )
    return delivery, tickets, Sender(delivery, tickets)


def failed(answer: dict[str, Any]) -> list[str]:
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


async def test_a_batch_is_sent_at_once() -> None:
    fake = Fake(takes_s=0.001)
    delivery, tickets, ours = desk(fake)
    for number in range(10):
        await delivery.accept(sms(str(number)))
    assert failed(await ours.handle(tickets.events(), 60)) == []
    assert len(fake.sent) == fake.most == 10
    assert {entry.status for entry in await delivery.entries()} == {"sent"}


async def test_only_what_could_not_be_looked_at_is_reported_as_failed() -> None:
    class Away(MemoryStore):
        async def get(self, pk: str, sk: str) -> Item | None:
            if sk == away:
                raise StoreError("away")
            return await super().get(pk, sk)

    away = ""
    fake = Fake()
    delivery, tickets, ours = desk(fake, Away())
    for number in range(5):
        await delivery.accept(sms(str(number)))
    away = tickets.given[2][0].sk
    assert failed(await ours.handle(tickets.events(), 60)) == ["m2"]
    assert sorted(message.body for message in fake.sent) == ["0", "1", "3", "4"]


async def test_a_refusal_for_now_is_a_new_ticket_and_no_failure() -> None:
    delivery, tickets, ours = desk(Fake([BUSY]), first_s=8)
    await delivery.accept(sms())
    assert failed(await ours.handle(tickets.events(), 60)) == []
    (place, kind, wait_s) = tickets.given[1]
    assert (place, kind) == tickets.given[0][:2]
    assert 4 <= wait_s <= 8
    (entry,) = await delivery.entries()
    assert entry.status == "accepted"


async def test_a_bug_in_one_attempt_fails_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Delivery):
        async def attempt(self, place: Place) -> Any:
            raise ZeroDivisionError(sms().to)

    ours = Sender(Broken(MemoryStore(), {}), Tickets())
    assert failed(await ours.handle(event(json.dumps(TICKET)), 60)) == ["m0"]
    assert sms().to not in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_an_attempt_that_takes_too_long_is_cut_off_before_the_function_is() -> None:
    fake = Fake()
    delivery, tickets, ours = desk(fake)
    await delivery.accept(sms("quick"))
    await delivery.accept(sms("hangs"))

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    fake.outcomes = ["SM1", never]
    assert failed(await ours.handle(tickets.events(), 0.05)) == ["m1"]
    statuses = {entry.body: entry.status for entry in await delivery.entries()}
    assert statuses == {"quick": "sent", "hangs": "sending"}


async def test_what_waits_for_room_when_the_time_is_up_was_not_begun() -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    delivery, tickets, ours = desk(Fake([never] * 10))
    for number in range(12):
        await delivery.accept(sms(str(number)))
    assert len(failed(await ours.handle(tickets.events(), 0.05))) == 12
    statuses = [entry.status for entry in await delivery.entries()]
    assert sorted(statuses) == ["accepted"] * 2 + ["sending"] * 10


HOSTILE = [
    *("", "no json", "{", "[]", "null", "7", '"x"', "\ud800", '{"pk":', "[" * 5000),
    *("{}", json.dumps({**TICKET, "kind": "fax"}), json.dumps({**TICKET, "pk": "ORDER#1"})),
    *(json.dumps({**TICKET, "pk": None}), json.dumps({**TICKET, "sk": ["x"]})),
    json.dumps({**TICKET, "pk": "CALLER#+14155550100", "sk": "PROFILE"}),
    json.dumps(TICKET) + " " * 1_000_000,
    json.dumps({"Type": "Notification"}),
    json.dumps({"Type": "Notification", "Message": {"pk": 1}}),
    json.dumps({"Type": "Notification", "Message": "\ud800"}),
    json.dumps({"Type": "SubscriptionConfirmation", "Token": "x", "Message": json.dumps(TICKET)}),
    *(None, 7, b"bytes", {"pk": "x"}),
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
async def test_what_is_no_ticket_moves_nothing_and_goes_to_the_dead_letters(body: Any) -> None:
    fake, store = Fake(), MemoryStore()
    order = {"pk": "ORDER#1", "sk": "001750000000000#" + "a" * 24, "status": "accepted"}
    await store.write(Put(order))
    delivery, tickets, ours = desk(fake, store)
    await delivery.accept(sms())
    batch = event(body, *(record["body"] for record in tickets.events()["Records"]))
    assert failed(await ours.handle(batch, 60)) == ["m0"]
    assert len(fake.sent) == 1
    assert await store.get(order["pk"], order["sk"]) == order
    assert len(tickets.given) == 1


@pytest.mark.parametrize("record", [None, 7, [], {}, {"messageId": 3}, {"body": "x"}])
async def test_records_that_are_none_fail_without_an_exception(record: Any) -> None:
    _, _, ours = desk(Fake())
    assert len(failed(await ours.handle({"Records": [record]}, 60))) == 1


async def test_a_ticket_of_a_message_that_is_gone_is_done_with() -> None:
    _, tickets, ours = desk(Fake())
    assert failed(await ours.handle(event(json.dumps(TICKET)), 60)) == []
    assert tickets.given == []


def test_what_sns_has_wrapped_is_unwrapped() -> None:
    wrapped = {"Type": "Notification", "TopicArn": "arn:x", "Message": json.dumps(TICKET)}
    ticket = ticket_of({"body": json.dumps({**wrapped, "Signature": "x" * 2000})})
    assert ticket is not None
    assert ticket.place == Place(TICKET["pk"], TICKET["sk"])


async def test_a_schedule_takes_up_what_was_lost() -> None:
    at = 1_750_000_000.0
    fake, store, tickets = Fake(), MemoryStore(lambda: at), Tickets()
    delivery = Delivery(store, {"sms": fake}, dispatcher=tickets, now=lambda: at)
    ours = Sender(delivery, tickets)
    await delivery.accept(sms())
    scheduled = {"source": "aws.events", "detail-type": "Scheduled Event"}
    assert await ours.handle(scheduled, 60) == {"resent": 0, "unknown": 0}
    at += 400
    assert await ours.handle(scheduled, 60) == {"resent": 1, "unknown": 0}
    assert len(tickets.given) == 2


# Over sockets


@pytest.fixture
def sqs(aws: MiniStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    clients.forget()
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    yield aws.client("sqs")
    clients.forget()


class Mapping:
    """The event source mapping of a function: receives batches and deletes what did not fail."""

    def __init__(self, sqs: Any, receives: int = 2) -> None:
        self.sqs = sqs
        self.dead = sqs.create_queue(QueueName=f"dead-{uuid4().hex}")["QueueUrl"]
        arn = self._attributes(self.dead, "QueueArn")["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": receives})
        # Visible again at once: a test does not wait.
        attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": "0"}
        name = f"live-{uuid4().hex}"
        self.url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def _attributes(self, url: str, *names: str) -> dict[str, str]:
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names))
        return {name: str(value) for name, value in answer["Attributes"].items()}

    async def poll(self, ours: Sender) -> int:
        """Give one batch to the function; how many records there were."""
        answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        found = answer.get("Messages", [])
        records = [{"messageId": each["MessageId"], "body": each["Body"]} for each in found]
        went_wrong = failed(await ours.handle({"Records": records}, 60))
        for each in found:
            if each["MessageId"] not in went_wrong:
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=each["ReceiptHandle"])
        return len(found)

    def dead_bodies(self) -> list[str]:
        answer = self.sqs.receive_message(QueueUrl=self.dead, MaxNumberOfMessages=10)
        return [each["Body"] for each in answer.get("Messages", [])]

    def delayed(self) -> int:
        name = "ApproximateNumberOfMessagesDelayed"
        return int(self._attributes(self.url, name)[name])


@pytest.fixture(params=["memory", "dynamodb"])
def table(request: pytest.FixtureRequest, aws: MiniStack, sqs: Any) -> Store:
    if request.param == "memory":
        return MemoryStore()
    name = f"table-{uuid4().hex}"
    create_table(aws.client("dynamodb"), name)
    return open_store(f"dynamodb:{name}")


async def test_over_a_real_queue_messages_are_sent_and_nonsense_ends_among_the_dead(
    sqs: Any, table: Store
) -> None:
    mapping, fake = Mapping(sqs), Fake([BUSY])
    outgoing = Outgoing({"sms": Queue(mapping.url)})
    delivery = Delivery(table, {"sms": fake}, dispatcher=outgoing)
    ours = Sender(delivery, outgoing)
    for number in range(3):
        await delivery.accept(sms(str(number)))
    await outgoing._queues["sms"].send("no ticket")
    for _ in range(12):
        await mapping.poll(ours)
    assert mapping.dead_bodies() == ["no ticket"]
    # The one that was refused waits in the queue for its next attempt, the others are sent.
    assert mapping.delayed() == 1
    statuses = sorted(entry.status for entry in await delivery.entries())
    assert statuses == ["accepted", "sent", "sent"]
    assert len(fake.sent) == 3
    await table.close()


class Context:
    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 60_000


def test_the_handler_opens_what_the_environment_names_once(
    sqs: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mapping = Mapping(sqs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXYRAY_STORE", f"sqlite:{tmp_path}/store.db")
    monkeypatch.setenv("VOXYRAY_SMS", "outbox")
    monkeypatch.setenv("VOXYRAY_SMS_QUEUE_URL", mapping.url)
    sender._opened.cache_clear()
    loop, ours = sender._opened()
    try:
        accepting = Delivery(
            ours._delivery._records._store,
            {},
            dispatcher=open_outgoing({"VOXYRAY_SMS_QUEUE_URL": mapping.url}),
        )
        loop.run_until_complete(accepting.accept(sms()))
        (found,) = sqs.receive_message(QueueUrl=mapping.url)["Messages"]
        batch = {"Records": [{"messageId": "m", "body": found["Body"]}]}
        assert sender.handler(batch, Context()) == {"batchItemFailures": []}
        assert sender.handler(batch, Context()) == {"batchItemFailures": []}
        (entry,) = loop.run_until_complete(accepting.entries())
        assert entry.status == "stored"
        assert sender.handler({}, Context()) == {"resent": 0, "unknown": 0}
        loop.run_until_complete(ours._delivery.close())
        loop.run_until_complete(ours._delivery._records._store.close())
    finally:
        loop.close()
        sender._opened.cache_clear()
