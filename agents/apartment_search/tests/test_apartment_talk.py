"""Whole conversations with the offline model: what the store holds at the end counts."""

from __future__ import annotations

import msgspec
import pytest
from agents.apartment_search import tours
from agents.apartment_search.hearing import Heard, hear
from agents.apartment_search.tests.office import NOW, Talk, agent, memory, taken, use
from tests.support.talk import NUMBER

from voxyray import events, frames, notes
from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.models.offline.smalltalk import HONEST
from voxyray.stores import keys

ADA = keys.caller(NUMBER)
TOMORROW = "2026-11-24T15:00#two-bedroom#in-person"
WEDNESDAY = "2026-11-25T15:00#two-bedroom#in-person"
FRIDAY = "2026-11-27T16:00#two-bedroom#in-person"


@pytest.fixture(scope="module")
def office() -> Agent:
    return agent()


@pytest.fixture
async def talk(office: Agent) -> Talk:
    return await Talk.begin(office)


async def say(talk: Talk, *lines: str) -> str:
    reply = ""
    for line in lines:
        reply = await (talk.press(line[1:]) if line.startswith("#") else talk.say(line))
        assert reply
        assert not set(reply) & set("*_[]{}<>\n"), reply
    return reply


async def slots_of(talk: Talk) -> list[str]:
    """Give what the caller holds; slots and appointments say the same."""
    held = [item["slot"] for item in await talk.tours()]
    assert sorted(await taken(talk.store)) == sorted(held)
    return held


# Whole calls


async def test_a_newcomer_finds_books_moves_and_cancels(talk: Talk) -> None:
    reply = await say(talk, "I'm looking for a two-bedroom under 2000 from next month")
    assert "eighteen hundred dollars" in reply
    assert "One cat and one dog" in await say(talk, "what about pets?")
    assert "tomorrow at three PM, in person" in await say(talk, "when can I see it?")
    assert "Wednesday the twenty-fifth" in await say(talk, "no, Wednesday")
    assert "Shall I book it?" in await say(talk, "in person")
    assert "It is booked" in await say(talk, "yes")
    assert await slots_of(talk) == [WEDNESDAY]
    assert "on its way" in await say(talk, "yes, please")
    assert "four PM" in await say(talk, "actually, can you move it to Friday afternoon?")
    assert await slots_of(talk) == [WEDNESDAY]
    assert "It is moved" in await say(talk, "yes")
    assert await slots_of(talk) == [FRIDAY]
    assert "Friday" in await say(talk, "no", "what appointments do I have?")
    assert "cancelled" in await say(talk, "cancel it")
    assert await slots_of(talk) == []
    await say(talk, "thanks, that's all")
    await talk.pass_time(20)
    assert talk.ended
    (text,) = await talk.texts()
    assert "Wednesday, November 25, 2026 at 3:00 PM" in text


async def test_the_keys(talk: Talk) -> None:
    assert "the three-bedroom for twenty-five hundred" in await say(talk, "#1")
    assert "no tour booked" in await say(talk, "#2")
    await say(talk, "two bedroom", "tomorrow at three in person", "yes")
    assert "in-person tour of the two-bedroom" in await say(talk, "#2")
    assert "Press one" in await say(talk, "#7")
    assert [name for name, _, _ in talk.used][:2] == ["list_apartments", "my_appointments"]


