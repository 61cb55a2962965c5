"""Percentiles over turns, and what is said where there are too few of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.desk import Desk
from voxyray import events
from voxyray.latency import LEAST, Percentiles, by, latency, percentiles, too_few
from voxyray.models import Finish, TextDelta
from voxyray.waterfall import CallView, call_view


def a_call(*waits_s: float, model: str = "openai:a") -> CallView:
    """One turn for each wait for the model."""
    desk = Desk()
    for wait_s in waits_s:
        request = desk.say("Hello?")
        desk.pass_time(wait_s)
        desk.do(events.ModelEvent(request, TextDelta("Hi.")))
        desk.do(events.ModelEvent(request, Finish("stop", model)))
        desk.pass_time(0.1)
    return call_view(desk.entries)


def test_a_percentile_is_a_time_that_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    random.Random(1).shuffle(values)
    assert percentiles(values) == Percentiles(100, 50.0, 90.0, 95.0, 99.0, 100.0)


@pytest.mark.parametrize(
    ("n", "known"), [(0, 0), (1, 0), (2, 1), (9, 1), (10, 2), (20, 3), (99, 3), (100, 4)]
)
def test_too_few_turns_tell_no_percentile(n: int, known: int) -> None:
    found = percentiles([1.0] * n)
    told = [found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms]
    assert told == [1.0] * known + [None] * (4 - known)
    assert found.longest_ms == (1.0 if n else None)
    assert too_few(n, 99) == ("" if n >= 100 else f"n={n} is too small for p99")


@given(st.lists(st.floats(0, 1e6), min_size=2))
def test_percentiles_are_in_order_and_among_the_values(values: list[float]) -> None:
    found = percentiles(values)
    times = [found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms, found.longest_ms]
    known = [each for each in times if each is not None]
    assert known == sorted(known)
    assert set(known) <= set(values)
    assert len(known) == 1 + sum(len(values) >= n for n in LEAST.values())


def test_a_call_as_a_whole() -> None:
    found = latency({"CA1": a_call(0.2, 0.6, 0.4)})
    assert (found.calls, found.turns, found.answered, found.interrupted) == (1, 3, 3, 0)
    assert (found.gap.p50_ms, found.gap.longest_ms) == (400.0, 600.0)
    assert found.first_token == found.gap
    assert found.audible.n == found.silence.n == found.tool.n == 0


def test_a_greeting_answers_nobody() -> None:
    desk = Desk()
    desk.pass_time(0.3)
    desk.info("agentSpeaking", "on")
    found = latency({"CA1": call_view(desk.entries)})
    assert (found.turns, found.gap.n, found.audible.n) == (0, 0, 0)


def test_a_barge_in_is_timed_to_the_silence() -> None:
    desk = Desk()
    desk.say("Tell me more")
    desk.answer("First we open the door. Then we close it.")
    desk.info("agentSpeaking", "on")
    desk.pass_time(1)
    desk.interrupt("First we open")
    desk.pass_time(0.04)
    desk.info("agentSpeaking", "off")
    view = call_view(desk.entries)
    assert view.turns[-1].silence_ms == 40.0
    found = latency({"CA1": view})
    assert (found.interrupted, found.silence.n, found.silence.longest_ms) == (1, 1, 40.0)


def test_tools_are_timed_run_by_run() -> None:
    desk = Desk()
    desk.say("Book it")
    desk.call_tool("look_up", word="a")
    desk.call_tool("book", slot="b")
    desk.finish("tool_calls")
    desk.pass_time(0.05)
    desk.return_tool("found")
    desk.pass_time(0.2)
    desk.return_tool("booked")
    found = latency({"CA1": call_view(desk.entries)})
    assert (found.tool.n, found.tool.p50_ms, found.tool.longest_ms) == (2, 50.0, 250.0)


def test_groups() -> None:
    calls = {"CA1": a_call(0.2, 0.3), "CA2": a_call(0.9, model="openai:b")}
    assert {id_: row.gap.longest_ms for id_, row in by("call", calls).items()} == {
        "CA1": 300.0,
        "CA2": 900.0,
    }
    assert {name: row.turns for name, row in by("model", calls).items()} == {
        "openai:a": 2,
        "openai:b": 1,
    }
    assert {name: row.calls for name, row in by("agent", calls).items()} == {"agent": 2}
    assert list(by("day", calls)) == ["1970-01-01"]
    assert by("agent", {}) == {}


def test_a_cut_reply_counts_for_the_calls_only_model() -> None:
    desk = Desk()
    desk.say("Hello?")
    desk.do(events.ModelEvent(1, TextDelta("Hi.")))
    desk.do(events.ModelEvent(1, Finish("stop", "openai:a")))
    desk.say("And?")
    desk.delta("Well")
    desk.interrupt("Well")
    assert list(by("model", {"CA1": call_view(desk.entries)})) == ["openai:a"]
