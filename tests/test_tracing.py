"""Traces: the tree of spans of a call, and that they tell what its waterfall tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.desk import Desk
from tests.test_call_invariants import CallMachine
from voxyray import events, frames, journal
from voxyray.call import Call
from voxyray.journal import Entry
from voxyray.models import Attempt, Finish, TextDelta, Usage
from voxyray.tracing import ATTRIBUTES, EVENTS, Span, Tracer, error_type, span_id, trace_id
from voxyray.waterfall import turns

PAGE = Path(__file__).parent.parent / "docs" / "tracing.md"


def trace(entries: list[Entry], call: str = "CA1", model: str = "openai:a") -> list[Span]:
    spans: list[Span] = []
    tracer = Tracer(spans.append, lambda _: model)
    for entry in entries:
        tracer.take(call, entry)
    for span in spans:
        assert set(span.attributes) <= set(ATTRIBUTES)
        assert {event.name for event in span.events} <= set(EVENTS)
        assert span.start_ns <= span.end_ns
    assert len({span.span_id for span in spans}) == len(spans)
    return spans


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def tree(spans: list[Span]) -> list[tuple[str, str]]:
    """Every span's name with its parent's, by start."""
    names = {span.span_id: span.name for span in spans}
    ordered = sorted(spans, key=lambda span: (span.start_ns, span.name))
    return [(span.name, names[span.parent_id] if span.parent_id else "") for span in ordered]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def end(desk: Desk, code: int = 1000) -> None:
    desk.do(events.Closed(code))


def test_a_call_with_a_tool(desk: Desk) -> None:
    desk.pass_time(1)
    desk.say("Book it")
    desk.pass_time(0.3)
    desk.call_tool("book", slot="b")
    desk.finish("tool_calls")
    desk.pass_time(0.2)
    desk.return_tool("booked")
    desk.pass_time(0.1)
    desk.answer("Done.")
    desk.pass_time(1)
    end(desk)
    spans = trace(desk.entries)
    assert sorted(tree(spans)) == [
        ("call agent", ""),
        ("chat a", "invoke_agent agent"),
        ("chat a", "invoke_agent agent"),
        ("execute_tool book", "invoke_agent agent"),
        ("invoke_agent agent", "call agent"),
        ("invoke_agent agent", "call agent"),
    ]
    assert {span.trace_id for span in spans} == {trace_id("CA1")}
    (tool,) = named(spans, "execute_tool book")
    assert tool.attributes == {
        "gen_ai.conversation.id": "CA1",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "book",
        "gen_ai.tool.type": "function",
        "voxyray.turn": 1,
        "voxyray.tool.effect": "write",
        "voxyray.tool.status": "done",
    }
    assert tool.end_ns - tool.start_ns == 200_000_000
    assert [span.attributes["voxyray.round"] for span in named(spans, "chat a")] == [1, 2]
    (call,) = named(spans, "call agent")
    assert call.kind == "server"
    assert call.attributes["voxyray.turns"] == 2
    assert call.attributes["voxyray.ended_by"] == "caller"


def test_a_request_by_the_conventions(desk: Desk) -> None:
    desk.say("Where are you?")
    desk.pass_time(0.4)
    desk.delta("On Main Street.")
    desk.do(events.ModelEvent(1, Usage(30, 5, 10)))
    desk.pass_time(0.1)
    desk.do(events.ModelEvent(1, Finish("stop", "openai:a")))
    (span,) = named(trace(desk.entries), "chat a")
    assert span.kind == "client"
    assert span.attributes == {
        "gen_ai.conversation.id": "CA1",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "a",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "a",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.4,
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "voxyray.turn": 1,
        "voxyray.round": 1,
        "voxyray.outcome": "answered",
    }
    assert [(each.name, each.at_ns - span.start_ns) for each in span.events] == [
        ("first_token", 400_000_000)
    ]
    assert span.end_ns - span.start_ns == 500_000_000


def test_a_turn_tells_its_gap_and_the_culprit(desk: Desk) -> None:
    desk.say("Where are you?")
    desk.pass_time(0.4)
    desk.answer("On Main Street.")
    desk.pass_time(0.15)
    desk.info("agentSpeaking", "on")
    desk.pass_time(2)
    desk.info("agentSpeaking", "off")
    end(desk)
    turn = named(trace(desk.entries), "invoke_agent agent")[1]
    assert turn.attributes["voxyray.cause"] == "speech"
    assert turn.attributes["voxyray.gap_ms"] == 400
    assert turn.attributes["voxyray.audible_ms"] == 550
    assert turn.attributes["voxyray.culprit"] == "model"
    assert turn.attributes["voxyray.culprit_ms"] == 400
    assert turn.end_ns - turn.start_ns == 2_550_000_000
    assert [each.name for each in turn.events] == [
        "first_token",
        "first_sent",
        "last_sent",
        "agent_speaking",
        "agent_silent",
    ]


def test_times_are_of_the_day() -> None:
    desk = Desk(set_up=False)
    desk.call = Call("CA1", desk.agent, instructions="", greeting="Hi.", started_at=1_700_000_000.5)
    desk.do(frames.Setup(session_id="VX1", call_sid="CA1", from_="", to=""))
    desk.pass_time(2)
    desk.say("Hello")
    desk.answer("Hi.")
    end(desk)
    spans = trace(desk.entries)
    (call,) = named(spans, "call agent")
    assert call.start_ns == 1_700_000_000_500_000_000
    (asked,) = named(spans, "chat a")
    assert asked.start_ns == 1_700_000_002_500_000_000


def test_a_barge_in(desk: Desk) -> None:
    desk.say("Tell me more")
    desk.pass_time(0.1)
    desk.delta("First we open the door. Then")
    desk.pass_time(1)
    desk.interrupt("First we open")
    desk.say("Stop it")
    end(desk)
    spans = trace(desk.entries)
    turn = named(spans, "invoke_agent agent")[1]
    assert "interrupt" in [each.name for each in turn.events]
    assert turn.attributes["voxyray.cut_by"] == "interrupt"
    cancelled = named(spans, "chat a")[0]
    assert cancelled.attributes["voxyray.outcome"] == "cancelled"
    assert not cancelled.failed, "nothing went wrong"
    assert cancelled.end_ns - cancelled.start_ns == 1_100_000_000
    (call,) = named(spans, "call agent")
    assert call.attributes["voxyray.interruptions"] == 1


def test_a_filler_is_no_answer(desk: Desk) -> None:
    desk.say("Look it up")
    desk.call_tool("look_slowly", word="x")
    desk.finish("tool_calls")
    desk.pass_time(5)
    desk.return_tool("x")
    desk.answer("It is x.")
    end(desk)
    turn = named(trace(desk.entries), "invoke_agent agent")[1]
    told = [each.name for each in turn.events]
    assert told.index("filler") < told.index("first_sent")
    assert told.count("first_sent") == 1


def test_what_failed_is_an_error_without_words(desk: Desk) -> None:
    desk.say("Hello")
    desk.delta("Well")
    desk.do(events.ModelFailed(1, "openai:a: HTTP 503 (try again): Zorblax", retryable=True))
    desk.say("Book it")
    desk.call_tool("book", slot="b")
    desk.finish("tool_calls")
    desk.fail_tool("Zorblax")
    end(desk)
    spans = trace(desk.entries)
    failed = named(spans, "chat a")[0]
    assert failed.failed
    assert failed.attributes["error.type"] == "503"
    assert failed.attributes["voxyray.outcome"] == "failed"
    (tool,) = named(spans, "execute_tool book")
    assert tool.attributes["error.type"] == "ToolError"
    assert "Zorblax" not in repr(spans)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("openai:a: HTTP 429 (slow down): Ada 911", "429"),
        ("openai:a: no first token within 2.5 s", "timeout"),
        ("openai:a: no connection to api.example.com within 2 s", "timeout"),
        ("no progress for 12 s", "timeout"),
        ("the time for this turn is up", "ModelError"),
        ("openai:a: Ada: HTTP 911", "ModelError"),
        ("no model answered: openai:a: HTTP 500", "ModelError"),
    ],
)
def test_kinds_of_errors(message: str, kind: str) -> None:
    assert error_type(message) == kind


def test_a_tool_that_the_model_invents_has_no_span(desk: Desk) -> None:
    desk.say("Book it")
    desk.call_tool("ada_lovelace_4711", slot="b")
    desk.finish("tool_calls")
    end(desk)
    assert "4711" not in repr(trace(desk.entries))


def test_another_model_than_the_first(desk: Desk) -> None:
    desk.say("Hello?")
    desk.pass_time(0.9)
    desk.do(events.ModelEvent(1, TextDelta("Hi.")))
    attempts = (Attempt("openai:a", 0.0, "late"), Attempt("bedrock:b", 800.0, "answered"))
    desk.do(events.ModelEvent(1, Finish("stop", "bedrock:b", attempts)))
    (span,) = named(trace(desk.entries), "chat a")
    assert span.attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert span.attributes["gen_ai.response.model"] == "b"
    other, first = span.events
    assert (other.name, other.at_ns - span.start_ns) == ("other_model", 800_000_000)
    assert other.attributes["gen_ai.request.model"] == "b"
    assert first.name == "first_token"


def test_sessions_of_a_call_are_one_trace(desk: Desk) -> None:
    """As after a transfer, perhaps on another server, which knows nothing of the first one."""
    desk.say("Pizza, please")
    desk.answer("One moment.")
    end(desk)
    first = trace(desk.entries)
    second = trace(
        [
            Entry(2, 0, 9000.0, journal.CallStarted(1009.0, "pizza", "")),
            Entry(2, 1, 9000.0, journal.TurnStarted("greeting", "")),
            Entry(2, 2, 9500.0, journal.CallEnded(1000, "caller")),
        ]
    )
    assert {span.trace_id for span in (*first, *second)} == {trace_id("CA1")}
    (session,) = named(second, "call pizza")
    assert session.parent_id == span_id("CA1", 0, 0, "call")
    assert session.parent_id == named(first, "call agent")[0].span_id
    assert session.start_ns == 1009_000_000_000
    assert not {span.span_id for span in first} & {span.span_id for span in second}


def test_a_write_outlives_its_turn_and_the_call(desk: Desk) -> None:
    desk.say("Book it")
    desk.call_tool("book", slot="b")
    desk.finish("tool_calls")
    spans: list[Span] = []
    tracer = Tracer(spans.append, lambda _: "")
    end(desk)
    desk.pass_time(0.2)
    desk.return_tool("booked")
    for entry in desk.entries:
        tracer.take("CA1", entry)
    assert len(named(spans, "execute_tool book")) == 1
    assert tracer._talks == {}


def test_a_guess_begins_before_its_turn() -> None:
    guess: dict[str, Any] = {"asked_ms": 900.0, "first_ms": 1100.0}
    spans = trace(
        [
            Entry(0, 0, 0.0, journal.CallStarted(1000.0, "agent", "Hi.")),
            Entry(0, 1, 0.0, journal.TurnStarted("greeting", "")),
            Entry(0, 2, 500.0, journal.Speculated(1, "asked", asked_ms=500.0)),
            Entry(0, 3, 600.0, journal.Speculated(1, "dropped", asked_ms=500.0, why="newer")),
            Entry(0, 4, 900.0, journal.Speculated(2, "asked", asked_ms=900.0)),
            Entry(1, 5, 1200.0, journal.TurnStarted("speech", "Hello?")),
            Entry(1, 6, 1200.0, journal.Speculated(2, "confirmed", **guess)),
            Entry(1, 7, 1200.0, journal.FirstSent("model")),
            Entry(1, 8, 1300.0, journal.ModelOutput(2, ((1100.0, "Hi."),), finish="stop")),
            Entry(1, 9, 1300.0, journal.CallEnded(1000, "caller")),
        ]
    )
    dropped, confirmed = named(spans, "chat a")
    assert dropped.attributes["voxyray.speculated"] == "dropped"
    assert dropped.attributes["voxyray.outcome"] == "cancelled"
    assert confirmed.attributes["voxyray.speculated"] == "confirmed"
    assert confirmed.attributes["voxyray.turn"] == 1
    assert confirmed.parent_id == span_id("CA1", 0, 1, "turn")
    assert confirmed.attributes["gen_ai.response.time_to_first_chunk"] == 0.2
    assert confirmed.end_ns - confirmed.start_ns == 400_000_000


def test_ids_are_hashes() -> None:
    assert trace_id("CA1") == 0xF8B63AAFD67E5E0A1092A09603B97A76
    assert span_id("CA1", 0, 1, "turn") == 0x8D95420E8DD49784


def test_any_piece_of_a_journal_is_taken(desk: Desk) -> None:
    desk.say("Book it")
    desk.call_tool("book", slot="b")
    desk.finish("tool_calls")
    desk.return_tool("booked")
    desk.answer("Done.")
    end(desk)
    for first in range(1, len(desk.entries)):
        assert trace(desk.entries[first:]) == [], "without its beginning no time is known"


class TracingMachine(CallMachine):
    """The random calls of the invariants: traces and waterfalls never tell different times."""

    def teardown(self) -> None:
        super().teardown()
        self.desk.do(events.Closed(1000))
        spans = trace(self.desk.entries)
        views = {view.number: view for view in turns(self.desk.entries)}
        told = [span for span in spans if span.name.startswith("invoke_agent")]
        assert len(told) == len(views)
        for span in told:
            view = views[span.attributes["voxyray.turn"]]  # type: ignore[index]
            assert view.started_ms is not None
            assert abs(span.start_ns / 1e6 - view.started_ms) < 1
            assert span.attributes.get("voxyray.gap_ms") == view.gap_ms
            assert span.attributes.get("voxyray.audible_ms") == view.audible_ms
        asked = [e for e in self.desk.entries if isinstance(e.what, journal.ModelRequested)]
        assert len([s for s in spans if s.name == "chat a"]) >= len(asked)
        ids = {span.span_id for span in spans}
        assert all(span.parent_id in ids for span in spans if span.parent_id is not None)


TestTracing = TracingMachine.TestCase
TestTracing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_page_lists_what_spans_have() -> None:
    listed = re.findall(r"^\| `([^`]+)`", PAGE.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted((*ATTRIBUTES, *EVENTS))
