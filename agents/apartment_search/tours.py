"""Tours: their slots, who holds them, and the writes that keep both in step.

| pk | sk | what |
|---|---|---|
| `TOUR_SLOTS` | `2026-11-24T13:30#two-bedroom#in-person` | a slot; free if it has no `holder` |
| `CALLER#+1…` or `CALL#id` | `TOUR#2026-11-24T13:30` | an appointment of the holder |

A slot that is taken stays where it is, so that seeding again cannot bring it back. A holder's
appointment is kept by its start, so that nobody can be in two places at the same time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Final, Literal, TypeAlias

import msgspec

from voxyray.stores import Delete, Equals, Item, Missing, Put, Update, Write

from . import spoken
from .flats import NAMES, FlatName
from .times import When

TourType: TypeAlias = Literal["in-person", "self-guided"]
TOUR_TYPES: Final[tuple[TourType, ...]] = ("in-person", "self-guided")
SLOTS: Final = "TOUR_SLOTS"
TOUR: Final = "TOUR#"
DAYS_AHEAD: Final = 7

_STEP: Final = timedelta(minutes=30)
# The first and the last start: somebody must be there to show you around.
_OPEN: Final = {
    "in-person": (time(9), time(16, 30)),
    "self-guided": (time(8), time(19, 30)),
}
_KEPT_AFTER: Final = timedelta(hours=12)  # who is late may still ask where it was


class Slot(msgspec.Struct, frozen=True, order=True):
    """A tour that can be taken; start is local time in the agent's zone."""

    start: datetime
    apartment: FlatName
    tour_type: TourType

    @property
    def key(self) -> str:
        """Give its sort key, made of normalised values only."""
        return f"{self.start:%Y-%m-%dT%H:%M}#{self.apartment}#{self.tour_type}"

    def item(self) -> Item:
        """Give the free slot as it is stored; it vanishes when the tour begins."""
        return {
            "pk": SLOTS,
            "sk": self.key,
            "start": f"{self.start:%Y-%m-%dT%H:%M}",
            "apartment": self.apartment,
            "tour_type": self.tour_type,
            "expires_at": int(self.start.timestamp()),
        }

    def said(self, today: date) -> str:
        """Say when it is, in full."""
        start = self.start
        return f"{spoken.on_day(start.date(), today)} at {spoken.clock(start.time())}"

    def offered(self, today: date) -> str:
        """Say when it is, in few words."""
        start = self.start
        return f"{spoken.short_day(start.date(), today)} at {spoken.clock(start.time())}"

    @property
    def kind(self) -> str:
        """Say what it is, with its article."""
        article = "an" if self.tour_type == "in-person" else "a"
        return f"{article} {self.tour_type} tour of the {self.apartment}"


class Appointment(msgspec.Struct, frozen=True):
    """A slot that a caller holds.

    booked: when and in which turn, for which one is the latest. key: of the run that booked it.
    """

    slot: Slot
    holder: str
    booked: str = ""
    key: str = ""
    name: str = ""

    @property
    def sk(self) -> str:
        """Give its sort key: its start."""
        return f"{TOUR}{self.slot.start:%Y-%m-%dT%H:%M}"

    def item(self) -> Item:
        """Give it as it is stored."""
        return {
            **self.slot.item(),
            "pk": self.holder,
            "sk": self.sk,
            "slot": self.slot.key,
            "booked": self.booked,
            "key": self.key,
            "name": self.name,
            "expires_at": int((self.slot.start + _KEPT_AFTER).timestamp()),
        }


def slot_of(item: Item, zone: tzinfo | None) -> Slot:
    """Read a slot, or the slot of an appointment."""
    start = datetime.fromisoformat(item["start"]).replace(tzinfo=zone)
    return Slot(start, item["apartment"], item["tour_type"])


def appointment_of(item: Item, zone: tzinfo | None) -> Appointment:
    """Read an appointment."""
    texts: dict[str, Any] = {name: str(item.get(name, "")) for name in ("booked", "key", "name")}
    return Appointment(slot_of(item, zone), item["pk"], **texts)


# Slots of a day


