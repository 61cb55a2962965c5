"""The leasing office's tools, one by one: what they tell, what they keep, what they refuse."""

from __future__ import annotations

import asyncio
import typing
from datetime import datetime
from typing import Any

import msgspec
import pytest
from agents.apartment_search import diary, flats, inquiries, tours
from agents.apartment_search.tests.office import (
    NOW,
    ZONE,
    agent,
    context,
    memory,
    taken,
    use,
)
from agents.apartment_search.tours import Slot

from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.errors import ToolArgumentError, ToolError
from voxyray.messengers.delivery import Delivery
from voxyray.messengers.outbox import OutboxMessenger
from voxyray.stores import Store, keys
from voxyray.stores.memory import MemoryStore

ADA = "+15550100"


@pytest.fixture(scope="module")
def office() -> Agent:
    return agent()


@pytest.fixture
def store() -> MemoryStore:
    return memory()


def slot(name: str, kind: str, day: int = 0) -> Slot:
    found = [s for s in tours.planned(NOW) if (s.apartment, s.tour_type) == (name, kind)]
    return found[day]


def given(of: Slot) -> dict[str, Any]:
    return {
        "date": f"{of.start:%Y-%m-%d}",
        "time": f"{of.start:%H:%M}",
        "tour_type": of.tour_type,
        "apartment": of.apartment,
    }


async def check(office: Agent, store: Store, **asked: Any) -> Any:
    whole = {"date": None, "time": None, "tour_type": None, "apartment": "two-bedroom", **asked}
    return await use(office, "check_availability", store, **whole)


# Apartments


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, ["studio", "one-bedroom", "two-bedroom", "three-bedroom"]),
        ({"budget": 1200}, ["studio", "one-bedroom"]),
        ({"budget": 1199}, ["studio"]),
        ({"type": "two-bedroom"}, ["two-bedroom"]),
        ({"move_in_by": "right away"}, ["studio"]),
        ({"move_in_by": "next month"}, ["studio", "one-bedroom", "two-bedroom"]),
        ({"move_in_by": "December 1"}, ["studio", "one-bedroom", "two-bedroom"]),
        ({"move_in_by": "next month", "budget": 2000, "type": "two-bedroom"}, ["two-bedroom"]),
        ({"move_in_by": "any", "budget": None, "type": None}, list(flats.NAMES)),
    ],
)
async def test_apartments_by_day_budget_and_size(
    office: Agent, store: Store, asked: dict[str, Any], names: list[str]
) -> None:
    listing = await use(office, "list_apartments", store, **asked)
    assert listing.fits
    assert list(listing.apartments) == names
    assert all(name in listing.say for name in names)


@pytest.mark.parametrize(
    ("asked", "nearest", "why"),
    [
        ({"budget": 500}, "studio", "above that budget"),
        ({"type": "two-bedroom", "budget": 1500}, "two-bedroom", "above that budget"),
        ({"type": "three-bedroom", "move_in_by": "tomorrow"}, "three-bedroom", "later than that"),
    ],
)
async def test_what_does_not_fit_is_said_with_the_nearest(
    office: Agent, store: Store, asked: dict[str, Any], nearest: str, why: str
) -> None:
    listing = await use(office, "list_apartments", store, **asked)
    assert not listing.fits
    assert listing.apartments == (nearest,)
    assert "Nothing fits" in listing.say
    assert why in listing.say


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"budget": 0}, "more than nothing"),
        ({"budget": -5}, "more than nothing"),
        ({"move_in_by": "February 31st"}, "no such day"),
        ({"move_in_by": "blursday"}, "no day called blursday"),
        ({"type": "penthouse"}, "penthouse"),
        ({"budget": "cheap"}, "whole number"),
        ({"rooms": 2}, "unknown argument"),
    ],
)
async def test_wishes_that_cannot_be(
    office: Agent, store: Store, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(ToolError, match=words):
        await use(office, "list_apartments", store, **asked)


# Availability


async def test_exactly_what_was_asked_for(office: Agent, store: Store) -> None:
    wanted = slot("two-bedroom", "in-person")
    found = await check(office, store, **given(wanted))
    assert found.available
    assert [msgspec.structs.asdict(tour) for tour in found.tours] == [given(wanted)]


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ("tomorrow", "3 pm"),
        ("Tuesday", "three in the afternoon"),
        ("2026-11-24", "15:00"),
        ("the 24th at 3", None),
        (None, "tomorrow at three"),
    ],
)
async def test_however_it_is_said(
    office: Agent, store: Store, date: str | None, time: str | None
) -> None:
    found = await check(office, store, date=date, time=time, tour_type="in-person")
    assert found.available
    assert [(tour.date, tour.time) for tour in found.tours] == [("2026-11-24", "15:00")]


