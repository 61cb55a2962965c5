"""`voxyray doctor`: what would keep calls from going well, and how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from voxyray.checks import Finding, Setup
    from voxyray.settings import Settings


_EXAMPLES = """\b
Examples:
  voxyray doctor
  voxyray doctor agents/default
  voxyray doctor --url https://voice.example.com   in place of VOXYRAY_PUBLIC_URL
  voxyray doctor --json

Exit code: 0 if calls can go well, 1 if something is broken.
"""

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "broken": ("✗", "bold red")}


@click.command("doctor", epilog=_EXAMPLES)
@click.argument("agent", required=False)
@click.option("--url", metavar="URL", help="The server's public URL.  [VOXYRAY_PUBLIC_URL]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(agent: str | None, url: str | None, as_json: bool) -> None:
    """Look at everything a call needs, and say what to fix.

    AGENT is what `voxyray serve` is given. Nothing is changed, nobody is called; the model is
    asked for one word.
    """
    import logging

    from voxyray.commands import terminal

    console = None if as_json else terminal.stdout()
    logging.disable(logging.WARNING)  # what we would warn of is among the findings
    try:
        findings = _findings(agent, url, console)
    finally:
        logging.disable(logging.NOTSET)
    if console is None:
        _print_json(findings)
    else:
        _print_sum(console, findings)
    if any(each.level == "broken" for each in findings):
        raise SystemExit(1)


def _findings(agent: str | None, url: str | None, console: Console | None) -> list[Finding]:
    from voxyray.commands import hosting
    from voxyray.errors import SettingsError

    try:
        setup = _setup(agent, url)
    except SettingsError as error:
        wrong = _wrong_settings(error)
        if console is not None:
            _print(console, wrong)
        return [wrong]
    return hosting.run(_examine(setup, console))


def _setup(agent: str | None, url: str | None) -> Setup:
    import contextlib
    import os

    from voxyray.carriers.numbers import open_account
    from voxyray.checks import Setup
    from voxyray.commands import naming
    from voxyray.errors import SettingsError
    from voxyray.settings import load_settings

    settings = _with_token(load_settings(public_url=url))
    account = None
    with contextlib.suppress(SettingsError):  # told by the account's check
        account = open_account(settings)
    return Setup(settings, environ=os.environ, agent=naming.reference(agent), account=account)


def _with_token(settings: Settings) -> Settings:
    """Take the token that a server on this machine made for itself, if there is one."""
    from pathlib import Path

    from voxyray.settings import with_development_token

    file = Path("var/auth-token")
    made = settings.is_local and file.exists()
    return with_development_token(settings, file) if made else settings


def _wrong_settings(error: Exception) -> Finding:
    from voxyray.checks import broken

    return broken("settings", str(error), "nothing else was looked at; fix it and run this again")


async def _examine(setup: Setup, console: Console | None) -> list[Finding]:
    from voxyray.checks.running import examine

    findings = []
    async for finding in examine(setup):
        findings.append(finding)
        if console is not None:
            _print(console, finding)
    return findings


def _print(console: Console, finding: Finding) -> None:
    """Print a finding; in a pipe it is one line, whatever its length, for grep."""
    from rich.table import Table
    from rich.text import Text

    mark, style = _MARKS[finding.level]
    name = f"{finding.check:<9}"
    if not console.is_terminal:
        fix = f" → {finding.fix}" if finding.fix else ""
        console.print(Text(f"{mark} {name} {finding.said}{fix}"), soft_wrap=True)
        return
    words = Text(finding.said)
    if finding.fix:
        words.append(f"\n→ {finding.fix}", style="dim" if finding.level == "ok" else style)
    line = Table.grid(padding=(0, 1))
    line.add_column(no_wrap=True, style=style)
    line.add_column(no_wrap=True, style="bold")
    line.add_column(overflow="fold")
    line.add_row(mark, name, words)
    console.print(line)


def _print_sum(console: Console, findings: list[Finding]) -> None:
    from rich.text import Text

    broken = sum(each.level == "broken" for each in findings)
    warnings = sum(each.level == "warning" for each in findings)
    worth = f"{warnings} to know about" if warnings else ""
    if broken:
        words = ", ".join(filter(None, (f"{broken} broken", worth)))
        console.print(Text(f"\n{words}", style="bold red"))
        return
    words = f"calls can go well; {worth}" if worth else "all is well"
    console.print(Text(f"\n{words}", style="bold green"))


def _print_json(findings: list[Finding]) -> None:
    import msgspec

    well = not any(each.level == "broken" for each in findings)
    click.echo(msgspec.json.encode({"ok": well, "findings": findings}).decode())
