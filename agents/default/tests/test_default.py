"""The receptionist, through the real call, model, tools and store: what is kept counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.talk import NUMBER, Conversation

from voxyray import notes
from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ToolError
from voxyray.loading import load_agents, load_folder
from voxyray.models import Message, ModelRequest, TextDelta, ToolCall
from voxyray.models.offline import OfflineModel, load_script
from voxyray.models.offline.smalltalk import HONEST
from voxyray.stores import Item, Put, Update, keys
from voxyray.stores.memory import MemoryStore

AGENTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def agents() -> dict[str, Agent]:
    return {agent.name: agent for agent in load_agents(None, AGENTS)}


@pytest.fixture
def receptionist(agents: dict[str, Agent]) -> Agent:
    return agents["default"]


@pytest.fixture
def others(agents: dict[str, Agent]) -> list[Agent]:
    return [agent for name, agent in agents.items() if name != "default"]


@pytest.fixture
async def talk(receptionist: Agent, others: list[Agent]) -> Conversation:
    return await Conversation.open(receptionist, others)


async def store_with(**profile: object) -> MemoryStore:
    store = MemoryStore()
    await store.write(Put({"pk": keys.caller(NUMBER), "sk": keys.PROFILE, **profile}))
    return store


# A whole call


async def test_a_newcomer_is_named_and_chooses(talk: Conversation) -> None:
    assert "your first and last name" in talk.call.greeting
    assert await talk.say("It's Ada.") == "And your last name, Ada?"
    reply = await talk.say("Lovelace")
    assert "Ada Lovelace" in reply
    assert "Pizza shop" in reply
    assert "Apartment search" in reply
    assert "next" in await talk.say("the pizza place, please")
    await talk.say("No, thank you.")
    await talk.pass_time(20)
    assert talk.ended
    assert await talk.profile() == {
        "first_name": "Ada",
        "last_name": "Lovelace",
        "agent": "restaurant_order",
    }


async def test_a_known_caller_is_greeted_and_not_asked(
    receptionist: Agent, others: list[Agent]
) -> None:
    store = await store_with(first_name="Ada", last_name="Lovelace", agent="restaurant_order")
    talk = await Conversation.open(receptionist, others, store=store)
    assert talk.call.greeting.startswith("Hello Ada,")
    for said in ("What's my name?", "what did I choose?", "hello", "what can you do?"):
        assert "ast name?" not in await talk.say(said)
    assert "Ada Lovelace" in await talk.say("What's my name?")
    assert "Pizza shop" in await talk.say("What did I choose?")
    assert talk.used == []


async def test_a_caller_known_by_first_name_only_is_not_pressed(
    receptionist: Agent, others: list[Agent]
) -> None:
    talk = await Conversation.open(receptionist, others, store=await store_with(first_name="Ada"))
    assert "Which would you like" in await talk.say("Hi there")
    await talk.say("my last name is Byron")
    assert await talk.profile() == {"first_name": "Ada", "last_name": "Byron"}


@pytest.mark.parametrize(
    ("lines", "first", "last"),
    [
        (["Ada Lovelace"], "Ada", "Lovelace"),
        (["my first name is Ada and my last name Lovelace"], "Ada", "Lovelace"),
        (["Hello, this is ada lovelace."], "Ada", "Lovelace"),
        (["Ada", "no, sorry, Eda", "Lovelace"], "Eda", "Lovelace"),
        (["Ada", "Ada Lovelace"], "Ada", "Lovelace"),
        (["Ada Lovelace", "no, Grace Hopper"], "Grace", "Hopper"),
        (["Eda Lovelace", "no, Ada"], "Ada", "Lovelace"),
        (["Ada Loveless", "no, Lovelace"], "Ada", "Lovelace"),
        (["Ada Lovelace", "That's wrong, my last name is Byron."], "Ada", "Byron"),
        (["Ada Lovelace", "You got my name wrong", "Grace", "Hopper"], "Grace", "Hopper"),
        (["Ada Lovelace", "It's Eda, not Ada."], "Eda", "Lovelace"),
        (["What?", "Ada Lovelace"], "Ada", "Lovelace"),
        (["what can you do?", "Ada Lovelace"], "Ada", "Lovelace"),
        (["Are you a robot?", "Ada Lovelace"], "Ada", "Lovelace"),
        (["Wait a second", "Ada Lovelace"], "Ada", "Lovelace"),
        (["I want the pizza shop", "Ada Lovelace"], "Ada", "Lovelace"),
    ],
)
async def test_names_in_callers_own_words(
    talk: Conversation, lines: list[str], first: str, last: str
) -> None:
    for line in lines:
        assert await talk.say(line)
    profile = await talk.profile()
    assert (profile["first_name"], profile["last_name"]) == (first, last)


@pytest.mark.parametrize(
    ("lines", "agent"),
    [
        (["pizza"], "restaurant_order"),
        (["I'd like the apartments"], "apartment_search"),
        (["pizza", "actually, the apartments"], "apartment_search"),
        (["pizza", "I changed my mind", "the first one"], "apartment_search"),
        (["the second one"], "restaurant_order"),
        (["the one with the rents"], "apartment_search"),
        (["tell me about the pizza shop", "yes please"], "restaurant_order"),
        (["tell me about the pizza shop", "no, the other", "the apartments"], "apartment_search"),
        (["tell me about the pizza shop", "no, the apartments", "yes"], "apartment_search"),
        (["tell me about the pizza shop", "no"], ""),
        (["both"], ""),
        (["neither"], ""),
        (["the weather in Paris"], ""),
    ],
)
async def test_choices_in_callers_own_words(
    talk: Conversation, lines: list[str], agent: str
) -> None:
    await talk.say("Ada Lovelace")
    for line in lines:
        assert await talk.say(line)
    assert (await talk.profile()).get("agent", "") == agent


async def test_name_and_choice_in_one_breath(talk: Conversation) -> None:
    await talk.say("My name is Ada Lovelace and I want the apartment search.")
    profile = await talk.profile()
    assert profile == {"first_name": "Ada", "last_name": "Lovelace", "agent": "apartment_search"}


async def test_nobody_must_give_a_name(talk: Conversation) -> None:
    reply = await talk.say("I'd rather not say.")
    assert "without a name" in reply
    assert "Which would you like" in reply
    assert await talk.profile() == {}


async def test_one_name_is_enough(talk: Conversation) -> None:
    await talk.say("Ada")
    await talk.say("I don't want to say")
    assert await talk.profile() == {"first_name": "Ada"}


async def test_a_withheld_number_can_talk_too(receptionist: Agent, others: list[Agent]) -> None:
    talk = await Conversation.open(receptionist, others, number="anonymous")
    assert "Ada Lovelace" in await talk.say("Ada Lovelace")
    assert talk.caller.name == "Ada Lovelace"


async def test_says_what_it_can_do_and_what_it_is(talk: Conversation) -> None:
    reply = await talk.say("What can you do?")
    assert "note your name" in reply
    assert "San Francisco" in reply
    assert (await talk.say("Are you a real person?")).startswith(HONEST)
    assert "can't put you through" in await talk.say("Can I talk to a human?")
    assert "can't put you through" in await talk.say("Connect me now")


async def test_what_an_interruption_cut_is_not_taken_for_said(talk: Conversation) -> None:
    await talk.say("Ada Lovelace")
    await talk.interrupt("Got it, Ada Lovelace")
    await talk.say("No, Grace Hopper.")
    assert (await talk.profile())["first_name"] == "Grace"
    assert len(talk.used) == 2


async def test_it_goes_on_after_a_cough(talk: Conversation) -> None:
    whole = await talk.say("Ada Lovelace")
    heard, rest = whole.split(". Which")
    await talk.interrupt(heard)
    assert await talk.pass_time(12) == "Which" + rest


async def test_silence_does_not_confuse_it(talk: Conversation) -> None:
    assert "still there" in await talk.pass_time(20)
    await talk.say("Ada Lovelace")
    assert (await talk.profile())["last_name"] == "Lovelace"


async def test_mumbling_ends_in_something_sensible(talk: Conversation) -> None:
    replies = [await talk.say("glorb and the frobs of it") for _ in range(4)]
    assert len(set(replies[:2])) == 2
    assert "without a name" in replies[2]
    assert await talk.profile() == {}


async def test_keys_choose(talk: Conversation) -> None:
    await talk.say("Ada Lovelace")
    await talk.press("2")
    assert (await talk.profile())["agent"] == "restaurant_order"


async def test_a_store_that_fails_is_told_and_not_promised(
    receptionist: Agent, others: list[Agent]
) -> None:
    class Broken(MemoryStore):
        async def update(self, update: Update) -> Item:
            raise ToolError(f"{update.sk} cannot be saved right now")

    talk = await Conversation.open(receptionist, others, store=Broken())
    reply = await talk.say("Ada Lovelace")
    assert "couldn't save" in reply
    assert "noted" not in reply
    assert "Which would you like" in await talk.say("Ada Lovelace")


# The tools


def _context(agents: list[Agent]) -> CallContext:
    listings = [agent.listing for agent in agents]
    return CallContext("CA1", "default", 1, MemoryStore(), agents=listings)


async def _use(agent: Agent, name: str, caller: Caller, context: CallContext, text: str) -> str:
    tool = next(tool for tool in agent.tools if tool.name == name)
    return str(await tool.run(tool.parse(text), caller, context))


@pytest.mark.parametrize(
    "name", ["unknown", "undefined", "None", "N/A", "first_name", "Caller", "", " ", "42", "a@b.c"]
)
async def test_what_is_no_name_is_not_saved(receptionist: Agent, name: str) -> None:
    caller = Caller()
    with pytest.raises(ToolError, match="ask"):
        await _use(receptionist, "save_name", caller, _context([]), f'{{"first_name": "{name}"}}')
    assert not caller.known


@pytest.mark.parametrize(
    "name", ["O'Connor", "Jean-Luc", "José", "van der Berg", "Nan", "Xi", "李"]
)
async def test_unusual_names_are_names(receptionist: Agent, name: str) -> None:
    caller = Caller()
    text = f'{{"first_name": "Ada", "last_name": "{name}"}}'
    await _use(receptionist, "save_name", caller, _context([]), text)
    assert caller.last_name == name


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("restaurant_order", "restaurant_order"),
        ("Pizza shop", "restaurant_order"),
        ("the pizza place", "restaurant_order"),
        ("Apartment Search", "apartment_search"),
        ("apartments", "apartment_search"),
        ("default", None),
        ("s", None),
        ("bank", None),
        ("", None),
        ("'; DROP TABLE", None),
    ],
)
async def test_only_existing_use_cases_can_be_chosen(
    receptionist: Agent, others: list[Agent], name: str, chosen: str | None
) -> None:
    caller = Caller()
    text = f'{{"name": "{name}"}}'
    if chosen:
        assert "next call" in await _use(
            receptionist, "choose_use_case", caller, _context(others), text
        )
    else:
        with pytest.raises(ToolError, match=r"restaurant_order \(Pizza shop\)"):
            await _use(receptionist, "choose_use_case", caller, _context(others), text)
    assert caller.agent == (chosen or "")


async def test_without_other_agents_there_is_nothing_to_choose(receptionist: Agent) -> None:
    with pytest.raises(ToolError, match="no use case"):
        await _use(receptionist, "choose_use_case", Caller(), _context([]), '{"name": "pizza"}')
    talk = await Conversation.open(receptionist, [])
    assert "nothing to choose" in await talk.say("Ada Lovelace")
    assert await talk.say("what can you do?")


# What the application that this one follows got wrong; the numbers are of its list


async def test_34_nobody_is_called_undefined(receptionist: Agent, others: list[Agent]) -> None:
    for profile in ({"email": "ada@example.com"}, {"first_name": None, "last_name": 3}, {}):
        talk = await Conversation.open(receptionist, others, store=await store_with(**profile))
        reply = await talk.say("what's my name?")
        for text in (talk.call.greeting, talk.call.history.instructions, reply):
            assert "undefined" not in text
            assert "None" not in text
        assert "your first and last name" in talk.call.greeting


async def test_39_saving_a_name_keeps_the_rest_of_the_profile(
    receptionist: Agent, others: list[Agent]
) -> None:
    before = {"email": "ada@example.com", "notes": {"floor": "third"}, "agent": "restaurant_order"}
    talk = await Conversation.open(receptionist, others, store=await store_with(**before))
    await talk.say("Ada Lovelace")
    after = {"first_name": "Ada", "last_name": "Lovelace", **before}
    assert await talk.profile() == after
    await talk.say("I want the apartments")
    assert await talk.profile() == {**after, "agent": "apartment_search"}


async def test_32_a_use_case_that_is_gone_does_not_silence_the_call(
    receptionist: Agent, others: list[Agent]
) -> None:
    store = await store_with(first_name="Ada", agent="closed_long_ago")
    talk = await Conversation.open(receptionist, others, store=store)
    assert talk.call.greeting.startswith("Hello Ada")
    assert "not chosen anything" in await talk.say("What did I choose?")
    await talk.say("pizza")
    assert (await talk.profile())["agent"] == "restaurant_order"


async def test_35_the_model_knows_the_greeting(talk: Conversation) -> None:
    await talk.say("hello")
    assert Message("assistant", talk.call.greeting) in talk.asked[0].messages


# Fixed points between prompt, tools and script


async def test_the_script_reads_its_facts_off_the_prompt(
    receptionist: Agent, others: list[Agent]
) -> None:
    listings = [agent.listing for agent in others]
    caller = Caller(NUMBER, first_name="Ada", last_name="Lovelace", agent="apartment_search")
    now = _context([]).now()
    instructions = receptionist.render(caller, now, listings).instructions
    assert receptionist.offline is not None
    model = OfflineModel(load_script(receptionist.offline), first_token_s=0, words_per_s=0)

    async def reply(text: str) -> str:
        request = ModelRequest((Message("system", instructions), Message("user", text)))
        deltas = [delta async for delta in model.stream(request)]
        assert not any(isinstance(delta, ToolCall) for delta in deltas)
        return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))

    assert "Ada Lovelace" in await reply("what is my name")
    assert "Apartment search" in await reply("what did I choose")
    help_ = await reply("what can you do")
    assert all(each.description in help_ for each in listings)


@pytest.mark.parametrize("name", ["default", "apartment_search", "restaurant_order"])
async def test_every_use_case_talks_and_says_goodbye(agents: dict[str, Agent], name: str) -> None:
    others = [agent for other, agent in agents.items() if other != name]
    talk = await Conversation.open(agents[name], others)
    lines = ("What can you do?", "Are you a person?", "mumble jumble", notes.SILENCE_NOTE, "Bye!")
    texts = [talk.call.greeting, *[await talk.say(said) for said in lines]]
    await talk.pass_time(20)
    assert talk.ended
    for text in texts:
        assert text
        assert not set(text) & set("*#_[]{}<>\n")


@pytest.mark.parametrize(
    ("name", "said", "part"),
    [
        ("restaurant_order", "When are you open?", "eleven to nine"),
        ("restaurant_order", "Where are you located?", "Spear Street"),
        ("restaurant_order", "What's on the menu?", "calzones"),
        ("restaurant_order", "How much is a Hawaiian?", "twelve ninety-five"),
        ("restaurant_order", "I'd like a large cheese pizza", "can't take orders"),
        ("restaurant_order", "Do you deliver?", "can't take orders"),
        ("apartment_search", "What apartments do you have?", "studio"),
        ("apartment_search", "Tell me about the two bedroom", "eighteen hundred"),
        ("apartment_search", "Can I bring my dog?", "No pets in the studio"),
        ("apartment_search", "I'd like to book a tour", "can't"),
        ("apartment_search", "Which utilities are included?", "Water"),
    ],
)
async def test_the_other_use_cases_know_their_facts(
    agents: dict[str, Agent], name: str, said: str, part: str
) -> None:
    talk = await Conversation.open(agents[name])
    assert part in await talk.say(said)


def test_the_folder_loads_by_itself() -> None:
    agent = load_folder(AGENTS / "default")
    effects = {tool.name: tool.effect for tool in agent.tools}
    assert effects == {"save_name": "write", "choose_use_case": "write", "hang_up": "end"}
