"""What is each host's own: paths behind proxies, the end of the server, lifespan, uvloop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.hosts.hosting import serving_aiohttp, serving_asgi
from tests.hosts.third_party import ACCOUNT, TOKEN, Carrier, form_of
from tests.hosts.world import make_agent
from voxyray import asgi, journal, server
from voxyray.errors import SettingsError
from voxyray.models import Finish, TextDelta
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.stores import keys
from voxyray.stores.memory import MemoryStore

PUBLIC = "https://voice.example.com/phone"


class EchoModel:
    name = "echo"

    async def stream(self, request: Any) -> Any:
        yield TextDelta(f"You said {request.messages[-1].content}.")
        yield Finish("stop")

    async def warm(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _service() -> Service:
    settings = Settings(public_url=PUBLIC, twilio_account_sid=ACCOUNT, twilio_auth_token=TOKEN)
    return Service(settings, [make_agent()], store=KeptStore(), models={"agent": EchoModel()})


def _serving(host: str, service: Service) -> Any:
    if host == "aiohttp":
        return serving_aiohttp(server.application(service))
    return serving_asgi(asgi.Application(lambda: service))


@pytest.mark.parametrize("host", ["aiohttp", "asgi"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "stripped"])
async def test_a_proxy_may_strip_the_public_path_or_not(host: str, kept: bool) -> None:
    """conversationrelay.md 9 no. 17: a stripped prefix fails in production only."""
    service = _service()
    async with _serving(host, service) as address, aiohttp.ClientSession() as client:
        resolve = _resolve(address)
        carrier = Carrier(
            client, PUBLIC, lambda url: resolve(url.replace("/phone", "/phone" if kept else ""))
        )
        session = await carrier.place()
        await session.say("hi")
        assert await session.reply() == "You said hi."
        await session.close()


class KeptStore(MemoryStore):
    """Can still be read after it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True


def _resolve(address: str) -> Callable[[str], str]:
    def resolve(url: str) -> str:
        url = url.replace("wss:", "ws:").replace("https:", "http:")
        return url.replace("voice.example.com", address)

    return resolve


@pytest.mark.parametrize("host", ["aiohttp", "asgi"])
async def test_a_server_that_stops_does_not_wait_for_callers(host: str) -> None:
    service = _service()
    store = service.store
    assert isinstance(store, KeptStore)
    hosting = _serving(host, service)
    async with aiohttp.ClientSession() as client:
        carrier = Carrier(client, PUBLIC, _resolve(await hosting.__aenter__()))
        session = await carrier.place()
        await session.say("hi")
        await session.reply()
        started = asyncio.get_running_loop().time()
        closing = asyncio.create_task(hosting.__aexit__(None, None, None))
        code = await session.closed()
        await session.socket.close()
        await closing
        assert asyncio.get_running_loop().time() - started < 5
    assert code in (1001, 1012)  # going away, service restart
    assert store.closed
    items = await store.query(keys.call(session.call_sid), "J#")
    ended = journal.from_item(items[-1]).what
    assert isinstance(ended, journal.CallEnded)
    assert (ended.code, ended.why) == (code, "dropped")


class TestLifespan:
    async def test_a_setting_that_cannot_work_stops_the_server_at_its_start(self) -> None:
        def fail() -> Service:
            raise SettingsError("VOXYRAY_STORE names no store")

        sent = await _lifespan(asgi.Application(fail), "lifespan.startup")
        assert sent == [
            {"type": "lifespan.startup.failed", "message": "VOXYRAY_STORE names no store"}
        ]

    async def test_startup_and_shutdown(self) -> None:
        service = _service()
        sent = await _lifespan(
            asgi.Application(lambda: service), "lifespan.startup", "lifespan.shutdown"
        )
        assert [each["type"] for each in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]

    async def test_nothing_is_opened_before_it_is_needed(self) -> None:
        opened = []

        def open_service() -> Service:
            opened.append(True)
            return _service()

        application = asgi.Application(open_service)
        await application.close()
        assert opened == []
        async with serving_asgi(application):
            assert opened == [True]

    def test_an_agent_is_an_application(self) -> None:
        application = make_agent().app(public_url="http://voice.example.com")
        with pytest.raises(SettingsError, match="VOXYRAY_PUBLIC_URL"):
            _ = application.service


async def _lifespan(application: asgi.Application, *events: str) -> list[Any]:
    waiting, sent = list(events), []

    async def receive() -> Any:
        return {"type": waiting.pop(0)}

    async def send(message: Any) -> None:
        sent.append(message)

    await application({"type": "lifespan"}, receive, send)
    return sent


async def test_a_queue_loses_its_text_frames_to_an_interrupt_and_nothing_else() -> None:
    may_send, sent = asyncio.Event(), []

    async def send(message: Any) -> None:
        await may_send.wait()
        sent.append(message.get("text", message["type"]))

    line = asgi.QueueLine(send)
    play = b'{"type":"play","source":"https://a.example/text.mp3"}'
    for data in (b'{"type":"text","token":"in hand","last":false}', play):
        line.send(data)
    await asyncio.sleep(0)
    line.send(b'{"type":"text","token":"queued","last":false}')
    line.purge()
    line.send(b'{"type":"text","token":"new","last":true}')
    line.close()
    line.send(b'{"type":"text","token":"too late","last":true}')
    may_send.set()
    await line.finish()
    assert [each[:40] for each in sent] == [
        '{"type":"text","token":"in hand","last":',
        play.decode()[:40],
        '{"type":"text","token":"new","last":true',
        "websocket.close",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop knows no Windows")
@pytest.mark.parametrize("host", ["aiohttp", "asgi"])
def test_a_call_on_uvloop(host: str) -> None:
    import uvloop

    async def call() -> None:
        service = _service()
        async with _serving(host, service) as address, aiohttp.ClientSession() as client:
            carrier = Carrier(client, PUBLIC, _resolve(address))
            session = await carrier.place()
            await session.say("hi")
            assert await session.reply() == "You said hi."
            await session.interrupt("You said")
            await session.say("wait")
            assert await session.reply() == "You said wait."
            session.drop()
            form = form_of(session.call_sid, SessionStatus="failed")
            assert (await carrier.post("/relay-ended", form)).names == ["Say", "Hangup"]

    uvloop.run(call())
