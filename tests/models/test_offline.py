from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.talk import Conversation
from voxyray import notes
from voxyray.agent import Agent
from voxyray.builtin import hang_up
from voxyray.errors import AgentError, ModelError, ToolError
from voxyray.models import Delta, Finish, Message, ModelRequest, TextDelta, ToolCall, ToolSpec
from voxyray.models.offline import (
    Called,
    Name,
    OfflineModel,
    Option,
    Said,
    Say,
    Script,
    Talk,
    Use,
    choose,
    correction,
    find_name,
    likeness,
    load_script,
    numbers,
    parse_script,
    resembles,
    yes_or_no,
)
from voxyray.models.offline.smalltalk import HONEST, kind_of, split_identity
from voxyray.policy import Key
from voxyray.tool import tool
from voxyray.twin.clock import virtual

BOOKING = """
start = ["book"]
greeting = ["Hello, this is the bike shop."]

[facts]
shop.pattern = "The shop is called (.+)\\\\."

[slots.day]
kind = "choice"
choices = { mon = ["Monday"], tue = ["Tuesday"] }
ask = ["Which day, Monday or Tuesday?", "Monday or Tuesday?"]

[slots.bikes]
kind = "number"
ask = ["How many bikes?"]

[intents.book]
examples = ["I want to book a repair", "book a repair"]
needs = ["day", "bikes"]
confirm = ["{bikes} bikes on {day}. Is that right?"]
tool = "book"
arguments = { day = "{day}", bikes = "{bikes}", note = "for {shop}" }
success = ["Booked for {day}: {result}."]
failure = ["That didn't work."]
declined = ["Fine, no booking."]

[intents.hours]
examples = ["when are you open", "what are your hours"]
keys = ["9"]
reply = ["We open at nine.", "At nine in the morning."]
"""

BOOK = ToolSpec("book", "Books.", {"type": "object", "properties": {}, "required": ["day"]})
HANG_UP = hang_up.spec


def user(text: str) -> Message:
    return Message("user", text)


def agent_said(text: str) -> Message:
    return Message("assistant", text)


def used(name: str, result: str | None = "done", id_: str = "a", **arguments: Any) -> list[Message]:
    call = ToolCall(id_, name, msgspec.json.encode(arguments).decode())
    messages = [Message("assistant", tool_calls=(call,))]
    if result is not None:
        messages.append(Message("tool", result, tool_call_id=id_))
    return messages


def request(*messages: Message, tools: tuple[ToolSpec, ...] = (BOOK, HANG_UP)) -> ModelRequest:
    return ModelRequest((Message("system", "The shop is called Ada's."), *messages), tools)


async def deltas_of(model: OfflineModel, ask: ModelRequest) -> list[Delta]:
    return [delta async for delta in model.stream(ask)]


def burst(script: Script | None = None) -> OfflineModel:
    return OfflineModel(script, first_token_s=0, words_per_s=0)


async def answer(ask: ModelRequest, script: Script | str | None = BOOKING) -> str | ToolCall:
    """Give the words, or the tool call if there is one."""
    if isinstance(script, str):
        script = parse_script(script)
    deltas = await deltas_of(burst(script), ask)
    calls = [delta for delta in deltas if isinstance(delta, ToolCall)]
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    finish = deltas[-1]
    assert isinstance(finish, Finish)
    assert finish.model == "offline"
    assert finish.reason == ("tool_calls" if calls else "stop")
    return calls[0] if calls else text


async def words(ask: ModelRequest, script: Script | str | None = BOOKING) -> str:
    given_ = await answer(ask, script)
    assert isinstance(given_, str)
    return given_


def arguments(call: str | ToolCall) -> Any:
    assert isinstance(call, ToolCall)
    return msgspec.json.decode(call.arguments)


# The dialogue of an offline.toml

ASKED_DAY = agent_said("Which day, Monday or Tuesday?")
CONFIRM = (
    user("two bikes on tuesday"),
    agent_said("How many bikes?"),
    user("two"),
    agent_said("2 bikes on Tuesday. Is that right?"),
)


