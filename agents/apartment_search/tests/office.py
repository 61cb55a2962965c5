"""The leasing office for tests: the real agent, on a clock that stands at a Monday morning."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
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
from voxyray.models.offline import OfflineModel, load_script
from voxyray.results import encode_result
from voxyray.stores import Item, Store, Update, Write, keys
from voxyray.stores.memory import MemoryStore

FOLDER = Path(__file__).parents[1]
ZONE = ZoneInfo("America/Denver")
NOW = datetime(2026, 11, 23, 10, 15, tzinfo=ZONE)
SLOTS = "TOUR_SLOTS"


def agent() -> Agent:
    """Load the agent as a host does."""
    return load_folder(FOLDER)


def memory() -> MemoryStore:
    """Open a store on the tests' clock."""
    return MemoryStore(NOW.timestamp)


def context(
    store: Store, *, call: str = "CA1", turn: int = 1, now: datetime = NOW, **more: Any
) -> CallContext:
    """Give a tool's context."""
    key = f"{call}:{turn}"
    return CallContext(
        call, "apartment_search", turn, store, key, zone=ZONE, clock=now.timestamp, **more
    )


async def use(
    of: Agent, name: str, store: Store, caller: Caller | None = None, /, **given: Any
) -> Any:
    """Run a tool as the model would have it run; `_call`, `_turn`, `_now` go to its context."""
    about = {key[1:]: given.pop(key) for key in list(given) if key.startswith("_")}
    tool = next(each for each in of.tools if each.name == name)
    values = tool.parse(msgspec.json.encode(given).decode())
    return await tool.run(values, caller or Caller(NUMBER), context(store, **about))


class Talk(Conversation):
    """A conversation whose tools have the office's clock, a key and an outbox."""

    delivery: Delivery
    slow: set[str]  # tools that run until the test lets them finish
    running: list[events.RunTool]

    @classmethod
    async def begin(
        cls, of: Agent, *, number: str = NUMBER, store: Store | None = None, call_id: str = "CA1"
    ) -> Talk:
        """Begin a call; the greeting counts as said."""
        store = store or memory()
        caller = await Caller.load(store, number)
        texts = of.render(caller, NOW, ())
        call = Call(call_id, of, instructions=texts.instructions, greeting=texts.greeting)
        assert of.offline is not None
        model = OfflineModel(load_script(of.offline), first_token_s=0, words_per_s=0)
        talk = cls(call, caller, store, model)
        talk.delivery = Delivery(store, {"sms": OutboxMessenger()}, now=NOW.timestamp)
        talk.slow, talk.running = set(), []
        await talk.do(
            frames.Setup(session_id="VX1", call_sid=call_id, from_=number, to="+15550101")
        )
        return talk

    async def _run(self, command: events.RunTool) -> None:
        if command.tool.name in self.slow:
            self.running.append(command)
        else:
            await self.finish(command)

    async def finish(self, command: events.RunTool) -> None:
        """Run a tool to its end."""
        given = context(self.store, call=self.call.id, turn=command.turn, delivery=self.delivery)
        try:
            value = await command.tool.run(command.values, self.caller, given)
        except ToolError as error:
            self.used.append((command.tool.name, command.values, f"Error: {error}"))
            await self.do(events.ToolFailed(command.run, str(error)))
            return
        result = encode_result(value)
        handoff = result if command.tool.effect == "end" and value is not None else None
        self.used.append((command.tool.name, command.values, result))
        await self.do(events.ToolReturned(command.run, result, (), handoff))

    async def tours(self) -> list[Item]:
        """Give the caller's appointments as they are stored."""
        return await self.store.query(keys.caller(self.caller.number), "TOUR#")

    async def texts(self) -> list[str]:
        """Give the texts in the outbox, oldest first."""
        return [entry.message.body for entry in reversed(await self.delivery.entries())]


class Yielding:
    """A store at which everybody has to wait a moment, so that calls overlap."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, pk: str, sk: str) -> Item | None:
        """Read one item."""
        await asyncio.sleep(0)
        found = await self._store.get(pk, sk)
        await asyncio.sleep(0)
        return found

    async def query(self, pk: str, prefix: str = "", **more: Any) -> list[Item]:
        """Read items."""
        await asyncio.sleep(0)
        found = await self._store.query(pk, prefix, **more)
        await asyncio.sleep(0)
        return found

    async def write(self, *writes: Write) -> None:
        """Write all or nothing."""
        await asyncio.sleep(0)
        await self._store.write(*writes)

    async def update(self, update: Update) -> Item:
        """Update one item."""
        await asyncio.sleep(0)
        return await self._store.update(update)

    async def append(self, items: Sequence[Item]) -> None:
        """Write new items."""
        await self._store.append(items)

    async def close(self) -> None:
        """Close."""
        await self._store.close()


async def taken(store: Store) -> dict[str, str]:
    """Give the slots that are held, and by whom."""
    items = await store.query(SLOTS)
    return {item["sk"]: item["holder"] for item in items if item.get("holder")}
