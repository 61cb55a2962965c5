"""The proxy makes a service slow, throttled or broken, as its real clients see it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.session import Session

from voxyray.twin.cloud.faults import Asked, Fault, Faults


@asynccontextmanager
async def service(answered: list[str]) -> AsyncIterator[str]:
    """A DynamoDB that knows one item."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        answered.append(request.headers["X-Amz-Target"])
        item = {"Item": {"pk": {"S": "a"}}}
        return web.json_response(item, content_type="application/x-amz-json-1.0")

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def get(url: str, times: int = 1) -> list[Any]:
    """Ask with AWS's own client; gives items and errors."""

    def ask() -> list[Any]:
        client = Session().create_client(
            "dynamodb",
            region_name="eu-central-1",
            endpoint_url=url,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        got: list[Any] = []
        for _ in range(times):
            try:
                got.append(client.get_item(TableName="t", Key={"pk": {"S": "a"}})["Item"])
            except (ClientError, ConnectionClosedError) as error:
                got.append(error)
        client.close()
        return got

    return await asyncio.to_thread(ask)


async def test_it_forwards_slowly() -> None:
    async with service([]) as url, Faults.serve(url, latency_ms=50) as proxy:
        began = time.perf_counter()
        assert await get(proxy.url, 2) == [{"pk": {"S": "a"}}] * 2
        assert time.perf_counter() - began >= 0.1
        assert proxy.counts == {"GetItem": 2}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("ProvisionedThroughputExceededException", 400),
        ("InternalServerError", 500),
    ],
)
async def test_it_refuses_as_the_service_does(code: str, status: int) -> None:
    def fault(asked: Asked) -> Fault:
        return code if asked.number == 1 else None

    answered: list[str] = []
    async with service(answered) as url, Faults.serve(url, fault=fault) as proxy:
        error, item = await get(proxy.url, 2)
    assert isinstance(error, ClientError)
    assert error.response["Error"]["Code"] == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert item == {"pk": {"S": "a"}}
    assert len(answered) == 1


@pytest.mark.parametrize(("fault", "reached"), [("cut", 0), ("lost", 1)])
async def test_it_cuts_connections(fault: str, reached: int) -> None:
    answered: list[str] = []
    async with service(answered) as url, Faults.serve(url, fault=lambda _: fault) as proxy:
        [error] = await get(proxy.url)
    assert isinstance(error, ConnectionClosedError)
    assert len(answered) == reached