def planned(now: datetime, days: int = DAYS_AHEAD) -> list[Slot]:
    """Give the slots there are to be from tomorrow on: a day has one of each apartment and kind."""
    first = now.date() + timedelta(days=1)
    return [
        Slot(_start(first + timedelta(days=n), name, kind, now.tzinfo), name, kind)
        for n in range(days)
        for name in NAMES
        for kind in TOUR_TYPES
    ]


def _start(day: date, name: FlatName, kind: TourType, zone: tzinfo | None) -> datetime:
    """Give a time within opening hours that looks random and is the same whenever it is asked."""
    first, last = (datetime.combine(day, at, zone) for at in _OPEN[kind])
    digest = hashlib.sha256(f"{day}/{name}/{kind}".encode()).digest()
    steps = int((last - first) / _STEP) + 1
    return first + _STEP * (int.from_bytes(digest[:4]) % steps)


# Writes: slot and appointment change together, or not at all


def booking(new: Appointment) -> tuple[Write, ...]:
    """Give the writes that take a free slot for its holder, who has no other tour then."""
    return _take(new), Put(new.item(), when=Missing())


def cancelling(old: Appointment, *, begun: bool = False) -> tuple[Write, ...]:
    """Give the writes that free a slot; that of a tour that has begun is gone already."""
    strike = Delete(old.holder, old.sk, when=Equals("slot", old.slot.key))
    return (strike,) if begun else (_free(old), strike)


def moving(old: Appointment, new: Appointment) -> tuple[Write, ...]:
    """Give the writes that put one appointment in place of another."""
    held = Equals("slot", old.slot.key)
    slots = (_free(old), _take(new))
    if old.sk == new.sk:
        return (*slots, Put(new.item(), when=held))
    return (*slots, Delete(old.holder, old.sk, when=held), Put(new.item(), when=Missing()))


def _take(new: Appointment) -> Update:
    return Update(SLOTS, new.slot.key, set={"holder": new.holder}, when=Equals("holder", None))


def _free(old: Appointment) -> Update:
    held = Equals("holder", old.holder)
    return Update(SLOTS, old.slot.key, remove=("holder",), when=held)


# Choosing


class Choice(msgspec.Struct, frozen=True):
    """What can be offered: slots as wished for, else on the same day, else on others."""

    exact: tuple[Slot, ...] = ()
    same_day: tuple[Slot, ...] = ()
    other_days: tuple[Slot, ...] = ()

    @property
    def offered(self) -> tuple[Slot, ...]:
        """The best of them."""
        return self.exact or self.same_day or self.other_days


def choose(
    free: Iterable[Slot], apartment: FlatName, kind: TourType | None, when: When, count: int = 3
) -> Choice:
    """Give the free slots that fit best, at most so many of a sort, soonest first."""
    here = sorted(slot for slot in free if slot.apartment == apartment)
    mine = [slot for slot in here if kind in (None, slot.tour_type)]
    exact = [slot for slot in mine if when.takes(slot.start)]
    if when.days is None:
        others = mine if when.hours is None else _by_hour(mine, when)
        return Choice(tuple(exact[:count]), (), tuple(sorted(others[:count])))
    days = When(when.days)
    # Of the other kind on that day, too: a self-guided tour may suit as well.
    same_day = [slot for slot in mine if days.takes(slot.start)] or [
        slot for slot in here if days.takes(slot.start)
    ]
    nearest = sorted(mine, key=lambda slot: _far(slot, when))
    return Choice(tuple(exact[:count]), tuple(same_day[:count]), tuple(sorted(nearest[:count])))


def _by_hour(slots: Sequence[Slot], when: When) -> list[Slot]:
    return sorted(slots, key=lambda slot: (_off(slot, when), slot.start))


def _far(slot: Slot, when: When) -> tuple[int, int, datetime]:
    days = when.days
    if days is None:
        return (0, _off(slot, when), slot.start)
    day = slot.start.date()
    off = max((days.first - day).days, (day - days.last).days, 0)
    return (off, _off(slot, when), slot.start)


def _off(slot: Slot, when: When) -> int:
    """Give by how many minutes a slot misses the wished time of day."""
    if when.hours is None:
        return 0
    at, begin, end = (
        t.hour * 60 + t.minute for t in (slot.start, when.hours.begin, when.hours.end)
    )
    return max(begin - at, at - end, 0)
