"""The rest of a call with a change, shown beside what was said then."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voxyray import frames
from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.callfile import CallFile, Session, new_call
from voxyray.commands import terminal
from voxyray.commands.naming import AGENTS
from voxyray.errors import JournalError
from voxyray.models import Model
from voxyray.rerun import Answer, Used, rerun
from voxyray.service import choose_model
from voxyray.settings import load_settings


async def show(
    call: CallFile, turn: int, prompt: Path | None, model: str | None, *, as_json: bool
) -> None:
    """Rerun a call from a turn on and print each answer beside the old one.

    Raises:
        JournalError: there is no such turn, or the record does not suffice.
        AgentError: the prompt cannot be used.
        SettingsError: the model cannot be opened.
    """
    session = _session(call, turn)
    agent = _agent(call, session, model)
    instructions = None if prompt is None else _instructions(agent, session, prompt)
    opened = choose_model(load_settings(), agent)
    console, answers = terminal.stdout(), []
    if not as_json:
        _introduce(console, call, turn, opened, prompt)
    try:
        async for answer in rerun(call, turn, opened, instructions):
            answers.append(answer)
            if not as_json:
                _print(console, answer)
    finally:
        await opened.close()
    if as_json:
        made = {"call": call.call, "from": turn, "model": opened.name, "answers": answers}
        click.echo(msgspec.json.encode(made).decode())


def _session(call: CallFile, turn: int) -> Session:
    """Give the session that a turn is in, or any: `rerun` says what is wrong."""
    sessions = (s for s in call.sessions if any(entry.turn == turn for entry in s.entries))
    found = next(sessions, call.sessions[0] if call.sessions else None)
    if found is None:
        raise JournalError("the call has no session")
    return found


def _agent(call: CallFile, session: Session, model: str | None) -> Agent:
    """Give the agent as it was, with the model that is asked for."""
    agent = new_call(call.call, session.setup).agent
    folder = AGENTS / agent.name
    scripts = (folder / "offline.py", folder / "offline.toml")
    offline = next((path for path in scripts if path.exists()), None)
    return dataclasses.replace(agent, model=model or agent.model, offline=offline)


def _instructions(agent: Agent, session: Session, prompt: Path) -> str:
    """Fill in a prompt as it would have been for this caller, as far as the record tells."""
    try:
        template = prompt.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JournalError(f"{prompt} cannot be read: {error}") from error
    number = next((e.what.from_ for e in session.entries if isinstance(e.what, frames.Setup)), "")
    then = datetime.fromtimestamp(session.setup.started_at, ZoneInfo(agent.time_zone))
    changed = dataclasses.replace(agent, instructions=template)
    return changed.render(Caller(number), then, ()).instructions


def _introduce(
    console: Console, call: CallFile, turn: int, model: Model, prompt: Path | None
) -> None:
    console.print(Text.assemble(("call ", "dim"), (call.call, "bold cyan")), end="")
    console.print(f"  [dim]from turn[/] {turn}  [dim]model[/] {model.name}", end="")
    console.print(f"  [dim]prompt[/] {prompt}" if prompt is not None else "")
    if prompt is not None:
        console.print("The prompt knows the caller's number, not their profile.", style="dim")


def _print(console: Console, answer: Answer) -> None:
    table = Table(box=None, expand=True, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"turn {answer.turn}, then", ratio=1)
    table.add_column("now", ratio=1)
    same = answer.old == answer.new
    table.add_row(Text(answer.old), Text("the same") if same else Text(answer.new, style="bold"))
    console.print()
    console.print(Text.assemble(("caller ", "cyan"), answer.caller))
    for used in answer.used:
        console.print(_tool(used))
    console.print(table)


def _tool(used: Used) -> Text:
    how = ("from the record", "dim") if used.recorded else ("not run: not so in the call", "yellow")
    return Text.assemble(("tool ", "magenta"), f"{used.name} {used.arguments} ", how)
