"""Agents as data: what `voxyray agents list` and `show` print."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from voxyray import definitions
from voxyray.agent import Agent, Listing, Texts
from voxyray.caller import Caller
from voxyray.commands import lookup, naming
from voxyray.errors import AgentError, SettingsError, VoxyrayError
from voxyray.loading import load_agents, load_folder
from voxyray.policy import Key
from voxyray.settings import load_settings
from voxyray.stores import Store
from voxyray.tool import Tool

# Whom templates are shown for.
_CALLERS: Final = {
    "unknown": Caller("+15550100"),
    "known": Caller("+15550100", "Ada", "Lovelace", "ada@example.com"),
}


class Described(msgspec.Struct, frozen=True):
    """An agent in the list.

    problem: why it cannot take calls; then nothing else is known. tools: effects by name. keypad:
    what keys do. model: empty where the settings decide. pushed: its edits in the store.
    """

    name: str
    title: str = ""
    description: str = ""
    tools: dict[str, str] = {}
    keypad: dict[str, str] = {}
    model: str = ""
    offline: str = ""
    pushed: str = ""
    problem: str = ""


async def all_of(folders: Iterable[Path]) -> list[Described]:
    """Describe the agents in folders, the broken ones too."""
    store = _store()
    try:
        return [await _described(folder, store) for folder in folders]
    finally:
        if store is not None:
            await store.close()


def _store() -> Store | None:
    """Open the store if there is one; a list of agents needs none."""
    try:
        return lookup.existing_store(load_settings())
    except SettingsError:
        return None


async def _described(folder: Path, store: Store | None) -> Described:
    try:
        agent = load_folder(folder)
    except AgentError as error:
        return Described(folder.name, problem=naming.relative(str(error)))
    return Described(
        agent.name,
        agent.listing.title,
        agent.description,
        {tool.name: tool.effect for tool in agent.tools},
        {key: _does(action) for key, action in agent.keypad.items()},
        agent.model,
        agent.offline.name if agent.offline else "",
        await _pushed(agent, store),
    )


def _does(key: Key) -> str:
    if key.tool:
        return f"uses {key.tool}"
    return f"asks {key.ask!r}" if key.ask else f"says {key.say!r}"


async def _pushed(agent: Agent, store: Store | None) -> str:
    """Say whether the store has a definition of the agent, and whether it is another one."""
    if store is None:
        return "no"
    try:
        edit = await definitions.stored(store, agent.name)
        if edit is None:
            return "no"
        definitions.apply(agent, edit)
    except VoxyrayError as error:
        return f"not used: {error}"
    same = msgspec.structs.replace(edit, version=0, tools=None) == definitions.definition_of(agent)
    return f"version {edit.version}, {'as in the folder' if same else 'differs from the folder'}"


class ToolShown(msgspec.Struct, frozen=True):
    """A tool as the model is told of it."""

    name: str
    effect: str
    description: str
    parameters: dict[str, Any]


class Shown(msgspec.Struct, frozen=True):
    """All of an agent; texts for an `unknown` and a `known` caller, relay with the defaults."""

    name: str
    title: str
    description: str
    pushed: str
    model: str
    time_zone: str
    texts: dict[str, Texts]
    relay: dict[str, Any]
    languages: list[dict[str, Any]]
    keypad: dict[str, str]
    tools: list[ToolShown]


async def shown(name: str) -> Shown:
    """Give all of an agent, as the next call would have it.

    Raises:
        AgentError: there is none of this name, or it cannot take calls.
    """
    agent = _load(name)
    store = _store()
    try:
        pushed = await _pushed(agent, store)
        if store is not None:
            agent = await definitions.current(store, agent)
    finally:
        if store is not None:
            await store.close()
    others = _others(agent)
    now = datetime.now(zoneinfo.ZoneInfo(agent.time_zone))
    return Shown(
        agent.name,
        agent.listing.title,
        agent.description,
        pushed,
        agent.model,
        agent.time_zone,
        {who: agent.render(caller, now, others) for who, caller in _CALLERS.items()},
        dict(agent.relay_attributes),
        [dict(language) for language in agent.languages],
        {key: _does(action) for key, action in agent.keypad.items()},
        [_tool(tool) for tool in agent.tools],
    )


def _tool(tool: Tool) -> ToolShown:
    return ToolShown(tool.name, tool.effect, tool.spec.description, dict(tool.spec.parameters))


def _load(name: str) -> Agent:
    if ":" not in name:
        return load_folder(naming.folders((name,))[0])
    return load_agents(name)[0]


def _others(agent: Agent) -> list[Listing]:
    """Give the other agents in agents/ that can be loaded."""
    listings = []
    for file in sorted(naming.AGENTS.glob("*/agent.toml")):
        try:
            other = load_folder(file.parent)
        except AgentError:
            continue
        if other.name != agent.name:
            listings.append(other.listing)
    return listings
