"""`voxyray why-slow`: the slowest turns, explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from voxyray.advice import Advice
    from voxyray.commands.journals import Calls


_EXAMPLES = """\b
Examples:
  voxyray why-slow                 over the latest calls
  voxyray why-slow CA91c0          in one call
  voxyray why-slow --turns 10 --json
"""


@click.command("why-slow", epilog=_EXAMPLES)
@click.argument("call", required=False)
@click.option("--turns", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option(
    "--calls",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="Without CALL: how many of the latest to look at.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(call: str | None, turns: int, calls: int, as_json: bool) -> None:
    """Say why the slowest turns were slow, and what to do about it.

    CALL is a call's id or a unique beginning of it.
    """
    import asyncio

    import msgspec

    from voxyray.commands import journals

    found = asyncio.run(journals.read(calls, call))
    slowest = _slowest(found)
    if as_json:
        made = [{"call": id_, **msgspec.to_builtins(each)} for id_, each in slowest[:turns]]
        click.echo(msgspec.json.encode({"turns": made, "unreadable": found.unreadable}).decode())
        return
    _print(found, slowest, turns, one=call is not None)


def _slowest(calls: Calls) -> list[tuple[str, Advice]]:
    """Give advice on all turns that somebody waited in, the slowest first."""
    from voxyray.advice import advise
    from voxyray.waterfall import ASKED

    asked = [(id_, t) for id_, view in calls.views.items() for t in view.turns if t.cause in ASKED]
    advice = [(id_, advise(turn)) for id_, turn in asked]
    answered = [each for each in advice if each[1].ms is not None]
    return sorted(answered, key=lambda each: -(each[1].ms or 0.0))


def _print(calls: Calls, slowest: list[tuple[str, Advice]], turns: int, *, one: bool) -> None:
    from rich.text import Text

    from voxyray.advice import SLOW_MS
    from voxyray.commands import terminal

    console = terminal.stdout()
    if not slowest:
        console.print("No turn was answered, so there is nothing to explain.")
        return
    slow = [advice for _, advice in slowest if (advice.ms or 0.0) >= SLOW_MS]
    console.print(_headline(len(slow), len(slowest), len(calls.views)))
    if not slow:
        console.print(f"None took {SLOW_MS:,.0f} ms or more. The longest of them:", style="dim")
    for id_, advice in slowest[:turns]:
        console.print()
        if not one:
            console.print(Text(id_, style="cyan"))
        console.print(Text(advice.why, style="bold"))
        if advice.fix:
            console.print(Text(advice.fix))
        if advice.unknown:
            console.print(Text(advice.unknown, style="dim italic"))
    if calls.unreadable:
        console.print()
        console.print(f"{len(calls.unreadable)} journals cannot be read.", style="yellow")
    console.print()
    shown = slowest[0][0] if one else "CALL"
    console.print(f"`voxyray show {shown}` shows every part of every turn.", style="dim")


def _headline(slow: int, answered: int, calls: int) -> str:
    turns = f"{answered} turn{'s were' if answered > 1 else ' was'} answered"
    where = f" in {calls} calls" if calls > 1 else ""
    return f"{turns}{where}, {slow} of them slowly." if slow else f"{turns}{where}, none slowly."
