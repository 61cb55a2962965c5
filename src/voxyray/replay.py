"""Replay: a recorded call once more, through today's code, on its own clock.

    for each in replay(call_file): ...

What came in is fed to a fresh `Call` at the recorded times: the carrier's frames, the model's
deltas, tools' results, deadlines, the close. What the call decides then, it wrote into the journal
when it lasted: its marks, the words and a checksum of the frames it sent, a checksum of what the
model was told. The first decision that is another one today is the answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from voxyray import events, frames, journal
from voxyray.call import Call
from voxyray.callfile import CallFile, Session, new_call
from voxyray.comparison import in_words, same, told_apart
from voxyray.errors import JournalError
from voxyray.events import Command, Event
from voxyray.journal import Entry
from voxyray.models import Finish, TextDelta

_ERROR: Final = "Error: "
_US: Final = 1_000_000
_FINISH: Final = tuple(name for name in Finish.__struct_fields__ if name != "reason")


class Input(msgspec.Struct, frozen=True):
    """Something that came in; at: seconds of the call's own clock."""

    at: float
    event: Event


class Difference(msgspec.Struct, frozen=True):
    """The first decision that is another one today.

    turn and at_ms: where the call was. expected is what was recorded, got what came now; both in
    words.
    """

    session: int
    turn: int
    at_ms: float
    expected: str
    got: str

    def __str__(self) -> str:
        return (
            f"turn {self.turn}, {self.at_ms / 1000:.3f} s into the call: "
            f"expected {self.expected}; got {self.got}"
        )


class Replayed(msgspec.Struct, frozen=True):
    """What came of a replay.

    turns: all that the record has. difference: the first there was. stopped: the turn from which
    on the record does not suffice. notes: why that is so, or why the replay is not exact. sent:
    all frames.
    """

    turns: tuple[int, ...]
    difference: Difference | None
    stopped: int | None
    notes: tuple[str, ...]
    sent: tuple[frames.OutboundFrame, ...]

    @property
    def identical(self) -> bool:
        """Whether today's code did all that was recorded."""
        return self.difference is None and self.stopped is None


def replay(call: CallFile, watch: Callable[[Input, list[Command]], None] | None = None) -> Replayed:
    """Replay a call; watch is shown each input and what it led to.

    Raises:
        JournalError: the record has holes, or is none that a call can have written.
    """
    numbers: dict[int, None] = {}
    notes: list[str] = []
    sent: list[frames.OutboundFrame] = []
    difference = stopped = None
    for number, session in enumerate(call.sessions, 1):
        numbers |= dict.fromkeys(entry.turn for entry in session.entries)
        if difference is not None or stopped is not None:
            continue
        one = SessionReplay(new_call(call.call, session.setup), session, number)
        for each in one.steps():
            sent += [c.frame for c in each.commands if isinstance(c, events.Send)]
            if watch is not None:
                watch(each.input, each.commands)
        difference, stopped = one.difference, one.stopped
        notes += one.notes
    notes = list(dict.fromkeys(notes))
    return Replayed(tuple(numbers), difference, stopped, tuple(notes), tuple(sent))


class Step(msgspec.Struct, frozen=True):
    """An input, and what the call did about it."""

    input: Input
    commands: list[Command]


