"""A clock to turn by hand, and every store behind one fixture."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from voxyray.stores import Store
from voxyray.stores.memory import MemoryStore
from voxyray.stores.sqlite import SqliteStore


class Clock:
    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Store]:
    opened: Store
    if request.param == "memory":
        opened = MemoryStore(clock)
    else:
        opened = SqliteStore.open(tmp_path / "store.db", clock)
    yield opened
    await opened.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"
