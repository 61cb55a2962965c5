"""Functions invoke functions by name, with AWS's own client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from tests.twin.cloud.waiting import until
from voxyray.twin.cloud.functions import InProcess, Pool
from voxyray.twin.cloud.invoking import LambdaApi


class Calls:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.fails = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, event: Any) -> Any:
        self.events.append(event)
        await self.gate.wait()
        if len(self.events) <= self.fails:
            raise ValueError("no")
        return {"got": event}


@pytest.fixture
async def calls() -> Calls:
    return Calls()


@pytest.fixture
async def api(calls: Calls) -> AsyncIterator[LambdaApi]:
    tools = Pool("tools", lambda: InProcess(calls), concurrency=1)
    async with LambdaApi.serve({"tools": tools}, repeated_after_s=(0.01, 0.02)) as serving:
        yield serving


async def invoke(api: LambdaApi, name: str = "tools", **arguments: Any) -> Any:
    def call() -> Any:
        client = Session().create_client(
            "lambda",
            region_name="us-east-1",
            endpoint_url=api.url,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        try:
            answer = client.invoke(FunctionName=name, **arguments)
            return answer, answer["Payload"].read()
        finally:
            client.close()

    return await asyncio.to_thread(call)


@pytest.mark.parametrize(
    "name", ["tools", "tools:live", "arn:aws:lambda:eu-central-1:000000000000:function:tools:live"]
)
async def test_a_function_is_invoked_by_name_alias_or_arn(api: LambdaApi, name: str) -> None:
    answer, payload = await invoke(api, name, Payload=b'{"a": 1}')
    assert (answer["StatusCode"], json.loads(payload)) == (200, {"got": {"a": 1}})
    assert "FunctionError" not in answer


async def test_an_error_of_the_handler_is_an_answer(api: LambdaApi, calls: Calls) -> None:
    calls.fails = 1
    answer, payload = await invoke(api)
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(payload) == {"errorType": "ValueError", "errorMessage": "no"}


async def test_refusals(api: LambdaApi, calls: Calls) -> None:
    async def code(name: str = "tools", **arguments: Any) -> str:
        with pytest.raises(ClientError) as refused:
            await invoke(api, name, **arguments)
        return str(refused.value.response["Error"]["Code"])

    assert await code("nobody") == "ResourceNotFoundException"
    assert await code(Payload=b"{") == "InvalidRequestContentException"
    big = json.dumps("a" * 1024 * 1024).encode()
    assert await code(Payload=big, InvocationType="Event") == "RequestTooLargeException"
    calls.gate.clear()
    waiting = asyncio.create_task(invoke(api))
    await until(lambda: calls.events)
    assert await code() == "TooManyRequestsException"
    calls.gate.set()
    await waiting


async def test_events_are_answered_at_once_and_repeated(api: LambdaApi, calls: Calls) -> None:
    calls.fails = 2
    answer, _ = await invoke(api, InvocationType="Event", Payload=b"{}")
    assert answer["StatusCode"] == 202
    await until(lambda: api.asynchronous)
    assert (len(calls.events), api.asynchronous) == (3, [None])


async def test_events_that_always_fail_are_given_up(api: LambdaApi, calls: Calls) -> None:
    calls.fails = 9
    await invoke(api, InvocationType="Event", Payload=b"{}")
    await until(lambda: api.asynchronous)
    assert len(calls.events) == 3
    assert api.asynchronous[0] is not None
