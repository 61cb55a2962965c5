"""What voxyray adds to a model's latency and what it costs, beside its peers: `make bench`.

Three processes on loopback: a server on a core of its own, the mock model and the load generator
(which plays the carrier) on the others; this one only starts them and waits. Method and limits
are in docs/benchmarks.md.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.figures import (
    Capacity,
    Figures,
    Kind,
    Machine,
    Measured,
    Report,
    Scenario,
    Workload,
    median,
)
from benchmarks.measuring import Bench, Failed, Run, find_capacity, is_held
from benchmarks.subjects import ROOT, SUBJECTS, VOXYRAY, Subject
from benchmarks.tables import as_markdown, print_report

_TOOL: Final = "opening_hours"
_QUICK: Final = Workload(first_token_ms=50, tokens=20, rate=100)
_EVERY_COUNT: Final = (1, 20, 100, 500, 1000)
_MEMORY_CALLS: Final = 200
# What the table takes medians of; the rest is measured once, to be done in minutes.
_REPEATED: Final[frozenset[Kind]] = frozenset({"storm", "barge-in"})
# Open files: a thousand calls are two thousand sockets.
_OPEN_FILES: Final = 8192


class Search(msgspec.Struct, frozen=True):
    """The search for how many calls a core holds."""

    kind: Kind
    start: int
    most: int
    seconds: float


class Plan(msgspec.Struct, frozen=True):
    """All that is to be measured, and where."""

    subjects: tuple[Subject, ...]
    scenarios: tuple[Scenario, ...]
    searches: tuple[Search, ...]
    workload: Workload
    seconds: float
    runs: int
    once: frozenset[Kind]
    tries: int
    imports: int
    server_core: int
    other_cores: tuple[int, ...]

    def steps(self) -> list[tuple[Subject, Scenario]]:
        """Give all steps in order; the servers take turns, so a disturbance hits them alike."""
        return [
            (subject, scenario)
            for run in range(self.runs)
            for scenario in self.scenarios
            for subject in self.subjects
            if scenario.kind in subject.kinds
            if run == 0 or scenario.kind not in self.once
        ]


class _Bar:
    """One measurement on the screen; result is what came of it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self.task = task
        self.result = ""

    def tell(self, done: float) -> None:
        """Show how much of it is done."""
        self._progress.update(self.task, completed=done, refresh=True)


class _Screen:
    """Shows what is being measured, and what came of it."""

    def __init__(self, console: Console, steps: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[result]}"),
            TimeElapsedColumn(),
        )
        self._console = console
        self._steps = steps
        self._step = 0
        self.progress = Progress(*columns, console=console, auto_refresh=False)

    @contextlib.contextmanager
    def follow(self, title: str) -> Iterator[_Bar]:
        """Show one measurement from its begin to its result."""
        self._step += 1
        if self._step <= self._steps:  # nobody knows how long a search is
            title = f"{self._step}/{self._steps} {title}"
        bar = _Bar(self.progress, self.progress.add_task(title, total=1, result=""))
        self.progress.refresh()
        yield bar
        self.progress.update(bar.task, completed=1, result=bar.result, refresh=True)
        if not self._console.is_terminal:  # where bars are drawn only at the end
            self._console.print(f"{title}: {bar.result}")


def measure(plan: Plan, console: Console) -> Report:
    """Measure everything, as often as planned, and give the medians."""
    load_before = os.getloadavg()[0]
    steps = plan.steps()
    runs: dict[tuple[str, Scenario], list[Run]] = {}
    bench = Bench(plan.server_core, plan.other_cores, plan.tries)
    screen = _Screen(console, len(steps))
    with screen.progress:
        imports = {
            each.name: [bench.import_once(each) for _ in range(plan.imports)]
            for each in plan.subjects
        }
        for subject, scenario in steps:
            with screen.follow(f"{subject.name}: {scenario.title}") as bar:
                done = bench.run(subject, scenario, bar.tell)
                bar.result = _headline(done.figures)
            runs.setdefault((subject.name, scenario), []).append(done)
        capacities = {
            each.name: [
                _capacity(bench, screen, each, search, plan.workload)
                for search in plan.searches
                if not each.is_floor
            ]
            for each in plan.subjects
        }
    return Report(
        machine=_machine(plan, load_before),
        workload=plan.workload,
        runs=plan.runs,
        seconds=plan.seconds,
        servers=tuple(
            _measured(
                each.name,
                imports[each.name],
                [done for (name, _), done in runs.items() if name == each.name],
                capacities[each.name],
            )
            for each in plan.subjects
        ),
    )


