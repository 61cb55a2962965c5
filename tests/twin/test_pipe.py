from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web
from twilio.request_validator import RequestValidator

from voxyray.twin.clock import virtual
from voxyray.twin.errors import TwinRefused
from voxyray.twin.pipe import Binary, Closed, dial, handshake_signature, memory_pipe

TOKEN = "0123456789abcdef0123456789abcdef"


@virtual
async def test_frames_keep_their_order_and_the_close_comes_last() -> None:
    here, there = memory_pipe()
    await here.send("one")
    await here.send("two")
    await here.close(1000, "bye")
    assert [await there.receive() for _ in range(4)] == [
        "one",
        "two",
        Closed(1000, "bye"),
        Closed(1000, "bye"),
    ]


@virtual
async def test_whoever_closes_reads_nothing_more() -> None:
    here, there = memory_pipe()
    await there.send("too late")
    await here.close(1006)
    assert await here.receive() == Closed(1006)
    with pytest.raises(ConnectionResetError):
        await here.send("x")
    with pytest.raises(ConnectionResetError):
        await there.send("x")


@virtual
async def test_frames_take_their_time_and_a_cancelled_reader_loses_none() -> None:
    here, there = memory_pipe(latency_ms=80)
    await here.send("one")
    await here.send("two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(there.receive(), 0.05)
    assert await there.receive() == "one"
    assert asyncio.get_running_loop().time() == pytest.approx(0.08)
    assert await there.receive() == "two"
    await here.close(1000)
    await there.send("on its way into the void")
    assert await there.receive() == Closed(1000)


@virtual
async def test_a_reader_that_sleeps_wakes_when_its_own_end_closes() -> None:
    here, there = memory_pipe(latency_ms=1000)
    reading = asyncio.create_task(here.receive())
    await there.send("slow")
    await asyncio.sleep(0.1)
    await here.close(1001, "going")
    assert await reading == Closed(1001, "going")


def test_handshake_signature_agrees_with_twilios_own_validator() -> None:
    url = "wss://voice.example.com/ws"
    assert handshake_signature(url, TOKEN) == "O+GJc32aWgDIpCRnhLRM038d17c="
    assert RequestValidator(TOKEN).validate(url, {}, handshake_signature(url, TOKEN))


@asynccontextmanager
async def served(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/relay", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"ws://{host}:{port}/relay"
    finally:
        await runner.cleanup()


async def test_a_real_socket_carries_frames_and_headers() -> None:
    seen: dict[str, str] = {}

    async def handler(request: web.Request) -> web.WebSocketResponse:
        seen.update(request.headers)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str("text:" + message.data)
            else:
                await socket.send_bytes(b"raw")
        return socket

    async with served(handler) as where:
        public = "wss://voice.example.com/ws"
        line = await dial(public, auth_token=TOKEN, connect_to=where)
        await line.send("hello")
        assert await line.receive() == "text:hello"
        await line.send(Binary("x"))
        got = await line.receive()
        assert got == "raw"
        assert isinstance(got, Binary)
        await line.close(1000, "Closing websocket session")
        assert await line.receive() == Closed(1000, "Closing websocket session")
    assert seen["X-Twilio-Signature"] == "O+GJc32aWgDIpCRnhLRM038d17c="
    assert seen["User-Agent"].startswith("Jetty/11")


async def test_a_close_frame_and_a_cut_are_told_apart() -> None:
    async def closes(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close(code=1008, message=b"no")
        return socket

    async def drops(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        request.transport.close()
        return socket

    async with served(closes) as where:
        line = await dial(where, auth_token=TOKEN)
        assert await line.receive() == Closed(1008, "no")
    async with served(drops) as where:
        line = await dial(where, auth_token=TOKEN)
        assert await line.receive() == Closed(1006)
        with pytest.raises(ConnectionResetError):
            await line.send("x")


async def test_the_app_sees_1006_when_the_twin_cuts_the_line() -> None:
    codes: list[int | None] = []
    done = asyncio.Event()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        codes.append(socket.close_code)
        done.set()
        return socket

    async with served(handler) as where:
        line = await dial(where, auth_token=TOKEN)
        await line.close(1006)
        await asyncio.wait_for(done.wait(), 5)
    assert codes == [1006]


async def test_a_refused_handshake_is_error_64102() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=403)

    async with served(handler) as where:
        with pytest.raises(TwinRefused, match=r"64102.*403") as refused:
            await dial(where, auth_token=TOKEN)
        assert refused.value.code == 64102
    with pytest.raises(TwinRefused, match="64102"):
        await dial(where, auth_token=TOKEN)
