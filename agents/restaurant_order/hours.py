"""When the shop is open. Every datetime is aware and in the shop's zone."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Final

import msgspec

from .spoken import clock, listed

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Opening hours of one day; it closes on the day it opens."""

    opens: time
    closes: time

    def __post_init__(self) -> None:
        if not self.opens < self.closes:
            raise ValueError(f"opens at {self.opens} but closes at {self.closes}")


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The opening hours of a week; a day without is closed."""

    monday: Span | None = None
    tuesday: Span | None = None
    wednesday: Span | None = None
    thursday: Span | None = None
    friday: Span | None = None
    saturday: Span | None = None
    sunday: Span | None = None

    @property
    def week(self) -> tuple[Span | None, ...]:
        """The days' hours, Monday first."""
        return tuple(getattr(self, day.lower()) for day in _DAYS)

    def closing(self, now: datetime) -> datetime | None:
        """Give when the shop closes today; None if it is closed now."""
        span = self.week[now.weekday()]
        if span is None or not span.opens <= now.time() < span.closes:
            return None
        return _at(now, now.date(), span.closes)

    def next_opening(self, now: datetime) -> datetime | None:
        """Give when the shop opens next; None if it never does."""
        for days in range(8):
            day = now.date() + timedelta(days=days)
            span = self.week[day.weekday()]
            if span is not None and (opens := _at(now, day, span.opens)) > now:
                return opens
        return None

    def spoken_opening(self, now: datetime) -> str:
        """Give when the shop opens next, such as `tomorrow, Tuesday, at 11 AM`."""
        opens = self.next_opening(now)
        if opens is None:
            return "on no day"
        name = _DAYS[opens.weekday()]
        days = (opens.date() - now.date()).days
        day = {0: "today", 1: f"tomorrow, {name},"}.get(days, f"on {name}")
        return f"{day} at {clock(opens)}"

    def spoken_now(self, now: datetime) -> str:
        """Say whether the shop is open, and until when, or from when on."""
        closes = self.closing(now)
        if closes is not None:
            return f"We're open right now, until {clock(closes)} today."
        return f"We're closed right now. We open {self.spoken_opening(now)}."

    def spoken_week(self) -> str:
        """Say the hours of the week; days with the same hours are told together."""
        runs: list[tuple[list[str], Span | None]] = []
        # From Tuesday on, for a closing that spans the end of the week is one.
        for shift in range(1, 8):
            day, span = _DAYS[shift % 7], self.week[shift % 7]
            if runs and runs[-1][1] == span:
                runs[-1][0].append(day)
            else:
                runs.append(([day], span))
        told = [
            f"{_days(days)} from {clock(span.opens)} to {clock(span.closes)}"
            for days, span in runs
            if span is not None
        ]
        closed = [day for days, span in runs if span is None for day in days]
        ending = f", and closed on {listed(closed)}" if closed else ""
        return f"We're open {listed(told)}{ending}."


def later(now: datetime, minutes: int) -> datetime:
    """Give the time so many real minutes later, also where clocks change in between."""
    moment = datetime.fromtimestamp(now.timestamp() + 60 * minutes, now.tzinfo)
    return moment.replace(second=0, microsecond=0)


def _at(now: datetime, day: date, when: time) -> datetime:
    return datetime.combine(day, when, tzinfo=now.tzinfo)


def _days(days: list[str]) -> str:
    return f"{days[0]} to {days[-1]}" if len(days) > 2 else listed(days)