def _capacity(
    bench: Bench, screen: _Screen, subject: Subject, search: Search, workload: Workload
) -> Capacity:
    def probe(calls: int) -> Figures:
        scenario = Scenario(search.kind, calls, search.seconds, workload)
        with screen.follow(f"{subject.name}: does a core hold {scenario.title}?") as bar:
            figures = bench.run_once(subject, scenario, bar.tell).figures
            bar.result = f"{'yes' if is_held(figures) else 'no'}: {_headline(figures)}"
        return figures

    return find_capacity(search.kind, probe, search.start, search.most)


def _measured(
    server: str,
    imports: Sequence[tuple[float, dict[str, str]]],
    runs: Sequence[Sequence[Run]],
    capacities: Sequence[Capacity],
) -> Measured:
    return Measured(
        server=server,
        packages=imports[0][1],
        boot_ms=round(statistics.median(run.boot_ms for done in runs for run in done), 1),
        import_ms=round(statistics.median(took_ms for took_ms, _ in imports), 1),
        scenarios=tuple(median([run.figures for run in done]) for done in runs),
        every=tuple(tuple(run.figures for run in done) for done in runs),
        capacities=tuple(capacities),
    )


def _headline(figures: Figures) -> str:
    if figures.idle_kb_per_call is not None:
        return (
            f"{figures.idle_kb_per_call:.1f} kB a call, {figures.speaking_kb_per_call:.1f} speaking"
        )
    added = figures.added
    faults = figures.unanswered + figures.broken
    late = added.most if added.p95 is None else added.p95
    said = f"adds {added.p50:.2f} ms p50, {late:.2f} p95" if added.samples else "no answer"
    failed = f", {faults} of {figures.turns} turns failed" if faults else ""
    return f"{said}, {figures.cpu_percent:.0f} % CPU{failed}"


def _machine(plan: Plan, load_before: float) -> Machine:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty=, edited"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        processor=names[0] if names else platform.machine(),
        cores=len({plan.server_core, *plan.other_cores}),
        server_core=plan.server_core,
        other_cores=plan.other_cores,
        commit=git.stdout.strip(),
        date=f"{datetime.now(UTC).date():%d %B %Y}",
        load=(round(load_before, 2), round(os.getloadavg()[0], 2)),
    )


# What is measured


def _scenario(kind: Kind, calls: int, seconds: float, workload: Workload) -> Scenario:
    tool = _TOOL if kind == "tools" else ""
    return Scenario(kind, calls, seconds, msgspec.structs.replace(workload, tool=tool))


def table_scenarios(seconds: float) -> list[Scenario]:
    """Give what the table of docs/benchmarks.md compares."""
    kinds: list[tuple[Kind, int]] = [
        ("storm", 100),
        ("barge-in", 100),
        ("talk", 100),
        ("tools", 20),
        ("partials", 20),
        ("memory", _MEMORY_CALLS),
    ]
    return [_scenario(kind, calls, seconds, Workload()) for kind, calls in kinds]


def every_scenario(counts: Sequence[int], seconds: float) -> list[Scenario]:
    """Give every kind of talk with every number of calls."""
    kinds: tuple[Kind, ...] = ("talk", "storm", "barge-in", "tools", "partials", "events")
    return [
        *(_scenario(kind, calls, seconds, Workload()) for kind in kinds for calls in counts),
        Scenario("memory", _MEMORY_CALLS, 0),
    ]


