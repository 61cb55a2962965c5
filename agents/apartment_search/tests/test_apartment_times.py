"""Days and times in callers' words."""

from __future__ import annotations

import contextlib
from datetime import date, datetime, time, timedelta

import pytest
from agents.apartment_search import spoken, times
from agents.apartment_search.tests.office import NOW, ZONE
from agents.apartment_search.times import Days, Hours, Unclear, When
from hypothesis import example, given
from hypothesis import strategies as st

from voxyray.errors import ToolError


def day(text: str) -> date:
    return date.fromisoformat(text)


# It is Monday, November 23, 2026, a quarter past ten in the morning.


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("today", "2026-11-23"),
        ("tomorrow", "2026-11-24"),
        ("the day after tomorrow", "2026-11-25"),
        ("Tuesday", "2026-11-24"),
        ("on tues", "2026-11-24"),
        ("this Wednesday", "2026-11-25"),
        ("this coming Friday", "2026-11-27"),
        ("Monday", "2026-11-30"),
        ("next Monday", "2026-11-30"),
        ("next Tuesday", "2026-12-01"),
        ("Tuesday next week", "2026-12-01"),
        ("next week on Tuesday", "2026-12-01"),
        ("a week from Tuesday", "2026-12-01"),
        ("Tuesday week", "2026-12-01"),
        ("the 3rd", "2026-12-03"),
        ("on the third", "2026-12-03"),
        ("the 23rd", "2026-11-23"),
        ("the 31st", "2026-12-31"),
        ("Wednesday the 25th", "2026-11-25"),
        ("the 25th, a Wednesday", "2026-11-25"),
        ("Wednesday, November 25th", "2026-11-25"),
        ("November twenty-fifth", "2026-11-25"),
        ("the twenty-fifth of November", "2026-11-25"),
        ("25 Nov", "2026-11-25"),
        ("Nov 25, 2026", "2026-11-25"),
        ("december first", "2026-12-01"),
        ("January 5", "2027-01-05"),
        ("12/3", "2026-12-03"),
        ("12/03/2026", "2026-12-03"),
        ("24/12", "2026-12-24"),
        ("2026-12-03", "2026-12-03"),
        ("in three days", "2026-11-26"),
        ("in a week", "2026-11-30"),
        ("two weeks from now", "2026-12-07"),
        ("in a couple of days", "2026-11-25"),
        ("no, Wednesday", "2026-11-25"),
        ("Tuesday, no, Thursday", "2026-11-26"),
        ("Tuesday, I mean Thursday", "2026-11-26"),
        ("not Tuesday, Thursday", "2026-11-26"),
        ("Thursday instead of Tuesday", "2026-11-26"),
        ("the 31st of February, sorry, December third", "2026-12-03"),
        ("I can't do Tuesday, what about Thursday?", "2026-11-26"),
        ("may I come tomorrow", "2026-11-24"),
    ],
)
def test_days(said: str, expected: str) -> None:
    assert times.read(said, NOW) == When(Days(day(expected), day(expected)))


@pytest.mark.parametrize(
    ("said", "first", "last"),
    [
        ("this week", "2026-11-23", "2026-11-29"),
        ("next week", "2026-11-30", "2026-12-06"),
        ("on the weekend", "2026-11-28", "2026-11-29"),
        ("next month", "2026-12-01", "2026-12-31"),
        ("in December", "2026-12-01", "2026-12-31"),
        ("December", "2026-12-01", "2026-12-31"),
        ("in February", "2027-02-01", "2027-02-28"),
        ("by the end of the month", "2026-11-24", "2026-11-30"),
        ("within the next two weeks", "2026-11-23", "2026-12-07"),
    ],
)
def test_ranges_of_days(said: str, first: str, last: str) -> None:
    assert times.read(said, NOW).days == Days(day(first), day(last))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("noon", "12:00"),
        ("at midday", "12:00"),
        ("10 AM", "10:00"),
        ("10 a.m.", "10:00"),
        ("ten am", "10:00"),
        ("1:30 pm", "13:30"),
        ("1:30 P.M.", "13:30"),
        ("01:30 PM", "13:30"),
        ("1.30 pm", "13:30"),
        ("1:30", "13:30"),
        ("14:00", "14:00"),
        ("14:00:00", "14:00"),
        ("half past one", "13:30"),
        ("half past 1", "13:30"),
        ("one thirty", "13:30"),
        ("one thirty p.m.", "13:30"),
        ("nine oh five", "09:05"),
        ("quarter to three", "14:45"),
        ("a quarter past nine", "09:15"),
        ("ten past nine", "09:10"),
        ("twenty minutes to four", "15:40"),
        ("five o'clock", "17:00"),
        ("at 2", "14:00"),
        ("around two", "14:00"),
        ("at eight", "08:00"),
        ("seven in the evening", "19:00"),
        ("seven in the morning", "07:00"),
        ("at 8 tonight", "20:00"),
        ("twelve thirty AM", "00:30"),
        ("12 pm", "12:00"),
        ("2 pm, no, 3 pm", "15:00"),
        ("not at 2, at 3", "15:00"),
    ],
)
def test_times_of_day(said: str, expected: str) -> None:
    at = time.fromisoformat(expected)
    assert times.read(said, NOW).hours == Hours(at, at)


