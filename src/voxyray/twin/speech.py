"""What Twilio's text-to-speech does with our frames, without I/O and without a clock.

Frames go in with the time, what happened comes out: speaking starts and stops, a piece was played.
Whoever drives it calls `advance` at `next_ms`. Rules: talk cycle 4.1, purge 4.2, preemption 4.4,
digits 3.3 of the protocol reference.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

import msgspec

from voxyray.twin.clauses import looks_finished, next_word_end, played_part, split
from voxyray.twin.settings import OBSERVED, Timing

Kind: TypeAlias = Literal["text", "play", "digits", "mark"]
Fate: TypeAlias = Literal["played", "interrupted", "preempted"]


class Manner(msgspec.Struct, frozen=True):
    """How a message wants to be treated.

    interruptible: what may cut it: `none`, `dtmf`, `speech` or `any`. source: who wanted it said.
    """

    interruptible: str = "any"
    preemptible: bool = False
    lang: str = ""
    source: str = "text"


class Piece(msgspec.Struct, frozen=True):
    """One thing to play, as a whole or up to a cut; a mark ends a talk cycle silently."""

    kind: Kind
    text: str
    manner: Manner
    cycle: int
    ready_ms: float
    length_ms: float = 0

    @property
    def audible(self) -> bool:
        """Whether the caller hears the agent while it plays."""
        return self.kind == "play" or (self.kind == "text" and bool(self.text.strip()))


class SpeakingOn(msgspec.Struct, frozen=True):
    """Audio of the agent starts."""

    at_ms: float


class SpeakingOff(msgspec.Struct, frozen=True):
    """Audio of the agent stops."""

    at_ms: float


class Played(msgspec.Struct, frozen=True):
    """A piece is over; heard is the part of its text that the caller heard."""

    at_ms: float
    started_ms: float
    piece: Piece
    heard: str
    fate: Fate


class CycleDone(msgspec.Struct, frozen=True):
    """A talk cycle closed by `last: true` was played to its end."""

    at_ms: float
    cycle: int


Happening: TypeAlias = SpeakingOn | SpeakingOff | Played | CycleDone

_PLAIN = Manner()


class Speech:
    """The queue of one relay session; all times are in milliseconds on the driver's clock.

    cycle: the number of the newest talk cycle. speaking: whether audio is playing.
    """

    def __init__(self, timing: Timing = OBSERVED) -> None:
        self._timing = timing
        self._queue: deque[Piece] = deque()
        self._current: Piece | None = None
        self._started_ms = 0.0
        self._free_ms = 0.0  # since when nothing has been playing
        self._held = ""  # text of the unfinished clause
        self._held_manner = _PLAIN
        self._held_at_ms = 0.0
        self._preempted_at_ms: float | None = None
        self.cycle = 0
        self._cycle_open = False
        self.speaking = False

    @property
    def busy(self) -> bool:
        """Whether anything is playing or waits to be played, an unfinished clause included."""
        return self._current is not None or bool(self._queue) or bool(self._held)

    @property
    def idle(self) -> bool:
        """Whether nothing is to be played and no talk cycle is open."""
        return not self.busy and not self._cycle_open

    @property
    def interruptible(self) -> str:
        """What may cut the piece that plays, or would play next."""
        if self._current is not None:
            return self._current.manner.interruptible
        for piece in self._queue:
            if piece.kind != "mark":
                return piece.manner.interruptible
        return self._held_manner.interruptible

    def next_ms(self) -> float | None:
        """Give the time of the next thing that will happen by itself."""
        times = [time for time in (self._flush_ms(), self._turn_ms()) if time is not None]
        return min(times, default=None)

    def advance(self, now_ms: float) -> list[Happening]:
        """Let time pass up to now."""
        happened: list[Happening] = []
        while (at_ms := self.next_ms()) is not None and at_ms <= now_ms:
            if self._turn_ms() == at_ms:
                happened += self._turn(at_ms)
            else:
                happened += self._release(at_ms)
        return happened

    def text(
        self, token: str, *, last: bool, now_ms: float, manner: Manner = _PLAIN
    ) -> list[Happening]:
        """Take one text frame; an empty token only opens or closes a talk cycle."""
        happened = self.advance(now_ms)
        if not self._cycle_open:
            self.cycle += 1
            self._cycle_open = True
        if token:
            happened += self._preempt(now_ms, manner.preemptible)
            if self._held and manner != self._held_manner:
                happened += self._release(now_ms)
            self._held_manner, self._held_at_ms = manner, now_ms
            clauses, self._held = split(self._held + token)
            for clause in clauses:
                self._put("text", clause, manner, now_ms)
        if last:
            happened += self.close_cycle(now_ms)
        return happened + self._settle(now_ms)

    def close_cycle(self, now_ms: float) -> list[Happening]:
        """Bring out the unfinished clause and end the talk cycle."""
        happened = self._release(now_ms)
        if self._cycle_open:
            self._cycle_open = False
            self._queue.append(Piece("mark", "", _PLAIN, self.cycle, now_ms))
        return happened + self._settle(now_ms)

    def play(self, source: str, *, loop: int, now_ms: float, manner: Manner) -> list[Happening]:
        """Take one play frame; loop 0 means 1000 times."""
        happened = self.advance(now_ms) + self._preempt(now_ms, preemptible=False)
        happened += self._release(now_ms)
        length_ms = self._timing.play_ms * (loop or 1000)
        self._put("play", source, manner, now_ms, length_ms)
        return happened

    def digits(self, digits: str, *, now_ms: float, caller_talks: bool) -> list[Happening]:
        """Take one sendDigits frame: at once while the caller talks, else slow when idle."""
        happened = self.advance(now_ms) + self._release(now_ms)
        timing = self._timing
        pauses = digits.count("w")
        length_ms = pauses * timing.digit_pause_ms + (len(digits) - pauses) * timing.digit_ms
        wait_ms = 0.0 if caller_talks or self.busy else timing.digits_idle_ms
        piece = Piece("digits", digits, _PLAIN, self.cycle, now_ms + wait_ms, length_ms)
        self._queue.append(piece)
        return happened

    def purge(self, now_ms: float) -> tuple[Played | None, list[Happening]]:
        """Stop the audio and forget all that waits; gives the cut piece and what went before.

        The caller's driver reports the cut itself, because the order of its frames depends on
        what caused it; `speaking` is off afterwards.
        """
        happened = self.advance(now_ms)
        cut = self._cut(now_ms, "interrupted")
        self._queue.clear()
        self._held = ""
        self._cycle_open = False
        self._preempted_at_ms = None
        self.speaking = False
        return cut, happened

    def heard_now(self, now_ms: float) -> str:
        """Give the part of the current piece that was heard so far."""
        piece = self._current
        if piece is None or piece.kind != "text":
            return ""
        return played_part(piece.text, self._characters(now_ms))

    def next_word_ms(self, now_ms: float) -> float | None:
        """Give the time when the next word of the current piece will have been heard."""
        piece = self._current
        if piece is None or piece.kind != "text":
            return None
        end = next_word_end(piece.text, self._characters(now_ms))
        return None if end is None else self._started_ms + 1000 * end / self._timing.speech_cps

    def _characters(self, now_ms: float) -> float:
        return (now_ms - self._started_ms) / 1000 * self._timing.speech_cps

    def _flush_ms(self) -> float | None:
        if not self._held:
            return None
        settled = looks_finished(self._held)
        wait_ms = self._timing.settled_ms if settled else self._timing.unfinished_ms
        return None if wait_ms is None else self._held_at_ms + wait_ms

    def _turn_ms(self) -> float | None:
        if self._current is not None:
            return self._started_ms + self._current.length_ms
        return max(self._queue[0].ready_ms, self._free_ms) if self._queue else None

    def _turn(self, at_ms: float) -> list[Happening]:
        """End the current piece, or start the next."""
        happened: list[Happening] = []
        if self._current is not None:
            piece, self._current = self._current, None
            self._free_ms = at_ms
            happened.append(Played(at_ms, self._started_ms, piece, piece.text, "played"))
            happened += self._settle(at_ms)
        if self._queue and self._queue[0].ready_ms <= at_ms:
            piece = self._queue.popleft()
            self._current, self._started_ms = piece, at_ms
            if piece.audible and not self.speaking:
                self.speaking = True
                happened.append(SpeakingOn(at_ms))
        return happened

    def _settle(self, at_ms: float) -> list[Happening]:
        """Pass over marks and silence, and notice that the audio has run out."""
        happened: list[Happening] = []
        if self._current is not None:
            return happened
        while self._queue and not self._queue[0].audible and self._queue[0].kind != "digits":
            piece = self._queue.popleft()
            if piece.kind == "mark":
                happened += self._fall_silent(at_ms)
                happened.append(CycleDone(at_ms, piece.cycle))
            else:
                happened.append(Played(at_ms, at_ms, piece, piece.text, "played"))
        return happened + self._fall_silent(at_ms)

    def _fall_silent(self, at_ms: float) -> list[Happening]:
        # Audio that was only preempted counts as going on (2.7).
        waits = self._queue and any(piece.audible for piece in self._queue)
        preempting = self._preempted_at_ms is not None
        if not self.speaking or waits or preempting:
            return []
        self.speaking = False
        return [SpeakingOff(at_ms)]

    def _put(
        self, kind: Kind, text: str, manner: Manner, now_ms: float, length_ms: float = 0
    ) -> None:
        ready_ms = now_ms + self._timing.speech_start_ms
        if self._preempted_at_ms is not None:
            ready_ms = max(ready_ms, self._preempted_at_ms + self._timing.preempt_ms)
            self._preempted_at_ms = None
        if kind == "text":
            length_ms = 1000 * len(text) / self._timing.speech_cps if text.strip() else 0.0
        self._queue.append(Piece(kind, text, manner, self.cycle, ready_ms, length_ms))

    def _release(self, now_ms: float) -> list[Happening]:
        """Queue the unfinished clause as it is."""
        if self._held:
            text, self._held = self._held, ""
            self._put("text", text, self._held_manner, now_ms)
        return self._settle(now_ms)

    def _preempt(self, now_ms: float, preemptible: bool) -> list[Happening]:
        """Drop preemptible messages that came before; those of one filler do not cut each other."""

        def yields(piece: Piece) -> bool:
            same_filler = preemptible and self._cycle_open and piece.cycle == self.cycle
            return piece.manner.preemptible and not same_filler

        if self._held and self._held_manner.preemptible and not preemptible:
            self._held = ""
        dropped = {piece.cycle for piece in self._queue if yields(piece)}
        kept = [
            p for p in self._queue if not (yields(p) or (p.kind == "mark" and p.cycle in dropped))
        ]
        self._queue = deque(kept)
        if self._current is None or not yields(self._current):
            return []
        cycle = self._current.cycle
        self._queue = deque(p for p in self._queue if p.kind != "mark" or p.cycle != cycle)
        cut = self._cut(now_ms, "preempted")
        if self.speaking:
            self._preempted_at_ms = now_ms
        return [cut] if cut is not None else []

    def _cut(self, now_ms: float, fate: Fate) -> Played | None:
        piece, started_ms = self._current, self._started_ms
        heard = self.heard_now(now_ms)
        self._current = None
        self._free_ms = now_ms
        return None if piece is None else Played(now_ms, started_ms, piece, heard, fate)
