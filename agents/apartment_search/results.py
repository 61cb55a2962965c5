"""What the tools tell the model: facts it can pass on, and the same in words for the ear."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec

from . import spoken
from .flats import FlatName
from .times import When
from .tours import Appointment, Choice, Slot, TourType


class Tour(msgspec.Struct, frozen=True):
    """A tour as a tool takes it."""

    date: str
    time: str
    tour_type: TourType
    apartment: FlatName


class Listing(msgspec.Struct, frozen=True):
    """Apartments that fit; if none does, fits is false and the nearest is named."""

    fits: bool
    apartments: tuple[FlatName, ...]
    say: str


class Availability(msgspec.Struct, frozen=True):
    """Free tours: as wished for, or else alternatives."""

    available: bool
    tours: tuple[Tour, ...]
    say: str


class Booking(msgspec.Struct, frozen=True):
    """What came of a booking or a move; if nothing, tours are free alternatives."""

    booked: bool
    tours: tuple[Tour, ...]
    say: str


class Appointments(msgspec.Struct, frozen=True):
    """A caller's tours."""

    tours: tuple[Tour, ...]
    say: str


def tour(slot: Slot) -> Tour:
    """Give a slot as the tools take it."""
    start = slot.start
    return Tour(f"{start:%Y-%m-%d}", f"{start:%H:%M}", slot.tour_type, slot.apartment)


def availability(choice: Choice, apartment: FlatName, when: When, today: date) -> Availability:
    """Say what is free."""
    slots = choice.offered
    if not slots:
        none = f"There is no free tour of the {apartment} in the coming week."
        return Availability(False, (), none)
    if choice.exact:
        lead = f"The {apartment} can be seen"
    elif choice.same_day:
        lead = f"Not exactly that, but the {apartment} can be seen"
    else:
        lead = f"{_nothing(when)}. The nearest for the {apartment}:"
    say = f"{lead} {options(slots, today)}."
    return Availability(bool(choice.exact), tuple(map(tour, slots)), say)


def _nothing(when: When) -> str:
    day = when.days.single if when.days else None
    return f"Nothing is free on {spoken.day(day)}" if day else "Nothing is free then"


def options(slots: Sequence[Slot], today: date) -> str:
    """Offer slots in few words; a kind they have in common is said once."""
    kinds = {slot.tour_type for slot in slots}
    if len(kinds) == 1:
        said = spoken.listed([slot.offered(today) for slot in slots], "or")
        return f"{_KINDS[slots[0].tour_type]}, {said}"
    each = [f"{slot.offered(today)}, {_KINDS[slot.tour_type]}" for slot in slots]
    return f"{'; '.join(each[:-1])}; or {each[-1]}"


_KINDS: Final = {"in-person": "in person", "self-guided": "self-guided"}


def refused(choice: Choice, slot: Slot, today: date) -> Booking:
    """Say that a slot is not free, and which are."""
    offered = choice.offered
    lead = f"That is not free: {slot.kind} {slot.said(today)}."
    if not offered:
        return Booking(False, (), f"{lead} Nor is there any other in the coming week.")
    say = f"{lead} Still free: {options(offered, today)}."
    return Booking(False, tuple(map(tour, offered)), say)


def appointments(held: Sequence[Appointment], today: date) -> Appointments:
    """Say which tours a caller has."""
    if not held:
        return Appointments((), "There is no tour booked.")
    each = [f"{each.slot.kind} {each.slot.said(today)}" for each in held]
    lead = "There is" if len(held) == 1 else f"There are {spoken.number(len(held))}:"
    return Appointments(tuple(tour(each.slot) for each in held), f"{lead} {'; and '.join(each)}.")
