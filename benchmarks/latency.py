"""What voxyray adds to a model's latency, and what it costs: `make bench`.

Three processes on loopback: the server on a core of its own, the mock model and the load generator
(which plays the carrier) on the others; this one only starts them and waits. Method and limits
are in docs/benchmarks.md.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.figures import (
    AUTH_TOKEN,
    DISTURBED_PERCENT,
    Figures,
    Kind,
    Machine,
    Report,
    Scenario,
    Workload,
    median,
)
from benchmarks.generator import Task
from benchmarks.tables import print_report

_BOOTED_WITHIN_S: Final = 30.0
_STOPPED_WITHIN_S: Final = 10.0
_MEASURED_WITHIN_S: Final = 60.0  # beyond the scenario's own time
_IDLE_CALLS: Final = 200
_KINDS: Final[tuple[Kind, ...]] = ("talk", "storm", "barge-in")
_QUICK: Final = Workload(first_token_ms=50, tokens=20, rate=100)
_IMPORT: Final = (
    "import time; began = time.perf_counter(); import voxyray.server; "
    "print((time.perf_counter() - began) * 1000)"
)
_PACKAGES: Final = ("aiohttp", "msgspec", "uvloop")
_ROOT: Final = Path(__file__).parent.parent


class Plan(msgspec.Struct, frozen=True):
    """All that is to be measured, and where."""

    scenarios: tuple[Scenario, ...]
    workload: Workload
    runs: int
    tries: int
    imports: int
    server_core: int
    other_cores: tuple[int, ...]


class _Run(msgspec.Struct, frozen=True):
    boot_ms: float
    figures: Figures


class Failed(click.ClickException):
    """A process of the benchmark did not do its part."""


# Processes


@contextlib.contextmanager
def _process(
    cores: Sequence[int], *arguments: str, fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our modules on given cores; it is stopped when the block is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=_ROOT,
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _listen() -> socket.socket:
    """Take a free port; who connects before the server runs waits, so booting needs no polling."""
    return socket.create_server(("127.0.0.1", 0), backlog=1024)


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _await_answer(url: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_BOOTED_WITHIN_S) as answer:
            answer.read()
    except OSError as error:
        raise Failed(f"{url} does not answer: {error}") from error


# Measuring


class Bench:
    """Runs scenarios, each with a fresh server, store and model."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress

    def run(self, scenario: Scenario, bar: TaskID) -> _Run:
        """Measure one scenario; where others disturb it, try again and keep the quietest."""
        tried: list[_Run] = []
        for _ in range(self._plan.tries):
            tried.append(self._try(scenario, bar))
            if tried[-1].figures.foreign_percent <= DISTURBED_PERCENT:
                break
        return min(tried, key=lambda run: run.figures.foreign_percent)

    def _try(self, scenario: Scenario, bar: TaskID) -> _Run:
        plan = self._plan
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="voxyray-bench-"))
            model_at, server_at = stack.enter_context(_listen()), stack.enter_context(_listen())
            workload = msgspec.json.encode(scenario.workload).decode()
            model = stack.enter_context(
                _process(
                    plan.other_cores,
                    "benchmarks.mock_model",
                    f"--fd={model_at.fileno()}",
                    f"--workload={workload}",
                    fds=[model_at.fileno()],
                )
            )
            _await_answer(f"{_url(model_at)}/v1/models")
            began = time.perf_counter()
            server = stack.enter_context(
                _process(
                    [plan.server_core],
                    "benchmarks.server",
                    f"--fd={server_at.fileno()}",
                    f"--model-url={_url(model_at)}/v1",
                    f"--store=sqlite:{folder}/voxyray.sqlite",
                    fds=[server_at.fileno()],
                )
            )
            _await_answer(f"{_url(server_at)}/healthz")
            boot_ms = (time.perf_counter() - began) * 1000
            task = Task(
                scenario, _url(server_at), _url(model_at), AUTH_TOKEN, server.pid, model.pid
            )
            return _Run(boot_ms, self._generate(task, bar))

    def _generate(self, task: Task, bar: TaskID) -> Figures:
        argument = msgspec.json.encode(task).decode()
        deadline = time.monotonic() + task.scenario.seconds + _MEASURED_WITHIN_S
        with _process(self._plan.other_cores, "benchmarks.generator", argument) as process:
            for line in process.stdout or ():
                said = msgspec.json.decode(line)
                if "kind" in said:
                    return msgspec.convert(said, Figures)
                self._progress.update(bar, completed=said["done"], refresh=True)
                if time.monotonic() > deadline:
                    break
        raise Failed(f"the generator gave no figures of {task.scenario.title}")


