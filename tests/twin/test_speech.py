from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.twin.clauses import played_part, split
from voxyray.twin.settings import Timing
from voxyray.twin.speech import (
    CycleDone,
    Happening,
    Manner,
    Played,
    SpeakingOff,
    SpeakingOn,
    Speech,
)

FILLER = Manner(preemptible=True)


def drain(speech: Speech) -> list[Happening]:
    happened = []
    while (due := speech.next_ms()) is not None:
        happened += speech.advance(due)
    return happened


def heard(happened: list[Happening]) -> str:
    return "".join(h.heard for h in happened if isinstance(h, Played))


def brief(happened: list[Happening]) -> list[str]:
    names = {SpeakingOn: "on", SpeakingOff: "off", CycleDone: "done"}
    return [
        h.heard.strip() if isinstance(h, Played) else f"{names[type(h)]}@{h.at_ms:g}"
        for h in happened
    ]


def test_speaks_by_clause_at_fifteen_characters_a_second() -> None:
    speech = Speech()
    speech.text("I heard: yes, all of it.", last=True, now_ms=0)
    assert brief(drain(speech)) == [
        "on@300",
        "I heard:",
        "yes,",
        "all of it.",
        "off@1900",
        "done@1900",
    ]


def test_audio_does_not_wait_for_last() -> None:
    speech = Speech()
    speech.text("First sentence. Then", last=False, now_ms=0)
    assert brief(speech.advance(300)) == ["on@300"]


def test_an_unfinished_clause_waits_for_more_and_is_flushed_by_last() -> None:
    speech = Speech(Timing(unfinished_ms=None))
    speech.text("It is 3.", last=False, now_ms=0)
    speech.text("5 o'clo", last=False, now_ms=50)
    assert speech.next_ms() is None
    speech.text("", last=True, now_ms=5000)
    assert heard(drain(speech)) == "It is 3.5 o'clo"


def test_an_unfinished_clause_does_not_wait_for_ever() -> None:
    speech = Speech()
    speech.text("hold on", last=False, now_ms=0)
    assert speech.next_ms() == 1000
    assert brief(drain(speech))[:2] == ["on@1300", "hold on"]
    assert not speech.idle  # the talk cycle is still open
    settled = Speech()
    settled.text("One moment.", last=False, now_ms=0)
    assert settled.next_ms() == 100


def test_cycles_queue_first_in_first_out_without_a_gap() -> None:
    speech = Speech()
    speech.text("One.", last=True, now_ms=0)
    speech.text("Two.", last=True, now_ms=10)
    cycles = [h for h in drain(speech) if not isinstance(h, Played)]
    assert [type(h).__name__ for h in cycles] == [
        "SpeakingOn",
        "CycleDone",
        "SpeakingOff",
        "CycleDone",
    ]


def test_a_purge_gives_the_fragment_of_the_current_clause_only() -> None:
    speech = Speech()
    speech.text("Sentence 1 of many. Sentence 2 of many. Sentence 3.", last=True, now_ms=0)
    first = 300 + 1000 * len("Sentence 1 of many. ") / 15
    cut, before = speech.purge(first + 1000 * len("Sentence 2 of") / 15 + 1)
    assert heard(before) == "Sentence 1 of many. "
    assert cut is not None
    assert (cut.heard, cut.fate) == ("Sentence 2 of", "interrupted")
    assert cut.at_ms - cut.started_ms == pytest.approx(868, abs=1)
    assert speech.idle
    assert drain(speech) == []


def test_what_comes_after_a_purge_is_spoken() -> None:
    speech = Speech()
    speech.text("A long sentence that is cut", last=False, now_ms=0)
    speech.purge(2000)
    speech.text(" late token.", last=False, now_ms=2010)
    assert heard(drain(speech)) == " late token."


def test_a_filler_is_preempted_by_the_next_text() -> None:
    speech = Speech()
    speech.text("One moment please, I am looking.", last=True, now_ms=0, manner=FILLER)
    speech.advance(300)
    happened = speech.text("Here it is.", last=True, now_ms=1000)
    assert [type(h).__name__ for h in happened] == ["Played"]
    assert heard(happened) == "One moment"
    assert speech.speaking
    assert brief(drain(speech)) == ["Here it is.", "off@3733.33", "done@3733.33"]


def test_tokens_of_one_filler_do_not_cut_each_other() -> None:
    speech = Speech()
    speech.text("One moment, ", last=False, now_ms=0, manner=FILLER)
    speech.advance(400)
    speech.text("please.", last=True, now_ms=400, manner=FILLER)
    assert heard(drain(speech)) == "One moment, please."


