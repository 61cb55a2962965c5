"""The waterfall: where every millisecond of a turn went, derived from the journal alone.

The gap is what the caller waits: from the end of their input to the first words that were sent
(a filler does not count), and on to the start of speech where the carrier reports it. Its parts
follow one another without holes, so they sum to it exactly. What the journal cannot tell is
None, never a guess: the entries of a live or crashed call may stop anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from voxyray import frames, journal
from voxyray.journal import Entry
from voxyray.models import Attempt, Usage
from voxyray.speculation import gained_ms
from voxyray.transcript import CutBy, Spoken, ToolView, rebuild, said_outputs, tool_views

PartKind: TypeAlias = Literal["voxyray", "model", "failure", "tools", "held", "carrier", "server"]

MarkName: TypeAlias = Literal[
    "turn_started",
    "model_requested",
    "other_model",
    "speculated",
    "first_token",
    "first_sent",
    "last_sent",
    "model_failed",
    "tool_started",
    "tool_finished",
    "interrupt_received",
    "agent_speaking",
    "agent_silent",
    "deadline_passed",
    "call_ended",
]

_BEFORE: Final = "voxyray, before the model"
_BETWEEN: Final = "voxyray, between rounds"
_WAITED: Final = "first token"
_ASKS: Final = "asks for tools"
_NO_WORDS: Final = "no words"
_FAILED: Final = "model, failed attempt"
_WHY_ANOTHER: Final = {"failed": "failed", "broke off": "broke off"}
_HOW_IT_WENT: Final = {"late": "came second", "failed": "failed", "broke off": "broke off"}
_HELD: Final = "first token to first words"
_EARLY: Final = "asked early"
_CARRIER: Final = "carrier and text-to-speech"

# What begins a turn that somebody waits in: a greeting, or words after silence, answer nobody.
ASKED: Final = ("speech", "keys", "unknown")

# Every label that a part can have; a later round of the model says so after its first word.
LABELS: Final = (
    _BEFORE,
    f"model, {_WAITED}",
    f"model, {_ASKS}",
    f"model, {_NO_WORDS}",
    *(f"model, {_EARLY}, {what}" for what in (_WAITED, _ASKS, _NO_WORDS)),
    _FAILED,
    _HELD,
    "tool NAME",
    "tools NAME, NAME",
    _BETWEEN,
    _CARRIER,
)


class Part(msgspec.Struct, frozen=True):
    """One stretch of a gap.

    at_ms: from the end of the caller's input. ms: None if it is unknown or still going on. detail:
    why it is unknown, how an attempt failed, or which other models were asked. kind `held` is the
    time from the model's first token to words that could be spoken; `server` is all but the
    carrier, seen from outside.
    """

    kind: PartKind
    label: str
    at_ms: float
    ms: float | None
    detail: str = ""


class Filler(msgspec.Struct, frozen=True):
    """Words that bridged the wait; at_ms from the end of the caller's input."""

    at_ms: float
    text: str


class Mark(msgspec.Struct, frozen=True):
    """Something that happened in a turn; at_ms from the end of the caller's input."""

    name: MarkName
    at_ms: float
    detail: str = ""


class Cut(msgspec.Struct, frozen=True):
    """How a reply was stopped.

    at_ms: from the end of the caller's input. late_ms: from the cut to the last words sent after
    it, None as it must be: there were none. silent_ms: until the carrier reported silence.
    """

    by: CutBy
    at_ms: float
    late_ms: float | None = None
    silent_ms: float | None = None


class TurnView(msgspec.Struct, frozen=True):
    """One turn as it went.

    caller: their words, or a note in brackets. said: without fillers. gap_ms: from the end of the
    caller's input to the first words sent; audible_ms: to the start of speech. parts sum to gap_ms,
    with the carrier's to audible_ms. started_ms: from the call's first event. agent: who answered;
    empty if the journal does not tell. speculated_ms: how much longer they would have waited had
    the model not been asked before their words were final; None if it was not.
    """

    number: int
    cause: str
    caller: str
    started_ms: float | None
    said: str = ""
    heard: str = ""
    cut: Cut | None = None
    complete: bool = False
    tools: tuple[ToolView, ...] = ()
    fillers: tuple[Filler, ...] = ()
    parts: tuple[Part, ...] = ()
    gap_ms: float | None = None
    audible_ms: float | None = None
    tokens: Usage | None = None
    model: str = ""
    marks: tuple[Mark, ...] = ()
    agent: str = ""
    speculated_ms: float | None = None

    @property
    def culprit(self) -> Part | None:
        """The largest known part, if any took time."""
        known = [part for part in self.parts if part.ms]
        return max(known, key=lambda part: part.ms or 0.0) if known else None

    @property
    def silence_ms(self) -> float | None:
        """From the caller's barge-in to the silence that the carrier reported."""
        return self.cut.silent_ms if self.cut is not None else None