@pytest.mark.parametrize(
    ("said", "begin", "end"),
    [
        ("in the morning", "00:00", "11:59"),
        ("friday afternoon", "12:00", "17:59"),
        ("between two and four", "14:00", "16:00"),
        ("from 9 to 11", "09:00", "11:00"),
        ("nine to five", "09:00", "17:00"),
        ("after three", "15:00", "23:59"),
        ("later than 4 pm", "16:00", "23:59"),
        ("3 pm or later", "15:00", "23:59"),
        ("before noon", "00:00", "11:59"),
        ("tonight", "17:00", "23:59"),
    ],
)
def test_ranges_of_times(said: str, begin: str, end: str) -> None:
    expected = Hours(time.fromisoformat(begin), time.fromisoformat(end))
    assert times.read(said, NOW).hours == expected


@pytest.mark.parametrize(
    ("said", "start"),
    [
        ("next Tuesday half past one", "2026-12-01T13:30"),
        ("tomorrow at 2", "2026-11-24T14:00"),
        ("Friday morning at nine", "2026-11-27T09:00"),
        ("the 24th at 2", "2026-11-24T14:00"),
        ("nov 25 2pm", "2026-11-25T14:00"),
        ("2026-11-24T13:30", "2026-11-24T13:30"),
        ("2026-11-24 13:30:00-07:00", "2026-11-24T13:30"),
        ("Tuesday, November twenty-fourth, at one thirty PM", "2026-11-24T13:30"),
        ("five o'clock tomorrow", "2026-11-24T17:00"),
    ],
)
def test_moments(said: str, start: str) -> None:
    expected = datetime.fromisoformat(start).replace(tzinfo=ZONE)
    assert times.moment(times.read(said, NOW), NOW) == expected
    assert times.moment(times.wish(said, None, NOW), NOW) == expected


@pytest.mark.parametrize(
    "said",
    [
        "that one",
        "the second one",
        "a two-bedroom under 2000",
        "do you have 2 cats",
        "at 2 bedrooms",
        "for two people",
        "good morning",
        "just a second",
        "24/7",
        "I may come",
        "",
        "!?",
    ],
)
def test_what_is_no_time(said: str) -> None:
    assert not times.read(said, NOW)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("February 31st", "no such day as February 31st"),
        ("31st of April", "no such day"),
        ("2026-02-30", "no such day"),
        ("13/13", "no such day"),
        ("the 32nd", "no such day"),
        ("February 29", "no such day"),
        ("yesterday", "is past"),
        ("last Friday", "is past"),
        ("November 3rd", "is past"),
        ("2025-11-30", "is past"),
        ("2099-01-01", "too far ahead"),
        ("Tuesday or Wednesday", "Which day do you mean: Tuesday"),
        ("Wednesday the 26th", "is a Thursday, not a Wednesday"),
        ("9:5", "9:5 is no time"),
        ("25:00", "no time of day"),
        ("12:75", "no time of day"),
        ("15 am", "no time of day"),
        ("2 pm or 3 pm", "two PM or three PM"),
        ("from 4 to 2", "is after"),
    ],
)
def test_what_cannot_be_is_said(said: str, words: str) -> None:
    with pytest.raises(Unclear, match=words) as failure:
        times.read(said, NOW)
    text = str(failure.value)
    assert text[0].isupper() or text[0].isdigit()
    assert text[-1] in ".?"


@pytest.mark.parametrize(
    ("date_", "time_", "words"),
    [
        ("tomorrow", "blue", "no time called blue"),
        ("someday", "2 pm", "no day called someday"),
        ("tomorrow", "", "At what time"),
        ("", "2 pm", "Which day"),
        ("any", "any", "Which day"),
        ("next week", "2 pm", "Which day"),
        ("tomorrow", "morning", "At what time"),
        ("today", "9 am", "is past"),
        ("tomorrow at 2", "3 pm", "two different times"),
        ("tomorrow", "Friday at 3", "two different days"),
    ],
)
def test_a_moment_needs_one_day_and_one_time(date_: str, time_: str, words: str) -> None:
    with pytest.raises(ToolError, match=words):
        times.moment(times.wish(date_, time_, NOW), NOW)


