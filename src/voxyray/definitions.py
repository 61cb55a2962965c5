"""Agents' definitions in the store, where they can be edited while the system runs.

What is stored is what `agent.toml` and `prompt.md` hold; tools stay in code. The next call uses an
edit, a running call keeps what it started with, and an edit that cannot work is ignored, loudly.
"""

from __future__ import annotations

import dataclasses
import logging

import msgspec

from voxyray.agent import Agent
from voxyray.errors import AgentError, StoreError
from voxyray.loading import Definition
from voxyray.stores import Equals, Item, Missing, Put, Store, keys

_log = logging.getLogger(__name__)


class Stored(msgspec.Struct, frozen=True):
    """A definition in the store; version counts its edits from 1."""

    definition: Definition
    instructions: str
    version: int = 0


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


def apply(agent: Agent, stored: Stored) -> Agent:
    """Give the agent as the stored definition has it, with its own tools.

    Raises:
        AgentError: the definition cannot work.
    """
    definition = stored.definition
    return dataclasses.replace(
        agent,
        instructions=stored.instructions,
        **{name: getattr(definition, name) for name in definition.__struct_fields__},
    )


async def push(store: Store, agent: Agent) -> int:
    """Write an agent's definition over the stored one, and give its version.

    Raises:
        ConditionFailed: somebody else edited it at the same moment.
        StoreError: it could not be written.
    """
    return await save(store, agent, definition_of(agent))


async def save(store: Store, agent: Agent, edit: Stored) -> int:
    """Write an edit, and give its version; an edit that cannot work is refused.

    Raises:
        AgentError: it cannot work.
        ConditionFailed: somebody else edited it at the same moment.
        StoreError: it could not be written.
    """
    apply(agent, edit)
    pk = keys.agent(agent.name)
    before = await store.get(pk, keys.DEFINITION)
    version = int(before.get("version", 0)) + 1 if before else 1
    item = {
        "pk": pk,
        "sk": keys.DEFINITION,
        "version": version,
        "definition": msgspec.json.encode(edit.definition).decode(),
        "instructions": edit.instructions,
    }
    when = Equals("version", before.get("version")) if before else Missing()
    await store.write(Put(item, when))
    return version


async def stored(store: Store, name: str) -> Stored | None:
    """Read the stored definition of an agent; None if there is none.

    Raises:
        AgentError: what is stored is no definition.
        StoreError: it could not be read.
    """
    item = await store.get(keys.agent(name), keys.DEFINITION)
    return None if item is None else _read(name, item)


class Definitions:
    """Agents as they are now: with the stored edit applied, if there is a good one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._applied: dict[str, tuple[int, Agent]] = {}  # by name, the version and what it made

    async def current(self, agent: Agent) -> Agent:
        """Give the agent to use for the next call; never raises.

        An edit that cannot work, or cannot be read, leaves the last good one in force.
        """
        version, good = self._applied.get(agent.name, (0, agent))
        try:
            edit = await stored(self._store, agent.name)
            if edit is None:
                return agent
            if edit.version != version:
                good = apply(agent, edit)
                self._applied[agent.name] = edit.version, good
        except (AgentError, StoreError) as error:
            _log.error("the stored definition of %s is not used: %s", agent.name, error)
        return good


async def current(store: Store, agent: Agent) -> Agent:
    """Give an agent with the stored edit applied, if there is a good one; never raises."""
    return await Definitions(store).current(agent)


def _read(name: str, item: Item) -> Stored:
    try:
        definition = msgspec.json.decode(str(item["definition"]), type=Definition)
        return Stored(definition, str(item["instructions"]), int(item["version"]))
    except (KeyError, ValueError, TypeError, msgspec.MsgspecError) as error:
        raise AgentError(f"the stored definition of {name} is damaged: {error}") from error
