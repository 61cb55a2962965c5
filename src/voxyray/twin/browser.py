"""A carrier whose voice and ear are somewhere else: in a browser, say.

Where the twin's own speech runs by the clock, `RemoteSpeech` asks for a piece to be spoken and is
told how far it got: what was heard at a cut is then what really sounded. `LiveCaller` is a caller
whose words come as they are recognised or typed, with nobody knowing the end of the sentence.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeAlias

import msgspec

from voxyray.twin.hearing import heard_language, is_backchannel, press
from voxyray.twin.phone import Phone
from voxyray.twin.relay import Relay, allows
from voxyray.twin.settings import OBSERVED, Timing
from voxyray.twin.speech import (
    Fate,
    Happening,
    Kind,
    Manner,
    Piece,
    Played,
    SpeakingOn,
    Speech,
)

# What is really played takes its own time. The start waits a little, so that a sentence whose end
# follows in a frame of its own is spoken in one go.
TIMING: Final = msgspec.structs.replace(OBSERVED, speech_start_ms=30, preempt_ms=300)

_SENTENCE_END: Final = re.compile(r"""[.!?…。！？\n]["'”’)\]]*\s*$""")
_LONGEST: Final = 200  # characters of a sentence made of clauses: some voices fail on long ones
_SLOWEST: Final = 4.0  # times slower than expected is no speech any more
_STARTS_WITHIN_MS: Final = 10_000.0
_PLAIN: Final = Manner()


class _Cue(msgspec.Struct, frozen=True, tag_field="do"):
    pass


class Speak(_Cue, frozen=True, tag="speak"):
    """Speak a piece now, and report on it by its number."""

    piece: int
    text: str
    lang: str


class Stop(_Cue, frozen=True, tag="stop"):
    """Be silent: a piece was cut, and this much of it counts as heard; fate as in `Spoken`."""

    piece: int
    heard: str
    fate: str


class Sound(_Cue, frozen=True, tag="sound"):
    """Something that is no text plays for a while: `play` or `digits`."""

    kind: str
    what: str
    length_ms: float


class Waiting(_Cue, frozen=True, tag="waiting"):
    """All text that waits to be spoken, unfinished clauses included."""

    text: str


Cue: TypeAlias = Speak | Stop | Sound | Waiting
OnCue: TypeAlias = Callable[[Cue], None]


class RemoteSpeech(Speech):
    """The queue of a session whose text is spoken elsewhere; cue is told what to do there.

    numbers: gives the pieces' numbers, so that those of two sessions are never mixed up.
    """

    def __init__(self, timing: Timing, cue: OnCue, numbers: Iterator[int] | None = None) -> None:
        super().__init__(timing)
        self._cue = cue
        self._numbers = numbers or itertools.count(1)
        self._number = 0  # of the piece that is spoken
        self._reached = 0  # characters of it
        self._over_ms = 0.0  # when it ends, if nobody reports anything
        self._shown = ""

    # What is reported; what is no longer spoken is not listened to.

    def started(self, number: int, now_ms: float) -> list[Happening]:
        """Take that a piece can be heard."""
        piece = self._spoken(number)
        if piece is None:
            return []
        self._started_ms = now_ms
        self._over_ms = now_ms + 2000 + _SLOWEST * piece.length_ms
        if self.speaking:
            return []
        self.speaking = True
        return [SpeakingOn(now_ms)]

    def reached(self, number: int, characters: int) -> None:
        """Take that so many characters of a piece were spoken."""
        if self._spoken(number) is not None:
            self._reached = max(self._reached, characters)

    def ended(self, number: int, now_ms: float) -> list[Happening]:
        """Take that a piece was spoken to its end."""
        happened = self.started(number, now_ms) if not self.speaking else []
        if self._spoken(number) is not None:
            self._over_ms = now_ms
        return happened

    def _spoken(self, number: int) -> Piece | None:
        piece = self._current
        return piece if piece is not None and _is_words(piece) and number == self._number else None

    # How the queue goes on

    def text(
        self, token: str, *, last: bool, now_ms: float, manner: Manner = _PLAIN
    ) -> list[Happening]:
        """Take one text frame, and show what waits."""
        happened = super().text(token, last=last, now_ms=now_ms, manner=manner)
        self._show()
        return happened

    def purge(self, now_ms: float) -> tuple[Played | None, list[Happening]]:
        """Stop the audio and forget all that waits."""
        self._shown = ""  # what was to come is not taken back: it shows what was not heard
        return super().purge(now_ms)

    def _put(
        self, kind: Kind, text: str, manner: Manner, now_ms: float, length_ms: float = 0
    ) -> None:
        """Queue a piece; clauses that wait anyway become one sentence, which sounds better."""
        before = self._queue[-1] if self._queue else None
        super()._put(kind, text, manner, now_ms, length_ms)
        added = self._queue[-1]
        if before is not None and _joins(before, added):
            self._queue.pop()
            self._queue[-1] = msgspec.structs.replace(
                before, text=before.text + added.text, length_ms=before.length_ms + added.length_ms
            )

    def _turn_ms(self) -> float | None:
        if self._current is not None and _is_words(self._current):
            return self._over_ms
        return super()._turn_ms()

    def _turn(self, at_ms: float) -> list[Happening]:
        before, was_speaking = self._current, self.speaking
        happened = super()._turn(at_ms)
        piece = self._current
        if piece is None or piece is before:
            return happened
        if not _is_words(piece):
            self._cue(Sound(piece.kind, piece.text, piece.length_ms))
            return happened
        self._number, self._reached = next(self._numbers), 0
        self._over_ms = at_ms + _STARTS_WITHIN_MS + _SLOWEST * piece.length_ms
        if not was_speaking:  # it is heard once that is reported
            self.speaking = False
            happened = [each for each in happened if not isinstance(each, SpeakingOn)]
        self._cue(Speak(self._number, piece.text, piece.manner.lang))
        self._show()
        return happened

    def _cut(self, now_ms: float, fate: Fate) -> Played | None:
        played = super()._cut(now_ms, fate)
        if played is not None and _is_words(played.piece):
            self._cue(Stop(self._number, played.heard, fate))
        return played

    def _characters(self, now_ms: float) -> float:  # noqa: ARG002 - no clock tells
        return self._reached

    def _show(self) -> None:
        text = "".join(piece.text for piece in self._queue if piece.kind == "text") + self._held
        if text != self._shown:
            self._shown = text
            self._cue(Waiting(text))


