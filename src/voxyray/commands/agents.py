"""`voxyray agents`: what agents there are, whether they are well, their edits and their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from voxyray.commands.describing import Described, Shown
    from voxyray.stores import Store


_EXAMPLES = """\b
Examples:
  voxyray agents list
  voxyray agents check                  all of agents/
  voxyray agents show default --json    with the schemas of its tools
  voxyray agents push default           put it into the store, to be edited there
  voxyray agents seed                   fill calendars and the like

An AGENT is a name in agents/ or an agent's folder; without one all of agents/ are meant.
"""


@click.group("agents", epilog=_EXAMPLES)
def command() -> None:
    """List, check, show, push and seed agents."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(as_json: bool) -> None:
    """List the agents in agents/."""
    import asyncio

    import msgspec

    from voxyray.commands import describing, naming

    described = asyncio.run(describing.all_of(naming.folders(())))
    if as_json:
        click.echo(msgspec.json.encode({"agents": described}).decode())
        return
    _print_list(described)


def _print_list(described: Sequence[Described]) -> None:
    from rich.table import Table
    from rich.text import Text

    from voxyray.commands import terminal

    console = terminal.stdout()
    for each in described:
        console.print(Text.assemble((each.name, "bold cyan"), "  ", (each.title, "bold")))
        if each.problem:
            console.print(Text(f"  cannot take calls: {each.problem}", style="red"))
            continue
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim", no_wrap=True)
        facts.add_column(overflow="fold")
        tools = ", ".join(f"{name} ({effect})" for name, effect in each.tools.items())
        keypad = ", ".join(f"{key} {does}" for key, does in each.keypad.items())
        for name, value in (
            ("  about", each.description),
            ("  tools", tools),
            ("  keypad", keypad),
            ("  model", each.model or "as the settings say"),
            ("  offline", each.offline or "no script"),
            ("  pushed", each.pushed),
        ):
            facts.add_row(name, Text(value or "none"))
        console.print(facts)


@command.command("check")
@click.argument("agents", metavar="[AGENT]...", nargs=-1)
def check(agents: tuple[str, ...]) -> None:
    """Find everything that would keep agents from taking calls.

    Exit code: 0 if all is well, 1 if something is not.
    """
    from rich.text import Text

    from voxyray.commands import checking, naming, terminal

    console = terminal.stdout()
    folders = naming.folders(agents)
    found = {folder: checking.problems(folder) for folder in folders}
    for folder, problems in found.items():
        style = "bold red" if problems else "bold green"
        console.print(Text.assemble((folder.name, style), "" if problems else "  is well"))
        for problem in problems:
            console.print(Text(f"  {problem}"), soft_wrap=True)
    count = sum(map(len, found.values()))
    if count:
        console.print(f"{_counted(count, 'problem')} in {_counted(len(folders), 'agent')}")
        raise SystemExit(1)
    console.print(f"{_counted(len(folders), 'agent')} ready to take calls.", style="dim")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@command.command("show")
@click.argument("agent")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(agent: str, as_json: bool) -> None:
    """Show an agent as the next call would have it: texts, voice, tools.

    AGENT may also be module:attribute.
    """
    import asyncio

    import msgspec

    from voxyray.commands import describing

    shown = asyncio.run(describing.shown(agent))
    if as_json:
        click.echo(msgspec.json.encode(shown).decode())
        return
    _print_shown(shown)


def _print_shown(shown: Shown) -> None:
    from rich.text import Text

    from voxyray.commands import terminal

    console = terminal.stdout()
    console.print(Text.assemble((shown.name, "bold cyan"), "  ", (shown.title, "bold")))
    console.print(Text(f"pushed: {shown.pushed}", style="dim"))
    for who, texts in shown.texts.items():
        console.rule(f"[bold]for an {who} caller[/]" if who == "unknown" else "[bold]for Ada[/]")
        console.print(Text(f"greeting: {texts.greeting or 'none, the model speaks first'}"))
        console.print()
        console.print(Text(texts.instructions), soft_wrap=True)
    _print_facts("voice", {name: str(value) for name, value in shown.relay.items()})
    if shown.keypad:
        _print_facts("keypad", shown.keypad)
    tools = {tool.name: f"{tool.effect}: {_first_lines(tool.description)}" for tool in shown.tools}
    _print_facts("tools", tools)


def _print_facts(heading: str, facts: dict[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from voxyray.commands import terminal

    console = terminal.stdout()
    console.rule(f"[bold]{heading}[/]", style="dim")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(name, Text(value))
    console.print(grid)


def _first_lines(description: str) -> str:
    return " ".join(description.partition("\n\n")[0].split())


@command.command("push")
@click.argument("agents", metavar="[AGENT]...", nargs=-1)
def push(agents: tuple[str, ...]) -> None:
    """Write agents' definitions into the store; the next call uses them.

    What was edited there is written over. Tools stay in code, or in the function that a
    deployment named for them.
    """
    import asyncio

    from voxyray.commands import naming
    from voxyray.loading import load_folder

    loaded = [load_folder(folder) for folder in naming.folders(agents)]

    async def work(store: Store) -> None:
        from voxyray import definitions
        from voxyray.errors import ConditionFailed, StoreError

        for agent in loaded:
            try:
                version = await definitions.push(store, agent)
            except ConditionFailed as error:
                raise StoreError(
                    f"{agent.name} was edited by somebody else at this moment; push it again"
                ) from error
            click.echo(f"{agent.name}: version {version} is in the store; the next call uses it")

    asyncio.run(_in_store(work))


@command.command("seed")
@click.argument("agents", metavar="[AGENT]...", nargs=-1)
def seed(agents: tuple[str, ...]) -> None:
    """Fill the store with what agents need, such as free hours; what is there stays.

    It is what the agent's seeds.py makes: `async def seed(store, now) -> int`.
    """
    import asyncio
    from datetime import UTC, datetime

    from voxyray import seeding
    from voxyray.commands import naming

    folders = naming.folders(agents)
    makers = {folder: seeding.maker(folder) for folder in folders}

    async def work(store: Store) -> None:
        for folder, make in makers.items():
            if make is None:
                click.echo(f"{folder.name}: needs none (it has no seeds.py)")
                continue
            made = await seeding.made(folder, make, store, datetime.now(UTC))
            click.echo(f"{folder.name}: {_counted(made, 'item')} made")

    asyncio.run(_in_store(work))


async def _in_store(work: Callable[[Store], Awaitable[None]]) -> None:
    """Do something with the settings' store, which must be one that stays."""
    from voxyray.errors import SettingsError
    from voxyray.settings import load_settings
    from voxyray.stores.opening import open_store

    settings = load_settings()
    if settings.store.startswith("memory"):
        raise SettingsError("VOXYRAY_STORE=memory: is gone when this command ends; use sqlite:PATH")
    store = open_store(settings.store)
    try:
        await work(store)
    finally:
        await store.close()
