"""`voxyray serve`: answer calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from rich.table import Table

    from voxyray.agent import Agent
    from voxyray.settings import Settings


_EXAMPLES = """\b
Examples:
  voxyray serve                              all of agents/
  voxyray serve agents/default --port 9000   one folder
  voxyray serve shop:agent                   the object `agent` of shop.py
"""


@click.command("serve", epilog=_EXAMPLES)
@click.argument("agent", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: a free one."
)
def command(agent: str | None, host: str, port: int) -> None:
    """Answer calls with an agent, or with all agents in agents/.

    AGENT is an agent's folder or module:attribute. Without it every agent in agents/ is served,
    and each caller reaches the one they chose.
    """
    from voxyray.commands import hosting, terminal
    from voxyray.loading import load_agents
    from voxyray.settings import with_development_token

    settings, explicit = _settings()
    terminal.set_up_logging(settings)
    _check_exposure(settings, host)
    agents = load_agents(agent)
    with hosting.listen(host, port) as listener:
        if not explicit:
            settings = _at_port(settings, listener)
        hosting.run(_serve(with_development_token(settings), agents, listener))


def _settings() -> tuple[Settings, bool]:
    """Load the settings and tell whether the public URL was given."""
    from voxyray.settings import DEFAULT_PORT, load_settings

    settings = load_settings()
    unset = not os.environ.get("VOXYRAY_PUBLIC_URL", "").strip()
    explicit = not (unset and settings.public_url == f"http://127.0.0.1:{DEFAULT_PORT}")
    return settings, explicit


def _at_port(settings: Settings, listener: socket.socket) -> Settings:
    import msgspec

    port = listener.getsockname()[1]
    return msgspec.structs.replace(settings, public_url=f"http://127.0.0.1:{port}")


def _check_exposure(settings: Settings, host: str) -> None:
    from voxyray.errors import SettingsError

    if settings.accept_unsigned and host not in ("127.0.0.1", "localhost", "::1"):
        raise SettingsError(
            f"VOXYRAY_ACCEPT_UNSIGNED is for this machine only, and --host {host} opens it to "
            "others; unset one of the two"
        )


async def _serve(settings: Settings, agents: Sequence[Agent], listener: socket.socket) -> None:
    import asyncio
    import signal
    import time

    from voxyray.commands import hosting, terminal
    from voxyray.service import Service

    service = Service(settings, agents, clock=time.perf_counter)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with hosting.hosted(service, listener):
        port = listener.getsockname()[1]
        _welcome(settings, agents, {n: m.name for n, m in service.models.items()}, port)
        await stop.wait()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # a second one does not wait
        terminal.stderr().print("stopping ...", style="dim")


def _welcome(
    settings: Settings, agents: Sequence[Agent], models: dict[str, str], port: int
) -> None:
    """Say what is served, and what to do next."""
    from rich import box
    from rich.panel import Panel

    from voxyray import __version__
    from voxyray.commands import terminal

    console = terminal.stdout()
    facts = _facts(settings, agents, models)
    title = f"[bold]voxyray {__version__}[/] is answering calls"
    console.print(Panel(facts, title=title, title_align="left", box=box.ROUNDED, padding=(1, 2)))
    if settings.accept_unsigned:
        console.print(
            "WARNING: VOXYRAY_ACCEPT_UNSIGNED is on. Requests are not checked: anybody who can "
            "reach this port can place calls. For development only.",
            style="bold white on red",
        )
    console.print(_next_steps(settings, port))
    console.print("Ctrl-C stops the server.", style="dim")


def _facts(settings: Settings, agents: Sequence[Agent], models: dict[str, str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    names = Text("\n").join(
        Text.assemble((agent.name, "bold"), f"  {agent.listing.title}") for agent in agents
    )
    facts.add_row("agents" if len(agents) > 1 else "agent", names)
    used = dict.fromkeys(models.values())
    facts.add_row("model" if len(used) < 2 else "models", Text(", ".join(used)))
    if "offline" in used:
        facts.add_row("", Text(_about_offline(settings), style="yellow"))
    facts.add_row("store", Text(settings.store))
    facts.add_row("webhook", Text(f"{settings.base_url}/voice", style="bold cyan"))
    return facts


def _about_offline(settings: Settings) -> str:
    said = "The offline model is a scripted stand-in, not a language model."
    if settings.model:
        return f"{said} Set VOXYRAY_MODEL to one, such as openai:gpt-5.4-mini."
    return f"{said} Set OPENAI_API_KEY to talk to a real one."


def _next_steps(settings: Settings, port: int) -> Table:
    from rich.table import Table

    from voxyray.commands import terminal

    steps = Table.grid(padding=(0, 2))
    steps.add_column(style="bold", no_wrap=True)
    steps.add_column()
    here = f"http://127.0.0.1:{port}"
    steps.add_row("Talk to it", f"[cyan]{here}/dashboard/phone[/] in a browser, or in a terminal")
    steps.add_row("", f"[cyan]{terminal.program()} call --url {here}[/]")
    steps.add_row("See it", f"[cyan]{here}/dashboard/[/]: every call, and where its time went")
    first = ""
    if settings.is_local:
        first = "set TWILIO_AUTH_TOKEN and VOXYRAY_PUBLIC_URL (an https:// address that leads to "
        first += f"port {port}), then "
    steps.add_row(
        "By phone",
        f"{first}[cyan]{terminal.program()} number set +1... [/]puts the webhook into your Twilio "
        "number",
    )
    return steps
