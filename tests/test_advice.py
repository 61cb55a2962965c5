"""Why a turn was slow, in sentences that say no more than is known."""

from __future__ import annotations

import pytest

from tests.support.desk import Desk
from voxyray import events
from voxyray.advice import advise
from voxyray.models import Finish, TextDelta, Usage
from voxyray.waterfall import Part, PartKind, TurnView, turns


@pytest.fixture
def desk() -> Desk:
    return Desk()


def last(desk: Desk) -> TurnView:
    return turns(desk.entries)[-1]


def test_the_model(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.912)
    desk.delta("Hi.")
    desk.do(events.ModelEvent(1, Usage(5000, 5, 0)))
    desk.do(events.ModelEvent(1, Finish("stop", "openai:a")))
    desk.pass_time(0.128)
    desk.info("agentSpeaking", "on")
    advice = advise(last(desk))
    assert advice.why == (
        "Turn 1 took 1,040 ms until it was heard: the model's first token took 912 ms of them."
    )
    assert "smaller or nearer model" in advice.fix
    assert "None of its 5,000 input tokens were cached" in advice.fix
    assert (advice.ms, advice.culprit, advice.unknown) == (1040.0, "model", "")


def test_rounds_of_the_model_are_one_culprit(desk: Desk) -> None:
    desk.say("Book it")
    desk.call_tool("look_up", word="a")
    desk.pass_time(0.4)
    desk.finish("tool_calls")
    desk.pass_time(0.6)
    desk.return_tool("found")
    desk.pass_time(0.4)
    desk.answer("Done.")
    advice = advise(last(desk))
    assert advice.culprit == "model", "0.8 s in two rounds are more than the tool's 0.6"
    assert "2 rounds of the model took 800 ms of them" in advice.why
    assert "let one tool answer more" in advice.fix


def test_a_tool(desk: Desk) -> None:
    desk.say("Book it")
    desk.call_tool("book", slot="a")
    desk.finish("tool_calls")
    desk.pass_time(0.9)
    desk.return_tool("booked")
    desk.answer("Done.")
    advice = advise(last(desk))
    assert advice.why == "Turn 1 took 900 ms: tool book took 900 ms of them."
    assert advice.fix.startswith("Make book faster, or give it a filler")
    assert "how long carrier and text-to-speech took" in advice.unknown


def test_a_failed_attempt(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.7)
    desk.do(events.ModelFailed(1, "status 503", retryable=True))
    desk.answer("Hi.")
    advice = advise(last(desk))
    assert "a failed attempt of the model (status 503) took 700 ms" in advice.why
    assert "fall back" in advice.fix


def test_words_held_back(desk: Desk) -> None:
    desk.say("Hello?")
    desk.delta("<")
    desk.pass_time(0.5)
    desk.delta("think>hm</think>Hi.")
    advice = advise(last(desk))
    assert advice.culprit == "held"
    assert "reasoning" in advice.fix


def test_the_carrier(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.1)
    desk.answer("Hi.")
    desk.pass_time(0.9)
    desk.info("agentSpeaking", "on")
    advice = advise(last(desk))
    assert advice.culprit == "carrier"
    assert "voice" in advice.fix


def test_what_is_unknown_is_not_to_blame(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.3)
    advice = advise(last(desk))
    assert (advice.ms, advice.culprit, advice.fix) == (None, None, "")
    assert advice.why == "Turn 1 has no first words in the journal."
    assert "its end is not in the journal" in advice.unknown


def test_a_turn_that_was_stopped(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.3)
    desk.interrupt()
    assert advise(last(desk)).why == (
        "Turn 1 was stopped before its first words: the model's first token took 300 ms."
    )


def test_the_offline_model_is_no_slow_model(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.3)
    desk.do(events.ModelEvent(1, TextDelta("Hi.")))
    desk.do(events.ModelEvent(1, Finish("stop", "offline")))
    assert "on purpose" in advise(last(desk)).fix


@pytest.mark.parametrize("kind", PartKind.__args__)  # type: ignore[attr-defined]
def test_there_is_advice_for_every_kind(kind: PartKind) -> None:
    part = Part(kind, "something", 0.0, 900.0)
    advice = advise(TurnView(1, "speech", "Hi", 0.0, parts=(part,), gap_ms=900.0))
    assert advice.culprit == kind
    assert "900 ms" in advice.why
    assert advice.fix.endswith(".")