async def test_greets_when_there_is_nothing_to_answer() -> None:
    assert await words(ModelRequest(())) == (
        "Hello, this is the bike shop. Which day, Monday or Tuesday?"
    )
    assert (await words(request(user(notes.GREET_NOTE)))).startswith("Hello, this is the bike shop")


async def test_asks_for_what_is_missing_and_takes_it_in_words_or_keys() -> None:
    assert await words(request(user("Tuesday"))) == "How many bikes?"
    assert await words(request(user("[The caller pressed 2.]"))) == "How many bikes?"
    asked = (user("the second one"), agent_said("How many bikes?"))
    assert await words(request(*asked, user("a couple"))) == "2 bikes on Tuesday. Is that right?"
    keyed = await words(request(*asked, user("[The caller pressed 1 2.]")))
    assert keyed == "12 bikes on Tuesday. Is that right?"


async def test_calls_the_tool_with_arguments_from_slots_and_facts() -> None:
    call = await answer(request(*CONFIRM, user("Yes, that's right.")))
    assert arguments(call) == {"day": "tue", "bikes": 2, "note": "for Ada's"}


async def test_a_no_to_a_confirmation_asks_anew() -> None:
    assert await words(request(*CONFIRM, user("no"))) == "Which day, Monday or Tuesday?"


async def test_a_correction_of_a_confirmation_changes_only_what_it_names() -> None:
    text = await words(request(*CONFIRM, user("no, Monday")))
    assert text == "2 bikes on Monday. Is that right?"


async def test_a_reply_cut_before_it_was_heard_counts_as_not_said() -> None:
    # The confirmation was never heard, so the yes is not for it.
    text = await words(request(user("Tuesday\ntwo"), user("yes")))
    assert "Is that right?" in text


async def test_a_question_in_between_is_answered_and_the_talk_goes_on() -> None:
    text = await words(request(ASKED_DAY, user("When are you open?")))
    assert text == "At nine in the morning. Which day, Monday or Tuesday?"
    key = await words(request(ASKED_DAY, user("[The caller pressed 9.]")))
    assert key.endswith("in the morning. Which day, Monday or Tuesday?")


async def test_merged_user_messages_are_both_answered() -> None:
    text = await words(request(user("When are you open?\nOn Monday please.")))
    assert text == "We open at nine. How many bikes?"


async def test_tells_the_result_and_asks_whether_there_is_more() -> None:
    done = (*CONFIRM, user("yes"), *used("book", "number seven", day="tue", bikes=2))
    assert (
        await words(request(*done)) == "Booked for Tuesday: number seven. Is there anything else?"
    )
    bye = await answer(request(*done, agent_said("Booked. Is there anything else?"), user("no")))
    assert isinstance(bye, ToolCall)
    assert bye.name == "hang_up"


async def test_asks_anew_after_an_error_and_gives_up_after_two() -> None:
    failed = (*CONFIRM, user("yes"), *used("book", "Error: that day is full", day="tue", bikes=2))
    assert await words(request(*failed)) == "That didn't work. Which day, Monday or Tuesday?"
    again = (
        *failed,
        agent_said("That didn't work. Which day, Monday or Tuesday?"),
        user("Monday"),
        agent_said("How many bikes?"),
        user("one"),
        agent_said("1 bikes on Monday. Is that right?"),
        user("yes"),
        *used("book", "Error: that day is full", id_="b", day="mon", bikes=1),
    )
    assert await words(request(*again)) == "That didn't work."


@pytest.mark.parametrize("unfinished", [notes.STILL_RUNNING, notes.NO_OUTCOME.format(5.0), None])
async def test_a_tool_without_an_outcome_is_not_called_again(unfinished: str | None) -> None:
    waiting = (*CONFIRM, user("yes"), *used("book", unfinished, day="tue", bikes=2))
    assert "I'll tell you" in await words(request(*waiting))
    told = (agent_said("That is taking a moment."), user("When are you open?"))
    assert "nine" in await words(request(*waiting, *told))