def test_what_is_not_preemptible_is_finished_first() -> None:
    speech = Speech()
    speech.text("All of this.", last=True, now_ms=0)
    speech.advance(400)
    speech.text("And this.", last=True, now_ms=400, manner=FILLER)
    assert heard(drain(speech)) == "All of this.And this."


def test_play_loops_and_is_preempted() -> None:
    speech = Speech(Timing(play_ms=1000))
    speech.play("https://x.example/hold.mp3", loop=3, now_ms=0, manner=Manner())
    assert brief(drain(speech))[-1] == "off@3300"
    speech.play("https://x.example/hold.mp3", loop=0, now_ms=4000, manner=FILLER)
    speech.advance(9000)
    happened = speech.text("Found it.", last=True, now_ms=9000)
    assert isinstance(happened[0], Played)
    assert happened[0].fate == "preempted"


def test_digits_are_slow_when_idle_and_at_once_while_the_caller_talks() -> None:
    slow, quick = Speech(), Speech()
    slow.digits("1234ww#", now_ms=0, caller_talks=False)
    quick.digits("1", now_ms=0, caller_talks=True)
    assert slow.next_ms() == 2000
    assert quick.next_ms() == 0
    played = drain(slow)
    assert len(played) == 1
    assert isinstance(played[0], Played)
    assert played[0].at_ms - played[0].started_ms == 5 * 200 + 2 * 500


def test_clauses_keep_every_character() -> None:
    clauses, rest = split('He said "no." Then: 3.5 km,\nright? もし。はい')
    assert clauses == ['He said "no." ', "Then: ", "3.5 km,\n", "right? ", "もし。"]
    assert rest == "はい"


def test_only_whole_words_count_as_played() -> None:
    assert played_part("Sentence 2 of many", 12.99) == "Sentence 2"
    assert played_part("Sentence 2 of many", 13) == "Sentence 2 of"
    assert played_part("Hi. ", 3) == "Hi. "
    assert played_part("Hello", 4) == ""


tokens = st.lists(
    st.tuples(st.text(alphabet="ab 3.,!?\n…。é", max_size=12), st.booleans(), st.integers(0, 3000)),
    max_size=12,
)


@given(tokens)
def test_everything_sent_is_played_in_order(frames: list[tuple[str, bool, int]]) -> None:
    speech, now_ms, played = Speech(), 0.0, []
    for token, last, gap_ms in frames:
        now_ms += gap_ms
        played += speech.text(token, last=last, now_ms=now_ms)
    played += speech.text("", last=True, now_ms=now_ms)
    played += drain(speech)
    assert heard(played) == "".join(token for token, _, _ in frames)
    assert speech.idle
    assert not speech.speaking


@given(tokens, st.integers(0, 20_000), tokens)
def test_after_a_cut_a_prefix_was_played_and_late_tokens_are_too(
    frames: list[tuple[str, bool, int]], cut_ms: int, late: list[tuple[str, bool, int]]
) -> None:
    speech, now_ms, played = Speech(), 0.0, []
    for token, last, gap_ms in frames:
        now_ms += gap_ms
        played += speech.text(token, last=last, now_ms=now_ms)
    cut, before = speech.purge(now_ms + cut_ms)
    got = heard(played + before) + (cut.heard if cut is not None else "")
    assert "".join(token for token, _, _ in frames).startswith(got)
    after: list[Happening] = []
    for token, last, _ in late:
        after += speech.text(token, last=last, now_ms=now_ms + cut_ms)
    after += speech.close_cycle(now_ms + cut_ms)
    assert heard(after + drain(speech)) == "".join(token for token, _, _ in late)


@given(tokens)
def test_speaking_goes_on_and_off_in_turns_and_time_never_runs_back(
    frames: list[tuple[str, bool, int]],
) -> None:
    speech, now_ms, happened = Speech(), 0.0, []
    for index, (token, last, gap_ms) in enumerate(frames):
        now_ms += gap_ms
        manner = FILLER if index % 3 == 0 else Manner()
        happened += speech.text(token, last=last, now_ms=now_ms, manner=manner)
    happened += speech.close_cycle(now_ms) + drain(speech)
    times = [h.at_ms for h in happened]
    assert all(a <= b or math.isclose(a, b) for a, b in itertools.pairwise(times))
    switches = [type(h) for h in happened if isinstance(h, SpeakingOn | SpeakingOff)]
    assert switches == [SpeakingOn, SpeakingOff] * (len(switches) // 2)