@pytest.mark.parametrize(
    ("lines", "slots"),
    [
        (["book the two-bedroom tomorrow at three in person", "yes"], [TOMORROW]),
        (["I want a tour", "the two bedroom", "tomorrow at 3", "sure"], [TOMORROW]),
        (["can I see the 2 bedroom", "the second one"], [TOMORROW]),
        (["can I see the two bedroom", "at three tomorrow"], [TOMORROW]),
        (["can I see the two bedroom", "in person", "that works"], [TOMORROW]),
        (["two bedroom", "yes", "in person please", "go for it"], [TOMORROW]),
        (["show me the two bedroom on Tuesday with somebody", "that one"], [TOMORROW]),
        (["tour of the studio tomorrow", "no, the two bedroom", "in person", "yes"], [TOMORROW]),
        (["tour, two bedroom, Thursday", "no", "tomorrow in person", "ok"], [TOMORROW]),
        (["see the two bedroom friday", "actually Wednesday at 3", "yes"], [WEDNESDAY]),
        (["see the two bedroom the 31st of February", "Wednesday at three", "yes"], [WEDNESDAY]),
        (["two bedroom tour at 9:5", "tomorrow at three pm", "yes"], [TOMORROW]),
        (["tour of the two bedroom tomorrow at three", "yes", "no", "cancel that"], []),
        (["tour of the two bedroom tomorrow at three", "never mind"], []),
        (["tour of the two bedroom tomorrow at three", "cancel it"], []),
        (["tour of the two bedroom tomorrow at three", "no"], []),
        (["tour of the two bedroom tomorrow at three", "yes", "no, Wednesday", "yes"], [WEDNESDAY]),
        (
            ["tour of the two bedroom tomorrow at 3", "yes", "no", "move my tour", "friday", "yes"],
            [FRIDAY],
        ),
        (
            [
                "tour of the two bedroom tomorrow at 3",
                "yes",
                "reschedule it from Tuesday to Wednesday",
                "yes",
            ],
            [WEDNESDAY],
        ),
        (["tour of the two bedroom tomorrow at 3", "yes", "move it", "never mind"], [TOMORROW]),
        (
            ["is there a gym?", "two bedroom tour tomorrow at 3", "what's the deposit", "yes"],
            [TOMORROW],
        ),
    ],
)
async def test_booking_in_callers_own_words(talk: Talk, lines: list[str], slots: list[str]) -> None:
    await say(talk, *lines)
    assert await slots_of(talk) == slots


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("What apartments do you have?", "studio"),
        ("I need something cheap, 1100 at most", "studio"),
        ("is anything free right away?", "studio"),
        ("Tell me about the two bedroom", "eighteen hundred"),
        ("what's the cheapest?", "The studio has"),
        ("the biggest you have", "The three-bedroom has"),
        ("how much is the three bedroom", "twenty-five hundred"),
        ("Can I bring my dog?", "No pets in the studio"),
        ("Which utilities are included?", "Water"),
        ("where is the studio?", "Coolidge Street"),
        ("what's the deposit for the one bedroom", "four hundred dollars"),
        ("is there parking", "parking"),
        ("any specials at the moment?", "free"),
        ("how much do I have to earn?", "times the rent"),
        ("does the three bedroom have a yard", "yard"),
        ("do you have a four bedroom?", "largest is the three-bedroom"),
        ("do you have a swimming pool?", "nothing noted"),
        ("I'd like to rent a house", "no house"),
        ("can I see one on February 30th?", "no such day"),
        ("do I have an appointment?", "no tour booked"),
        ("cancel my tour", "no tour booked"),
        ("move my appointment to Friday", "no tour booked"),
        ("text me the details", "no tour to confirm"),
        ("what can you do?", "book, move or cancel"),
        ("do you allow smoking?", "don't know that"),
        ("mumble jumble", "book, move or cancel"),
        ("are you a human?", HONEST),
        ("I'd like to book a tour", "Which apartment"),
        ("I've got a cat and 1300 dollars", "Cats only in the one-bedroom"),
    ],
)
async def test_what_callers_ask(talk: Talk, said: str, part: str) -> None:
    assert part in await say(talk, said)
    assert await slots_of(talk) == []


