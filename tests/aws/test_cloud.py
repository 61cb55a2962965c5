"""Whole calls on the deployed stacks: real processes, real queues, a real table, in real time."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from tests.hosts.third_party import Frame, Session, form_of
from tests.support.cloud import SOON_S, World, deployed
from voxyray.messengers.records import Entry, Records
from voxyray.models import ToolCall
from voxyray.stores import keys
from voxyray.twin import CallRecord, Phone
from voxyray.twin.cloud.faults import Asked
from voxyray.twin.cloud.gateway import Manners
from voxyray.twin.provider import Behaviour

pytest.importorskip("awslambdaric")
pytestmark = pytest.mark.asyncio(loop_scope="module")  # for the cloud's sake, which runs in it

LONG = Behaviour(tokens=200, rate=25)  # eight seconds of words
SORRY = "I lost the thread"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with deployed(tmp_path_factory.mktemp("cloud")) as world:
        yield world


@pytest.fixture
def world(running: World) -> World:
    running.reset()
    return running


# The shipped agents by their offline scripts, all three at once


class Shipped(msgspec.Struct, frozen=True):
    """What came of a call to a shipped agent; kept: the items of the caller's partition."""

    record: CallRecord
    heard: list[str]
    kept: dict[str, Any]


async def told(world: World, agent: str, *lines: tuple[str, str]) -> Shipped:
    """Have a new caller say so much to an agent, each time until an answer like this is heard."""
    number, heard = await world.somebody(agent), []

    async def caller(phone: Phone) -> None:
        await phone.listen()
        for line, answer in lines:
            await phone.say(line)
            async with asyncio.timeout(SOON_S):
                while not re.search(answer, phone.heard):
                    await phone.wait(0.05)
            heard.append(await phone.listen())

    record = await world.twin().call(caller, from_=number)
    items = await world.store.query(keys.caller(number))
    return Shipped(record, heard, {item["sk"]: item for item in items})


async def told_to_all(world: World) -> dict[str, Shipped]:
    order = ("a large Hawaiian for pickup, that's all", "Shall I place"), ("yes", "text you")
    tour = ("can I see the two bedroom", "Which"), ("the second one", "[Bb]ook"), ("yes", "text")
    name = ("Ada Lovelace", "Which"), ("the pizza shop please", "to order"), ("a Cobb", "Anything")
    answers = await asyncio.gather(
        told(world, "restaurant_order", *order),
        told(world, "apartment_search", *tour),
        told(world, "", *name),
    )
    assert world.cloud.gateway.failures == []
    for answer in answers:
        assert answer.record.script_done
        assert answer.record.errors == ()
    return dict(zip(("restaurant", "apartments", "reception"), answers, strict=True))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["application", "function"])
async def shipped(
    request: pytest.FixtureRequest, running: World, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Shipped]:
    """Tools in the relay function, or in a function for each use case."""
    if request.param == "application":
        running.reset()
        return await told_to_all(running)
    async with deployed(tmp_path_factory.mktemp("far"), ToolsIn="function") as far:
        answers = await told_to_all(far)
        names = ("DefaultUseCase", "ApartmentSearch", "RestaurantOrder")
        assert all(far.cloud.functions[f"voxyray-{each}-Tools"].invocations for each in names)
        return answers


async def test_an_order_is_placed(shipped: dict[str, Shipped]) -> None:
    call = shipped["restaurant"]
    (order,) = [item for sk, item in call.kept.items() if sk.startswith("ORDER#")]
    (line,) = order["order"]["lines"]
    assert (line["quantity"], line["size"], line["dish"]) == (1, "large", "Hawaiian pizza")
    assert (order["type"], order["total"]) == ("pickup", "19.95")
    assert "The order is placed" in call.heard[-1]


async def test_a_tour_is_booked(shipped: dict[str, Shipped]) -> None:
    call = shipped["apartments"]
    (tour,) = [item for sk, item in call.kept.items() if sk.startswith("TOUR#")]
    assert tour["apartment"] == "two-bedroom"
    assert any("It is booked" in each for each in call.heard)