class CallView(msgspec.Struct, frozen=True):
    """One call as it went, from its first session to its last.

    agent took the call; agents: all that did, in order, each when the caller was put through.
    started_at: epoch seconds. why: as in `CallEnded`, of the last session; empty if it is open.
    """

    turns: tuple[TurnView, ...]
    agent: str = ""
    started_at: float | None = None
    duration_ms: float = 0.0
    why: str = ""
    agents: tuple[str, ...] = ()


def call_view(entries: Iterable[Entry]) -> CallView:
    """Give the whole call, from any part of its journal."""
    ordered = _in_order(entries)
    started = [e.what for e in ordered if isinstance(e.what, journal.CallStarted)]
    last = _sessions(ordered)[-1] if ordered else []
    ended = next((e.what for e in last if isinstance(e.what, journal.CallEnded)), None)
    return CallView(
        tuple(turns(ordered)),
        started[0].agent if started else "",
        started[0].at if started else None,
        max((entry.at_ms for entry in ordered), default=0.0),
        ended.why if ended else "",
        tuple(each.agent for each in started),
    )


def turns(entries: Iterable[Entry]) -> list[TurnView]:
    """Give the turns of a call, from any part of its journal."""
    views = []
    for session in _sessions(_in_order(entries)):
        numbers = sorted({entry.turn for entry in session})
        views += [_turn(session, number) for number in numbers]
    return views


