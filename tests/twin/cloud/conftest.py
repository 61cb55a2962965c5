"""The gateway and functions in this process run on the clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest

from tests.hosts.clock import SocketClock

# All else has processes and services in it, which do not wait for our clock.
_JUMPS = ("test_gateway", "test_functions", "test_signatures")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], Any]]:
    if item.path.stem in _JUMPS:
        return {"socket clock": SocketClock}
    return {"real time": asyncio.new_event_loop}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session
