"""Keys pressed one after the other."""

from __future__ import annotations

import pytest

from voxyray.keypad import KEYS, Keypad


def pressed(keys: str) -> Keypad:
    keypad = Keypad(2.0)
    for key in keys:
        keypad.pressed += key
    return keypad


def test_they_are_told_one_by_one_so_that_a_model_does_not_read_a_number() -> None:
    assert pressed("1042").take(0) == "[The caller pressed 1 0 4 2.]"


def test_the_key_of_a_menu_comes_after_what_was_pressed_before() -> None:
    assert pressed("").take(0, "3") == "[The caller pressed 3.]"
    assert pressed("12").take(0, "*") == "[The caller pressed 1 2 *.]"


def test_a_stuck_key_does_not_fill_the_models_memory() -> None:
    assert pressed("5" * 64).take(0) == f"[The caller pressed {' '.join('5' * 64)}.]"
    assert pressed("5" * 9999).take(0).endswith("5 5 and 9935 more keys.]")


def test_taking_begins_anew() -> None:
    keypad = pressed("12")
    keypad.take(0)
    assert keypad.pressed == ""
    keypad.pressed += "3"
    assert keypad.take(1) == "[The caller pressed 3.]"


@pytest.mark.parametrize(
    ("key", "after_s", "is_habit"),
    [("#", 0.0, True), ("#", 2.0, True), ("#", 2.1, False), ("5", 0.5, False), ("*", 0.5, False)],
)
def test_a_hash_after_an_input_is_a_habit(key: str, after_s: float, is_habit: bool) -> None:
    """conversationrelay.md 9 no. 27: `#` cuts the reply it triggered."""
    keypad = pressed("12")
    keypad.take(10.0)
    assert keypad.is_habit(key, 10.0 + after_s) is is_habit


def test_a_hash_that_ends_an_input_is_none() -> None:
    assert not pressed("12").is_habit("#", 0.0)
    keypad = pressed("12")
    keypad.take(10.0)
    keypad.pressed += "3"
    assert not keypad.is_habit("#", 10.5)


def test_nor_is_the_very_first_key() -> None:
    assert not Keypad(2.0).is_habit("#", 0.0)


def test_keys_are_single_characters() -> None:
    assert set("0123456789*#ABCD") == KEYS
    assert "" not in KEYS
    assert "12" not in KEYS
