"""A proxy in front of a service: it makes it slow, throttles, or cuts connections.

async with Faults.serve(ministack_url, latency_ms=4) as dynamodb:
...  # AWS_ENDPOINT_URL_DYNAMODB=dynamodb.url
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeAlias

import aiohttp
import msgspec
from aiohttp import web

_MOST_BYTES: Final = 16 * 1024 * 1024
_HOP_BY_HOP: Final = ("connection", "keep-alive", "transfer-encoding", "content-length")
_NAMESPACE: Final = "com.amazonaws.dynamodb.v20120810#"
_SAID: Final = {
    "ThrottlingException": "Rate of requests exceeds the allowed throughput.",
    "ProvisionedThroughputExceededException": "The level of configured provisioned throughput "
    "for the table was exceeded.",
    "InternalServerError": "The request processing has failed because of an unknown error.",
    "TransactionConflictException": "Transaction is ongoing for the item",
}

# An error of the service by its name; `cut` closes the connection before the service is asked,
# `lost` after it has done what was asked; None lets the request through.
Fault: TypeAlias = str | None


class Asked(msgspec.Struct, frozen=True):
    """A request that passed: number from 1, operation such as GetItem, what it carries."""

    number: int
    operation: str
    body: bytes


class Faults:
    """Forward requests to a service, and get in their way.

    latency_ms: added to each, half of it before and half after. fault: what to do to a request.
    counts: requests by operation.
    """

    def __init__(
        self,
        target: str,
        *,
        latency_ms: float = 0,
        fault: Callable[[Asked], Fault] | None = None,
    ) -> None:
        self.latency_ms = latency_ms
        self.fault = fault
        self.counts: dict[str, int] = {}
        self.url = ""
        self._target = target
        self._number = 0
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def serve(cls, target: str, **settings: Any) -> AsyncGenerator[Faults, None]:
        """Serve on loopback until the block is left."""
        proxy = cls(target, **settings)
        await proxy.start()
        try:
            yield proxy
        finally:
            await proxy.stop()

    async def start(self) -> None:
        """Listen; `url` is known from here on."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        )
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self._number += 1
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.counts[operation] = self.counts.get(operation, 0) + 1
        fault = self.fault(Asked(self._number, operation, body)) if self.fault else None
        await asyncio.sleep(self.latency_ms / 2000)
        if fault == "cut":
            return _cut(request)
        if fault not in (None, "lost"):
            answer: web.StreamResponse = _refusal(str(fault))
        else:
            answer = await self._pass_on(request, body)
        if fault == "lost":
            return _cut(request)
        await asyncio.sleep(self.latency_ms / 2000)
        return answer

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        if self._session is None:
            raise RuntimeError("the proxy is not started")
        async with self._session.request(
            request.method,
            self._target + request.raw_path,
            headers=_end_to_end(request.headers),
            data=body,
        ) as answer:
            headers = _end_to_end(answer.headers)
            return web.Response(status=answer.status, headers=headers, body=await answer.read())


def _end_to_end(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _refusal(code: str) -> web.Response:
    """Answer as DynamoDB does, with the checksum that clients check."""
    said = {"__type": _NAMESPACE + code, "message": _SAID.get(code, code)}
    body = msgspec.json.encode(said)
    status = 500 if code == "InternalServerError" else 400
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "x-amzn-RequestId": "LOCALCLOUD",
        "x-amz-crc32": str(zlib.crc32(body)),
    }
    return web.Response(status=status, headers=headers, body=body)
