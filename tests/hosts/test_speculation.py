"""The model is asked before the caller's words are final, on every host."""

from __future__ import annotations

import asyncio

from tests.hosts.third_party import Session
from tests.hosts.world import World, make_agent
from tests.support.desk import book
from tests.support.models import ScriptedModel
from voxyray import journal
from voxyray.policy import Policy
from voxyray.speculation import Report, report
from voxyray.stores import keys
from voxyray.twin import Phone

SOON_S = 60.0  # virtual
EARLY = Policy(speculate=True, speculate_after_s=0.2)


async def _partial(session: Session, text: str) -> None:

    await session.send({"type": "prompt", "voicePrompt": text, "lang": "en-US", "last": False})


async def _report(world: World, call_sid: str) -> Report:
    await world.ended(call_sid)
    items = await world.store.query(keys.call(call_sid), "J#")
    return report(map(journal.from_item, items))


async def test_the_carrier_is_asked_for_partial_transcripts(world: World) -> None:
    await world.open(make_agent(policy=EARLY))
    relay = await world.carrier.voice("CA1")
    assert relay.attributes["partialPrompts"] == "true"


async def test_words_are_kept_back_until_they_are_wanted(world: World) -> None:
    await world.open(make_agent(policy=EARLY))
    session = await world.carrier.place()
    await _partial(session, "where are you")
    stream = await world.model.asked()
    await stream.answer("On Main Street.")
    await asyncio.sleep(1.5)  # on Lambda the call has come to rest by now, words and all
    await session.say("Where are you?")
    assert await session.reply() == "On Main Street."
    await session.close()
    told = await _report(world, session.call_sid)
    assert (told.asked, told.confirmed) == (1, 1)


async def test_a_miss_is_closed_and_not_heard(world: World) -> None:
    await world.open(make_agent(policy=EARLY, tools=(book,)))
    session = await world.carrier.place()
    await _partial(session, "where are you")
    early = await world.model.asked()
    await early.say("On Main Street")
    await session.say("Where are you going?")
    await asyncio.wait_for(early.cut.wait(), SOON_S)
    await (await world.model.asked()).answer("Nowhere.")
    assert await session.reply() == "Nowhere."
    await session.close()
    told = await _report(world, session.call_sid)
    assert (told.asked, told.dropped) == (1, 1)
    assert not await world.entries(session.call_sid, journal.ToolStarted)


async def test_a_call_that_ends_meanwhile_is_over(world: World) -> None:
    await world.open(make_agent(policy=EARLY))
    session = await world.carrier.place()
    await _partial(session, "where are you")
    early = await world.model.asked()
    await session.close()
    await asyncio.wait_for(early.cut.wait(), SOON_S)
    told = await _report(world, session.call_sid)
    assert (told.asked, told.dropped) == (1, 1)


async def test_through_the_twin(world: World) -> None:
    model = ScriptedModel([0.3, "Bikes."])
    await world.open(make_agent(policy=Policy(speculate=True)), model=model)

    async def caller(phone: Phone) -> None:
        await phone.listen()
        await phone.say("What do you sell?")
        assert await phone.listen() == "Bikes."

    record = await world.twin().call(caller)
    assert record.errors == ()
    assert record.warnings == ()
    told = await _report(world, record.call_sid)
    assert told.confirmed == 1
    assert told.gained_ms > 0