class SessionReplay:
    """The replay of one session; call: fresh, and afterwards as far as the replay came."""

    def __init__(self, call: Call, session: Session, number: int = 1) -> None:
        self.call = call
        self.difference: Difference | None = None
        self.stopped: int | None = None
        self.notes: list[str] = []
        self._number = number
        self._recorded = _checked(session.entries, number)
        self._zero_us = self._zero()
        self._outputs = {
            entry.what.request: _Output(entry)
            for entry in self._recorded
            if isinstance(entry.what, journal.ModelOutput)
        }
        self._asked = 0
        self._at = 0  # how many entries have come again

    def _zero(self) -> int:
        """Give the microsecond of the call's clock at which its journal begins."""
        first = self._recorded[0]
        clock = first.what.clock if isinstance(first.what, journal.CallStarted) else None
        if clock is None:
            self.notes.append(
                "this journal is of an older version: what came within the same moment may be "
                "replayed in another order"
            )
        return round((clock or 0.0) * _US) - round(first.at_ms * 1000)

    def steps(self) -> Iterator[Step]:
        """Feed the inputs one by one, until the record ends or a decision differs."""
        while self.difference is None and (given := self._next()) is not None:
            at = self._at
            commands = self.call.receive(given.event, given.at)
            if not self._compare(commands) and not _is_delta(given.event):
                self._differ(self._recorded[at], "nothing")
            yield Step(given, commands)

    # What comes next

    def _next(self) -> Input | None:
        output = self._outputs.get(self._asked)
        entry = self._recorded[self._at] if self._at < len(self._recorded) else None
        if output is not None and (early := output.before(self._at, entry)) is not None:
            return self._input(*early)
        if entry is None:
            return None
        event = self._event(entry, output)
        return None if event is None else self._input(entry.at_ms, event)

    def _input(self, at_ms: float, event: Event) -> Input:
        return Input((self._zero_us + round(at_ms * 1000)) / _US, event)

    def _event(self, entry: Entry, output: _Output | None) -> Event | None:
        """Tell from the first entry that an input led to what it was; None: the record stops."""
        what = entry.what
        if isinstance(what, _FRAMES):
            return what
        match what:
            case journal.CallStarted():
                return self._setup()
            case journal.DeadlinePassed():
                return events.Tick()
            case journal.ToolFinished(status="done"):
                return events.ToolReturned(what.run, what.result, what.actions, what.handoff)
            case journal.ToolFinished(status="failed"):
                return events.ToolFailed(what.run, what.result.removeprefix(_ERROR))
            case journal.ModelOutput(finish=None) | journal.Speculated(state="dropped"):
                return self._failed(what.request) or self._closed()
            case (
                journal.FirstToken()
                | journal.FirstSent()
                | journal.ModelOutput()
                | journal.Speculated(state="answered")
            ):
                return self._delta(entry, output)
            case journal.ToolFinished() | journal.Heard() | journal.CallEnded():
                return self._closed()
            case _:
                # Nothing that comes in begins so: it belonged to what the last input led to.
                self._differ(entry, "nothing")
                return None

    def _setup(self) -> Event:
        frame = self._after(1)
        if not isinstance(frame, frames.Setup):
            raise JournalError(f"session {self._number} of the call has lost its `setup`")
        return frame

    def _failed(self, request: int) -> Event | None:
        """Give the failure of a request that is being closed, if that is why."""
        for each in (self._after(1), self._after(2)):
            if isinstance(each, journal.ModelFailure) and each.request == request:
                return events.ModelFailed(request, each.message, each.retryable)
        return None

    def _delta(self, entry: Entry, output: _Output | None) -> Event | None:
        delta = None if output is None else output.next()
        if delta is None:
            why = "the record ends in the middle of a reply"
            if output is not None:
                why = "the model's words were lost with the process that heard them"
            self._stop(entry, why)
        return delta

    def _closed(self) -> Event | None:
        for entry in self._recorded[self._at :]:
            if isinstance(entry.what, journal.CallEnded):
                return events.Closed(entry.what.code)
        self._stop(self._recorded[self._at], "the record ends while the socket closes")
        return None

    def _stop(self, entry: Entry, why: str) -> None:
        self.stopped = entry.turn
        self.notes.append(f"turn {entry.turn}: {why}, so it cannot be replayed from there on")

    def _after(self, steps: int) -> journal.What | None:
        at = self._at + steps
        return self._recorded[at].what if at < len(self._recorded) else None

    # What came of it

    def _compare(self, commands: Iterable[Command]) -> bool:
        """Hold what the call decided to the record; whether it noted anything."""
        noted = False
        for command in commands:
            if isinstance(command, events.AskModel):
                self._asked = command.request
            if isinstance(command, events.Record):
                noted = True
                if not self._matches(command.entry):
                    break
        return noted

    def _matches(self, entry: Entry) -> bool:
        if self._at >= len(self._recorded):
            if any(isinstance(each.what, journal.CallEnded) for each in self._recorded):
                self._differ(None, in_words(entry.what), entry)
            else:
                self._stop(self._recorded[-1], "the record ends while the call goes on")
            return False
        recorded = self._recorded[self._at]
        if not same(recorded, entry):
            expected, got = told_apart(recorded, entry)
            self._differ(recorded, got, entry, expected)
            return False
        self._at += 1
        return True

    def _differ(
        self, recorded: Entry | None, got: str, entry: Entry | None = None, expected: str = ""
    ) -> None:
        place = recorded or entry
        if place is None:
            raise AssertionError("a difference is somewhere")
        expected = expected or (in_words(recorded.what) if recorded else "the end of the record")
        turn = self._turn_of(place)
        self.difference = Difference(self._number, turn, place.at_ms, expected, got)

    def _turn_of(self, entry: Entry) -> int:
        """Give the turn that a difference is about: a cut is noted in the turn after it."""
        what = entry.what
        return what.of_turn if isinstance(what, journal.Heard) else entry.turn