async def test_a_name_is_learned_and_the_call_goes_on_with_another_agent(
    shipped: dict[str, Shipped],
) -> None:
    call = shipped["reception"]
    profile = call.kept["PROFILE"]
    assert (profile["first_name"], profile["last_name"]) == ("Ada", "Lovelace")
    assert profile["agent"] == "restaurant_order"
    assert "Added one Cobb salad" in call.heard[-1]
    assert len(call.record.sessions) == 2


# Frames in several processes


def dialogue(world: World, number: int = -1) -> list[tuple[str, str]]:
    """Give what a model request says of the talk so far."""
    messages = world.provider.requests[number].body["messages"]
    return [(each["role"], str(each["content"])) for each in messages if each["role"] != "system"]


def spoken(world: World) -> list[str]:
    """Give what the model was told that callers have said, at last."""
    said = [text for role, text in dialogue(world) if role == "user"]
    return [line for text in said for line in text.splitlines()]


async def knows(world: World, *said: str) -> bool:
    """Whether the model was told all of it, each once."""
    return bool(world.provider.requests) and sorted(spoken(world)) == sorted(said)


async def listen(session: Session, words: int) -> None:
    """Hear so many words of a reply."""
    heard = ""
    while len(heard.split()) < words:
        heard += await session.token()


async def stray(session: Session) -> list[Frame]:
    """Give what comes until nothing does for half a second."""
    frames = []
    while True:
        try:
            async with asyncio.timeout(0.5):
                frames.append(await session.frame())
        except TimeoutError:
            return frames


async def interrupt(world: World, session: Session) -> None:
    """Cut a long reply, and hold the call to what was heard of it."""
    world.provider.script = [LONG, Behaviour(text="As you like.")]
    await session.say("Tell me everything.")
    await listen(session, 5)
    assert world.relay.running
    cut_at = asyncio.get_running_loop().time()
    await session.interrupt("word1 word2")
    async with asyncio.timeout(SOON_S):
        cut = await world.provider.wait_cancelled()
    assert cut.at - cut_at < 3  # usually a tenth of a second
    await stray(session)
    await session.say("Enough.")
    assert await session.reply() == "As you like."
    (_, asked), (_, said), (_, now) = dialogue(world)[-3:]
    assert (asked, now) == ("Tell me everything.", "Enough.")
    assert "word2" in said
    assert "word3" not in said


async def test_an_interruption_reaches_the_process_that_streams(world: World) -> None:
    session = await world.place("teller")
    await interrupt(world, session)
    assert world.relay.environments > 1
    await session.close()
    await world.ended(session.call_sid)
    assert world.cloud.gateway.failures == []


async def test_cold_starts_amid_a_call(world: World) -> None:
    await world.relay.close()
    before = len(world.relay.cold_starts_ms)
    session = await world.place("teller")
    assert len(world.relay.cold_starts_ms) > before
    await world.settled()
    await world.relay.close()
    before = len(world.relay.cold_starts_ms)
    await interrupt(world, session)  # by a second process, which is cold too
    assert len(world.relay.cold_starts_ms) >= before + 2
    await session.close()


async def test_two_prompts_at_once(world: World) -> None:
    session = await world.place("teller")
    world.provider.script = Behaviour(text="Both.", first_token_ms=500)
    said = ("One thing.", "Another.")
    await asyncio.gather(*(session.say(text) for text in said))
    await world.until(lambda: knows(world, *said))
    assert await session.reply() == "Both."
    await session.close()


async def test_a_burst_of_frames(world: World) -> None:
    session = await world.place("teller")
    world.provider.script = Behaviour(text="All heard.", first_token_ms=1000)
    said = [f"This is number {number}." for number in range(6)]
    for text in said:
        await session.send({"type": "prompt", "voicePrompt": text[:7], "last": False})
        await session.send({"type": "info", "name": "clientSpeaking", "value": "off"})
        await session.say(text)
    await world.until(lambda: knows(world, *said))
    assert await session.reply() == "All heard."
    await session.close()
    await world.ended(session.call_sid)
    assert world.cloud.gateway.failures == []


@pytest.mark.parametrize("seed", [1, 2])
async def test_frames_in_disorder_and_twice(world: World, seed: int) -> None:
    world.disorder(seed)
    session = await world.place("teller")
    said = [f"This is number {number}." for number in range(4)]
    for text in said:
        await session.say(text)
    await world.until(lambda: knows(world, *said))
    await stray(session)
    world.straighten()
    world.provider.script = Behaviour(text="Still here.")
    await session.say("Are you?")
    assert await session.reply() == "Still here."
    assert await knows(world, *said, "Are you?")
    await session.close()
    await world.ended(session.call_sid)
    assert world.cloud.gateway.failures == []


