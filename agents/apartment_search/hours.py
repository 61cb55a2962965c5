"""Times of day in callers' words: `half past one`, `14:00`, `10 AM`, `in the afternoon`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Final

import msgspec

from . import spoken
from .plain import Unclear

_LAST: Final = time(23, 59)


class Hours(msgspec.Struct, frozen=True):
    """A range of times of a day, both included; exactly then if they are the same."""

    begin: time
    end: time

    @property
    def exact(self) -> time | None:
        """The time, if it is one."""
        return self.begin if self.begin == self.end else None

    def __contains__(self, at: time) -> bool:
        return self.begin <= at <= self.end


_PARTS: Final = {
    "morning": Hours(time(0), time(11, 59)),
    "lunchtime": Hours(time(11, 30), time(13, 30)),
    "afternoon": Hours(time(12), time(17, 59)),
    "evening": Hours(time(17), _LAST),
    "night": Hours(time(18), _LAST),
}
_PART: Final = re.compile(
    r"(?<!good )\b(?:(?:early |late |later )?(?:in |at |during )?(?:the |this )?)"
    r"(morning|lunchtime|lunch time|lunch|afternoon|evening|tonight|night)s?\b"
)

_BEFORE_PART: Final = re.compile(
    r"\b(\d{1,2}) (?=in the (?:morning|afternoon|evening)|at night|tonight|this evening)"
)


def find_hours(text: str, *, bare: bool = False) -> Hours | None:
    """Give the time, or the part of the day, that a plain text without days names.

    bare: the whole text is a time, so that a number alone counts.

    Raises:
        Unclear: a time that cannot be, or is one of two.
    """
    text = _BEFORE_PART.sub(r"at \1 ", text)
    parts = [_part(match[1]) for match in _PART.finditer(text)]
    clocks = _Clocks("am" if parts == ["morning"] else "pm" if parts else "")
    text = clocks.mark(_PART.sub(" ; ", text), bare=bare)
    spans = [span for pattern, make in _SPANS for span in _taken(pattern, make, text)]
    if spans:
        return spans[0]
    times = list(dict.fromkeys(_read(match) for match in _MARK.finditer(text)))
    if len(times) > 1:
        choice = spoken.listed([spoken.clock(each) for each in times[:3]], "or")
        raise Unclear(f"Which time do you mean: {choice}?")
    if times:
        return Hours(times[0], times[0])
    if not parts:
        return None
    ranges = [_PARTS[part] for part in parts]
    return Hours(min(r.begin for r in ranges), max(r.end for r in ranges))


def _part(word: str) -> str:
    return {"tonight": "evening"}.get(word, "lunchtime" if word.startswith("lunch") else word)


# What follows a number that is no time: "at 2 bedrooms".
_UNITS: Final = (
    r"(?! ?(?:beds?|bedrooms?|br|baths?|bathrooms?|rooms?|cats?|dogs?|pets?|people|persons?|of|"
    r"dollars?|bucks|hundred|thousand|k|percent|days?|weeks?|months?|years?|minutes?|hours?|"
    r"times?|square|options?|apartments?|flats?|units?|kids?|children|small|large|street)\b)"
)
_HALF: Final = r"(?: ?([ap]m))?\b"
_AT: Final = (
    r"\b(?:at|around|about|by|before|after|until|till|from|between|since|to|than|past)"
    r"(?: like| about)? "
)
_POLITE: Final = r"(?: (?:works|is (?:good|fine|ok|okay)|please|then|it is|for me|sharp))*"
_MARK: Final = re.compile(r"<(\d\d):(\d\d)>")


def _read(match: re.Match[str]) -> time:
    return time(int(match[1]), int(match[2]))


class _Clocks:
    """Replaces the times of a text by marks such as <13:30>; part: AM or PM by the words."""

    def __init__(self, part: str) -> None:
        self.part = part

    def mark(self, text: str, *, bare: bool) -> str:
        """Give the text with its times marked."""
        if bad := re.search(r"\b\d{1,2}:\d(?!\d)", text):
            raise Unclear(f"{bad[0]} is no time. What time do you mean, such as one thirty PM?")
        for pattern, read in self._patterns(bare=bare):
            text = re.sub(pattern, read, text)
        return text

    def _patterns(self, *, bare: bool) -> list[tuple[str, Callable[[re.Match[str]], str]]]:
        patterns: list[tuple[str, Callable[[re.Match[str]], str]]] = [
            (rf"\b(\d{{1,2}}):(\d\d)(?!\d){_HALF}", self._hour_minute),
            (r"\b(?:12 )?(?:noon|midday|mid day)\b", lambda _: "<12:00>"),
            (r"\bmidnight\b", lambda _: "<00:00>"),
            (rf"\bhalf (?:past )?(\d{{1,2}}){_HALF}", self._half_past),
            (rf"\bquarter (past|after|to|till?|before|of) (\d{{1,2}}){_HALF}", self._quarter),
            (rf"\b(\d\d?) minutes? (past|after|to|till?) (\d{{1,2}}){_HALF}", self._minutes),
            (
                rf"(?<!from )(?<!between )\b(5|10|20|25) (past|after|to|till) (\d{{1,2}}){_HALF}",
                self._minutes,
            ),
            (
                rf"(?<![\d:] )\b(\d{{1,2}}) (\d\d){_HALF}{_UNITS}",
                self._hour_minute,
            ),
            (r"\b(\d{1,2}) ?([ap]m)\b", self._hour_half),
            (r"\b(\d{1,2}) oclock\b(?: ?([ap]m)\b)?", self._hour_half),
            (rf"\bbetween (\d{{1,2}}) and (\d{{1,2}})\b{_UNITS}", self._between),
            (rf"\b(\d{{1,2}}) (?:to|until|till) (\d{{1,2}})\b{_UNITS}", self._between),
            (rf"({_AT})(\d{{1,2}})\b(?![:/\d]){_UNITS}", self._after_at),
        ]
        if bare:
            patterns.append(
                (rf"^[; ]*(?:at |maybe |about )?(\d\d?)(\d\d)?{_POLITE}[; ]*$", self._bare)
            )
        return patterns

    def _hour_minute(self, match: re.Match[str]) -> str:
        return self._clock(match[1], match[2], match[3])

    def _half_past(self, match: re.Match[str]) -> str:
        return self._clock(match[1], "30", match[2])

    def _quarter(self, match: re.Match[str]) -> str:
        return self._shifted("15", match[1], match[2], match[3])

    def _minutes(self, match: re.Match[str]) -> str:
        return self._shifted(match[1], match[2], match[3], match[4])

    def _hour_half(self, match: re.Match[str]) -> str:
        return self._clock(match[1], "00", match[2])

    def _between(self, match: re.Match[str]) -> str:
        return f"between {self._clock(match[1])} and {self._clock(match[2])}"

    def _after_at(self, match: re.Match[str]) -> str:
        return f"{match[1]}{self._clock(match[2])}"

    def _bare(self, match: re.Match[str]) -> str:
        return self._clock(match[1], match[2] or "00")

    def _shifted(self, minutes: str, word: str, hour: str, half: str | None) -> str:
        """Read `ten to two` and `ten past two`."""
        at = _read_mark(self._clock(hour, "00", half))
        by = timedelta(minutes=int(minutes) * (1 if word in ("past", "after") else -1))
        return _marked((datetime.combine(_ANY_DAY, at) + by).time())

    def _clock(self, hour: str, minute: str = "00", half: str | None = None) -> str:
        number, half = int(hour), half or self.part
        if number > 23 or int(minute) > 59 or (half == "am" and number > 12):
            raise Unclear(f"{hour}:{minute} is no time of day. What time do you mean?")
        if number == 0 and half == "pm":
            raise Unclear("Zero PM is no time of day. What time do you mean?")
        if half == "pm" and number < 12:
            number += 12
        elif half == "am" and number == 12:
            number = 0
        elif not half and 1 <= number <= 7 and not hour.startswith("0"):
            number += 12  # nobody looks at a flat at three in the morning
        return _marked(time(number, int(minute)))


_ANY_DAY: Final = datetime(2000, 1, 1).date()


def _marked(at: time) -> str:
    return f"<{at:%H:%M}>"


def _read_mark(mark: str) -> time:
    return time.fromisoformat(mark.strip("<>"))


def _taken(
    pattern: re.Pattern[str], make: Callable[[re.Match[str]], Hours], text: str
) -> list[Hours]:
    return [make(match) for match in pattern.finditer(text)]


def _from_to(match: re.Match[str]) -> Hours:
    begin, end = time.fromisoformat(match[1]), time.fromisoformat(match[2])
    if end < begin:
        raise Unclear(
            f"{spoken.sentence(spoken.clock(begin))} is after {spoken.clock(end)}. "
            "What time do you mean?"
        )
    return Hours(begin, end)


def _after(match: re.Match[str]) -> Hours:
    return Hours(time.fromisoformat(match[1]), _LAST)


def _before(match: re.Match[str]) -> Hours:
    end = time.fromisoformat(match[1])
    minutes = end.hour * 60 + end.minute
    return Hours(time(0), time((minutes - 1) // 60, (minutes - 1) % 60) if minutes else time(0))


_T: Final = r"<(\d\d:\d\d)>"
_SPANS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Hours]], ...]] = (
    (re.compile(rf"\b(?:between|from)(?: about)? {_T} (?:and|to|until|till) {_T}"), _from_to),
    (re.compile(rf"{_T} (?:to|until|till) {_T}"), _from_to),
    (re.compile(rf"\b(?:after|later than|since|not before|from)(?: about)? {_T}"), _after),
    (re.compile(rf"{_T} (?:or|and) (?:later|after)\b|{_T} onwards?\b"), lambda m: _after_either(m)),
    (
        re.compile(rf"\b(?:before|until|till|by|no later than|earlier than)(?: about)? {_T}"),
        _before,
    ),
)


def _after_either(match: re.Match[str]) -> Hours:
    return Hours(time.fromisoformat(match[1] or match[2]), _LAST)
