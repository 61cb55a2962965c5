"""`voxyray stats`: percentiles of how fast agents answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.table import Table

    from voxyray.latency import Group, Latency, Percentiles


_EXAMPLES = """\b
Examples:
  voxyray stats
  voxyray stats --by model --calls 1000
  voxyray stats --by day --json
"""
_MEASURES = {
    "gap": "gap",
    "audible": "audible",
    "first_token": "first token",
    "tool": "tools",
    "silence": "barge-in to silence",
}


@click.command("stats", epilog=_EXAMPLES)
@click.option(
    "--by",
    "group",
    type=click.Choice(("agent", "model", "day", "call")),
    default="agent",
    show_default=True,
)
@click.option(
    "--calls",
    type=click.IntRange(1, 10_000),
    default=200,
    show_default=True,
    help="How many of the latest calls to look at.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(group: Group, calls: int, as_json: bool) -> None:
    """Show percentiles of the latest calls' waits, by agent, model, day or call.

    docs/waterfall.md says what is measured. Where too few turns were measured for a percentile,
    it is left out: the longest of thirty is no p99.
    """
    import asyncio

    import msgspec

    from voxyray import latency
    from voxyray.commands import journals

    found = asyncio.run(journals.read(calls))
    rows = latency.by(group, found.views)
    whole = latency.latency(found.views)
    if as_json:
        made = {"by": group, "all": whole, "groups": rows, "unreadable": found.unreadable}
        click.echo(msgspec.json.encode(made).decode())
        return
    _print(group, rows, whole, len(found.unreadable))


def _print(group: Group, rows: dict[str, Latency], whole: Latency, unreadable: int) -> None:
    from voxyray.commands import terminal

    console = terminal.stdout()
    if not whole.turns:
        console.print("No turn was measured yet. `voxyray call` places a call.")
        return
    table = _table(group)
    for name, row in rows.items():
        _fill(table, name, row)
    if len(rows) > 1:
        _fill(table, "all", whole)
    console.print(table)
    console.print(
        f"{whole.calls} calls, {whole.turns} turns, {whole.answered} answered, "
        f"{whole.interrupted} interrupted. Times in ms.",
        style="dim",
    )
    if said := _too_few(rows.values()):
        console.print(said, style="dim")
    if unreadable:
        console.print(f"{unreadable} journals cannot be read.", style="yellow")


def _table(group: Group) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, collapse_padding=True)
    table.add_column(group, overflow="fold", style="cyan")
    table.add_column("from / to", no_wrap=True)
    for name in ("n", "p50", "p90", "p95", "p99", "longest"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _fill(table: Table, name: str, row: Latency) -> None:
    first = f"{name} ({row.turns} turn{'' if row.turns == 1 else 's'})"
    for label, measured in _measured(row):
        times = (measured.p50_ms, measured.p90_ms, measured.p95_ms, measured.p99_ms)
        shown = [_ms(each) for each in (*times, measured.longest_ms)]
        table.add_row(first, label, f"{measured.n:,}", *shown)
        first = ""
    if not first:
        table.add_section()


def _measured(row: Latency) -> Iterator[tuple[str, Percentiles]]:
    for name, label in _MEASURES.items():
        measured: Percentiles = getattr(row, name)
        if measured.n:
            yield label, measured


def _ms(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:,.1f}" if ms < 10 else f"{ms:,.0f}"


def _too_few(rows: Iterable[Latency]) -> str:
    """Say what a dash means, if there is one."""
    from voxyray.latency import LEAST

    if all(measured.p99_ms is not None for row in rows for _, measured in _measured(row)):
        return ""
    least = ", ".join(f"p{percentile} {n}" for percentile, n in LEAST.items())
    return f"-: n is too small to tell; needed are for {least}."
