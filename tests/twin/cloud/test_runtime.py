"""Handlers under Lambda's own runtime client: few tests, for each start of it takes a while."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.twin.cloud.waiting import until
from voxyray.twin.cloud.errors import FunctionFailed, FunctionTimedOut
from voxyray.twin.cloud.functions import Pool
from voxyray.twin.cloud.runtime import Function, pool

HERE = Path(__file__).parent
pytest.importorskip("awslambdaric")


def function(**changes: Any) -> Function:
    values = {"name": "demo", "handler": "handlers.handler", "folder": HERE, "timeout_s": 5}
    return Function(**{**values, **changes})


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Pool]:
    opened = pool(function(environment={"MINE": "1"}, memory_mb=512, log=tmp_path / "log"))
    yield opened
    await opened.close()
    assert opened.environments == 0


async def test_a_handler_runs_as_on_lambda(demo: Pool, tmp_path: Path) -> None:
    os.environ["VOXYRAY_NOT_FOR_FUNCTIONS"] = "secret"
    try:
        first = await demo.invoke({})
    finally:
        del os.environ["VOXYRAY_NOT_FOR_FUNCTIONS"]
    assert (first["name"], first["memory"]) == ("demo", "512")
    assert first["arn"] == demo.arn
    assert 0 < first["remaining_ms"] <= 5000
    assert first["variables"]["MINE"] == "1"
    assert first["variables"]["LAMBDA_TASK_ROOT"] == str(HERE)
    assert "VOXYRAY_NOT_FOR_FUNCTIONS" not in first["variables"]

    # The same process again, also after an error of the handler.
    with pytest.raises(FunctionFailed) as failed:
        await demo.invoke({"do": "raise"})
    assert failed.value.kind == "KeyError"
    assert failed.value.payload["stackTrace"]
    assert "KeyError" in (tmp_path / "log").read_text()
    third = await demo.invoke({})
    assert (third["pid"], third["count"]) == (first["pid"], 3)
    assert third["request_id"] != first["request_id"]
    assert len(demo.cold_starts_ms) == 1

    # A handler that ends its process takes only that one down.
    with pytest.raises(FunctionFailed, match="exit status 3"):
        await demo.invoke({"do": "exit"})
    assert (await demo.invoke({}))["count"] == 1
    assert len(demo.cold_starts_ms) == 2


async def test_nothing_runs_between_invocations(demo: Pool) -> None:
    await demo.invoke({"do": "tick"})
    await asyncio.sleep(0.3)
    assert _state(demo) == "T"  # stopped
    assert (await demo.invoke({}))["ticks"] < 20
    assert (await demo.invoke({"do": "sleep", "s": 0.3}))["ticks"] > 20


def _state(its: Pool) -> str:
    [environment] = its._idle
    stat = Path(f"/proc/{environment.pid}/stat").read_text()  # type: ignore[attr-defined]
    return stat.rpartition(")")[2].split()[0]


async def test_what_is_late_is_killed_with_its_children(tmp_path: Path) -> None:
    slow = pool(function(handler="handlers.with_child", timeout_s=0.5, log=tmp_path / "log"))
    child = await slow.invoke({"s": 0})
    with pytest.raises(FunctionTimedOut):
        await slow.invoke({"s": 60})
    assert slow.environments == 0
    await until(lambda: _dead(child))


def _dead(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or " Z " in stat.read_text()  # Z: nobody took its exit status yet


async def test_a_running_environment_can_be_killed(demo: Pool) -> None:
    running = asyncio.create_task(demo.invoke({"do": "sleep", "s": 60}))
    await until(lambda: demo.running)
    demo.kill(1)
    with pytest.raises(FunctionFailed, match="Runtime exited"):
        await running
    assert demo.environments == 0


async def test_a_handler_that_cannot_be_imported_says_so() -> None:
    broken = pool(function(handler="nothing.handler"))
    with pytest.raises(FunctionFailed, match="Unable to import module 'nothing'") as failed:
        await broken.invoke({})
    assert failed.value.kind == "Runtime.ImportModuleError"
    assert broken.environments == 0
