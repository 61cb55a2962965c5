"""What the leasing office can do: find apartments, show them, answer, and put through."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec

from voxyray.builtin import hang_up, transfer_to_agent, transfer_to_person
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ToolError
from voxyray.stores import keys
from voxyray.tool import tool

from . import diary, flats, inquiries, results, spoken, times, tours
from .flats import FlatName
from .inquiries import Topic
from .results import Appointments, Availability, Booking, Listing
from .tours import Appointment, Slot, TourType

__all__ = ["tools"]

Day = Annotated[str, "The day as the caller says it, such as next Tuesday, or as 2026-11-24."]
Time = Annotated[str, "The time as the caller says it, such as half past one, or as 13:30."]
MaybeDay = Annotated[
    str | None, "The day as the caller says it, such as tomorrow or next week; null for any."
]
MaybeTime = Annotated[
    str | None, "The time or part of the day, such as two PM, after four, morning; null for any."
]
WhichDay = Annotated[str | None, "The day of the tour that is meant, if there are several."]
WhichTime = Annotated[str | None, "The time of the tour that is meant, if there are several."]
WhichFlat = Annotated[
    FlatName | None, "The apartment of the tour that is meant, if there are several."
]


@tool(effect="read")
async def list_apartments(
    move_in_by: Annotated[
        str | None, "The latest day to move in, in the caller's words, such as next month."
    ] = None,
    budget: Annotated[int | None, "The most they would pay a month, in whole dollars."] = None,
    type: Annotated[FlatName | None, "The size they want."] = None,  # noqa: A002
    *,
    call: CallContext,
) -> Listing:
    """List the apartments that fit: size, rent, street and when they are free.

    Call this whenever the caller says what they look for, and again when that changes. Give only
    what they said; with nothing, it lists all. If nothing fits, it names the nearest.
    """
    if budget is not None and budget <= 0:
        raise ToolError("A budget must be more than nothing. How much is it a month?")
    now = call.now()
    wish = flats.Wish(type, budget, times.move_in_by(move_in_by, now))
    say, found = flats.search(wish, now.date())
    fits = all(wish.takes(flat, now.date()) for flat in found)
    return Listing(fits, tuple(flat.name for flat in found), say)


@tool(effect="read")
async def inquire(
    topic: Topic,
    apartment: Annotated[FlatName | None, "One apartment; null to compare all of them."] = None,
    *,
    call: CallContext,
) -> str:
    """Answer a question about the apartments: pets, fees and deposit, parking, specials and so on.

    Call this for every such question; never answer from memory. `features` is size and equipment,
    `specials` are what is given to those who sign now. Rent and move-in date are in
    list_apartments.
    """
    return inquiries.answer(topic, apartment, call.now().date())


@tool(effect="read", filler="Let me look at the calendar.")
async def check_availability(
    date: MaybeDay,
    time: MaybeTime,
    tour_type: Annotated[TourType | None, "Null if the caller does not mind which."],
    apartment: FlatName,
    *,
    call: CallContext,
) -> Availability:
    """Find free tours of an apartment, at the wished time or near it.

    Call this before any booking or move. If nothing is free then, it gives alternatives: that day,
    else the nearest days. Offer at most three, and only those it gave.
    """
    now = call.now()
    when = times.wish(date, time, now)
    free = await diary.free_slots(call.store, now)
    choice = tours.choose(free, apartment, tour_type, when)
    return results.availability(choice, apartment, when, now.date())


@tool(effect="write", filler="I'm booking that.")
async def book_tour(
    date: Day,
    time: Time,
    tour_type: TourType,
    apartment: FlatName,
    *,
    caller: Caller,
    call: CallContext,
) -> Booking:
    """Book a free tour that check_availability gave and the caller chose.

    It is booked only if `booked` is true; otherwise somebody was faster, and you offer the
    alternatives. Booking the same tour again changes nothing.
    """
    now = call.now()
    slot = _slot(date, time, tour_type, apartment, now)
    new = _appointment(slot, caller, call)
    outcome = await diary.book(call.store, new, now)
    if outcome == "busy":
        raise ToolError(_busy(slot, now))
    if outcome != "booked":
        return await _alternatives(slot, call, now)
    say = f"It is booked: {slot.kind} {slot.said(now.date())}, at {_address(slot)}."
    return Booking(True, (results.tour(slot),), say + _for_this_call(caller))


@tool(effect="read")
async def my_appointments(*, caller: Caller, call: CallContext) -> Appointments:
    """List the tours that this caller has booked, also in earlier calls."""
    now = call.now()
    held = await diary.appointments(call.store, _holder(caller, call), now)
    found = results.appointments(held, now.date())
    note = "" if held else _for_this_call(caller, none=True)
    return msgspec.structs.replace(found, say=found.say + note)


@tool(effect="write")
async def cancel_tour(
    date: WhichDay = None,
    time: WhichTime = None,
    apartment: WhichFlat = None,
    *,
    caller: Caller,
    call: CallContext,
) -> str:
    """Cancel one of the caller's tours, once they have said clearly that they want that.

    Which one needs saying only if they have several; then it asks.
    """
    now = call.now()
    old = await _which(date, time, apartment, caller, call)
    if not await diary.cancel(call.store, old, now):
        raise ToolError("That tour was not there any more, so nothing was cancelled.")
    return f"It is cancelled: {old.slot.kind} {old.slot.said(now.date())}."


@tool(effect="write", filler="I'm moving that.")
async def move_tour(
    new_date: Day,
    new_time: Time,
    new_tour_type: Annotated[TourType | None, "Null if it stays as it is."] = None,
    date: WhichDay = None,
    time: WhichTime = None,
    apartment: WhichFlat = None,
    *,
    caller: Caller,
    call: CallContext,
) -> Booking:
    """Move one of the caller's tours to another time that check_availability gave.

    Either it is moved, or the old one stays: then `booked` is false and you offer the
    alternatives. Never cancel first. date, time and apartment tell which tour is to be moved.
    """
    now = call.now()
    old = await _which(date, time, apartment, caller, call)
    if old.slot.start <= now:
        raise ToolError("That tour has begun already, so it stays as it is.")
    kind = new_tour_type or old.slot.tour_type
    slot = _slot(new_date, new_time, kind, old.slot.apartment, now)
    new = _appointment(slot, caller, call)
    outcome = await diary.move(call.store, old, new, now)
    if outcome == "gone":
        raise ToolError("That tour was not there any more, so nothing was moved.")
    if outcome == "busy":
        raise ToolError(_busy(slot, now))
    if outcome != "booked":
        return await _alternatives(slot, call, now)
    say = f"It is moved: {slot.kind}, now {slot.said(now.date())}."
    return Booking(True, (results.tour(slot),), say)


@tool(effect="write")
async def send_confirmation(
    date: WhichDay = None,
    time: WhichTime = None,
    apartment: WhichFlat = None,
    *,
    caller: Caller,
    call: CallContext,
) -> str:
    """Text the caller a confirmation of a tour, to the number they call from.

    Offer it after a booking or a move. It names the one booked last, unless another is meant.
    """
    now = call.now()
    held = await _held(caller, call)
    meant = _chosen(held, date, time, apartment, now) if date or time or apartment else held
    old = diary.latest(meant)
    if old is None:
        raise ToolError("There is no tour to confirm. Book one first.")
    if not (_is_known(caller) and caller.number.startswith("+")):
        raise ToolError("No text can be sent, since the number is withheld.")
    await call.send_sms(caller.number, _text(old.slot))
    return f"A text about the tour {old.slot.said(now.date())} is on its way."


# Helpers


def _holder(caller: Caller, call: CallContext) -> str:
    """Give whose appointments they are: the number's, or, if it is withheld, this call's."""
    return keys.caller(caller.number) if _is_known(caller) else keys.call(call.id)


# Carriers write a withheld number so, on the keys of a phone: ANONYMOUS, RESTRICTED, UNKNOWN,
# BLOCKED, UNAVAILABLE. Strangers must not share their tours.
_WITHHELD: Final = frozenset({"+266696687", "+7378742833", "+8566696", "+2562533", "+86282452253"})


def _is_known(caller: Caller) -> bool:
    return keys.is_caller(caller.number) and caller.number not in _WITHHELD


def _for_this_call(caller: Caller, *, none: bool = False) -> str:
    if _is_known(caller):
        return ""
    if none:
        return " The number is withheld, so tours booked in other calls cannot be seen."
    return " The number is withheld, so it can be changed in this call only."


def _slot(date: str, time: str, kind: TourType, apartment: FlatName, now: datetime) -> Slot:
    return Slot(times.moment(times.wish(date, time, now), now), apartment, kind)


def _appointment(slot: Slot, caller: Caller, call: CallContext) -> Appointment:
    # Ordered by time, then by turn: a clock may stand still between two turns.
    booked = f"{int(call.clock() * 1000):015d}.{call.turn:05d}"
    return Appointment(slot, _holder(caller, call), booked, call.key, caller.name)


async def _held(caller: Caller, call: CallContext) -> list[Appointment]:
    return await diary.appointments(call.store, _holder(caller, call), call.now())


async def _which(
    date: str | None,
    time: str | None,
    apartment: FlatName | None,
    caller: Caller,
    call: CallContext,
) -> Appointment:
    """Give the one tour that is meant."""
    now = call.now()
    held = await _held(caller, call)
    if not held:
        raise ToolError(f"There is no tour booked.{_for_this_call(caller, none=True)}")
    meant = _chosen(held, date, time, apartment, now)
    if len(meant) == 1:
        return meant[0]
    if not meant:
        raise ToolError(f"No such tour is booked. {results.appointments(held, now.date()).say}")
    raise ToolError(f"Which one is meant? {results.appointments(meant, now.date()).say}")


def _chosen(
    held: list[Appointment],
    date: str | None,
    time: str | None,
    apartment: FlatName | None,
    now: datetime,
) -> list[Appointment]:
    when = times.wish(date, time, now)
    return [
        each
        for each in held
        if when.takes(each.slot.start) and apartment in (None, each.slot.apartment)
    ]


async def _alternatives(slot: Slot, call: CallContext, now: datetime) -> Booking:
    free = await diary.free_slots(call.store, now)
    day = slot.start.date()
    hours = times.Hours(slot.start.time(), slot.start.time())
    when = times.When(times.Days(day, day), hours)
    choice = tours.choose(free, slot.apartment, slot.tour_type, when)
    return results.refused(choice, slot, now.date())


def _busy(slot: Slot, now: datetime) -> str:
    return f"There is another tour booked already {slot.said(now.date())}. It stays as it is."


def _address(slot: Slot) -> str:
    return spoken.address(flats.office().flat(slot.apartment).street)


def _text(slot: Slot) -> str:
    """Write what is read, not heard."""
    office = flats.office()
    street = office.flat(slot.apartment).street
    day = f"{slot.start:%A, %B} {slot.start.day}, {slot.start.year}"
    hour = f"{slot.start.hour % 12 or 12}:{slot.start:%M %p}"
    return (
        f"Your {slot.tour_type} tour of the {slot.apartment} apartment: {day} at {hour}, "
        f"{street}, {office.city} {office.zip_code}. To change it, call this number."
    )


tools = [
    list_apartments,
    inquire,
    check_availability,
    book_tour,
    my_appointments,
    cancel_tour,
    move_tour,
    send_confirmation,
    transfer_to_agent,
    transfer_to_person,
    hang_up,
]