async def test_the_outcome_of_a_late_tool_is_told() -> None:
    late = (
        *CONFIRM,
        user("yes"),
        *used("book", "number seven", day="tue", bikes=2),
        agent_said("That is taking a moment."),
        user(notes.RESULT_NOTE),
    )
    assert (await words(request(*late))).startswith("Booked for Tuesday: number seven.")


async def test_a_cancelled_tool_was_not_run() -> None:
    cut = (*CONFIRM, user("yes"), *used("book", notes.CANCELLED, day="tue", bikes=2))
    call = await answer(request(*cut, user("Are you there? Yes, please do it.")))
    assert arguments(call)["day"] == "tue"


async def test_fallbacks_vary_and_end() -> None:
    messages: list[Message] = []
    said = []
    for _ in range(3):
        messages.append(user("mumble grumble"))
        said.append(await words(request(*messages)))
        messages.append(agent_said(said[-1]))
    assert len(set(said)) == 3
    assert said[-1].endswith("Fine, no booking.")


async def test_goodbye_hangs_up_if_it_can() -> None:
    deltas = await deltas_of(burst(parse_script(BOOKING)), request(user("Thanks, bye!")))
    assert [type(delta) for delta in deltas] == [TextDelta, ToolCall, Finish]
    assert "oodbye" in await words(request(user("Thanks, bye!"), tools=(BOOK,)))


async def test_a_goodbye_the_caller_spoke_into_is_over() -> None:
    back = (user("bye"), *used("hang_up", notes.END_CANCELLED), user("wait, when are you open?"))
    assert "nine" in await words(request(*back))


async def test_a_failed_hang_up_is_told() -> None:
    failed = (user("bye"), *used("hang_up", "Error: no line"), user(notes.END_FAILED_NOTE))
    assert "didn't work" in await words(request(*failed))


async def test_silence_asks_again() -> None:
    assert await words(request(ASKED_DAY, user(notes.SILENCE_NOTE))) == ASKED_DAY.content


# What every answer owes the caller


@pytest.mark.parametrize(
    "question",
    [
        "Are you a robot?",
        "are you real",
        "Am I talking to a human being?",
        "what are you",
        "Who am I speaking to?",
        "Is this an AI?",
        "Hello, is this a recording?",
        "You're a bot, right?",
        "which language model are you",
    ],
)
@pytest.mark.parametrize("script", [BOOKING, None, Script(lambda _: Say("Yes, I am a person."))])
async def test_says_what_it_is(question: str, script: Script | str | None) -> None:
    text = await words(request(ASKED_DAY, user(question)), script)
    assert text.startswith(HONEST)
    assert "not a language model" in text or "not a person, and not a language model" in text
    assert script != BOOKING or text.endswith("Which day, Monday or Tuesday?")


@pytest.mark.parametrize(
    "question",
    ["Is this a real apartment?", "Can I talk to a real person?", "Are you open on Friday?"],
)
def test_is_not_asked_what_it_is(question: str) -> None:
    assert split_identity(question) == (False, question)


async def test_what_else_is_said_with_the_question_is_answered_too() -> None:
    text = await words(request(ASKED_DAY, user("Are you a robot? On Tuesday, please.")))
    assert text == f"{HONEST} How many bikes?"


async def test_repeats_what_was_said() -> None:
    said = (user("when are you open"), agent_said("We open at nine. Which day?"))
    assert await words(request(*said, user("Sorry, what?"))) == "We open at nine. Which day?"


async def test_goes_on_where_it_was_cut() -> None:
    cut = (user("when are you open"), agent_said("We open at nine. Which day, Mon—"))
    rest = await words(request(*cut, user(notes.RESUME_NOTE)))
    assert rest == "Monday or Tuesday?"
    assert await words(request(*cut, user("what?"))) == (
        "We open at nine. Which day, Monday or Tuesday?"
    )


