"""A report for people: tables for the terminal, and the one of the docs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from rich.console import Console
from rich.table import Table

from benchmarks.figures import (
    DISTURBED_PERCENT,
    HELD_WITHIN_MS,
    Capacity,
    Figures,
    Kind,
    Measured,
    Report,
)

_Column: TypeAlias = tuple[str, Callable[[Figures], str]]
_Read: TypeAlias = Callable[[Figures], float | None]
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
    ("never closed", lambda row: str(row.never_closed)),
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
    rows = [
        (each.server, row)
        for each in report.servers
        for row in each.scenarios
        if row.kind != "memory"
    ]
    cut = [(server, row) for server, row in rows if row.kind == "barge-in"]
    console.print(
        _table("Added latency, ms (prompt to first token, less the model's)", _LATENCY, rows)
    )
    console.print(_table("Cost of the server", _COST, rows))
    if cut:
        console.print(_table("Interrupts", _CUT, cut))
    console.print(
        _table("The instruments and the rest of the machine, % of a core", _INSTRUMENTS, rows)
    )
    console.print(_comparison(report))
    console.print(about(report))
    for doubt in doubts(report):
        console.print(f"[yellow]doubt:[/] {doubt}")


def about(report: Report) -> str:
    """Tell where, when and with what it was measured."""
    machine = report.machine
    versions = "; ".join(
        f"{each.server}: " + ", ".join(f"{name} {at}" for name, at in each.packages.items())
        for each in report.servers
    )
    once = sorted(
        {
            row.kind
            for each in report.servers
            for row, runs in zip(each.scenarios, each.every, strict=False)
            if len(runs) < report.runs
        }
    )
    times = f"Medians of {report.runs} runs" + (f" ({', '.join(once)}: one run)" if once else "")
    return (
        f"{times if report.runs > 1 else 'One run'} of {report.seconds:g} s a scenario on "
        f"{machine.date}, "
        f"commit {machine.commit}; Python {machine.python}, {machine.system}, "
        f"{machine.processor}, {machine.cores} cores (server on {machine.server_core}); load "
        f"average {machine.load[0]} before, {machine.load[1]} after. {versions}."
    )


def doubts(report: Report) -> list[str]:
    """Tell where the instruments or the machine may be what was measured."""
    found: list[str] = []
    if report.machine.cores < 2:
        found.append("one core only: server and instruments take time from each other")
    for each in report.servers:
        for row in each.scenarios:
            found += (f"{each.server}, {row.kind}, {row.calls} calls: {why}" for why in _why(row))
        for capacity in each.capacities:
            for probe in capacity.probes:
                name = f"{each.server}, search at {capacity.kind}, {probe.calls} calls"
                found += (f"{name}: {why}" for why in _why(probe.figures))
    return found


def _why(row: Figures) -> Iterator[str]:
    used = row.generator_percent + row.model_percent
    if used > _BUSY_PERCENT:
        yield f"generator and mock model used {used:.0f} % of their core"
    if max(row.late.p50 or 0, row.model_late.p50 or 0) > _LATE_MS:
        yield "the instruments' timers fired late"
    if row.foreign_percent > DISTURBED_PERCENT:
        yield f"other processes used {row.foreign_percent:.0f} % of a core"


def _table(title: str, columns: Sequence[_Column], rows: Sequence[tuple[str, Figures]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("server", "scenario"):
        table.add_column(name)
    for name in ("calls", *(name for name, _ in columns)):
        table.add_column(name, justify="right")
    for server, row in rows:
        table.add_row(server, row.kind, str(row.calls), *(show(row) for _, show in columns))
    return table


# Side by side


class _Line(NamedTuple):
    """One line of the comparison: what, and how it is read from a server's figures.

    is_least: whether the true figure may be higher.
    """

    label: str
    read: Callable[[Measured], float | None]
    digits: int = 2
    is_least: Callable[[Measured], bool] = lambda _: False

    def show(self, each: Measured) -> str:
        """Give the figure as a cell."""
        return "≥ " * self.is_least(each) + _number(self.read(each), self.digits)


_ADDED: Final[Sequence[tuple[str, _Read, int]]] = (
    ("added p50, ms", lambda row: row.added.p50, 2),
    ("added p95, ms", lambda row: row.added.p95, 2),
    ("added p99, ms", lambda row: row.added.p99, 2),
)
_SPENT: Final[Sequence[tuple[str, _Read, int]]] = (
    ("CPU a turn, ms", lambda row: row.cpu_ms_per_turn, 2),
    ("CPU per 1,000 tokens, ms", lambda row: row.cpu_ms_per_1000_tokens, 1),
    ("turns that failed", lambda row: row.unanswered + row.broken, 0),
)
_CUT_OFF: Final[Sequence[tuple[str, _Read, int]]] = (
    (
        "tokens after an interrupt",
        lambda row: row.tokens_after_interrupt / max(1, row.interrupts),
        2,
    ),
    ("interrupt to upstream closed p50, ms", lambda row: row.upstream_closed.p50, 2),
    ("interrupt to upstream closed p99, ms", lambda row: row.upstream_closed.p99, 2),
    ("upstream never closed", lambda row: row.never_closed, 0),
)
_GUESSED: Final[Sequence[tuple[str, _Read, int]]] = (
    ("prompt to first token p50, ms", lambda row: row.heard.p50, 1),
    ("prompt to first token p95, ms", lambda row: row.heard.p95, 1),
    (
        "answers asked for before the prompt, %",
        lambda row: 100 * row.guessed / max(1, row.turns),
        0,
    ),
)
_WEIGHED: Final[Sequence[tuple[str, _Read, int]]] = (
    ("an idle call, kB", lambda row: row.idle_kb_per_call, 1),
    ("a speaking call, kB", lambda row: row.speaking_kb_per_call, 1),
)
_BY_KIND: Final[Mapping[Kind, Sequence[tuple[str, _Read, int]]]] = {
    "talk": (*_ADDED, *_SPENT),
    "storm": (*_ADDED, *_SPENT),
    "events": (*_ADDED, *_SPENT),
    "tools": (*_ADDED, *_SPENT),
    "barge-in": (*_ADDED, *_CUT_OFF),
    "partials": _GUESSED,
    "memory": _WEIGHED,
}


def _lines(report: Report) -> list[_Line]:
    """Give the lines that what was measured allows."""
    lines = [
        _Line(f"{row.kind}, {row.calls} calls: {label}", _reader(row.kind, row.calls, read), digits)
        for row in report.servers[0].scenarios
        for label, read, digits in _BY_KIND[row.kind]
    ]
    return [
        *lines,
        *(_held(capacity.kind) for capacity in report.servers[0].capacities),
        _Line("from start to the first answer, ms", lambda each: each.boot_ms, 0),
        _Line("imports, ms", lambda each: each.import_ms, 0),
    ]


def _held(kind: Kind) -> _Line:
    def find(each: Measured) -> Capacity | None:
        return next((found for found in each.capacities if found.kind == kind), None)

    return _Line(
        f"{kind}: calls a core holds (p95 added below {HELD_WITHIN_MS:g} ms)",
        lambda each: None if (found := find(each)) is None else found.calls,
        0,
        lambda each: (found := find(each)) is not None and found.most,
    )


def _reader(kind: Kind, calls: int, read: _Read) -> Callable[[Measured], float | None]:
    def find(each: Measured) -> float | None:
        row = each.of(kind, calls)
        return None if row is None else read(row)

    return find


def compare(report: Report) -> tuple[list[str], list[list[str]]]:
    """Give heads and rows of one table: voxyray, and every other with its ratio to voxyray."""
    ours, *others = report.servers
    heads = ["", ours.server]
    for each in others:
        heads += [each.server, "/ ours"]
    rows = []
    for line in _lines(report):
        mine = line.read(ours)
        cells = [line.label, line.show(ours)]
        for each in others:
            theirs = line.read(each)
            ratio = theirs / mine if mine and theirs is not None else None
            cells += [line.show(each), _ratio(ratio)]
        rows.append(cells)
    return heads, rows


def _ratio(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.3g}×" if ratio < 100 else f"{ratio:,.0f}×"


def _comparison(report: Report) -> Table:
    heads, rows = compare(report)
    table = Table(title="Side by side (others / voxyray)", title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def as_markdown(report: Report) -> str:
    """Give the comparison as docs/benchmarks.md holds it."""
    heads, rows = compare(report)
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    doubtful = "".join(f"- {doubt}\n" for doubt in doubts(report))
    return f"{about(report)}\n\n{table}\n" + (f"\nIn doubt:\n\n{doubtful}" if doubtful else "")
