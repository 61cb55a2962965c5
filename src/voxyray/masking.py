"""Stable placeholders: every letter and digit replaced by another, words kept apart.

What a character becomes depends on a secret and on what precedes it in its word. So equal words
stay equal, different ones different, and beginnings of words stay beginnings of the same words;
lengths, case and punctuation stay. That is all that a `Call` looks at, and it shows: whoever knows
how people talk can guess a "hello" or a "the". Names and numbers cannot be guessed so.
"""

from __future__ import annotations

import hashlib
import random
import re
import string
import unicodedata
from functools import lru_cache
from typing import Any, Final

_BLOCK: Final = 64  # code points; letters of one script lie next to each other
# Marks that speech leaves out: what they stand in is one word all the same.
_WITHIN_WORDS: Final = frozenset("*_`~")
# Names of markup decide what is spoken; they are nobody's words.
_MARKUP: Final = re.compile(
    r"</?(?:think|thinking|thought|reasoning|tool_call|[abius]|em|strong|code|span|mark|small"
    r"|su[bp])(?=[\s/>])",
    re.IGNORECASE | re.ASCII,
)


class Mask:
    """Replaces the words of one call.

    seen and made: the words there were, and those that stand for them.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._tables: dict[tuple[str, str], dict[str, str]] = {}
        self.seen: set[str] = set()
        self.made: set[str] = set()

    def text(self, text: str) -> str:
        """Replace the words of a text."""
        out: list[str] = []
        word, begins = "", 0
        kept = {at for match in _MARKUP.finditer(text) for at in range(*match.span())}
        for at, char in enumerate(text):
            if at not in kept and char.isalnum():
                out.append(self._char(word, char))
                word += char.lower()
                continue
            out.append(char)
            if char not in _WITHIN_WORDS or at in kept:
                self._note(text[begins:at], out[begins:at])
                word, begins = "", at + 1
        self._note(text[begins:], out[begins:])
        return "".join(out)

    def value(self, value: Any) -> Any:
        """Replace the words and numbers of a JSON value, names of its fields included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, int) and not isinstance(value, bool):
            return int(self.text(str(value)))
        return 0.0 if isinstance(value, float) else value

    def coincidences(self) -> int:
        """Tell how many placeholders happen to be other words of the call."""
        return sum(len(word) > 2 for word in self.seen & self.made)

    def shuffled(self, of: str, place: str = "") -> dict[str, str]:
        """Give each character of an alphabet another one; place: where it stands."""
        key = (place, of)
        if key not in self._tables:
            digest = hashlib.blake2b(f"{place}\0{of}".encode(), key=self._secret).digest()
            self._tables[key] = _cycle(of, random.Random(digest))
        return self._tables[key]

    def _char(self, before: str, char: str) -> str:
        low = char.lower()
        if len(low) != 1:
            return char
        made = self.shuffled(_alphabet(low), before).get(low, low)
        return made if low == char or made.upper().lower() != made else made.upper()

    def _note(self, word: str, made: list[str]) -> None:
        if word:
            self.seen.add(word.lower())
            self.made.add("".join(made).lower())


def _cycle(of: str, chance: random.Random) -> dict[str, str]:
    """Give a random cycle through all characters: none becomes itself (Sattolo's shuffle)."""
    order = list(of)
    for last in range(len(order) - 1, 0, -1):
        other = chance.randrange(last)
        order[last], order[other] = order[other], order[last]
    return dict(zip(of, order, strict=True))


@lru_cache(maxsize=4096)
def _alphabet(char: str) -> str:
    """Give the characters that one may become: those which are read like it."""
    for known in (string.ascii_lowercase, string.digits):
        if char in known:
            return known
    first = ord(char) - ord(char) % _BLOCK
    likes = (chr(code) for code in range(first, first + _BLOCK))
    return "".join(each for each in likes if _kind(each) == _kind(char))


def _kind(char: str) -> tuple[object, ...]:
    upper = char.upper()
    return (
        char.isascii(),
        unicodedata.category(char),
        char.lower() == char,
        len(upper) == 1 and upper != char and upper.lower() == char,
        unicodedata.is_normalized("NFC", char),
    )
