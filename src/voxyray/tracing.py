"""Traces: a call as spans (the call, its turns, model requests and tools), found in its journal.

One trace a call, by the semantic conventions for generative AI. A span is made when the journal
tells its end, with the times of the entries, and in the recorder's batch: the talk does nothing
for it. Ids are hashes of what a span stands for, so servers that share a call agree on its trace
without talking, and a span that was made twice has the same id. No span holds what anybody said,
a number, an argument, a result, or the text of an error. `otlp.py` sends them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec

from voxyray import frames, journal
from voxyray.journal import Entry
from voxyray.waterfall import Mark, TurnView, microseconds, speaking, turns

Kind: TypeAlias = Literal["server", "client", "internal"]
Value: TypeAlias = str | bool | int | float | tuple[str, ...]
Attributes: TypeAlias = dict[str, Value]

# All that a span may have; docs/tracing.md says what they mean.
ATTRIBUTES: Final = (
    "gen_ai.operation.name",
    "gen_ai.conversation.id",
    "gen_ai.agent.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.request.stream",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.tool.name",
    "gen_ai.tool.type",
    "error.type",
    "voxyray.ended_by",
    "voxyray.turns",
    "voxyray.interruptions",
    "voxyray.turn",
    "voxyray.cause",
    "voxyray.gap_ms",
    "voxyray.audible_ms",
    "voxyray.culprit",
    "voxyray.culprit_ms",
    "voxyray.cut_by",
    "voxyray.round",
    "voxyray.outcome",
    "voxyray.speculated",
    "voxyray.tool.effect",
    "voxyray.tool.status",
)
EVENTS: Final = (
    "first_token",
    "first_sent",
    "last_sent",
    "filler",
    "interrupt",
    "agent_speaking",
    "agent_silent",
    "other_model",
)

_MOST_CALLS: Final = 20_000
# Of a turn's marks those that need no words; the interrupt's own would be the caller's.
_MARKS: Final = {
    "first_token": "first_token",
    "first_sent": "first_sent",
    "last_sent": "last_sent",
    "interrupt_received": "interrupt",
    "agent_speaking": "agent_speaking",
    "agent_silent": "agent_silent",
}
_PROVIDERS: Final = {"bedrock": "aws.bedrock"}
# What our models write before they quote a provider.
_STATUS: Final = re.compile(r"\S+: HTTP (\d{3})\b")
_TIMEOUT: Final = re.compile(r"(?:\S+: )?no [\w ]+(?: to \S+)? (?:within|for) [\d.]+ s")
_TOOL_ERRORS: Final = {"failed": "ToolError", "late": "timeout"}


class Event(msgspec.Struct, frozen=True):
    """Something that happened within a span."""

    name: str
    at_ns: int
    attributes: Attributes = {}


class Span(msgspec.Struct, frozen=True):
    """One stretch of a call; times are nanoseconds since the epoch, failed if it has an error."""

    name: str
    kind: Kind
    trace_id: int
    span_id: int
    parent_id: int | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: tuple[Event, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether what it stands for ended in an error."""
        return "error.type" in self.attributes


def trace_id(call_id: str) -> int:
    """Give the id of a call's trace: the same in every process."""
    return _hash(16, call_id)


def span_id(call_id: str, session: int, turn: int, kind: str, number: int = 0) -> int:
    """Give the id of a span; session: the number of its first turn."""
    return _hash(8, call_id, session, turn, kind, number)


def _hash(size: int, *parts: str | int) -> int:
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    # An id of nothing but zeros would be none.
    return int.from_bytes(hashlib.blake2b(text, digest_size=size, person=b"voxyray").digest()) or 1


class _Asked(msgspec.Struct):
    """A request to a model that is under way, or broke off at ended_us (times in us)."""

    turn: int
    round: int
    since_us: int
    first_us: int | None = None
    speculated: str = ""


class _Ran(msgspec.Struct):
    """A tool that is running."""

    turn: int
    name: str
    effect: str
    since_us: int