async def test_asks_again_if_it_did_not_say_what_was_cut() -> None:
    cut = (agent_said("Hello there, this is—"), user(notes.RESUME_NOTE))
    assert await words(request(*cut)) == "Which day, Monday or Tuesday?"


async def test_the_same_request_gets_the_same_answer() -> None:
    ask = request(*CONFIRM, user("yes"))
    model = burst(parse_script(BOOKING))
    assert await deltas_of(model, ask) == await deltas_of(model, ask)


# Tools on offer


async def test_uses_no_tool_that_is_not_offered() -> None:
    text = await words(request(*CONFIRM, user("yes"), tools=()))
    assert text == "I'm sorry, I can't do that right now."


async def test_uses_no_tool_when_it_must_not() -> None:
    ask = msgspec.structs.replace(request(*CONFIRM, user("yes")), tool_choice="none")
    assert await words(ask) == "I'm sorry, I can't do that right now."


async def test_uses_the_tool_it_must() -> None:
    key = user("[The caller pressed 5.]")
    ask = request(key)
    forced = msgspec.structs.replace(ask, tool_choice="hang_up")
    assert isinstance(await answer(forced), ToolCall)
    asks = await words(msgspec.structs.replace(ask, tool_choice="book"))
    assert asks == "Which day, Monday or Tuesday?"


async def test_a_script_cannot_go_round_for_ever() -> None:
    script = Script(lambda _: Use("book", day="mon"))
    ask = request(user("book"), *used("book", "ok", day="mon"))
    assert await words(ask, script)
    assert isinstance(await answer(request(user("book")), script), ToolCall)


async def test_a_broken_function_is_a_model_error() -> None:
    def reply(_: Talk) -> Say:
        raise KeyError("day")

    with pytest.raises(ModelError, match=r"my\.py: KeyError") as failure:
        await answer(request(user("hello")), Script(reply, "my.py"))
    assert not failure.value.retryable
    with pytest.raises(ModelError, match="not Say or Use"):
        await answer(request(user("hello")), Script(lambda _: "hi"))  # type: ignore[arg-type,return-value]


# Without a script


async def test_without_a_script_it_echoes_and_says_so() -> None:
    text = await words(request(user("I'd like two large pizzas.")), None)
    assert "I'd like two large pizzas" in text
    assert "no offline script" in text
    assert "language model" in text


async def test_without_a_script_it_can_say_goodbye() -> None:
    agent = Agent(instructions="You sell bikes.", tools=[hang_up])
    talk = await Conversation.open(agent)
    assert "no offline script" in await talk.say("What can you do?")
    assert "welcome" in await talk.say("Thanks.")
    assert "oodbye" in await talk.say("Bye.")
    await talk.pass_time(20)
    assert talk.ended


# Pace


@virtual
async def test_words_come_at_the_pace_of_a_model() -> None:
    loop = asyncio.get_running_loop()
    model = OfflineModel(first_token_s=0.25, words_per_s=10)
    ask = request(user("one two three four five"))
    began, times, texts = loop.time(), [], []
    async for delta in model.stream(ask):
        if isinstance(delta, TextDelta):
            times.append(loop.time() - began)
            texts.append(delta.text)
    assert times == pytest.approx([0.25 + 0.1 * n for n in range(len(times))])
    assert "".join(texts).startswith("I understood: one two three")
    assert all(text.count(" ") <= 1 for text in texts)


@virtual
async def test_a_slow_reader_gets_what_is_due_at_once() -> None:
    model = OfflineModel(first_token_s=0, words_per_s=10)
    stream = model.stream(request(user("one two three four five")))
    first = await anext(stream)
    await asyncio.sleep(0.5)
    second = await anext(stream)
    await stream.aclose()
    assert isinstance(first, TextDelta)
    assert isinstance(second, TextDelta)
    assert (len(first.text.split()), len(second.text.split())) == (1, 5)


# Scripts that are wrong