async def test_alternatives_on_the_same_day_come_first(office: Agent, store: Store) -> None:
    found = await check(office, store, date="tomorrow", time="9 am")
    assert not found.available
    assert {tour.date for tour in found.tours} == {"2026-11-24"}
    assert "Not exactly that" in found.say


async def test_then_the_nearest_days(office: Agent, store: Store) -> None:
    found = await check(office, store, date="today", tour_type="in-person")
    assert not found.available
    assert [tour.date for tour in found.tours] == ["2026-11-24", "2026-11-25", "2026-11-26"]
    late = await check(office, store, date="in two weeks", tour_type="in-person")
    assert [tour.date for tour in late.tours] == ["2026-11-28", "2026-11-29", "2026-11-30"]


async def test_alternatives_are_free(office: Agent, store: Store) -> None:
    gone = slot("two-bedroom", "in-person")
    await use(office, "book_tour", store, **given(gone))
    found = await check(office, store, **given(gone))
    assert not found.available
    assert given(gone) not in [msgspec.structs.asdict(tour) for tour in found.tours]


async def test_when_all_is_gone_it_says_so(office: Agent, store: Store) -> None:
    for n in range(7):
        for kind in ("in-person", "self-guided"):
            of = slot("two-bedroom", kind, n)
            await use(office, "book_tour", store, Caller(f"+1555020{n}"), **given(of))
    found = await check(office, store)
    assert not found.available
    assert found.tours == ()
    assert "no free tour" in found.say