class _Talk:
    """What must be remembered of a session until its spans are made (times in us)."""

    __slots__ = (
        "agent",
        "asked",
        "broken",
        "call_id",
        "ended",
        "interruptions",
        "origin_us",
        "own",
        "runs",
        "spoke",
        "started",
        "turn",
        "turns",
    )

    def __init__(self, call_id: str, started: Entry, what: journal.CallStarted) -> None:
        self.call_id = call_id
        self.agent = what.agent
        self.started = started
        # Epoch time of what the journal calls zero: of the call's first session.
        self.origin_us = round(what.at * 1_000_000) - microseconds(started)
        self.turn: int | None = None
        self.own: list[Entry] = []
        self.spoke: Entry | None = None
        self.asked: dict[int, _Asked] = {}
        self.broken: tuple[Entry, journal.ModelOutput] | None = None
        self.runs: dict[int, _Ran] = {}
        self.turns = 0
        self.interruptions = 0
        self.ended = False

    def ns(self, at_us: int) -> int:
        """Give the epoch time of a journal's time."""
        return (self.origin_us + at_us) * 1000


class Tracer:
    """Takes the entries of all calls and gives their spans to send.

    first_model: tells the name of the model that an agent asks first; empty if nobody knows.
    """

    def __init__(self, send: Callable[[Span], None], first_model: Callable[[str], str]) -> None:
        self._send = send
        self._first_model = first_model
        self._talks: dict[str, _Talk] = {}

    def take(self, call_id: str, entry: Entry) -> None:
        """Take an entry; those of one call in their order."""
        what = entry.what
        if isinstance(what, journal.CallStarted):
            self._talks.pop(call_id, None)
            self._talks[call_id] = _Talk(call_id, entry, what)
            if len(self._talks) > _MOST_CALLS:
                del self._talks[next(iter(self._talks))]
        talk = self._talks.get(call_id)
        if talk is None:
            return  # its beginning is not known here, so neither is the time of day
        self._take_model(talk, entry)
        self._take_tool(talk, entry)
        self._take_turn(talk, entry)
        if isinstance(what, journal.CallEnded):
            self._end_session(talk, entry, what)
        if talk.ended and not talk.runs:
            self._talks.pop(call_id, None)

    # The call and its turns

    def _take_turn(self, talk: _Talk, entry: Entry) -> None:
        what = entry.what
        if isinstance(what, journal.TurnStarted):
            self._end_turn(talk)
            talk.turn = entry.turn
            talk.turns += 1
        elif isinstance(what, journal.Heard) and what.by == "interrupt":
            talk.interruptions += 1
        if entry.turn == talk.turn:
            talk.own.append(entry)
        elif speaking(entry) is not None:
            talk.spoke = entry

    def _end_turn(self, talk: _Talk) -> None:
        """Make the span of the turn; its times are its waterfall's."""
        own, talk.own = talk.own, []
        if not own or not isinstance(own[0].what, journal.TurnStarted):
            return
        number = own[0].turn
        before = [talk.started] + ([talk.spoke] if talk.spoke is not None else [])
        view = next(each for each in turns([*before, *own]) if each.number == number)
        talk.spoke = next((e for e in reversed(own) if speaking(e) is not None), talk.spoke)
        start_us = microseconds(own[0])
        self._emit(
            talk,
            f"invoke_agent {talk.agent}",
            "internal",
            (number, "turn", 0),
            (start_us, max(start_us, *(microseconds(e) for e in own if _belongs(e)))),
            _of_turn(talk, view),
            _events(talk, view, start_us),
        )

    def _end_session(self, talk: _Talk, entry: Entry, what: journal.CallEnded) -> None:
        self._end_turn(talk)
        talk.ended = True
        self._emit(
            talk,
            f"call {talk.agent}",
            "server",
            (talk.started.turn, "call", 0),
            (microseconds(talk.started), microseconds(entry)),
            {
                "gen_ai.agent.name": talk.agent,
                "voxyray.ended_by": what.why,
                "voxyray.turns": talk.turns,
                "voxyray.interruptions": talk.interruptions,
            },
        )

    # Models

    def _take_model(self, talk: _Talk, entry: Entry) -> None:
        what, at_us = entry.what, microseconds(entry)
        if talk.broken is not None:
            self._end_broken(talk, what)
        match what:
            case journal.ModelRequested(request=request, round=round_):
                talk.asked[request] = _Asked(entry.turn, round_, at_us)
            case journal.Speculated():
                self._speculate(talk, entry, what)
            case journal.FirstToken(request=request):
                if request in talk.asked:
                    talk.asked[request].first_us = at_us
            case journal.ModelOutput(finish=None):
                talk.broken = (entry, what)  # cancelled, or the next entry tells how it failed
            case journal.ModelOutput():
                self._end_request(talk, at_us, what.request, "answered", what)
            case journal.ModelFailure(request=request, message=message):
                self._end_request(talk, at_us, request, "failed", error=error_type(message))

    def _end_broken(self, talk: _Talk, next_: journal.What) -> None:
        if talk.broken is None:
            return
        (entry, output), talk.broken = talk.broken, None
        error, outcome = "", "cancelled"
        if isinstance(next_, journal.ModelFailure) and next_.request == output.request:
            error, outcome = error_type(next_.message), "failed"
        at_us = microseconds(entry)
        self._end_request(talk, at_us, output.request, outcome, output, error)

    def _speculate(self, talk: _Talk, entry: Entry, what: journal.Speculated) -> None:
        if what.state == "asked" and what.asked_ms is not None:
            asked = _Asked(entry.turn, 0, round(what.asked_ms * 1000), speculated="asked")
            talk.asked[what.request] = asked
        elif what.request in talk.asked and what.state in ("confirmed", "dropped"):
            asked = talk.asked[what.request]
            asked.speculated = what.state
            asked.first_us = None if what.first_ms is None else round(what.first_ms * 1000)
            if what.state == "confirmed":
                asked.turn = entry.turn
            else:
                self._end_request(talk, microseconds(entry), what.request, "cancelled")

    def _end_request(
        self,
        talk: _Talk,
        at_us: int,
        request: int,
        outcome: str,
        output: journal.ModelOutput | None = None,
        error: str = "",
    ) -> None:
        asked = talk.asked.pop(request, None)
        if asked is None:
            return
        provider, model = _parted(self._first_model(talk.agent))
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.request.stream": True,
            "voxyray.turn": asked.turn,
            "voxyray.round": asked.round + 1,
            "voxyray.outcome": outcome,
            "voxyray.speculated": asked.speculated,
            "error.type": error,
        }
        if asked.first_us is not None:
            waited_us = max(0, asked.first_us - asked.since_us)
            attributes["gen_ai.response.time_to_first_chunk"] = waited_us / 1_000_000
        if output is not None:
            attributes |= _answered(output)
        self._emit(
            talk,
            f"chat {model}".strip(),
            "client",
            (asked.turn, "chat", request),
            (asked.since_us, at_us),
            attributes,
            _of_request(talk, asked, output),
        )

    # Tools

    def _take_tool(self, talk: _Talk, entry: Entry) -> None:
        what, at_us = entry.what, microseconds(entry)
        if isinstance(what, journal.ToolStarted):
            talk.runs[what.run] = _Ran(entry.turn, what.name, what.effect, at_us)
        elif isinstance(what, journal.ToolFinished):
            ran = talk.runs.pop(what.run, None)
            if ran is None:
                return  # it did not run: its name may be the model's invention
            self._emit(
                talk,
                f"execute_tool {ran.name}",
                "internal",
                (ran.turn, "execute_tool", what.run),
                (ran.since_us, at_us),
                {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": ran.name,
                    "gen_ai.tool.type": "function",
                    "voxyray.turn": ran.turn,
                    "voxyray.tool.effect": ran.effect,
                    "voxyray.tool.status": what.status,
                    "error.type": _TOOL_ERRORS.get(what.status, ""),
                },
            )

    def _emit(
        self,
        talk: _Talk,
        name: str,
        kind: Kind,
        place: tuple[int, str, int],
        times_us: tuple[int, int],
        attributes: Attributes,
        events: tuple[Event, ...] = (),
    ) -> None:
        """Send a span; place: its turn, what it stands for, and its number."""
        session = talk.started.turn
        parent: int | None = span_id(talk.call_id, session, place[0], "turn")
        if place[1] == "turn":
            parent = span_id(talk.call_id, session, session, "call")
        elif place[1] == "call":
            # Later sessions of a call, as after a transfer, stand below its first one.
            parent = span_id(talk.call_id, 0, 0, "call") if session else None
        known = {name: value for name, value in attributes.items() if value not in ("", ())}
        self._send(
            Span(
                name,
                kind,
                trace_id(talk.call_id),
                span_id(talk.call_id, session, *place),
                parent,
                talk.ns(times_us[0]),
                talk.ns(max(times_us)),
                {"gen_ai.conversation.id": talk.call_id, **known},
                events,
            )
        )


