"""What the application that this one follows got wrong; the numbers are of its list."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta

import pytest
from agents.restaurant_order.tests.support import (
    FOLDER,
    FRIDAY_NOON,
    SUNDAY_NOON,
    Shop,
    ShopTalk,
    lines_of,
    memory,
)

from voxyray.agent import Agent
from voxyray.loading import load_folder
from voxyray.stores import Put, keys

PROMPT = (FOLDER / "prompt.md").read_text()


@pytest.fixture
def shop(agent: Agent) -> Shop:
    return Shop(agent, memory())


async def test_11_the_time_until_pickup_is_there_to_be_asked(shop: Shop) -> None:
    assert "pickup in about 15 minutes" in await shop.use("waiting_time", type="pickup")
    assert "delivery in about 45 minutes" in await shop.use("waiting_time", type="delivery")
    again = [await shop.use("waiting_time") for _ in range(5)]
    assert len(set(again)) == 1  # a rule, no die


async def test_12_a_tool_that_fails_is_an_answer_and_the_call_goes_on(agent: Agent) -> None:
    talk = await ShopTalk.begin(agent)
    assert "No order was placed yet" in await talk.say("text me the confirmation")
    await talk.say("a cobb salad")
    assert len(await talk.lines()) == 1


def test_13_every_tool_the_model_is_told_of_exists(agent: Agent) -> None:
    tools = {tool.name for tool in agent.tools}
    told = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", PROMPT)) - {"first_name", "time_zone"}
    assert told <= tools
    assert {"add_item", "set_order_type", "read_order", "place_order"} <= told
    for tool in agent.tools:
        named = set(re.findall(r"\b(?:add|change|remove|read|place|send)_[a-z]+\b", PROMPT))
        assert named <= tools
        assert set(re.findall(r"\b[a-z]+_(?:item|order)\b", tool.description)) <= tools


async def test_14_an_unknown_caller_can_order(agent: Agent) -> None:
    for number in ("+15550177", "anonymous", ""):
        talk = await ShopTalk.begin(agent, number=number)
        assert "undefined" not in talk.call.greeting
        await talk.say_all(["a cobb salad", "that's all", "pickup"])
        assert "The order is placed" in await talk.say("yes")


async def test_20_tools_may_follow_tools(agent: Agent) -> None:
    talk = await ShopTalk.begin(agent)
    await talk.say_all(["a cobb salad", "that's all"])
    reply = await talk.say("pickup")
    assert [name for name, _, _ in talk.used[-2:]] == ["set_order_type", "read_order"]
    assert "The total is" in reply


async def test_21_the_address_is_kept_and_an_empty_order_is_refused(shop: Shop) -> None:
    assert "nothing in the order" in await shop.refused("place_order")
    await shop.use("set_order_type", type="delivery", address="12 Main Street")
    assert "nothing in the order" in await shop.refused("place_order")
    await shop.use("add_item", item="cobb")
    await shop.place()
    (order,) = await shop.orders()
    assert (order["address"], order["order"]["address"]) == ("12 Main Street",) * 2


async def test_22_the_message_names_the_latest_of_two_orders(agent: Agent) -> None:
    talk = await ShopTalk.begin(agent)
    await talk.say_all(["a cobb salad", "that's all", "pickup", "yes", "no"])
    talk.clock.at += timedelta(minutes=2)
    await talk.say_all(["a large hawaiian too", "that's all", "delivery", "12 Main Street"])
    await talk.say_all(["yes", "yes"])
    first, second = await talk.orders()
    assert lines_of(first["order"]) == [(1, "", "Cobb salad", (), "")]
    assert lines_of(second["order"]) == [(1, "large", "Hawaiian pizza", (), "")]
    (sms,) = await talk.outbox()
    assert f"Order {second['number']}" in sms.body
    assert first["number"] not in sms.body
    assert "Hawaiian" in sms.body
    assert "Cobb" not in sms.body


async def test_22_two_orders_in_the_same_second_are_in_order(shop: Shop) -> None:
    for item in ("cobb", "caesar", "ham calzone"):
        await shop.use("add_item", item=item)
        await shop.use("set_order_type", type="pickup")
        await shop.place()
    await shop.use("send_confirmation", about="order")
    assert "ham calzone" in (await shop.outbox())[0].body


async def test_23_an_order_without_an_address_is_confirmed_too(shop: Shop) -> None:
    await shop.use("add_item", item="cobb")
    await shop.use("set_order_type", type="pickup")
    await shop.place()
    given = {"about": "order", "by": "email", "email": "ada@example.com"}
    assert "on its way" in await shop.use("send_confirmation", **given)


async def test_24_hours_and_location_are_sent_without_an_order(agent: Agent) -> None:
    talk = await ShopTalk.begin(agent)
    assert "on its way" in await talk.say("can you text me your opening hours?")
    assert "on its way" in await talk.say("and send me a text with the address")
    hours, location = (each.body for each in await talk.outbox())
    assert "11 AM to 9 PM" in hours
    assert "101 Spear Street" in location


async def test_25_past_orders_are_told_and_nothing_is_said_of_tours(shop: Shop) -> None:
    assert "no earlier orders" in await shop.use("past_orders")
    for wrong in ("tour", "liveAgentHandoff", "sendRestaurantSms", "listAvailable", "lease"):
        assert wrong.lower() not in PROMPT.lower()


def test_26_the_keypad_is_the_shops_own() -> None:
    keypad = tomllib.loads((FOLDER / "agent.toml").read_text())["keypad"]
    assert sorted(keypad) == ["0", "1", "2", "3"]
    assert {keypad["1"]["tool"], keypad["3"]["tool"]} == {"opening_hours", "read_order"}
    assert "apartment" not in str(keypad)


async def test_28_nothing_that_is_not_known_is_read_out(agent: Agent) -> None:
    talk = await ShopTalk.begin(agent)
    for said in ("how long will it take?", "what's my order?", "delivery", "a cobb", "read it"):
        reply = await talk.say(said)
        for wrong in ("None", "undefined", "null", "{", "[object"):
            assert wrong not in reply


async def test_34_nobody_is_called_undefined(agent: Agent) -> None:
    store = memory()
    profile = {"email": "ada@example.com", "first_name": None, "last_name": 3}
    await store.write(Put({"pk": keys.caller("+15550100"), "sk": keys.PROFILE, **profile}))
    talk = await ShopTalk.begin(agent, store=store)
    for text in (talk.call.greeting, talk.call.history.instructions):
        assert "undefined" not in text
        assert "None" not in text


async def test_38_each_way_of_sending_is_called_by_its_name(shop: Shop) -> None:
    sms = await shop.use("send_confirmation", about="hours")
    given = {"about": "hours", "by": "email", "email": "ada@example.com"}
    mail = await shop.use("send_confirmation", **given)
    assert sms.startswith("A text message")
    assert mail.startswith("An e-mail")
    assert "text" not in mail


async def test_39_saving_an_address_keeps_the_rest_of_the_profile(agent: Agent) -> None:
    store = memory()
    before = {"first_name": "Ada", "last_name": "Lovelace", "agent": "restaurant_order"}
    await store.write(Put({"pk": keys.caller("+15550100"), "sk": keys.PROFILE, **before}))
    talk = await ShopTalk.begin(agent, store=store)
    await talk.say("email me your hours, I'm ada at example dot com")
    assert await talk.profile() == {**before, "email": "ada@example.com"}


async def test_46_the_shops_zone_decides_whatever_the_machines_is(agent: Agent) -> None:
    assert agent.time_zone == "America/Los_Angeles"
    assert load_folder(FOLDER).time_zone == agent.time_zone
    # Friday 22:30 at the shop is Saturday in UTC; Monday 23:30 UTC is Monday afternoon here.
    late = Shop(agent, memory(), at=FRIDAY_NOON.replace(hour=22, minute=30))
    assert "until 11 PM today" in await late.use("opening_hours")
    monday = Shop(agent, memory(), at=SUNDAY_NOON.replace(hour=15) + timedelta(days=1))
    assert "We open tomorrow, Tuesday," in await monday.use("opening_hours")
