"""Whole calls in callers' own words, by what they leave in the store."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from agents.restaurant_order.tests.support import (
    FOLDER,
    FRIDAY_NOON,
    SUNDAY_NOON,
    Row,
    ShopTalk,
    lines_of,
    memory,
)

from voxyray import events, frames
from voxyray.agent import Agent
from voxyray.loading import load_agents
from voxyray.models import Delta, Finish, ModelRequest, TextDelta, ToolCall
from voxyray.models.offline.smalltalk import HONEST
from voxyray.stores import Put, keys
from voxyray.stores.sqlite import SqliteStore

PEPPERONI = "classic pepperoni pizza"
ALL_AT_ONCE = "two large pepperoni with mushrooms and a Caesar salad for delivery to 12 Main Street"


@pytest.fixture
async def talk(agent: Agent) -> ShopTalk:
    return await ShopTalk.begin(agent)


# From hello to the message


async def test_a_newcomer_orders_for_pickup(talk: ShopTalk) -> None:
    assert talk.call.greeting == (
        "Hello, this is the pizza shop on Spear Street. What would you like to order?"
    )
    assert "Which size" in await talk.say("Hi, can I get a pepperoni pizza?")
    assert "19 dollars 95" in await talk.say("large")
    assert "9 dollars 95. Anything else?" in await talk.say("And a Caesar salad")
    assert await talk.say("No, that's all.") == "Is it for pickup or delivery?"
    read = await talk.say("Pickup, please")
    assert read == (
        "One large classic pepperoni pizza; one Caesar salad. For pickup. "
        "The total is 29 dollars 90. Shall I place the order?"
    )
    assert await talk.orders() == []
    assert "at about 12:20 PM, in about 20 minutes" in await talk.say("Yes")
    assert "on its way" in await talk.say("Yes, please")
    await talk.say("No, thank you")
    await talk.pass_time(30)
    assert talk.ended
    (order,) = await talk.orders()
    assert lines_of(order["order"]) == [
        (1, "large", PEPPERONI, (), ""),
        (1, "", "Caesar salad", (), ""),
    ]
    assert (order["type"], order["total"]) == ("pickup", "29.90")
    (sms,) = await talk.outbox()
    assert (sms.kind, sms.to) == ("sms", talk.caller.number)
    assert sms.body.startswith(f"Order {order['number']} at")
    assert "Total: $29.90" in sms.body


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_everything_in_one_sentence(agent: Agent, kind: str, tmp_path: Path) -> None:
    now = FRIDAY_NOON.timestamp
    store = memory() if kind == "memory" else SqliteStore.open(tmp_path / "shop.db", now)
    talk = await ShopTalk.begin(agent, store=store)
    reply = await talk.say(ALL_AT_ONCE)
    assert reply.count("Added") == 2
    await talk.say_all(["that's it", "yes", "no", "bye"])
    await talk.pass_time(30)
    assert talk.ended
    (order,) = await talk.orders()
    assert lines_of(order["order"]) == [
        (2, "large", PEPPERONI, ("mushroom",), ""),
        (1, "", "Caesar salad", (), ""),
    ]
    assert (order["type"], order["address"]) == ("delivery", "12 Main Street")
    assert order["total"] == "53.83"
    assert await talk.outbox() == []
    await store.close()


async def test_a_known_caller_is_greeted_and_gets_an_email(agent: Agent) -> None:
    store = memory()
    profile = {"first_name": "Ada", "email": "ada@example.com", "notes": {"dog": "barks"}}
    await store.write(Put({"pk": keys.caller("+15550100"), "sk": keys.PROFILE, **profile}))
    talk = await ShopTalk.begin(agent, store=store)
    assert talk.call.greeting.startswith("Hello Ada,")
    await talk.say_all(["a cobb salad", "that's all", "pickup", "yes", "by email please"])
    (mail,) = await talk.outbox()
    assert (mail.kind, mail.to) == ("email", "ada@example.com")
    (order,) = await talk.orders()
    assert mail.subject == f"Your order {order['number']}"
    assert await talk.profile() == profile


async def test_an_email_address_that_is_told_is_saved(talk: ShopTalk) -> None:
    await talk.say_all(["a cobb salad", "that's all", "pickup", "yes"])
    assert "What is your e-mail address?" in await talk.say("email me the confirmation")
    assert "ada@example.com" in await talk.say("it's ada at example dot com")
    assert [each.to for each in await talk.outbox()] == ["ada@example.com"]
    assert (await talk.profile())["email"] == "ada@example.com"


# In their own words: what stands in the order at the end

HAWAIIAN: Row = (1, "large", "Hawaiian pizza", (), "")
CAESAR: Row = (1, "", "Caesar salad", (), "")
STROMBOLI: Row = (1, "", "veggie stromboli", (), "")
RINGS: Row = (1, "", "onion rings", (), "")


@pytest.mark.parametrize(
    ("said", "rows"),
    [
        (["a large hawaiian"], [HAWAIIAN]),
        (["hawaiian", "the large one"], [HAWAIIAN]),
        (["a hawaiian, large please"], [HAWAIIAN]),
        (["pizza", "hawaiian", "large"], [HAWAIIAN]),
        (["I'd like to order", "um, a big Hawaiian pizza"], [HAWAIIAN]),
        (["a small hawaiian", "make that a large"], [HAWAIIAN]),
        (["a small hawaiian", "actually large"], [HAWAIIAN]),
        (["a large cheese pizza", "change it to a hawaiian"], [HAWAIIAN]),
        (["a large hawaiian and a Caesar"], [HAWAIIAN, CAESAR]),
        (["a hawaiian and a caesar", "large"], [CAESAR, HAWAIIAN]),
        (["a hawaiian", "large, and a Caesar salad"], [HAWAIIAN, CAESAR]),
        (["a large hawaiian and a caesar", "remove the salad"], [HAWAIIAN]),
        (["a large hawaiian and a caesar", "I don't want the salad"], [HAWAIIAN]),
        (["a large hawaiian and a caesar", "take out one", "the salad"], [HAWAIIAN]),
        (["a large hawaiian with olives", "no olives"], [HAWAIIAN]),
        (["a large hawaiian with olives", "take off the olives please"], [HAWAIIAN]),
        (["a large hawaiian with anchovies", "without then"], [HAWAIIAN]),
        (["two large hawaiians", "just one", "make it one"], [HAWAIIAN]),
        (["a caesar", "and onion rings"], [CAESAR, RINGS]),
        (["three caesar salads", "remove two caesar salads"], [CAESAR]),
        (["a caesar", "cancel everything", "a large hawaiian"], [HAWAIIAN]),
        (["a cobb", "swap the cobb for a caesar"], [CAESAR]),
        (["a cobb", "instead of the cobb a caesar please"], [CAESAR]),
        (["a hamburger", "a caesar then"], [CAESAR]),
        (["a hamburger and a caesar"], [CAESAR]),
        (["cezar salad"], [CAESAR]),
        (["How much is the Caesar?", "ok I'll take one Caesar"], [CAESAR]),
        (["a caesar", "hello?", "are you a robot?", "what time do you close?"], [CAESAR]),
        (["pepperoni", "calzone"], [(1, "", "pepperoni calzone", (), "")]),
        (["pepperoni", "the pizza", "small"], [(1, "small", PEPPERONI, (), "")]),
        (["large pepperoni"], [(1, "large", PEPPERONI, (), "")]),
        (["veggie calzone"], [(1, "", "veggie stromboli", (), "")]),
        (["half a dozen poppers"], [(6, "", "jalapeno poppers", (), "")]),
        (["two onion rings", "make it three"], [(3, "", "onion rings", (), "")]),
        (["two onion rings", "and another one of onion rings"], [(3, "", "onion rings", (), "")]),
        (
            ["medium works without onions"],
            [(1, "medium", "Works pizza", (), "no onions")],
        ),
        (
            ["a medium works", "no onions please"],
            [(1, "medium", "Works pizza", (), "no onion")],
        ),
        (
            ["a large mushroom and olive pizza"],
            [(1, "large", "cheese pizza", ("mushroom", "black olives"), "")],
        ),
        (
            ["mushrooms", "yes", "small"],
            [(1, "small", "cheese pizza", ("mushroom",), "")],
        ),
        (
            ["a large hawaiian", "add mushrooms and extra cheese"],
            [(1, "large", "Hawaiian pizza", ("mushroom", "extra cheese"), "")],
        ),
        (
            ["a large hawaiian and a small cheese pizza", "put basil on the hawaiian"],
            [
                (1, "large", "Hawaiian pizza", ("fresh basil",), ""),
                (1, "small", "cheese pizza", (), ""),
            ],
        ),
        (
            ["a large and a small pepperoni", "make the small one medium"],
            [(1, "large", PEPPERONI, (), ""), (1, "medium", PEPPERONI, (), "")],
        ),
        (
            ["two pizzas, one large Hawaiian and one small cheese"],
            [HAWAIIAN, (1, "small", "cheese pizza", (), "")],
        ),
        (
            ["a pepperoni pizza and a hawaiian, both large"],
            [(1, "large", PEPPERONI, (), ""), HAWAIIAN],
        ),
        (
            ["a pepperoni pizza and a hawaiian", "both large"],
            [(1, "large", PEPPERONI, (), ""), HAWAIIAN],
        ),
        (
            ["large pizza with extra cheese and olives, small hawaiian"],
            [
                (1, "large", "cheese pizza", ("extra cheese", "black olives"), ""),
                (1, "small", "Hawaiian pizza", (), ""),
            ],
        ),
        (["a pizza", "never mind, a caesar"], [CAESAR]),
        (["a hawaiian", "never mind"], []),
        (["sushi"], []),
        (["a large hawaiian", "another one", "just one"], [HAWAIIAN]),
        (["a small hawaiian", "another large one", "remove the small one"], [HAWAIIAN]),
        (["can I have the ham and pineapple one", "large with bacon", "without"], [HAWAIIAN]),
        (["what kind of calzones do you have?", "the third one"], [STROMBOLI]),
        (["what salads are there", "the first, please"], [CAESAR]),
        (["a caesar", "two of them", "actually one"], [CAESAR]),
        (
            ["a caesar", "dressing on the side"],
            [(1, "", "Caesar salad", (), "dressing on the side")],
        ),
        (["large hawaiian, well done"], [(1, "large", "Hawaiian pizza", (), "well done")]),
        (
            ["3 large pepperoni pizzas, 2 with mushrooms and 1 with olives"],
            [
                (2, "large", PEPPERONI, ("mushroom",), ""),
                (1, "large", PEPPERONI, ("black olives",), ""),
            ],
        ),
        (["wings", "ok pickup then"], []),
        (["a large pizza half pepperoni half mushroom"], []),
        (["my pizza never came", "no"], []),
        (["and some fries", "is that the one on Spear Street?"], []),
        (["fifty large hawaiians"], []),
        (["What's on the menu?", "which pizzas do you have?"], []),
        (["That works for me", "mumble jumble", "large", "no"], []),
    ],
)
async def test_orders_in_callers_own_words(
    talk: ShopTalk, said: list[str], rows: list[Row]
) -> None:
    for line in said:
        assert await talk.say(line)
    assert sorted(await talk.lines()) == sorted(rows)


@pytest.mark.parametrize(
    ("said", "way"),
    [
        (["delivery", "12 Main Street"], ("delivery", "12 Main Street")),
        (["for delivery to 12 Main Street"], ("delivery", "12 Main Street")),
        (["please deliver it to 99 Grove Street"], ("delivery", "99 Grove Street")),
        (["12 Main Street, Apartment 4"], ("delivery", "12 Main Street, Apartment 4")),
        (["delivery", "twelve main street"], ("delivery", "twelve main street")),
        (["delivery", "it's 1500 Mission, please"], ("delivery", "1500 Mission")),
        (["delivery", "home", "12 Main Street"], ("delivery", "12 Main Street")),
        (["delivery", "what?", "hold on", "5 Oak Ave"], ("delivery", "5 Oak Ave")),
        (["delivery", "5 Oak Ave", "wrong, it's 7 Oak Avenue"], ("delivery", "7 Oak Avenue")),
        (["delivery", "5 Oak Ave", "actually pickup"], ("pickup", "")),
        (["not delivery, pickup"], ("pickup", "")),
        (["I'll pick it up"], ("pickup", "")),
        (["to go"], ("pickup", "")),
        (["pickup", "no, delivery to 5 Oak Ave"], ("delivery", "5 Oak Ave")),
        (["pickup or delivery?", "do you deliver?"], ("", "")),
    ],
)
async def test_where_to_in_callers_own_words(
    talk: ShopTalk, said: list[str], way: tuple[str, str]
) -> None:
    await talk.say_all(["a cobb salad", "that's all", *said])
    draft = await talk.draft()
    assert draft["type"] == way[0]
    if way[0] == "delivery":
        assert draft["address"] == way[1]
    assert len(draft["lines"]) == 1


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("When are you open?", "Tuesday to Thursday from 11 AM to 9 PM"),
        ("Are you open on Sundays?", "closed on Sunday and Monday"),
        ("Where are you?", "101 Spear Street"),
        ("What's on the menu?", "calzones"),
        ("What pizzas do you have?", "Hawaiian pizza from 12 dollars 95"),
        ("Which toppings are there?", "sausage for 2 dollars 99"),
        ("How much is a Hawaiian?", "19 dollars 95 large"),
        ("What's on the works?", "meatball"),
        ("Do you have tiramisu?", "We don't have tiramisu"),
        ("Do you deliver?", "Yes. We deliver"),
        ("How long does it take?", "pickup in about 15 minutes"),
        ("What did I order last time?", "no earlier orders"),
        ("Is it gluten free?", "can't promise"),
        ("Can I pay with bitcoin?", "don't know that"),
        ("What can you do?", "pickup or delivery"),
        ("Are you a real person?", HONEST),
        ("What's my total?", "nothing in the order"),
        ("Thanks", "You're welcome"),
    ],
)
async def test_questions(talk: ShopTalk, said: str, part: str) -> None:
    assert part in await talk.say(said)
    assert await talk.lines() == []


async def test_questions_in_between_do_not_lose_the_thread(talk: ShopTalk) -> None:
    await talk.say("a hawaiian pizza")
    assert (await talk.say("how much is the medium?")).endswith("small, medium or large?")
    assert "15 dollars 95. Anything else?" in await talk.say("ok, medium")
    await talk.say_all(["nothing else", "pickup"])
    assert (await talk.say("when do you close?")).endswith("Shall I place the order?")
    assert "The order is placed" in await talk.say("yes")


async def test_a_change_after_reading_is_read_again(talk: ShopTalk) -> None:
    await talk.say_all(["a large hawaiian", "that's all", "pickup"])
    read = await talk.say("no wait, make it two")
    assert read.endswith("The total is 39 dollars 90. Shall I place the order?")
    assert await talk.say("no") == "What should I change?"
    assert "49 dollars 85" in await talk.say("add a caesar")
    await talk.say("yes")
    assert [order["total"] for order in await talk.orders()] == ["49.85"]


async def test_keys(talk: ShopTalk) -> None:
    assert "11 AM to 9 PM" in await talk.press("1")
    assert await talk.press("2") == "We're at 101 Spear Street, San Francisco, California."
    assert "nothing in the order" in await talk.press("3")
    await talk.say("a cobb salad")
    assert "One Cobb salad. The total is 12 dollars 95." in await talk.press("3")
    assert "Press 1" in await talk.press("7")
    await talk.press("0")
    await talk.pass_time(30)
    handoff = next(frame for frame in talk.sent if isinstance(frame, frames.End)).handoff_data
    assert json.loads(handoff or "")["reasonCode"] == "live-agent-handoff"
    assert "one Cobb salad" in (handoff or "")


async def test_ok_after_hold_on_is_no_yes(talk: ShopTalk) -> None:
    await talk.say_all(["a cobb salad", "that's all", "pickup", "hold on"])
    assert await talk.say("ok") == "Shall I place the order?"
    assert await talk.orders() == []
    await talk.say("ok")
    assert len(await talk.orders()) == 1


async def test_a_complaint_goes_to_a_person(talk: ShopTalk) -> None:
    assert "person?" in await talk.say("I ordered an hour ago and it's not here")
    await talk.say("yes")
    await talk.pass_time(30)
    assert talk.ended
    assert await talk.lines() == []


async def test_asking_twice_for_the_message_sends_one(talk: ShopTalk) -> None:
    await talk.say_all(["a cobb salad", "that's all", "pickup", "yes", "yes", "text me"])
    assert len(await talk.outbox()) == 1
    await talk.say("can you text it to me again?")
    assert len(await talk.outbox()) == 2


async def test_leaving_without_an_order(talk: ShopTalk) -> None:
    await talk.say("a cobb salad")
    assert "not placed" in await talk.say("Sorry, I have to go. Goodbye.")
    await talk.pass_time(30)
    assert talk.ended
    assert await talk.orders() == []


async def test_an_address_is_no_wish_for_another_agent(agent: Agent) -> None:
    others = [other for other in load_agents(None, FOLDER.parent) if other.name != agent.name]
    talk = await ShopTalk.begin(agent, others=others)
    await talk.say_all(["a cobb salad", "that's all", "12 Main Street, apartment 4"])
    assert (await talk.draft())["address"] == "12 Main Street, apartment 4"
    await talk.say("I want to look at apartments")
    await talk.pass_time(30)
    assert talk.ended


# Interruptions


async def test_an_interrupted_confirmation_is_still_understood(talk: ShopTalk) -> None:
    await talk.say_all(["a large hawaiian", "that's all", "pickup"])
    await talk.interrupt("One large Hawaiian pizza. For pickup. The total is")
    await talk.say("make it a small one")
    assert "12 dollars 95" in await talk.say("what's the total?")
    assert await talk.orders() == []
    await talk.say("yes, place it")
    (order,) = await talk.orders()
    assert order["total"] == "12.95"


async def test_a_cut_question_is_not_answered_by_a_yes_to_something_else(talk: ShopTalk) -> None:
    await talk.say_all(["a large hawaiian", "that's all", "pickup"])
    await talk.interrupt("One large")
    await talk.say("yes")
    assert await talk.orders() == []
    await talk.say("yes")
    assert len(await talk.orders()) <= 1


async def test_cutting_the_good_news_orders_only_once(talk: ShopTalk) -> None:
    await talk.say_all(["a large hawaiian", "that's all", "pickup", "yes"])
    await talk.interrupt("The order")
    for said in ("did you place it?", "place the order", "yes place the order", "yes"):
        await talk.say(said)
        await talk.interrupt("It is")
    assert len(await talk.orders()) == 1


async def test_it_goes_on_after_a_cough(talk: ShopTalk) -> None:
    await talk.say("a large hawaiian and a caesar salad")
    await talk.interrupt("Added one large Hawaiian pizza, 19 dollars 95.")
    assert await talk.pass_time(18) == "Added one Caesar salad, 9 dollars 95. Anything else?"


async def test_hanging_up_in_the_middle_leaves_no_order(talk: ShopTalk) -> None:
    await talk.say(ALL_AT_ONCE)
    await talk.say("that's it")
    await talk.do(events.Closed())
    assert await talk.orders() == []
    assert await talk.outbox() == []


async def test_silence_does_not_confuse_it(talk: ShopTalk) -> None:
    await talk.say("a hawaiian")
    await talk.pass_time(20)
    await talk.say("large")
    assert await talk.lines() == [HAWAIIAN]


# Time, and several orders


async def test_whoever_calls_on_a_sunday_is_told_and_orders_ahead(agent: Agent) -> None:
    talk = await ShopTalk.begin(agent, at=SUNDAY_NOON)
    reply = await talk.say("a large hawaiian")
    assert "closed right now" in reply
    assert "on Tuesday at 11 AM" in reply
    assert "closed" not in await talk.say("and a caesar")
    await talk.say_all(["that's all", "pickup"])
    assert "on Tuesday at about 11:20 AM" in await talk.say("yes")
    await talk.say("yes")
    assert "on Tuesday, November 24" in (await talk.outbox())[0].body


async def test_the_next_call_knows_the_last_order(agent: Agent) -> None:
    store = memory()
    first = await ShopTalk.begin(agent, store=store)
    await first.say_all(["a large hawaiian", "that's all", "pickup", "yes"])
    second = await ShopTalk.begin(agent, store=store, call_id="CA2")
    assert "one large Hawaiian pizza" in await second.say("what did I order last time?")
    assert await second.lines() == []


async def test_every_line_is_for_the_ear(talk: ShopTalk) -> None:
    lines = [
        *("hi", "what do you have", "large pepperoni and a ham calzone", "add anchovies"),
        *("what's my order", "when are you open", "that's all", "delivery", "12 Main St"),
        *("yes", "text me", "what did I order before", "mumble", "are you a person", "bye"),
    ]
    for line in lines:
        reply = await talk.say(line)
        assert reply
        assert not set(reply) & set("*#_[]{}<>\n$@|")
        assert "None" not in reply
        assert "Error" not in reply


# A language model in place of the script


class Dictated:
    """A model that says and calls what a test dictates."""

    name = "dictated"

    def __init__(self, *rounds: list[tuple[str, dict[str, Any]]]) -> None:
        self._rounds = list(rounds)
        self._calls = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:  # noqa: ARG002 - the protocol
        """Give the next round's tool calls, or words when there are none."""
        calls = self._rounds.pop(0) if self._rounds else []
        for name, given in calls:
            self._calls += 1
            yield ToolCall(f"c{self._calls}", name, json.dumps(given))
        if not calls:
            yield TextDelta("All right.")
        yield Finish("tool_calls" if calls else "stop")

    async def warm(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


async def test_a_model_that_rushes_ahead_is_held_back(agent: Agent) -> None:
    rushing: list[tuple[str, dict[str, Any]]] = [
        ("add_item", {"item": "Hawaiian pizza", "size": "large", "note": None}),
        ("add_item", {"item": "Caesar salad", "size": None, "toppings": None}),
        ("set_order_type", {"type": "pickup", "address": ""}),
        ("read_order", {}),
        ("place_order", {}),
    ]
    model = Dictated(rushing, [], [("place_order", {}), ("place_order", {})], [], rushing[-1:])
    talk = await ShopTalk.begin(agent, model=model)
    await talk.say("a large Hawaiian and a Caesar, pick up")
    assert len(await talk.lines()) == 2
    assert await talk.orders() == []
    await talk.say("yes")
    await talk.say("did it work?")
    (order,) = await talk.orders()
    assert order["total"] == "29.90"