def _import_ms(core: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT],
        cwd=_ROOT,
        check=True,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, [core]),
    )
    return float(done.stdout)


def measure(plan: Plan, console: Console) -> Report:
    """Measure everything, as often as planned, and give the medians."""
    load_before = os.getloadavg()[0]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[result]}"),
        TimeElapsedColumn(),
    )
    runs: list[list[_Run]] = [[] for _ in plan.scenarios]
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bench = Bench(plan, progress)
        imports = [_import_ms(plan.server_core) for _ in range(plan.imports)]
        for number in range(plan.runs):
            for scenario, done in zip(plan.scenarios, runs, strict=True):
                title = f"run {number + 1}/{plan.runs}: {scenario.title} calls"
                bar = progress.add_task(title, total=1, result="")
                progress.refresh()
                done.append(bench.run(scenario, bar))
                headline = _headline(done[-1].figures)
                progress.update(bar, completed=1, result=headline, refresh=True)
                if not console.is_terminal:  # where bars are drawn only at the end
                    console.print(f"{title}: {headline}")
    return Report(
        machine=_machine(plan, load_before),
        workload=plan.workload,
        runs=plan.runs,
        boot_ms=round(statistics.median(run.boot_ms for done in runs for run in done), 1),
        import_ms=round(statistics.median(imports), 1),
        scenarios=tuple(median([run.figures for run in done]) for done in runs),
        every=tuple(tuple(run.figures for run in done) for done in runs),
    )


def _headline(figures: Figures) -> str:
    if figures.idle_kb_per_call is not None:
        return f"{figures.idle_kb_per_call:.1f} kB a call"
    return f"adds {figures.added.p50 or 0:.2f} ms p50, {figures.cpu_percent:.0f} % CPU"


def _machine(plan: Plan, load_before: float) -> Machine:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=_ROOT,
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
        packages={name: metadata.version(name) for name in _PACKAGES},
        commit=git.stdout.strip(),
        load=(round(load_before, 2), round(os.getloadavg()[0], 2)),
    )


# The command


def _scenarios(calls: Sequence[int], seconds: float) -> tuple[Scenario, ...]:
    talks = [Scenario(kind, count, seconds) for kind in _KINDS for count in calls]
    return (*talks, Scenario("events", max(calls), seconds), Scenario("idle", _IDLE_CALLS, 0))


def _quick_scenarios() -> tuple[Scenario, ...]:
    kinds: tuple[Kind, ...] = ("storm", "barge-in")
    talks = [Scenario(kind, 4, 1, _QUICK) for kind in kinds]
    return (*talks, Scenario("idle", 10, 0, _QUICK))


@click.command()
@click.option("--calls", type=click.IntRange(1), multiple=True, default=(1, 20, 100))
@click.option("--seconds", type=click.FloatRange(1), default=15.0, help="Of each scenario.")
@click.option("--runs", type=click.IntRange(1), default=1, help="Medians over so many.")
@click.option("--tries", type=click.IntRange(1), default=3, help="While others use the machine.")
@click.option("--only", type=click.Choice(["talk", "storm", "events", "barge-in", "idle"]))
@click.option("--quick", is_flag=True, help="A few seconds; proves that it works, no more.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path))
def main(
    calls: tuple[int, ...],
    seconds: float,
    runs: int,
    tries: int,
    only: str | None,
    quick: bool,
    file: Path | None,
) -> None:
    """Measure what voxyray adds to a model's latency, and what it costs."""
    if not hasattr(os, "sched_setaffinity"):
        raise Failed("this needs Linux: it pins processes to cores and reads /proc")
    cores = sorted(os.sched_getaffinity(0))
    scenarios = _quick_scenarios() if quick else _scenarios(sorted(calls), seconds)
    other_cores = tuple(cores[1:] or cores)
    os.sched_setaffinity(0, other_cores)  # drawing progress must not take time from the server
    plan = Plan(
        scenarios=tuple(each for each in scenarios if only in (None, each.kind)),
        workload=_QUICK if quick else Workload(),
        runs=runs,
        tries=1 if quick else tries,
        imports=1 if quick else 5,
        server_core=cores[0],
        other_cores=other_cores,
    )
    console = Console(width=max(Console().width, 110))
    report = measure(plan, console)
    print_report(report, console)
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))


if __name__ == "__main__":
    main()