def _with(old: str, new: str) -> str:
    assert old in BOOKING
    return BOOKING.replace(old, new)


BAD = {
    "no toml": ("start = [", "Invalid"),
    "unknown field": (_with("declined =", "decline ="), r"intents\.book: .*decline"),
    "unknown table": (_with("[facts]", "[fact]"), "fact"),
    "unknown kind": (_with('kind = "number"', 'kind = "float"'), r"slots\.bikes: .*float"),
    "wrong type": (_with('["How many bikes?"]', "3"), r"slots\.bikes: .*ask"),
    "unknown slot": (
        _with('["day", "bikes"]', '["day", "bike"]'),
        r"intents\.book\.needs: .*'bike'",
    ),
    "unknown start": (_with('start = ["book"]', 'start = ["buy"]'), r"start: .*'buy'.*book, hours"),
    "unknown then": (
        _with("declined =", 'then = "pay"\ndeclined ='),
        r"intents\.book\.then.*'pay'",
    ),
    "bad pattern": (
        _with('keys = ["9"]', 'patterns = ["(open"]'),
        r"intents\.hours\.patterns\[0\]: .*\(open",
    ),
    "bad fact": (_with("called (.+)", "called (.+"), r"facts\.shop\.pattern: "),
    "group without a slot": (
        _with('keys = ["9"]', 'patterns = ["(?P<when>now)"]'),
        r"patterns\[0\]: .*'when'",
    ),
    "placeholder": (_with("Booked for {day}", "Booked for {date}"), r"book\.success: .*'date'"),
    "placeholder of an argument": (
        _with("for {shop}", "for {store}"),
        r"book\.arguments: .*'store'",
    ),
    "field of a placeholder": (_with("{day}: {result}", "{day.name}: x"), r"success: .*'name'"),
    "result before there is one": (_with("We open at nine.", "At {x}"), r"hours\.reply: .*'x'"),
    "result in a question": (_with("How many bikes?", "{result}?"), r"bikes\.ask: .*'result'"),
    "open brace": (_with("We open at nine.", "We open {at"), r"hours\.reply: "),
    "layout": (_with("{bikes} bikes", "{bikes:>3} bikes"), "names only"),
    "no question": (_with('["How many bikes?"]', "[]"), r"bikes\.ask: .*dead air"),
    "no success": (_with("success =", "waiting ="), r"book\.success: .*dead air"),
    "neither tool nor reply": (_with("reply =", "confirm ="), r"intents\.hours: needs either"),
    "choice of nothing": (
        _with('{ mon = ["Monday"], tue = ["Tuesday"] }', "{}"),
        r"slots\.day: .*choice",
    ),
    "unknown fact": (
        _with('choices = { mon = ["Monday"], tue = ["Tuesday"] }', 'fact = "days"'),
        r"slots\.day\.fact: .*'days'",
    ),
    "fact without fields": (
        _with('choices = { mon = ["Monday"], tue = ["Tuesday"] }', 'fact = "shop"'),
        r"slots\.day: facts\.shop must be many",
    ),
    "small talk": (BOOKING + "[small_talk]\nweather = 'Sunny.'", r"small_talk: .*'weather'"),
    "no table": ("intents = 3", "intents must hold tables"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_script_names_the_place(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    file = tmp_path / "offline.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(AgentError, match=message) as failure:
        load_script(file)
    assert str(file) in str(failure.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("offline.py", "x = 1", "define a function reply"),
        ("offline.py", "async def reply(talk): ...", "plain function"),
        ("offline.py", "import nothing_there", "nothing_there"),
        ("offline.yaml", "", "a .toml or a .py"),
        ("offline.toml", None, "cannot be read"),
        ("offline.py", None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_named(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(AgentError, match=message) as failure:
        load_script(file)
    assert str(file) in str(failure.value)


# Scripts in Python

ORDERS = """
from voxyray.models.offline import Said, Say, Use, number, resembles, yes_or_no


def reply(talk):
    count, confirmed = 0, False
    for event in talk.events:
        if isinstance(event, Said):
            confirmed = yes_or_no(event.text) is True
            count = number(event.text) or count
    if call := next(iter(talk.calls_of_turn), None):
        return Say("It is ordered." if call.status == "done" else f"Sorry: {call.result}")
    if action := talk.small_talk():
        return action
    if not count:
        return Say("How many pizzas?")
    return Use("order", count=count) if confirmed else Say(f"{count} pizzas, is that right?")
"""


async def test_a_script_in_python_carries_a_dialogue(tmp_path: Path) -> None:
    ordered: list[int] = []

    @tool(effect="write")
    async def order(count: int) -> str:
        """Order."""
        if count > 9:
            raise ToolError("at most nine")
        ordered.append(count)
        return "ok"

    script = tmp_path / "offline.py"
    script.write_text(ORDERS, encoding="utf-8")
    agent = Agent(instructions="", tools=[order, hang_up], offline=script)
    talk = await Conversation.open(agent)
    assert await talk.say("Pizza!") == "How many pizzas?"
    assert await talk.say("Two... no, three of them") == "3 pizzas, is that right?"
    assert (await talk.say("are you human?")).startswith(HONEST)
    assert await talk.say("twelve, sorry") == "12 pizzas, is that right?"
    assert "at most nine" in await talk.say("yes")
    assert await talk.say("four then") == "4 pizzas, is that right?"
    assert await talk.say("yes please") == "It is ordered."
    assert "oodbye" in await talk.say("bye")
    assert ordered == [4]


def test_a_talk_tells_what_happened() -> None:
    talk = Talk(
        request(
            user("Book Monday.\nNo, Tuesday."),
            *used("book", "Error: full", day="tue"),
            agent_said("It is full."),
            user("[The caller pressed 1.] Monday then."),
        )
    )
    assert talk.text == "Monday then."
    assert [event.text for event in talk.events if isinstance(event, Said)][:2] == [
        "Book Monday.",
        "No, Tuesday.",
    ]
    assert talk.last_call("book") == Called("book", {"day": "tue"}, "Error: full", "failed")
    assert talk.calls_of_turn == ()
    assert talk.said == "It is full."
    assert talk.fact(r"called (.+)\.") == "Ada's"
    assert talk.facts(r"is (?P<verb>\w+)") == [{"verb": "called"}]
    assert talk.offers("book")
    assert not talk.offers("dance")


def test_broken_arguments_are_empty() -> None:
    for text in ("", "{", "[1]", "\ud800", "[" * 100_000):
        call = Message("assistant", tool_calls=(ToolCall("a", "book", text),))
        assert Talk(ModelRequest((call,))).calls[0].arguments == {}


# Words


@pytest.mark.parametrize(
    ("said", "first", "last"),
    [
        ("it's Ada", "Ada", ""),
        ("Ada Lovelace", "Ada", "Lovelace"),
        ("ada lovelace", "Ada", "Lovelace"),
        ("my first name is Ada and my last name Lovelace", "Ada", "Lovelace"),
        ("Lovelace is my last name", "", "Lovelace"),
        ("my last name's Lovelace, first name Ada", "Ada", "Lovelace"),
        ("no, Grace Hopper", "Grace", "Hopper"),
        ("It's Grace Hopper, not Ada", "Grace", "Hopper"),
        ("My name is Ada Lovelace and I want a pizza", "Ada", "Lovelace"),
        ("Hi, um, this is Ada Lovelace.", "Ada", "Lovelace"),
        ("Ada Lovelace speaking", "Ada", "Lovelace"),
        ("Yes, hi. I'm Ada. Last name Lovelace.", "Ada", "Lovelace"),
        ("The name's Bond. James Bond.", "James", "Bond"),
        ("Ludwig van Beethoven", "Ludwig", "van Beethoven"),
        ("Sinead O'Connor", "Sinead", "O'Connor"),
        ("jean-luc picard", "Jean-Luc", "Picard"),
        ("Will Smith", "Will", "Smith"),
        ("it's spelled A D A", "Ada", ""),
        ("José Ñuñez", "José", "Ñuñez"),
        ("李 明", "李", "明"),
        ("call me Al", "Al", ""),
        ("I'm fine, thanks", "", ""),
        ("I'm looking for an apartment", "", ""),
        ("hello", "", ""),
        ("what?", "", ""),
        ("I'd rather not say", "", ""),
        ("that's not my name", "", ""),
        ("will you help me", "", ""),
        ("pizza please", "", ""),
        ("", "", ""),
    ],
)
def test_names(said: str, first: str, last: str) -> None:
    assert find_name(said) == Name(first, last)


@pytest.mark.parametrize(
    "said",
    ["Ada Lovelace", "pizza", "yes", "Sure. Pizza shop.", "is my name saved", "the last one"],
)
def test_names_that_nobody_asked_for_must_say_so(said: str) -> None:
    assert not find_name(said, asked=False)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("two", [2]),
        ("twenty-five", [25]),
        ("twelve hundred", [1200]),
        ("1,200 dollars", [1200]),
        ("one hundred and five", [105]),
        ("two thousand twenty six", [2026]),
        ("two and three", [2, 3]),
        ("a dozen", [12]),
        ("three pizzas and two colas", [3, 2]),
        ("none", []),
        ("9" * 500, []),
    ],
)
def test_numbers(said: str, found: list[int]) -> None:
    assert numbers(said) == found


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("yes", True),
        ("Yeah, that's right.", True),
        ("sure", True),
        ("no problem", True),
        ("no, that's fine", True),
        ("no", False),
        ("Not really", False),
        ("that's not right", False),
        ("I don't", False),
        ("maybe", None),
        ("Ada", None),
    ],
)
def test_yes_or_no(said: str, meant: bool | None) -> None:
    assert yes_or_no(said) is meant


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ("no, Grace", "Grace"),
        ("not Ada, Eda", "Eda"),
        ("it's Eda, not Ada", "Eda"),
        ("actually the apartments", "the apartments"),
        ("Sorry, I meant the pizza shop", "the pizza shop"),
        ("no", None),
        ("Ada Lovelace", None),
    ],
)
def test_corrections(said: str, instead: str | None) -> None:
    assert correction(said) == instead


