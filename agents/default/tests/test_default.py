"""The receptionist, through the real call, model, tools and store: what is kept counts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.support.talk import NUMBER, Conversation

from voxyray import frames, notes, reception
from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ToolError
from voxyray.loading import load_folder
from voxyray.models import Message, ModelRequest, TextDelta, ToolCall
from voxyray.models.offline import OfflineModel, load_script
from voxyray.models.offline.smalltalk import HONEST
from voxyray.stores import Item, Put, Update, keys
from voxyray.stores.memory import MemoryStore

RECEPTION = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def receptionist() -> Agent:
    return load_folder(RECEPTION)


@pytest.fixture
def others() -> list[Agent]:
    """Stand-ins for the other use cases: only their listings matter here."""
    return [
        Agent(
            name="apartment_search",
            title="Apartment search",
            description="A leasing office in Missoula. Ask about apartments, rents and rules.",
            instructions="Let apartments.",
        ),
        Agent(
            name="restaurant_order",
            title="Pizza shop",
            description="A pizza shop in San Francisco. Ask about opening hours and the menu.",
            instructions="Sell pizza.",
        ),
    ]


@pytest.fixture
async def talk(receptionist: Agent, others: list[Agent]) -> Conversation:
    return await Conversation.open(receptionist, others)


async def store_with(**profile: object) -> MemoryStore:
    store = MemoryStore()
    await store.write(Put({"pk": keys.caller(NUMBER), "sk": keys.PROFILE, **profile}))
    return store


def handed_over(talk: Conversation) -> dict[str, str]:
    """Give the hand-over data that the call ended with."""
    (end,) = [frame for frame in talk.sent if isinstance(frame, frames.End)]
    assert end.handoff_data is not None
    data: dict[str, str] = msgspec.json.decode(end.handoff_data)
    return data


# A whole call


async def test_a_newcomer_is_named_and_chooses(talk: Conversation) -> None:
    assert "your first and last name" in talk.call.greeting
    assert await talk.say("It's Ada.") == "And your last name, Ada?"
    reply = await talk.say("Lovelace")
    assert "Ada Lovelace" in reply
    assert "Pizza shop" in reply
    assert "Apartment search" in reply
    assert "put you through to the Pizza shop" in await talk.say("the pizza place, please")
    assert not talk.ended  # not before they have heard it
    await talk.pass_time(20)
    assert handed_over(talk) == {"reasonCode": "agent-transfer", "agent": "restaurant_order"}
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


# Being put through


async def test_who_wants_no_introduction_is_put_through_at_once(talk: Conversation) -> None:
    await talk.say("I want the pizza shop")
    await talk.pass_time(20)
    assert handed_over(talk)["agent"] == "restaurant_order"
    assert await talk.profile() == {"agent": "restaurant_order"}


async def test_who_speaks_before_stays_and_is_asked(talk: Conversation) -> None:
    await talk.say("Ada Lovelace")
    await talk.say("pizza")
    assert "Shall I put you through to the Pizza shop?" in await talk.say("What's my name?")
    await talk.pass_time(8)
    assert not talk.ended
    await talk.say("Yes, please.")
    await talk.pass_time(20)
    assert handed_over(talk)["agent"] == "restaurant_order"


async def test_who_does_not_want_it_after_all_stays(talk: Conversation) -> None:
    await talk.say("Ada Lovelace")
    await talk.say("pizza")
    await talk.interrupt("One moment, I'll")
    await talk.say("Wait a second.")
    assert "you stay with me" in await talk.say("No, thanks.")
    await talk.pass_time(5)
    assert not talk.ended
    await talk.say("the apartments")
    await talk.pass_time(20)
    assert handed_over(talk)["agent"] == "apartment_search"
    assert (await talk.profile())["agent"] == "apartment_search"


async def test_another_choice_in_the_last_moment_counts(talk: Conversation) -> None:
    await talk.say("Ada Lovelace")
    await talk.say("pizza")
    await talk.interrupt("One moment")
    await talk.say("No, the apartments!")
    await talk.pass_time(20)
    assert handed_over(talk)["agent"] == "apartment_search"
    assert (await talk.profile())["agent"] == "apartment_search"


async def test_a_cough_does_not_call_it_off(talk: Conversation) -> None:
    await talk.say("Ada Lovelace")
    await talk.say("pizza")
    await talk.interrupt("One moment")
    await talk.pass_time(30)
    assert handed_over(talk)["agent"] == "restaurant_order"


@pytest.mark.parametrize(
    "said",
    ["Can I talk to a human?", "Put me through to somebody real", "operator", "A person, please."],
)
async def test_a_person_takes_the_call(talk: Conversation, said: str) -> None:
    assert "colleague" in await talk.say(said)
    await talk.pass_time(20)
    handoff = handed_over(talk)
    assert handoff["reasonCode"] == "live-agent-handoff"
    assert handoff["summary"]
    assert await talk.profile() == {}


async def test_an_agent_that_is_not_there_is_told(talk: Conversation) -> None:
    talk.others = talk.others[:1]  # closed since the instructions were written
    await talk.say("Ada Lovelace")
    assert "couldn't save" in await talk.say("pizza")
    await talk.pass_time(5)
    assert not talk.ended
    assert "agent" not in await talk.profile()
    context = CallContext("CA1", "default", 1, MemoryStore(), agents=talk.others)
    with pytest.raises(ToolError, match="there are: apartment_search"):
        await _use(talk.call.agent, "transfer_to_agent", Caller(), context, '{"name": "moon"}')


@pytest.mark.parametrize(
    "note",
    [reception._TAKEN_OVER.format("Pizza shop"), reception._CAME_BACK],  # noqa: SLF001
)
async def test_who_comes_back_begins_afresh(
    receptionist: Agent, others: list[Agent], note: str
) -> None:
    """The words of before are no wish of now: nobody is sent in circles."""
    assert receptionist.offline is not None
    model = OfflineModel(load_script(receptionist.offline), first_token_s=0, words_per_s=0)
    listings = [agent.listing for agent in others]
    caller = Caller(NUMBER, first_name="Ada", last_name="Lovelace", agent="restaurant_order")
    texts = receptionist.render(caller, _context([]).now(), listings)
    messages = (
        Message("system", texts.instructions),
        Message("assistant", "Hello and welcome."),
        Message("user", "I want the pizza shop. Or a human."),
        Message("assistant", "One moment, I'll put you through to the Pizza shop."),
        Message("user", note),
        Message("assistant", texts.greeting),
        Message("user", "the weather is nice"),
    )
    specs = tuple(tool.spec for tool in receptionist.tools)
    deltas = [delta async for delta in model.stream(ModelRequest(messages, specs))]
    assert not any(isinstance(delta, ToolCall) for delta in deltas)


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
    assert "Which would you like" in await talk.say("Connect me now")


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
        told = await _use(receptionist, "choose_use_case", caller, _context(others), text)
        assert f"transfer_to_agent, name {chosen}." in told
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


async def test_it_talks_and_says_goodbye(talk: Conversation) -> None:
    lines = ("What can you do?", "Are you a person?", "mumble jumble", notes.SILENCE_NOTE, "Bye!")
    texts = [talk.call.greeting, *[await talk.say(said) for said in lines]]
    await talk.pass_time(20)
    assert talk.ended
    for text in texts:
        assert text
        assert not set(text) & set("*#_[]{}<>\n")


def test_the_folder_loads_by_itself() -> None:
    agent = load_folder(RECEPTION)
    assert agent.name == "default"
    assert {tool.name: tool.effect for tool in agent.tools} == {
        "save_name": "write",
        "choose_use_case": "write",
        "transfer_to_agent": "end",
        "transfer_to_person": "end",
        "hang_up": "end",
    }
