"""Several models on every host: the caller hears each word once, and soon, whatever fails."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.hosts.third_party import Session
from tests.hosts.world import World, make_agent
from voxyray import journal
from voxyray.models.breaker import FAILURES
from voxyray.twin.provider import Behaviour

TEXT = "We are open until six, and on Saturdays until noon."
GOOD = Behaviour(text=TEXT)


async def _asks(session: Session) -> str:
    await session.say("When are you open?")
    return await session.reply()


def first_is(bad: Behaviour) -> Any:
    return lambda body: bad if body["model"] == "a" else GOOD


@pytest.mark.parametrize("spec", ["openai:a, openai:b", "openai:a | openai:b"])
@pytest.mark.parametrize("place", [1, 5, 9])
@pytest.mark.parametrize("trouble", ["truncate_at", "corrupt_at", "error_at", "stall_at"])
async def test_an_answer_that_breaks_off_is_finished(
    world: World, trouble: str, place: int, spec: str
) -> None:
    bad = msgspec.structs.replace(GOOD, **{trouble: place})
    await world.open(make_agent(model=spec), provider=first_is(bad))
    session = await world.carrier.place()
    assert await _asks(session) == TEXT
    await session.close()
    await world.ended(session.call_sid)
    (output,) = await world.entries(session.call_sid, journal.ModelOutput)
    assert output.model == "openai:b"
    assert [each.outcome for each in output.attempts] == ["broke off", "answered"]


async def test_a_first_that_hangs_is_soon_not_waited_for(world: World) -> None:
    agent = make_agent(model="openai:a | openai:b")
    await world.open(agent, provider=first_is(Behaviour(hang="headers")))
    session = await world.carrier.place()
    for _ in range(FAILURES + 2):
        assert (await _asks(session)).endswith(TEXT)
    asked = [each.body["model"] for each in world.provider.requests if each.body["messages"][1:]]
    assert asked == ["a", "b"] * FAILURES + ["b", "b"]
    await session.close()
    await world.ended(session.call_sid)
    outputs = await world.entries(session.call_sid, journal.ModelOutput)
    told = [[each.outcome for each in output.attempts] for output in outputs]
    assert told == [["late", "answered"]] * FAILURES + [[], []]