@pytest.mark.parametrize(
    ("said", "example", "alike"),
    [
        ("When are you open?", "when are you open", True),
        ("hi, uh, could you tell me when you are open please", "when are you open", True),
        ("wenn are you oppen", "when are you open", True),
        ("Good-bye!", "goodbye", True),
        ("what is the weather", "what is the rent", False),
        ("I don't want to hang up", "hang up", False),
        ("is it open source", "when are you open", False),
        ("the", "the", True),
        ("", "the", False),
        ("!?", "!?", False),
    ],
)
def test_likeness(said: str, example: str, alike: bool) -> None:
    assert resembles(said, example) is alike
    assert 0.0 <= likeness(said, example) <= 1.0


def test_small_talk_does_not_fire_on_anything() -> None:
    for said in ("I want a pizza", "hold the onions", "Ada", "Will you be open on Friday", ""):
        assert kind_of(said) is None


PLACES = [
    Option("restaurant_order", "Pizza shop", about="Opening hours and the menu."),
    Option("apartment_search", "Apartment search", about="Rents and house rules."),
]


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("pizza", "restaurant_order"),
        ("the pitza place", "restaurant_order"),
        ("Appartments, please", "apartment_search"),
        ("the second one", "apartment_search"),
        ("number one", "restaurant_order"),
        ("the last", "apartment_search"),
        ("the one with the rents", "apartment_search"),
        ("both", None),
        ("pizza or apartment", None),
        ("whatever", None),
        ("yes", None),
        ("number seven", None),
    ],
)
def test_choices(said: str, value: str | None) -> None:
    found = choose(said, PLACES)
    assert (found and found.value) == value


