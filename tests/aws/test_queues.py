"""Queues over a real socket: what is put in comes out, and what goes wrong says what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.support.ministack import MiniStack, environment
from voxyray.aws import clients
from voxyray.aws.queues import MOST_DELAY_S, Outgoing, Queue, Ticket, open_outgoing
from voxyray.errors import QueueError, VoxyrayError
from voxyray.messengers.records import Place

PLACE = Place("OUTBOX#2026-11-22", "001750000000000#" + "a" * 24)


@pytest.fixture(autouse=True)
def _no_old_clients() -> Iterator[None]:
    clients.forget()
    yield
    clients.forget()


@pytest.fixture
def sqs(aws: MiniStack, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    return aws.client("sqs")


def made(sqs: Any, **attributes: str) -> str:
    return str(sqs.create_queue(QueueName=f"q-{uuid4().hex}", Attributes=attributes)["QueueUrl"])


def received(sqs: Any, url: str) -> list[str]:
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    return [message["Body"] for message in answer.get("Messages", [])]


async def test_what_is_put_in_comes_out(sqs: Any) -> None:
    url = made(sqs)
    await Queue(url).send("hello, Zoë 🙂")
    assert received(sqs, url) == ["hello, Zoë 🙂"]


async def test_what_is_delayed_does_not_come_out_yet(sqs: Any) -> None:
    url = made(sqs)
    await Queue(url).send("later", 600)
    assert received(sqs, url) == []
    wanted = ["ApproximateNumberOfMessagesDelayed"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)
    assert answer["Attributes"] == {wanted[0]: "1"}


@pytest.mark.parametrize(
    ("delay_s", "asked"), [(-3, 0), (0, 0), (0.2, 1), (12.0, 12), (899.5, 900), (10**6, 900)]
)
async def test_delays_are_whole_seconds_that_sqs_takes(
    sqs: Any, delay_s: float, asked: int
) -> None:
    queue = Queue(made(sqs))
    sent: list[dict[str, Any]] = []
    queue._send = lambda **arguments: sent.append(arguments)
    await queue.send("x", delay_s)
    assert [each["DelaySeconds"] for each in sent] == [asked]
    assert asked <= MOST_DELAY_S


async def test_sending_does_not_hold_up_the_loop(sqs: Any) -> None:
    queue = Queue(made(sqs))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turn())
    await queue.send("x")
    other.cancel()
    assert turns > 5


async def test_a_queue_that_does_not_exist_is_named(sqs: Any) -> None:
    url = made(sqs)
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(QueueError, match=r"does not exist; check the queue's URL") as caught:
        await Queue(url).send("secret")
    assert url.rpartition("/")[2] in str(caught.value)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, VoxyrayError)
    assert caught.value.__context__ is None


async def test_an_endpoint_that_is_away_is_a_queue_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment("http://127.0.0.1:9").items():  # nobody listens there
        monkeypatch.setenv(name, value)
    with pytest.raises(QueueError, match="cannot be reached"):
        await Queue("http://127.0.0.1:9/000000000000/messages").send("x")


async def test_tickets_go_into_the_queue_of_their_kind(
    sqs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, mails = made(sqs), made(sqs)
    outgoing = open_outgoing({"VOXYRAY_SMS_QUEUE_URL": texts, "VOXYRAY_EMAIL_QUEUE_URL": mails})
    await outgoing.dispatch(PLACE, "email")
    assert received(sqs, texts) == []
    (body,) = received(sqs, mails)
    assert json.loads(body) == {"pk": PLACE.pk, "sk": PLACE.sk, "kind": "email"}
    assert set(outgoing.kinds) == {"sms", "email"}  # type: ignore[call-overload]


async def test_kinds_without_a_queue_are_none_of_ours() -> None:
    outgoing = open_outgoing({"VOXYRAY_SMS_QUEUE_URL": " "})
    assert "sms" not in outgoing.kinds
    with pytest.raises(QueueError, match="VOXYRAY_EMAIL_QUEUE_URL"):
        await Outgoing({}).dispatch(PLACE, "email")


def test_tickets_are_small() -> None:
    assert Ticket(PLACE.pk, PLACE.sk, "sms").place == PLACE