def error_type(message: str) -> str:
    """Give the kind of a model's error: of its text, which may quote a caller, no word."""
    status = _STATUS.match(message)
    if status is not None:
        return status[1]
    return "timeout" if _TIMEOUT.fullmatch(message) else "ModelError"


def _parted(model: str) -> tuple[str, str]:
    """Part a model's name into its provider, by the conventions' name, and its own."""
    provider, colon, name = model.partition(":")
    return _PROVIDERS.get(provider, provider), name if colon else model


def _belongs(entry: Entry) -> bool:
    """Whether a turn lasts until this; what the carrier tells of the next one does not count."""
    what = entry.what
    if isinstance(what, frames.InboundFrame):
        return isinstance(what, frames.Interrupt) or speaking(entry) is not None
    return not isinstance(what, journal.CallEnded | journal.DeadlinePassed)


def _of_turn(talk: _Talk, view: TurnView) -> Attributes:
    attributes: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": talk.agent,
        "voxyray.turn": view.number,
        "voxyray.cause": view.cause,
        "voxyray.cut_by": view.cut.by if view.cut is not None else "",
    }
    if view.gap_ms is not None:
        attributes["voxyray.gap_ms"] = view.gap_ms
    if view.audible_ms is not None:
        attributes["voxyray.audible_ms"] = view.audible_ms
    if view.culprit is not None and view.culprit.ms is not None:
        # Its kind only: a label names tools, and one that did not run may be an invention.
        attributes["voxyray.culprit"] = view.culprit.kind
        attributes["voxyray.culprit_ms"] = view.culprit.ms
    return attributes


