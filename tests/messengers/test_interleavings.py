"""Whatever happens, in whatever order: no message is sent twice, none is lost untried."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.messengers.queueing import Queued, Sqs, Yielding
from tests.messengers.support import clock, sms
from voxyray.errors import MessageRefused, MessengerError, QueueError
from voxyray.messengers import Message
from voxyray.messengers.attempts import Policy
from voxyray.messengers.delivery import Delivery
from voxyray.messengers.records import PENDING
from voxyray.stores import Store
from voxyray.twin import run_virtual

Outcome = Literal["takes", "busy", "refuses", "lost", "lost_taken", "slow", "hangs"]
OUTCOMES: tuple[Outcome, ...] = (
    "takes",
    "busy",
    "refuses",
    "lost",
    "lost_taken",
    "slow",
    "hangs",
)
POLICY = Policy(attempts=3, first_s=1, factor=2, most_s=4, timeout_s=20, concurrency=2)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.integers(0, 4)),
        st.tuples(st.just("wait"), st.sampled_from([0, 0.5, 1, 3, 30])),
        st.tuples(st.just("crash"), st.integers(0, 3)),
        st.tuples(st.just("close"), st.sampled_from([0, 2])),
        st.tuples(
            st.just("callback"),
            st.tuples(
                st.integers(1, 6), st.sampled_from(["sent", "delivered", "undelivered", "failed"])
            ),
        ),
        # Of a queue only: a ticket that comes again, whenever; a queue that is away; a pass.
        st.tuples(st.just("again"), st.tuples(st.integers(0, 20), st.sampled_from([0, 1, 200]))),
        st.tuples(st.just("away"), st.integers(1, 2)),
        st.tuples(st.just("recover"), st.none()),
    ),
    max_size=25,
)


class Provider:
    """A provider with an account of what it took, which outlives our processes."""

    name = "provider"

    def __init__(self, outcomes: list[Outcome]) -> None:
        self.outcomes = outcomes
        self.taken: list[str] = []
        self.asked: Counter[str] = Counter()

    async def send(self, message: Message) -> str:
        self.asked[message.body] += 1
        outcome = self.outcomes.pop(0) if self.outcomes else "takes"
        if outcome == "busy":
            raise MessengerError("busy", retryable=True)
        if outcome == "refuses":
            raise MessengerError("refused", code="21211")
        if outcome == "lost":
            raise MessengerError("no connection after the request", maybe_sent=True)
        self.taken.append(message.body)
        number = len(self.taken)
        if outcome == "lost_taken":
            raise MessengerError("no answer", maybe_sent=True)
        await asyncio.sleep({"slow": 2, "hangs": 10_000}.get(outcome, 0))
        return f"SM{number}"

    async def close(self) -> None: ...


class World:
    def __init__(self, outcomes: list[Outcome]) -> None:
        self.store: Store = Yielding(clock())
        self.provider = Provider(outcomes)
        self.accepted: dict[str, str] = {}
        self.finals: dict[str, str] = {}
        self.delivery = self.begin()

    def begin(self) -> Delivery:
        return Delivery(
            self.store, {"sms": self.provider}, policy=POLICY, now=clock(), jitter=lambda: 0.5
        )

    async def restart(self) -> None:
        self.delivery = self.begin()
        await self.delivery.recover()

    async def step(self, what: str, value: Any) -> None:
        if what == "accept":
            body = f"message {value}"
            outbox_id = await self.delivery.accept(sms(body))
            assert self.accepted.setdefault(body, outbox_id) == outbox_id
        elif what == "wait":
            await asyncio.sleep(value)
        elif what == "callback":
            await self.delivery.status(f"SM{value[0]}", value[1], "30003")
        elif what in ("crash", "close"):
            await (self.crash(value) if what == "crash" else self.delivery.close(value))
            await self.restart()
        await self.check()

    async def crash(self, turns: int) -> None:
        """Die at some point of what is going on."""
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        assert await self.delivery.settle(1000)

    async def check(self) -> None:
        assert max(Counter(self.provider.taken).values(), default=0) <= 1
        for entry in await self.delivery.entries(99):
            before = self.finals.setdefault(entry.id, entry.status)
            if before in ("delivered", "undelivered", "failed"):
                assert entry.status == before
            self.finals[entry.id] = entry.status


class QueueWorld(World):
    """The same with a queue, which outlives our processes as the store does."""

    def begin(self) -> Delivery:
        if not hasattr(self, "sqs"):
            self.sqs = Sqs(copies=2, visibility_s=100)
        return Queued(
            self.store,
            {"sms": self.provider},
            sqs=self.sqs,
            policy=POLICY,
            now=clock(),
            jitter=lambda: 0.5,
        )

    async def restart(self) -> None:
        self.delivery = self.begin()
        self.sqs.restart()

    async def step(self, what: str, value: Any) -> None:
        if what == "again" and self.sqs.sent:
            self.sqs.put(self.sqs.sent[value[0] % len(self.sqs.sent)], value[1])
        elif what == "away":
            self.sqs.fails += value
        elif what == "recover":
            with contextlib.suppress(QueueError):
                await self.delivery.recover()
        await super().step(what, value)

    async def settle(self) -> None:
        self.sqs.fails = 0
        for _ in range(3):  # what never came into the queue, and what fails once more after that
            assert await self.delivery.settle(10_000)
            await asyncio.sleep(POLICY.lost_s + 1)
            await self.delivery.recover()
        assert await self.delivery.settle(10_000)
        assert not self.sqs.dead


@pytest.mark.parametrize("kind", [World, QueueWorld])
@settings(max_examples=300, deadline=None)
@given(plan=steps, outcomes=st.lists(st.sampled_from(OUTCOMES), max_size=12))
def test_each_message_is_sent_at_most_once_and_none_is_lost(
    kind: type[World], plan: list[tuple[str, Any]], outcomes: list[Outcome]
) -> None:
    async def run() -> None:
        world = kind(list(outcomes))
        for what, value in plan:
            await world.step(what, value)
        await world.settle()
        await world.check()
        entries = {entry.body: entry for entry in await world.delivery.entries(99)}
        assert {body: entry.id for body, entry in entries.items()} == world.accepted
        for body, entry in entries.items():
            assert entry.status not in ("accepted", "sending", "stored")
            # Nothing ends untried, and what the provider took was not called refused by us.
            assert world.provider.asked[body] >= 1 or entry.status == "unknown"
            if body in world.provider.taken:
                assert entry.code != "21211"
            if entry.status == "sent":
                assert body in world.provider.taken
        assert not await world.store.query(PENDING)

    run_virtual(run())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["opt_out", "opt_in", "accept"]), max_size=12))
def test_nobody_who_opted_out_is_sent_anything(plan: list[str]) -> None:
    async def run() -> None:
        world = World([])
        out, expected = False, 0
        for number, what in enumerate(plan):
            if what == "opt_out":
                await world.delivery.opt_out(sms().to)
                out = True
            elif what == "opt_in":
                await world.delivery.opt_in(sms().to)
                out = False
            else:
                try:
                    await world.delivery.accept(sms(str(number)))
                except MessageRefused:
                    assert out
                else:
                    assert not out
                    expected += 1
            await world.delivery.settle(100)
        assert len(world.provider.taken) == expected

    run_virtual(run())
