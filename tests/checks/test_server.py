"""The server is asked as the carrier would ask it, and its faults are told from one another."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.checks.support import OTHER, TOKEN, our_server, setup, some_server, told
from voxyray.checks.server import server
from voxyray.settings import Settings
from voxyray.twin.messages import ACCOUNT_SID
from voxyray.twin.numbers import Numbers

HEALTHY = '{"status":"ok"}'
WELL = [("server", "ok"), ("webhooks", "ok"), ("relay", "ok")]


async def test_all_is_well() -> None:
    async with our_server() as url:
        examined = setup(url)
        reached, webhooks, relay = await server(examined)
    assert told([reached, webhooks, relay]) == WELL
    assert "only the simulated carrier can call it" in reached.said
    assert "ngrok" in reached.fix
    assert abs(examined.clocks["the server"]) < 3
    assert all(each.ms is not None for each in (reached, webhooks, relay))


async def test_the_server_below_a_path() -> None:
    async with our_server(public_url="http://127.0.0.1:1/phone") as url:
        found = await server(setup(f"{url}/phone"))
    # Here and there it has another public URL, so what we sign is not what the server expects.
    assert told(found) == [("server", "ok"), ("webhooks", "broken"), ("relay", "broken")]
    assert "VOXYRAY_PUBLIC_URL" in found[1].fix


async def test_nobody_calls_it_by_being_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with our_server() as url:
            await server(setup(url))
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{url}/healthz") as answer,
            ):
                assert answer.status == 200
    assert not caplog.records


async def test_no_server_on_this_machine_is_no_fault() -> None:
    (found,) = await server(setup("http://127.0.0.1:9"))
    assert found.level == "warning"
    assert "voxyray serve" in found.fix


async def test_no_server_at_a_public_address_is_one() -> None:
    # 127.0.0.2 is this machine as well, but nobody would take it for a private address of ours.
    (found,) = await server(setup("https://127.0.0.2:9"))
    assert found.level == "broken"
    assert "nothing answers there" in found.said
    assert "tunnel" in found.fix


async def test_a_name_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> None:
        raise OSError(None, "no such name")

    monkeypatch.setattr(aiohttp.resolver.ThreadedResolver, "resolve", resolve)
    (found,) = await server(setup("https://voice.invalid"))
    assert found.level == "broken"
    assert "resolved" in found.said


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.2", "-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run([*make, *names], check=True, capture_output=True)
    return files


async def test_a_certificate_that_nobody_signed(certificate: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.2", 0, ssl_context=context)
        await site.start()
        (found,) = await server(setup(f"https://127.0.0.2:{runner.addresses[0][1]}"))
    finally:
        await runner.cleanup()
    assert found.level == "broken"
    assert "certificate" in found.said
    assert "Twilio" in found.fix


@pytest.mark.parametrize(
    ("status", "text", "said", "fix"),
    [
        (200, "<html>You are about to visit", "not as voxyray does", "tunnel"),
        (404, "Not Found", "HTTP 404", "path"),
        (502, "<html>Bad Gateway", "HTTP 502", "behind its proxy"),
    ],
)
async def test_somebody_else_answers(status: int, text: str, said: str, fix: str) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    async with some_server(handle) as url:
        (found,) = await server(setup(url))
    assert found.level == "broken"
    assert said in found.said
    assert fix in found.fix


async def test_no_answer_in_time() -> None:
    release = asyncio.Event()

    async def handle(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with some_server(handle) as url:
        examined = setup(url)
        examined.within_s = 0.05
        (found,) = await server(examined)
        release.set()
    assert found.level == "broken"
    assert "no answer within 0.05 s" in found.said


async def test_a_server_that_dies_before_the_webhook() -> None:
    async def handle(request: web.Request) -> web.Response:
        if request.path == "/healthz":
            return web.Response(text=HEALTHY)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with some_server(handle) as url:
        _, webhooks, relay = await server(setup(url))
    assert "the connection broke" in webhooks.said
    assert (webhooks.level, relay.level) == ("broken", "broken")


async def test_the_server_has_another_token() -> None:
    async with our_server(twilio_auth_token=OTHER) as url:
        reached, webhooks, relay = await server(setup(url))
    assert told([reached, webhooks, relay]) == [
        ("server", "ok"),
        ("webhooks", "broken"),
        ("relay", "broken"),
    ]
    assert "TWILIO_AUTH_TOKEN and VOXYRAY_PUBLIC_URL" in webhooks.fix
    assert not any(TOKEN in each.said + each.fix for each in (webhooks, relay))


async def test_the_carrier_tells_whose_token_is_wrong() -> None:
    async with Numbers.serve() as twilio, our_server(twilio_auth_token=OTHER) as url:
        ours_is_right = (await server(setup(url, twilio)))[1]
        ours_is_wrong = (await server(setup(url, twilio, twilio_auth_token=TOKEN)))[1]
    assert "which Twilio knows" in ours_is_right.said
    assert "Twilio does not know either" in ours_is_wrong.said


async def test_the_server_knows_the_secondary_token_only() -> None:
    async with our_server(twilio_auth_token=OTHER) as url:
        webhooks = (await server(setup(url, twilio_secondary_auth_token=OTHER)))[1]
    assert webhooks.level == "broken"
    assert "the secondary token only" in webhooks.said


async def test_the_server_knows_the_primary_token_only() -> None:
    async with our_server() as url:
        webhooks = (await server(setup(url, twilio_secondary_auth_token=OTHER)))[1]
    assert webhooks.level == "warning"
    assert "rotate" in webhooks.fix


async def test_rotating_with_both_tokens_is_well() -> None:
    async with our_server(twilio_secondary_auth_token=OTHER) as url:
        assert told(await server(setup(url, twilio_secondary_auth_token=OTHER))) == WELL
        alone = setup(url, twilio_auth_token="", twilio_secondary_auth_token=OTHER)
        assert told(await server(alone)) == [WELL[0], ("webhooks", "warning"), WELL[2]]


async def test_the_server_serves_another_account() -> None:
    async with our_server(twilio_account_sid="AC" + "9" * 32) as url:
        webhooks = (await server(setup(url, twilio_account_sid=ACCOUNT_SID)))[1]
    assert "another account" in webhooks.said
    assert "TWILIO_ACCOUNT_SID" in webhooks.fix


async def test_a_server_that_checks_nothing() -> None:
    async with our_server(accept_unsigned=True, twilio_auth_token="") as url:
        found = await server(setup(url))
    assert told(found)[1:] == [("webhooks", "warning"), ("relay", "warning")]
    assert "VOXYRAY_ACCEPT_UNSIGNED" in found[1].fix


async def test_at_a_public_address_that_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async with our_server(accept_unsigned=True, twilio_auth_token="") as url:
        examined = setup(url)
        monkeypatch.setattr(Settings, "is_local", property(lambda _: False))
        found = await server(examined)
    assert told(found) == [("server", "ok"), ("webhooks", "broken"), ("relay", "broken")]
    assert found[0].fix == ""
    assert "anybody can place calls" in found[1].fix


async def test_no_token_to_sign_with() -> None:
    async with our_server() as url:
        found = await server(setup(url, twilio_auth_token=""))
    assert told(found)[1:] == [("webhooks", "warning"), ("relay", "warning")]
    assert "TWILIO_AUTH_TOKEN" in found[1].fix


def answering(status: int) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A server that is healthy, and answers all else like this."""

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/healthz":
            return web.Response(text=HEALTHY)
        headers = {"Location": "https://voice.example.com/"} if status == 301 else {}
        return web.Response(status=status, headers=headers)

    return handle


@pytest.mark.parametrize(
    ("status", "said", "fix"),
    [
        (200, "could not look up", "store"),
        (301, "HTTP 301", "final address"),
        (404, "HTTP 404", "POST"),
        (500, "HTTP 500", "log"),
    ],
)
async def test_other_answers_to_webhooks(status: int, said: str, fix: str) -> None:
    async with some_server(answering(status)) as url:
        _, webhooks, relay = await server(setup(url))
    assert webhooks.level == "broken"
    assert said in webhooks.said
    assert fix in webhooks.fix
    assert relay.level == "broken"
    assert "opens no WebSocket" in relay.said
