"""A report for people: rich tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from rich.console import Console
from rich.table import Table

from benchmarks.figures import DISTURBED_PERCENT, Figures, Report

_Column: TypeAlias = tuple[str, Callable[[Figures], str]]
# Beyond this the instruments themselves are what is measured.
_BUSY_PERCENT: Final = 60.0
_LATE_MS: Final = 2.0


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


_LATENCY: Final[Sequence[_Column]] = (
    ("turns", lambda row: str(row.turns)),
    ("p50", lambda row: _number(row.added.p50)),
    ("p95", lambda row: _number(row.added.p95)),
    ("p99", lambda row: _number(row.added.p99)),
    ("most", lambda row: _number(row.added.most)),
    ("to model p50", lambda row: _number(row.to_model.p50)),
    ("from p50", lambda row: _number(row.from_model.p50)),
    ("faults", lambda row: str(row.unanswered + row.broken)),
)
_COST: Final[Sequence[_Column]] = (
    ("CPU ms/turn", lambda row: _number(row.cpu_ms_per_turn)),
    ("CPU ms/1000 tokens", lambda row: _number(row.cpu_ms_per_1000_tokens, 1)),
    ("CPU % of a core", lambda row: _number(row.cpu_percent, 1)),
    ("RSS MB", lambda row: _number(row.rss_mb, 1)),
)
_CUT: Final[Sequence[_Column]] = (
    ("interrupts", lambda row: str(row.interrupts)),
    ("tokens after", lambda row: str(row.tokens_after_interrupt)),
    ("in flight", lambda row: str(row.in_flight)),
    ("upstream closed p50 ms", lambda row: _number(row.upstream_closed.p50)),
    ("p99 ms", lambda row: _number(row.upstream_closed.p99)),
)
_INSTRUMENTS: Final[Sequence[_Column]] = (
    ("generator %", lambda row: _number(row.generator_percent, 1)),
    ("late p50 / p99 ms", lambda row: f"{_number(row.late.p50)} / {_number(row.late.p99)}"),
    ("model %", lambda row: _number(row.model_percent, 1)),
    (
        "late p50 / p99 ms",
        lambda row: f"{_number(row.model_late.p50)} / {_number(row.model_late.p99)}",
    ),
    ("others %", lambda row: _number(row.foreign_percent, 1)),
)


def print_report(report: Report, console: Console) -> None:
    """Print the tables, and what makes them doubtful."""
    rows = [row for row in report.scenarios if row.kind != "idle"]
    cut = [row for row in rows if row.kind == "barge-in"]
    console.print(
        _table("Added latency, ms (prompt to first token, less the model's)", _LATENCY, rows)
    )
    console.print(_table("Cost of the server", _COST, rows))
    if cut:
        console.print(_table("Interrupts", _CUT, cut))
    console.print(
        _table("The instruments and the rest of the machine, % of a core", _INSTRUMENTS, rows)
    )
    for row in report.scenarios:
        if row.idle_kb_per_call is not None:
            console.print(f"memory: {row.idle_kb_per_call:g} kB for each of {row.calls} idle calls")
    console.print(f"boot: {report.boot_ms:g} ms to /healthz; import: {report.import_ms:g} ms")
    machine = report.machine
    console.print(
        f"{report.runs} run(s); Python {machine.python}, {machine.system}, {machine.processor}, "
        f"{machine.cores} cores (server on {machine.server_core}); {machine.packages}; commit "
        f"{machine.commit}; load average {machine.load[0]} before, {machine.load[1]} after"
    )
    for doubt in doubts(report):
        console.print(f"[yellow]doubt:[/] {doubt}")


def doubts(report: Report) -> list[str]:
    """Tell where the instruments or the machine may be what was measured."""
    found: list[str] = []
    if report.machine.cores < 2:
        found.append("one core only: server and instruments take time from each other")
    for row in report.scenarios:
        name = f"{row.kind}, {row.calls} calls"
        used = row.generator_percent + row.model_percent
        if used > _BUSY_PERCENT:
            found.append(f"{name}: generator and mock model used {used:.0f} % of their core")
        if max(row.late.p50 or 0, row.model_late.p50 or 0) > _LATE_MS:
            found.append(f"{name}: the instruments' timers fired late")
        if row.foreign_percent > DISTURBED_PERCENT:
            found.append(f"{name}: other processes used {row.foreign_percent:.0f} % of a core")
    return found


def _table(title: str, columns: Sequence[_Column], rows: Sequence[Figures]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("scenario", "calls", *(name for name, _ in columns)):
        table.add_column(name, justify="left" if name == "scenario" else "right")
    for row in rows:
        table.add_row(row.kind, str(row.calls), *(show(row) for _, show in columns))
    return table
