"""The benchmark works; what it measures here means nothing, so no time is looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from benchmarks import metering
from benchmarks.carrier import Turn
from benchmarks.figures import Figures, Kind, Machine, Measured, Report, Workload, median, spread
from benchmarks.measuring import find_capacity, is_held
from benchmarks.subjects import FLOOR, SUBJECTS, VOXYRAY
from benchmarks.tables import as_markdown, compare

ROOT = Path(__file__).parent.parent
KINDS: tuple[Kind, ...] = ("storm", "barge-in", "tools", "partials", "memory")


def quick(tmp_path: Path, *arguments: str) -> tuple[Report, str]:
    """Run the benchmark as a command, and give its report and its table."""
    figures, table = tmp_path / "figures.json", tmp_path / "table.md"
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.latency", "--quick", *arguments),
            *("--json", str(figures), "--markdown", str(table)),
        ],
        cwd=ROOT,
        check=True,
        timeout=110,
    )
    report = msgspec.json.decode(figures.read_bytes(), type=Report)
    return report, table.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="it pins processes and reads /proc")
def test_a_quick_run_gives_every_figure(tmp_path: Path) -> None:
    report, table = quick(tmp_path, "--server", "voxyray")
    (ours,) = report.servers
    storm, cut, tools, partials, memory = (ours.of(kind) for kind in KINDS)
    assert storm is not None
    assert storm.turns > 0
    assert storm.tokens > 0
    assert storm.added.p50 is not None
    assert storm.cpu_ms_per_turn
    assert storm.cpu_ms_per_1000_tokens
    assert cut is not None
    assert cut.interrupts > 0
    assert cut.tokens_after_interrupt == 0
    assert cut.upstream_closed.p50 is not None
    assert tools is not None
    assert tools.turns - tools.unanswered > 0
    assert partials is not None
    assert partials.heard.p50 is not None
    assert memory is not None
    assert memory.idle_kb_per_call is not None
    assert memory.speaking_kb_per_call is not None
    assert ours.boot_ms > 0
    assert ours.import_ms > 0
    assert [found.kind for found in ours.capacities] == ["storm"]
    assert "| storm, 4 calls: added p50, ms |" in table


@pytest.mark.parametrize("name", [name for name in SUBJECTS if name != VOXYRAY.name])
def test_a_peer_is_measured_in_the_same_run(tmp_path: Path, name: str) -> None:
    subject = SUBJECTS[name]
    if not subject.installed:
        pytest.skip("the peers are installed by `make bench`")
    report, table = quick(tmp_path, "--server", name, "--only", "barge-in", "--search", "none")
    ours, peer = report.servers
    assert (ours.server, peer.server) == ("voxyray", name)
    assert peer.packages.keys() == set(subject.packages)
    cut = peer.of("barge-in")
    assert cut is not None
    assert cut.turns - cut.unanswered > 0
    assert f"| voxyray | {name} | / ours |" in table


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


def turn(*, prompted: int, asked: int, written: int, first: int, between: int = 0) -> Turn:
    made = Turn(prompted, prompted)
    made.asked, made.written, made.first, made.between = asked, written, first, between
    return made


async def test_added_is_the_wait_less_what_the_model_took_of_it() -> None:
    assert turn(prompted=100, asked=101, written=301, first=302).added_ns == 2


async def test_added_counts_the_way_from_a_tool_to_the_next_request() -> None:
    # Asked, a tool called at 200, 7 until the request with its result, first words at 307 + 200.
    assert turn(prompted=99, asked=100, written=407, first=408, between=7).added_ns == 9


async def test_a_guess_takes_no_credit_for_the_time_before_the_prompt() -> None:
    ready = turn(prompted=500, asked=100, written=300, first=501)
    assert (ready.heard_ns, ready.added_ns) == (1, 1)
    unready = turn(prompted=500, asked=400, written=600, first=603)
    assert (unready.heard_ns, unready.added_ns) == (103, 3)


def talk(calls: int, added_ms: float, *, broken: int = 0) -> Figures:
    return Figures("talk", calls, turns=100, added=spread([added_ms] * 100), broken=broken)


@pytest.mark.parametrize("holds", [1, 3, 87, 100, 399, 640, 999])
def test_the_search_finds_what_a_core_holds(holds: int) -> None:
    found = find_capacity(
        "talk",
        lambda calls: talk(calls, 1 if calls <= holds else 80),
        start=100,
        most=1000,
    )
    assert not found.most
    assert found.calls <= holds <= found.calls + max(1, found.calls * 0.15)
    assert len(found.probes) <= 12


def test_the_search_ends_at_the_most_it_was_told() -> None:
    found = find_capacity("talk", lambda calls: talk(calls, 1), start=100, most=1000)
    assert (found.calls, found.most) == (1000, True)
    assert [probe.calls for probe in found.probes] == [100, 200, 400, 800, 1000]


def test_calls_are_not_held_that_are_late_or_lost() -> None:
    assert is_held(talk(10, 49.9))
    assert not is_held(talk(10, 50.0))
    assert not is_held(talk(10, 1, broken=2))
    assert not is_held(Figures("talk", 10))


def report(*servers: Measured) -> Report:
    machine = Machine("3", "Linux", "a processor", 2, 0, (1,), "abc", "1 May 2026", (0.0, 0.0))
    return Report(machine, Workload(), 3, 6.0, servers)


def test_servers_stand_side_by_side_with_ratios() -> None:
    ours = Measured("voxyray", {"uvloop": "1"}, 300, 200, (talk(100, 2.0),))
    peer = Measured("peer", {"fastapi": "2"}, 900, 700, (talk(100, 25.0),))
    heads, rows = compare(report(ours, peer))
    assert heads == ["", "voxyray", "peer", "/ ours"]
    assert ["talk, 100 calls: added p50, ms", "2.00", "25.00", "12.5×"] in rows
    assert ["imports, ms", "200", "700", "3.5×"] in rows


def test_a_search_that_ended_at_its_most_is_told_as_a_least() -> None:
    most = find_capacity("talk", lambda calls: talk(calls, 1), start=100, most=1000)
    less = find_capacity(
        "talk", lambda calls: talk(calls, 1 if calls <= 100 else 80), start=100, most=1000
    )
    ours = Measured("voxyray", {}, 300, 200, (), capacities=(most,))
    peer = Measured("peer", {}, 300, 200, (), capacities=(less,))
    _, rows = compare(report(ours, peer))
    assert rows[0][1:] == ["≥ 1,000", "100", "0.1×"]


def test_what_a_server_cannot_do_is_a_dash() -> None:
    ours = Measured("voxyray", {}, 300, 200, (talk(100, 2.0), Figures("tools", 20)))
    floor = Measured(FLOOR.name, {}, 90, 70, (talk(100, 1.0),))
    _, rows = compare(report(ours, floor))
    assert ["tools, 20 calls: added p50, ms", "–", "–", "–"] in rows


def test_the_table_tells_what_is_in_doubt() -> None:
    disturbed = msgspec.structs.replace(talk(100, 2.0), foreign_percent=40)
    table = as_markdown(report(Measured("voxyray", {"uvloop": "1"}, 300, 200, (disturbed,))))
    assert "- voxyray, talk, 100 calls: other processes used 40 % of a core" in table
    assert "1 May 2026" in table
    assert "uvloop 1" in table


async def test_metering_is_compared_with_and_without() -> None:
    without, with_ = await metering.compare(turns=3, rounds=2)
    assert without.record_us > 0
    assert without.count_us < with_.count_us
