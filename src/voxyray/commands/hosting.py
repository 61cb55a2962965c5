"""Serving calls from the command line: listening, the event loop, the aiohttp host."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, TypeVar

from aiohttp import web

from voxyray.errors import SettingsError
from voxyray.server import application
from voxyray.service import Service

_BACKLOG: Final = 1024
_CLOSES_WITHIN_S: Final = 3.0

_Result = TypeVar("_Result")


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 takes a free one.

    Raises:
        SettingsError: the address cannot be had; the message says the fix.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; choose another with --port, or stop what listens there"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than you have; choose one above 1023 with --port"
    # Names that cannot be resolved have negative numbers: errors of getaddrinfo.
    if (error.errno or -1) < 0 or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; use --host 127.0.0.1, or 0.0.0.0 for all"
    return f"cannot listen at {host} port {port}: {error}"


@contextlib.asynccontextmanager
async def hosted(service: Service, listener: socket.socket) -> AsyncIterator[None]:
    """Answer calls while the block runs; the service is closed with it."""
    runner = web.AppRunner(application(service), access_log=None, shutdown_timeout=_CLOSES_WITHIN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run on uvloop where it exists, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
