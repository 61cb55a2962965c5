"""The diary of tours: what the store holds after everybody was told something."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from agents.apartment_search import diary, tours
from agents.apartment_search.seeds import seed
from agents.apartment_search.tests.office import (
    NOW,
    SLOTS,
    ZONE,
    Yielding,
    agent,
    memory,
    taken,
    use,
)
from agents.apartment_search.tours import Appointment, Slot
from hypothesis import given, settings
from hypothesis import strategies as st

from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.errors import ToolError
from voxyray.stores import Store, keys
from voxyray.stores.memory import MemoryStore
from voxyray.stores.sqlite import SqliteStore

CALLERS = 200


@pytest.fixture(scope="module")
def office() -> Agent:
    return agent()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield Yielding(memory())
        return
    opened = SqliteStore.open(tmp_path / "store.db", NOW.timestamp)
    yield opened
    await opened.close()


def callers(count: int = CALLERS) -> list[Caller]:
    return [Caller(f"+1555{n:07}") for n in range(count)]


async def assert_consistent(store: Store, everybody: list[str]) -> dict[str, str]:
    """Every slot is free or belongs to exactly one appointment, and the other way round."""
    held = await taken(store)
    appointments: dict[str, str] = {}
    for holder in everybody:
        for item in await store.query(holder, "TOUR#"):
            assert item["slot"] not in appointments
            assert item["sk"] == f"TOUR#{item['start']}"
            appointments[item["slot"]] = holder
    assert appointments == held
    return held


# Seeding


async def test_a_week_has_a_slot_a_day_for_each_apartment_and_kind(store: Store) -> None:
    assert await seed(store, NOW) == 56
    items = await store.query(SLOTS)
    assert len(items) == 56
    kinds = {(item["apartment"], item["tour_type"], item["start"][:10]) for item in items}
    assert len(kinds) == 56
    for item in items:
        start = datetime.fromisoformat(item["start"]).replace(tzinfo=ZONE)
        assert NOW.date() < start.date() <= NOW.date() + timedelta(days=7)
        assert 8 <= start.hour < 20
        assert start.minute in (0, 30)
        assert item["expires_at"] == int(start.timestamp())


async def test_seeding_is_the_same_whenever_and_however_often(store: Store) -> None:
    await seed(store, NOW)
    first = await store.query(SLOTS)
    assert await seed(store, NOW.timestamp()) == 0
    assert await seed(store, NOW.astimezone(UTC)) == 0
    assert await store.query(SLOTS) == first
    other = memory()
    await asyncio.gather(*(seed(other, NOW) for _ in range(20)))
    assert await other.query(SLOTS) == first


async def test_seeding_takes_nothing_away_and_brings_nothing_back(
    store: Store, office: Agent
) -> None:
    await seed(store, NOW)
    (slot, *_) = await diary.free_slots(store, NOW)
    caller = Caller("+15550100")
    await use(office, "book_tour", store, caller, **_given(slot))
    before = await store.query(SLOTS)
    assert await seed(store, NOW) == 0
    assert await store.query(SLOTS) == before
    assert await taken(store) == {slot.key: keys.caller(caller.number)}


async def test_what_is_past_vanishes_and_each_day_adds_eight() -> None:
    clock = {"now": NOW}
    store = MemoryStore(lambda: clock["now"].timestamp())
    assert await seed(store, NOW) == 56
    for days in range(1, 4):
        clock["now"] = NOW + timedelta(days=days)
        assert await seed(store, clock["now"]) == 8
        items = await store.query(SLOTS)
        assert all(item["expires_at"] > clock["now"].timestamp() for item in items)
        assert {item["start"][:10] for item in items} <= {
            f"{clock['now'] + timedelta(days=n):%Y-%m-%d}" for n in range(8)
        }


async def test_the_day_is_that_of_the_office() -> None:
    """Late in the evening it is tomorrow already in UTC, but not in Missoula (mistake 46)."""
    late = datetime(2026, 11, 23, 22, 30, tzinfo=ZONE)
    store = MemoryStore(late.timestamp)
    await seed(store, late.astimezone(UTC))
    assert min(item["start"] for item in await store.query(SLOTS)).startswith("2026-11-24")


# Everybody at once


def _given(slot: Slot) -> dict[str, str]:
    return {
        "date": f"{slot.start:%Y-%m-%d}",
        "time": f"{slot.start:%H:%M}",
        "tour_type": slot.tour_type,
        "apartment": slot.apartment,
    }


async def test_200_callers_want_56_slots_and_nobody_is_told_a_lie(
    store: Store, office: Agent
) -> None:
    slots = tours.planned(NOW)
    everybody = callers()

    async def call(n: int) -> tuple[str, str, bool]:
        slot = slots[n % len(slots)]
        given = {"_call": f"CA{n}", **_given(slot)}
        booking = await use(office, "book_tour", store, everybody[n], **given)
        return slot.key, keys.caller(everybody[n].number), booking.booked

    told = await asyncio.gather(*(call(n) for n in range(CALLERS)))
    held = await assert_consistent(store, [keys.caller(each.number) for each in everybody])
    assert len(held) == 56
    assert {slot: holder for slot, holder, booked in told if booked} == held
    assert sum(booked for _, _, booked in told) == 56


async def test_200_callers_who_take_what_is_offered_fill_the_diary(
    store: Store, office: Agent
) -> None:
    everybody = callers()

    async def call(n: int) -> bool:
        rng = random.Random(n)
        given = {"date": None, "time": None, "tour_type": None, "_call": f"CA{n}"}
        offered = ()
        for apartment in rng.sample(["studio", "one-bedroom", "two-bedroom", "three-bedroom"], 4):
            found = await use(
                office, "check_availability", store, everybody[n], apartment=apartment, **given
            )
            offered = found.tours
            while offered:
                tour = rng.choice(offered)
                wanted = {name: getattr(tour, name) for name in tour.__struct_fields__}
                booking = await use(
                    office, "book_tour", store, everybody[n], _call=f"CA{n}", **wanted
                )
                if booking.booked:
                    return True
                offered = booking.tours
        return False

    told = await asyncio.gather(*(call(n) for n in range(CALLERS)))
    held = await assert_consistent(store, [keys.caller(each.number) for each in everybody])
    assert len(held) == 56 == sum(told)
    happy = {
        keys.caller(each.number) for each, booked in zip(everybody, told, strict=True) if booked
    }
    assert happy == set(held.values())


async def test_of_two_callers_one_gets_it_and_the_other_hears_alternatives(
    store: Store, office: Agent
) -> None:
    slot = tours.planned(NOW)[4]
    bookings = await asyncio.gather(
        *(
            use(
                office, "book_tour", store, Caller(f"+155500{n:02}"), _call=f"CA{n}", **_given(slot)
            )
            for n in range(2)
        )
    )
    assert sorted(booking.booked for booking in bookings) == [False, True]
    loser = next(booking for booking in bookings if not booking.booked)
    assert loser.tours
    assert loser.tours[0].apartment == slot.apartment
    free = {each.key for each in await diary.free_slots(store, NOW)}
    assert all(f"{t.date}T{t.time}#{t.apartment}#{t.tour_type}" in free for t in loser.tours)
    assert "is not free" in loser.say


async def test_the_same_caller_from_two_calls_books_once(store: Store, office: Agent) -> None:
    slot = tours.planned(NOW)[4]
    caller = Caller("+15550100")
    bookings = await asyncio.gather(
        *(use(office, "book_tour", store, caller, _call=f"CA{n}", **_given(slot)) for n in range(9))
    )
    assert all(booking.booked for booking in bookings)
    await assert_consistent(store, [keys.caller(caller.number)])
    assert len(await taken(store)) == 1


async def test_moving_and_cancelling_at_once_keep_slot_and_appointment_together(
    store: Store, office: Agent
) -> None:
    mine = [slot for slot in tours.planned(NOW) if slot.apartment == "studio"]
    caller = Caller("+15550100")
    for round_ in range(10):
        await use(office, "book_tour", store, caller, **_given(mine[0]))
        new = _given(mine[2 + round_ % 3])
        await asyncio.gather(
            use(office, "cancel_tour", store, caller),
            use(office, "move_tour", store, caller, new_date=new["date"], new_time=new["time"]),
            use(office, "cancel_tour", store, caller),
            return_exceptions=True,
        )
        await assert_consistent(store, [keys.caller(caller.number)])
        held = await diary.appointments(store, keys.caller(caller.number), NOW)
        assert len(held) < 2
        for each in held:
            assert await diary.cancel(store, each, NOW)


# Anything at all


_HOLDERS = [keys.caller(f"+1555010{n}") for n in range(3)] + [keys.call("CA9")]
_STEP = st.tuples(
    st.sampled_from(["book", "cancel", "move"]),
    st.integers(0, len(_HOLDERS) - 1),
    st.integers(0, 11),
    st.integers(0, 11),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_STEP, max_size=30), st.booleans())
def test_any_booking_cancelling_and_moving_keeps_the_diary_true(
    steps: list[tuple[str, int, int, int]], together: bool
) -> None:
    planned = tours.planned(NOW)
    # Among them some of the same start, since there nobody may have two.
    twins = [slot for slot in planned if sum(slot.start == other.start for other in planned) > 1]
    slots = (twins + planned)[:12]

    async def play() -> None:
        store = Yielding(memory())
        await seed(store, NOW)

        async def step(at: int, kind: str, who: int, one: int, other: int) -> None:
            old = Appointment(slots[one], _HOLDERS[who], key=f"k{at}")
            new = Appointment(slots[other], _HOLDERS[who], key=f"k{at}")
            if kind == "book":
                told = await diary.book(store, new, NOW)
                assert told in ("booked", "busy", "taken")
            elif kind == "cancel":
                await diary.cancel(store, old, NOW)
            else:
                await diary.move(store, old, new, NOW)

        if together:
            await asyncio.gather(*(step(at, *given) for at, given in enumerate(steps)))
        else:
            for at, given in enumerate(steps):
                await step(at, *given)
                await assert_consistent(store, _HOLDERS)
        await assert_consistent(store, _HOLDERS)

    asyncio.run(play())


async def test_a_move_that_cannot_be_leaves_the_old_tour(store: Store, office: Agent) -> None:
    first, second = [s for s in tours.planned(NOW) if s.apartment == "studio"][:4:2]
    mine, theirs = Caller("+15550100"), Caller("+15550101")
    await use(office, "book_tour", store, mine, **_given(first))
    await use(office, "book_tour", store, theirs, **_given(second))
    new = _given(second)
    moved = await use(office, "move_tour", store, mine, new_date=new["date"], new_time=new["time"])
    assert not moved.booked
    assert await taken(store) == {
        first.key: keys.caller(mine.number),
        second.key: keys.caller(theirs.number),
    }


async def test_nobody_is_in_two_places_at_the_same_time(store: Store, office: Agent) -> None:
    planned = sorted(tours.planned(NOW))
    one, other = next((a, b) for a, b in itertools.pairwise(planned) if a.start == b.start)
    caller = Caller("+15550100")
    await use(office, "book_tour", store, caller, **_given(one))
    with pytest.raises(ToolError, match="another tour booked already"):
        await use(office, "book_tour", store, caller, **_given(other))
    assert list(await taken(store)) == [one.key]
