"""Whole numbers in what callers say, in words or in digits."""

from __future__ import annotations

from typing import Final

from voxyray.models.offline.words import normal

_UP_TO_NINETEEN: Final = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_FROM_TWENTY: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL: Final = {word: value for value, word in enumerate(_UP_TO_NINETEEN.split())}
_TENS: Final = {word: 10 * value for value, word in enumerate(_FROM_TWENTY.split(), start=2)}
_ALONE: Final = {"couple": 2, "dozen": 12, "pair": 2, "single": 1}
_SCALES: Final = {"hundred": 100, "thousand": 1000, "million": 1_000_000}


def numbers(text: str) -> list[int]:
    """Give every whole number of a sentence, written in digits or in words.

    `twelve hundred` is 1200, `twenty-five` 25, `1,200` 1200.
    """
    found: list[int] = []
    total, part, open_ = 0, 0, False
    last = ""
    for word in [*normal(text).split(), ""]:
        value = number_word(word)
        joins = word == "and" and last in _SCALES
        ends = value is None or _starts_anew(last, word)
        if open_ and ends and not joins and word not in _SCALES:
            found.append(total + part)
            total, part, open_ = 0, 0, False
        if value is not None:
            part, open_ = part + value, True
        elif word in _SCALES and (open_ or last in ("a", "one")):
            part = max(part, 1) * _SCALES[word]
            open_ = True
            if _SCALES[word] >= 1000:
                total, part = total + part, 0
        elif word in _ALONE:
            found.append(_ALONE[word])
        last = word if word != "and" else last
    return found


def number_word(word: str) -> int | None:
    """Give the number that one word is, below a hundred in words; None if it is none."""
    if word.isascii() and word.isdigit() and len(word) <= 12:
        return int(word)
    return _SMALL.get(word, _TENS.get(word))


def _starts_anew(last: str, word: str) -> bool:
    """Whether a number word does not go on with the one before: `two three` are two numbers."""
    if last in _TENS:
        return not 0 < _SMALL.get(word, 0) < 10
    return last not in _SCALES


def number(text: str) -> int | None:
    """Give the last number of a sentence, since people correct themselves to the right."""
    found = numbers(text)
    return found[-1] if found else None
