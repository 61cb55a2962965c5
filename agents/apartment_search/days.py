"""Days in callers' words: `next Tuesday`, `the 3rd`, `tomorrow`, `12/3`, `next week`."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Final, TypeAlias

import msgspec

from . import spoken
from .plain import Unclear

_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY: Final = (
    r"(mon(?:day)?|tue(?:s|sday)?|wed(?:nesday)?|thu(?:r|rs|rsday)?|fri(?:day)?|"
    r"sat(?:urday)?|sun(?:day)?)s?"
)
_MONTHS: Final = (
    ("jan", "january"),
    ("feb", "february"),
    ("mar", "march"),
    ("apr", "april"),
    ("may", "may"),
    ("jun", "june"),
    ("jul", "july"),
    ("aug", "august"),
    ("sep", "september", "sept"),
    ("oct", "october"),
    ("nov", "november"),
    ("dec", "december"),
)
_NUMBER_OF: Final = {name: at for at, names in enumerate(_MONTHS, 1) for name in names}
_MONTH: Final = rf"({'|'.join(sorted(_NUMBER_OF, key=len, reverse=True))})"
_NTH: Final = r"(\d{1,2})(?:st|nd|rd|th)"
# After "the first": then it is one of several things, not a day.
_THING: Final = (
    r"(?! (?:1s?|option|choice|apartment|flat|floor|slot|time|tour|street|bed|bedroom|half|"
    r"month|week|place|thing|month|part|question|day|person)\b)"
)
_DAYS_OF: Final = {"day": 1, "week": 7, "month": 30}
_TOO_LATE_DAYS: Final = 60  # a day of the year that passed so recently is meant, and past
_TOO_FAR_DAYS: Final = 730


class Days(msgspec.Struct, frozen=True):
    """A range of days, both included; one day if they are the same."""

    first: date
    last: date

    @property
    def single(self) -> date | None:
        """The day, if it is one."""
        return self.first if self.first == self.last else None

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


_Reader: TypeAlias = Callable[[re.Match[str], date], Days]


class _Found(msgspec.Struct):
    dates: list[date] = []
    spans: list[Days] = []
    weekdays: list[tuple[str, int]] = []


def find_days(text: str, today: date) -> tuple[Days | None, str]:
    """Give the days a plain text names, and the text without them.

    Raises:
        Unclear: a day that cannot be, is past, or is one of two.
    """
    found = _Found()
    for pattern, read in _PATTERNS:
        text = _take(pattern, read, text, today, found)
    for match in _WEEKDAY_PATTERN.finditer(text):
        words = (match["before"] or "", match["after"] or "")
        found.weekdays.append((" ".join(words).strip(), _WEEKDAYS.index(match[2][:3])))
    text = _WEEKDAY_PATTERN.sub(" ; ", text)
    days = _merged(found, today)
    if days is not None:
        _check(days, today)
    return days, text


def _take(pattern: re.Pattern[str], read: _Reader, text: str, today: date, found: _Found) -> str:
    for match in pattern.finditer(text):
        try:
            days = read(match, today)
        except (ValueError, OverflowError):
            raise Unclear(f"There is no such day as {_capitalised(match[0])}.") from None
        if days.single:
            found.dates.append(days.first)
        else:
            found.spans.append(days)
    return pattern.sub(" ; ", text)


def _capitalised(words: str) -> str:
    named = (word.capitalize() if word in _NUMBER_OF else word for word in words.split())
    return " ".join(named)


def _merged(found: _Found, today: date) -> Days | None:
    dates = list(dict.fromkeys(found.dates))
    if dates:
        _check_weekdays(dates, found.weekdays)
    elif found.weekdays and found.spans:
        span = found.spans[-1]
        reach = [span.first + timedelta(days=n) for n in range((span.last - span.first).days + 1)]
        wanted = {weekday for _, weekday in found.weekdays}
        dates = [day for day in reach if day.weekday() in wanted][: len(wanted)]
    elif found.weekdays:
        dates = list(dict.fromkeys(_weekday(how, day, today) for how, day in found.weekdays))
    if len(dates) > 1:
        choice = spoken.listed([spoken.day(each) for each in dates[:3]], "or")
        raise Unclear(f"Which day do you mean: {choice}?")
    if dates:
        return Days(dates[0], dates[0])
    return found.spans[-1] if found.spans else None


def _check_weekdays(dates: Sequence[date], weekdays: Sequence[tuple[str, int]]) -> None:
    for _, weekday in weekdays:
        if all(day.weekday() != weekday for day in dates):
            day = dates[0]
            raise Unclear(
                f"{spoken.month_day(day)} is a {day:%A}, not a {calendar.day_name[weekday]}. "
                "Which of the two do you mean?"
            )


def _check(days: Days, today: date) -> None:
    if days.last < today:
        raise Unclear(f"{spoken.day(days.last)} is past. Which day do you mean?")
    if (days.first - today).days > _TOO_FAR_DAYS:
        raise Unclear("That is too far ahead. Which day do you mean?")


def _weekday(how: str, weekday: int, today: date) -> date:
    """Give the day that `next Tuesday` is: bare, the coming one; `next`, that of next week."""
    coming = today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)
    if "last" in how:
        return coming - timedelta(days=14 if coming.weekday() == today.weekday() else 7)
    if "after next" in how:
        return _monday(today) + timedelta(days=14 + weekday)
    if "next" in how:
        return _monday(today) + timedelta(days=7 + weekday)
    if "from" in how or "week" in how:
        return coming + timedelta(days=7)
    return coming


_WEEKDAY_PATTERN: Final = re.compile(
    rf"\b(?P<before>(?:this coming|this|next|the coming|coming|the following|following|last|"
    rf"(?:a|1) week from) )?({_WEEKDAY})\b(?P<after> (?:week\b|after next|of next week|next week))?"
)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _one(day: date) -> Days:
    return Days(day, day)


def _today(_: re.Match[str], today: date) -> Days:
    return _one(today)


def _iso(match: re.Match[str], _: date) -> Days:
    return _one(date(int(match[1]), int(match[2]), int(match[3])))


def _iso_range(match: re.Match[str], _: date) -> Days:
    return Days(date.fromisoformat(match[1]), date.fromisoformat(match[2]))


def _slashed(match: re.Match[str], today: date) -> Days:
    month, day = int(match[1]), int(match[2])
    if month > 12 >= day:
        month, day = day, month
    return _in_year(month, day, match[3] or "", today)


def _month_first(match: re.Match[str], today: date) -> Days:
    return _in_year(_NUMBER_OF[match[1]], int(match[2]), match[3] or "", today)


def _day_first(match: re.Match[str], today: date) -> Days:
    return _in_year(_NUMBER_OF[match[2]], int(match[1]), match[3] or "", today)


def _in_year(month: int, day: int, year: str, today: date) -> Days:
    if year:
        return _one(date(int(year) if len(year) == 4 else 2000 + int(year), month, day))
    if (month, day) == (2, 29) and not calendar.isleap(today.year):
        return _one(date(today.year + (today.month > 2), month, day))
    this = date(today.year, month, day)
    passed = (today - this).days
    return _one(this if passed <= _TOO_LATE_DAYS else date(today.year + 1, month, day))


def _nth(match: re.Match[str], today: date) -> Days:
    day = int(match[1])
    for months in range(3):
        at = today.year * 12 + today.month - 1 + months
        year, month = at // 12, at % 12 + 1
        fits = 1 <= day <= calendar.monthrange(year, month)[1]
        if fits and date(year, month, day) >= today:
            return _one(date(year, month, day))
    raise ValueError


def _counted(match: re.Match[str], today: date) -> Days:
    """Read `in three days`, `two weeks from now`."""
    count = (
        1 if match[1] in ("a", "an") else 2 if match[1].startswith("a couple") else int(match[1])
    )
    return _one(today + timedelta(days=count * {"day": 1, "week": 7, "month": 30}[match[2]]))


def _within(match: re.Match[str], today: date) -> Days:
    """Read `in the next two weeks`."""
    count = int(match[1]) if match[1].isdigit() else 3
    return Days(today, today + timedelta(days=count * _DAYS_OF[match[2]]))


def _week(match: re.Match[str], today: date) -> Days:
    monday = _monday(today)
    if "after next" in match[0]:
        monday += timedelta(days=14)
    elif "next" in match[0] or "following" in match[0]:
        monday += timedelta(days=7)
    return Days(max(monday, today), monday + timedelta(days=6))


def _weekend(match: re.Match[str], today: date) -> Days:
    saturday = _monday(today) + timedelta(days=12 if "next" in match[0] else 5)
    return Days(max(saturday, today), saturday + timedelta(days=1))


def _month_end(_: re.Match[str], today: date) -> Days:
    last = today.replace(day=calendar.monthrange(today.year, today.month)[1])
    return Days(max(today, last - timedelta(days=6)), last)


def _relative_month(match: re.Match[str], today: date) -> Days:
    at = today.year * 12 + today.month - 1 + (match[1] != "this")
    return _whole_month(at // 12, at % 12 + 1, today)


def _named_month(match: re.Match[str], today: date) -> Days:
    month = _NUMBER_OF[match[1]]
    return _whole_month(today.year + (month < today.month), month, today)


def _whole_month(year: int, month: int, today: date) -> Days:
    last = date(year, month, calendar.monthrange(year, month)[1])
    return Days(max(today, last.replace(day=1)), last)


_UNIT: Final = r"(day|week|month)s?\b"
_YEAR: Final = r"(?: (\d{4}))?\b"
_BEFORE_MONTH: Final = (
    r"in|by|for|from|during|until|till|before|after|since|early|late|mid|middle of|end of|"
    r"beginning of|start of|this|next|of"
)
_PATTERNS: Final[tuple[tuple[re.Pattern[str], _Reader], ...]] = tuple(
    (re.compile(pattern), read)
    for pattern, read in (
        (r"\b(\d{4}-\d\d-\d\d) (?:to|until) (\d{4}-\d\d-\d\d)\b", _iso_range),
        (r"\b(\d{4})-(\d\d?)-(\d\d?)\b", _iso),
        (r"\b(?!24/7\b)(\d{1,2})/(\d{1,2})(?:/(\d{4}|\d\d))?\b(?![/:])", _slashed),
        (rf"\b{_MONTH} (?:the )?(\d{{1,2}})(?:st|nd|rd|th)?\b(?!:| ?[ap]m\b){_YEAR}", _month_first),
        (rf"\b(?:the )?{_NTH} (?:day )?(?:of )?{_MONTH}\b{_YEAR}", _day_first),
        (rf"\b(\d{{1,2}}) (?:of )?{_MONTH}\b(?! i\b| we\b| be\b){_YEAR}", _day_first),
        (rf"(?:^|\b(?:the|on|for) |(?<=day )){_NTH}\b{_THING}", _nth),
        (r"\bday after tomorrow\b", lambda _, today: _one(today + timedelta(days=2))),
        (r"\bday before yesterday\b", lambda _, today: _one(today - timedelta(days=2))),
        (
            r"\b(?:a|1) week from tomorrow\b|\btomorrow week\b",
            lambda _, today: _one(today + timedelta(days=8)),
        ),
        (r"\b(?:tomorrow|tmrw)\b", lambda _, today: _one(today + timedelta(days=1))),
        (r"\byesterday\b", lambda _, today: _one(today - timedelta(days=1))),
        (rf"\bin (?:about )?(a couple of|an?|\d{{1,3}}) {_UNIT}", _counted),
        (rf"\b(a couple of|an?|\d{{1,3}}) {_UNIT} from (?:now|today)\b", _counted),
        (r"\btoday\b|\b(?=tonight\b)|\bthis (?=morning|afternoon|evening)", _today),
        (
            rf"\b(?:within|in|over|during) (?:the )?(?:next |coming )?(\d{{1,2}}|few) {_UNIT}",
            _within,
        ),
        (r"\bnext (few) (day)s\b", _within),
        (
            r"\b(?:the )?week after next\b|\b(?:this|next|the following|the coming) week\b",
            _week,
        ),
        (r"\b(?:this|the|next|on the|coming) weekend\b|\bweekend\b", _weekend),
        (r"\bend of (?:the|this) month\b", _month_end),
        (r"\b(this|next) month\b", _relative_month),
        (rf"\b(?:{_BEFORE_MONTH}) {_MONTH}\b", _named_month),
        (rf"^{_MONTH}$", _named_month),
    )
)
