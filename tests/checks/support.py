"""A server of ours, and setups to examine it with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from voxyray import Agent
from voxyray.carriers.numbers import Account
from voxyray.checks import Finding, Setup
from voxyray.commands.hosting import hosted, listen
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.twin.numbers import Numbers

TOKEN = "0123456789abcdef-primary"
OTHER = "fedcba9876543210-other"
AGENT = Agent(name="shop", greeting="Bike shop.", instructions="Sell bikes.", model="offline")


@asynccontextmanager
async def our_server(**settings: Any) -> AsyncIterator[str]:
    """Serve with these settings at an address of this machine; gives the public URL."""
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        values = {"public_url": url, "store": "memory:", "twilio_auth_token": TOKEN, **settings}
        async with hosted(Service(Settings(**values), [AGENT]), listener):
            yield url


@asynccontextmanager
async def some_server(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """Serve something else; gives its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def setup(url: str = "http://127.0.0.1:9", twilio: Numbers | None = None, **settings: Any) -> Setup:
    account = None
    if twilio is not None:
        settings = {"twilio_auth_token": twilio.auth_token, **settings}
        sid, token = twilio.account_sid, settings["twilio_auth_token"]
        account = Account(sid, token, base_url=twilio.url)
    values = {"public_url": url, "store": "memory:", "twilio_auth_token": TOKEN, **settings}
    return Setup(Settings(**values), environ={}, account=account, within_s=5)


def told(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(each.check, each.level) for each in findings]
