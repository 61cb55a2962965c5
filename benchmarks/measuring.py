"""One measurement: three processes on loopback, each on its core, stopped when it is over."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import click
import msgspec

from benchmarks.figures import (
    AUTH_TOKEN,
    DISTURBED_PERCENT,
    HELD_WITHIN_MS,
    Capacity,
    Figures,
    Kind,
    Probe,
    Scenario,
)
from benchmarks.generator import Task
from benchmarks.subjects import ROOT, Subject

_BOOTED_WITHIN_S: Final = 30.0
_STOPPED_WITHIN_S: Final = 10.0
_MEASURED_WITHIN_S: Final = 120.0  # beyond the scenario's own time
_FAULTS_SHARE: Final = 0.01  # of the turns; with more, calls are not held
_PRECISION: Final = 0.15  # of the search, as a share of what is held
_IMPORT: Final = """
import importlib.metadata, json, time
began = time.perf_counter()
{imports}
took_ms = (time.perf_counter() - began) * 1000
print(json.dumps([took_ms, {{name: importlib.metadata.version(name) for name in {packages}}}]))
"""


class Run(msgspec.Struct, frozen=True):
    """One scenario, measured once."""

    boot_ms: float
    figures: Figures


class Failed(click.ClickException):
    """A process of the benchmark did not do its part."""


# Processes


@contextlib.contextmanager
def _process(
    cores: Sequence[int],
    *command: str,
    fds: Sequence[int] = (),
    output: int | IO[bytes] = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on given cores; it is stopped when the block is left."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output == subprocess.PIPE else subprocess.STDOUT,
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
    """Wait for any answer, a refusal too."""
    try:
        with urllib.request.urlopen(url, timeout=_BOOTED_WITHIN_S) as answer:
            answer.read()
    except urllib.error.HTTPError as refusal:
        refusal.close()
    except OSError as error:
        raise Failed(f"{url} does not answer: {error}") from error


# Measuring


class Bench:
    """Measures scenarios, each with a fresh server, store and model."""

    def __init__(self, server_core: int, other_cores: Sequence[int], tries: int) -> None:
        self._server_core = server_core
        self._other_cores = other_cores
        self._tries = tries

    def run(self, subject: Subject, scenario: Scenario, tell: Callable[[float], None]) -> Run:
        """Measure one scenario; where others disturb it, try again and keep the quietest."""
        tried: list[Run] = []
        for _ in range(self._tries):
            tried.append(self.run_once(subject, scenario, tell))
            if tried[-1].figures.foreign_percent <= DISTURBED_PERCENT:
                break
        return min(tried, key=lambda run: run.figures.foreign_percent)

    def run_once(self, subject: Subject, scenario: Scenario, tell: Callable[[float], None]) -> Run:
        """Measure one scenario; tell is told how much of it is done."""
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voxyray-bench-")))
            model_at, server_at = stack.enter_context(_listen()), stack.enter_context(_listen())
            output = stack.enter_context((folder / "server.log").open("wb"))
            model = stack.enter_context(self._model(model_at, scenario))
            _await_answer(f"{_url(model_at)}/v1/models")
            began = time.perf_counter()
            server = stack.enter_context(
                _process(
                    [self._server_core],
                    *(subject.python, "-m", subject.module, f"--fd={server_at.fileno()}"),
                    f"--model-url={_url(model_at)}/v1",
                    f"--store=sqlite:{folder}/voxyray.sqlite",
                    f"--kind={scenario.kind}",
                    fds=[server_at.fileno()],
                    output=output,
                )
            )
            try:
                _await_answer(_url(server_at) + subject.ready_path)
                boot_ms = (time.perf_counter() - began) * 1000
                task = Task(
                    scenario,
                    _url(server_at),
                    subject.voice_path,
                    _url(model_at),
                    AUTH_TOKEN,
                    server.pid,
                    model.pid,
                )
                return Run(boot_ms, self._generate(task, tell))
            except Failed as failure:
                said = (folder / "server.log").read_text(encoding="utf-8", errors="replace")
                name = f"{subject.name}, {scenario.title}"
                raise Failed(f"{name}: {failure.message}\n{said[-2000:]}") from failure

    def _model(
        self, listener: socket.socket, scenario: Scenario
    ) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        return _process(
            self._other_cores,
            *(sys.executable, "-m", "benchmarks.mock_model", f"--fd={listener.fileno()}"),
            f"--workload={msgspec.json.encode(scenario.workload).decode()}",
            fds=[listener.fileno()],
        )

    def _generate(self, task: Task, tell: Callable[[float], None]) -> Figures:
        argument = msgspec.json.encode(task).decode()
        deadline = time.monotonic() + task.scenario.seconds + _MEASURED_WITHIN_S
        command = (sys.executable, "-m", "benchmarks.generator", argument)
        with _process(self._other_cores, *command) as process:
            for line in process.stdout or ():
                said = msgspec.json.decode(line)
                if "kind" in said:
                    return msgspec.convert(said, Figures)
                tell(said["done"])
                if time.monotonic() > deadline:
                    break
        raise Failed("the generator gave no figures; what the server wrote:")

    def import_once(self, subject: Subject) -> tuple[float, dict[str, str]]:
        """Give the ms that a server's imports take, and the versions of its packages."""
        done = subprocess.run(
            [
                *(subject.python, "-c"),
                _IMPORT.format(imports=subject.imports, packages=subject.packages),
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
            preexec_fn=lambda: os.sched_setaffinity(0, [self._server_core]),
        )
        took_ms, versions = msgspec.json.decode(done.stdout, type=tuple[float, dict[str, str]])
        return took_ms, versions


def is_held(figures: Figures) -> bool:
    """Tell whether these calls were held: answered, whole, and in time."""
    faults = figures.unanswered + figures.broken
    added = figures.added
    late_ms = added.most if added.p95 is None else added.p95
    return (
        late_ms is not None and late_ms < HELD_WITHIN_MS and faults <= figures.turns * _FAULTS_SHARE
    )


def find_capacity(kind: Kind, probe: Callable[[int], Figures], start: int, most: int) -> Capacity:
    """Find how many calls are held, by doubling and then bisecting."""
    probes: list[Probe] = []

    def held(calls: int) -> bool:
        figures = probe(calls)
        probes.append(Probe(calls, is_held(figures), figures))
        return probes[-1].held

    low, high = 0, min(start, most)
    while held(high):
        low = high
        if high == most:
            return Capacity(kind, low, most=True, probes=tuple(probes))
        high = min(high * 2, most)
    while high - low > max(1, low * _PRECISION):
        middle = (low + high) // 2
        low, high = (middle, high) if held(middle) else (low, middle)
    return Capacity(kind, low, most=False, probes=tuple(probes))
