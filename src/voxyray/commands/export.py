"""`voxyray export`: a call as one file."""

from __future__ import annotations

from pathlib import Path

import click

_EXAMPLES = """\b
Examples:
  voxyray export CA91c0 > x.call
  voxyray export --last --redact -o bug.call

A file holds everything that was said, numbers and names included; --redact replaces every word
and number by a placeholder, and the call still replays identically.
"""


@click.command("export", epilog=_EXAMPLES)
@click.argument("call", required=False)
@click.option("--last", is_flag=True, help="The latest call.")
@click.option("--redact", "redacted", is_flag=True, help="Replace words, names and numbers.")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Where."
)
def command(call: str | None, last: bool, redacted: bool, output: Path | None) -> None:
    """Write a call as one file, to be kept, sent to somebody, or replayed.

    CALL is a call's id or a unique beginning of it; `voxyray calls` lists them.
    """
    import asyncio

    from voxyray import callfile
    from voxyray.commands import saved
    from voxyray.redact import redact

    if bool(call) == last:
        raise click.UsageError("give a call's id, or --last")
    found = asyncio.run(saved.stored(call))
    data = callfile.encode(redact(found) if redacted else found)
    if output is None:
        click.echo(data, nl=False)
        return
    saved.write(output, data)
    size = f"{sum(len(each.entries) for each in found.sessions):,} entries, {len(data):,} bytes"
    click.echo(f"{output}: {size}{', redacted' if redacted else ''}", err=True)