@pytest.mark.parametrize("said", [None, "", "any", "flexible", "whenever", "N/A", "null", "asap"])
def test_whenever(said: str | None) -> None:
    assert not times.wish(said, said, NOW)


@pytest.mark.parametrize(
    ("said", "by"),
    [
        ("next month", "2026-12-31"),
        ("right away", "2026-11-23"),
        ("now", "2026-11-23"),
        ("asap", "2026-11-23"),
        ("December 1", "2026-12-01"),
        ("in two weeks", "2026-12-07"),
        ("", None),
        ("flexible", None),
    ],
)
def test_moving_in(said: str, by: str | None) -> None:
    assert times.move_in_by(said, NOW) == (day(by) if by else None)


def test_the_clock_may_change_on_the_way() -> None:
    """Tours keep the time on the office's clock when summer time ends or begins."""
    for now in (datetime(2026, 10, 30, 12, tzinfo=ZONE), datetime(2027, 3, 12, 12, tzinfo=ZONE)):
        start = times.moment(times.read("in three days at 2 pm", now), now)
        assert (start.hour, start.date()) == (14, now.date() + timedelta(days=3))


# Any time


_CLOCK = st.times().map(lambda at: at.replace(second=0, microsecond=0, tzinfo=None))
_DAY = st.dates(NOW.date(), NOW.date() + timedelta(days=300))


def _formats(at: time) -> list[str]:
    hour, half = at.hour % 12 or 12, "pm" if at.hour >= 12 else "am"
    dotted = f"{half[0]}.{half[1]}."
    return [
        f"{at:%H:%M}",
        f"{at:%H:%M:%S}",
        f"{hour}:{at:%M} {half}",
        f"{hour}:{at:%M}{half.upper()}",
        f"{hour}:{at:%M} {dotted}",
        f"{at:%I:%M %p}",
        spoken.clock(at),
    ]


@given(_CLOCK, st.integers(0, 6))
def test_any_formatted_time_is_read_back(at: time, which: int) -> None:
    assert times.read(_formats(at)[which], NOW, bare=True).hours == Hours(at, at)


@given(_DAY, st.integers(0, 5))
def test_any_formatted_day_is_read_back(value: date, which: int) -> None:
    formats = [
        value.isoformat(),
        f"{value:%m/%d/%Y}",
        f"{value:%A}, {value:%B} {value.day}, {value.year}",
        f"{value:%b} {value.day}",
        f"{value.day} {value:%B} {value.year}",
        spoken.day(value),
    ]
    assert times.read(formats[which], NOW).days == Days(value, value)


@given(_DAY, _CLOCK)
@example(date(2026, 11, 24), time(0, 0))
def test_what_is_offered_can_be_said_back(value: date, at: time) -> None:
    expected = When(Days(value, value), Hours(at, at))
    assert times.read(f"{spoken.day(value)}, at {spoken.clock(at)}", NOW) == expected


@given(_DAY, st.integers(0, 40), _CLOCK, _CLOCK)
def test_the_offline_models_texts_are_read_back(
    first: date, more: int, one: time, other: time
) -> None:
    begin, end = sorted((one, other))
    when = When(Days(first, first + timedelta(days=more)), Hours(begin, end))
    assert times.wish(*times.texts(when), NOW) == when


_TEXT = """
next last this Tuesday Friday the of at past half quarter to from between and or no not 3rd 31st
32nd February May 12 99 0 00 : / - pm am a.m. noon morning in week month days 5 twenty first oh
five thirty 2026-02-30 25:61 1/1/1 month weekend yesterday 999
"""
_WORDS = st.lists(st.sampled_from(_TEXT.split()), max_size=12).map(" ".join)


@given(st.one_of(st.text(max_size=60), _WORDS), st.one_of(st.none(), st.text(max_size=20), _WORDS))
def test_nothing_raises_but_the_clear_error(one: str, other: str | None) -> None:
    for attempt in (
        lambda: times.read(one, NOW),
        lambda: times.moment(times.wish(one, other, NOW), NOW),
        lambda: times.move_in_by(one, NOW),
    ):
        with contextlib.suppress(Unclear):
            attempt()


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (1050, "one thousand fifty dollars"),
        (1200, "twelve hundred dollars"),
        (2625, "twenty-six hundred twenty-five dollars"),
        (2000, "two thousand dollars"),
        (50, "fifty dollars"),
        (1, "one dollar"),
    ],
)
def test_money_in_words(amount: int, words: str) -> None:
    assert spoken.money(amount) == words
