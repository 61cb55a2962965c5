"""A dashboard on a real host, and somebody who looks at it without JavaScript."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.dashboard.looking import HOSTS, Desk


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def desk(host: str) -> AsyncIterator[Desk]:
    """A host that can be opened once, with any settings."""
    made = Desk(host)
    yield made
    await made.close()
