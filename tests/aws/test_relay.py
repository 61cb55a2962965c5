"""The relay on Lambda against what implementers get wrong; numbers are aws-serverless 10's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.lambda_world import (
    CONNECTION,
    POLICY,
    Step,
    Weather,
    World,
    hostile_events,
    play,
)
from voxyray.errors import StoreError
from voxyray.stores import Item, Update, keys
from voxyray.twin.clock import virtual

CALM = Weather(seed=1, store_s=0.001, post_s=0.001)


async def begun(weather: Weather = CALM) -> World:
    world = World(weather)
    await world.begin()
    return world


def said(world: World) -> str:
    return "".join(post.frame.get("token", "") for post in world.wire)


def on_update(world: World, react: Callable[[Update], Exception | None]) -> None:
    """Let updates of the store fail."""
    inner = world.store.inner
    update = inner.update

    async def reacting(asked: Update) -> Item:
        error = react(asked)
        if error is not None:
            raise error
        return await update(asked)

    inner.update = reacting  # type: ignore[method-assign,assignment]


@virtual
async def test_1_an_interrupt_stops_the_words_within_a_poll() -> None:
    script = [Step("prompt", 0.1, "tell"), Step("interrupt", 0.8)]
    world = await play(CALM, script)
    cut = world.arrivals[1]
    assert cut.seen_at - cut.sent_at < 0.15
    assert world.wrong == []


@virtual
async def test_5_hostile_events_are_answered_with_200_and_have_no_effect() -> None:
    world = await begun()
    for event in hostile_events(world):
        await world.send(event)
        await world.send(event)
    assert world.wrong == []
    assert world.wire == []
    assert world.asked == []
    assert not world.deleted
    await world.close()


@virtual
async def test_5_whatever_fails_the_caller_is_told_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await begun()
    monkeypatch.setattr("voxyray.snapshot.restore", lambda *_: 1 / 0)
    world.prompt(0, "tell")
    await asyncio.sleep(0.5)
    assert said(world) == POLICY.apology
    assert world.wrong == []
    await world.close()


@virtual
async def test_6_a_turn_that_takes_too_long_is_closed_before_the_limit() -> None:
    world = await play(Weather(seed=1, timeout_s=6.0), [Step("prompt", 0.1, "hang")])
    assert world.pool.timed_out == 0
    assert any(post.frame.get("last") for post in world.wire if post.at < 6)


@virtual
async def test_7_a_prompt_that_overtakes_setup_waits_for_it() -> None:
    world = World(CALM)
    world.head = {"token": ""}
    setup = world.setup
    world.setup = lambda: world.frame(type="info")  # type: ignore[method-assign]
    await world.begin()
    world.prompt(0, "tell")
    await asyncio.sleep(1)
    assert world.asked == []
    await world.send(setup())
    await asyncio.sleep(3)
    assert [each.knows for each in world.asked] == [{0}]
    assert "q0w0" in said(world)
    await world.close()


@virtual
async def test_9_a_frame_in_flight_is_waited_for() -> None:
    for seed in range(8):
        weather = Weather(seed=seed, post_s=1.5, timeout_s=9.0)
        world = await play(weather, [Step("prompt", 0.1, "tell")])
        assert world.wrong == []


@virtual
async def test_10_nothing_is_posted_before_the_socket_is_open() -> None:
    world = await begun()
    assert world.wire == []
    await world.close()


@virtual
async def test_11_and_21_a_caller_who_hangs_up_unnoticed_is_found_gone() -> None:
    """No `$disconnect` may ever come."""
    world = await begun()
    world.act(0, Step("hangup", 0, "hang"))
    world.prompt(1, "tell")
    await asyncio.sleep(60)
    assert world.refused_posts == 1
    assert world.wrong == []
    await world.close()


@virtual
async def test_22_a_replayed_setup_has_no_effect() -> None:
    world = await begun()
    await world.send(world.setup())
    world.prompt(0, "tell")
    await asyncio.sleep(3)
    assert "q0w0" in said(world)
    assert not world.deleted
    await world.close()


@virtual
async def test_23_a_write_asked_for_again_by_a_repeated_frame_runs_once() -> None:
    world = await play(CALM, [Step("prompt", 0.1, "book", again_s=(0.0, 0.5, 3.0))])
    assert list(world.done.values()) == [1]


@virtual
async def test_a_store_that_answers_slower_than_the_lease_does_not_end_the_call() -> None:
    world = await play(Weather(seed=5, store_s=1.2), [Step("prompt", 0.1, "tell")])
    number = max(world.arrivals)
    assert any(number in each.knows for each in world.asked)
    assert not world.deleted


@virtual
async def test_a_frame_left_to_the_owner_needs_no_apology() -> None:
    """What is read for owning a call is of no use to whoever does not own it."""
    world = await begun()
    world.prompt(0, "tell")
    await asyncio.sleep(0.05)
    inner, query = world.store.inner, world.store.inner.query

    async def failing(pk: str, prefix: str = "", **how: Any) -> list[Item]:
        if prefix == "KEPT#":
            raise StoreError("throttled")
        return await query(pk, prefix, **how)

    inner.query = failing  # type: ignore[method-assign]
    world.prompt(1, "tell")
    await asyncio.sleep(5)
    assert POLICY.apology not in said(world)
    assert {0, 1} in [each.knows for each in world.asked]
    await world.close()


@virtual
async def test_a_rest_that_cannot_be_stored_is_tried_again_without_a_word() -> None:
    world = await begun()
    failing = [StoreError("throttled"), StoreError("throttled")]
    on_update(
        world,
        lambda update: failing.pop() if failing and update.set.get("until_ms") == 0 else None,
    )
    world.prompt(0, "tell")
    await asyncio.sleep(5)
    assert not failing
    assert POLICY.apology not in said(world)
    await world.close()


@virtual
async def test_what_is_refused_is_closed_though_it_cannot_be_stored() -> None:
    world = World(CALM)
    setup = world.setup

    def forged() -> dict[str, Any]:
        world.head["token"] = "wrong"
        return setup()

    world.setup = forged  # type: ignore[method-assign]
    on_update(world, lambda update: StoreError("away") if "refused" in update.set else None)
    await world.begin()
    assert world.deleted
    await world.close()


@virtual
async def test_settled_turns_are_stored_before_a_state_that_leaves_them_out() -> None:
    """Else a call whose owner dies in between has a hole, and is lost."""
    world = await begun()
    looked = 0

    def check(update: Update) -> None:
        nonlocal looked
        if "state" in update.set:
            looked += 1
            pk = keys.session(CONNECTION)
            kept = [sk for sk in world.store.inner._partitions[pk] if sk.startswith("KEPT#TURN")]
            settled = int(update.set["state"].partition('"settled":')[2].partition(",")[0])
            assert settled <= len(kept)

    on_update(world, check)
    for number in range(6):
        world.prompt(number, "tell")
        await asyncio.sleep(0.6)
    assert looked
    await world.close()


@virtual
async def test_a_wake_up_counts_as_sent_only_once_it_is() -> None:
    world = await begun(Weather(seed=1, queue_fails=1.0))
    world.prompt(0, "tell")
    await asyncio.sleep(9.5)
    item = await world.store.inner.get(keys.session(CONNECTION), "LIVE") or {}
    assert item["until_ms"] == 0
    assert item["wake_ms"] == 0
    await world.close()
