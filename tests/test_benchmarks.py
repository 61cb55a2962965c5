"""The benchmark works; what it measures here means nothing, so no time is looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from benchmarks import metering
from benchmarks.figures import Figures, Report, median, spread

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(sys.platform != "linux", reason="it pins processes and reads /proc")
def test_a_quick_run_gives_every_figure(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.latency", "--quick", "--json", str(file)],
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    report = msgspec.json.decode(file.read_bytes(), type=Report)
    storm, cut, idle = report.scenarios
    assert storm.turns > 0
    assert storm.tokens > 0
    assert storm.added.p50 is not None
    assert storm.cpu_ms_per_turn
    assert storm.cpu_ms_per_1000_tokens
    assert cut.interrupts > 0
    assert cut.tokens_after_interrupt == 0
    assert cut.upstream_closed.p50 is not None
    assert idle.idle_kb_per_call is not None
    assert report.boot_ms > 0
    assert report.import_ms > 0


def test_percentiles_of_few_samples_are_not_told() -> None:
    assert spread([]).p50 is None
    few = spread([3.0, 1.0, 2.0])
    assert (few.p50, few.p95, few.p99, few.most) == (2.0, None, None, 3.0)
    many = spread([float(value) for value in range(1000)])
    assert (many.p95, many.p99) == (950.0, 990.0)


def test_medians_do_not_hide_faults() -> None:
    runs = [
        Figures("storm", 20, added=spread([value]), tokens_after_interrupt=stray)
        for value, stray in ((1.0, 0), (9.0, 0), (2.0, 3))
    ]
    merged = median(runs)
    assert merged.added.p50 == 2.0
    assert merged.tokens_after_interrupt == 3
    assert merged.added.p99 is None


async def test_metering_is_compared_with_and_without() -> None:
    without, with_ = await metering.compare(turns=3, rounds=2)
    assert without.record_us > 0
    assert without.count_us < with_.count_us