# When something breaks


async def test_processes_die_amid_a_reply_and_before_it(world: World) -> None:
    amid, before = await world.place("teller"), await world.place("teller")
    late = Behaviour(text="Too late.", first_token_ms=30_000)
    world.provider.script = [LONG, late, Behaviour(text="Here again.")]
    await amid.say("Tell me everything.")
    await listen(amid, 3)
    await before.say("Tell me more.")
    async with asyncio.timeout(SOON_S):
        await world.provider.wait_requests(2)
    for number in world.relay.running:
        world.relay.kill(number)
    await asyncio.gather(recovers(amid), recovers(before))
    assert {await ended_by(world, each) for each in (amid, before)} == {"caller"}


async def recovers(session: Session) -> None:
    """Hear an answer or an apology, and have the next turn."""
    heard = ""
    async with asyncio.timeout(SOON_S):
        while "Here again." not in heard and SORRY not in heard:
            heard += (await session.frame()).get("token", "")
    await stray(session)
    await session.say("Go on.")
    assert await session.reply() == "Here again."
    await session.close()


async def ended_by(world: World, session: Session) -> str:
    return (await world.ended(session.call_sid)).why


async def test_a_throttled_table(world: World) -> None:
    session = await world.place("teller")
    loop = asyncio.get_running_loop()
    throttled, until = 0, 0.0

    def fault(_: Asked) -> str | None:
        nonlocal throttled
        throttled += (now := loop.time() < until)
        return "ThrottlingException" if now else None

    def script(body: dict[str, Any]) -> Behaviour:
        nonlocal until
        if body["messages"][-1]["role"] == "tool":
            return Behaviour(text="It is done.")
        until = loop.time() + 1
        return Behaviour(tool_calls=(ToolCall("c1", "book", "{}"),))

    world.cloud.database.fault = fault
    world.provider.script = script
    await session.say("Book it.")
    heard = ""
    async with asyncio.timeout(SOON_S):
        while "It is done." not in heard:
            heard += await session.reply()
    assert throttled
    counted = await world.store.get(f"BOOKED#{session.call_sid}", "COUNT")
    assert counted is not None
    assert counted["times"] == 1
    world.provider.script = Behaviour(text="Yes.")
    await session.say("Thanks.")
    assert await session.reply() == "Yes."
    await session.close()
    assert await ended_by(world, session) == "caller"


@pytest.mark.parametrize("disconnects", [True, False])
async def test_the_connection_is_cut_amid_a_reply(world: World, disconnects: bool) -> None:
    world.cloud.gateway.manners = Manners(disconnects=disconnects)
    session = await world.place("teller")
    connection = world.connection
    world.provider.script = LONG
    await session.say("Tell me everything.")
    await listen(session, 3)
    session.drop()
    async with asyncio.timeout(SOON_S):
        await world.provider.wait_cancelled()
    assert (await world.ended(session.call_sid)).code == 1006
    await world.settled()
    assert len(world.provider.requests) == 1
    assert world.cloud.gateway.failures == []
    assert ("$disconnect" in world.seen[connection]) == disconnects


async def test_a_connection_that_is_gone_is_found_by_the_silence(world: World) -> None:
    world.cloud.gateway.manners = Manners(disconnects=False)
    session = await world.place("hurried")
    connection = world.connection
    session.drop()
    assert (await world.ended(session.call_sid)).code == 1006
    assert world.seen[connection] == ["$connect", "setup", "wake"]


# Nobody speaks


async def test_silence_by_the_queue(world: World) -> None:
    session = await world.place("hurried")
    connection = world.connection
    assert await session.reply() == "Are you there?"
    assert await session.reply() == "Nobody is there."
    assert (await session.frame())["type"] == "end"
    await session.close()
    assert await ended_by(world, session) == "agent"
    assert {*world.seen[connection]} == {"$connect", "setup", "wake", "$disconnect"}
    assert world.seen[connection].count("wake") >= 2
    assert world.provider.requests == []


# Who must not come in


