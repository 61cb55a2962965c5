"""Agents edited in the store while a host runs."""

from __future__ import annotations

import msgspec

from tests.hosts.world import World, make_agent
from voxyray import definitions
from voxyray.policy import Policy
from voxyray.stores import Update, keys


async def test_the_next_call_uses_an_edit_and_a_running_one_does_not(world: World) -> None:
    await world.open()
    first = await world.place()
    edit = definitions.definition_of(make_agent(instructions="Be brief."))
    policy = Policy(apology="Say that again?")
    definition = msgspec.structs.replace(edit.definition, greeting="Good day!", policy=policy)
    await definitions.save(world.store, make_agent(), definitions.Stored(definition, "Be brief."))
    second = await world.place()
    assert second.relay.attributes["welcomeGreeting"] == "Good day!"
    for session, instructions in ((first, "Be kind."), (second, "Be brief.")):
        await session.say("hi")
        stream = await world.model.asked()
        assert stream.body["messages"][0]["content"] == instructions
        await stream.answer("Hello.")
        await session.reply()


async def test_a_broken_edit_is_no_dead_line(world: World) -> None:
    await world.open()
    await definitions.push(world.store, make_agent())
    broken = {"definition": "{", "version": 2}
    await world.store.update(Update(keys.agent("agent"), keys.DEFINITION, set=broken))
    session = await world.place()
    assert session.relay.attributes["welcomeGreeting"] == make_agent().greeting
