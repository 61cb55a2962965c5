"""Words for the ear: counts, amounts of money, times of day, lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from decimal import Decimal
from typing import Final

_COUNTS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve"),
)  # beyond, digits are read just as well


def count(number: int) -> str:
    """Give a number as people write it in a sentence."""
    return _COUNTS[number] if 0 <= number < len(_COUNTS) else str(number)


def dollars(amount: Decimal) -> str:
    """Give an amount as it is said, such as `13 dollars 95`."""
    whole, cents = divmod(int(amount * 100), 100)
    unit = "dollar" if whole == 1 else "dollars"
    if not cents:
        return f"{whole} {unit}"
    # "13 dollars 5" could be heard as 13.50.
    return f"{whole} {unit} {cents}" if cents >= 10 else f"{whole} {unit} and {cents} cents"


def written(amount: Decimal) -> str:
    """Give an amount as it is written in a message."""
    return f"${amount:.2f}"


def clock(at: time | datetime) -> str:
    """Give a time of day, such as `11 AM` or `6:25 PM`."""
    hour = at.hour % 12 or 12
    half = "AM" if at.hour < 12 else "PM"
    return f"{hour}:{at.minute:02d} {half}" if at.minute else f"{hour} {half}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Join words as people do: `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def sentence(text: str) -> str:
    """Begin with a capital letter and end with a full stop."""
    text = text.strip()
    end = "" if text.endswith((".", "!", "?")) else "."
    return text[:1].upper() + text[1:] + end


def minutes(number: int) -> str:
    """Give a wait as people say it, such as `an hour and 15 minutes`."""
    hours, rest = divmod(number, 60)
    if not hours:
        return f"{rest} minutes"
    whole = "an hour" if hours == 1 else f"{count(hours)} hours"
    return f"{whole} and {rest} minutes" if rest else whole
