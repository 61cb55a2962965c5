"""The hosts, served over real sockets in the test's own loop."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.hosts.functions import serving_lambda
from voxyray import asgi, server
from voxyray.service import Service

HOSTS: Final = ("aiohttp", "asgi", "mounted", "lambda")
NAME: Final = "voice.example.com"
PREFIX: Final = "/phone"


def public_url(host: str) -> str:
    return f"https://{NAME}" + (PREFIX if host == "mounted" else "")


@asynccontextmanager
async def serving(host: str, service: Service) -> AsyncIterator[str]:
    """Serve until the block is left; gives the address (host:port)."""
    if host == "aiohttp":
        async with serving_aiohttp(server.application(service)) as address:
            yield address
        return
    if host == "lambda":
        async with serving_lambda(service) as address:
            yield address
        return
    application = asgi.Application(lambda: service)
    app: Any = mounted(application) if host == "mounted" else application
    async with serving_asgi(app) as address:
        yield address


@asynccontextmanager
async def serving_aiohttp(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_asgi(app: Any) -> AsyncIterator[str]:
    # Not `serve`: it looks whether it should end every 100 ms only, and takes the signals.
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=5)
    config.load()
    uvicorn_server = uvicorn.Server(config)
    uvicorn_server.lifespan = config.lifespan_class(config)
    await uvicorn_server.startup(sockets=[listening])
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        await uvicorn_server.shutdown(sockets=[listening])


def mounted(application: asgi.Application) -> Starlette:
    """Mount it as people do; Starlette sends no lifespan events to what is mounted."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await application.close()

    return Starlette(routes=[Mount(PREFIX, app=application)], lifespan=lifespan)