async def test_the_first_caller_of_a_day_finds_tours_without_seeding(office: Agent) -> None:
    store = memory()
    wanted = slot("studio", "in-person")
    assert (await use(office, "book_tour", store, **given(wanted))).booked
    assert len(await store.query("TOUR_SLOTS")) == 56


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"date": "yesterday"}, "is past"),
        ({"date": "Tuesday or Friday"}, "Which day"),
        ({"date": "Wednesday the 26th"}, "is a Thursday"),
        ({"time": "25:00"}, "no time of day"),
        ({"apartment": "castle"}, "castle"),
        ({"tour_type": "virtual"}, "virtual"),
        ({"date": 7}, "no day called 7"),
        ({"date": ["tomorrow"]}, "expected text"),
    ],
)
async def test_availability_of_what_cannot_be(
    office: Agent, store: Store, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(ToolError, match=words):
        await check(office, store, **asked)


# Booking, cancelling, moving


async def test_a_tour_is_booked_once_however_often_it_is_asked_for(
    office: Agent, store: Store
) -> None:
    wanted = slot("two-bedroom", "in-person")
    first = await use(office, "book_tour", store, **given(wanted))
    again = await use(office, "book_tour", store, _turn=2, **given(wanted))
    assert first == again
    assert first.booked
    assert await taken(store) == {wanted.key: keys.caller(ADA)}
    (item,) = await store.query(keys.caller(ADA), "TOUR#")
    assert item["slot"] == wanted.key
    assert item["key"] == "CA1:1"


@pytest.mark.parametrize(
    ("date", "time", "words"),
    [
        ("", "3 pm", "Which day"),
        ("tomorrow", "", "At what time"),
        ("tomorrow", "afternoon", "At what time"),
        ("next week", "3 pm", "Which day"),
        ("today", "9 am", "is past"),
        ("the 31st of February", "3 pm", "no such day"),
        ("tomorrow", "9:5", "no time"),
    ],
)
async def test_no_tour_is_booked_without_one_day_and_one_time(
    office: Agent, store: Store, date: str, time: str, words: str
) -> None:
    asked = {**given(slot("studio", "in-person")), "date": date, "time": time}
    with pytest.raises(ToolError, match=words):
        await use(office, "book_tour", store, **asked)
    assert await taken(store) == {}


async def test_what_is_no_slot_cannot_be_booked(office: Agent, store: Store) -> None:
    asked = {**given(slot("studio", "in-person")), "time": "3:17 am"}
    booking = await use(office, "book_tour", store, **asked)
    assert not booking.booked
    assert booking.tours
    assert await taken(store) == {}


async def test_missing_arguments_do_not_run_it(office: Agent, store: Store) -> None:
    with pytest.raises(ToolArgumentError, match="time: missing"):
        await use(office, "book_tour", store, date="tomorrow")


async def test_cancelling_frees_the_slot_for_others(office: Agent, store: Store) -> None:
    wanted = slot("studio", "in-person")
    await use(office, "book_tour", store, **given(wanted))
    assert "cancelled" in await use(office, "cancel_tour", store)
    assert await taken(store) == {}
    assert await store.query(keys.caller(ADA), "TOUR#") == []
    assert (await use(office, "book_tour", store, Caller("+15550199"), **given(wanted))).booked
    with pytest.raises(ToolError, match="no tour booked"):
        await use(office, "cancel_tour", store)


async def test_nobody_can_touch_the_tours_of_others(office: Agent, store: Store) -> None:
    wanted = slot("studio", "in-person")
    await use(office, "book_tour", store, **given(wanted))
    other = Caller("+15550199")
    which = {name: given(wanted)[name] for name in ("date", "time", "apartment")}
    with pytest.raises(ToolError, match="no tour booked"):
        await use(office, "cancel_tour", store, other, **which)
    with pytest.raises(ToolError, match="no tour booked"):
        await use(office, "move_tour", store, other, new_date="Friday", new_time="4 pm", **which)
    assert "no tour booked" in (await use(office, "my_appointments", store, other)).say
    assert await taken(store) == {wanted.key: keys.caller(ADA)}


async def test_which_of_several_tours_is_asked(office: Agent, store: Store) -> None:
    one, other = slot("studio", "in-person"), slot("two-bedroom", "in-person", 1)
    for each in (one, other):
        await use(office, "book_tour", store, **given(each))
    with pytest.raises(ToolError, match="Which one is meant"):
        await use(office, "cancel_tour", store)
    with pytest.raises(ToolError, match="No such tour"):
        await use(office, "cancel_tour", store, date="Saturday")
    await use(office, "cancel_tour", store, date="Wednesday")
    assert list(await taken(store)) == [one.key]


async def test_moving_frees_the_old_and_takes_the_new(office: Agent, store: Store) -> None:
    old, new = slot("studio", "in-person"), slot("studio", "self-guided", 2)
    await use(office, "book_tour", store, **given(old))
    there = {"new_date": f"{new.start:%Y-%m-%d}", "new_time": f"{new.start:%H:%M}"}
    moved = await use(office, "move_tour", store, new_tour_type="self-guided", **there)
    assert moved.booked
    assert await taken(store) == {new.key: keys.caller(ADA)}
    again = await use(office, "move_tour", store, new_tour_type="self-guided", **there)
    assert again.booked
    (item,) = await store.query(keys.caller(ADA), "TOUR#")
    assert item["slot"] == new.key


async def test_moving_to_another_kind_at_the_same_time(store: Store) -> None:
    """The appointment's key is its start, so this changes one item instead of two."""
    base = slot("three-bedroom", "in-person")
    twin = msgspec.structs.replace(base, tour_type="self-guided")
    await diary.stocked(store, NOW)
    await store.append([twin.item()])
    old = tours.Appointment(base, keys.caller(ADA))
    new = tours.Appointment(twin, keys.caller(ADA), key="k")
    assert await diary.book(store, old, NOW) == "booked"
    assert await diary.move(store, old, new, NOW) == "booked"
    assert await diary.move(store, old, new, NOW) == "booked"
    assert await taken(store) == {twin.key: keys.caller(ADA)}


async def test_a_tour_that_has_begun_can_be_seen_but_not_moved(office: Agent) -> None:
    wanted = slot("studio", "in-person")
    now = {"at": NOW}
    store = MemoryStore(lambda: now["at"].timestamp())
    await use(office, "book_tour", store, **given(wanted))
    now["at"] = wanted.start.replace(minute=wanted.start.minute + 10)
    seen = await use(office, "my_appointments", store, _now=now["at"])
    assert len(seen.tours) == 1
    with pytest.raises(ToolError, match="has begun"):
        await use(office, "move_tour", store, _now=now["at"], new_date="friday", new_time="2 pm")
    assert "cancelled" in await use(office, "cancel_tour", store, _now=now["at"])


# Withheld numbers


@pytest.mark.parametrize("number", ["", "anonymous", "+266696687", "+7378742833", "Restricted"])
async def test_a_withheld_number_books_for_this_call(
    office: Agent, store: Store, number: str
) -> None:
    wanted = slot("studio", "in-person")
    hidden = Caller(number)
    booking = await use(office, "book_tour", store, hidden, **given(wanted))
    assert booking.booked
    assert "in this call only" in booking.say
    assert await taken(store) == {wanted.key: "CALL#CA1"}
    assert len((await use(office, "my_appointments", store, hidden)).tours) == 1
    elsewhere = await use(office, "my_appointments", store, hidden, _call="CA2")
    assert elsewhere.tours == ()
    assert "withheld" in elsewhere.say
    with pytest.raises(ToolError, match="no tour booked"):
        await use(office, "cancel_tour", store, hidden, _call="CA2")
    with pytest.raises(ToolError, match="withheld"):
        await use(office, "send_confirmation", store, hidden)
    assert "cancelled" in await use(office, "cancel_tour", store, hidden)


# Confirmations


async def confirm(office: Agent, store: Store, turn: int = 9, **more: Any) -> tuple[str, list[str]]:
    delivery = Delivery(store, {"sms": OutboxMessenger()}, now=NOW.timestamp)
    said = await use(office, "send_confirmation", store, _turn=turn, _delivery=delivery, **more)
    texts = [entry.message.body for entry in await delivery.entries()]
    await delivery.close()
    return said, texts


async def test_the_text_names_time_place_and_kind(office: Agent, store: Store) -> None:
    await use(office, "book_tour", store, **given(slot("two-bedroom", "in-person")))
    _, (text,) = await confirm(office, store)
    assert text == (
        "Your in-person tour of the two-bedroom apartment: Tuesday, November 24, 2026 at 3:00 PM, "
        "1833 Jefferson Avenue, Missoula, Montana 59802. To change it, call this number."
    )


async def test_without_a_tour_there_is_nothing_to_confirm(office: Agent, store: Store) -> None:
    with pytest.raises(ToolError, match="no tour to confirm"):
        await confirm(office, store)


async def test_another_tour_can_be_confirmed(office: Agent, store: Store) -> None:
    for turn, each in enumerate((slot("studio", "in-person"), slot("two-bedroom", "in-person", 1))):
        await use(office, "book_tour", store, _turn=turn, **given(each))
    _, (text,) = await confirm(office, store, apartment="studio")
    assert "studio" in text


async def test_who_has_opted_out_gets_none(office: Agent, store: Store) -> None:
    await use(office, "book_tour", store, **given(slot("studio", "in-person")))
    delivery = Delivery(store, {"sms": OutboxMessenger()}, now=NOW.timestamp)
    await delivery.opt_out(ADA)
    with pytest.raises(ToolError, match="opted out"):
        await use(office, "send_confirmation", store, _delivery=delivery)
    assert await delivery.entries() == []
    await delivery.close()


# Schemas


def test_every_schema_is_strict_and_described(office: Agent) -> None:
    for tool in office.tools:
        schema = tool.spec.parameters
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
        assert len(tool.description) > 40
    effects = {tool.name: tool.effect for tool in office.tools}
    assert effects == {
        "list_apartments": "read",
        "inquire": "read",
        "check_availability": "read",
        "book_tour": "write",
        "my_appointments": "read",
        "cancel_tour": "write",
        "move_tour": "write",
        "send_confirmation": "write",
        "transfer_to_agent": "end",
        "transfer_to_person": "end",
        "hang_up": "end",
    }


# What the application that this one follows got wrong; the numbers are of its list


def test_10_every_tool_that_is_offered_is_there(office: Agent) -> None:
    named = {tool.name for tool in office.tools}
    told = {word for tool in office.tools for word in _tool_words(tool.description)}
    told |= _tool_words(office.instructions)
    assert told <= named
    assert "transfer_to_person" in named


def _tool_words(text: str) -> set[str]:
    words = {word.strip(".,;:()`") for word in text.split()}
    return {word for word in words if "_" in word and word.isidentifier()}


async def test_14_callers_without_a_profile_are_served(office: Agent, store: Store) -> None:
    caller = await Caller.load(store, ADA)
    assert not caller.known
    wanted = slot("studio", "in-person")
    assert (await use(office, "book_tour", store, caller, **given(wanted))).booked
    assert len((await use(office, "my_appointments", store, caller)).tours) == 1


async def test_16_a_slot_is_never_booked_twice(office: Agent, store: Store) -> None:
    wanted = slot("studio", "in-person")
    many = [Caller(f"+155501{n:02}") for n in range(20)]
    told = await asyncio.gather(
        *(use(office, "book_tour", store, each, **given(wanted)) for each in many)
    )
    assert sum(booking.booked for booking in told) == 1


@pytest.mark.parametrize("time", ["3 pm", "3:00 PM", "15:00", "three", "three in the afternoon"])
async def test_18_however_the_time_is_said_the_slot_is_taken(
    office: Agent, store: Store, time: str
) -> None:
    wanted = slot("two-bedroom", "in-person")
    assert wanted.start == datetime(2026, 11, 24, 15, tzinfo=ZONE)
    asked = {**given(wanted), "date": "tomorrow", "time": time}
    assert (await use(office, "book_tour", store, **asked)).booked
    assert await taken(store) == {"2026-11-24T15:00#two-bedroom#in-person": keys.caller(ADA)}


async def test_22_the_text_names_the_tour_that_was_just_booked(office: Agent, store: Store) -> None:
    later, sooner = slot("two-bedroom", "in-person", 5), slot("studio", "in-person", 1)
    for turn, each in enumerate((later, sooner), 1):
        await use(office, "book_tour", store, _turn=turn, **given(each))
    assert "studio" in (await confirm(office, store))[1][0]
    new = slot("two-bedroom", "in-person", 6)
    there = {"new_date": f"{new.start:%Y-%m-%d}", "new_time": f"{new.start:%H:%M}"}
    await use(office, "move_tour", store, _turn=3, apartment="two-bedroom", **there)
    said, texts = await confirm(office, store, turn=10)
    assert "two-bedroom" in texts[0]
    assert "November thirtieth" in said


def test_26_keys_one_and_two_do_what_they_say(office: Agent) -> None:
    assert {key: action.tool for key, action in office.keypad.items()} == {
        "1": "list_apartments",
        "2": "my_appointments",
    }


@pytest.mark.parametrize("name", [None, *flats.NAMES])
@pytest.mark.parametrize("topic", typing.get_args(inquiries.Topic))
async def test_27_every_inquiry_reads_well_aloud(
    office: Agent, store: Store, topic: str, name: str | None
) -> None:
    said = await use(office, "inquire", store, topic=topic, apartment=name)
    assert said[0].isupper()
    assert said.endswith(".")
    assert not set(said) & set("[]{}()_*#/$%0123456789\n")
    assert "object" not in said
    assert "None" not in said


async def test_27_the_answers_are_the_facts(office: Agent, store: Store) -> None:
    async def ask(topic: str, name: str | None = None) -> str:
        return str(await use(office, "inquire", store, topic=topic, apartment=name))

    assert await ask("pet policy", "studio") == "No pets in the studio."
    assert await ask("pet policy", "one-bedroom") == "Cats only in the one-bedroom."
    assert "four in all" in await ask("pet policy", "three-bedroom")
    assert await ask("fees", "two-bedroom") == (
        "The application fee is fifty dollars. "
        "The deposit is five hundred dollars for the two-bedroom."
    )
    assert "Two reserved parking spaces come with the two-bedroom." in await ask("parking")
    assert "two and a half times" in await ask("income requirements", "studio")
    assert "fifty-four hundred dollars" in await ask("income requirements", "two-bedroom")
    assert "gas" not in await ask("utilities", "studio")
    assert "gas" in await ask("utilities", "one-bedroom")
    assert "nineteen forty-five Roosevelt Way" in await ask("location", "three-bedroom")
    assert "four hundred fifty square feet" in await ask("features", "studio")
    for wrong in ({"topic": "swimming pool"}, {"topic": "fees", "apartment": "loft"}, {}):
        with pytest.raises(ToolArgumentError):
            await use(office, "inquire", store, **wrong)


@pytest.mark.parametrize("time", [None, "", "any"])
async def test_28_without_a_time_nothing_is_undefined(
    office: Agent, store: Store, time: str | None
) -> None:
    found = await check(office, store, date="tomorrow", time=time)
    assert found.available
    assert "undefined" not in found.say
    assert "None" not in found.say


@pytest.mark.parametrize("time", ["10 AM", "10am", "10 a.m.", "ten AM"])
async def test_29_an_hour_without_minutes_is_a_time(office: Agent, store: Store, time: str) -> None:
    found = await check(office, store, date="Thursday", time=time, tour_type="self-guided")
    assert [tour.time for tour in found.tours] == ["10:00"]


async def test_30_refreshing_adds_the_days_that_are_missing(store: Store) -> None:
    _, added = await diary.stocked(store, NOW)
    assert added == 56
    _, added = await diary.stocked(store, NOW.replace(day=24))
    assert added == 8


@pytest.mark.parametrize("year", [2026, 2027, 2031])
async def test_31_move_in_dates_and_specials_are_never_of_the_past(
    office: Agent, store: Store, year: int
) -> None:
    now = datetime(year, 12, 15, 12, tzinfo=ZONE)
    for flat in flats.office().apartments:
        assert flat.move_in(now.date()) >= now.date()
    said = await use(office, "inquire", store, _now=now, topic="specials")
    assert "if you sign by December thirty-first" in said
    by = await use(office, "list_apartments", store, _now=now, move_in_by="next month")
    assert "January first" in by.say


def test_34_nobody_is_called_undefined(office: Agent) -> None:
    for caller in (Caller(), Caller(ADA), Caller(ADA, email="ada@example.com")):
        texts = office.render(caller, NOW, ())
        for text in (texts.greeting, texts.instructions):
            assert "undefined" not in text
            assert "None" not in text


async def test_46_the_day_and_the_time_are_the_offices(office: Agent, store: Store) -> None:
    assert office.time_zone == "America/Denver"
    call = context(store, now=datetime(2026, 11, 24, 4, tzinfo=ZONE).astimezone())
    assert call.now().tzinfo == ZONE
    with pytest.raises(ToolError, match="9:5 is no time"):
        await check(office, store, date="tomorrow", time="9:5")