def quick_scenarios() -> list[Scenario]:
    """Give one short scenario of every kind."""
    return [
        _scenario(kind, 10 if kind == "memory" else 4, 1, _QUICK)
        for kind in get_args(Kind)
        if kind not in ("talk", "events")
    ]


def _scenarios(calls: Sequence[int], seconds: float, *, full: bool, quick: bool) -> list[Scenario]:
    if quick:
        return quick_scenarios()
    if calls or full:
        return every_scenario(sorted(calls) or _EVERY_COUNT, seconds)
    return table_scenarios(seconds)


def _search(kind: Kind, *, quick: bool) -> Search:
    """Give a search; a probe lasts until every call has spoken at least once."""
    if quick:
        return Search(kind, start=2, most=2, seconds=1)
    return Search(kind, start=100, most=1000, seconds=4.2 if kind == "talk" else 3)


def _subjects(names: Sequence[str]) -> tuple[Subject, ...]:
    """Give the servers asked for, or all that are installed; voxyray is always one."""
    for name in names:
        if not SUBJECTS[name].installed:
            raise Failed(f"{name} is not installed: `make bench` makes .venv-bench")
    wanted = names or [name for name, each in SUBJECTS.items() if each.installed]
    return tuple(each for each in SUBJECTS.values() if each is VOXYRAY or each.name in wanted)


@click.command()
@click.option("--server", "servers", type=click.Choice(list(SUBJECTS)), multiple=True)
@click.option("--only", type=click.Choice(get_args(Kind)), multiple=True, help="Kinds of talk.")
@click.option("--calls", type=click.IntRange(1), multiple=True, help="Every kind, so many calls.")
@click.option("--full", is_flag=True, help="Every kind, with 1, 20, 100, 500 and 1,000 calls.")
@click.option("--seconds", type=click.FloatRange(1), default=4.5, help="Of each scenario.")
@click.option("--runs", type=click.IntRange(1), default=3, help="Medians over so many.")
@click.option("--tries", type=click.IntRange(1), default=1, help="While others use the machine.")
@click.option(
    "--search",
    type=click.Choice(["talk", "storm", "none"]),
    multiple=True,
    default=["storm"],
    help="Find how many calls of this kind a core holds.",
)
@click.option("--quick", is_flag=True, help="A few seconds; proves that it works, no more.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--markdown", "markdown_file", type=click.Path(dir_okay=False, path_type=Path))
def main(
    servers: tuple[str, ...],
    only: tuple[str, ...],
    calls: tuple[int, ...],
    full: bool,
    seconds: float,
    runs: int,
    tries: int,
    search: tuple[Kind | Literal["none"], ...],
    quick: bool,
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Measure what voxyray adds to a model's latency and what it costs, beside its peers."""
    cores = _take_cores()
    plan = Plan(
        subjects=_subjects(servers),
        scenarios=tuple(
            each
            for each in _scenarios(calls, seconds, full=full, quick=quick)
            if not only or each.kind in only
        ),
        searches=tuple(_search(kind, quick=quick) for kind in search if kind != "none"),
        workload=_QUICK if quick else Workload(),
        seconds=1 if quick else seconds,
        runs=1 if quick else runs,
        once=frozenset(get_args(Kind)) - _REPEATED if not (calls or full) else frozenset(),
        tries=tries,
        imports=1 if quick else 5,
        server_core=cores[0],
        other_cores=tuple(cores[1:] or cores),
    )
    if not plan.scenarios:
        raise click.UsageError(f"no scenario is of the kind {' or '.join(only)}; try --full")
    console = Console(width=max(Console().width, 110))
    report = measure(plan, console)
    print_report(report, console)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    if markdown_file is not None:
        markdown_file.write_text(as_markdown(report), encoding="utf-8")


def _take_cores() -> list[int]:
    """Give the cores to use, and leave the first to the server; take the open files it needs."""
    if not hasattr(os, "sched_setaffinity"):
        raise Failed("this needs Linux: it pins processes to cores and reads /proc")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[1:] or cores)  # drawing progress takes no time from the server
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, hard), hard))
    return cores


if __name__ == "__main__":
    main()