@pytest.mark.parametrize(
    "said",
    [
        "can I talk to a person",
        "put me through to somebody",
        "I want to speak with an agent",
        "I'll sue you",
        "this is a legal matter",
        "are you liable if I slip on the stairs",
        "I want my money back",
        "I can't pay the rent, can I get a payment plan",
        "can we negotiate the rent",
    ],
)
async def test_a_person_takes_over(talk: Talk, said: str) -> None:
    reply = await say(talk, "tour of the two bedroom tomorrow at three", "yes", said)
    assert "put you through" in reply
    await talk.pass_time(20)
    (end,) = [frame for frame in talk.sent if isinstance(frame, frames.End)]
    handoff = msgspec.json.decode(end.handoff_data or "{}")
    assert handoff["reasonCode"] == "live-agent-handoff"
    assert said in handoff["summary"]
    assert "tomorrow" in handoff["summary"]
    assert await slots_of(talk) == [TOMORROW]


async def test_who_goes_on_talking_is_not_put_through(talk: Talk) -> None:
    await say(talk, "can I talk to a person")
    assert "studio" in await say(talk, "no wait, which apartments do you have")
    await talk.pass_time(5)
    assert not talk.ended


# Interruptions


async def test_cutting_in_on_a_booking_and_saying_it_again_books_once(talk: Talk) -> None:
    talk.slow.add("book_tour")
    await say(talk, "see the two bedroom tomorrow in person")
    await talk.say("yes")
    (begun,) = talk.running
    await talk.interrupt("")
    await talk.say("yes, book it please")
    assert len(talk.running) == 1
    await talk.finish(begun)
    await talk.pass_time(10)
    assert "It is booked" in talk.spoken()
    assert [name for name, _, _ in talk.used].count("book_tour") == 1
    assert await slots_of(talk) == [TOMORROW]
    assert "on its way" in await say(talk, "yes")
    assert len(await talk.texts()) == 1


async def test_saying_it_again_when_it_is_done_but_not_told_books_once(talk: Talk) -> None:
    talk.slow.add("book_tour")
    await say(talk, "see the two bedroom tomorrow in person")
    await talk.say("yes")
    await talk.interrupt("")
    await talk.finish(talk.running[0])
    await talk.interrupt("")
    assert "It is booked" in await say(talk, "yes, book it please")
    assert len(talk.running) == 1
    assert await slots_of(talk) == [TOMORROW]


async def test_cutting_in_on_the_news_does_not_undo_it(talk: Talk) -> None:
    await say(talk, "see the two bedroom tomorrow in person", "yes")
    await talk.interrupt("It is booked: an")
    assert "It is booked" in await say(talk, "no wait")
    assert await slots_of(talk) == [TOMORROW]
    assert "cancelled" in await say(talk, "no")
    assert await slots_of(talk) == []


async def test_a_cut_offer_is_the_one_that_is_meant(talk: Talk) -> None:
    await say(talk, "when can I see the two bedroom")
    await talk.interrupt(
        "The two-bedroom can be seen tomorrow at noon, self-guided; tomorrow at three PM, in"
    )
    assert "tomorrow at three PM" in await say(talk, "that one")
    await say(talk, "yes")
    assert await slots_of(talk) == [TOMORROW]


async def test_a_sound_without_words_lets_it_go_on(talk: Talk) -> None:
    await say(talk, "when can I see the two bedroom")
    await talk.interrupt("The two-bedroom can be seen tomorrow at noon,")
    assert "three PM" in await talk.pass_time(10)


# When things go wrong


async def test_who_comes_second_hears_alternatives_and_takes_one(office: Agent) -> None:
    store = memory()
    talk = await Talk.begin(office, store=store)
    await say(talk, "see the two bedroom tomorrow in person")
    day, _, rest = TOMORROW.partition("T")
    await use(
        office,
        "book_tour",
        store,
        Caller("+15550177"),
        _call="CA7",
        date=day,
        time=rest[:5],
        tour_type="in-person",
        apartment="two-bedroom",
    )
    reply = await say(talk, "yes")
    assert "not free" in reply
    assert "It is booked" not in reply
    assert [item["slot"] for item in await talk.tours()] == []
    await say(talk, "Wednesday", "yes")
    assert [item["slot"] for item in await talk.tours()] == [WEDNESDAY]
    assert (await taken(store))[TOMORROW] == "CALLER#+15550177"


