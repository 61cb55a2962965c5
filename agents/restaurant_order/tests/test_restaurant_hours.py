"""When the shop is open, how long the kitchen takes, and how both are said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from agents.restaurant_order import spoken
from agents.restaurant_order.hours import Hours, later
from agents.restaurant_order.shop import SHOP
from agents.restaurant_order.tests.support import ZONE
from hypothesis import given
from hypothesis import strategies as st

HOURS, KITCHEN = SHOP.hours, SHOP.kitchen


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """Give a time in the week from Monday, November 16, 2026."""
    return datetime(2026, 11, 15 + day, hour, minute, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("now", "closing"),
    [
        (at(1, 12), None),
        (at(2, 10, 59), None),
        (at(2, 11), at(2, 21)),
        (at(2, 20, 59), at(2, 21)),
        (at(2, 21), None),
        (at(5, 22), at(5, 23)),
        (at(7, 12), None),
    ],
)
def test_open_and_closed(now: datetime, closing: datetime | None) -> None:
    assert HOURS.closing(now) == closing


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (at(1, 12), "We're closed right now. We open tomorrow, Tuesday, at 11 AM."),
        (at(2, 9), "We're closed right now. We open today at 11 AM."),
        (at(2, 12), "We're open right now, until 9 PM today."),
        (at(6, 23, 30), "We're closed right now. We open on Tuesday at 11 AM."),
        (at(7, 12), "We're closed right now. We open on Tuesday at 11 AM."),
    ],
)
def test_now_is_said(now: datetime, told: str) -> None:
    assert HOURS.spoken_now(now) == told


def test_the_next_opening_is_not_this_one() -> None:
    assert HOURS.next_opening(at(2, 11)) == at(3, 11)


def test_a_shop_that_never_opens() -> None:
    assert Hours().next_opening(at(1, 12)) is None
    assert "on no day" in Hours().spoken_now(at(1, 12))


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)))
def test_open_now_or_open_later(naive: datetime) -> None:
    now = naive.replace(tzinfo=UTC).astimezone(ZONE)
    opens = HOURS.next_opening(now)
    assert opens is not None
    assert opens > now
    assert HOURS.closing(opens) is not None
    assert HOURS.closing(opens - timedelta(minutes=1)) is None


def test_time_passes_evenly_where_clocks_change() -> None:
    before = datetime(2026, 11, 1, 0, 50, tzinfo=ZONE)
    assert later(before, 90).timestamp() - before.timestamp() == 90 * 60


@pytest.mark.parametrize(
    ("items", "queue", "minutes"),
    [(1, 0, 15), (2, 0, 20), (3, 0, 20), (4, 0, 25), (1, 12, 30), (1, 10_000, 55), (60, 0, 135)],
)
def test_the_kitchens_rule(items: int, queue: int, minutes: int) -> None:
    assert KITCHEN.minutes(items, queue) == minutes
    assert KITCHEN.wait(items, queue, delivery=True) == minutes + 30


def test_nothing_is_begun_that_is_not_ready_by_closing() -> None:
    assert KITCHEN.can_finish(HOURS, at(2, 20, 45), 1)
    assert not KITCHEN.can_finish(HOURS, at(2, 20, 46), 1)
    assert not KITCHEN.can_finish(HOURS, at(2, 20, 45), 2)
    assert not KITCHEN.can_finish(HOURS, at(1, 12), 1)


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("13.95", "13 dollars 95"),
        ("13.00", "13 dollars"),
        ("13", "13 dollars"),
        ("1.05", "1 dollar and 5 cents"),
        ("20.50", "20 dollars 50"),
        ("1234.10", "1234 dollars 10"),
    ],
)
def test_money_is_said(amount: str, told: str) -> None:
    assert spoken.dollars(Decimal(amount)) == told


def test_the_rest_is_said() -> None:
    assert spoken.minutes(25) == "25 minutes"
    assert spoken.minutes(60) == "an hour"
    assert spoken.minutes(135) == "two hours and 15 minutes"
    assert spoken.clock(at(2, 0, 5)) == "12:05 AM"
    assert spoken.clock(at(2, 12)) == "12 PM"
    assert spoken.listed(["a", "b", "c"], "or") == "a, b or c"
    assert (spoken.count(2), spoken.count(13)) == ("two", "13")
    assert spoken.sentence("a thing") == "A thing."
