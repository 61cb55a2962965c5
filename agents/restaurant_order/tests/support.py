"""The conversation harness with the shop's own clock, zone, messages and call ids."""

from __future__ import annotations

import zoneinfo
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from tests.support.talk import NUMBER, Conversation

from voxyray import events, frames
from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ToolError
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

# A line: quantity, size, dish, toppings, note.
Row: TypeAlias = tuple[int, str, str, tuple[str, ...], str]


class Clock:
    """A clock that tests set."""

    def __init__(self, at: datetime = FRIDAY_NOON) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at.timestamp()


def memory() -> MemoryStore:
    """Open a store at the tests' time, for on the real clock all would have expired."""
    return MemoryStore(FRIDAY_NOON.timestamp)


def messages(store: Store, clock: Clock) -> Delivery:
    outbox = OutboxMessenger()
    return Delivery(store, {"sms": outbox, "email": outbox}, now=clock)


class Shop:
    """The tools without a talk: `use` runs one as the model would have it run.

    `_turn` and `_key` go to its context; each run has a key of its own unless one is given.
    """

    def __init__(
        self,
        agent: Agent,
        store: Store,
        *,
        at: datetime = FRIDAY_NOON,
        call: str = "CA1",
        number: str = NUMBER,
        delivers: bool = True,
    ) -> None:
        self.tools = {tool.name: tool for tool in agent.tools}
        self.store = store
        self.clock = Clock(at)
        self.delivery = messages(store, self.clock) if delivers else None
        self._agent = agent.name
        self._call = call
        self._number = number
        self._runs = 0

    async def use(self, tool: str, /, **given: Any) -> str:
        """Run a tool with what a model wrote, and give its result."""
        self._runs += 1
        turn, key = given.pop("_turn", self._runs), given.pop("_key", f"run{self._runs}")
        context = CallContext(
            self._call,
            self._agent,
            turn,
            self.store,
            key=f"{self._call}:{key}",
            zone=ZONE,
            clock=self.clock,
            delivery=self.delivery,
        )
        values = self.tools[tool].parse(msgspec.json.encode(given).decode())
        caller = await Caller.load(self.store, self._number)
        return str(await self.tools[tool].run(values, caller, context))

    async def refused(self, tool: str, /, **given: Any) -> str:
        """Run a tool that must refuse, and give what it says."""
        with pytest.raises(ToolError) as refused:
            await self.use(tool, **given)
        return str(refused.value)

    async def place(self) -> str:
        """Read the order and place it, as after a yes."""
        await self.use("read_order")
        return await self.use("place_order")

    async def lines(self) -> list[Row]:
        """Give the draft's lines."""
        item = await self.store.get(keys.call(self._call), "DRAFT") or {}
        return lines_of(item.get("draft", {}).get("order", {}))

    async def orders(self) -> list[Item]:
        """Give the caller's placed orders, the oldest first."""
        return await self.store.query(keys.caller(self._number), "ORDER#")

    async def tickets(self) -> list[Item]:
        """Give what the kitchen has to do."""
        return await self.store.query(f"KITCHEN#{self._agent}", "TICKET#")

    async def outbox(self) -> list[Entry]:
        """Give the messages, the oldest first."""
        assert self.delivery is not None
        await self.delivery.settle(5)
        return (await self.delivery.entries())[::-1]

    async def close(self) -> None:
        """Close what was opened."""
        if self.delivery is not None:
            await self.delivery.close()
        await self.store.close()


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
        others: Sequence[Agent] = (),
    ) -> ShopTalk:
        clock = Clock(at)
        store = store or MemoryStore(clock)
        caller = await Caller.load(store, number)
        listings = [other.listing for other in others]
        texts = agent.render(caller, at, listings)
        call = Call(call_id, agent, instructions=texts.instructions, greeting=texts.greeting)
        if model is None:
            assert agent.offline is not None
            model = OfflineModel(load_script(agent.offline), first_token_s=0, words_per_s=0)
        talk = cls(call, caller, store, model)
        talk.clock, talk.call_id, talk.others = clock, call_id, listings
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
            agents=self.others,
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
        ends = command.tool.effect == "end" and value is not None
        handoff = result if ends else None
        await self.do(events.ToolReturned(command.run, result, tuple(context.actions), handoff))

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

    async def lines(self) -> list[Row]:
        """Give the order's lines: quantity, size, dish, toppings, note."""
        return lines_of(await self.draft())

    async def orders(self) -> list[Item]:
        """Give the caller's placed orders, the oldest first."""
        return await self.store.query(keys.caller(self.caller.number), "ORDER#")

    async def outbox(self) -> list[Entry]:
        """Give the messages in the outbox, the oldest first."""
        await self.delivery.settle(5)
        return (await self.delivery.entries())[::-1]


def lines_of(order: dict[str, Any]) -> list[Row]:
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
