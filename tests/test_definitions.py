"""Definitions in the store: pushed, edited while the system runs, never a dead line."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from tests.support.desk import make_agent
from voxyray import definitions
from voxyray.definitions import Definitions, Stored, definition_of
from voxyray.errors import AgentError, ConditionFailed
from voxyray.policy import Key, Policy
from voxyray.stores import Put, Update, keys
from voxyray.stores.memory import MemoryStore

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
