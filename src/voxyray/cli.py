"""The `voxyray` command; each subcommand is a module of `voxyray.commands`.

Nothing heavy is imported here or at the head of those modules, so that help comes at once.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

from voxyray import __version__
from voxyray.errors import VoxyrayError

_COMMANDS: Final = {
    "serve": "voxyray.commands.serve",
    "call": "voxyray.commands.call",
    "calls": "voxyray.commands.calls",
    "show": "voxyray.commands.show",
    "export": "voxyray.commands.export",
    "replay": "voxyray.commands.replay",
    "why-slow": "voxyray.commands.why_slow",
    "stats": "voxyray.commands.stats",
    "outbox": "voxyray.commands.outbox",
    "agents": "voxyray.commands.agents",
    "cloud": "voxyray.commands.cloud",
    "number": "voxyray.commands.number",
    "doctor": "voxyray.commands.doctor",
}


class Failure(click.ClickException):
    """One line that says what is wrong and how to fix it; exit code 2."""

    exit_code = 2


class _Commands(click.Group):
    """Loads a command when it is asked for, and says what went wrong in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VoxyrayError as error:
            raise Failure(str(error)) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  voxyray serve           answer calls with the agents in agents/
  voxyray call            place a simulated call and talk by typing
  voxyray show --last     see where every millisecond of the last call went
  voxyray why-slow        see why the slowest turns were slow, and what to do
  voxyray replay --last   see whether today's code would do the same in the last call
  voxyray outbox          see the messages that agents have sent
  voxyray agents check    see whether all agents can take calls

Settings come from the environment or voxyray.toml: VOXYRAY_MODEL, OPENAI_API_KEY,
TWILIO_AUTH_TOKEN, VOXYRAY_PUBLIC_URL, VOXYRAY_STORE and others.
""",
)
@click.version_option(__version__, prog_name="voxyray")
def main() -> None:
    """Put AI agents on the phone."""
