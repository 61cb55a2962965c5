"""Which agents there are: the bundle's, those of the table, and never a dead line."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.support.desk import make_agent
from voxyray import definitions
from voxyray.agent import Agent
from voxyray.errors import StoreError
from voxyray.roster import Roster
from voxyray.stores import Delete, Put, Update, keys
from voxyray.stores.memory import MemoryStore
from voxyray.tool import Tool
from voxyray.tool_definitions import DefinedTool, ToolDefinition, build, define

BUNDLED = make_agent(name="bundled")
SHOP = make_agent(name="shop")


def make_tool(definition: ToolDefinition) -> Tool:
    async def run(*_: Any) -> None:
        """Run nothing."""

    return build(definition, run)


async def deploy(store: MemoryStore, agent: Agent) -> None:
    tools = tuple(define(tool, "tools") for tool in agent.tools)
    await definitions.deploy(store, agent, tools, owner="stack")


def is_remote(agent: Agent) -> bool:
    return all(isinstance(tool, DefinedTool) for tool in agent.tools)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Counting(MemoryStore):
    """Counts what it is asked, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.away = False
        self.broken = False

    async def query(self, pk: str, *args: Any, **options: Any) -> Any:
        self._ask(pk)
        return await super().query(pk, *args, **options)

    async def get(self, pk: str, sk: str) -> Any:
        self._ask(pk)
        return await super().get(pk, sk)

    def _ask(self, pk: str) -> None:
        self.asked.append(pk)
        if self.away:
            raise StoreError("away")
        if self.broken:
            raise ZeroDivisionError("a bug")


class Desk:
    def __init__(self, *bundle: Agent) -> None:
        self.store = Counting()
        self.clock = Clock()
        self.roster = Roster(bundle, self.store, make_tool, clock=self.clock)

    async def later(self, seconds: float = 60) -> Roster:
        self.store.asked.clear()
        self.clock.now += seconds
        await self.roster.refresh()
        return self.roster


async def test_agents_of_the_table_join_those_of_the_bundle() -> None:
    desk = Desk(BUNDLED)
    await deploy(desk.store, SHOP)
    assert list(desk.roster.agents) == ["bundled"]
    roster = await desk.later()
    assert list(roster.agents) == ["bundled", "shop"]
    assert roster.agents["bundled"] is BUNDLED
    assert roster.agents["shop"].instructions == SHOP.instructions
    assert is_remote(roster.agents["shop"])


async def test_one_of_the_bundle_uses_a_tools_function_if_there_is_one() -> None:
    desk = Desk(BUNDLED)
    await deploy(desk.store, BUNDLED)
    assert is_remote((await desk.later()).agents["bundled"])
    await definitions.deploy(desk.store, BUNDLED, None, owner="stack")
    assert (await desk.later()).agents["bundled"] is BUNDLED


async def test_the_table_is_read_once_a_minute_and_only_what_changed() -> None:
    desk = Desk(BUNDLED)
    await deploy(desk.store, SHOP)
    await desk.later()
    assert desk.store.asked == [keys.AGENTS, keys.agent("shop")]
    await desk.later(59)
    assert desk.store.asked == []
    shop = desk.roster.agents["shop"]
    await desk.later(1)
    assert desk.store.asked == [keys.AGENTS]
    assert desk.roster.agents["shop"] is shop
    await definitions.push(desk.store, make_agent(name="shop", instructions="Be quick."))
    assert (await desk.later()).agents["shop"].instructions == "Be quick."
    assert is_remote(desk.roster.agents["shop"])


async def test_one_that_is_removed_is_gone() -> None:
    desk = Desk(BUNDLED)
    await deploy(desk.store, SHOP)
    await deploy(desk.store, BUNDLED)
    await desk.later()
    for name in ("shop", "bundled"):
        await definitions.remove(desk.store, name, owner="stack")
    assert dict((await desk.later()).agents) == {"bundled": BUNDLED}


async def test_who_takes_callers_without_a_choice() -> None:
    desk = Desk()
    assert desk.roster.fallback is None
    await deploy(desk.store, SHOP)
    fallback = (await desk.later()).fallback
    assert fallback is not None
    assert fallback.name == "shop"
    await deploy(desk.store, make_agent(name="default"))
    fallback = (await desk.later()).fallback
    assert fallback is not None
    assert fallback.name == "default"


async def test_a_broken_one_is_ignored_once_loudly_and_the_others_are_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk(BUNDLED)
    await deploy(desk.store, SHOP)
    await deploy(desk.store, make_agent(name="other"))
    await definitions.push(desk.store, make_agent(name="toolless"))
    good = (await desk.later()).agents["shop"]
    for name in ("shop", "other"):
        broken = {"definition": "{", "version": 9}
        await desk.store.update(Update(keys.agent(name), keys.DEFINITION, set=broken))
        await desk.store.write(Put({"pk": keys.AGENTS, "sk": name, "version": 9}))
    await desk.store.write(Delete(keys.agent("other"), keys.DEFINITION))
    await desk.store.write(Put({"pk": keys.AGENTS, "sk": "No Name", "version": "x"}))
    roster = await desk.later()
    assert roster.agents["shop"] is good
    await desk.later()
    messages = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert [message.split(" is not used")[0] for message in messages] == [
        "the stored agent toolless",
        "the stored agent shop",
    ]
    assert set(roster.agents) == {"bundled", "shop", "other"}


@pytest.mark.parametrize("trouble", ["away", "broken"])
async def test_a_store_that_fails_leaves_the_last_agents_and_is_asked_again_soon(
    trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(BUNDLED)
    await deploy(desk.store, SHOP)
    await desk.later()
    setattr(desk.store, trouble, True)
    assert set((await desk.later()).agents) == {"bundled", "shop"}
    assert "the stored agents cannot be read" in caplog.text
    setattr(desk.store, trouble, False)
    await deploy(desk.store, make_agent(name="other"))
    assert set((await desk.later(5)).agents) == {"bundled", "shop", "other"}


async def test_without_functions_the_table_is_not_asked() -> None:
    store = Counting()
    await deploy(store, SHOP)
    store.asked.clear()
    roster = Roster([BUNDLED], store)
    await roster.refresh()
    assert list(roster.agents) == ["bundled"]
    assert store.asked == []


async def test_only_the_first_refresh_is_waited_for() -> None:
    desk = Desk(BUNDLED)
    await deploy(desk.store, SHOP)
    desk.store.asked.clear()
    go_on, asked = asyncio.Event(), asyncio.Event()
    query = desk.store.query

    async def slow(pk: str, *args: Any, **options: Any) -> Any:
        asked.set()
        await go_on.wait()
        return await query(pk, *args, **options)

    desk.store.query = slow  # type: ignore[method-assign]
    both = [asyncio.ensure_future(desk.roster.refresh()) for _ in range(2)]
    await asked.wait()
    go_on.set()
    await asyncio.gather(*both)
    assert desk.store.asked.count(keys.AGENTS) == 1
    assert "shop" in desk.roster.agents
    go_on.clear()
    asked.clear()
    desk.clock.now += 60
    reading = asyncio.ensure_future(desk.roster.refresh())
    await asked.wait()
    await desk.roster.refresh()  # there are agents already
    assert not reading.done()
    go_on.set()
    await reading
