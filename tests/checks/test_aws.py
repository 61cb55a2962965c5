"""What the AWS part needs, looked at in the local cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.checks.support import setup, told
from tests.support.ministack import MiniStack
from voxyray.aws import clients
from voxyray.checks import Setup
from voxyray.checks.aws import services
from voxyray.stores.dynamodb import create_table


@pytest.fixture
def cloud(aws: MiniStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[MiniStack]:
    """The local cloud, where our own clients find it."""
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    clients.forget()
    yield aws
    clients.forget()


def using(table: str, **queues: str) -> Setup:
    examined = setup(store=f"dynamodb:{table}")
    examined.environ = {f"VOXYRAY_{name.upper()}_QUEUE_URL": url for name, url in queues.items()}
    return examined


async def test_nothing_is_asked_without_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "client", None)
    assert await services(setup()) == []


async def test_table_and_queues_are_well(cloud: MiniStack) -> None:
    create_table(cloud.client("dynamodb"), "doctor-well")
    sqs = cloud.client("sqs")
    dead = sqs.create_queue(QueueName="doctor-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    policy = f'{{"deadLetterTargetArn":"{arn["QueueArn"]}","maxReceiveCount":"5"}}'
    queue = sqs.create_queue(QueueName="doctor-sms", Attributes={"RedrivePolicy": policy})
    examined = using("doctor-well", sms=queue["QueueUrl"], wake=dead)
    found = await services(examined)
    assert told(found) == [
        ("aws", "ok"),
        ("table", "ok"),
        ("queue", "warning"),
        ("queue", "ok"),
    ]
    assert "dead-letter" in found[2].fix
    assert "doctor-well is active" in found[1].said


async def test_a_table_where_nothing_expires(cloud: MiniStack) -> None:
    dynamodb = cloud.client("dynamodb")
    create_table(dynamodb, "doctor-forever")
    specification = {"Enabled": False, "AttributeName": "expires_at"}
    dynamodb.update_time_to_live(TableName="doctor-forever", TimeToLiveSpecification=specification)
    found = await services(using("doctor-forever"))
    assert told(found)[1:] == [("table", "warning")]
    assert "expires_at" in found[1].fix


async def test_a_table_of_other_keys(cloud: MiniStack) -> None:
    cloud.client("dynamodb").create_table(
        TableName="doctor-other",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    found = await services(using("doctor-other"))
    assert told(found)[1:] == [("table", "broken")]
    assert "pk and sk" in found[1].fix


async def test_what_is_not_there(cloud: MiniStack) -> None:
    queue = f"{cloud.url}/000000000000/doctor-nowhere"
    found = await services(using("doctor-nowhere", email=queue))
    assert told(found) == [("aws", "ok"), ("table", "broken"), ("queue", "broken")]
    assert "VOXYRAY_STORE" in found[1].fix
    assert "VOXYRAY_EMAIL_QUEUE_URL" in found[2].fix


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "credentials"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "AWS_REGION"),
    ],
)
async def test_no_way_to_ask(
    changed: dict[str, str], said: str, cloud: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changed.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    found = await services(using("doctor-any"))
    assert told(found) == [("aws", "broken")]
    assert said in found[0].said
