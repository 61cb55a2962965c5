"""The tools by themselves: with bad input, at the same time, repeated, on every store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agents.restaurant_order.tests.support import (
    FRIDAY_NOON,
    SUNDAY_NOON,
    Shop,
    lines_of,
    memory,
)

from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.errors import ConditionFailed, ToolArgumentError, ToolError
from voxyray.stores import Item, Store, Update, Write, keys
from voxyray.stores.memory import MemoryStore
from voxyray.stores.sqlite import SqliteStore

PIZZA = {"item": "hawaiian", "size": "large"}
PLACED = "The order is placed"


@pytest.fixture(params=["memory", "sqlite"])
async def shop(request: pytest.FixtureRequest, agent: Agent, tmp_path: Path) -> AsyncIterator[Shop]:
    now = FRIDAY_NOON.timestamp
    store: Store = MemoryStore(now)
    if request.param == "sqlite":
        store = SqliteStore.open(tmp_path / "shop.db", now)
    shop = Shop(agent, store)
    yield shop
    await shop.close()


# Adding and changing


async def test_an_order_is_kept_and_priced(shop: Shop) -> None:
    told = await shop.use("add_item", **PIZZA, toppings=["mushrooms"], quantity=2)
    assert told == "Added two large Hawaiian pizzas with mushroom, 43 dollars 88."
    await shop.use("add_item", item="Caesar salad")
    assert await shop.use("remove_item", line="caesar") == "Removed one Caesar salad."
    await shop.use("change_item", line="hawaiian", quantity=1)
    assert await shop.lines() == [(1, "large", "Hawaiian pizza", ("mushroom",), "")]


async def test_items_added_at_the_same_time_are_all_kept(shop: Shop) -> None:
    names = ["Caesar salad", "Cobb salad", "onion rings", "ham calzone", "popcorn shrimp"]
    given = [{"item": name, "note": note} for name in names for note in ("", "to share")]
    told = await asyncio.gather(
        *(shop.use("add_item", _key=str(at), **each) for at, each in enumerate(given))
    )
    assert len(set(told)) == 10
    assert len(await shop.lines()) == 10
    await shop.use("set_order_type", type="pickup")
    await shop.place()
    (order,) = await shop.orders()
    assert Decimal(order["total"]) == 2 * Decimal("56.35")


async def test_the_same_thing_twice_at_once_counts_twice(shop: Shop) -> None:
    await asyncio.gather(*(shop.use("add_item", _key=str(at), item="cobb") for at in range(6)))
    assert await shop.lines() == [(6, "", "Cobb salad", (), "")]


async def test_a_run_that_is_repeated_adds_once(shop: Shop) -> None:
    first = await shop.use("add_item", _key="7:add_item:abc", item="cobb")
    again = await shop.use("add_item", _key="7:add_item:abc", item="cobb")
    assert first == again
    assert await shop.lines() == [(1, "", "Cobb salad", (), "")]


async def test_a_write_that_loses_every_race_gives_up_in_words(agent: Agent) -> None:
    class Contested(MemoryStore):
        async def write(self, *writes: Write) -> None:  # noqa: ARG002 - as the store has it
            raise ConditionFailed("somebody was first")

    shop = Shop(agent, Contested(FRIDAY_NOON.timestamp))
    assert "keeps changing" in await shop.refused("add_item", item="cobb")


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("add_item", {}),
        ("add_item", {"item": None}),
        ("add_item", {"item": "cobb", "quantity": 0}),
        ("add_item", {"item": "cobb", "quantity": 21}),
        ("add_item", {"item": "cobb", "quantity": 1.5}),
        ("add_item", {"item": "hawaiian", "size": "huge"}),
        ("add_item", {"item": "hawaiian", "topping": ["onion"]}),
        ("change_item", {"quantity": 2}),
        ("set_order_type", {"type": "drone"}),
        ("send_confirmation", {"about": "everything"}),
        ("send_confirmation", {"about": "order", "by": "fax"}),
        ("waiting_time", {"type": "soon"}),
        ("look_up_menu", {"kind": "drinks"}),
    ],
)
async def test_arguments_that_do_not_fit_never_reach_a_tool(
    shop: Shop, tool: str, given: dict[str, Any]
) -> None:
    with pytest.raises(ToolArgumentError, match="did not run"):
        await shop.use(tool, **given)
    assert await shop.lines() == []


@pytest.mark.parametrize(
    ("tool", "given", "told"),
    [
        ("add_item", {"item": ""}, "What would you like"),
        ("add_item", {"item": "cheese pizza"}, "Which size"),
        ("add_item", {"item": "sushi"}, "We don't have sushi"),
        ("change_item", {"line": "cobb", "quantity": 2}, "nothing in the order"),
        ("remove_item", {"line": "everything"}, "nothing in the order"),
        ("set_order_type", {"type": "delivery", "address": "home"}, "no address"),
        ("read_order", {}, "nothing in the order"),
        ("place_order", {}, "nothing in the order"),
        ("send_confirmation", {"about": "order"}, "No order was placed"),
        ("send_confirmation", {"about": "hours", "by": "email"}, "your e-mail address"),
        ("send_confirmation", {"about": "hours", "by": "email", "email": "ada"}, "e-mail"),
    ],
)
async def test_what_cannot_be_is_refused_in_words(
    shop: Shop, tool: str, given: dict[str, Any], told: str
) -> None:
    assert told in await shop.refused(tool, **given)
    assert await shop.lines() == []
    assert await shop.outbox() == []


# Placing


async def test_placing_needs_a_way_an_address_a_reading_and_a_yes(shop: Shop) -> None:
    await shop.use("add_item", **PIZZA)
    assert "pickup or delivery" in await shop.refused("place_order")
    assert "pickup or delivery" in await shop.use("read_order")
    await shop.use("set_order_type", type="delivery")
    assert "address" in await shop.refused("place_order")
    await shop.use("set_order_type", type="delivery", address="12 Main Street")
    assert "read_order" in await shop.refused("place_order")
    await shop.use("read_order", _turn=5)
    assert "yes" in await shop.refused("place_order", _turn=5)
    await shop.use("change_item", line="hawaiian", quantity=2, _turn=6)
    assert "read_order" in await shop.refused("place_order", _turn=7)
    assert await shop.orders() == []
    await shop.use("read_order", _turn=8)
    assert (await shop.use("place_order", _turn=9)).startswith(PLACED)


async def test_an_order_is_placed_once_whatever_is_repeated(shop: Shop) -> None:
    await shop.use("add_item", **PIZZA)
    await shop.use("set_order_type", type="pickup")
    await shop.use("read_order", _turn=1)
    told = await asyncio.gather(
        *(shop.use("place_order", _turn=2, _key=str(at)) for at in range(8))
    )
    told.append(await shop.use("place_order", _turn=9))
    assert sum(each.startswith(PLACED) for each in told) == 1
    assert sum(each.startswith("It is placed already, once.") for each in told) == 8
    (order,) = await shop.orders()
    assert lines_of(order["order"]) == [(1, "large", "Hawaiian pizza", (), "")]
    assert (order["type"], order["address"], order["total"]) == ("pickup", "", "19.95")
    assert len(await shop.tickets()) == 1


async def test_a_store_that_fails_while_placing_leaves_nothing_half_done(agent: Agent) -> None:
    class Failing(MemoryStore):
        failing = False

        async def write(self, *writes: Write) -> None:
            if self.failing and len(writes) > 1:
                raise ConnectionError("gone")
            await super().write(*writes)

    store = Failing(FRIDAY_NOON.timestamp)
    shop = Shop(agent, store)
    await shop.use("add_item", **PIZZA)
    await shop.use("set_order_type", type="pickup")
    await shop.use("read_order", _turn=1)
    store.failing = True
    with pytest.raises(ConnectionError):
        await shop.use("place_order", _turn=2)
    assert (await shop.orders(), await shop.tickets()) == ([], [])
    store.failing = False
    assert (await shop.use("place_order", _turn=3)).startswith(PLACED)
    assert len(await shop.orders()) == 1


async def test_a_placed_order_is_not_changed_and_the_next_item_begins_another(shop: Shop) -> None:
    await shop.use("add_item", **PIZZA)
    await shop.use("set_order_type", type="delivery", address="12 Main Street")
    await shop.place()
    for tool, given in (
        ("change_item", {"line": "hawaiian", "size": "small"}),
        ("remove_item", {"line": "everything"}),
        ("set_order_type", {"type": "pickup"}),
    ):
        assert "placed already" in await shop.refused(tool, **given)
    assert "placed already" in await shop.use("read_order")
    assert "A new order begins" in await shop.use("add_item", item="cobb")
    assert "pickup or delivery" in await shop.refused("place_order")
    await shop.use("set_order_type", type="pickup")
    await shop.place()
    first, second = await shop.orders()
    assert (first["total"], second["total"]) == ("19.95", "12.95")
    assert first["number"] != second["number"]


async def test_a_new_call_begins_a_new_order(agent: Agent) -> None:
    store = memory()
    one, two = Shop(agent, store), Shop(agent, store, call="CA2")
    await one.use("add_item", **PIZZA)
    assert await two.lines() == []
    await two.use("add_item", item="cobb")
    assert await one.lines() == [(1, "large", "Hawaiian pizza", (), "")]


# Time


async def test_when_it_is_ready_is_a_rule(agent: Agent) -> None:
    store = memory()
    one, two = Shop(agent, store), Shop(agent, store, call="CA2", number="+15550102")
    await one.use("add_item", item="cobb", quantity=12)
    await one.use("set_order_type", type="pickup")
    assert "pickup in about 40 minutes" in await one.use("waiting_time")
    assert "12:40 PM, in about 40 minutes" in await one.place()
    for shop in (one, two):
        shop.clock.at += timedelta(minutes=10)
    assert await one.use("waiting_time") == (
        "It will be ready for pickup at about 12:40 PM, in about 30 minutes."
    )
    both = await two.use("waiting_time")
    assert both == (
        "If it is ordered now, pickup in about 30 minutes, or delivery in about an hour."
    )
    two.clock.at += timedelta(minutes=60)
    assert "in about 15 minutes" in await two.use("waiting_time", type="pickup")
    one.clock.at += timedelta(hours=2)
    assert await one.use("waiting_time") == "It should be ready for pickup at about 12:40 PM."


@pytest.mark.parametrize(
    ("at", "told", "due"),
    [
        (SUNDAY_NOON, "We're closed right now, so this", (24, 11, 15)),
        (FRIDAY_NOON.replace(hour=22, minute=50), "before we close at 11 PM", (21, 11, 15)),
        (FRIDAY_NOON.replace(hour=9), "we open today at 11 AM", (20, 11, 15)),
        (FRIDAY_NOON, "", (20, 12, 15)),
    ],
)
async def test_nothing_is_promised_while_the_shop_is_closed(
    agent: Agent, at: datetime, told: str, due: tuple[int, int, int]
) -> None:
    shop = Shop(agent, memory(), at=at)
    added = await shop.use("add_item", **PIZZA)
    assert told in added
    assert ("ordered ahead" in added) is bool(told)
    assert "ordered ahead" not in await shop.use("add_item", item="cobb")
    await shop.use("remove_item", line="cobb")
    await shop.use("set_order_type", type="pickup")
    placed = await shop.place()
    (order,) = await shop.orders()
    ready = datetime.fromtimestamp(order["due"], at.tzinfo)
    assert (ready.day, ready.hour, ready.minute) == due
    assert (f"on {ready:%A} at about 11:15 AM" in placed) is (ready.date() != at.date())


async def test_orders_ahead_keep_nobody_waiting_today(agent: Agent) -> None:
    store = memory()
    late = Shop(agent, store, at=FRIDAY_NOON.replace(hour=22, minute=20))
    await late.use("add_item", item="cobb", quantity=20)
    await late.use("set_order_type", type="pickup")
    assert "on Saturday" in await late.place()
    small = Shop(agent, store, at=late.clock.at, call="CA2")
    assert "in about 15 minutes" in await small.use("waiting_time", type="pickup")


async def test_the_hours_and_the_menu_are_told(shop: Shop) -> None:
    assert (await shop.use("opening_hours")).startswith("We're open right now, until 11 PM today.")
    assert "ham calzone for 15 dollars 75" in await shop.use("look_up_menu", kind="calzone")
    assert "from 12 dollars 95 to 19" in await shop.use("look_up_menu", kind="pizza")
    assert "2 dollars 99" in await shop.use("look_up_menu", kind="topping")
    assert "meatball" in await shop.use("look_up_menu", item="the works")
    assert "The pepperoni calzone is" in await shop.use("look_up_menu", item="pepperoni")
    assert await shop.use("look_up_menu", item="basil") == (
        "Fresh basil as a topping is 1 dollar 99."
    )
    assert "We don't have" in await shop.use("look_up_menu", item="sushi")
    assert "starters" in await shop.use("look_up_menu")


# Past orders and messages


async def test_past_orders_are_the_callers_own(agent: Agent) -> None:
    store = memory()
    assert "no earlier orders" in await Shop(agent, store).use("past_orders")
    for day, item in enumerate(("cobb", "caesar"), 1):
        shop = Shop(agent, store, call=f"CA{day}", at=FRIDAY_NOON + timedelta(days=day - 1))
        await shop.use("add_item", item=item)
        await shop.use("set_order_type", type="pickup")
        await shop.place()
    assert await shop.use("past_orders") == (
        "Today at 12 PM: one Caesar salad, for pickup, for 9 dollars 95. "
        "Yesterday: one Cobb salad, for pickup, for 12 dollars 95."
    )
    shop.clock.at += timedelta(days=5)
    assert "On November 21: one Caesar" in await shop.use("past_orders")
    other = Shop(agent, store, number="+15550199")
    assert "no earlier orders" in await other.use("past_orders")


async def test_a_withheld_number_orders_too_and_sees_nobody_elses(agent: Agent) -> None:
    store = memory()
    for call in ("CA1", "CA2"):
        shop = Shop(agent, store, call=call, number="anonymous")
        assert "no earlier orders" in await shop.use("past_orders")
        await shop.use("add_item", item="cobb")
        await shop.use("set_order_type", type="pickup")
        assert (await shop.place()).startswith(PLACED)
        assert "withheld" in await shop.refused("send_confirmation", about="order")
        assert len(await store.query(keys.call(call), "ORDER#")) == 1
    await shop.use("send_confirmation", about="order", by="email", email="ada@example.com")
    assert [each.to for each in await shop.outbox()] == ["ada@example.com"]


async def test_messages_say_what_they_should(shop: Shop) -> None:
    for about in ("hours", "location"):
        await shop.use("send_confirmation", about=about, _key=about)
    await shop.use("add_item", **PIZZA, note="well done")
    await shop.use("set_order_type", type="delivery", address="12 Main Street")
    await shop.place()
    told = await shop.use("send_confirmation", about="order", _key="order")
    assert told == "A text message with the order is on its way to the number you call from."
    hours, location, order = (each.body for each in await shop.outbox())
    assert "11 AM to 9 PM" in hours
    assert "101 Spear Street" in location
    (kept,) = await shop.orders()
    assert order == (
        f"Order {kept['number']} at the pizza shop on Spear Street:\n"
        "1 x large Hawaiian pizza (well done): $19.95\n"
        "Total: $19.95\n"
        "Delivery to 12 Main Street at about 12:45 PM."
    )


async def test_a_repeated_run_sends_one_message(shop: Shop) -> None:
    for _ in range(3):
        await shop.use("send_confirmation", about="hours", _key="3:send:abc")
    assert len(await shop.outbox()) == 1


async def test_the_message_of_an_order_ahead_names_the_day(agent: Agent) -> None:
    shop = Shop(agent, memory(), at=SUNDAY_NOON)
    await shop.use("add_item", item="cobb")
    await shop.use("set_order_type", type="pickup")
    await shop.place()
    await shop.use("send_confirmation", about="order")
    assert "on Tuesday, November 24, at about 11:15 AM" in (await shop.outbox())[0].body


async def test_the_longest_order_fits_a_text_message(agent: Agent) -> None:
    shop = Shop(agent, memory())
    for at in range(30):
        await shop.use("add_item", _key=str(at), item="cobb", note=f"for table {at} " + "x" * 90)
    await shop.use("set_order_type", type="pickup")
    await shop.place()
    await shop.use("send_confirmation", about="order")
    body = (await shop.outbox())[0].body
    assert len(body) <= 1600
    assert "more\nTotal: $388.50" in body


async def test_without_anybody_to_deliver_it_says_so(agent: Agent) -> None:
    shop = Shop(agent, memory(), delivers=False)
    assert "no messages can be sent" in await shop.refused("send_confirmation", about="hours")


# For models


def test_schemas_pass_strict_validation(agent: Agent) -> None:
    def check(schema: dict[str, Any]) -> None:
        allowed = {"type", "description", "properties", "required", "additionalProperties"}
        allowed |= {"enum", "items", "minimum", "maximum", "anyOf"}
        assert set(schema) <= allowed
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
        for inner in [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]:
            check(inner)
        if "items" in schema:
            check(schema["items"])

    for tool in agent.tools:
        check(tool.spec.parameters)
        assert len(tool.spec.description) <= 1024
        for shape in tool.spec.parameters["properties"].values():
            assert shape["description"]


def test_effects(agent: Agent) -> None:
    effects = {tool.name: tool.effect for tool in agent.tools}
    assert {name for name, effect in effects.items() if effect == "read"} == {
        *("waiting_time", "look_up_menu", "opening_hours", "past_orders"),
    }
    assert {name for name, effect in effects.items() if effect == "end"} == {
        *("transfer_to_agent", "transfer_to_person", "hang_up"),
    }


async def test_what_is_stored_holds_no_float_and_goes_away(shop: Shop) -> None:
    await shop.use("add_item", **PIZZA)
    await shop.use("set_order_type", type="pickup")
    await shop.place()
    draft = await shop.store.get(keys.call("CA1"), "DRAFT")
    assert draft is not None
    (order,), (ticket,) = await shop.orders(), await shop.tickets()
    now = FRIDAY_NOON.timestamp()
    for item, days in ((draft, 1), (order, 90), (ticket, 2)):
        assert now < item["expires_at"] <= now + days * 86_400
        # `.5` and `1e3` are floats; a dot within a text is none.
        assert not re.search(rb"[:,\[]-?\d+[.e]", msgspec.json.encode(item))


async def test_an_address_given_is_kept_with_the_rest_of_the_profile(agent: Agent) -> None:
    store = memory()
    caller = Caller("+15550100", store=store)
    await caller.save(first_name="Ada", agent="restaurant_order", notes={"door": "blue"})
    shop = Shop(agent, store)
    await shop.use("send_confirmation", about="hours", by="email", email="ada@example.com")
    profile = await store.get(keys.caller("+15550100"), keys.PROFILE) or {}
    assert {**profile, "pk": "", "sk": ""} == {
        "pk": "",
        "sk": "",
        "email": "ada@example.com",
        "first_name": "Ada",
        "agent": "restaurant_order",
        "notes": {"door": "blue"},
    }
    await shop.use("send_confirmation", about="location", by="email", _key="again")
    assert [each.to for each in await shop.outbox()] == ["ada@example.com"] * 2


async def test_a_profile_that_cannot_be_saved_sends_nothing(agent: Agent) -> None:
    class Broken(MemoryStore):
        async def update(self, update: Update) -> Item:  # noqa: ARG002 - as the store has it
            raise ToolError("it cannot be saved right now")

    shop = Shop(agent, Broken(FRIDAY_NOON.timestamp))
    given = {"about": "hours", "by": "email", "email": "ada@example.com"}
    assert "cannot be saved" in await shop.refused("send_confirmation", **given)
    assert await shop.outbox() == []
