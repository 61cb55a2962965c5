"""Where text is cut for speech, and how much of a piece was heard."""

from __future__ import annotations

import re

LONGEST = 300  # characters without any punctuation that are held back at most

_END = re.compile(r"""[.!?…,;:]+["'”’)\]]*\s+|[。！？，；：、]+\s*|\n+\s*""")
_SETTLED = re.compile(r"""[.!?…,;:。！？，；：、]["'”’)\]]*\s*$""")


def split(text: str) -> tuple[list[str], str]:
    """Cut text into finished clauses and the unfinished rest; together they are the text.

    A clause is finished by punctuation and white space after it, so `3.5` stays whole.
    """
    clauses = []
    start = 0
    for match in _END.finditer(text):
        clauses.append(text[start : match.end()])
        start = match.end()
    rest = text[start:]
    while len(rest) > LONGEST:
        cut = rest.rfind(" ", 1, LONGEST) + 1 or LONGEST
        clauses.append(rest[:cut])
        rest = rest[cut:]
    return clauses, rest


def looks_finished(text: str) -> bool:
    """Tell whether an unfinished clause ends with punctuation and may well be whole."""
    return _SETTLED.search(text) is not None


def played_part(text: str, characters: float) -> str:
    """Give the whole words among the first characters of a piece that is being played."""
    count = int(characters + 1e-6)
    if count >= len(text.rstrip()):
        return text
    # A word counts once its last letter was heard; white space after it does not count.
    ends = [match.end() for match in re.finditer(r"\S+", text) if match.end() <= count]
    return text[: ends[-1]] if ends else ""


def next_word_end(text: str, characters: float) -> int | None:
    """Give the position where the next word of a piece will have been heard."""
    done = characters + 1e-6
    return next((m.end() for m in re.finditer(r"\S+", text) if m.end() > done), None)
