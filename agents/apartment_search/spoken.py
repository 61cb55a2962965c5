"""Numbers, money, days and times in words, as they are said in the United States."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time
from typing import Final

_UP_TO_NINETEEN: Final = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_FROM_TWENTY: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL: Final = _UP_TO_NINETEEN.split()
_TENS: Final = ["", "", *_FROM_TWENTY.split()]
_IRREGULAR: Final = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def number(value: int) -> str:
    """Give a whole number below a million in words."""
    if value < 20:
        return _SMALL[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return f"{_TENS[tens]}-{_SMALL[ones]}" if ones else _TENS[tens]
    # "Eighteen hundred" is what people say of a rent, but not "ten hundred".
    by_hundreds = value < 10_000 and value // 100 % 10
    whole, rest = divmod(value, 100 if by_hundreds else 1000)
    words = f"{number(whole)} {'hundred' if by_hundreds else 'thousand'}"
    return f"{words} {number(rest)}" if rest else words


def ordinal(value: int) -> str:
    """Give a place in words, such as twenty-fourth."""
    words = number(value)
    head, dash, last = words.rpartition("-")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return f"{head}{dash}{last}"


def money(dollars: int) -> str:
    """Give an amount in words."""
    return f"{number(dollars)} dollars" if dollars != 1 else "one dollar"


def day(value: date) -> str:
    """Give a day in words."""
    return f"{value:%A}, {value:%B} {ordinal(value.day)}"


def on_day(value: date, today: date) -> str:
    """Give a day in full, as the time of something: `tomorrow, Tuesday, November ...`."""
    near = _near(value, today)
    return f"{near}, {day(value)}," if near else f"on {day(value)},"


def short_day(value: date, today: date) -> str:
    """Give a day in few words: `tomorrow`, `Wednesday the twenty-fifth`."""
    return _near(value, today) or f"{value:%A} the {ordinal(value.day)}"


def _near(value: date, today: date) -> str:
    return {0: "today", 1: "tomorrow"}.get((value - today).days, "")


def month_day(value: date) -> str:
    """Give a day without its weekday."""
    return f"{value:%B} {ordinal(value.day)}"


def clock(value: time) -> str:
    """Give a time of day in words, such as one thirty PM."""
    if value.minute == 0 and value.hour in (0, 12):
        return "noon" if value.hour else "midnight"
    hour = number(value.hour % 12 or 12)
    half = "AM" if value.hour < 12 else "PM"
    if value.minute == 0:
        return f"{hour} {half}"
    minute = number(value.minute) if value.minute > 9 else f"oh {number(value.minute)}"
    return f"{hour} {minute} {half}"


def address(street: str) -> str:
    """Give a street with its house number as it is said, such as seventeen oh five."""
    house, _, name = street.partition(" ")
    if not house.isdigit() or len(house) != 4:
        return street
    first, last = int(house[:2]), int(house[2:])
    if last == 0:
        return f"{number(first)} hundred {name}"
    return f"{number(first)} {number(last) if last > 9 else f'oh {number(last)}'} {name}"


def listed(items: Sequence[str], word: str = "and") -> str:
    """Join words as a sentence does."""
    if len(items) < 3:
        return f" {word} ".join(items)
    return f"{', '.join(items[:-1])}, {word} {items[-1]}"


def sentence(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]