def _events(talk: _Talk, view: TurnView, start_us: int) -> tuple[Event, ...]:
    def at_ns(at_ms: float) -> int:
        return talk.ns(start_us + round(at_ms * 1000))

    events = [Event(_MARKS[mark.name], at_ns(mark.at_ms)) for mark in view.marks if _is_event(mark)]
    events += [Event("filler", at_ns(filler.at_ms)) for filler in view.fillers]
    return tuple(sorted(events, key=lambda event: event.at_ns))


def _is_event(mark: Mark) -> bool:
    return mark.name in _MARKS and (mark.name, mark.detail) != ("first_sent", "filler")


def _answered(output: journal.ModelOutput) -> Attributes:
    attributes: Attributes = {}
    if output.finish is not None:
        attributes["gen_ai.response.finish_reasons"] = (output.finish,)
    if output.model:
        provider, model = _parted(output.model)
        attributes["gen_ai.provider.name"] = provider
        attributes["gen_ai.response.model"] = model
    if output.usage is not None:
        attributes["gen_ai.usage.input_tokens"] = output.usage.input_tokens
        attributes["gen_ai.usage.output_tokens"] = output.usage.output_tokens
        attributes["gen_ai.usage.cache_read.input_tokens"] = output.usage.cached_tokens
    return attributes


def _of_request(
    talk: _Talk, asked: _Asked, output: journal.ModelOutput | None
) -> tuple[Event, ...]:
    """Give the first token, and the models that were asked besides the first."""
    events = []
    if asked.first_us is not None:
        events.append(Event("first_token", talk.ns(asked.first_us)))
    for attempt in output.attempts[1:] if output is not None else ():
        provider, model = _parted(attempt.model)
        at_ns = talk.ns(asked.since_us + round(attempt.at_ms * 1000))
        told: Attributes = {
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "voxyray.outcome": attempt.outcome,
        }
        events.append(Event("other_model", at_ns, told))
    return tuple(sorted(events, key=lambda event: event.at_ns))
