"""Agents' definitions in the store, where they can be edited while the system runs.

What is stored is what `agent.toml` and `prompt.md` hold. With `tools`, which a deployment adds and
edits leave alone, it is a complete agent: its tools' code runs elsewhere. The next call uses an
edit, a running call keeps what it started with, and an edit that cannot work is ignored, loudly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import time
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from voxyray.agent import Agent
from voxyray.errors import AgentError, ConditionFailed, StoreError
from voxyray.loading import Definition
from voxyray.stores import (
    Conditions,
    Delete,
    Equals,
    Exists,
    Item,
    Missing,
    Put,
    Store,
    Update,
    Write,
    keys,
)
from voxyray.tool_definitions import MakeTool, ToolDefinition

_log = logging.getLogger(__name__)

Tools: TypeAlias = tuple[ToolDefinition, ...]


class Stored(msgspec.Struct, frozen=True):
    """A definition in the store; version counts its edits from 1.

    tools: None if they are code of the application's own.
    """

    definition: Definition
    instructions: str
    version: int = 0
    tools: Tools | None = None


class Edit(NamedTuple):
    """An earlier version of a definition, kept; at_ms: when it was written, epoch milliseconds."""

    version: int
    at_ms: int
    stored: Stored


class Deployed(NamedTuple):
    """What a deployment did.

    `written`: there was none; `replaced`: the deployed definition was written over the stored one;
    `unchanged`: it is stored as it is; `kept`: people edited it since it was deployed like this.
    """

    done: Literal["written", "replaced", "unchanged", "kept"]
    version: int


def definition_of(agent: Agent) -> Stored:
    """Give what can be edited of an agent."""
    return Stored(
        Definition(
            title=agent.title,
            description=agent.description,
            greeting=agent.greeting,
            time_zone=agent.time_zone,
            model=agent.model,
            relay=msgspec.convert(
                dict(agent.relay), dict[str, str | bool | int | float | list[str]]
            ),
            languages=msgspec.convert(agent.languages, tuple[dict[str, str], ...]),
            keypad=dict(agent.keypad),
            policy=agent.policy,
        ),
        agent.instructions,
    )


def apply(agent: Agent, stored: Stored, make_tool: MakeTool | None = None) -> Agent:
    """Give the agent as the stored definition has it.

    make_tool: makes stored tools; without it, or if none are stored, the agent keeps its own.

    Raises:
        AgentError: the definition cannot work.
    """
    return dataclasses.replace(agent, **_fields(stored), tools=_tools(stored, make_tool, agent))


def build(name: str, stored: Stored, make_tool: MakeTool) -> Agent:
    """Make an agent of what is stored alone.

    Raises:
        AgentError: the definition cannot work, or lacks the tools.
    """
    if stored.tools is None:
        raise AgentError(
            f"the tools of {name} are in no function; deploy it with one, or bundle its folder"
        )
    tools = tuple(make_tool(each) for each in stored.tools)
    return Agent(name=name, **_fields(stored), tools=tools)


def _fields(stored: Stored) -> dict[str, Any]:
    definition = stored.definition
    fields = {name: getattr(definition, name) for name in definition.__struct_fields__}
    return {**fields, "instructions": stored.instructions}


def _tools(stored: Stored, make_tool: MakeTool | None, agent: Agent) -> Any:
    if stored.tools is None or make_tool is None:
        return agent.tools
    return tuple(make_tool(each) for each in stored.tools)


async def push(store: Store, agent: Agent) -> int:
    """Write an agent's definition over the stored one, and give its version.

    Raises:
        ConditionFailed: somebody else edited it at the same moment.
        StoreError: it could not be written.
    """
    return await save(store, agent, definition_of(agent))


async def save(store: Store, agent: Agent, edit: Stored, *, expected: int | None = None) -> int:
    """Write an edit, and give its version; an edit that cannot work is refused.

    Stored tools stay as they are. expected: the version that the edit was made from.

    Raises:
        AgentError: it cannot work.
        ConditionFailed: somebody else edited it at the same moment, or since then.
        StoreError: it could not be written.
    """
    apply(agent, edit)
    before = await store.get(keys.agent(agent.name), keys.DEFINITION)
    if expected is not None and _version(before) != expected:
        raise ConditionFailed(f"{agent.name} is at version {_version(before)}, not {expected}")
    return await _write(store, agent.name, _edited(edit), before)


async def deploy(store: Store, agent: Agent, tools: Tools | None, *, owner: str = "") -> Deployed:
    """Write what a deployment brings, but keep an edit if only the same is deployed once more.

    tools: None if they are the application's own. owner: who deployed it, for `remove`.

    Raises:
        ConditionFailed: somebody else edited it at the same moment.
        StoreError: it could not be written.
    """
    before = await store.get(keys.agent(agent.name), keys.DEFINITION)
    values = _edited(definition_of(agent))
    digest = hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()
    deployed = {"deployed": digest, "owner": owner}
    if tools is not None:
        deployed["tools"] = msgspec.json.encode(tools).decode()
    same = before is not None and all(before.get(name) == values[name] for name in values)
    keep = before is not None and not same and before.get("deployed") == digest
    values = deployed if keep else {**values, **deployed}
    gone = () if tools is not None or before is None or "tools" not in before else ("tools",)
    changed = gone or before is None or any(before.get(n) != v for n, v in values.items())
    version = await _write(store, agent.name, values, before, gone) if changed else _version(before)
    if keep:
        return Deployed("kept", version)
    return Deployed("written" if before is None else "unchanged" if same else "replaced", version)


async def remove(store: Store, name: str, *, owner: str) -> bool:
    """Remove a definition that this owner deployed last; whether there was one.

    Raises:
        ConditionFailed: somebody else deployed it at the same moment.
        StoreError: it could not be removed.
    """
    pk = keys.agent(name)
    before = await store.get(pk, keys.DEFINITION)
    if before is None or before.get("owner") != owner:
        return False
    await store.write(
        Delete(pk, keys.DEFINITION, Equals("owner", owner)), Delete(keys.AGENTS, name)
    )
    return True


async def listed(store: Store) -> dict[str, int]:
    """Give the versions of all stored definitions by name.

    Raises:
        StoreError: it could not be read.
    """
    items = await store.query(keys.AGENTS)
    return {item["sk"]: _version(item) for item in items if keys.is_agent(item["sk"])}


async def stored(store: Store, name: str) -> Stored | None:
    """Read the stored definition of an agent; None if there is none.

    Raises:
        AgentError: what is stored is no definition.
        StoreError: it could not be read.
    """
    item = await store.get(keys.agent(name), keys.DEFINITION)
    return None if item is None else _read(name, item)


async def history(store: Store, name: str, limit: int, *, upto: int | None = None) -> list[Edit]:
    """Read the latest versions that were kept, newest first; damaged ones are left out.

    Raises:
        StoreError: it could not be read.
    """
    after = keys.edit(upto + 1) if upto is not None else ""
    items = await store.query(keys.agent(name), keys.EDIT, after=after, limit=limit, reverse=True)
    edits = []
    for item in items:
        with contextlib.suppress(AgentError):
            edits.append(Edit(_version(item), int(item.get("at_ms", 0)), _read(name, item)))
    return edits


class Definitions:
    """Agents as they are now: with the stored edit applied, if there is a good one.

    make_tool: makes stored tools; without it agents keep their own.
    """

    def __init__(self, store: Store, make_tool: MakeTool | None = None) -> None:
        self._store = store
        self._make_tool = make_tool
        self._applied: dict[str, tuple[Stored, Agent]] = {}  # by name, the edit and what it made

    async def current(self, agent: Agent) -> Agent:
        """Give the agent to use for the next call; never raises.

        An edit that cannot work, or cannot be read, leaves the last good one in force.
        """
        known, good = self._applied.get(agent.name, (None, agent))
        try:
            edit = await stored(self._store, agent.name)
            if edit is None:
                return agent
            if edit != known:
                good = apply(agent, edit, self._make_tool)
                self._applied[agent.name] = edit, good
        except (AgentError, StoreError) as error:
            _log.error("the stored definition of %s is not used: %s", agent.name, error)
        return good


async def current(store: Store, agent: Agent) -> Agent:
    """Give an agent with the stored edit applied, if there is a good one; never raises."""
    return await Definitions(store).current(agent)


def _edited(edit: Stored) -> Item:
    return {
        "definition": msgspec.json.encode(edit.definition).decode(),
        "instructions": edit.instructions,
    }


async def _write(
    store: Store, name: str, values: Item, before: Item | None, gone: tuple[str, ...] = ()
) -> int:
    """Write some fields and the listing, unless somebody else did since before was read."""
    version = _version(before) + 1
    when: Conditions = Missing()
    if before is not None:
        when = (Exists(), Equals("version", before.get("version")))
    values = {**values, "version": version}
    writes: list[Write] = [
        Update(keys.agent(name), keys.DEFINITION, set=values, remove=gone, when=when),
        Put({"pk": keys.AGENTS, "sk": name, "version": version}),
    ]
    if "definition" in values:
        kept = {field: values[field] for field in ("definition", "instructions", "version")}
        place = {"pk": keys.agent(name), "sk": keys.edit(version)}
        writes.append(Put({**place, **kept, "at_ms": int(time.time() * 1000)}))
    await store.write(*writes)
    return version


def _version(item: Item | None) -> int:
    version = (item or {}).get("version")
    return version if isinstance(version, int) else 0


def _read(name: str, item: Item) -> Stored:
    try:
        definition = msgspec.json.decode(str(item["definition"]), type=Definition)
        tools = None
        if item.get("tools") is not None:
            tools = msgspec.json.decode(str(item["tools"]), type=Tools)
        return Stored(definition, str(item["instructions"]), int(item["version"]), tools)
    except (KeyError, ValueError, TypeError, msgspec.MsgspecError) as error:
        raise AgentError(f"the stored definition of {name} is damaged: {error}") from error