async def test_forged_requests(world: World) -> None:
    call = "CA" + "f" * 32
    for signature in ("", "c2lnbmVk"):
        answer = await world.carrier.post("/voice", form_of(call), signature=signature)
        assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await world.carrier.dial(world.cloud.relay_url, signature=signature)
        assert refused.value.status == 403
    assert await world.head(call) == {}
    assert world.cloud.gateway.failures == []


async def test_a_replayed_token(world: World) -> None:
    session = await world.place("teller")
    again = Session(await world.carrier.dial(session.relay.url), session.call_sid, session.relay)
    await again.send(again.setup(sessionId="VX" + "1" * 32))
    assert await again.closed() == 1000
    assert (await world.head(session.call_sid))["session"] == session.setup()["sessionId"]
    await session.say("Are you there?")
    assert await session.reply() == "Yes."
    await session.close()
    await world.ended(session.call_sid)
    assert world.cloud.gateway.failures == []


async def test_an_oversize_frame(world: World) -> None:
    session = await world.place("teller")
    await session.say("x" * 33_000)
    assert await session.closed() == 1009
    assert (await world.ended(session.call_sid)).code == 1009
    assert world.provider.requests == []
    assert world.cloud.gateway.failures == []


async def test_frames_that_are_none(world: World) -> None:
    session = await world.place("teller")
    for text in ("", "{", "[]", '"prompt"', '{"type":7}', '{"type":"prompt"}', "\x00", "9" * 5000):
        await session.send(text)
    assert await stray(session) == []
    await session.say("Are you there?")
    assert await session.reply() == "Yes."
    await session.close()
    assert await ended_by(world, session) == "caller"
    assert world.cloud.gateway.failures == []


@pytest.mark.parametrize("route", ["$default", "$disconnect"])
async def test_a_connection_that_nobody_opened(world: World, route: str) -> None:
    context = {
        "routeKey": route,
        "connectionId": "Nobody1=",
        "messageId": "M1=",
        "requestId": "R1=",
        "requestTimeEpoch": 1_800_000_000_000,
    }
    prompt = '{"type":"prompt","voicePrompt":"Hello?","last":true}'
    event = {"requestContext": context, "body": prompt, "isBase64Encoded": False}
    assert await world.relay.invoke(event) == {"statusCode": 200}
    assert await world.store.query(keys.session("Nobody1=")) == []
    assert world.provider.requests == []


# Text messages, and what commands see


async def test_a_text_is_answered_by_the_queue(world: World) -> None:
    number = await world.somebody("teller")
    world.provider.script = Behaviour(text="At nine.")
    form = form_of("", MessageSid="SM" + number[1:], From=number, Body="When?")
    for _ in range(2):  # carriers repeat their webhooks
        assert (await world.carrier.post("/sms", form)).status == 200
    sent = await world.until(lambda: texts(world, number))
    assert [each.body for each in sent] == ["At nine."]
    assert len(world.provider.requests) == 1


async def texts(world: World, number: str) -> list[Entry]:
    """Give the messages that the sender has worked off for somebody."""
    entries = await Records(world.store, time.time, 30).latest(50)
    return [each for each in entries if each.to == number and each.status == "stored"]


async def test_a_call_is_shown_from_its_journal(world: World) -> None:
    session = await world.place("teller")
    world.provider.script = Behaviour(text="At nine.")
    await session.say("When do you open?")
    await session.reply()
    await session.close()
    await world.ended(session.call_sid)
    shown = msgspec.json.decode(await show(world, session.call_sid, "--json"))
    assert shown["agents"] == ["teller"]
    assert shown["why"] == "caller"
    turn = shown["turns"][-1]
    assert (turn["caller"], turn["said"]) == ("When do you open?", "At nine.")
    assert turn["gap_ms"] == pytest.approx(sum(part["ms"] or 0 for part in turn["parts"]), abs=1)
    text = (await show(world, session.call_sid)).decode()
    assert "When do you open?" in text
    assert "where the time went" in text


async def show(world: World, *arguments: str) -> bytes:
    """Run `voxyray show` in a process of its own, as one who only has the table."""
    main = "from voxyray.cli import main; main()"
    ours = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", main, "show", *arguments),
        env={**ours, **world.cloud.environment},
        cwd=world.cloud.logs,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said
