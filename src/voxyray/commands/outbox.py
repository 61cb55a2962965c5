"""`voxyray outbox`: the messages that agents sent, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from voxyray.messengers.records import Entry


_EXAMPLES = """\b
Examples:
  voxyray outbox
  voxyray outbox --limit 5 --show-numbers
  voxyray outbox --json

With no account for messages they are only stored; VOXYRAY_SMS and VOXYRAY_EMAIL say who sends them.
"""


@click.command("outbox", epilog=_EXAMPLES)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--show-numbers", is_flag=True, help="Show numbers and addresses in full.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(limit: int, show_numbers: bool, as_json: bool) -> None:
    """List the messages agents have sent and what became of them, newest first."""
    import asyncio

    import msgspec

    from voxyray.messengers import masked

    entries = asyncio.run(_latest(limit))
    if as_json:
        if not show_numbers:
            entries = [msgspec.structs.replace(each, to=masked(each.to)) for each in entries]
        click.echo(msgspec.json.encode({"messages": entries}).decode())
        return
    _print(entries, show_numbers)


async def _latest(limit: int) -> list[Entry]:
    import time

    from voxyray.commands import lookup
    from voxyray.messengers.records import Records
    from voxyray.settings import load_settings

    settings = load_settings()
    store = lookup.existing_store(settings)
    if store is None:
        return []
    try:
        return await Records(store, time.time, settings.retention_days).latest(limit)
    finally:
        await store.close()


def _print(entries: list[Entry], show_numbers: bool) -> None:
    from datetime import UTC, datetime

    from rich import box
    from rich.table import Table
    from rich.text import Text

    from voxyray.commands import terminal
    from voxyray.messengers.listing import rows

    console = terminal.stdout()
    if not entries:
        console.print("No messages yet. Agents send them in calls; `voxyray call` places one.")
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, expand=True)
    for name in ("accepted", "kind", "to"):
        table.add_column(name, no_wrap=True)
    table.add_column("status", style="cyan")
    table.add_column("words", ratio=1)
    zone = datetime.now().astimezone().tzinfo or UTC
    for entry, row in zip(entries, rows(entries, zone), strict=True):
        to = entry.to if show_numbers else row.to
        table.add_row(row.when, row.kind, to, row.status, Text(row.words))
    console.print(table)
    for reason in dict.fromkeys(f"{e.code}: {e.reason}" for e in entries if e.code and e.reason):
        console.print(reason, style="dim")
    if any(entry.status == "stored" for entry in entries):
        console.print("stored: kept here only, as no account sends them.", style="dim")