def _sessions(ordered: list[Entry]) -> list[list[Entry]]:
    """Part the entries of a call by its sessions: runs and requests are numbered anew in each."""
    firsts = {entry.turn for entry in ordered if isinstance(entry.what, journal.CallStarted)}
    sessions: list[list[Entry]] = []
    for entry in ordered:
        if not sessions or (entry.turn in firsts and entry.turn != sessions[-1][-1].turn):
            sessions.append([])
        sessions[-1].append(entry)
    return sessions


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Sort by place, each place once: stores may give an entry twice."""
    return sorted({(e.turn, e.seq): e for e in entries}.values(), key=lambda e: (e.turn, e.seq))


def _turn(ordered: list[Entry], number: int) -> TurnView:
    own = [entry for entry in ordered if entry.turn == number]
    started = next((e for e in own if isinstance(e.what, journal.TurnStarted)), None)
    spoken = rebuild(ordered, number)
    others = _other_models(own)
    origin_us = microseconds(started) if started else None
    parts, gap_us, audible_us = _parts(ordered, own, started)
    parts = tuple(_with_others(part, others, origin_us) for part in parts)
    what = started.what if started else None
    zero_us = microseconds(own[0]) if origin_us is None else origin_us
    outputs = [e.what for e in said_outputs(own) if isinstance(e.what, journal.ModelOutput)]
    agent = next((e.what.agent for e in ordered if isinstance(e.what, journal.CallStarted)), "")
    return TurnView(
        number,
        what.cause if isinstance(what, journal.TurnStarted) else "unknown",
        what.text if isinstance(what, journal.TurnStarted) else "",
        origin_us / 1000 if origin_us is not None else None,
        said=spoken.said,
        heard=spoken.heard,
        cut=_cut(ordered, own, number, spoken, zero_us),
        complete=spoken.complete,
        tools=tool_views(ordered, number, zero_us / 1000),
        fillers=tuple(Filler(_since(each.at_ms, zero_us), each.text) for each in spoken.fillers),
        parts=parts,
        gap_ms=gap_us / 1000 if gap_us is not None else None,
        audible_ms=audible_us / 1000 if audible_us is not None else None,
        tokens=_sum([output.usage for output in outputs if output.usage is not None]),
        model=next((output.model for output in reversed(outputs) if output.model), ""),
        marks=_marks(own, others, zero_us),
        agent=agent,
        speculated_ms=next((ms for e in own if (ms := _gained_ms(e)) is not None), None),
    )


# Parts


class Sweep:
    """Walks through a turn in the order of its entries; every moment belongs to one part.

    `take` the entries after `TurnStarted`, up to the first words; then parts sum to the time from
    origin_us to since_us.
    """

    def __init__(self, origin_us: int) -> None:
        self.origin_us = origin_us
        self.since_us = origin_us
        self.parts: list[Part] = []
        self.kind: PartKind = "voxyray"
        self.label = _BEFORE
        self.running: dict[int, str] = {}
        self.names: list[str] = []
        self.asked = (origin_us, "", 0)  # the model: since when, its label, the parts before
        self.guesses: set[int] = set()  # requests that are no part of the turn

    def begin(self, at_us: int, kind: PartKind, label: str) -> None:
        """Close the part under way at this moment and begin another."""
        self.close(at_us)
        self.kind, self.label = kind, label

    def close(self, at_us: int, detail: str = "") -> None:
        """End the part under way; time never runs backwards, whatever the entries say."""
        at_us = max(at_us, self.since_us)
        if at_us > self.since_us or self.label in (_BEFORE, _HELD):
            self._add(at_us - self.since_us, detail)
        self.since_us = at_us

    def leave_open(self) -> None:
        """Note a part whose end nobody saw."""
        if self.kind in ("model", "tools", "held"):
            self._add(None, "its end is not in the journal")

    def _add(self, us: int | None, detail: str) -> None:
        at_ms = (self.since_us - self.origin_us) / 1000
        ms = us / 1000 if us is not None else None
        self.parts.append(Part(self.kind, self.label, at_ms, ms, detail))

    def take(self, entry: Entry) -> bool:
        """Take an entry of the turn; true when the first words were sent."""
        at_us, what = microseconds(entry), entry.what
        match what:
            case journal.Speculated():
                self._speculate(at_us, what)
            case journal.ModelOutput(request=n) | journal.ModelFailure(request=n) if (
                n in self.guesses
            ):
                pass
            case journal.ModelRequested():
                round_ = f", round {what.round + 1}" if what.round else ""
                self.begin(at_us, "model", f"model{round_}, {_WAITED}")
            case journal.FirstToken() if self.kind == "model":
                self.asked = (self.since_us, self.label, len(self.parts))
                self.begin(at_us, "held", _HELD)
            case journal.ModelOutput() if self.kind in ("model", "held"):
                self._end_round(at_us, what)
            case journal.ModelFailure():
                self._fail(what.message)
            case journal.ToolStarted():
                self._start_tool(at_us, what)
            case journal.ToolFinished():
                self._finish_tool(at_us, what)
            case journal.FirstSent() if what.kind != "filler":
                self.close(at_us)
                return True
        return False

    def _speculate(self, at_us: int, what: journal.Speculated) -> None:
        """Take a guess for the turn's request once it is confirmed; only then anybody waits."""
        if what.state != "confirmed":
            self.guesses.add(what.request)
            return
        self.guesses.discard(what.request)
        self.begin(at_us, "model", f"model, {_EARLY}, {_WAITED}")
        if what.first_ms is not None:
            self.asked = (self.since_us, self.label, len(self.parts))
            self.begin(at_us, "held", _HELD)

    def _end_round(self, at_us: int, output: journal.ModelOutput) -> None:
        """End a round that gave no words: all of it was the model's time."""
        if self.kind == "held":
            self.since_us, self.label, parts = self.asked
            del self.parts[parts:]
            self.kind = "model"
        told = _ASKS if output.calls and output.finish else _NO_WORDS
        self.label = self.label.replace(_WAITED, told)
        self.begin(at_us, "voxyray", _BETWEEN)

    def _fail(self, message: str) -> None:
        if self.parts and self.parts[-1].kind == "model":
            self.parts[-1] = msgspec.structs.replace(
                self.parts[-1], kind="failure", label=_FAILED, detail=message
            )

    def _start_tool(self, at_us: int, what: journal.ToolStarted) -> None:
        if self.kind != "tools":
            self.names.clear()
            self.begin(at_us, "tools", "")
        self.running[what.run] = what.name
        self._name(what.name)

    def _finish_tool(self, at_us: int, what: journal.ToolFinished) -> None:
        if what.run in self.running:
            del self.running[what.run]
            if not self.running and self.kind == "tools":
                self.begin(at_us, "voxyray", _BETWEEN)
        elif self.label == _BETWEEN and at_us > self.since_us:
            # It shares a run that an earlier turn started, and was waited for.
            self.names.clear()
            self.kind = "tools"
            self._name(what.name)
            self.begin(at_us, "voxyray", _BETWEEN)

    def _name(self, name: str) -> None:
        if name not in self.names:
            self.names.append(name)
        self.label = f"tool{'s' if len(self.names) > 1 else ''} {', '.join(self.names)}"


