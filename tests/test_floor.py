"""Who is speaking, as far as the carrier tells."""

from __future__ import annotations

import pytest

from voxyray.floor import Floor
from voxyray.reply import Reply


def reply(text: str = "One two.", *, played: str = "", complete: bool = True) -> Reply:
    made = Reply()
    made.say(text)
    made.complete = complete
    if played:
        made.played(played)
    return made


class TestEstimate:
    def test_text_takes_its_time_and_what_follows_is_queued(self) -> None:
        floor = Floor(10.0)
        floor.speak(20, now=100.0, starts_s=0.5)
        assert floor.quiet_at == 102.5
        floor.speak(10, now=101.0)
        assert floor.quiet_at == 103.5

    def test_after_a_silence_speech_starts_anew(self) -> None:
        floor = Floor(10.0)
        floor.speak(10, now=100.0, starts_s=0.5)
        floor.speak(10, now=200.0, starts_s=0.5)
        assert floor.quiet_at == 201.5

    def test_the_agent_sounds_until_then_or_while_the_carrier_says_so(self) -> None:
        floor = Floor(10.0)
        assert not floor.is_sounding(0.0)
        floor.speak(10, now=0.0, starts_s=0.5)
        assert floor.is_sounding(1.4)
        assert not floor.is_sounding(1.5)
        floor.agent_speaking = True
        assert floor.is_sounding(9.0)


class TestPlayed:
    def test_a_reply_under_way_was_not_played(self) -> None:
        floor = Floor(10.0)
        assert not floor.has_played(reply(complete=False, played="One two."), 9.0)

    def test_without_confirmations_silence_counts(self) -> None:
        floor = Floor(10.0)
        assert floor.has_played(reply(), 0.0)
        floor.agent_speaking = True
        assert not floor.has_played(reply(), 0.0)

    @pytest.mark.parametrize(
        ("played", "speaking", "now", "has_played"),
        [
            ("One two.", True, 0.0, True),
            ("One", False, 0.0, False),
            ("One", False, 5.0, True),  # words that the voice read out differently
            ("One", True, 5.0, False),
            ("", False, 5.0, True),
        ],
    )
    def test_confirmations_count_and_silence_only_after_the_estimated_end(
        self, played: str, speaking: bool, now: float, has_played: bool
    ) -> None:
        floor = Floor(10.0)
        floor.plays_reported = True
        floor.agent_speaking = speaking
        floor.quiet_at = 5.0
        assert floor.has_played(reply(played=played), now) is has_played


class TestNoise:
    def test_a_silent_caller_is_not_heard(self) -> None:
        floor = Floor(10.0)
        assert not floor.hears_caller()
        floor.client_speaking = False
        assert not floor.hears_caller()

    def test_noise_does_not_count_for_ever(self) -> None:
        floor = Floor(10.0)
        floor.client_speaking = True
        assert [floor.hears_caller() for _ in range(20)].count(True) == 8
        floor.client_speaking = False
        floor.hears_caller()
        floor.client_speaking = True
        assert not floor.hears_caller()

    def test_words_show_that_it_was_no_noise(self) -> None:
        floor = Floor(10.0)
        floor.client_speaking = True
        for _ in range(20):
            floor.hears_caller()
        floor.caller_acts()
        assert floor.hears_caller()

    def test_silence_does_not_use_up_the_patience_with_noise(self) -> None:
        floor = Floor(10.0)
        for _ in range(20):
            floor.hears_caller()
        floor.client_speaking = True
        assert floor.hears_caller()