# Whatever comes

_LINES = st.sampled_from(
    [
        "Ada Lovelace",
        "yes",
        "no",
        "Tuesday",
        "two",
        "bye",
        "What?",
        "are you a robot",
        "no, Monday",
        "when are you open",
        "[The caller pressed 1 #.]",
        "[something else]",
        notes.RESUME_NOTE,
        notes.RESULT_NOTE,
        notes.SILENCE_NOTE,
        notes.GREET_NOTE,
        notes.END_FAILED_NOTE,
    ]
)
_TEXT = st.one_of(_LINES, st.text(max_size=40), st.lists(_LINES, max_size=3).map("\n".join))
_CALLS = st.builds(
    ToolCall,
    id=st.sampled_from("ab"),
    name=st.sampled_from(["book", "hang_up", "other", ""]),
    arguments=st.one_of(st.sampled_from(["{}", '{"day": "mon"}', "{", "3"]), st.text(max_size=9)),
)
_RESULTS = st.sampled_from(
    ["ok", "", "Error: no", notes.STILL_RUNNING, notes.CANCELLED, notes.END_CANCELLED]
)
_MESSAGES = st.one_of(
    st.builds(Message, st.sampled_from(["user", "assistant", "system"]), st.none() | _TEXT),
    st.builds(Message, st.just("assistant"), _TEXT.map(lambda text: text + "—")),
    st.builds(
        Message, st.just("assistant"), st.none() | _TEXT, st.lists(_CALLS, max_size=2).map(tuple)
    ),
    st.builds(Message, st.just("tool"), _RESULTS, tool_call_id=st.sampled_from(["a", "b", None])),
)


