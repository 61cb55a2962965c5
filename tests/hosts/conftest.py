"""One suite for every host, on a clock that jumps once no byte is under way any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from tests.hosts.clock import SocketClock
from tests.hosts.hosting import HOSTS
from tests.hosts.world import World


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], Any]]:
    return {"socket clock": SocketClock}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def world(host: str) -> AsyncIterator[World]:
    """A host that can be opened with any agent, store and model, once."""
    made = World(host)
    yield made
    await made.close()
