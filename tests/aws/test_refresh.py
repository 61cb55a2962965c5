"""The scheduled function: the agent's own day, and nothing is made twice."""

from __future__ import annotations

import logging
import zoneinfo
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from voxyray import definitions
from voxyray.aws import refresh as module
from voxyray.aws.refresh import handler, refresh
from voxyray.aws.use_case import UseCase
from voxyray.definitions import Stored
from voxyray.errors import AgentError
from voxyray.loading import Definition, load_folder
from voxyray.settings import Settings
from voxyray.stores.memory import MemoryStore

DENVER = zoneinfo.ZoneInfo("America/Denver")
# Ten in the evening in Missoula, and the next day by the clocks of Lambda.
EVENING = datetime(2026, 5, 31, 22, 0, tzinfo=DENVER).timestamp()

SEEDS = """
from voxyray.errors import ConditionFailed
from voxyray.stores import Missing, Put

async def seed(store, now):
    try:
        await store.write(Put({"pk": "DAYS", "sk": now.strftime("%Y-%m-%d")}, Missing()))
    except ConditionFailed:
        return 0
    return 1
"""


def use_case(folder: Path) -> UseCase:
    store = MemoryStore(lambda: EVENING)
    return UseCase(folder, load_folder(folder), Settings(store="memory:"), store)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "flats"
    made.mkdir()
    (made / "agent.toml").write_text('time_zone = "America/Denver"\n')
    (made / "prompt.md").write_text("Be kind.\n")
    (made / "seeds.py").write_text(SEEDS)
    level = logging.getLogger().level
    yield made
    logging.getLogger().setLevel(level)


async def days(case: UseCase) -> list[str]:
    return [item["sk"] for item in await case.store.query("DAYS")]


async def test_the_day_is_the_agents_and_not_the_machines(folder: Path) -> None:
    """The original refreshed by the UTC day of its Lambda: for an evening, tomorrow's."""
    case = use_case(folder)
    assert await refresh(case, lambda: EVENING) == 1
    assert await days(case) == ["2026-05-31"]
    assert await refresh(case, lambda: EVENING) == 0
    assert await days(case) == ["2026-05-31"]


async def test_it_follows_an_edited_time_zone(folder: Path) -> None:
    case = use_case(folder)
    edit = definitions.definition_of(load_folder(folder))
    moved = Definition(time_zone="Asia/Tokyo")
    await definitions.save(case.store, case.agent, Stored(moved, edit.instructions))
    await refresh(case, lambda: EVENING)
    assert await days(case) == ["2026-06-01"]


async def test_without_seeds_there_is_nothing_to_do(folder: Path) -> None:
    (folder / "seeds.py").unlink()
    assert await refresh(use_case(folder)) == 0


async def test_the_shipped_slots_are_added_once_a_week_ahead_of_the_local_day() -> None:
    case = use_case(Path("agents/apartment_search"))
    assert await refresh(case, lambda: EVENING) > 0
    assert await refresh(case, lambda: EVENING) == 0
    assert await refresh(case, lambda: EVENING + 86_400) > 0


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 20_000


@pytest.fixture
def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VOXYRAY_STORE", "memory:")
    monkeypatch.setenv("VOXYRAY_AGENT", str(folder))
    module._opened.cache_clear()
    yield
    module._opened()[0].close()
    module._opened.cache_clear()


@pytest.mark.parametrize("event", [{}, None, {"source": "aws.events"}, []])
def test_the_handler_takes_whatever_wakes_it(opened: None, event: Any) -> None:
    assert handler(event, Context()) == {"made": 1}
    assert handler(event, Context()) == {"made": 0}


def test_a_failure_is_the_schedules_to_see(opened: None, folder: Path) -> None:
    (folder / "seeds.py").write_text("async def seed(store, now):\n    return 1 / 0\n")
    with pytest.raises(AgentError, match="ZeroDivisionError"):
        handler({}, Context())