def _parts(
    ordered: list[Entry], own: list[Entry], started: Entry | None
) -> tuple[tuple[Part, ...], int | None, int | None]:
    """Give the parts, the gap and the time until the agent was audible (microseconds)."""
    if started is None:
        return (), None, None
    sweep = Sweep(microseconds(started))
    for entry in own:
        if entry.seq > started.seq and sweep.take(entry):
            gap_us = sweep.since_us - sweep.origin_us
            carrier, audible_us = _carrier(ordered, own, entry, sweep)
            return (*sweep.parts, carrier), gap_us, audible_us
    if isinstance(started.what, journal.TurnStarted) and _is_greeting(ordered, started.what):
        # The carrier speaks the greeting by itself: nothing was sent, and nothing else waited for.
        carrier, audible_us = _carrier(ordered, own, started, sweep)
        return (carrier,), None, audible_us
    sweep.leave_open()
    return tuple(sweep.parts), None, None


def _is_greeting(ordered: list[Entry], what: journal.TurnStarted) -> bool:
    return what.cause == "greeting" and any(
        isinstance(entry.what, journal.CallStarted) and entry.what.greeting for entry in ordered
    )


def _carrier(
    ordered: list[Entry], own: list[Entry], sent: Entry, sweep: Sweep
) -> tuple[Part, int | None]:
    """Give the time from the first words sent to the agent being audible."""
    at_ms = (sweep.since_us - sweep.origin_us) / 1000
    reports = [entry for entry in ordered if speaking(entry) is not None]
    before = [entry for entry in reports if (entry.turn, entry.seq) < (sent.turn, sent.seq)]
    detail = "the carrier did not report it"
    if not reports:
        detail = "the carrier reports no speech (events are off)"
    elif before and speaking(before[-1]):
        detail = "the agent was speaking already"
    else:
        for entry in own:
            if entry.seq > sent.seq and isinstance(entry.what, journal.Heard):
                detail = "it was cut before"
                break
            if entry.seq > sent.seq and speaking(entry):
                at_us = max(microseconds(entry), sweep.since_us)
                ms = (at_us - sweep.since_us) / 1000
                return Part("carrier", _CARRIER, at_ms, ms), at_us - sweep.origin_us
    return Part("carrier", _CARRIER, at_ms, None, detail), None


def speaking(entry: Entry) -> bool | None:
    """Tell whether the carrier reports the agent as speaking (or silent); None if neither."""
    what = entry.what
    if isinstance(what, frames.Info) and what.name == "agentSpeaking":
        return what.value == "on"
    return None


# Several models


class _Other(NamedTuple):
    """A further model that was asked in a request, which began at asked_us."""

    asked_us: int
    at_ms: float
    told: str


def _other_models(own: list[Entry]) -> list[_Other]:
    asked = {e.what.request: e for e in own if isinstance(e.what, journal.ModelRequested)}
    others = []
    for entry in own:
        if isinstance(entry.what, journal.ModelOutput) and entry.what.request in asked:
            request = asked[entry.what.request]
            for before, attempt in pairwise(entry.what.attempts):
                at_ms = request.at_ms + attempt.at_ms
                others.append(_Other(microseconds(request), at_ms, _told(before, attempt)))
    return others


def _told(before: Attempt, attempt: Attempt) -> str:
    why = _WHY_ANOTHER.get(before.outcome, "was late")
    return f"{before.model} {why}; {attempt.model} {_HOW_IT_WENT.get(attempt.outcome, 'answered')}"


def _with_others(part: Part, others: list[_Other], origin_us: int | None) -> Part:
    """Tell in a model's part which others were asked."""
    if part.kind != "model" or part.ms is None or not others:
        return part
    at_us = (origin_us or 0) + round(part.at_ms * 1000)
    told = [other.told for other in others if other.asked_us == at_us]
    return msgspec.structs.replace(part, detail="; ".join(told))


# Cuts


