"""The meter: metrics that tell what the waterfall tells, from the same entries."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.support.desk import Desk, make_agent
from tests.test_call_invariants import CallMachine
from voxyray import events, journal
from voxyray.journal import Entry
from voxyray.meter import Meter
from voxyray.metrics import (
    AUDIBLE,
    CALLS,
    CALLS_ENDED,
    COST,
    FALLBACKS,
    FIRST_TOKEN,
    GAP,
    INTERRUPTIONS,
    MODEL_ERRORS,
    MODEL_REQUESTS,
    PART,
    SILENCE,
    TOKENS,
    TOOL,
    TOOL_CALLS,
    TURNS,
    UNPRICED,
    Metrics,
)
from voxyray.models import Finish, TextDelta, Usage
from voxyray.receipts import ModelPrice, Prices
from voxyray.waterfall import ASKED, turns

PRICES = Prices({"openai:a": ModelPrice(input=1, output=10, cached=0.1)})


def measure(entries: list[Entry], call: str = "CA1") -> Metrics:
    metrics = Metrics(keep=True)
    meter = Meter(metrics, PRICES, lambda _: {"openai:b"})
    for entry in entries:
        meter.take(call, entry)
    return metrics


def observed(metrics: Metrics, name: str) -> list[float]:
    """All observations so far, in ms."""
    kept = metrics._kept or {}
    return [
        round(s * 1000, 3) for (_, found), values in kept.items() if found == name for s in values
    ]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_plain_turn(desk: Desk) -> None:
    desk.say("Where are you?")
    desk.pass_time(0.4)
    desk.delta("On Main Street.")
    desk.do(events.ModelEvent(1, Usage(30, 5, 10)))
    desk.do(events.ModelEvent(1, Finish("stop", "openai:a")))
    desk.pass_time(0.15)
    desk.info("agentSpeaking", "on")
    desk.do(events.Closed(1000))
    metrics = measure(desk.entries)
    assert metrics.value(CALLS, "agent") == 1
    assert metrics.value(CALLS_ENDED, "caller") == 1
    assert metrics.value(TURNS, "speech") == metrics.value(TURNS, "greeting") == 1
    assert metrics.value(MODEL_REQUESTS) == 1
    assert observed(metrics, GAP.name) == [400.0]
    assert observed(metrics, AUDIBLE.name) == [550.0]
    assert observed(metrics, FIRST_TOKEN.name) == [400.0]
    assert metrics.value(PART, "model") == metrics.value(PART, "carrier") == 1
    assert sorted(observed(metrics, PART.name)) == [0.0, 0.0, 150.0, 400.0]
    assert [metrics.value(TOKENS, "openai:a", k) for k in ("input", "cached", "output")] == [
        30,
        10,
        5,
    ]
    assert metrics.value(COST, "openai:a") == pytest.approx((20 * 1 + 10 * 0.1 + 5 * 10) / 1e6)
    assert metrics.value(FALLBACKS, "openai:a") == 0


def test_tools_and_failures(desk: Desk) -> None:
    desk.say("Book it")
    desk.call_tool("book", slot="b")
    desk.call_tool("look_up", wrong=1)
    desk.finish("tool_calls")
    desk.pass_time(0.2)
    desk.return_tool("booked")
    desk.do(events.ModelFailed(2, "status 503", retryable=True))
    desk.answer("Done.")
    metrics = measure(desk.entries)
    assert metrics.value(TOOL_CALLS, "book", "done") == 1
    assert metrics.value(TOOL_CALLS, "not_run", "failed") == 1
    assert observed(metrics, TOOL.name) == [200.0]
    assert metrics.value(MODEL_ERRORS, "yes") == 1


def test_a_tool_that_the_model_invents_is_no_label(desk: Desk) -> None:
    desk.say("Book it")
    desk.call_tool("ada_lovelace_4711", slot="b")
    desk.finish("tool_calls")
    assert "4711" not in measure(desk.entries).exposition()


def test_a_barge_in(desk: Desk) -> None:
    desk.say("Tell me more")
    desk.answer("First we open the door. Then we close it.")
    desk.info("agentSpeaking", "on")
    desk.pass_time(1)
    desk.interrupt("First we open")
    desk.pass_time(0.04)
    desk.info("agentSpeaking", "off")
    metrics = measure(desk.entries)
    assert metrics.value(INTERRUPTIONS) == 1
    assert observed(metrics, SILENCE.name) == [40.0]


def test_words_cut_before_they_were_audible_tell_no_carriers_time(desk: Desk) -> None:
    desk.say("Hello?")
    desk.delta("Well, that is a long")
    desk.interrupt("")
    desk.pass_time(0.2)
    desk.info("agentSpeaking", "on")
    metrics = measure(desk.entries)
    assert observed(metrics, GAP.name) == [0.0]
    assert observed(metrics, AUDIBLE.name) == []


def test_another_model_than_the_first(desk: Desk) -> None:
    desk.say("Hello?")
    desk.do(events.ModelEvent(1, TextDelta("Hi.")))
    desk.do(events.ModelEvent(1, Usage(3, 4)))
    desk.do(events.ModelEvent(1, Finish("stop", "openai:b")))
    metrics = measure(desk.entries)
    assert metrics.value(FALLBACKS, "openai:b") == 1
    assert metrics.value(UNPRICED, "openai:b") == 7
    assert metrics.value(COST, "openai:b") == 0


def test_nobody_waits_for_texts_at_a_receiver(desk: Desk) -> None:
    desk.say("Hello?")
    desk.answer("Hi.")
    metrics = measure(desk.entries, "sms:SM1")
    assert observed(metrics, GAP.name) == []
    assert metrics.value(TURNS, "speech") == 1


def test_another_session_is_not_another_call(desk: Desk) -> None:
    again = Entry(4, 0, 9.0, journal.CallStarted(1.0, "shop", ""))
    assert measure([*desk.entries, again]).value(CALLS, "shop") == 0


def test_calls_that_are_over_are_forgotten(desk: Desk) -> None:
    meter = Meter(Metrics(), PRICES, lambda _: set())
    desk.say("Book it")
    desk.call_tool("book", slot="b")
    desk.finish("tool_calls")
    desk.do(events.Closed(1000))
    desk.return_tool("booked")
    for entry in desk.entries:
        meter.take("CA1", entry)
    assert meter._talks == {}


def test_any_piece_of_a_journal_is_taken(desk: Desk) -> None:
    """On Lambda another process may have seen the rest."""
    desk.say("Book it")
    desk.call_tool("book", slot="b")
    desk.finish("tool_calls")
    desk.pass_time(0.2)
    desk.return_tool("booked")
    desk.answer("Done.")
    desk.info("agentSpeaking", "on")
    for first in range(len(desk.entries)):
        gaps = observed(measure(desk.entries[first:]), GAP.name)
        assert gaps in ([200.0], []), "never a wrong time"


class MeterMachine(CallMachine):
    """The random calls of the invariants: meter and waterfall never tell different times."""

    def teardown(self) -> None:
        super().teardown()
        self.desk.do(events.Closed(1000))
        metrics = measure(self.desk.entries)
        asked = [view for view in turns(self.desk.entries) if view.cause in ASKED]
        gaps = [view.gap_ms for view in asked if view.gap_ms is not None]
        assert sorted(observed(metrics, GAP.name)) == sorted(gaps)
        audible = [view.audible_ms for view in asked if view.audible_ms is not None]
        assert sorted(observed(metrics, AUDIBLE.name)) == sorted(audible)
        parts = [p.ms for v in asked if v.gap_ms is not None for p in v.parts if p.ms is not None]
        assert sum(observed(metrics, PART.name)) == pytest.approx(sum(parts), abs=0.01)


TestMeter = MeterMachine.TestCase
TestMeter.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_an_agent_without_a_greeting() -> None:
    desk = Desk(make_agent(greeting=""))
    desk.pass_time(0.3)
    desk.answer("Good morning.")
    assert observed(measure(desk.entries), GAP.name) == [], "nobody has asked yet"