@pytest.mark.parametrize("script", [BOOKING, None])
@given(
    messages=st.lists(_MESSAGES, max_size=12),
    tools=st.sets(st.sampled_from([0, 1])),
    choice=st.sampled_from(["auto", "none", "required", "book", "hang_up", "other"]),
)
@settings(max_examples=150, deadline=None)
def test_any_conversation_gets_an_answer(
    script: str | None, messages: list[Message], tools: set[int], choice: str
) -> None:
    offered = tuple((BOOK, HANG_UP)[at] for at in tools)
    ask = ModelRequest(tuple(messages), offered, choice)
    loaded = parse_script(script) if script else None
    deltas = asyncio.run(deltas_of(burst(loaded), ask))
    finish = deltas[-1]
    assert isinstance(finish, Finish)
    calls = [delta for delta in deltas if isinstance(delta, ToolCall)]
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    assert calls or text.strip()
    assert {call.name for call in calls} <= {spec.name for spec in offered}
    assert choice != "none" or not calls
    for call in calls:
        assert isinstance(msgspec.json.decode(call.arguments), dict)


# In a call


async def test_a_forced_tool_of_a_menu_key_is_used() -> None:
    agent = replace(
        Agent(instructions="", tools=[hang_up], keypad={"0": Key(tool="hang_up")}),
    )
    talk = await Conversation.open(agent)
    await talk.press("0")
    await talk.pass_time(20)
    assert talk.ended


async def test_several_tools_are_used_at_once_each_once() -> None:
    monday, tuesday = Use("book", day="mon"), Use("book", day="tue")
    script = Script(lambda _: monday.together(tuesday, Use("fly")).saying("One moment."))
    first = await deltas_of(burst(script), request(user("book both")))
    calls = [delta for delta in first if isinstance(delta, ToolCall)]
    assert [call.arguments for call in calls] == ['{"day":"mon"}', '{"day":"tue"}']
    assert len({call.id for call in calls}) == 2
    assert first[-1] == Finish("tool_calls", "offline")
    one_done = request(user("book both"), *used("book", "ok", day="mon"))
    rest = await deltas_of(burst(script), one_done)
    assert [each.arguments for each in rest if isinstance(each, ToolCall)] == ['{"day":"tue"}']