class _Output:
    """The deltas of one request that are still to come, in their order."""

    def __init__(self, entry: Entry) -> None:
        what = entry.what
        if not isinstance(what, journal.ModelOutput):
            raise AssertionError("only a model's output has deltas")
        self._what = what
        self._waiting = deque(_deltas(what, entry.at_ms))

    def before(self, seq: int, entry: Entry | None) -> tuple[float, Event] | None:
        """Give the next delta if it came before the entry seq, which is entry."""
        if not self._waiting:
            return None
        at_ms, came, event = self._waiting[0]
        if came is None:  # an older journal tells no more than the time
            came = seq if entry is not None and at_ms <= entry.at_ms else seq + 1
        if came > seq:
            return None
        self._waiting.popleft()
        return at_ms, event

    def next(self) -> Event | None:
        """Give the delta that the call noted something about; None if it is not known."""
        if self._waiting:
            return self._waiting.popleft()[2]
        what = self._what
        if what.finish is None:
            return None
        told = {name: getattr(what, name) for name in _FINISH if hasattr(what, name)}
        return events.ModelEvent(what.request, Finish(what.finish, **told))


def _deltas(
    what: journal.ModelOutput, ended_ms: float
) -> Iterator[tuple[float, int | None, Event]]:
    """Give a request's deltas as (at_ms, seq, event); ended_ms: when it ended."""
    calls, others, steps, seq = iter(what.calls), deque(what.others), dict(what.steps), None
    for n, (at_ms, text) in enumerate((*what.deltas, (ended_ms, ""))):
        while others and others[0].deltas <= n:
            other = others.popleft()
            delta = what.usage if other.kind == "usage" else next(calls, None)
            if delta is not None:
                yield other.at_ms, other.seq, events.ModelEvent(what.request, delta)
        if n < len(what.deltas):
            seq = steps.get(n, seq)
            yield at_ms, seq, events.ModelEvent(what.request, TextDelta(text))
    # Older journals do not tell when these came: at the end is nearly always right.
    for call in calls:
        yield ended_ms, None, events.ModelEvent(what.request, call)
    if what.usage is not None and not what.others:
        yield ended_ms, None, events.ModelEvent(what.request, what.usage)


def _is_delta(event: Event) -> bool:
    return isinstance(event, events.ModelEvent)


_FRAMES: Final = (
    frames.Setup,
    frames.Prompt,
    frames.Dtmf,
    frames.Interrupt,
    frames.Info,
    frames.Error,
    frames.Unknown,
    frames.Malformed,
)


def _checked(entries: tuple[Entry, ...], session: int) -> tuple[Entry, ...]:
    """Refuse a record with holes: whatever came after one would only seem to differ."""
    if not entries:
        raise JournalError(f"session {session} of the call has no journal")
    for number, entry in enumerate(entries):
        if entry.seq != number:
            raise JournalError(
                f"the call cannot be replayed: entry {number} of session {session} was not kept, "
                "or is there twice"
            )
    if not isinstance(entries[0].what, journal.CallStarted):
        raise JournalError(f"session {session} of the call does not begin with its start")
    return entries
