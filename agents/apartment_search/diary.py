"""The office's diary of tours in the store: reads, and bookings that either are or are not."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from voxyray.errors import ConditionFailed
from voxyray.stores import Item, Missing, Put, Store

from . import tours
from .tours import SLOTS, TOUR, Appointment, Slot

# booked: now or before; busy: another tour of the caller at that time; taken: by somebody, or no
# such slot; gone: the appointment to be changed is not there any more.
Outcome: TypeAlias = Literal["booked", "busy", "taken", "gone"]

_TRIES: Final = 4


async def stocked(store: Store, now: datetime) -> tuple[list[Item], int]:
    """Give all slots, free and taken, after adding those of the coming days that are missing.

    The second value is how many were added. Any number of callers may do so at the same time.
    """
    for _ in range(_TRIES):
        items = await store.query(SLOTS)
        known = {item["sk"] for item in items}
        new = [slot.item() for slot in tours.planned(now) if slot.key not in known]
        if not new:
            return items, 0
        try:
            await store.write(*(Put(item, Missing()) for item in new))
        except ConditionFailed:
            continue  # another call was faster: look again
        return [*items, *new], len(new)
    return await store.query(SLOTS), 0


async def free_slots(store: Store, now: datetime) -> list[Slot]:
    """Give the slots that nobody holds, soonest first."""
    items, _ = await stocked(store, now)
    slots = [tours.slot_of(item, now.tzinfo) for item in items if item.get("holder") is None]
    return sorted(slot for slot in slots if slot.start > now)


async def appointments(store: Store, holder: str, now: datetime) -> list[Appointment]:
    """Give a holder's appointments, soonest first; one that has just begun is still there."""
    items = await store.query(holder, TOUR)
    return [tours.appointment_of(item, now.tzinfo) for item in items]


async def book(store: Store, new: Appointment, now: datetime) -> Outcome:
    """Take a slot for its holder; of any number who try at the same time, one gets it."""
    for _ in range(_TRIES):
        try:
            await store.write(*tours.booking(new))
        except ConditionFailed:
            # Nobody may have looked at this day before; then its slots come to be here.
            if new.slot not in await free_slots(store, now):
                return await _refusal(store, new)
            if (refused := await _refusal(store, new)) != "taken":
                return refused
        else:
            return "booked"
    return "taken"


async def _refusal(store: Store, new: Appointment) -> Outcome:
    """Say why a booking was refused; that the holder has this very slot is no refusal."""
    mine = await store.get(new.holder, new.sk)
    if mine is None:
        return "taken"
    return "booked" if mine.get("slot") == new.slot.key else "busy"


async def cancel(store: Store, old: Appointment, now: datetime) -> bool:
    """Give an appointment up; false if it was not there any more."""
    try:
        await store.write(*tours.cancelling(old, begun=old.slot.start <= now))
    except ConditionFailed:
        return False
    return True


async def move(store: Store, old: Appointment, new: Appointment, now: datetime) -> Outcome:
    """Put a slot in place of another; if that cannot be, the old one stays."""
    if old.slot == new.slot:
        return "booked"
    await stocked(store, now)
    try:
        await store.write(*tours.moving(old, new))
    except ConditionFailed:
        mine = await store.get(old.holder, old.sk)
        if mine is None or mine.get("slot") != old.slot.key:
            there = await store.get(new.holder, new.sk)
            moved = there is not None and there.get("slot") == new.slot.key
            return "booked" if moved and (there or {}).get("key") == new.key else "gone"
        refused = "taken" if old.sk == new.sk else await _refusal(store, new)
        return "busy" if refused == "booked" else refused
    return "booked"


def latest(held: list[Appointment]) -> Appointment | None:
    """Give the appointment that was booked, or moved, last."""
    return max(held, key=lambda each: each.booked, default=None)


def renewed(old: Appointment, slot: Slot, booked: str, key: str) -> Appointment:
    """Give an appointment at another time."""
    return msgspec.structs.replace(old, slot=slot, booked=booked, key=key)
