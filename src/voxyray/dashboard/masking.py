"""Personal data on pages: hidden until somebody asks to see it."""

from __future__ import annotations

import re
from typing import Final

_DOTS: Final = "••••••"
# Digits that may be a phone number, however they are grouped; and e-mail addresses.
# Not within a word: ids are no numbers.
_NUMBER: Final = re.compile(r"(?<![\w.])\+?\(?\d(?:[\s().\-/]{0,2}\d){6,}(?!\w)")
_EMAIL: Final = re.compile(r"[^\s@<>\"',;:()]+@[^\s@<>\"',;:()]+\.[^\s@<>\"',;:()]+")
_SCHEME: Final = re.compile(r"(?:sips?|client):")


def number(text: str, *, shown: bool) -> str:
    """Give a caller's number; hidden, just enough is left to tell two apart."""
    if not text:
        return "withheld"
    if shown:
        return text
    if scheme := _SCHEME.match(text):
        return f"{scheme[0]}{_DOTS}"
    return f"{text[:2]}{_DOTS}{text[-4:]}" if len(text) >= 9 else _DOTS


def address(text: str, *, shown: bool) -> str:
    """Give a message's recipient, a number or an e-mail address."""
    if shown or "@" not in text:
        return number(text, shown=shown)
    return f"{text[:1]}{_DOTS}@{text.rpartition('@')[2]}"


def words(text: str, *, shown: bool) -> str:
    """Give words with what looks like a number or an address hidden in them.

    shown: whether numbers are.
    """
    if shown:
        return text
    return _NUMBER.sub(_DOTS, _EMAIL.sub(f"{_DOTS}@{_DOTS}", text))


def values(found: object, *, shown: bool) -> object:
    """Do the same within what JSON holds; its numbers are counts and times, not telephones'."""
    if isinstance(found, str):
        return words(found, shown=shown)
    if isinstance(found, dict):
        return {name: values(value, shown=shown) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [values(value, shown=shown) for value in found]
    return found
