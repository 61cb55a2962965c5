"""The waterfall of calls whose every millisecond is known, and of calls nobody has seen."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.desk import Desk, make_agent
from tests.support.waterfalls import check_sums
from tests.test_call_invariants import CallMachine
from voxyray import events, frames, journal
from voxyray.models import Attempt, Finish, TextDelta, Usage
from voxyray.policy import Policy
from voxyray.transcript import CutBy
from voxyray.waterfall import (
    LABELS,
    CallView,
    Cut,
    MarkName,
    Part,
    PartKind,
    TurnView,
    call_view,
    turns,
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def last(desk: Desk) -> TurnView:
    return turns(desk.entries)[-1]


def shape(turn: TurnView) -> list[tuple[str, str, float | None]]:
    return [(part.kind, part.label, part.ms) for part in turn.parts]


def letters(text: str) -> str:
    return "".join(re.findall(r"\w+", text))


# Turns by hand


def test_a_plain_turn(desk: Desk) -> None:
    desk.say("Where are you?")
    desk.pass_time(0.4)
    desk.delta("On Main")
    desk.pass_time(0.2)
    desk.delta(" Street.")
    desk.do(events.ModelEvent(1, Usage(30, 5, 10)))
    desk.do(events.ModelEvent(1, Finish("stop", "openai:tiny")))
    desk.pass_time(0.15)
    desk.info("agentSpeaking", "on")
    view = last(desk)
    assert shape(view) == [
        ("voxyray", "voxyray, before the model", 0.0),
        ("model", "model, first token", 400.0),
        ("held", "first token to first words", 0.0),
        ("carrier", "carrier and text-to-speech", 350.0),
    ]
    assert (view.gap_ms, view.audible_ms) == (400.0, 750.0)
    assert (view.caller, view.said, view.heard) == ("Where are you?", *["On Main Street."] * 2)
    assert view.culprit == view.parts[1]
    assert view.tokens == Usage(30, 5, 10)
    assert view.model == "openai:tiny"
    assert view.complete
    assert view.cut is None
    assert [mark.name for mark in view.marks] == [
        "turn_started",
        "model_requested",
        "first_token",
        "first_sent",
        "last_sent",
        "agent_speaking",
    ]


def test_tools_are_parts_of_their_own(desk: Desk) -> None:
    desk.say("Book it")
    desk.pass_time(0.3)
    desk.call_tool("look_up", word="a")
    desk.call_tool("book", slot="b")
    desk.pass_time(0.1)
    desk.finish("tool_calls")
    desk.pass_time(0.05)
    desk.return_tool("found")
    desk.pass_time(0.2)
    desk.return_tool("booked")
    desk.pass_time(0.5)
    desk.answer("Done.")
    view = last(desk)
    assert shape(view)[:-1] == [
        ("voxyray", "voxyray, before the model", 0.0),
        ("model", "model, asks for tools", 400.0),
        ("tools", "tools look_up, book", 250.0),
        ("model", "model, round 2, first token", 500.0),
        ("held", "first token to first words", 0.0),
    ]
    assert view.gap_ms == 1150.0
    assert [(t.name, t.arguments, t.status, t.result, t.ms) for t in view.tools] == [
        ("look_up", '{"word":"a"}', "done", "found", 50.0),
        ("book", '{"slot":"b"}', "done", "booked", 250.0),
    ]
    check_sums(view)


def test_an_answer_at_once_that_asks_for_tools(desk: Desk) -> None:
    """A first token in the microsecond of the request leaves no part of its own."""
    desk.say("Book it")
    desk.call_tool("look_up", word="a")
    desk.pass_time(0.4)
    desk.finish("tool_calls")
    assert shape(last(desk))[:2] == [
        ("voxyray", "voxyray, before the model", 0.0),
        ("model", "model, asks for tools", 400.0),
    ]


def test_a_tool_refused_for_its_arguments_is_shown_with_them(desk: Desk) -> None:
    desk.say("Book it")
    desk.call_tool("book", wrong=1)
    desk.finish("tool_calls")
    (tool,) = last(desk).tools
    assert (tool.name, tool.arguments, tool.status) == ("book", '{"wrong":1}', "failed")
    assert tool.ms is None


def test_a_write_that_outlives_its_turn_keeps_its_length(desk: Desk) -> None:
    desk.say("Book it")
    desk.call_tool("book", slot="a")
    desk.finish("tool_calls")
    desk.pass_time(0.5)
    desk.say("Are you there?")
    desk.pass_time(1)
    desk.return_tool("booked")
    first, second = turns(desk.entries)[1:]
    assert [(tool.status, tool.ms) for tool in first.tools] == [("done", 1500.0)]
    assert first.cut is not None
    assert first.cut.by == "newer"
    assert first.gap_ms is None
    assert second.tools == ()


def test_failed_attempts_are_parts_of_their_own(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.7)
    desk.do(events.ModelFailed(1, "status 503", retryable=True))
    desk.pass_time(0.2)
    desk.answer("Hi.")
    view = last(desk)
    assert ("failure", "model, failed attempt", 700.0) in shape(view)
    assert next(part.detail for part in view.parts if part.kind == "failure") == "status 503"
    assert view.gap_ms == 900.0
    assert view.culprit is not None
    assert view.culprit.kind == "failure"


def test_other_models_that_were_asked_are_told(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(1.2)
    desk.delta("Hi")
    desk.pass_time(2.0)
    desk.delta(" there.")
    attempts = (
        Attempt("a", 0.0, "late"),
        Attempt("b", 900.0, "broke off"),
        Attempt("c", 3000.0, "answered"),
    )
    desk.do(events.ModelEvent(1, Finish("stop", "c", attempts)))
    view = last(desk)
    told = ["a was late; b broke off", "b broke off; c answered"]
    assert [part.detail for part in view.parts if part.kind == "model"] == ["; ".join(told)]
    others = [(mark.at_ms, mark.detail) for mark in view.marks if mark.name == "other_model"]
    assert others == [(900.0, told[0]), (3000.0, told[1])]
    times = [mark.at_ms for mark in view.marks]
    assert times == sorted(times)
    assert view.model == "c"


def test_a_filler_is_told_apart_and_ends_no_gap(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(1.6)
    desk.info("agentSpeaking", "on")
    desk.pass_time(0.4)
    desk.answer("Hi.")
    view = last(desk)
    assert [(filler.at_ms, filler.text) for filler in view.fillers] == [
        (1500.0, "One moment, please.")
    ]
    assert view.gap_ms == 2000.0
    assert view.said == "Hi."
    assert view.parts[-1].ms is None
    assert view.parts[-1].detail == "the agent was speaking already"


def test_words_held_back_by_the_speech_filter(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.1)
    desk.delta("<")
    desk.pass_time(0.2)
    desk.delta("think>hm</think>Hi.")
    assert ("held", "first token to first words", 200.0) in shape(last(desk))


def test_what_is_still_going_on_is_unknown(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.5)
    view = last(desk)
    assert view.gap_ms is None
    assert view.parts[-1].kind == "model"
    assert view.parts[-1].ms is None
    assert view.parts[-1].detail
    assert view.cut is None
    assert view.culprit is None


def test_without_events_the_start_of_speech_is_unknown(desk: Desk) -> None:
    desk.say("Hello?")
    desk.answer("Hi.")
    carrier = last(desk).parts[-1]
    assert carrier.kind == "carrier"
    assert carrier.ms is None
    assert "events are off" in carrier.detail
    assert last(desk).audible_ms is None


def test_an_interrupt_tells_heard_from_said(desk: Desk) -> None:
    desk.say("Tell me more")
    desk.answer("First we open the door. Then we close it.")
    desk.info("agentSpeaking", "on")
    desk.pass_time(1)
    desk.interrupt("First we open")
    desk.pass_time(0.04)
    desk.info("agentSpeaking", "off")
    view = last(desk)
    assert view.heard == "First we open"
    assert view.said == "First we open the door. Then we close it."
    assert view.cut is not None
    assert (view.cut.by, view.cut.at_ms) == ("interrupt", 1000.0)
    assert view.cut.late_ms is None
    assert view.cut.silent_ms == view.silence_ms == 40.0


def test_an_interrupt_after_the_last_word_cut_nothing(desk: Desk) -> None:
    desk.say("Hello?")
    desk.answer("Hi there.")
    desk.info("tokensPlayed", "Hi there.")
    desk.interrupt("Hi there.")
    assert last(desk).cut is None


def test_tokens_after_a_cut_would_be_shown() -> None:
    what: list[journal.What] = [
        journal.TurnStarted("speech", "Hi"),
        journal.FirstSent("model"),
        journal.Heard(1, "One", "interrupt"),
        journal.ModelOutput(1, ((1.0, "One"), (9.0, " two"))),
    ]
    times = [0.0, 1.0, 5.0, 9.0]
    entries = [journal.Entry(1, i, t, w) for i, (t, w) in enumerate(zip(times, what, strict=True))]
    (view,) = turns(entries)
    assert view.cut is not None
    assert view.cut.late_ms == 4.0


def test_a_turn_stopped_before_it_spoke(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.3)
    desk.interrupt()
    view = last(desk)
    assert view.cut is not None
    assert (view.cut.by, view.cut.at_ms) == ("interrupt", 300.0)
    assert (view.said, view.heard, view.gap_ms) == ("", "", None)
    assert shape(view) == [
        ("voxyray", "voxyray, before the model", 0.0),
        ("model", "model, no words", 300.0),
    ]


def test_hanging_up_amid_a_reply_shows_what_was_confirmed(desk: Desk) -> None:
    desk.say("Tell me more")
    desk.answer("First we open. Then we close.")
    desk.info("tokensPlayed", "First we open.")
    desk.do(events.Closed(1000))
    view = last(desk)
    assert view.heard == "First we open."
    assert view.cut is not None
    assert view.cut.by == "hangup"


def test_the_greeting(desk: Desk) -> None:
    desk.pass_time(0.25)
    desk.info("agentSpeaking", "on")
    (view,) = turns(desk.entries)
    assert (view.number, view.cause) == (0, "greeting")
    assert view.said == "Hello there, how can I help?"
    assert view.complete
    assert view.gap_ms is None
    assert shape(view) == [("carrier", "carrier and text-to-speech", 250.0)]


def test_a_greeting_by_the_model() -> None:
    desk = Desk(make_agent(greeting=""))
    desk.pass_time(0.3)
    desk.answer("Good morning.")
    view = last(desk)
    assert (view.number, view.said, view.gap_ms) == (0, "Good morning.", 300.0)


def test_fixed_words_need_no_model(desk: Desk) -> None:
    desk.press("1")
    view = last(desk)
    assert (view.cause, view.said, view.gap_ms) == ("keys", "We open at nine.", 0.0)


def test_the_call_as_a_whole(desk: Desk) -> None:
    desk.pass_time(2)
    desk.do(events.Closed(1000))
    view = call_view(desk.entries)
    assert (view.agent, view.why, view.duration_ms) == ("agent", "caller", 2000.0)
    assert len(view.turns) == 1


def test_sessions_of_one_call_are_told_apart() -> None:
    """Runs and requests are numbered anew in the session of the next agent."""

    def entry(turn: int, seq: int, what: journal.What) -> journal.Entry:
        return journal.Entry(turn, seq, turn * 1000.0 + seq, what)

    def session(agent: str, turn: int, tool: str, result: str, why: str) -> list[journal.Entry]:
        ended = journal.ToolFinished(1, tool, "done", result)
        return [
            entry(turn, 0, journal.CallStarted(100.0 + turn, agent, f"{agent} here.")),
            entry(turn, 1, journal.TurnStarted("greeting", "")),
            entry(turn + 1, 0, journal.TurnStarted("speech", "go on")),
            entry(turn + 1, 1, journal.ToolStarted(1, tool, "end", "{}", "")),
            entry(turn + 1, 2, ended),
            entry(turn + 1, 3, journal.CallEnded(1000, why)),
        ]

    entries = session("desk", 0, "transfer_to_agent", "moved", "agent")
    assert call_view(entries).why == "agent"
    entries += session("shop", 2, "hang_up", "done", "caller")
    view = call_view(reversed(entries))
    assert (view.agent, view.agents, view.why) == ("desk", ("desk", "shop"), "caller")
    assert view.started_at == 100.0
    assert [turn.agent for turn in view.turns] == ["desk", "desk", "shop", "shop"]
    assert [turn.said for turn in view.turns] == ["desk here.", "", "shop here.", ""]
    tools = [tool for turn in view.turns for tool in turn.tools]
    assert [(tool.name, tool.result) for tool in tools] == [
        ("transfer_to_agent", "moved"),
        ("hang_up", "done"),
    ]
    assert call_view(entries[:-1]).why == ""  # the second session goes on


def test_an_empty_journal() -> None:
    assert call_view([]) == CallView(())


# Any call


class WaterfallMachine(CallMachine):
    """The random calls of the invariants, each looked at when it is over, and in pieces."""

    def teardown(self) -> None:
        super().teardown()
        entries = self.desk.entries
        check_any(entries[: len(entries) // 2])
        self.desk.do(events.Closed(1000))
        views = check_any(entries)
        check_whole(self.desk, views)


def check_any(entries: list[journal.Entry]) -> list[TurnView]:
    views = turns(entries)
    for view in views:
        check_sums(view)
        assert letters(view.said).startswith(letters(view.heard))
        if view.cut is not None:
            assert view.cut.late_ms is None, "invariant 1"
        elif view.complete:
            assert view.heard == view.said
    return views


def check_whole(desk: Desk, views: list[TurnView]) -> None:
    first_sent = {
        entry.turn
        for entry in desk.entries
        if isinstance(entry.what, journal.FirstSent) and entry.what.kind != "filler"
    }
    assert {view.number for view in views if view.gap_ms is not None} == first_sent
    runs = [tool.run for view in views for tool in view.tools if tool.run is not None]
    finished = {what.run for what in desk.noted(journal.ToolFinished)}
    started = {what.run for what in desk.noted(journal.ToolStarted)}
    assert sorted(runs) == sorted(finished | started)
    said = sum(len(letters(view.said)) for view in views[1:])
    fillers = sum(len(letters(filler.text)) for view in views for filler in view.fillers)
    assert said + fillers == len(letters(desk.spoken))


TestAnyCall = WaterfallMachine.TestCase
TestAnyCall.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_journals_never_raise_and_never_lie(seed: int, data: st.DataObject) -> None:
    """Entries missing, repeated, out of order, or with clocks that jump."""
    entries = list(_BUSY.entries)
    rng = random.Random(seed)
    keep = data.draw(st.floats(0.2, 1.0))
    damaged: list[journal.Entry] = []
    for entry in entries:
        if rng.random() < keep:
            at_ms = round(entry.at_ms + rng.choice([0, 0, 0, -900.5, 700.25]), 3)
            damaged.append(journal.Entry(entry.turn, entry.seq, at_ms, entry.what))
        if rng.random() < 0.1:
            damaged.append(entry)
    rng.shuffle(damaged)
    for view in turns(damaged):
        check_sums(view)
        assert all(isinstance(part, Part) for part in view.parts)


def _busy_call() -> Desk:
    """A call in which nearly everything happens."""
    desk = Desk(make_agent(policy=Policy(filler_after_s=0.5)))
    steps: list[Any] = [
        lambda: desk.say("Book it"),
        lambda: desk.call_tool("book", slot="a"),
        lambda: desk.finish("tool_calls"),
        lambda: desk.pass_time(0.6),
        lambda: desk.info("agentSpeaking", "on"),
        lambda: desk.return_tool("booked"),
        lambda: desk.do(events.ModelFailed(2, "broken", retryable=True)),
        lambda: desk.delta("All is booked. Anything else?"),
        lambda: desk.do(frames.Interrupt("All is", 300)),
        lambda: desk.info("agentSpeaking", "off"),
        lambda: desk.say("No, thank you"),
        lambda: desk.do(events.ModelEvent(desk.request, TextDelta("Goodbye then."))),
        lambda: desk.finish(),
        lambda: desk.info("agentSpeaking", "on"),
        lambda: desk.info("tokensPlayed", "Goodbye"),
        lambda: desk.do(events.Closed(1000)),
    ]
    for step in steps:
        desk.pass_time(0.123)
        step()
    return desk


_BUSY = _busy_call()


# The glossary

GLOSSARY = Path(__file__).parent.parent / "docs" / "waterfall.md"


def terms(heading: str) -> list[str]:
    """The terms of one of the glossary's tables."""
    section = GLOSSARY.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def times(*kinds: type[Any]) -> set[str]:
    """The times that a view tells, properties included."""
    names = {name for kind in kinds for name in dir(kind) if name.endswith("_ms")}
    return {name.removesuffix("_ms") for name in names}


@pytest.mark.parametrize(
    ("heading", "named"),
    [
        ("Times", times(TurnView, Cut) - {"at"}),
        ("Kinds of parts", set(get_args(PartKind))),
        ("Parts", set(LABELS)),
        ("Marks", set(get_args(MarkName))),
        ("How a reply is cut", set(get_args(CutBy))),
    ],
)
def test_the_glossary_defines_every_term_of_the_code_once(heading: str, named: set[str]) -> None:
    found = terms(heading)
    assert len(found) == len(set(found))
    assert set(found) == named


def test_a_waterfall_uses_no_other_labels() -> None:
    known = set(LABELS)
    for entries in (_BUSY.entries, *(_BUSY.entries[:n] for n in range(len(_BUSY.entries)))):
        for view in turns(entries):
            for part in view.parts:
                label = re.sub(r"^model, round \d+, ", "model, ", part.label)
                label = re.sub(r"^tools (.*)", "tools NAME, NAME", label)
                label = re.sub(r"^tool (.*)", "tool NAME", label)
                assert label in known
