"""Clients of AWS services, against a local cloud."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from voxyray.aws import clients
from voxyray.aws.clients import ask, client, code_of, explain
from voxyray.errors import SettingsError

from ..support.ministack import MiniStack


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment that names no region and no credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    clients.forget()
    yield monkeypatch
    clients.forget()


@pytest.fixture
def here(nowhere: pytest.MonkeyPatch, aws: MiniStack) -> None:
    for name, value in aws.env.items():
        nowhere.setenv(name, value)


async def test_a_service_answers(here: None) -> None:
    queue = await ask(client("sqs").create_queue, QueueName="asked")
    assert queue["QueueUrl"].endswith("/asked")


def test_a_client_is_made_once_for_all_threads(here: None) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: client("sqs"), range(16)))
    assert {id(one) for one in made} == {id(client("sqs"))}
    assert client("sqs", attempts=1) is not client("sqs")


def test_the_configuration(here: None) -> None:
    made = client("lambda", connect_timeout_s=0.5, read_timeout_s=7, attempts=1).meta
    assert (made.config.connect_timeout, made.config.read_timeout) == (0.5, 7)
    assert made.config.retries == {"total_max_attempts": 1, "mode": "standard"}
    assert made.region_name == "eu-central-1"
    assert made.config.tcp_keepalive


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_comes_by_either_name(nowhere: pytest.MonkeyPatch, name: str) -> None:
    nowhere.setenv(name, "ap-southeast-2")
    assert client("sqs").meta.region_name == "ap-southeast-2"


def test_no_region(nowhere: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"no AWS region.*set AWS_REGION"):
        client("sqs")


def test_no_boto3(nowhere: pytest.MonkeyPatch) -> None:
    nowhere.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(SettingsError, match=r"sqs needs.*pip install 'voxyray\[aws\]'"):
        client("sqs")


def test_importing_costs_no_boto3() -> None:
    program = "import sys; import voxyray.aws.clients; print('botocore' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


async def test_no_credentials(nowhere: pytest.MonkeyPatch) -> None:
    nowhere.setenv("AWS_REGION", "eu-central-1")
    with pytest.raises(NoCredentialsError) as caught:
        await ask(client("sqs").list_queues)
    assert "set AWS_PROFILE, or AWS_ACCESS_KEY_ID" in explain(caught.value)


async def test_an_endpoint_that_is_not_there(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(EndpointConnectionError) as caught:
        await ask(client("sqs", attempts=1).list_queues)
    assert "check the network, AWS_REGION and AWS_ENDPOINT_URL" in explain(caught.value)


async def test_a_refusal_has_a_code(here: None) -> None:
    with pytest.raises(ClientError) as caught:
        await ask(client("sqs").get_queue_url, QueueName="never-made")
    assert "NonExistentQueue" in code_of(caught.value)
    assert "never-made" not in explain(caught.value)


def refusal(code: str, message: str) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "R1"},
        },
        "PutItem",
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ExpiredTokenException", "aws sso login"),
        ("InvalidSignatureException", "clock"),
        ("ValidationException", r"ValidationException \(HTTP 400, request R1\)"),
    ],
)
def test_a_refusal_is_explained_without_its_text(code: str, says: str) -> None:
    said = explain(refusal(code, "holds +15551234567"))
    assert re.search(says, said)
    assert "+1555" not in said


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
def test_a_missing_permission_is_named(code: str) -> None:
    said = explain(refusal(code, "not authorized to perform: sqs:SendMessage."))
    assert said == (
        "access was denied: not authorized to perform: sqs:SendMessage; "
        "allow this action in the role's policy"
    )


async def test_the_loop_goes_on_while_a_service_is_asked() -> None:
    asked, answer = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(*, said: str) -> Any:
        loop.call_soon_threadsafe(asked.set)
        answer.wait(10)
        return said, threading.current_thread().name

    waiting = asyncio.ensure_future(ask(slow, said="hello"))
    await asked.wait()
    answer.set()
    said, thread = await waiting
    assert (said, thread[:3]) == ("hello", "aws")
