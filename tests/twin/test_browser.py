"""Speech that somebody else plays, and a caller without a script."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.twin.browser import TIMING, Cue, RemoteSpeech, Speak, Stop, Waiting
from voxyray.twin.speech import CycleDone, Happening, Manner, Played, SpeakingOff, SpeakingOn

FILLER = Manner(preemptible=True)


class Stage:
    """A queue, and what it asked to be played; the clock is `now_ms`."""

    def __init__(self) -> None:
        self.cues: list[Cue] = []
        self.happened: list[Happening] = []
        self.speech = RemoteSpeech(TIMING, self.cues.append)
        self.now_ms = 0.0

    def say(self, *tokens: str, last: bool = True, manner: Manner | None = None) -> None:
        for index, token in enumerate(tokens, 1):
            self.happened += self.speech.text(
                token,
                last=last and index == len(tokens),
                now_ms=self.now_ms,
                manner=manner or Manner(),
            )

    def wait(self, ms: float) -> None:
        self.now_ms += ms
        self.happened += self.speech.advance(self.now_ms)

    @property
    def asked(self) -> list[Speak]:
        return [cue for cue in self.cues if isinstance(cue, Speak)]

    def play(self, characters: int | None = None) -> None:
        """Play what was asked for last, to its end or for so many characters."""
        piece = self.asked[-1]
        self.happened += self.speech.started(piece.piece, self.now_ms)
        self.now_ms += 100
        if characters is not None:
            self.speech.reached(piece.piece, characters)
            return
        self.happened += self.speech.ended(piece.piece, self.now_ms)
        self.wait(0)

    def play_all(self) -> None:
        played = 0
        while len(self.asked) > played:
            played = len(self.asked)
            self.play()
            self.wait(1000)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_speaking_begins_when_it_can_be_heard(stage: Stage) -> None:
    stage.say("Hello there.")
    stage.wait(2000)
    assert [cue.text for cue in stage.asked] == ["Hello there."]
    assert stage.happened == []
    stage.play(3)
    assert stage.happened == [SpeakingOn(2000)]
    stage.play()
    assert [type(each) for each in stage.happened[1:]] == [Played, SpeakingOff, CycleDone]


def test_the_first_clause_is_spoken_at_once_and_the_rest_by_sentences(stage: Stage) -> None:
    stage.say("First of all, ", "this, that, ", "and more. And", " again, yes.", last=False)
    stage.wait(100)
    stage.say("", last=True)
    stage.play_all()
    assert "".join(each.text for each in stage.asked) == (
        "First of all, this, that, and more. And again, yes."
    )
    assert [each.text for each in stage.asked][-1] == "And again, yes."


def test_what_waits_is_shown_until_it_is_spoken(stage: Stage) -> None:
    stage.say("One. ", "Two", last=False)
    stage.wait(50)
    shown = [cue.text for cue in stage.cues if isinstance(cue, Waiting)]
    assert shown == ["One. ", "One. Two", "Two"]


def test_what_was_heard_at_a_cut_is_what_was_reported(stage: Stage) -> None:
    stage.say("One two three four.")
    stage.wait(100)
    stage.play(len("One two th"))
    stage.wait(60_000 - stage.now_ms if stage.now_ms > 60_000 else 500)
    cut, _ = stage.speech.purge(stage.now_ms)
    assert cut is not None
    assert (cut.heard, cut.fate) == ("One two", "interrupted")
    assert stage.cues[-1] == Stop(stage.asked[0].piece, "One two", "interrupted")


def test_reports_of_what_is_no_longer_spoken_count_for_nothing(stage: Stage) -> None:
    stage.say("One two. Three four.")
    stage.wait(100)
    old = stage.asked[0].piece
    stage.speech.purge(stage.now_ms)
    stage.say("Five six.")
    stage.wait(100)
    assert stage.speech.started(old, stage.now_ms) == []
    assert stage.speech.ended(old, stage.now_ms) == []
    stage.speech.reached(old, 9)
    assert stage.speech.heard_now(stage.now_ms) == ""


def test_a_filler_makes_room_for_the_answer(stage: Stage) -> None:
    stage.say("One moment please.", manner=FILLER)
    stage.wait(100)
    stage.play(len("One moment "))
    stage.say("Here it is.")
    assert Stop(stage.asked[0].piece, "One moment", "preempted") in stage.cues
    stage.wait(1000)
    assert stage.asked[-1].text == "Here it is."


def test_a_voice_that_says_nothing_is_given_up(stage: Stage) -> None:
    stage.say("Hello.")
    stage.wait(100)
    stage.wait(60_000)
    assert stage.speech.idle


@given(st.lists(st.text("ab ,.!?\n", max_size=30), max_size=8))
def test_everything_is_spoken_once_and_in_order(tokens: list[str]) -> None:
    stage = Stage()
    stage.say(*tokens, "")
    stage.wait(2000)
    stage.play_all()
    played = [each for each in stage.happened if isinstance(each, Played)]
    assert "".join(each.piece.text for each in played) == "".join(tokens)
    assert stage.speech.idle
    numbers = [each.piece for each in stage.asked]
    assert numbers == sorted(set(numbers))
    assert all(msgspec.json.encode(cue) for cue in stage.cues)
