"""Reads days and times as people say them, once, relative to now: everything else keeps the result.

    read("next Tuesday half past one", now)  # Days(2026-11-24), Hours(13:30)

Whatever the words are, the only exception is `Unclear`, which can be said to a caller as it stands.
An hour without AM or PM is one at which there are tours: from eight in the morning to eight.
`next Tuesday` is that of the next week, from Monday; `Tuesday` is the coming one.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Final

import msgspec

from . import spoken
from .days import Days, find_days
from .hours import Hours, find_hours
from .plain import Unclear, plain

__all__ = ["Days", "Hours", "Unclear", "When", "moment", "move_in_by", "read", "texts", "wish"]


class When(msgspec.Struct, frozen=True):
    """When something is wished for; None is whenever."""

    days: Days | None = None
    hours: Hours | None = None

    def __bool__(self) -> bool:
        return self.days is not None or self.hours is not None

    def takes(self, start: datetime) -> bool:
        """Whether a start is in it."""
        day = self.days is None or start.date() in self.days
        return day and (self.hours is None or start.time() in self.hours)


# What follows corrects what stands before: "Tuesday, no, Wednesday".
_CORRECTION: Final = re.compile(
    r"\b(?:no(?! later| earlier| sooner)|nope|actually|sorry|i mean|i meant|rather(?! than)|"
    r"make (?:that|it)|wait|correction)\b"
)
_EXCLUDED: Final = re.compile(
    r"\b(?:not|instead of|rather than|other than|except|anything but|but not|"
    r"(?:cant|cannot|dont|wont) (?:do|make|come|have))"
    r"(?! before| after| later| earlier| until) (?:it |time )?(?:on |at |the |this |next )*[\w:]+"
)


def read(text: str, now: datetime, *, bare: bool = False) -> When:
    """Give the days and times that a sentence names; of a correction, the corrected ones.

    bare: the text is an answer to "when", so that a number alone is a time.

    Raises:
        Unclear: it cannot be, is past, or could be two.
    """
    days: Days | None = None
    hours: Hours | None = None
    for part in reversed(_CORRECTION.split(_EXCLUDED.sub(" ; ", plain(text)))):
        try:
            found, rest = find_days(part.strip(), now.date())
            at = find_hours(rest.strip(), bare=bare)
        except Unclear:
            if days is None and hours is None:
                raise
            continue  # it was corrected
        days, hours = days or found, hours or at
    return When(days, hours)


def texts(when: When) -> tuple[str | None, str | None]:
    """Give day and time in the form that `wish` reads back as the same."""
    day = at = None
    if when.days is not None:
        first, last = when.days.first.isoformat(), when.days.last.isoformat()
        day = first if first == last else f"{first} to {last}"
    if when.hours is not None:
        begin, end = f"{when.hours.begin:%H:%M}", f"{when.hours.end:%H:%M}"
        at = begin if begin == end else f"between {begin} and {end}"
    return day, at


_WHENEVER: Final = re.compile(
    r"(?:any|any ?time|any ?day|any date|either|flexible|whenever|none|null|n a|unknown|undefined|"
    r"no preference|not specified|unspecified|soonest|earliest|as soon as possible|asap|soon)?"
)


def wish(day: str | None, at: str | None, now: datetime) -> When:
    """Read a tool's date and time, each in anybody's words; empty or `any` is whenever.

    Raises:
        Unclear: something is said that is no day or no time, cannot be, is past or could be two.
    """
    first = _field(day, now, bare=False)
    second = _field(at, now, bare=True)
    if not first.days and not second.days and _says(day) and not first.hours:
        raise Unclear(f"I know no day called {_quoted(day)}. Which day is it, such as Tuesday?")
    if not second and _says(at):
        raise Unclear(f"I know no time called {_quoted(at)}. What time is it, such as two PM?")
    if first.days and second.days and first.days != second.days:
        raise Unclear("Those are two different days. Which one is meant?")
    exact = second.hours or first.hours
    if first.hours and second.hours and first.hours != second.hours:
        exact = _narrower(first.hours, second.hours)
    return When(first.days or second.days, exact)


def _field(text: str | None, now: datetime, *, bare: bool) -> When:
    return read(text, now, bare=bare) if text and _says(text) else When()


def _says(text: str | None) -> bool:
    return text is not None and _WHENEVER.fullmatch(plain(text)) is None


def _quoted(text: str | None) -> str:
    return " ".join((text or "").split())[:40]


def _narrower(one: Hours, other: Hours) -> Hours:
    """Give the exact one of a time and a part of the day that holds it."""
    for a, b in ((one, other), (other, one)):
        if a.exact is not None and a.exact in b:
            return a
    raise Unclear("Those are two different times. Which one is meant?")


def moment(when: When, now: datetime) -> datetime:
    """Give the one moment that is meant, as local time in now's zone.

    Raises:
        Unclear: the day or the time is open, or it is past.
    """
    day = when.days.single if when.days else None
    at = when.hours.exact if when.hours else None
    if day is None:
        raise Unclear("Which day is it?")
    if at is None:
        raise Unclear(f"At what time on {spoken.day(day)}?")
    start = datetime.combine(day, at, now.tzinfo)
    if start <= now:
        raise Unclear(f"{spoken.sentence(spoken.day(day))}, {spoken.clock(at)} is past.")
    return start


_NOW: Final = re.compile(
    r"\b(?:now|asap|as soon as possible|soon|immediately|right away|straight away|today|at once)\b"
)


def move_in_by(text: str | None, now: datetime) -> date | None:
    """Give the last day on which somebody wants to move in; None if it does not matter.

    Raises:
        Unclear: no day is in it, or one that cannot be.
    """
    if not text or (not _says(text) and not _NOW.search(plain(text))):
        return None
    days = read(text, now).days
    if days is not None:
        return days.last
    if _NOW.search(plain(text)):
        return now.date()
    raise Unclear(f"I know no day called {_quoted(text)}. From when is it needed?")
