"""The model is asked before the caller's words are final, and nobody can tell but by the clock."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.console import Console
from tests.support.desk import Desk, make_agent
from tests.support.models import ScriptedModel, words
from tests.test_snapshot import moved
from voxyray import events, frames, journal, twin
from voxyray.commands.costs import notes
from voxyray.models import ToolCall, Usage
from voxyray.policy import Policy
from voxyray.receipts import Prices, receipt
from voxyray.speculation import Report, Speculation, plain, report
from voxyray.stores import keys
from voxyray.twin import Phone
from voxyray.twin.clock import run_virtual
from voxyray.waterfall import TurnView, turns

SPECULATING = Policy(speculate=True, speculate_after_s=0.2)


@pytest.fixture
def desk() -> Desk:
    made = Desk(make_agent(policy=SPECULATING))
    made.pass_time(3)
    return made


def partial(desk: Desk, text: str = "Where are you", stable_s: float = 0.25) -> None:
    desk.do(frames.Prompt(text, "en-US", False))
    desk.pass_time(stable_s)


def states(desk: Desk) -> list[str]:
    return [mark.state for mark in desk.noted(journal.Speculated)]


def last_turn(desk: Desk) -> TurnView:
    return turns(desk.entries)[-1]


class TestPlain:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("where are you", "Where are you?"),
            ("um where  are you", "Where, uh, are you?"),
            ("it's open", "Its open."),
            ("twenty-one", "twenty one"),
            ("CAFÉ", "cafe\u0301"),
        ],
    )
    def test_the_same(self, one: str, other: str) -> None:
        assert plain(one) == plain(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("at 5.30", "at 530"),
            ("it is 5", "it is -5"),
            ("10", "10%"),
            ("10", "$10"),
            ("c", "C++"),
            ("I do", "I don't"),
            ("आप", "अप"),
        ],
    )
    def test_not_the_same(self, one: str, other: str) -> None:
        assert plain(one) != plain(other)

    def test_fillers_are_those_of_the_language(self) -> None:
        assert plain("um acht Uhr", "de-DE") == "um acht uhr"
        assert plain("um, eight", "en-GB") == "eight"
        assert plain("Um.") == ""


class TestHit:
    def test_the_words_leave_at_once_and_as_one_frame(self, desk: Desk) -> None:
        partial(desk)
        assert desk.live == {1}
        desk.delta("On Main")
        desk.delta(" Street,")
        before = list(desk.sent)
        desk.say("Where are you?")
        assert desk.sent == [*before, frames.Text("On Main Street,", last=False)]
        assert desk.asks.keys() == {1}, "nothing was asked again"
        desk.delta(" number 5.")
        desk.finish()
        assert desk.spoken.endswith("On Main Street, number 5.")
        assert desk.closes == 1
        assert desk.call.turn.text == "Where are you?"

    def test_a_whole_answer_is_said_and_closed(self, desk: Desk) -> None:
        partial(desk)
        desk.answer("On Main Street.")
        assert desk.spoken == ""
        desk.say("where are you")
        assert (desk.spoken, desk.closes) == ("On Main Street.", 1)

    def test_the_model_is_told_what_it_would_be_told(self, desk: Desk) -> None:
        partial(desk)
        assert desk.messages()[-1] == ("user", "Where are you")
        desk.say("Where are you?")
        desk.answer("On Main Street.")
        desk.say("Thanks")
        assert ("user", "Where are you?") in desk.messages()

    def test_an_answer_that_has_not_begun_is_waited_for(self, desk: Desk) -> None:
        partial(desk)
        desk.say("Where are you?")
        desk.pass_time(0.2)
        desk.answer("On Main Street.")
        turn = last_turn(desk)
        assert turn.gap_ms == 200.0
        assert [(part.label, part.ms) for part in turn.parts[:3]] == [
            ("voxyray, before the model", 0.0),
            ("model, asked early, first token", 200.0),
            ("first token to first words", 0.0),
        ]
        assert turn.speculated_ms == 50.0

    def test_a_slow_answer_gets_its_filler(self, desk: Desk) -> None:
        partial(desk)
        desk.say("Where are you?")
        desk.pass_time(1.6)
        assert desk.spoken.strip() in Policy().fillers

    def test_an_answer_without_words_is_asked_for_again(self, desk: Desk) -> None:
        partial(desk)
        desk.finish()
        desk.say("Where are you?")
        assert desk.live == {2}

    @pytest.mark.parametrize("tool", ["look_up", "book", "hang_up"])
    def test_tools_wait_for_the_final_words(self, desk: Desk, tool: str) -> None:
        partial(desk)
        wish(desk, tool)
        desk.pass_time(1)
        assert (desk.tools, desk.spoken) == ({}, "")
        desk.say("Where are you?")
        if tool != "hang_up":
            assert [run.tool.name for run in desk.tools.values()] == [tool]


class TestMiss:
    def test_other_words_begin_a_turn_as_if_nothing_had_been(self, desk: Desk) -> None:
        partial(desk)
        desk.delta("On Main Street.")
        desk.call_tool("book", slot="a")
        desk.say("Where are you going?")
        assert desk.live == {2}
        assert (desk.spoken, desk.tools) == ("", {})
        assert desk.messages()[-1] == ("user", "Where are you going?")
        desk.delta("late", 1)
        assert desk.spoken == ""
        assert states(desk) == ["asked", "dropped"]
        assert desk.noted(journal.Speculated)[-1].why == "other words"

    def test_more_words_drop_it_and_are_asked_about_in_turn(self, desk: Desk) -> None:
        partial(desk)
        partial(desk, "Where are you today")
        assert desk.live == {2}
        assert desk.noted(journal.Speculated)[1].why == "changed"

    def test_new_punctuation_is_nothing_new(self, desk: Desk) -> None:
        partial(desk)
        partial(desk, "Where are you?")
        assert desk.live == {1}

    @pytest.mark.parametrize("what", ["keys", "interrupt", "hangup", "silence", "failure"])
    def test_what_ends_it(self, desk: Desk, what: str) -> None:
        partial(desk)
        desk.delta("On Main Street.")
        match what:
            case "keys":
                desk.press("7")
            case "interrupt":
                desk.interrupt()
            case "hangup":
                desk.do(events.Closed(1000))
            case "silence":
                desk.pass_time(12)
            case _:
                desk.live.discard(1)
                desk.do(events.ModelFailed(1, "status 503", retryable=True))
        assert desk.live == set()
        assert states(desk) == ["asked", "dropped"]
        assert "Main" not in desk.spoken

    def test_a_failure_is_not_told_and_does_not_count(self, desk: Desk) -> None:
        for _ in range(5):
            partial(desk)
            desk.live.clear()
            desk.do(events.ModelFailed(desk.request, "status 503"))
            desk.say("Where are you?")
            desk.answer("On Main Street.")
        assert "sorry" not in desk.spoken
        assert desk.ended == []

    def test_what_was_heard_meanwhile_changes_the_question(self, desk: Desk) -> None:
        desk.say("Hello")
        desk.answer("One two three four.")
        partial(desk)
        desk.call.turn.reply.purge("One two")  # an interrupt that overtook
        desk.say("Where are you?")
        assert desk.live == {3}
        assert desk.noted(journal.Speculated)[-1].why == "the conversation changed"


class TestRestraint:
    def test_it_is_opt_in(self) -> None:
        desk = Desk()
        partial(desk)
        assert desk.asks == {}

    def test_nothing_is_asked_before_a_partial_stands_still(self, desk: Desk) -> None:
        for text in ("Where", "Where are", "Where are you"):
            partial(desk, text, stable_s=0.15)
        assert desk.asks == {}

    def test_nothing_is_asked_on_a_mere_um(self, desk: Desk) -> None:
        partial(desk, "Um,")
        assert desk.asks == {}

    def test_not_while_the_agent_is_at_work(self, desk: Desk) -> None:
        desk.say("Hello")
        partial(desk)
        assert desk.live == {1}

    @pytest.mark.parametrize(
        "budget", [{"speculate_requests": 2}, {"speculate_tokens": 8}], ids=["requests", "tokens"]
    )
    def test_a_call_has_a_budget(self, budget: dict[str, int]) -> None:
        desk = Desk(make_agent(policy=msgspec.structs.replace(SPECULATING, **budget)))
        for number in range(5):
            partial(desk, f"Number {number}")
        asked = states(desk).count("asked")
        assert asked == budget.get("speculate_requests", asked)
        assert asked < 5

    def test_the_pause_is_learned_from_the_caller(self) -> None:
        speculation, policy = Speculation(), Policy(speculate=True)
        assert speculation.stable_after_s(policy) == pytest.approx(0.2625)
        now = 0.0
        for gap_s, after_s in ((0.1, 0.105), (0.3, 0.315), (0.5, 0.6)):
            for _ in range(20):
                for n in range(5):
                    now += gap_s
                    speculation.hear(f"word {n}", "en", now)
                now += 0.45
                assert speculation.end("Word 4.", "en", now) is None
            # Whoever pauses for longer than the final words take leaves nothing to gain.
            assert speculation.stable_after_s(policy) == pytest.approx(after_s)
        assert speculation.stable_after_s(SPECULATING) == 0.2


class TestMoving:
    def test_what_was_kept_back_moves_along(self, desk: Desk) -> None:
        partial(desk)
        desk.answer("On Main Street.")
        desk.call = moved(desk.call)
        desk.say("Where are you?")
        assert (desk.spoken, desk.closes) == ("On Main Street.", 1)

    def test_a_request_of_a_process_that_is_gone_is_named(self, desk: Desk) -> None:
        partial(desk)
        assert desk.call.guessing == 1
        call = moved(desk.call)
        assert call.guessing == 1
        call.receive(events.ModelFailed(1, "whoever asked is gone"), desk.now)
        assert call.guessing is None


class TestTold:
    def test_a_turn_that_was_begun_early(self, desk: Desk) -> None:
        partial(desk, stable_s=0.2)
        desk.pass_time(0.3)
        desk.delta("On Main Street.")
        desk.pass_time(0.2)
        desk.do(events.ModelEvent(1, Usage(30, 5)))
        desk.finish()
        desk.say("Where are you?")
        turn = last_turn(desk)
        assert turn.gap_ms == sum(part.ms or 0 for part in turn.parts) == 0.0
        assert turn.speculated_ms == 300.0
        assert turn.said == "On Main Street."
        assert turn.tokens == Usage(30, 5)
        marks = [(mark.name, mark.at_ms, mark.detail) for mark in turn.marks]
        assert marks[1:4] == [
            ("speculated", -500.0, "asked"),
            ("first_token", -200.0, ""),
            ("speculated", 0.0, "confirmed, 300 ms gained"),
        ]

    def test_a_dropped_one_is_no_part_of_any_turn(self, desk: Desk) -> None:
        desk.say("Hello")
        desk.answer("Good day.")
        before = last_turn(desk)
        partial(desk)
        desk.delta("On Main Street.")
        desk.call_tool("book", slot="a")
        desk.say("Never mind")
        after = turns(desk.entries)[-2]
        assert (after.said, after.tools, after.parts) == (before.said, (), before.parts)
        assert report(desk.entries).wasted_tokens > 0

    def test_a_failed_one_is_no_attempt_of_a_turn_that_was_cut(self, desk: Desk) -> None:
        desk.say("Hello")
        desk.pass_time(0.5)
        desk.interrupt()
        before = last_turn(desk)
        partial(desk)
        desk.live.clear()
        desk.do(events.ModelFailed(2, "status 503"))
        assert states(desk) == ["asked", "dropped"]
        assert last_turn(desk).parts == before.parts

    def test_the_screen_says_what_it_came_to(self, desk: Desk) -> None:
        partial(desk, stable_s=0.5)
        desk.answer("On Main Street.")
        desk.say("Where are you?")
        (line,) = [n for n in notes(receipt(desk.entries, Prices())) if "early" in n]
        assert line == (
            "1 of 1 answers begun early were wanted (100%): 300 ms gained, about 0 tokens wasted"
        )

    def test_the_receipt_sums_it_up(self, desk: Desk) -> None:
        partial(desk)
        desk.answer("On Main Street.")
        desk.say("Where are you?")
        partial(desk, "And the")
        desk.say("And the phone")
        desk.answer("555.")
        told = receipt(desk.entries, Prices()).speculation
        assert (told.asked, told.confirmed, told.dropped, told.hit_rate) == (2, 1, 1, 0.5)
        assert receipt([*desk.entries, *desk.entries], Prices()).speculation == told


def wish(desk: Desk, *names: str) -> None:
    """The model asks for tools, and has no more to say."""
    for name in names:
        field = {"book": "slot", "look_up": "word", "transfer": "reason"}.get(name)
        arguments = f'{{"{field}":"a"}}' if field else "{}"
        call = ToolCall(f"{name}-{len(desk.entries)}", name, arguments)
        desk.do(events.ModelEvent(desk.request, call))
    desk.finish("tool_calls")


def settle(desk: Desk) -> None:
    """Whatever is under way ends well."""
    while desk.live or desk.tools:
        for run in list(desk.tools):
            desk.return_tool("done", run)
        for _ in list(desk.live):
            desk.answer("Well.")


@settings(max_examples=1000, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_tool_ever_ran_for_a_discarded_guess(seed: int) -> None:
    """Ten schedules an example: partials, what the model asks for, and what the words became."""
    rng = random.Random(seed)
    desk = Desk(make_agent(policy=SPECULATING))
    for _ in range(10):
        partial(desk, "Book it", rng.choice([0.25, 0.5]))
        guess = max(desk.live, default=0)
        if guess:
            wish(desk, *rng.sample(["book", "hang_up", "look_up", "transfer"], 2))
        end = rng.choice(["Book it.", "Book it tomorrow", "stop", "interrupt", "key", "wait"])
        if end in ("interrupt", "key", "wait"):
            {"interrupt": desk.interrupt, "key": lambda: desk.press("7")}.get(
                end, lambda: desk.pass_time(9)
            )()
            assert desk.tools == {}, "a tool ran on a guess"
            end = rng.choice(["Book it tomorrow", "stop"])
        assert desk.tools == {}, "a tool ran on a guess"
        desk.say(end)
        if end != "Book it.":
            assert desk.tools == {}, "a tool ran for a dropped guess"
        settle(desk)
        if desk.call.under_way()[1] is not None:
            return  # what was confirmed ends the call


@pytest.mark.parametrize("seed", range(5))
def test_enough_guesses_are_right_and_answers_leave_with_the_final_words(seed: int) -> None:
    """Partials as recognisers send them: cumulative, revised, punctuated anew."""
    rng = random.Random(seed)
    desk = Desk(make_agent(policy=Policy(speculate=True, speculate_requests=200)))
    desk.pass_time(3)
    for number in range(20):
        spoken = f"could you tell me about number {number} please".split()
        for n in range(1, len(spoken) + 1):
            text = " ".join(spoken[:n])
            partial(desk, text[:-2] if rng.random() < 0.1 else text, rng.uniform(0.08, 0.3))
        partial(desk, " ".join(spoken), 0.01)
        partial(desk, " ".join(spoken) + ",", rng.uniform(0.35, 0.55))
        for _ in list(desk.live):
            desk.answer("Certainly.")
        before = desk.closes
        desk.say(" ".join(spoken).capitalize() + ".")
        if not desk.live:
            assert desk.closes == before + 1
            assert last_turn(desk).gap_ms == 0.0
        settle(desk)
        desk.pass_time(2)
    told = report(desk.entries)
    assert told.confirmed >= 18
    assert (told.hit_rate or 0) >= 0.6


# Through the twin

QUESTIONS = ("Where are you located?", "When do you open tomorrow?", "Can I bring my bike today?")


def phone_call(policy: Policy, **oddities: bool) -> tuple[Console, list[TurnView], Report]:
    """Ask all questions; the model's first token takes 300 ms, the final transcript 500 ms."""
    model = ScriptedModel([0.3, *words("It is on Main Street.", 0.02)])
    agent = make_agent(policy=policy, tools=())
    console = Console(agent, model)

    async def caller(phone: Phone) -> None:
        await phone.listen()
        for question in QUESTIONS:
            await phone.say(question)
            await phone.listen()

    attributes = twin.RelayAttributes(
        welcome_greeting=agent.greeting,
        events=frozenset(("speaker-events", "tokens-played")),
        partial_prompts=agent.relay_attributes.get("partialPrompts") == "true",
    )
    timing = twin.Timing(final_ms=500, caller_cps=30)
    oddly = twin.Oddities(**oddities)
    run_virtual(console.talk(caller, timing=timing, oddities=oddly, attributes=attributes))
    items = run_virtual(console.store.query(keys.call(console.call.id), "J#"))
    entries = [journal.from_item(item) for item in items]
    asked = [turn for turn in turns(entries) if turn.cause == "speech"]
    return console, asked, report(entries)


def test_callers_on_the_telephone_wait_less() -> None:
    _, plainly, nothing = phone_call(Policy())
    assert nothing == Report()
    assert [turn.gap_ms for turn in plainly] == pytest.approx([320.0] * 3, abs=5)
    _, early, told = phone_call(Policy(speculate=True), repunctuated_final=True)
    assert [turn.said for turn in early] == [turn.said for turn in plainly]
    assert (told.confirmed, told.hit_rate) == (3, 1.0)
    assert told.gained_ms >= 3 * 200
    for turn, before in zip(early, plainly, strict=True):
        assert turn.gap_ms is not None
        assert before.gap_ms is not None
        assert turn.gap_ms + (turn.speculated_ms or 0) == pytest.approx(before.gap_ms, abs=25)


def test_revised_partials_are_survived() -> None:
    _, early, told = phone_call(
        Policy(speculate=True, speculate_after_s=0.1), garbled_partials=True
    )
    assert [turn.said for turn in early] == ["It is on Main Street."] * 3
    assert told.asked == told.confirmed + told.dropped
    assert told.asked > told.confirmed, "a pause that is too short has misses"
