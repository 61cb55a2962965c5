"""`voxyray call`: place a simulated call."""

from __future__ import annotations

import secrets

import click

_FROM = "+15550100001"


_EXAMPLES = """\b
Examples:
  voxyray call                                     talk by typing
  voxyray call --say "I'm Ada Lovelace" --say "!Stop"
  voxyray call --demo                              an interruption, tools, a transfer
  voxyray call --url http://127.0.0.1:8080 --json  call a running server

Exit code: 0 if the call ended well, 1 if not, 2 if it could not be placed.
"""


@click.command("call", epilog=_EXAMPLES)
@click.option("--agent", metavar="NAME", help="A name in agents/, a folder, or module:attribute.")
@click.option("--say", "lines", metavar="TEXT", multiple=True, help="Say this; repeatable.")
@click.option("--demo", is_flag=True, help="A call that shows an interruption, tools, a transfer.")
@click.option("--url", metavar="URL", help="Call a running server instead of one of its own.")
@click.option("--from", "from_", metavar="NUMBER", help=f"The caller's number.  [{_FROM}]")
@click.option("--partials", is_flag=True, help="Ask for and show partial transcripts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--pace",
    type=click.FloatRange(0.1, 1000),
    default=1.0,
    show_default=True,
    help="How fast speech goes: 2 is twice as fast as life.",
)
def command(
    agent: str | None,
    lines: tuple[str, ...],
    demo: bool,
    url: str | None,
    from_: str | None,
    partials: bool,
    as_json: bool,
    pace: float,
) -> None:
    """Place a simulated call, with a carrier's timing, over real HTTP and WebSocket.

    With --say each line is said after the agent has finished; `!wait` cuts in after a few words,
    `#12` presses keys. Otherwise you type, or every line of standard input is said.
    """
    import asyncio

    from voxyray.commands import hosting
    from voxyray.commands.callers import DEMO
    from voxyray.commands.simulated import Simulated, Wanted

    if demo and lines:
        raise click.UsageError("--demo says its own lines; leave --say out")
    if url and agent:
        raise click.UsageError("--url calls the agents of that server; leave --agent out")
    if demo:
        lines = DEMO
        from_ = from_ or f"+1555{secrets.randbelow(10**7):07d}"  # somebody new each time
    wanted = Wanted(agent, lines, url, from_ or _FROM, partials, as_json, pace)
    try:
        code = hosting.run(Simulated(wanted).run())
    except asyncio.CancelledError:  # Ctrl-C before there was a call to hang up
        raise click.Abort from None
    raise SystemExit(code)
