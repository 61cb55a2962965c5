"""One connection's item, on every store: who owns the call, and what has arrived for it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from voxyray.aws.session import LEASE_MS, SKEW_MS, Mail, Session
from voxyray.errors import ConditionFailed, NotOwner
from voxyray.stores import Store
from voxyray.stores.dynamodb import DynamoStore, create_table
from voxyray.stores.memory import MemoryStore
from voxyray.stores.sqlite import SqliteStore

_numbers = itertools.count()


class Clock:
    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_ms(self, ms: float) -> None:
        self.now += ms / 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "dynamodb"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Store]:
    opened: Store
    if request.param == "memory":
        opened = MemoryStore(clock)
    elif request.param == "sqlite":
        opened = SqliteStore.open(tmp_path / "store.db", clock)
    else:
        client: Any = request.getfixturevalue("aws").client("dynamodb")
        table = f"sessions-{next(_numbers)}"
        create_table(client, table)
        opened = DynamoStore(client, table, clock)
    yield opened
    await opened.close()


def mail(number: int, text: str = "{}", *, late_ms: int = 0) -> Mail:
    return Mail(1_750_000_000_000 + number - late_ms, "frame", f"F{number}=", text)


def numbers(mails: list[Mail]) -> list[int]:
    return [each.at_ms - mail(0).at_ms for each in mails]


class Desk:
    """Sessions of one connection, as its invocations make them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock

    def session(self, skew_s: float = 0.0) -> Session:
        return Session(self.store, "C1=", lambda: self.clock() + skew_s)

    async def owned(self, *mails: Mail) -> Session:
        session = self.session()
        assert await session.deliver(mails[0])
        for each in mails[1:]:
            assert not await self.session().deliver(each)
        return session


@pytest.fixture
async def desk(store: Store, clock: Clock) -> Desk:
    desk = Desk(store, clock)
    await desk.session().open(int(clock()) + 3600)
    return desk


async def test_the_first_has_the_call_and_others_leave_their_frames(desk: Desk) -> None:
    owner = await desk.owned(mail(1), mail(2))
    assert numbers(owner.take()) == [1]
    await owner.look()
    assert numbers(owner.take()) == [2]
    assert owner.take() == []


async def test_what_has_arrived_is_taken_in_order_of_arrival(desk: Desk) -> None:
    owner = await desk.owned(mail(3), mail(2), mail(1))
    await owner.look()
    assert numbers(owner.take()) == [1, 2, 3]


async def test_the_end_of_a_socket_comes_after_its_frames(desk: Desk) -> None:
    end = Mail(mail(0).at_ms, "gone", "R1=", "1000")
    owner = await desk.owned(mail(1), end, mail(2))
    await owner.look()
    assert numbers(owner.take()) == [1, 2, 0]


async def test_nobody_can_leave_anything_where_nothing_was_opened(
    store: Store, clock: Clock
) -> None:
    with pytest.raises(ConditionFailed):
        await Desk(store, clock).session().deliver(mail(1))


async def test_to_open_again_changes_nothing(desk: Desk) -> None:
    owner = await desk.owned(mail(1))
    await desk.session().open(int(desk.clock()) + 3600)
    await owner.save("state", "{}")


async def test_a_released_call_is_had_with_all_it_knows(desk: Desk) -> None:
    owner = await desk.owned(mail(1))
    owner.take()
    assert await owner.release("state", '{"name":"Ada"}', 77)
    other = await desk.owned(mail(2))
    assert (other.state, other.caller, other.wake_ms) == ("state", '{"name":"Ada"}', 77)
    assert numbers(other.take()) == [2]
    assert other.fence == owner.fence + 1


async def test_a_call_for_which_something_has_arrived_is_not_released(desk: Desk) -> None:
    owner = await desk.owned(mail(1), mail(2))
    assert numbers(owner.take()) == [1]
    assert not await owner.release("state", "{}", 0)
    assert numbers(owner.take()) == [2]
    assert await owner.release("state", "{}", 0)


@pytest.mark.parametrize("does", ["save", "release", "look", "renew", "let_go"])
async def test_who_lost_the_call_can_do_nothing(desk: Desk, does: str) -> None:
    owner = await desk.owned(mail(1))
    desk.clock.pass_ms(LEASE_MS + SKEW_MS)
    await desk.owned(mail(2))
    arguments = {"save": ("old", "{}"), "release": ("old", "{}", 0)}.get(does, ())
    with pytest.raises(NotOwner):
        await getattr(owner, does)(*arguments)


