"""`voxyray cloud`: the deployed stacks on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from rich.table import Table

    from voxyray.settings import Settings
    from voxyray.twin.cloud.local import Cloud, Options

_EXAMPLES: Final = """\b
Examples:
  voxyray cloud                                      everything, with warm functions
  voxyray cloud --cold                               the first call meets cold starts
  voxyray cloud --latency-dynamodb-ms 4 --latency-post-ms 20
  voxyray cloud --parameter ToolsIn=function         each use case's tools in their own function
"""
# Settings that functions read from the secrets store, as deploy/aws puts them there.
_SECRETS: Final = (
    "twilio_account_sid",
    "twilio_auth_token",
    "twilio_secondary_auth_token",
    "openai_api_key",
    "sendgrid_api_key",
    "smtp_username",
    "smtp_password",
)
_LOGS: Final = Path("var/cloud")
_MS: Final = click.FloatRange(min=0)


@click.command("cloud", epilog=_EXAMPLES)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: a free one."
)
@click.option(
    "--template",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("deploy/aws/template.yaml"),
    show_default=True,
    help="What is deployed.",
)
@click.option("--parameter", "parameters", metavar="NAME=VALUE", multiple=True, help="Of it.")
@click.option("--latency-dynamodb-ms", type=_MS, default=0.0, help="Added to each request.")
@click.option("--latency-post-ms", type=_MS, default=0.0, help="What a post to a caller takes.")
@click.option(
    "--environments",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Most processes of one function; frames beyond them wait.",
)
@click.option("--cold", is_flag=True, help="Start no function before it is needed.")
def command(
    port: int,
    template: Path,
    parameters: tuple[str, ...],
    latency_dynamodb_ms: float,
    latency_post_ms: float,
    environments: int,
    cold: bool,
) -> None:
    """Run the AWS stacks on this machine: no account, no Docker.

    The functions are the deployed ones, under Lambda's own runtime client; API Gateway, queues and
    table around them are simulated. Settings and secrets are taken from here.
    """
    from voxyray.commands import hosting, terminal
    from voxyray.settings import load_settings, with_development_token
    from voxyray.twin.cloud.local import Options

    with hosting.listen("127.0.0.1", port) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = with_development_token(load_settings(public_url=url))
        terminal.set_up_logging(settings)
        options = Options(
            logs=_LOGS,
            template=template,
            parameters={**_from_settings(settings), **_pairs(parameters)},
            secrets=_secrets(settings),
            latency_dynamodb_ms=latency_dynamodb_ms,
            latency_post_ms=latency_post_ms,
            environments=environments,
            cold=cold,
        )
        hosting.run(_run(options, listener))


def _pairs(parameters: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in parameters]
    for name, equals, _ in pairs:
        if not equals:
            raise click.UsageError(f"--parameter {name}: write NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _from_settings(settings: Settings) -> dict[str, str]:
    """Give the parameters of the stacks that settings of this machine stand for."""
    import os

    # A model that was chosen only because there is a key is chosen there again.
    return {
        "Model": settings.model if os.environ.get("VOXYRAY_MODEL") else "",
        "OpenAiBaseUrl": os.environ.get("OPENAI_BASE_URL", ""),
        "HandoffTo": settings.handoff_to,
    }


def _secrets(settings: Settings) -> dict[str, str]:
    values = {name: str(getattr(settings, name)) for name in _SECRETS}
    return {name.replace("_", "-"): value for name, value in values.items() if value}


async def _run(options: Options, listener: socket.socket) -> None:
    """Run it until Ctrl-C, also while it is starting."""
    import asyncio
    import signal

    from voxyray.commands import terminal
    from voxyray.twin.cloud.local import local_cloud

    main = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # a second one does not wait
        if main is not None:
            main.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    console = terminal.stderr()
    with contextlib.suppress(asyncio.CancelledError), console.status("starting ...") as status:
        steps = _steps(status.update)
        async with local_cloud(options, listener, progress=steps) as cloud:
            status.stop()
            _welcome(cloud)
            try:
                await asyncio.Event().wait()
            finally:
                console.print("stopping ...", style="dim")
                _report(cloud)


def _steps(update: Callable[[str], None]) -> Callable[[str], None]:
    return lambda step: update(f"{step} ...")


def _welcome(cloud: Cloud) -> None:
    """Say what runs, and what to do next."""
    from rich import box
    from rich.panel import Panel

    from voxyray import __version__
    from voxyray.commands import terminal

    console = terminal.stdout()
    title = f"[bold]voxyray {__version__}[/] runs on its own cloud"
    panel = Panel(_facts(cloud), title=title, title_align="left", box=box.ROUNDED, padding=(1, 2))
    console.print(panel)
    file, name = _write_environment(cloud), terminal.program()
    for what, line in (
        ("Talk to it", f"{name} call --url {cloud.url}"),
        ("Look into a call", f"{name} show --last"),
    ):
        # In a shell of its own, so that the next command is about the usual store again.
        console.print(f"[bold]{what:<18}[/][cyan](. {file}; {line})[/]", soft_wrap=True)
    console.print("Ctrl-C stops all of it; nothing is kept.", style="dim")


def _facts(cloud: Cloud) -> Table:
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("webhook", Text(f"{cloud.url}/voice", style="bold cyan"))
    facts.add_row("WebSocket", Text(cloud.relay_url, style="bold cyan"))
    facts.add_row("table", Text(", ".join(cloud.stack.tables)))
    facts.add_row("functions", Text("\n".join(cloud.functions)))
    facts.add_row("logs", Text(f"{cloud.logs}/"))
    return facts


def _write_environment(cloud: Cloud) -> Path:
    """Write what other commands need to see the same table, to be read by a shell."""
    import shlex

    file = cloud.logs / "environment"
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in cloud.environment.items()]
    file.write_text("".join(lines), encoding="utf-8")
    return file


def _report(cloud: Cloud) -> None:
    """Say what the functions did, and how many cold starts that took."""
    import statistics

    from rich.table import Table

    from voxyray.commands import terminal

    rows = Table.grid(padding=(0, 2))
    for name, pool in cloud.functions.items():
        if not pool.invocations:
            continue
        cold = pool.cold_starts_ms
        took = f", {terminal.milliseconds(statistics.median(cold))} each" if cold else ""
        rows.add_row(name, f"{pool.invocations} invocations", f"{len(cold)} cold starts{took}")
    if rows.row_count:
        terminal.stderr().print(rows)
