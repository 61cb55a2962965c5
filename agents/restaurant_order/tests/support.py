"""The conversation harness with the shop's own clock, zone, messages and call ids."""

from __future__ import annotations

import zoneinfo
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.talk import NUMBER, Conversation

from voxyray import events, frames
from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ToolError
from voxyray.loading import load_folder
from voxyray.messengers.delivery import Delivery
from voxyray.messengers.outbox import OutboxMessenger
from voxyray.messengers.records import Entry
from voxyray.models import Model
from voxyray.models.offline import OfflineModel, load_script
from voxyray.results import encode_result
from voxyray.stores import Item, Store, keys
from voxyray.stores.memory import MemoryStore

FOLDER = Path(__file__).parents[1]
ZONE = zoneinfo.ZoneInfo("America/Los_Angeles")
FRIDAY_NOON = datetime(2026, 11, 20, 12, 0, tzinfo=ZONE)
SUNDAY_NOON = datetime(2026, 11, 22, 12, 0, tzinfo=ZONE)


class Clock:
    """A clock that tests set."""

    def __init__(self, at: datetime = FRIDAY_NOON) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at.timestamp()


def the_agent() -> Agent:
    return load_folder(FOLDER)


def messages(store: Store, clock: Clock) -> Delivery:
    outbox = OutboxMessenger()
    return Delivery(store, {"sms": outbox, "email": outbox}, now=clock)


class ShopTalk(Conversation):
    """A call to the shop; `kept` and the like read what it left in the store."""

    clock: Clock
    delivery: Delivery
    call_id: str

    @classmethod
    async def begin(
        cls,
        agent: Agent,
        *,
        at: datetime = FRIDAY_NOON,
        number: str = NUMBER,
        store: Store | None = None,
        model: Model | None = None,
        call_id: str = "CA1",
    ) -> ShopTalk:
        clock = Clock(at)
        store = store or MemoryStore(clock)
        caller = await Caller.load(store, number)
        texts = agent.render(caller, at, ())
        call = Call(call_id, agent, instructions=texts.instructions, greeting=texts.greeting)
        if model is None:
            assert agent.offline is not None
            model = OfflineModel(load_script(agent.offline), first_token_s=0, words_per_s=0)
        talk = cls(call, caller, store, model)
        talk.clock, talk.call_id = clock, call_id
        talk.delivery = messages(store, clock)
        setup = frames.Setup(session_id="VX1", call_sid=call_id, from_=number, to="+15550101")
        await talk.do(setup)
        return talk

    def context(self, turn: int, key: str) -> CallContext:
        """Make what a tool is given, as the runner does."""
        return CallContext(
            self.call_id,
            self.call.agent.name,
            turn,
            self.store,
            key=f"{self.call_id}:{key}",
            zone=ZONE,
            clock=self.clock,
            delivery=self.delivery,
        )

    async def _run(self, command: events.RunTool) -> None:
        context = self.context(command.turn, command.key)
        try:
            value = await command.tool.run(command.values, self.caller, context)
        except ToolError as error:
            self.used.append((command.tool.name, command.values, f"Error: {error}"))
            await self.do(events.ToolFailed(command.run, str(error)))
            return
        result = encode_result(value)
        self.used.append((command.tool.name, command.values, result))
        await self.do(events.ToolReturned(command.run, result))

    async def say_all(self, lines: Sequence[str]) -> str:
        """Say one after the other; give the last answer."""
        reply = ""
        for line in lines:
            reply = await self.say(line)
        return reply

    async def draft(self) -> dict[str, Any]:
        """Give the order that the call is about, as it is stored."""
        item = await self.store.get(keys.call(self.call_id), "DRAFT") or {}
        draft: dict[str, Any] = item.get("draft", {})
        order: dict[str, Any] = draft.get("order", {})
        return order

    async def lines(self) -> list[tuple[int, str, str, tuple[str, ...], str]]:
        """Give the order's lines: quantity, size, dish, toppings, note."""
        return lines_of(await self.draft())

    async def orders(self) -> list[Item]:
        """Give the caller's placed orders, the oldest first."""
        return await self.store.query(keys.caller(self.caller.number), "ORDER#")

    async def outbox(self) -> list[Entry]:
        """Give the messages in the outbox, the oldest first."""
        await self.delivery.settle(5)
        return (await self.delivery.entries())[::-1]


def lines_of(order: dict[str, Any]) -> list[tuple[int, str, str, tuple[str, ...], str]]:
    return [
        (
            line["quantity"],
            line["size"] or "",
            line["dish"],
            tuple(line["toppings"]),
            line["note"],
        )
        for line in order.get("lines", [])
    ]
