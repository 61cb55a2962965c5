"""Messages reach functions as Lambda hands them over, and failed ones come back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.ministack import REGION, MiniStack, ministack
from tests.twin.cloud.waiting import until
from voxyray.twin.cloud.functions import InProcess, Pool
from voxyray.twin.cloud.queues import Mapping, Poller, failures, polling


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    with ministack(tmp_path_factory.mktemp("ministack")) as running:
        yield running


@pytest.fixture
def sqs(cloud: MiniStack) -> Any:
    return cloud.client("sqs")


class Function:
    """Remembers the batches; fails messages by their bodies."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.failing: set[str] = set()

    async def __call__(self, event: Any) -> Any:
        self.events.append(event)
        failed = [each for each in event["Records"] if each["body"] in self.failing]
        if any(each["body"] == "raise" for each in failed):
            raise ValueError("no")
        return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in failed]}

    @property
    def bodies(self) -> list[str]:
        return [record["body"] for event in self.events for record in event["Records"]]


@pytest.fixture
def function() -> Function:
    return Function()


def poller(cloud: MiniStack, function: Function, queue: str, **settings: Any) -> Poller:
    pool = Pool("sender", lambda: InProcess(function))
    mapping = Mapping(queue=queue, function="sender", **{"report_failures": True, **settings})
    return Poller(mapping, pool, cloud.url, region=REGION, wait_s=1)


async def test_records_are_lambdas(cloud: MiniStack, sqs: Any, function: Function) -> None:
    url = sqs.create_queue(QueueName="records")["QueueUrl"]
    attributes = {"Kind": {"DataType": "String", "StringValue": "sms"}}
    sent = sqs.send_message(QueueUrl=url, MessageBody="hello", MessageAttributes=attributes)
    async with polling(poller(cloud, function, "records")):
        await until(lambda: function.events)
        await until(lambda: _count(sqs, url) == 0)
    [record] = function.events[0]["Records"]
    assert record["messageId"] == sent["MessageId"]
    assert record["md5OfBody"] == sent["MD5OfMessageBody"]
    assert record["body"] == "hello"
    assert record["receiptHandle"]
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"} <= set(
        record["attributes"]
    )
    assert record["messageAttributes"] == {
        "Kind": {
            "dataType": "String",
            "stringValue": "sms",
            "stringListValues": [],
            "binaryListValues": [],
        }
    }
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == f"arn:aws:sqs:{REGION}:000000000000:records"
    assert record["awsRegion"] == REGION


async def test_failed_messages_come_back_and_end_as_dead_letters(
    cloud: MiniStack, sqs: Any, function: Function
) -> None:
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    redrive = (
        f'{{"deadLetterTargetArn": "{arn["Attributes"]["QueueArn"]}", "maxReceiveCount": "2"}}'
    )
    url = sqs.create_queue(
        QueueName="work", Attributes={"VisibilityTimeout": "600", "RedrivePolicy": redrive}
    )["QueueUrl"]
    function.failing = {"bad", "raise"}
    for body in ("good", "bad", "raise"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    work = poller(cloud, function, "work", batch_size=1)
    async with polling(work):
        await until(lambda: work.failed == 2)
        _let_come_back(sqs, url, function.events, "1")
        await until(lambda: work.failed == 4)
        _let_come_back(sqs, url, function.events, "2")
        await until(lambda: _count(sqs, dead) == 2)
    assert sorted(function.bodies) == ["bad", "bad", "good", "raise", "raise"]
    assert work.failed == 4


async def test_a_batch_fails_in_part(cloud: MiniStack, sqs: Any, function: Function) -> None:
    url = sqs.create_queue(QueueName="part", Attributes={"VisibilityTimeout": "1000"})["QueueUrl"]
    function.failing = {"1"}
    entries = [{"Id": str(each), "MessageBody": str(each)} for each in range(3)]
    sqs.send_message_batch(QueueUrl=url, Entries=entries)
    async with polling(poller(cloud, function, "part")):
        await until(lambda: len(function.bodies) == 3)
        await until(lambda: _count(sqs, url, "ApproximateNumberOfMessagesNotVisible") == 1)


async def test_a_queue_that_is_not_there_is_asked_again(
    cloud: MiniStack, sqs: Any, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxyray.twin.cloud.queues._AGAIN_AFTER_S", 0.05)
    async with polling(poller(cloud, function, "later")):
        await asyncio.sleep(0.1)
        url = sqs.create_queue(QueueName="later")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="hello")
        await until(lambda: function.events)


def _let_come_back(sqs: Any, url: str, events: list[Any], received: str) -> None:
    for event in events:
        for record in event["Records"]:
            count = record["attributes"]["ApproximateReceiveCount"]
            if record["body"] != "good" and count == received:
                handle = record["receiptHandle"]
                sqs.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0
                )


def _count(sqs: Any, url: str, name: str = "ApproximateNumberOfMessages") -> int:
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    total = int(answer["Attributes"]["ApproximateNumberOfMessages"])
    if name != "ApproximateNumberOfMessages":
        return int(answer["Attributes"][name])
    return total


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (None, ""),
        ({}, ""),
        ({"other": 1}, ""),
        ({"batchItemFailures": None}, ""),
        ({"batchItemFailures": []}, ""),
        ({"batchItemFailures": [{"itemIdentifier": "a"}]}, "a"),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, "ab"),
        ({"batchItemFailures": [{"itemIdentifier": "nobody"}]}, "ab"),
        ({"batchItemFailures": [{"id": "a"}]}, "ab"),
        ({"batchItemFailures": "a"}, "ab"),
        ("text", "ab"),
    ],
)
def test_what_a_function_says_of_a_batch(answer: Any, failed: str) -> None:
    assert failures(answer, {"a", "b"}) == set(failed)
