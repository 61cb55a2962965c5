"""An endpoint between a store and MiniStack that fails as told, over real HTTP."""

import asyncio
import io
import json
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

# What is stored is personal; DynamoDB's messages may repeat it, ours must not.
SECRET = "+15551234567"

Fault = Callable[["Faulty", web.Request, bytes], Awaitable[web.Response]]


class Faulty:
    """Answer requests from MiniStack; the first ones as the plan says.

    seen: the operations asked for, in order.
    """

    def __init__(self, behind: str) -> None:
        self.plan: deque[Fault] = deque()
        self.seen: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.released = asyncio.Event()
        self._arrived = asyncio.Condition()
        self._behind = behind

    async def start(self, listening: socket.socket) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_post("/", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        self.released.set()
        await self._runner.cleanup()
        await self._session.close()

    async def wait_for(self, requests: int) -> None:
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.bodies) >= requests)

    async def forward(self, request: web.Request, body: bytes) -> web.Response:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.startswith("X-") or name in ("Authorization", "Content-Type")
        }
        asking = self._session.post(self._behind, data=io.BytesIO(body), headers=headers)
        async with asking as answer:
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name.lower().startswith("x-am")
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    async def _answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers["X-Amz-Target"].rpartition(".")[2])
        body = await request.read()
        self.bodies.append(json.loads(body))
        async with self._arrived:
            self._arrived.notify_all()
        if self.plan:
            return await self.plan.popleft()(self, request, body)
        return await self.forward(request, body)


def refuse(code: str, status: int = 400, **more: Any) -> Fault:
    """Answer with an error, in DynamoDB's words."""
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"

    async def answer(_: Faulty, __: web.Request, ___: bytes) -> web.Response:
        said = json.dumps({"__type": kind, "message": f"It holds {SECRET}.", **more})
        return web.Response(
            status=status,
            text=said,
            content_type="application/x-amz-json-1.0",
            headers={"x-amzn-RequestId": "R3QU35T"},
        )

    return answer


async def lose_answer(faulty: Faulty, request: web.Request, body: bytes) -> web.Response:
    """Do what is asked, then break the connection."""
    answer = await faulty.forward(request, body)
    assert request.transport is not None
    request.transport.abort()
    return answer


async def lose_request(_: Faulty, request: web.Request, __: bytes) -> web.Response:
    """Break the connection without doing anything."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def do_and_hang(faulty: Faulty, request: web.Request, body: bytes) -> web.Response:
    """Do what is asked, but answer only when released."""
    answer = await faulty.forward(request, body)
    await faulty.released.wait()
    return answer


async def hang(faulty: Faulty, request: web.Request, body: bytes) -> web.Response:
    """Do what is asked when released."""
    await faulty.released.wait()
    return await faulty.forward(request, body)


def lose_answer_then(work: Callable[[], Awaitable[Any]]) -> Fault:
    """Do what is asked and then that, then break the connection."""

    async def answer(faulty: Faulty, request: web.Request, body: bytes) -> web.Response:
        done = await faulty.forward(request, body)
        await work()
        assert request.transport is not None
        request.transport.abort()
        return done

    return answer


async def take_half(faulty: Faulty, request: web.Request, body: bytes) -> web.Response:
    """Write half of a batch (at least one) and give the rest back."""
    asked = json.loads(body)
    ((table, puts),) = asked["RequestItems"].items()
    half = (len(puts) + 1) // 2
    part = json.dumps({**asked, "RequestItems": {table: puts[:half]}}).encode()
    await faulty.forward(request, part)
    left = {table: puts[half:]} if puts[half:] else {}
    return web.json_response({"UnprocessedItems": left})


async def take_none(faulty: Faulty, request: web.Request, body: bytes) -> web.Response:
    """Give a whole batch back."""
    return web.json_response({"UnprocessedItems": json.loads(body)["RequestItems"]})
