"""`voxyray replay`: a recorded call once more, through today's code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from voxyray.callfile import CallFile
    from voxyray.replay import Replayed

_EXAMPLES = """\b
Examples:
  voxyray replay CA91c0                              does today's code do the same?
  voxyray replay bug.call --to-test tests/test_bug.py
  voxyray replay CA91c0 --from 3 --prompt new.md     the same caller, another prompt
  voxyray replay CA91c0 --from 3 --model openai:gpt-5.4

Exit code: 0 if the replay is identical, 1 if it differs, 2 if the call cannot be replayed.
"""
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("replay", epilog=_EXAMPLES)
@click.argument("call", metavar="CALL_OR_FILE", required=False)
@click.option("--last", is_flag=True, help="The latest call.")
@click.option("--from", "turn", metavar="TURN", type=click.IntRange(1), help="Rerun from here on.")
@click.option("--prompt", metavar="FILE", type=_FILE, help="Rerun with these instructions.")
@click.option("--model", metavar="MODEL", help="Rerun with this model, such as openai:gpt-5.4.")
@click.option("--to-test", "test", metavar="FILE", type=_FILE, help="Write a redacted pytest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    call: str | None,
    last: bool,
    turn: int | None,
    prompt: Path | None,
    model: str | None,
    test: Path | None,
    as_json: bool,
) -> None:
    """Replay a call: are its decisions, frames and the model's history the same today?

    With --from the record is replayed up to that turn; then the caller does the same again, and the
    model answers anew. Tools do not run: they are answered from the record.
    """
    if bool(call) == last:
        raise click.UsageError("give a call's id or a file, or --last")
    if (prompt or model) and turn is None:
        raise click.UsageError("--prompt and --model change the rest of a call; say --from TURN")
    if test is not None and turn is not None:
        raise click.UsageError("--to-test tests the call as it was; leave --from out")
    found = _read(call)
    if test is not None:
        _write_test(found, test)
        return
    if turn is not None:
        import asyncio

        from voxyray.commands import rerunning

        asyncio.run(rerunning.show(found, turn, prompt, model, as_json=as_json))
        return
    _replay(found, as_json)


def _read(wanted: str | None) -> CallFile:
    import asyncio

    from voxyray.commands import saved

    if wanted is not None and Path(wanted).is_file():
        return saved.read(Path(wanted))
    if wanted is not None and wanted.endswith(".call"):
        raise click.UsageError(f"there is no file {wanted}; `voxyray export` writes one")
    return asyncio.run(saved.stored(wanted))


def _write_test(call: CallFile, path: Path) -> None:
    from voxyray.commands import saved
    from voxyray.errors import JournalError
    from voxyray.generated_test import MARK, write_test

    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise JournalError(f"{path} is not a test of ours and stays as it is; choose another name")
    saved.write(path, write_test(call).encode())
    click.echo(f"{path}: `pytest {path}` replays the call, redacted")


def _replay(call: CallFile, as_json: bool) -> None:
    import msgspec

    from voxyray.replay import replay

    replayed = replay(call)
    if as_json:
        difference = replayed.difference
        made = {
            "call": call.call,
            "identical": replayed.identical,
            "difference": None if difference is None else msgspec.to_builtins(difference),
            "stopped": replayed.stopped,
            "notes": replayed.notes,
            "turns": replayed.turns,
            "frames": len(replayed.sent),
        }
        click.echo(msgspec.json.encode(made).decode())
    else:
        _print(call, replayed)
    raise SystemExit(0 if replayed.difference is None else 1)


def _print(call: CallFile, replayed: Replayed) -> None:
    from rich.text import Text

    from voxyray.commands import terminal

    console = terminal.stdout()
    console.print(Text.assemble(("call ", "dim"), (call.call, "bold cyan")), end="")
    console.print(f"  [dim]recorded by voxyray[/] {call.voxyray}")
    console.print(_table(call, replayed))
    for note in replayed.notes:
        console.print(Text(note, style="yellow"))
    difference = replayed.difference
    if difference is None:
        upto = "" if replayed.stopped is None else f" up to turn {replayed.stopped}"
        console.print(f"[green]identical[/]{upto}: {len(replayed.sent)} frames")
        return
    console.print(Text("the first difference", style="bold red"), end="")
    console.print(f" is in turn {difference.turn}, {difference.at_ms / 1000:.3f} s into the call:")
    console.print(Text.assemble(("  recorded  ", "dim"), difference.expected))
    console.print(Text.assemble(("  today     ", "dim"), difference.got))


def _table(call: CallFile, replayed: Replayed) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from voxyray.commands import drawing
    from voxyray.waterfall import turns

    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    table.add_column("turn", justify="right")
    table.add_column("begun by", overflow="ellipsis", no_wrap=True, max_width=60)
    table.add_column("replay", no_wrap=True)
    difference, stopped = replayed.difference, replayed.stopped
    end = difference.turn if difference is not None else stopped
    for session in call.sessions:
        for view in turns(session.entries):
            mark = Text("✓ identical", style="green")
            if end is not None and view.number >= end:
                mark = Text("- not reached", style="dim")
            if difference is not None and view.number == difference.turn:
                mark = Text("✗ differs", style="bold red")
            words = view.caller if view.cause in ("speech", "keys") else ""
            table.add_row(str(view.number), words or drawing.no_input(view.cause), mark)
    return table
