"""`voxyray show`: one call from its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from voxyray.receipts import Receipt
    from voxyray.settings import Settings
    from voxyray.stores import Store
    from voxyray.waterfall import CallView, TurnView


_EXAMPLES = """\b
Examples:
  voxyray show --last
  voxyray show CA91c0 --marks
"""


@click.command("show", epilog=_EXAMPLES)
@click.argument("call", required=False)
@click.option("--last", is_flag=True, help="The latest call.")
@click.option("--marks", is_flag=True, help="Also list every clock mark of every turn.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(call: str | None, last: bool, marks: bool, as_json: bool) -> None:
    """Show a call: what was said and heard, tools, where the time went, and what it cost.

    CALL is a call's id or a unique beginning of it; `voxyray calls` lists them.
    """
    import asyncio

    import msgspec

    from voxyray.commands import report

    if bool(call) == last:
        raise click.UsageError("give a call's id, or --last")
    call_id, view, receipt = asyncio.run(_read(call))
    if as_json:
        turns = [report.turn(turn) for turn in view.turns]
        made = {"call": call_id, **msgspec.to_builtins(view), "turns": turns, "receipt": receipt}
        click.echo(msgspec.json.encode(made).decode())
        return
    _print(call_id, view, receipt, marks)


async def _read(wanted: str | None) -> tuple[str, CallView, Receipt]:
    from voxyray.commands import lookup
    from voxyray.errors import StoreError
    from voxyray.receipts import is_by_phone, load_prices, receipt
    from voxyray.settings import load_settings
    from voxyray.waterfall import call_view

    settings = load_settings()
    prices = load_prices(settings.prices)
    store = lookup.existing_store(settings)
    if store is None:
        raise StoreError("no call was stored yet; `voxyray call` places one")
    try:
        call_id = await _which(store, settings, wanted)
        entries = await lookup.read_journal(store, call_id)
        cost = receipt(entries, prices, by_phone=is_by_phone(call_id))
        return call_id, call_view(entries), cost
    finally:
        await store.close()


async def _which(store: Store, settings: Settings, wanted: str | None) -> str:
    from voxyray.commands import lookup
    from voxyray.errors import StoreError

    if wanted:
        return await lookup.find(store, settings, wanted)
    latest = await lookup.latest(store, settings, 1)
    if not latest:
        raise StoreError("no call was stored yet; `voxyray call` places one")
    return latest[0].call


def _print(call_id: str, view: CallView, receipt: Receipt, marks: bool) -> None:
    from rich.text import Text

    from voxyray.commands import costs, drawing, terminal

    console = terminal.stdout()
    started = terminal.local_time(view.started_at) if view.started_at is not None else "unknown"
    console.print(Text.assemble(("call ", "dim"), (call_id, "bold cyan")))
    agents = " → ".join(view.agents) or "unknown"
    console.print(f"[dim]agent[/] {agents}  [dim]started[/] {started}", end="")
    console.print(f"  [dim]length[/] {terminal.seconds(view.duration_ms)}", end="")
    console.print(f"  [dim]ended by[/] {view.why or 'nobody yet, or its end was not written'}")
    console.print()
    console.print(drawing.transcript(view.turns, plain=not console.is_terminal))
    console.print()
    console.rule("[bold]where the time went[/]", style="dim")
    console.print()
    console.print(drawing.waterfall(view.turns, console))
    console.print(drawing.summary(view.turns))
    console.print()
    console.rule("[bold]what it cost[/]", style="dim")
    console.print()
    console.print(costs.table(receipt))
    for note in costs.notes(receipt):
        console.print(note, style="dim")
    if marks:
        for turn in view.turns:
            console.print(_marks(turn))


def _marks(turn: TurnView) -> object:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=f"turn {turn.number}", title_justify="left")
    table.add_column("ms", justify="right")
    table.add_column("mark")
    table.add_column("", style="dim", overflow="ellipsis", no_wrap=True)
    for mark in turn.marks:
        table.add_row(f"{mark.at_ms:,.1f}", mark.name, mark.detail)
    return table
