"""Calls on every host: words as they come, interrupts, overlaps, drops, endings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.hosts.third_party import Answer, Session, form_of
from tests.hosts.world import GREETING, World, make_agent
from voxyray import journal
from voxyray.builtin import hang_up
from voxyray.models import ToolCall
from voxyray.policy import Key
from voxyray.stores import Put, keys
from voxyray.tool import tool
from voxyray.twin import Phone
from voxyray.twin.provider import Behaviour

SOON_S = 60.0  # virtual


class TestGreeting:
    async def test_the_twiml_connects_to_the_public_relay_and_greets(self, world: World) -> None:
        await world.open()
        relay = await world.carrier.voice("CA1")
        assert relay.url == "wss" + world.public.removeprefix("https") + "/relay"
        assert relay.action == f"{world.public}/relay-ended"
        assert relay.attributes == {
            "welcomeGreeting": GREETING,
            "interruptible": "any",
            "reportInputDuringAgentSpeech": "any",
            "dtmfDetection": "true",
            "events": "speaker-events tokens-played",
            "debug": "debugging",
        }
        assert list(relay.parameters) == ["token"]
        assert relay.parameters["token"] not in relay.url

    async def test_a_greeting_may_hold_any_character(self, world: World) -> None:
        """original.md 33: a quote or & in the greeting breaks the call."""
        await world.open(make_agent(greeting='Ada & "Bob" <hi>, ça va? 你好'))
        relay = await world.carrier.voice("CA1")
        assert relay.attributes["welcomeGreeting"] == 'Ada & "Bob" <hi>, ça va? 你好'

    async def test_without_a_greeting_the_model_speaks_first(self, world: World) -> None:
        await world.open(make_agent(greeting=""))
        session = await world.carrier.place()
        assert "welcomeGreeting" not in session.relay.attributes
        await (await world.model.asked()).answer("Welcome!")
        assert await session.reply() == "Welcome!"

    async def test_a_known_caller_is_greeted_by_name(self, world: World) -> None:
        """original.md 34: a profile without a name reads "undefined undefined"."""
        greeting = "Hello{% if caller.known %}, {{ caller.first_name }}{% endif %}!"
        await world.open(make_agent(greeting=greeting))
        await world.store.write(_profile("+15550100001", first_name="Ada"))
        known = await world.carrier.voice("CA1", From="+15550100001")
        unknown = await world.carrier.voice("CA2", From="+15550100002")
        withheld = await world.carrier.voice("CA3", From="anonymous")
        greetings = [each.attributes["welcomeGreeting"] for each in (known, unknown, withheld)]
        assert greetings == ["Hello, Ada!", "Hello!", "Hello!"]

    async def test_the_profile_chooses_the_agent(self, world: World) -> None:
        await world.open(
            make_agent(name="pizza", greeting="Pizza!"), make_agent(name="default", greeting="Hi!")
        )
        await world.store.write(_profile("+15550100001", agent="pizza"))
        await world.store.write(_profile("+15550100002", agent="gone"))
        chosen = [
            (await world.carrier.voice(f"CA{last}", From=f"+1555010000{last}")).attributes
            for last in "123"
        ]
        assert [each["welcomeGreeting"] for each in chosen] == ["Pizza!", "Hi!", "Hi!"]


class TestWords:
    async def test_every_token_arrives_before_the_provider_has_sent_the_next(
        self, world: World
    ) -> None:
        await world.open()
        session = await world.carrier.place()
        await session.say("hi")
        stream = await world.model.asked()
        for token in ("Sure", ",", " one", " two", "."):
            await stream.say(token)
            assert await session.token() == token
        await stream.finish()
        assert await session.frame() == {"type": "text", "token": "", "last": True}

    async def test_a_reply_is_closed_exactly_once(self, world: World) -> None:
        await world.open()
        session = await world.carrier.place()
        for text in ("One.", "Two."):
            await session.say("hi")
            await (await world.model.asked()).answer(text)
            assert await session.reply() == text
        await session.close()
        await world.ended(session.call_sid)
        assert (await session.socket.receive()).data is None  # nothing but the close was left

    async def test_the_model_is_told_the_greeting_and_the_words(self, world: World) -> None:
        await world.open()
        session = await world.carrier.place()
        await session.say("What do you sell?")
        stream = await world.model.asked()
        assert stream.body["messages"] == [
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": GREETING},
            {"role": "user", "content": "What do you sell?"},
        ]
        assert stream.body["stream"] is True

    async def test_a_key_of_the_menu_is_answered_without_a_model(self, world: World) -> None:
        await world.open(make_agent(keypad={"1": Key(say="We open at nine.")}))
        session = await world.carrier.place()
        await session.send({"type": "dtmf", "digit": "1"})
        assert await session.reply() == "We open at nine."
        assert world.model.streams == []

    async def test_a_whole_call_of_a_simulated_carrier(self, world: World) -> None:
        await world.open(provider=Behaviour(text="Sure, let me see.", rate=30, first_token_ms=200))

        async def caller(phone: Phone) -> None:
            assert await phone.listen() == GREETING
            await phone.say("I want to change my booking")
            assert await phone.listen() == "Sure, let me see."

        record = await world.twin().call(caller)
        assert record.errors == ()
        assert record.warnings == ()
        assert record.ending is not None
        assert record.ending.status == "completed"
        entries = await world.ended(record.call_sid)
        assert (entries[-1].code, entries[-1].why) == (1000, "caller")


class TestInterrupts:
    async def test_not_one_token_after_an_interrupt_and_the_request_is_closed(
        self, world: World
    ) -> None:
        await world.open()
        session = await world.carrier.place()
        await session.say("hi")
        first = await world.model.asked()
        await first.say("One two three.")
        assert await session.token() == "One two three."
        await session.interrupt("One two")
        await asyncio.wait_for(first.cut.wait(), SOON_S)
        await session.say("wait")
        second = await world.model.asked()
        assert second.messages == [
            ("assistant", GREETING),
            ("user", "hi"),
            ("assistant", "One two—"),
            ("user", "wait"),
        ]
        await second.answer("Yes?")
        assert await session.reply() == "Yes?"  # the very next words

    async def test_a_reply_of_which_nothing_was_heard_was_never_said(self, world: World) -> None:
        await world.open()
        session = await world.carrier.place()
        await session.say("hi")
        first = await world.model.asked()
        await session.interrupt("")
        await asyncio.wait_for(first.cut.wait(), SOON_S)
        await session.say("wait")
        second = await world.model.asked()
        assert second.messages == [("assistant", GREETING), ("user", "hi\nwait")]

    async def test_an_interrupt_stops_a_model_that_has_not_answered_yet(self, world: World) -> None:
        await world.open(provider=[Behaviour(hang="headers"), Behaviour(text="Now.")])
        session = await world.carrier.place()
        await session.say("hi")
        await asyncio.wait_for(world.provider.wait_requests(1), SOON_S)
        await session.interrupt("")
        await asyncio.wait_for(world.provider.wait_cancelled(0), SOON_S)
        await session.say("again")
        assert await session.reply() == "Now."

    async def test_history_holds_what_the_caller_really_heard(self, world: World) -> None:
        """complaints.md B3 10: words that were played are lost from history."""
        long = (
            "One two three four. Five six seven eight. Nine ten eleven twelve. And so on it goes."
        )
        await world.open(provider=[Behaviour(text=long, rate=4), Behaviour(text="Of course.")])

        async def caller(phone: Phone) -> None:
            await phone.listen()
            await phone.say("Count, please")
            heard.append(await phone.cut_in("Stop", after_words=6))
            heard.append(await phone.listen())

        heard: list[str] = []
        record = await world.twin().call(caller)
        assert record.errors == ()
        messages = world.provider.requests[1].body["messages"]
        assert messages[-2]["content"].removesuffix("—").split() == heard[0].split()
        assert messages[-1]["content"] == "Stop"
        assert heard[1] == "Of course."
        assert 0 in world.provider.cancelled


class TestOverlaps:
    async def test_two_prompts_at_once_never_interleave(self, world: World) -> None:
        """original.md 15: their words interleave in one stream."""
        await world.open()
        session = await world.carrier.place()
        await session.say("one")
        first = await world.model.asked()
        await first.say("Alpha")
        assert await session.token() == "Alpha"
        await session.say("two")
        second = await world.model.asked()
        await asyncio.wait_for(first.cut.wait(), SOON_S)
        await second.answer("Gamma.")
        assert await session.reply() == " Gamma."
        assert second.messages[-1] == ("user", "two")

    async def test_a_burst_of_prompts_is_answered_once(self, world: World) -> None:
        """conversationrelay.md 9 no. 33: the agent lags behind for ever."""
        await world.open()
        session = await world.carrier.place()
        for text in ("one", "two", "three"):
            await session.say(text)
        stream = await world.model.asked()
        while stream.messages[-1] != ("user", "one\ntwo\nthree"):
            await asyncio.wait_for(stream.cut.wait(), SOON_S)
            stream = await world.model.asked()
        await stream.answer("All three.")
        assert await session.reply() == "All three."

    async def test_two_calls_know_nothing_of_each_other(self, world: World) -> None:
        await world.open()
        one, two = await world.carrier.place(), await world.carrier.place()
        await one.say("I am one")
        first = await world.model.asked()
        await two.say("I am two")
        second = await world.model.asked()
        await second.answer("Two.")
        assert await two.reply() == "Two."
        await one.interrupt("")
        await asyncio.wait_for(first.cut.wait(), SOON_S)
        assert second.messages[-1] == ("user", "I am two")
        await two.say("still there?")
        await (await world.model.asked()).answer("Yes.")
        assert await two.reply() == "Yes."


@tool(effect="end")
def transfer(reason: str) -> dict[str, str]:
    """Put the caller through to a person."""
    return {"reasonCode": "live-agent-handoff", "reason": reason}


class TestEndings:
    async def test_an_end_tool_says_goodbye_then_ends_then_hands_over(self, world: World) -> None:
        """conversationrelay.md 9 no. 14: goodbye cut off."""
        await world.open(make_agent(tools=[transfer]), handoff_to="+15550100009")
        session = await world.carrier.place()
        await session.say("A person, please")
        stream = await world.model.asked()
        await stream.say("One moment, I'll put you through.")
        await stream.call_tool("transfer", reason="billing")
        assert await session.reply() == "One moment, I'll put you through. "
        await session.send(_played("One moment, I'll put you through."))
        ended = await session.frame()
        assert ended == {
            "type": "end",
            "handoffData": '{"reasonCode":"live-agent-handoff","reason":"billing"}',
        }
        await session.close()
        answer = await _post_end(world, session, "ended", HandoffData=ended["handoffData"])
        assert answer.names == ["Say", "Dial"]
        ended_by = (await world.ended(session.call_sid))[-1]
        assert (ended_by.code, ended_by.why) == (1000, "agent")

    async def test_a_caller_who_speaks_before_the_end_stays(self, world: World) -> None:
        """complaints.md B5 20: a discarded generation's end_call hangs up on the caller."""
        await world.open(make_agent(tools=[hang_up]))
        session = await world.carrier.place()
        await session.say("Bye")
        stream = await world.model.asked()
        await stream.say("Goodbye!")
        await stream.call_tool("hang_up")
        assert await session.reply() == "Goodbye! "
        await session.interrupt("Good")
        await session.say("Oh, one more thing")
        await (await world.model.asked()).answer("Yes?")
        assert await session.reply() == "Yes?"

    @pytest.mark.parametrize("handoff_to", ["", "+15550100009"])
    async def test_a_simulated_carrier_follows_to_the_end(
        self, world: World, handoff_to: str
    ) -> None:
        call = ToolCall("call_1", "transfer", '{"reason":"billing"}')
        script = Behaviour(text="I'll put you through.", tool_calls=(call,))
        await world.open(make_agent(tools=[transfer]), provider=script, handoff_to=handoff_to)

        async def caller(phone: Phone) -> None:
            await phone.listen()
            await phone.say("A person, please")
            await phone.wait_for_end(timeout_s=120)

        record = await world.twin().call(caller)
        assert record.errors == ()
        assert record.ending is not None
        assert record.ending.status == "ended"
        assert "I'll put you through." in record.heard
        assert ("Dial" in [run.verb for run in record.verbs]) == bool(handoff_to)

    @pytest.mark.parametrize(
        ("status", "data", "verbs"),
        [
            ("completed", "", []),
            ("ended", "", ["Hangup"]),
            ("ended", '{"reasonCode":"live-agent-handoff"}', ["Say", "Hangup"]),
            ("ended", "not json", ["Hangup"]),
            ("failed", "", ["Say", "Hangup"]),
        ],
    )
    async def test_what_follows_a_session(
        self, world: World, status: str, data: str, verbs: list[str]
    ) -> None:
        await world.open()
        await world.carrier.voice("CA1")
        answer = await _post_end(world, "CA1", status, HandoffData=data)
        assert (answer.status, answer.content_type) == (200, "text/xml")
        assert answer.names == verbs
        head = await world.store.get(keys.call("CA1"), keys.HEAD)
        assert head is not None
        assert head["status"] == "ended"
        assert "token" not in head


