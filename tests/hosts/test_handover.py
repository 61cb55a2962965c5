"""Callers put through to another agent or a person, and text messages, on every host."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.hosts.third_party import form_of
from tests.hosts.world import World, make_agent
from voxyray import hang_up, transfer_to_agent, transfer_to_person
from voxyray.models import Delta, Finish, ModelRequest, TextDelta, ToolCall
from voxyray.stores import keys
from voxyray.twin import Phone, Timing


class Scripted:
    """A model that does one thing for each thing the caller says."""

    name = "scripted"

    def __init__(self, *answers: tuple[str, str, str]) -> None:
        self._answers = {said: (words, tool) for said, words, tool in answers}
        self.asked: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        self.asked.append(request)
        said = (request.messages[-1].content or "").splitlines()[-1]
        words, tool = self._answers.get(said, ("Very well.", ""))
        yield TextDelta(words)
        if tool:
            name, _, arguments = tool.partition(" ")
            yield ToolCall("call_1", name, arguments or "{}")
        yield Finish("tool_calls" if tool else "stop", self.name)

    async def warm(self) -> None: ...

    async def close(self) -> None: ...

    def told(self) -> list[str]:
        """What the latest request says was said, without the instructions."""
        return [f"{each.role}: {each.content}" for each in self.asked[-1].messages[1:]]


PERSON = 'transfer_to_person {"reason":"billing","summary":"Ada was charged twice."}'
FAST = Timing().scaled(0.02)


def desk(**changes: Any) -> Any:
    tools = [transfer_to_agent, transfer_to_person, hang_up]
    return make_agent(name="default", title="Reception", tools=tools, **changes)


def pizza() -> Any:
    relay = {"ttsProvider": "Google", "voice": "en-US-Journey-O"}
    return make_agent(name="pizza", title="Pizza shop", greeting="Pizza, hello!", relay=relay)


class TestAnotherAgent:
    async def test_takes_over_with_its_own_voice_and_greeting_and_the_history(
        self, world: World
    ) -> None:
        model = Scripted(("pizza please", "One moment.", 'transfer_to_agent {"name":"pizza"}'))
        await world.open(desk(), pizza(), model=model)

        async def caller(phone: Phone) -> None:
            await phone.listen()
            await phone.say("pizza please")
            await phone.listen()
            assert "Pizza, hello!" in await phone.listen()
            await phone.say("a large one")
            await phone.listen()

        record = await world.twin(timing=FAST).call(caller)
        assert record.script_done, record.errors
        assert not record.errors
        assert len(record.sessions) == 2
        assert model.told() == [
            "assistant: Hello there, how can I help?",
            "user: pizza please",
            "assistant: One moment.",
            "user: [The caller was put through to you by Reception.]",
            "assistant: Pizza, hello!",
            "user: a large one",
        ]

    async def test_an_agent_that_is_not_there_is_an_answer_to_the_model(self, world: World) -> None:
        model = Scripted(("fly", "One moment.", 'transfer_to_agent {"name":"moon"}'))
        await world.open(desk(), pizza(), model=model)

        async def caller(phone: Phone) -> None:
            await phone.listen()
            await phone.say("fly")
            await phone.listen()
            await phone.listen()

        record = await world.twin(timing=FAST).call(caller)
        assert len(record.sessions) == 1
        assert "there is no agent 'moon'; there are: pizza" in str(model.asked[-1].messages)

    async def test_a_replayed_callback_does_not_take_the_call_further(self, world: World) -> None:
        model = Scripted(("pizza please", "One moment.", 'transfer_to_agent {"name":"pizza"}'))
        await world.open(desk(), pizza(), model=model)

        async def caller(phone: Phone) -> None:
            await phone.listen()
            await phone.say("pizza please")
            await phone.listen()
            await phone.listen()

        record = await world.twin(timing=FAST).call(caller)
        call_sid = record.call_sid
        handoff = '{"reasonCode":"agent-transfer","agent":"pizza"}'
        fields = {"SessionStatus": "ended", "HandoffData": handoff}
        session_id = record.sessions[0].session_id
        form = form_of(call_sid, SessionId=session_id, **fields)
        answer = await world.carrier.post("/relay-ended", form)
        assert answer.names == ["Hangup"]


class TestAPerson:
    @pytest.mark.parametrize(
        ("to", "verbs"),
        [
            ("", ["Say", "Hangup"]),
            ("+15550100009", ["Say", "Dial"]),
            ("queue:support", ["Say", "Enqueue"]),
            ("taskrouter:WW" + "0" * 32, ["Say", "Enqueue"]),
            ("studio:FW" + "0" * 32, ["Redirect"]),
        ],
    )
    async def test_is_reached_as_configured(self, world: World, to: str, verbs: list[str]) -> None:
        await world.open(desk(), model=Scripted(("a person", "One moment.", PERSON)), handoff_to=to)
        session = await world.place()
        await session.say("a person")
        assert await session.reply()
        await session.send({"type": "info", "name": "tokensPlayed", "value": "One moment."})
        ended = await session.frame()
        await session.close()
        await world.ended(session.call_sid)
        fields = {"SessionStatus": "ended", "HandoffData": ended["handoffData"]}
        answer = await world.carrier.post(
            "/relay-ended", form_of(session.call_sid, SessionId="VX1", **fields)
        )
        assert answer.names == verbs
        if "Enqueue" in verbs and to.startswith("taskrouter"):
            assert b"Ada was charged twice." in answer.body

    async def test_hears_what_it_is_about_before_they_are_connected(self, world: World) -> None:
        model = Scripted(("a person", "One moment.", PERSON))
        await world.open(desk(), model=model, handoff_to="+15550100009")

        async def caller(phone: Phone) -> None:
            await _ask_for_a_person(phone)
            await phone.wait_for_end()

        record = await world.twin(timing=FAST).call(caller)
        form = form_of("CA" + "9" * 32, ParentCallSid=record.call_sid)
        answer = await world.carrier.post("/whisper", form)
        assert b"Ada was charged twice." in answer.body

    async def test_who_does_not_answer_brings_the_caller_back(self, world: World) -> None:
        model = Scripted(("a person", "One moment.", PERSON))
        await world.open(desk(), model=model, handoff_to="+15550100009")

        async def caller(phone: Phone) -> None:
            await _ask_for_a_person(phone)
            assert "nobody answered" in await phone.listen(timeout_s=60)
            await phone.say("then never mind")
            await phone.listen()

        record = await world.twin(timing=FAST, dial_outcome="no-answer").call(caller)
        assert record.script_done, record.errors
        assert len(record.sessions) == 2
        assert "nobody answered" in model.told()[-2]
        assert model.told()[-1] == "user: then never mind"


async def _ask_for_a_person(phone: Phone) -> None:
    await phone.listen()
    await phone.say("a person")
    await phone.listen()


class TestTextMessages:
    async def send(self, world: World, sid: str, body: str, **fields: str) -> Any:
        form = form_of("", MessageSid=sid, Body=body, **fields)
        return await world.carrier.post("/sms", form)

    async def settled(self, world: World) -> list[Any]:
        await world.service.texting.close()
        await world.service.delivery.settle(5)
        return await world.service.delivery.entries()

    async def test_are_answered_by_an_agent_that_remembers_the_thread(self, world: World) -> None:
        model = Scripted(("when?", "At nine.", ""), ("and sunday?", "Closed.", ""))
        await world.open(make_agent(), model=model)
        answer = await self.send(world, "SM1", "when?")
        assert (answer.status, answer.names) == (200, [])
        await world.service.texting.close()
        await self.send(world, "SM2", "and sunday?")
        entries = await self.settled(world)
        assert [(each.to, each.body) for each in entries] == [
            ("+15550100001", "Closed."),
            ("+15550100001", "At nine."),
        ]
        assert model.told()[1:] == ["assistant: At nine.", "user: and sunday?"]

    async def test_that_come_twice_are_answered_once(self, world: World) -> None:
        await world.open(make_agent(), model=Scripted())
        for _ in range(2):
            assert (await self.send(world, "SM1", "hello")).status == 200
        assert len(await self.settled(world)) == 1

    @pytest.mark.parametrize("fields", [{}, {"OptOutType": "STOP"}])
    async def test_stop_and_start_are_respected_and_not_answered(
        self, world: World, fields: dict[str, str]
    ) -> None:
        await world.open(make_agent(), model=Scripted())
        await self.send(world, "SM1", "Stop", **fields)
        assert await world.service.delivery.is_opted_out("+15550100001")
        await self.send(world, "SM2", "START")
        assert not await world.service.delivery.is_opted_out("+15550100001")
        assert await self.settled(world) == []

    async def test_unsigned_ones_have_no_effect(self, world: World) -> None:
        await world.open(make_agent(), model=Scripted())
        form = form_of("", MessageSid="SM1", Body="hello")
        answer = await world.carrier.post("/sms", form, signature="wrong")
        assert answer.status == 403
        assert await self.settled(world) == []
        assert await world.store.get(keys.call("sms:SM1"), keys.HEAD) is None