def _cut(
    ordered: list[Entry], own: list[Entry], number: int, spoken: Spoken, zero_us: int
) -> Cut | None:
    """Tell how the reply was stopped; None if it was not, or goes on."""
    if spoken.cut_at is None:
        return _stopped_before_words(ordered, own, number, spoken, zero_us)
    entry = spoken.cut_at
    at_us = microseconds(entry)
    late_us = [us for piece in spoken.pieces if (us := round(piece.at_ms * 1000)) > at_us]
    silent_ms = None
    for after in ordered:
        if (after.turn, after.seq) > (entry.turn, entry.seq) and speaking(after) is not None:
            silent_ms = None if speaking(after) else (microseconds(after) - at_us) / 1000
            break
    return Cut(
        spoken.cut_by,
        _since(entry.at_ms, zero_us),
        (max(late_us) - at_us) / 1000 if late_us else None,
        max(silent_ms, 0.0) if silent_ms is not None and spoken.cut_by == "interrupt" else None,
    )


def _stopped_before_words(
    ordered: list[Entry], own: list[Entry], number: int, spoken: Spoken, zero_us: int
) -> Cut | None:
    if spoken.complete or spoken.said:
        return None
    for entry in own:
        if isinstance(entry.what, frames.Interrupt):
            return Cut("interrupt", _since(entry.at_ms, zero_us))
        if isinstance(entry.what, journal.CallEnded):
            return Cut("hangup", _since(entry.at_ms, zero_us))
    for entry in ordered:
        if entry.turn > number:
            return Cut("newer", _since(entry.at_ms, zero_us))
    return None


# Marks


def _marks(own: list[Entry], others: list[_Other], zero_us: int) -> tuple[Mark, ...]:
    marks = []
    for entry in own:
        marks += _early_marks(entry, zero_us)
        named = _mark(entry.what)
        if named is not None:
            marks.append(Mark(named[0], _since(entry.at_ms, zero_us), named[1]))
    for other in others:
        # Told with the finish, but it was long before.
        mark = Mark("other_model", _since(other.at_ms, zero_us), other.told)
        place = next((n for n, m in enumerate(marks) if m.at_ms > mark.at_ms), len(marks))
        marks.insert(place, mark)
    return tuple(marks)


def _early_marks(entry: Entry, zero_us: int) -> list[Mark]:
    """Give what happened to a guess: what was before the turn has times below zero."""
    what = entry.what
    if not isinstance(what, journal.Speculated) or what.asked_ms is None:
        return []
    at_ms = _since(entry.at_ms, zero_us)
    if what.state == "dropped":
        return [Mark("speculated", at_ms, f"dropped: {what.why}, about {what.tokens:,} tokens")]
    gained = _gained_ms(entry)
    if gained is None:
        return []
    marks = [Mark("speculated", _since(what.asked_ms, zero_us), "asked")]
    if what.first_ms is not None:
        marks.append(Mark("first_token", _since(what.first_ms, zero_us)))
    return [*marks, Mark("speculated", at_ms, f"confirmed, {gained:,.0f} ms gained")]


def _gained_ms(entry: Entry) -> float | None:
    what = entry.what
    return gained_ms(what, entry.at_ms) if isinstance(what, journal.Speculated) else None


def _mark(what: journal.What) -> tuple[MarkName, str] | None:
    match what:
        case journal.TurnStarted():
            return "turn_started", what.cause
        case journal.ModelRequested():
            return "model_requested", f"round {what.round + 1}"
        case journal.FirstToken():
            return "first_token", ""
        case journal.FirstSent():
            return "first_sent", what.kind
        case journal.LastSent():
            return "last_sent", ""
        case journal.ModelFailure():
            return "model_failed", what.message
        case journal.ToolStarted() | journal.ToolFinished():
            starts = isinstance(what, journal.ToolStarted)
            return "tool_started" if starts else "tool_finished", what.name
        case frames.Interrupt():
            return "interrupt_received", what.utterance_until_interrupt
        case frames.Info(name="agentSpeaking"):
            return "agent_speaking" if what.value == "on" else "agent_silent", ""
        case journal.DeadlinePassed():
            return "deadline_passed", what.name
        case journal.CallEnded():
            return "call_ended", what.why
        case _:
            return None


def microseconds(entry: Entry) -> int:
    """Give an entry's time in the journal's own unit, in which sums are exact."""
    return round(entry.at_ms * 1000)


def _since(at_ms: float, zero_us: int) -> float:
    return (round(at_ms * 1000) - zero_us) / 1000


def _sum(usages: list[Usage]) -> Usage | None:
    if not usages:
        return None
    return Usage(
        sum(usage.input_tokens for usage in usages),
        sum(usage.output_tokens for usage in usages),
        sum(usage.cached_tokens for usage in usages),
    )
