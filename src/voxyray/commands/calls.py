"""`voxyray calls`: the latest calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from voxyray.commands.lookup import Listed


_EXAMPLES = """\b
Examples:
  voxyray calls
  voxyray calls --limit 5 --json
"""


@click.command("calls", epilog=_EXAMPLES)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--show-numbers", is_flag=True, help="Show callers' numbers in full.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(limit: int, show_numbers: bool, as_json: bool) -> None:
    """List the latest calls, newest first."""
    import asyncio

    import msgspec

    from voxyray.commands import terminal

    listed = asyncio.run(_latest(limit))
    if not show_numbers:
        hidden = terminal.masked
        listed = [msgspec.structs.replace(each, caller=hidden(each.caller)) for each in listed]
    if as_json:
        click.echo(msgspec.json.encode({"calls": listed}).decode())
        return
    _print(listed)


async def _latest(limit: int) -> list[Listed]:
    from voxyray.commands import lookup
    from voxyray.settings import load_settings

    settings = load_settings()
    store = lookup.existing_store(settings)
    if store is None:
        return []
    try:
        return await lookup.latest(store, settings, limit)
    finally:
        await store.close()


def _print(listed: list[Listed]) -> None:
    from rich import box
    from rich.table import Table

    from voxyray.commands import terminal

    console = terminal.stdout()
    if not listed:
        console.print("No calls yet. `voxyray call` places one.")
        return
    if not console.is_terminal:
        console.width = 160  # nobody looks: ids need not be cut off
    table = Table(
        box=box.SIMPLE_HEAD,
        header_style="dim",
        pad_edge=False,
        collapse_padding=True,
        expand=True,
    )
    table.add_column("started", no_wrap=True)
    # One below the other leaves room for enough of the id to be typed.
    table.add_column("agent", overflow="fold", max_width=16 if console.width < 100 else None)
    table.add_column("caller", no_wrap=True)
    table.add_column("turns", justify="right")
    table.add_column("length", justify="right", no_wrap=True)
    table.add_column("ended by", no_wrap=True)
    table.add_column("call", overflow="ellipsis", no_wrap=True, style="cyan", ratio=1)
    for each in listed:
        length = terminal.seconds(each.duration_ms) if each.duration_ms is not None else "-"
        table.add_row(
            terminal.local_time(each.started_at),
            each.agent if each.last_agent == each.agent else f"{each.agent} → {each.last_agent}",
            each.caller,
            str(each.turns),
            length,
            each.ended,
            each.call,
        )
    console.print(table)
    console.print("`voxyray show CALL` shows one; the beginning of its id is enough.", style="dim")
