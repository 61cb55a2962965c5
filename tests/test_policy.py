"""Numbers and sentences that could not work in a call are refused when they are written."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from voxyray.errors import AgentError
from voxyray.policy import Key, Policy

DEFAULTS = Policy()
NUMBERS = [name for name in Policy.__struct_fields__ if isinstance(getattr(DEFAULTS, name), float)]
COUNTS = [name for name in Policy.__struct_fields__ if type(getattr(DEFAULTS, name)) is int]
TEXTS = [name for name in Policy.__struct_fields__ if isinstance(getattr(DEFAULTS, name), str)]


class TestPolicy:
    def test_every_field_is_checked(self) -> None:
        others = {"fillers", "reprompts", "speculate", "speculate_after_s"}
        assert {*NUMBERS, *COUNTS, *TEXTS, *others} == {*Policy.__struct_fields__}
        assert (len(NUMBERS), len(COUNTS), len(TEXTS)) == (8, 5, 5)

    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "1", None, True])
    def test_a_deadline_is_a_number_above_zero(self, name: str, value: Any) -> None:
        with pytest.raises(AgentError, match=f"policy {name} must be a number above 0, not"):
            Policy(**{name: value})

    @pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "1", True])
    def test_a_pause_that_is_set_is_a_number_above_zero(self, value: Any) -> None:
        with pytest.raises(AgentError, match="policy speculate_after_s must be a number above 0"):
            Policy(speculate_after_s=value)
        assert Policy(speculate_after_s=None).speculate_after_s is None

    @pytest.mark.parametrize("value", [0, 1, "true", None])
    def test_a_switch_is_on_or_off(self, value: Any) -> None:
        with pytest.raises(AgentError, match="policy speculate must be true or false, not"):
            Policy(speculate=value)

    @pytest.mark.parametrize("name", COUNTS)
    @pytest.mark.parametrize("value", [-1, 1.5, "1", None, True])
    def test_a_count_is_a_whole_number(self, name: str, value: Any) -> None:
        with pytest.raises(AgentError, match=f"policy {name} must be a whole number"):
            Policy(**{name: value})

    @pytest.mark.parametrize("name", TEXTS)
    @pytest.mark.parametrize("value", ["", "  \n", None, 5])
    def test_a_sentence_says_something(self, name: str, value: Any) -> None:
        with pytest.raises(AgentError, match=f"policy {name} must be a sentence"):
            Policy(**{name: value})

    @pytest.mark.parametrize("name", ["fillers", "reprompts"])
    @pytest.mark.parametrize("value", ["One moment.", 5, None])
    def test_sentences_are_a_list(self, name: str, value: Any) -> None:
        with pytest.raises(AgentError, match=f"policy {name} must be a list of sentences"):
            Policy(**{name: value})

    def test_one_empty_sentence_of_several_is_found(self) -> None:
        with pytest.raises(AgentError, match="policy fillers, sentence 2, must be a sentence"):
            Policy(fillers=("Hm.", " "))

    def test_there_is_something_to_say_in_every_silence(self) -> None:
        with pytest.raises(AgentError, match="silence is dead air"):
            Policy(fillers=())
        assert Policy(reprompts=()).reprompts == ()  # straight to the goodbye

    def test_small_numbers_are_fine(self) -> None:
        assert Policy(retries=0, tool_rounds=0, filler_after_s=1).filler_after_s == 1

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(msgspec.ValidationError, match="filler_after"):
            msgspec.convert({"filler_after": 1.0}, Policy)


class TestKey:
    @pytest.mark.parametrize("does", [{"say": "a"}, {"ask": "a"}, {"tool": "a"}])
    def test_a_key_does_one_thing(self, does: dict[str, str]) -> None:
        assert msgspec.structs.asdict(Key(**does)) == {"say": "", "ask": "", "tool": "", **does}

    @pytest.mark.parametrize(
        "does", [{}, {"say": "a", "ask": "b"}, {"say": "a", "ask": "b", "tool": "c"}, {"say": " "}]
    )
    def test_no_more_and_no_less(self, does: dict[str, str]) -> None:
        with pytest.raises(AgentError, match="exactly one of: say, ask, tool"):
            Key(**does)
