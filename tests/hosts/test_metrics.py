"""Metrics of whole calls: the waterfall's own times on every host, for those who may read them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.hosts.third_party import form_of
from tests.hosts.world import World, make_agent
from voxyray import journal
from voxyray.stores import keys
from voxyray.twin.provider import Behaviour
from voxyray.waterfall import ASKED, call_view

TOKEN = "a-token-of-sixteen"


async def scrape(world: World, **headers: str) -> tuple[int, str]:
    url = world.resolve(f"{world.public}/metrics")
    async with world.carrier.session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def gaps(world: World, call_sid: str) -> list[float]:
    """The gaps of a call's waterfall, in seconds."""
    items = await world.store.query(keys.call(call_sid), "J#")
    turns = call_view(map(journal.from_item, items)).turns
    return [turn.gap_ms / 1000 for turn in turns if turn.cause in ASKED and turn.gap_ms is not None]


async def test_they_tell_the_waterfalls_times(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.open(provider=Behaviour(text="Sure.", first_token_ms=250))
    session = await world.place()
    for _ in range(3):
        await session.say("hi")
        assert await session.reply() == "Sure."
    await session.close()
    await world.ended(session.call_sid)
    measured = await gaps(world, session.call_sid)
    assert len(measured) == 3
    if world.host == "lambda":
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        told = [line.get("voxyray_turn_gap_seconds", 0) for line in lines]
        assert sum(told) == pytest.approx(sum(measured), abs=1e-3)
        assert sum(line.get("voxyray_turns_total", 0) for line in lines) == 4
        return
    status, text = await scrape(world)
    assert status == 200
    assert "voxyray_turn_gap_seconds_count 3\n" in text
    total = re.search(r"^voxyray_turn_gap_seconds_sum (\S+)$", text, re.MULTILINE)
    assert total is not None
    assert float(total[1]) == pytest.approx(sum(measured), abs=1e-3)
    assert 'voxyray_calls_total{agent="agent"} 1.0' in text
    assert "voxyray_calls_active 0\n" in text


@pytest.mark.parametrize("host", ["aiohttp"])
async def test_another_model_that_had_to_answer(world: World) -> None:
    def script(body: dict[str, Any]) -> Behaviour:
        return Behaviour(status=500) if body["model"] == "a" else Behaviour(text="Sure.")

    await world.open(make_agent(model="openai:a,openai:b"), provider=script)
    session = await world.place()
    await session.say("hi")
    assert await session.reply() == "Sure."
    await session.close()
    await world.ended(session.call_sid)
    _, text = await scrape(world)
    assert 'voxyray_model_fallbacks_total{model="openai:b"} 1.0' in text
    assert "voxyray_model_requests_total 1.0" in text


@pytest.mark.parametrize("host", ["aiohttp", "asgi", "mounted"])
class TestDoor:
    async def test_this_machine_alone(self, world: World) -> None:
        await world.open(provider=Behaviour())
        assert (await scrape(world))[0] == 200
        assert (await scrape(world, Host="voice.example.com"))[0] == 403
        status, text = await scrape(world, **{"X-Forwarded-For": "1.2.3.4"})
        assert status == 403
        assert "VOXYRAY_METRICS_TOKEN" in text

    async def test_who_has_the_token(self, world: World) -> None:
        await world.open(provider=Behaviour(), metrics_token=TOKEN)
        assert (await scrape(world))[0] == 401
        bearer = {"Authorization": f"Bearer {TOKEN}", "Host": "voice.example.com"}
        assert (await scrape(world, **bearer))[0] == 200


@pytest.mark.parametrize("host", ["lambda"])
async def test_texts_are_counted_but_nobody_waits_for_them(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.open(provider=Behaviour(text="Sure."))
    form = form_of("", MessageSid="SM1", Body="hi")
    assert (await world.carrier.post("/sms", form)).status == 200
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(line.get("voxyray_model_requests_total", 0) for line in lines) == 1
    assert not any("voxyray_turn_gap_seconds" in line for line in lines)


@pytest.mark.parametrize("host", ["lambda"])
async def test_no_function_has_them(world: World) -> None:
    """Each would know only what it has seen itself."""
    await world.open(provider=Behaviour())
    assert (await scrape(world))[0] in (403, 404)