async def test_who_lost_the_call_cannot_refuse_it(desk: Desk) -> None:
    owner = await desk.owned(mail(1))
    desk.clock.pass_ms(LEASE_MS + SKEW_MS)
    await desk.owned(mail(2))
    with pytest.raises(ConditionFailed):
        await owner.refuse()


@pytest.mark.parametrize("skew_s", [-SKEW_MS / 1000, 0.0, SKEW_MS / 1000])
async def test_a_lease_holds_although_clocks_differ(desk: Desk, skew_s: float) -> None:
    owner = await desk.owned(mail(1))
    desk.clock.pass_ms(LEASE_MS - 1)
    assert not await desk.session(skew_s).deliver(mail(2))
    await owner.save("state", "{}")


@pytest.mark.parametrize("renews", ["save", "renew"])
async def test_an_owner_that_renews_keeps_the_call(desk: Desk, renews: str) -> None:
    owner = await desk.owned(mail(1))
    for number in range(2, 5):
        desk.clock.pass_ms(LEASE_MS - 1)
        await (owner.save("state", "{}") if renews == "save" else owner.renew())
        assert not await desk.session().deliver(mail(number))
    assert numbers(owner.take()) == [1, 2, 3]


async def test_what_a_dead_owner_took_but_did_not_store_is_taken_again(desk: Desk) -> None:
    dead = await desk.owned(mail(1))
    assert numbers(dead.take()) == [1]
    desk.clock.pass_ms(LEASE_MS + SKEW_MS)
    assert numbers((await desk.owned(mail(2))).take()) == [1, 2]


async def test_what_led_to_a_stored_state_is_not_taken_again(desk: Desk) -> None:
    dead = await desk.owned(mail(1))
    dead.take()
    await dead.save("state", "{}")
    desk.clock.pass_ms(LEASE_MS + SKEW_MS)
    other = await desk.owned(mail(2))
    assert numbers(other.take()) == [2]
    assert other.state == "state"


async def test_a_repeated_frame_is_taken_once_however_late(desk: Desk) -> None:
    owner = await desk.owned(mail(1), mail(1))
    await owner.look()
    assert numbers(owner.take()) == [1]
    await owner.release("state", "{}", 0)
    again = await desk.owned(mail(1))
    assert again.take() == []
    assert await again.release("state", "{}", 0)


async def test_before_setup_a_call_is_let_go_with_its_frames(desk: Desk) -> None:
    early = await desk.owned(mail(2))
    assert numbers(early.waiting) == [2]
    assert await early.let_go()
    assert numbers((await desk.owned(mail(1))).take()) == [1, 2]


async def test_what_arrives_before_it_is_let_go_is_not_left_behind(desk: Desk) -> None:
    early = await desk.owned(mail(2), mail(1))
    assert not await early.let_go()
    assert numbers(early.waiting) == [1, 2]


async def test_a_refused_call_stays_refused(desk: Desk) -> None:
    owner = await desk.owned(mail(1))
    await owner.refuse()
    other = await desk.owned(mail(2))
    assert other.refused
    assert numbers(other.take()) == [2]


class TestWake:
    async def test_nobody_is_there(self, desk: Desk) -> None:
        assert await Session(desk.store, "nobody=", desk.clock).wake() is False

    async def test_an_owner_is_at_work(self, desk: Desk) -> None:
        await desk.owned(mail(1))
        assert await desk.session().wake() is None

    async def test_an_owner_is_dead(self, desk: Desk) -> None:
        await desk.owned(mail(1))
        desk.clock.pass_ms(LEASE_MS + SKEW_MS)
        woken = desk.session()
        assert await woken.wake() is True
        assert numbers(woken.take()) == [1]

    @pytest.mark.parametrize(("early_ms", "wakes"), [(5000, False), (1000, True), (-3000, True)])
    async def test_at_rest_the_deadline_counts(
        self, desk: Desk, early_ms: int, wakes: bool
    ) -> None:
        owner = await desk.owned(mail(1))
        owner.take()
        await owner.release("state", "{}", owner.now_ms + early_ms)
        assert await desk.session().wake() is wakes