class TestDrops:
    async def test_a_drop_mid_reply_closes_the_request_and_completes_the_journal(
        self, world: World
    ) -> None:
        await world.open()
        session = await world.carrier.place()
        await session.say("hi")
        stream = await world.model.asked()
        await stream.say("One two three.")
        await session.token()
        session.drop()
        await asyncio.wait_for(stream.cut.wait(), SOON_S)
        entries = await world.ended(session.call_sid)
        assert entries[-1].why == "dropped"
        assert entries[-1].code != 1000
        (output,) = [each for each in entries if isinstance(each, journal.ModelOutput)]
        assert "".join(text for _, text in output.deltas) == "One two three."

    async def test_a_write_is_finished_and_recorded_after_a_drop(self, world: World) -> None:
        started, may_finish = asyncio.Event(), asyncio.Event()

        @tool(effect="write", timeout_s=20)
        async def book(slot: str) -> str:
            """Book a slot."""
            started.set()
            await may_finish.wait()
            return f"booked {slot}"

        await world.open(make_agent(tools=[book]))
        session = await world.carrier.place()
        await session.say("Book ten o'clock")
        await (await world.model.asked()).call_tool("book", slot="10:00")
        await asyncio.wait_for(started.wait(), SOON_S)
        session.drop()
        may_finish.set()
        entries = await world.ended(session.call_sid)
        (finished,) = await world.entries(session.call_sid, journal.ToolFinished)
        assert (finished.status, finished.result) == ("done", "booked 10:00")
        (run,) = await world.store.query(keys.call(session.call_sid), "TOOL#")
        assert (run["status"], run["result"]) == ("done", "booked 10:00")
        assert entries

    async def test_a_failed_session_gets_a_spoken_way_out(self, world: World) -> None:
        await world.open()

        async def caller(phone: Phone) -> None:
            await phone.listen()
            phone.drop()
            await phone.wait_for_end()

        record = await world.twin().call(caller)
        assert record.posts[-1].fields["SessionStatus"] == "failed"
        assert "cut off" in record.heard


def _profile(number: str, **fields: str) -> Any:
    return Put({"pk": keys.caller(number), "sk": keys.PROFILE, **fields})


def _played(text: str) -> dict[str, str]:
    return {"type": "info", "name": "tokensPlayed", "value": text}


async def _post_end(world: World, session: Session | str, status: str, **fields: str) -> Answer:
    call_sid = session if isinstance(session, str) else session.call_sid
    form = form_of(
        call_sid, CallStatus="in-progress", SessionId="VX1", SessionStatus=status, **fields
    )
    return await world.carrier.post("/relay-ended", form)
