"""Callers' words in one plain form, with their numbers as digits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from voxyray.errors import ToolError

_MAX_CHARS: Final = 400

_UP_TO_NINETEEN: Final = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_UP_TO_TWENTIETH: Final = """
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth
"""
_TENS: Final[Mapping[str, int]] = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
_NUMBERS: Final[Mapping[str, int]] = {
    **{word: value for value, word in enumerate(_UP_TO_NINETEEN.split())},
    **_TENS,
}
_ORDINALS: Final[Mapping[str, int]] = {
    **{word: value for value, word in enumerate(_UP_TO_TWENTIETH.split(), 1)},
    "thirtieth": 30,
}


class Unclear(ToolError):
    """A day or time that cannot be, or could be two; its words can be said to the caller."""


def plain(text: str) -> str:
    """Give lower-case words of ASCII, numbers as digits: `half past 1`, `the 24th`, `1 30 pm`."""
    text = text[:_MAX_CHARS].casefold().replace("’", "'").replace("'", "")
    text = re.sub(r"(\d{4}-\d\d-\d\d)t(?=\d)", r"\1 ", text)
    text = re.sub(r"\b(\d\d?:\d\d):\d\d(?:\.\d+)?(?:z|[+-]\d\d:?\d\d)?", r"\1 ", text)
    text = re.sub(r"\b(\d\d?)\.(\d\d)\b", r"\1:\2", text)
    text = re.sub(r"\b([ap])\.?\s?m\b\.?", r"\1m", text)
    text = re.sub(r"(?<!\d)[:/\-]|[:/\-](?!\d)", " ", text)
    words = re.sub(r"[^a-z0-9:/\-]", " ", text).split()
    return " ".join(_with_digits(words))


def _with_digits(words: list[str]) -> list[str]:
    done: list[str] = []
    at = 0
    while at < len(words):
        word, after = words[at], words[at + 1] if at + 1 < len(words) else ""
        tens, ones = _TENS.get(word, 0), _NUMBERS.get(after, 0)
        taken = 1
        if tens and 0 < ones < 10:
            word, taken = str(tens + ones), 2
        elif tens and 0 < _ORDINALS.get(after, 0) < 10:
            word, taken = _nth(tens + _ORDINALS[after]), 2
        elif word in ("oh", "o", "zero") and 0 < ones < 10 and done and done[-1].isdigit():
            word, taken = f"0{ones}", 2
        elif word in _NUMBERS:
            word = str(_NUMBERS[word])
        elif word in _ORDINALS:
            word = _nth(_ORDINALS[word])
        done.append(word)
        at += taken
    return done


def _nth(value: int) -> str:
    if value in (11, 12, 13):
        return f"{value}th"
    return f"{value}{({1: 'st', 2: 'nd', 3: 'rd'}).get(value % 10, 'th')}"