def _is_words(piece: Piece) -> bool:
    return piece.kind == "text" and piece.audible


def _joins(before: Piece, added: Piece) -> bool:
    return (
        before.kind == added.kind == "text"
        and before.manner == added.manner
        and before.cycle == added.cycle
        and len(before.text) + len(added.text) <= _LONGEST
        and _SENTENCE_END.search(before.text) is None
    )


class LiveCaller:
    """Somebody who talks, types and presses keys as they like; the order of frames is 2.7.

    Between two sessions of a call nobody listens: then every method does nothing, and says so.
    """

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._relay: Relay | None = None  # where the utterance under way was begun
        self._delivered = True

    def hear(self, words: str, *, last: bool, lang: str = "") -> bool:
        """Take all words of an utterance so far; false if there is nobody to hear them."""
        relay = self._phone.relay
        if relay is None or not words.strip():
            return relay is not None
        begins = self._relay is not relay
        if begins:
            self._begin(relay)
        lang = lang or heard_language(relay)
        then = None if last else partial(self._partial, relay, words, lang)
        cut = False
        if relay.speech.busy and not is_backchannel(relay, words):
            cut = relay.barge_in("speech", then)
        elif then is not None:
            then()
        if begins and self._delivered and not cut:
            relay.new_turn()
        if last:
            self._finish(relay, words, lang)
        return True

    def noise(self, *, on: bool) -> bool:
        """Note that the caller is about to say something, without any words yet."""
        relay = self._phone.relay
        if relay is not None and relay.caller_talks != on and self._relay is not relay:
            relay.client_speaking("on" if on else "off")
        return relay is not None

    def cut_in(self) -> bool:
        """Silence the agent without a word; false if it was silent, or may not be cut."""
        relay = self._phone.relay
        if (
            relay is None
            or not relay.speech.busy
            or not allows(relay.speech.interruptible, "speech")
        ):
            return False
        if not relay.caller_talks:
            relay.client_speaking("on")
        return relay.barge_in("speech")

    def press(self, key: str) -> bool:
        """Press a key."""
        relay = self._phone.relay
        if relay is not None:
            press(relay, key)
            self._phone.bell.ring()
        return relay is not None

    def give_up(self) -> None:
        """End an utterance that came to nothing."""
        if self._relay is not None and not self._relay.over:
            self._relay.client_speaking("off")
        self._relay = None

    def _begin(self, relay: Relay) -> None:
        self._relay = relay
        setting = relay.attributes.report_input_during_agent_speech
        self._delivered = not relay.speech.busy or allows(setting, "speech")
        if not self._delivered:
            relay.recorder.warn(
                f"reportInputDuringAgentSpeech is {setting!r}: words spoken over the agent are lost"
            )
        if not relay.caller_talks:
            relay.client_speaking("on")

    def _partial(self, relay: Relay, words: str, lang: str) -> None:
        if self._delivered and relay.attributes.partial_prompts:
            relay.prompt(words, last=False, lang=lang)

    def _finish(self, relay: Relay, words: str, lang: str) -> None:
        self._relay = None
        relay.client_speaking("off")
        if self._delivered:
            relay.prompt(words, last=True, lang=lang)
