"""Definitions in the store: pushed, edited while the system runs, never a dead line."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from tests.support.desk import make_agent
from voxyray import definitions
from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.definitions import Definitions, Stored, definition_of
from voxyray.errors import AgentError, ConditionFailed
from voxyray.policy import Key, Policy
from voxyray.stores import Put, Update, keys
from voxyray.stores.memory import MemoryStore
from voxyray.tool import Tool
from voxyray.tool_definitions import ToolDefinition, build, define

AGENT = make_agent(
    name="shop",
    relay={"language": "en-US", "dtmfDetection": True},
    languages=[{"code": "es-ES"}],
    keypad={"1": Key(say="Nine.")},
    policy=Policy(silence_after_s=7),
)


def edited(**changes: Any) -> Stored:
    made = definition_of(AGENT)
    instructions = changes.pop("instructions", made.instructions)
    definition = msgspec.structs.replace(made.definition, **changes)
    return Stored(definition, instructions)


async def test_an_agent_that_was_never_pushed_is_as_its_folder_says() -> None:
    assert await definitions.current(MemoryStore(), AGENT) is AGENT


async def test_what_was_pushed_comes_back_the_same() -> None:
    store = MemoryStore()
    assert await definitions.push(store, AGENT) == 1
    assert await definitions.push(store, AGENT) == 2
    back = await definitions.current(store, AGENT)
    for name in ("instructions", "greeting", "keypad", "policy", "time_zone", "tools", "model"):
        assert getattr(back, name) == getattr(AGENT, name)
    assert back.relay_attributes == AGENT.relay_attributes


async def test_the_next_call_uses_an_edit() -> None:
    store, known = MemoryStore(), Definitions(MemoryStore())
    known = Definitions(store)
    await definitions.push(store, AGENT)
    before = await known.current(AGENT)
    assert await known.current(AGENT) is before  # nothing changed: nothing is made again
    await definitions.save(store, AGENT, edited(greeting="Good day!"))
    assert (await known.current(AGENT)).greeting == "Good day!"
    assert before.greeting == AGENT.greeting  # a running call keeps what it started with


@pytest.mark.parametrize(
    "edit",
    [
        edited(instructions="Hello {{ nobody }}"),
        edited(instructions="{% if %}"),
        edited(time_zone="Mars/Olympus"),
        edited(relay={"interuptible": "any"}),
        edited(keypad={"1": Key(tool="fly")}),
    ],
)
async def test_a_broken_edit_is_refused(edit: Stored) -> None:
    store = MemoryStore()
    await definitions.push(store, AGENT)
    with pytest.raises(AgentError):
        await definitions.save(store, AGENT, edit)
    assert await definitions.stored(store, "shop") == definition_of(AGENT).__class__(
        definition_of(AGENT).definition, AGENT.instructions, 1
    )


@pytest.mark.parametrize(
    "change",
    [
        {"instructions": "Hello {{ nobody }}"},
        {"definition": "{"},
        {"definition": '{"unknown": 1}'},
        {"definition": '{"policy": {"silence_after_s": -1}}'},
        {"definition": 3},
        {"version": "x"},
    ],
)
async def test_a_broken_item_is_ignored_with_a_loud_log(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """DESIGN: a broken edit is never a dead line; the last good one stays in force."""
    store = MemoryStore()
    known = Definitions(store)
    await definitions.save(store, AGENT, edited(greeting="Good day!"))
    good = await known.current(AGENT)
    change = {"version": 9, **change}
    await store.update(Update(keys.agent("shop"), keys.DEFINITION, set=change))
    assert await known.current(AGENT) is good
    assert (await definitions.current(store, AGENT)).greeting == AGENT.greeting
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_two_edits_at_once_do_not_overwrite_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    await definitions.push(store, AGENT)
    read = store.get

    async def read_then_somebody_edits(pk: str, sk: str) -> Any:
        item = await read(pk, sk)
        assert item is not None
        await store.write(Put({**item, "version": 2}))
        return item

    monkeypatch.setattr(store, "get", read_then_somebody_edits)
    with pytest.raises(ConditionFailed):
        await definitions.push(store, AGENT)


# Complete agents: what a deployment adds


def local(definition: ToolDefinition) -> Tool:
    """Make a stored tool that tells which function would run it."""

    async def run(arguments: dict[str, Any], *_: Any) -> str:
        return f"{definition.function} {arguments}"

    return build(definition, run)


async def deployed(
    store: MemoryStore, agent: Agent = AGENT, function: str = "tools"
) -> definitions.Deployed:
    tools = tuple(define(tool, function) for tool in agent.tools)
    return await definitions.deploy(store, agent, tools, owner="stack")


async def item(store: MemoryStore) -> Any:
    return await store.get(keys.agent("shop"), keys.DEFINITION)


async def test_an_agent_can_be_built_from_the_table_alone() -> None:
    store = MemoryStore()
    assert await deployed(store) == ("written", 1)
    stored = await definitions.stored(store, "shop")
    assert stored is not None
    made = definitions.build("shop", stored, local)
    for name in ("name", "instructions", "greeting", "keypad", "policy", "time_zone", "model"):
        assert getattr(made, name) == getattr(AGENT, name)
    assert made.relay_attributes == AGENT.relay_attributes
    assert [tool.spec for tool in made.tools] == [tool.spec for tool in AGENT.tools]
    assert [tool.farewell for tool in made.tools] == [tool.farewell for tool in AGENT.tools]
    tool = made.tools[0]
    values = tool.parse('{"word": "x"}')
    assert await tool.run(values, Caller(), CallContext("CA1", "shop", 1, store)) == (
        "tools {'word': 'x'}"
    )


async def test_people_s_edits_keep_the_tools() -> None:
    store = MemoryStore()
    await deployed(store)
    before = (await item(store))["tools"]
    await definitions.push(store, AGENT)
    assert await definitions.save(store, AGENT, edited(greeting="Good day!")) == 3
    assert (await item(store))["tools"] == before
    assert await definitions.listed(store) == {"shop": 3}
    known = Definitions(store, local)
    now = await known.current(make_agent(name="shop", tools=()))
    assert now.greeting == "Good day!"
    assert [tool.name for tool in now.tools] == [tool.name for tool in AGENT.tools]
    # Where no function can be reached, an agent's own tools do.
    assert (await definitions.current(store, AGENT)).tools == AGENT.tools


async def test_an_edit_is_kept_until_something_else_is_deployed() -> None:
    store = MemoryStore()
    await deployed(store)
    assert await deployed(store) == ("unchanged", 1)
    await definitions.save(store, AGENT, edited(greeting="Good day!"))
    assert await deployed(store) == ("kept", 2)
    assert await deployed(store, function="others") == ("kept", 3)
    assert '"others"' in (await item(store))["tools"]
    other = make_agent(name="shop", instructions="Be quick.")
    assert await deployed(store, other) == ("replaced", 4)
    stored = await definitions.stored(store, "shop")
    assert stored is not None
    assert (stored.instructions, stored.definition.greeting) == ("Be quick.", other.greeting)
    assert await definitions.deploy(store, other, None, owner="stack") == ("unchanged", 5)
    assert "tools" not in await item(store)


async def test_what_was_pushed_but_never_deployed_is_replaced() -> None:
    store = MemoryStore()
    await definitions.save(store, AGENT, edited(greeting="Good day!"))
    assert await deployed(store) == ("replaced", 2)


async def test_removing_takes_the_listing_too_and_only_its_owners() -> None:
    store = MemoryStore()
    await deployed(store)
    assert not await definitions.remove(store, "shop", owner="another")
    assert await definitions.listed(store) == {"shop": 1}
    assert await definitions.remove(store, "shop", owner="stack")
    assert await definitions.listed(store) == {}
    assert await definitions.stored(store, "shop") is None
    assert not await definitions.remove(store, "shop", owner="stack")


async def test_one_that_is_removed_and_deployed_again_is_seen() -> None:
    """Its versions begin at 1 again."""
    store = MemoryStore()
    known = Definitions(store)
    await deployed(store)
    await known.current(AGENT)
    await definitions.remove(store, "shop", owner="stack")
    await deployed(store, make_agent(name="shop", instructions="Be quick."))
    assert (await known.current(AGENT)).instructions == "Be quick."


@pytest.mark.parametrize(
    "tools", ["{", "{}", '[{"name": "x"}]', 3, '[{"name": "a b"}]', "[" * 9999]
)
async def test_broken_tools_are_ignored_with_a_loud_log(
    tools: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    await deployed(store)
    await store.update(Update(keys.agent("shop"), keys.DEFINITION, set={"tools": tools}))
    assert await Definitions(store, local).current(AGENT) is AGENT
    assert "the stored definition of shop is not used" in caplog.text


async def test_tools_that_cannot_work_are_ignored_with_a_loud_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    await deployed(store)
    text = (await item(store))["tools"].replace('"effect":"write"', '"effect":"end"')
    text = text.replace('"additionalProperties":false', '"additionalProperties":true')
    await store.update(Update(keys.agent("shop"), keys.DEFINITION, set={"tools": text}))
    assert await Definitions(store, local).current(AGENT) is AGENT
    assert "additionalProperties false" in caplog.text


async def test_without_tools_nothing_can_be_built() -> None:
    store = MemoryStore()
    await definitions.push(store, AGENT)
    stored = await definitions.stored(store, "shop")
    assert stored is not None
    with pytest.raises(AgentError, match="the tools of shop are in no function"):
        definitions.build("shop", stored, local)


class TestHistory:
    async def test_every_version_is_kept_newest_first(self) -> None:
        store = MemoryStore()
        await definitions.push(store, AGENT)
        await definitions.save(store, AGENT, edited(greeting="Good day!"))
        kept = await definitions.history(store, "shop", 10)
        assert [each.version for each in kept] == [2, 1]
        assert [each.stored.definition.greeting for each in kept] == ["Good day!", AGENT.greeting]
        assert kept[0].at_ms >= kept[1].at_ms > 0
        assert [e.version for e in await definitions.history(store, "shop", 1, upto=1)] == [1]

    async def test_a_deployment_that_keeps_an_edit_adds_no_version_of_it(self) -> None:
        store = MemoryStore()
        await definitions.deploy(store, AGENT, None)
        await definitions.save(store, AGENT, edited(greeting="Good day!"))
        done = await definitions.deploy(store, AGENT, None)
        assert done.done == "kept"
        assert [each.version for each in await definitions.history(store, "shop", 9)] == [2, 1]

    async def test_damaged_versions_are_left_out(self) -> None:
        store = MemoryStore()
        await definitions.push(store, AGENT)
        await store.append([{"pk": "AGENT#shop", "sk": keys.edit(2), "version": 2}])
        assert [each.version for each in await definitions.history(store, "shop", 9)] == [1]

    async def test_an_edit_of_an_older_version_is_refused(self) -> None:
        store = MemoryStore()
        await definitions.push(store, AGENT)
        assert await definitions.save(store, AGENT, edited(greeting="One"), expected=1) == 2
        with pytest.raises(ConditionFailed, match="version 2, not 1"):
            await definitions.save(store, AGENT, edited(greeting="Two"), expected=1)
        with pytest.raises(ConditionFailed):
            await definitions.save(store, AGENT, edited(greeting="Two"), expected=0)