async def test_a_failure_for_the_model_is_not_read_out(talk: Talk) -> None:
    talk.slow.add("book_tour")
    await say(talk, "see the two bedroom tomorrow in person")
    await talk.say("yes")
    at = len(talk.sent)
    failed = notes.FAILED_UNEXPECTEDLY.format("OSError")
    await talk.do(events.ToolFailed(talk.running[0].run, failed))
    reply = talk.spoken(at)
    assert "didn't work" in reply
    assert "Do not promise" not in reply
    assert await slots_of(talk) == []


async def test_a_withheld_number_is_told_what_that_means(office: Agent) -> None:
    talk = await Talk.begin(office, number="anonymous")
    reply = await say(talk, "see the two bedroom tomorrow in person", "yes")
    assert "in this call only" in reply
    assert "text" not in reply
    assert "two-bedroom" in await say(talk, "what tours do I have")
    assert await taken(talk.store) == {TOMORROW: keys.call("CA1")}
    assert "cancelled" in await say(talk, "cancel it")
    assert await taken(talk.store) == {}


async def test_tours_of_an_earlier_call_are_known(office: Agent) -> None:
    store = memory()
    await say(await Talk.begin(office, store=store), "see the two bedroom tomorrow at 3", "yes")
    later = await Talk.begin(office, store=store, call_id="CA2")
    assert "tomorrow" in await say(later, "when is my appointment?")
    await say(later, "move it to Wednesday", "yes")
    assert [item["slot"] for item in await later.tours()] == [WEDNESDAY]


async def test_several_tours_are_told_apart(talk: Talk) -> None:
    await say(talk, "see the two bedroom tomorrow at three", "yes", "no")
    await say(talk, "also the studio on Wednesday in person", "yes", "no")
    assert "Which one shall I cancel" in await say(talk, "cancel my tour")
    await say(talk, "the studio")
    assert await slots_of(talk) == [TOMORROW]
    assert "no such tour" in (await say(talk, "cancel my Saturday tour")).lower()
    assert await slots_of(talk) == [TOMORROW]


async def test_silence_and_repetition(talk: Talk) -> None:
    first = await say(talk, "see the two bedroom tomorrow in person")
    assert await say(talk, "sorry, what was that?") == first
    assert "Shall I book it?" in await say(talk, notes.SILENCE_NOTE)


async def test_the_same_words_give_the_same_answers(office: Agent) -> None:
    lines = ("hi", "two bedroom", "yes", "Wednesday in person", "yes", "no", "bye")
    one, other = await Talk.begin(office), await Talk.begin(office)
    for line in lines:
        assert await one.say(line) == await other.say(line)


# What is heard


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("a two-bedroom under 2000", {"flats": ("two-bedroom",), "budget": 2000}),
        ("2br for 1,900 dollars a month", {"flats": ("two-bedroom",), "budget": 1900}),
        ("max eighteen hundred", {"budget": 1800}),
        ("up to 2k", {"budget": 2000}),
        ("one or two bedrooms", {"flats": ("one-bedroom", "two-bedroom")}),
        ("not the studio, the one-bedroom", {"flats": ("one-bedroom",)}),
        ("1833 Jefferson Avenue", {"budget": None}),
        ("self-guided", {"kind": "self-guided"}),
        ("by myself", {"kind": "self-guided"}),
        ("in person", {"kind": "in-person"}),
        ("not self-guided", {"kind": "in-person"}),
        ("with somebody from the office", {"kind": "in-person"}),
        ("do cats cost extra", {"topics": ("pet policy",)}),
    ],
)
def test_what_is_heard(said: str, expected: dict[str, object]) -> None:
    heard = hear(said, NOW)
    assert {name: getattr(heard, name) for name in expected} == expected


def test_nothing_is_heard_in_nothing() -> None:
    assert hear("", NOW) == Heard("")


def test_the_diary_of_these_tests_has_the_slots_they_speak_of() -> None:
    assert {TOMORROW, WEDNESDAY, FRIDAY} <= {slot.key for slot in tours.planned(NOW)}
