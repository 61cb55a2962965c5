"""Which of several things a caller means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from voxyray.models.offline.numbers import number_word
from voxyray.models.offline.words import THRESHOLD, normal, same_word, weight

_ORDINALS: Final = (
    ("first", "1st"),
    ("second", "2nd"),
    ("third", "3rd"),
    ("fourth", "4th"),
    ("fifth", "5th"),
)


class Option(msgspec.Struct, frozen=True):
    """One of the things a caller may choose.

    value: what a tool is given; spoken: what is said; aliases: other words for it; about: a text
    whose words also tell it from the others.
    """

    value: str
    spoken: str = ""
    aliases: tuple[str, ...] = ()
    about: str = ""
    fields: Mapping[str, str] = {}

    @property
    def name(self) -> str:
        """What is said."""
        return self.spoken or self.value.replace("_", " ")


def choose(text: str, options: Sequence[Option], *, asked: bool = True) -> Option | None:
    """Give the option that a sentence means; None if none or several fit.

    asked: the caller was asked to choose, so that `the second one` and words of the options'
    descriptions count as well.
    """
    plain = normal(text)
    if not plain or not options:
        return None
    if asked and (place := _place(plain, len(options))) is not None:
        return options[place]
    scores = [_fit(plain, option, asked=asked) for option in options]
    best = max(scores)
    if best < THRESHOLD or sum(score > best - 0.1 for score in scores) != 1:
        return None
    return options[scores.index(best)]


_PLACE: Final = re.compile(
    r"(?:(?:no|yes|actually|i mean|i meant|let us take|take|maybe|it is|"
    r"i (?:would like|want|will take|prefer|choose)) )*"
    r"(?:the )?(?:number |option )?(\w+)(?: (?:one|option|choice))?(?: then)?"
)


def _place(plain: str, count: int) -> int | None:
    """Give the place in `the second one` or `number two`, from 0."""
    said = _PLACE.fullmatch(plain)
    if said is None:
        return None
    if said[1] == "last":
        return count - 1
    for place, names in enumerate(_ORDINALS[:count]):
        if said[1] in names:
            return place
    value = number_word(said[1])
    return value - 1 if value is not None and 1 <= value <= count else None


def _fit(plain: str, option: Option, *, asked: bool) -> float:
    names = (option.value.replace("_", " "), option.name, *option.aliases)
    score = max(_named(plain, normal(name)) for name in names)
    if asked and option.about:
        content = {word for word in plain.split() if weight(word) == 1.0}
        about = [word for word in normal(option.about).split() if weight(word) == 1.0]
        hits = sum(any(same_word(word, other) for other in about) for word in content)
        score = max(score, min(0.9, 0.6 + 0.1 * hits) if hits else 0.0)
    return score


def _named(plain: str, name: str) -> float:
    """Tell how much of a name stands in a sentence, whatever else stands there."""
    words = plain.split()
    weights = {word: weight(word) for word in name.split()}
    whole = sum(weights.values())
    if not whole:
        return 0.0
    found = sum(w for word, w in weights.items() if any(same_word(word, o) for o in words))
    part = found / whole
    # Half of a title, such as pizza of pizza shop, is enough; a light word is not.
    return 0.5 + 0.5 * part if found >= 1.0 else part * 0.5
