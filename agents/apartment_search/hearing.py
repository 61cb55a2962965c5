"""What the offline model makes of a caller's sentence, by the rules of `data/hearing.toml`."""

from __future__ import annotations

import re
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from voxyray.models.offline import numbers, yes_or_no
from voxyray.models.offline.smalltalk import kind_of

from .flats import NAMES, FlatName
from .inquiries import Topic
from .plain import plain
from .times import Unclear, When, read
from .tours import TourType


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data file; tour and size are what the others may refer to."""

    tour: str
    size: str
    flat: str
    not_flat: str
    money: str
    move_in: str
    absent: str
    self_guided: tuple[str, ...]
    in_person: tuple[str, ...]
    topics: dict[Topic, tuple[str, ...]]
    wants: dict[str, tuple[str, ...]]


_FILE: Final = Path(__file__).parent / "data" / "hearing.toml"
_RULES: Final = msgspec.convert(tomllib.loads(_FILE.read_text(encoding="utf-8")), Rules)


def _compiled(*patterns: str) -> re.Pattern[str]:
    whole = "|".join(patterns).replace("<tour>", _RULES.tour).replace("<size>", _RULES.size)
    return re.compile(rf"\b(?:{whole})(?:\b|(?<=\$))")


_FLAT: Final = _compiled(_RULES.flat)
_NOT_FLAT: Final = _compiled(_RULES.not_flat)
_MONEY: Final = _compiled(_RULES.money)
_MOVE_IN: Final = _compiled(_RULES.move_in)
_ABSENT: Final = _compiled(_RULES.absent)
_SELF_GUIDED: Final = _compiled(*_RULES.self_guided)
_IN_PERSON: Final = _compiled(*_RULES.in_person)
_TOPICS: Final = {topic: _compiled(*patterns) for topic, patterns in _RULES.topics.items()}
_WANTS: Final = {want: _compiled(*patterns) for want, patterns in _RULES.wants.items()}

_MATTERS: Final = frozenset(
    {"cancel", "move", "mine", "text", "tour", "list", "cheaper", "bigger", "smaller"}
)


class Heard(msgspec.Struct, frozen=True):
    """What a sentence says.

    unclear: why its day or time cannot be. absent: something that is not there. answer: yes or no.
    wants: names of the data file's rules. moving_in: what is said of days is about moving in.
    """

    text: str
    flats: tuple[FlatName, ...] = ()
    kind: TourType | None = None
    when: When = When()
    unclear: str = ""
    budget: int | None = None
    topics: tuple[Topic, ...] = ()
    absent: str = ""
    wants: frozenset[str] = frozenset()
    answer: bool | None = None
    moving_in: bool = False

    @property
    def matters(self) -> bool:
        """Whether it says something of its own, besides yes, no or how it is said."""
        facts = self.when or self.flats or self.kind or self.topics or self.absent or self.unclear
        return bool(facts or self.budget or self.wants & _MATTERS)

    @property
    def flat(self) -> FlatName | None:
        """The apartment, if it is one."""
        return self.flats[0] if len(self.flats) == 1 else None

    def before_to(self, now: datetime) -> When:
        """Give the first time of `from Tuesday to Friday`."""
        before, to, after = self.text.rpartition(" to ")
        return _when(before, now) if to and _when(after, now) else When()

    def after_to(self, now: datetime) -> When:
        """Give the last time of `from Tuesday to Friday`, or the only one."""
        _, to, after = self.text.rpartition(" to ")
        return (_when(after, now) if to else When()) or self.when

    def has(self, *wants: str) -> bool:
        """Whether one of these is wanted."""
        return not self.wants.isdisjoint(wants)


def hear(text: str, now: datetime, *, asked_when: bool = False) -> Heard:
    """Read a sentence; asked_when: it answers a question about a time."""
    words = plain(text)
    wants = _wants(text, words)
    when, unclear = When(), ""
    try:
        when = read(text, now, bare=asked_when)
    except Unclear as error:
        # "Move it from Tuesday to Friday" has two days, and is clear.
        when = _when(text.rpartition(" to ")[2], now) if "move" in wants else when
        unclear = "" if when else str(error)
    absent = _ABSENT.search(words)
    return Heard(
        text,
        flats=_flats(words),
        kind=_kind(words),
        when=when,
        unclear=unclear,
        budget=_budget(text, words),
        topics=tuple(topic for topic, rule in _TOPICS.items() if rule.search(words)),
        absent=absent[0] if absent else "",
        wants=wants,
        answer=yes_or_no(text),
        moving_in=bool(_MOVE_IN.search(words)) and not asked_when,
    )


def _when(text: str, now: datetime) -> When:
    try:
        return read(text, now, bare=True)
    except Unclear:
        return When()


def _flats(words: str) -> tuple[FlatName, ...]:
    """Give the apartments that are named."""
    found: list[FlatName] = []
    for match in _FLAT.finditer(_NOT_FLAT.sub(" ", words)):
        sizes = [1 if n == "single" else int(n) for n in match.groups()[1:] if n]
        found += [NAMES[size] for size in sizes] or [NAMES[0]]
    return tuple(dict.fromkeys(found))


def _kind(words: str) -> TourType | None:
    # "Guided" stands in "self-guided" too, unless that is refused.
    words = re.sub(r"(?<!not )\bself ?guided\b", "alone", words)
    if _IN_PERSON.search(words):
        return "in-person"
    return "self-guided" if _SELF_GUIDED.search(words) else None


def _budget(text: str, words: str) -> int | None:
    if thousands := re.search(r"\b(\d(?:\.\d)?) ?k\b", text.casefold()):
        return int(float(thousands[1]) * 1000)
    if not _MONEY.search(words) and "$" not in text and not re.fullmatch(r"\d{3,5}", words):
        return None
    amounts = [each for each in numbers(text) if 300 <= each <= 20_000]
    return amounts[-1] if amounts else None


def _wants(text: str, words: str) -> frozenset[str]:
    found = {want for want, rule in _WANTS.items() if rule.search(words)}
    if kind_of(text, ("person",)):
        found.add("person")
    return frozenset(found)
