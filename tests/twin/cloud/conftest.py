"""The local cloud runs on the clock that jumps: everything is in the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest

from tests.hosts.clock import SocketClock

_REAL_TIME = ("test_runtime", "test_invoking", "test_queues", "test_local", "test_faults")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], Any]]:
    if item.path.stem in _REAL_TIME:  # processes and services do not wait for our clock
        import asyncio

        return {"real time": asyncio.new_event_loop}
    return {"socket clock": SocketClock}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session
