"""Agents: what they are, and editing what they say, with every edit kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from voxyray import definitions
from voxyray.agent import Agent
from voxyray.dashboard.site import Visit
from voxyray.definitions import Edit, Stored
from voxyray.errors import AgentError, ConditionFailed, RequestRefused
from voxyray.policy import Key
from voxyray.reception import Response

_HISTORY: Final = 20
_FIELD: Final = re.compile(r"agent [^:]*: (\w+)")
_FIELDS: Final = ("greeting", "instructions")


class Listed(msgspec.Struct, frozen=True):
    """An agent in the list; problem: why its stored edit is not used."""

    agent: Agent
    version: int
    differs: bool
    problem: str = ""


class Draft(msgspec.Struct, frozen=True):
    """What stands in the form; version: of the definition that it was made from."""

    greeting: str
    instructions: str
    version: int


async def page(visit: Visit) -> Response:
    """List the agents that answer."""
    agents = visit.service.reception.agents
    listed = [await _listed(visit, agent) for agent in agents.values()]
    return visit.page("agents.html", listed=listed, settings=visit.service.settings)


async def _listed(visit: Visit, agent: Agent) -> Listed:
    store = visit.service.store
    try:
        stored = await definitions.stored(store, agent.name)
        if stored is None:
            return Listed(agent, 0, False)
        current = definitions.apply(agent, stored)
    except AgentError as error:
        return Listed(agent, 0, True, str(error))
    return Listed(current, stored.version, _differs(agent, stored))


def _differs(agent: Agent, stored: Stored) -> bool:
    bare = msgspec.structs.replace(stored, version=0, tools=None)
    return bare != definitions.definition_of(agent)


async def one(visit: Visit) -> Response:
    """Show an agent, and the form to edit it."""
    return await _shown(visit, _agent(visit))


async def edit(visit: Visit) -> Response:
    """Save an edit, or bring an earlier version back."""
    agent = _agent(visit)
    form = visit.form
    version = _number(form.get("version", ""))
    draft = Draft(_text(form, "greeting"), _text(form, "instructions"), version)
    try:
        if "restore" in form:
            wanted = await _earlier(visit, agent, _number(form["restore"]))
            draft = Draft(wanted.definition.greeting, wanted.instructions, version)
        else:
            wanted = _edited(await _stored(visit, agent), draft)
        saved = await definitions.save(visit.service.store, agent, wanted, expected=version)
    except AgentError as error:
        field = _field_of(str(error))
        return await _shown(visit, agent, draft, {field: _told(str(error))}, 422)
    except ConditionFailed:
        told = "Somebody else saved an edit since you opened this page. Yours is below, not saved."
        return await _shown(visit, agent, draft, {"": told}, 409)
    return visit.redirect(f"agents/{agent.name}?saved={saved}")


async def _shown(
    visit: Visit,
    agent: Agent,
    draft: Draft | None = None,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    store = visit.service.store
    problem = ""
    try:
        stored = await definitions.stored(store, agent.name)
        current = agent if stored is None else definitions.apply(agent, stored)
    except AgentError as error:
        stored, current, problem = None, agent, str(error)
    version = stored.version if stored else 0
    saved = visit.query.get("saved", "")
    return visit.page(
        "agent.html",
        status,
        agent=current,
        version=version,
        draft=draft or Draft(current.greeting, current.instructions, version),
        problems=problems or {},
        problem=problem,
        saved=saved if saved == str(version) else "",
        folder=definitions.definition_of(agent),
        differs=stored is not None and _differs(agent, stored),
        history=await definitions.history(store, agent.name, _HISTORY),
        policy={n: _plain(value) for n, value in msgspec.structs.asdict(current.policy).items()},
        keypad={key: _does(action) for key, action in current.keypad.items()},
    )


def _agent(visit: Visit) -> Agent:
    agent = visit.service.reception.agents.get(visit.name)
    if agent is None:
        raise RequestRefused("There is no such agent here.", 404)
    return agent


async def _stored(visit: Visit, agent: Agent) -> Stored:
    try:
        found = await definitions.stored(visit.service.store, agent.name)
    except AgentError:
        found = None  # damaged: what the form holds is all there is
    return found or definitions.definition_of(agent)


def _edited(stored: Stored, draft: Draft) -> Stored:
    if not draft.instructions.strip():
        raise AgentError("agent: instructions: write what the agent is to do")
    definition = msgspec.structs.replace(stored.definition, greeting=draft.greeting)
    return msgspec.structs.replace(stored, definition=definition, instructions=draft.instructions)


async def _earlier(visit: Visit, agent: Agent, version: int) -> Stored:
    """Give an earlier version; 0 is the agent as its folder has it."""
    if not version:
        return definitions.definition_of(agent)
    found: list[Edit] = await definitions.history(visit.service.store, agent.name, 1, upto=version)
    if not found or found[0].version != version:
        raise RequestRefused("This version is not kept any more.", 404)
    return found[0].stored


def _field_of(message: str) -> str:
    field = _FIELD.match(message)
    return field[1] if field and field[1] in _FIELDS else ""


def _told(message: str) -> str:
    """Leave out what stands beside it: the agent's and the field's name."""
    told = re.sub(r"^agent[^:]*: (?:(?:greeting|instructions)(?:, )?:? ?)?", "", message)
    return f"{told[:1].upper()}{told[1:]}"


def _text(form: Mapping[str, str], name: str) -> str:
    return form.get(name, "").replace("\r\n", "\n")  # as browsers send what they had as \n


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 8 else 0


def _plain(value: object) -> str:
    return " / ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _does(key: Key) -> str:
    if key.tool:
        return f"uses {key.tool}"
    return f"asks “{key.ask}”" if key.ask else f"says “{key.say}”"
