"""`voxyray number`: lead a phone number's calls and texts to this server, or see where they go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from voxyray.carriers.numbers import Number


_EXAMPLES = """\b
Examples:
  voxyray number list
  voxyray number show +14155550100
  voxyray number set +14155550100 --url https://voice.example.com/voice
  voxyray number set +14155550100        to VOXYRAY_PUBLIC_URL/voice
  voxyray number restore +14155550100 'VoiceUrl=...'

It needs TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN.
"""


@click.group("number", epilog=_EXAMPLES)
def command() -> None:
    """Lead the calls of a Twilio number to this server."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(as_json: bool) -> None:
    """List the account's numbers and where their calls go."""
    import asyncio

    import msgspec

    from voxyray.carriers import numbers
    from voxyray.settings import load_settings

    found = asyncio.run(numbers.open_account(load_settings()).numbers())
    if as_json:
        click.echo(msgspec.json.encode({"numbers": found}).decode())
        return
    _print_list(found)


def _print_list(found: list[Number]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from voxyray.commands import terminal

    console = terminal.stdout()
    if not found:
        console.print("This account has no number; the Twilio console sells them.")
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    table.add_column("number", no_wrap=True, style="bold")
    table.add_column("calls go to", overflow="fold")
    for each in found:
        table.add_row(each.phone_number, Text(each.bound_to or each.voice_url or "nowhere"))
    console.print(table)


@command.command("show")
@click.argument("number")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(number: str, as_json: bool) -> None:
    """Show where a number's calls and texts go."""
    import asyncio

    import msgspec

    from voxyray.carriers import numbers
    from voxyray.settings import load_settings

    account = numbers.open_account(load_settings())
    found = asyncio.run(account.number(_e164(number)))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    _print_number(found)


def _print_number(number: Number) -> None:
    from rich.table import Table
    from rich.text import Text

    from voxyray.commands import terminal

    console = terminal.stdout()
    console.print(Text(number.phone_number, style="bold cyan"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    texts = f"{number.sms_method} {number.sms_url}" if number.sms_url else "nowhere"
    for name, value in (
        ("  calls", f"{number.voice_method} {number.voice_url}" if number.voice_url else "nowhere"),
        ("  fallback", number.voice_fallback_url or "none"),
        ("  texts", texts if number.sms else "this number takes none"),
        ("  status", number.status_callback or "is told nobody"),
    ):
        facts.add_row(name, Text(value))
    console.print(facts)
    if number.bound_to:
        words = f"It is bound to {number.bound_to}: Twilio ignores the addresses for calls."
        console.print(Text(words, style="yellow"))
    if number.sms_application:
        words = f"Its texts go to the app {number.sms_application}: Twilio ignores that address."
        console.print(Text(words, style="yellow"))


@command.command("set")
@click.argument("number")
@click.option("--url", metavar="URL", help="The webhook.  [VOXYRAY_PUBLIC_URL/voice]")
@click.option("--voice-only", is_flag=True, help="Leave text messages where they go.")
@click.option("--yes", is_flag=True, help="Do not ask before changing what points elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def set_(number: str, url: str | None, voice_only: bool, yes: bool, as_json: bool) -> None:
    """Lead a number's calls and texts to the webhook, and say how to put it back."""
    from voxyray.carriers import numbers
    from voxyray.settings import load_settings

    settings = load_settings()
    target = numbers.webhook_url(url or f"{settings.base_url}/voice")

    def wanted(found: Number) -> dict[str, str]:
        _check_unbound(found)
        return numbers.settings_for(target, found, texts=not voice_only)

    _change(_e164(number), wanted, yes=yes, as_json=as_json)
    if not as_json and not numbers.same_url(target, f"{settings.base_url}/voice"):
        base = target.removesuffix("/voice")
        click.echo(f"The server there must run with VOXYRAY_PUBLIC_URL={base}", err=True)


@command.command("restore")
@click.argument("number")
@click.argument("settings")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def restore(number: str, settings: str, as_json: bool) -> None:
    """Put a number back to what `number set` printed."""
    from voxyray.carriers import numbers

    parameters = numbers.parse_parameters(settings)
    _change(_e164(number), lambda _: parameters, yes=True, as_json=as_json)


def _check_unbound(number: Number) -> None:
    from voxyray.errors import SettingsError

    if number.bound_to:
        raise SettingsError(
            f"{number.phone_number} is bound to {number.bound_to}, so Twilio would ignore the "
            "webhook: in the Twilio console, under the number's Voice Configuration, choose "
            "Webhook, then run this again"
        )


def _change(
    phone_number: str,
    wanted: Callable[[Number], Mapping[str, str]],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    import asyncio

    import msgspec

    from voxyray.carriers import numbers
    from voxyray.errors import CarrierError
    from voxyray.settings import load_settings

    account = numbers.open_account(load_settings())
    before = asyncio.run(account.number(phone_number))
    parameters = wanted(before)
    changed = numbers.changes(before, parameters)
    if changed:
        if not yes:
            _ask(before, changed)
        now = asyncio.run(account.change(before, {name: parameters[name] for name in changed}))
        if left := numbers.changes(now, parameters):
            raise CarrierError(f"Twilio took it but left {', '.join(left)} as before; try again")
    undo = _undo(phone_number, changed)
    if as_json:
        rows = {name: {"before": one, "now": other} for name, (one, other) in changed.items()}
        click.echo(msgspec.json.encode({"changed": rows, "undo": undo}).decode())
        return
    _print_change(before, changed, undo)


def _ask(number: Number, changed: Mapping[str, tuple[str, str]]) -> None:
    """Ask before taking calls or texts away from where they go now; Twilio's demo is nowhere."""
    from urllib.parse import urlsplit

    from voxyray.errors import SettingsError

    taken = [
        before
        for name, (before, now) in changed.items()
        if name.endswith("Url")
        and urlsplit(before).hostname not in (None, "demo.twilio.com", urlsplit(now).hostname)
    ]
    if not taken:
        return
    places = "\n".join(f"  {url}" for url in dict.fromkeys(taken))
    click.echo(f"{number.phone_number} is in use; it leads to\n{places}", err=True)
    try:
        sure = click.confirm("Lead it here instead?", err=True)
    except click.Abort:  # nobody is there to answer
        click.echo(err=True)
        sure = False
    if not sure:
        raise SettingsError("nothing was changed; --yes changes it without asking")


def _undo(phone_number: str, changed: Mapping[str, tuple[str, str]]) -> str:
    import shlex
    from urllib.parse import urlencode

    if not changed:
        return ""
    before = urlencode({name: one for name, (one, _) in changed.items()})
    return f"voxyray number restore {phone_number} {shlex.quote(before)}"


def _print_change(number: Number, changed: Mapping[str, tuple[str, str]], undo: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from voxyray.commands import terminal

    console = terminal.stdout()
    if not changed:
        console.print(f"{number.phone_number} is so already; nothing was changed.")
        return
    console.print(Text(number.phone_number, style="bold cyan"))
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, (before, now) in changed.items():
        table.add_row(name, "before", Text(before or "none", style="dim"))
        table.add_row("", "now", Text(now or "none", style="green"))
    console.print(table)
    console.print("To put it back:", style="dim")
    click.echo(f"  {undo}")  # one line, whatever the width: it is copied
    if number.sms_application:
        words = f"Its texts still go to the app {number.sms_application}."
        console.print(Text(words, style="yellow"))


def _e164(text: str) -> str:
    from voxyray.errors import MessageRefused, SettingsError
    from voxyray.messengers.checks import number

    try:
        return number(text)
    except MessageRefused:
        raise SettingsError(
            f"{text[:40]!r} is no number in international form; write it with + and country code, "
            "such as +14155550100"
        ) from None
