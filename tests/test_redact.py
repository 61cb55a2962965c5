"""Redacted calls: nothing of the original is left, and they replay identically."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.desk import SETUP, TOOLS, Desk, make_agent
from tests.support.recorded import recorded
from tests.test_call_invariants import CallMachine
from tests.test_replay import talk
from voxyray import callfile, events, frames, journal
from voxyray.call import Call
from voxyray.callfile import CallFile, setup_of
from voxyray.errors import JournalError
from voxyray.masking import Mask
from voxyray.models import ToolCall
from voxyray.policy import Key
from voxyray.redact import redact
from voxyray.replay import replay
from voxyray.tool import tool

SECRET = b"of the tests"
LETTERS = st.characters(codec="utf-8", categories=["L", "N", "P", "Zs", "M"])
# Words that are nobody else's: not in our notes, an agent's texts or JSON's names.
MARKERS = st.text("bcdfghjklmnpqrstvwxz", min_size=6, max_size=12)
NUMBERS = st.from_regex(r"\A\+4[0-9]{9}\Z")


class RedactedMachine(CallMachine):
    """Whatever happened in a call, it does the same with placeholders."""

    def __init__(self) -> None:
        super().__init__()
        self.setup = setup_of(self.desk.call)

    def teardown(self) -> None:
        super().teardown()
        call = recorded(self.desk, self.setup)
        redacted = callfile.decode(callfile.encode(redact(call, SECRET)))
        replayed = replay(redacted)
        assert replayed.identical, str(replayed.difference)
        assert len(replayed.sent) == len(self.desk.sent)
        kinds = [journal.kind(entry.what) for entry in redacted.sessions[0].entries]
        assert kinds == [journal.kind(entry.what) for entry in self.desk.entries]


TestRedacted = RedactedMachine.TestCase
TestRedacted.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@given(words=st.lists(MARKERS, min_size=12, max_size=12, unique=True), number=NUMBERS)
@settings(max_examples=40, deadline=None)
def test_no_word_or_number_survives(words: list[str], number: str) -> None:
    call = marked(words, number)
    text = callfile.encode(redact(call)).decode()
    for each in (*words, *map(str.title, words), number, number[1:]):
        assert each not in text
    assert all(each in callfile.encode(call).decode() for each in (*words, number))
    assert replay(callfile.decode(text.encode())).identical


def marked(words: list[str], number: str) -> CallFile:
    """A call with a word of its own in every field that a caller, carrier or model can fill."""
    name, said, heard, slot, result, handoff, param, failed, odd, wrong, key, digits = words
    agent = make_agent(greeting=f"Hello {name.title()}!", keypad={"7": Key(ask=key)})
    desk = Desk(agent, set_up=False)
    setup = setup_of(desk.call)
    desk.do(
        msgspec.structs.replace(
            SETUP, from_=number, caller_name=name, custom_parameters={"note": param}
        )
    )
    desk.say(f"I am {said}, call me at {number}")
    desk.delta(f"Sure {heard[:3]}")
    desk.pass_time(0.1)
    desk.delta(f"{heard[3:]}, {number}.")
    desk.info("tokensPlayed", f"Sure {heard}")
    desk.interrupt(f"{heard},")
    desk.press("7")
    desk.call_tool("book", slot=slot)
    desk.call_tool("book", sloth=wrong)
    desk.finish("tool_calls")
    desk.pass_time(1)
    desk.return_tool(f"Booked for {result}")
    desk.do(events.ModelFailed(desk.request, failed, True))
    desk.answer("Done.")
    desk.do(frames.Unknown(odd, {odd: [odd, 5]}))
    desk.do(frames.Malformed("not JSON", odd))
    desk.press("4099912#")
    desk.answer(f"You pressed {digits}.")
    desk.say("a person")
    desk.call_tool("transfer", reason=handoff)
    desk.finish("tool_calls")
    desk.pass_time(10)
    desk.return_tool(handoff, handoff=f'{{"reasonCode":"x","summary":"{handoff}"}}')
    desk.do(events.Closed(1000))
    return recorded(desk, setup)


def test_keys_that_were_pressed_are_gone_but_the_menu_works() -> None:
    desk = Desk()
    setup = setup_of(desk.call)
    desk.press("1")  # the menu
    desk.press("4111222233334444#")
    desk.answer("Thank you.")
    redacted = redact(recorded(desk, setup), SECRET)
    text = callfile.encode(redacted).decode()
    assert "4111" not in text
    assert "4 1 1 1" not in text
    entries = redacted.sessions[0].entries
    turns = [each.what for each in entries if isinstance(each.what, journal.TurnStarted)]
    assert len(turns[2].text) == len("[The caller pressed 4 1 1 1 2 2 2 2 3 3 3 3 4 4 4 4.]")
    assert replay(redacted).identical


def test_a_call_with_everything_is_redacted() -> None:
    redacted = redact(recorded(talk()), SECRET)
    assert redacted.redacted
    assert replay(redacted).identical
    assert replay(callfile.decode(callfile.encode(redacted))).identical


def test_two_redactions_have_nothing_in_common() -> None:
    call = recorded(talk())
    assert redact(call) != redact(call)
    assert redact(call, SECRET) == redact(call, SECRET)


def test_what_does_not_replay_is_not_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    call = recorded(talk())
    monkeypatch.setattr(Call, "_filler_of", lambda *_: "Hmm.")
    with pytest.raises(JournalError, match="only a call that replays identically"):
        redact(call)


# Words


class TestMask:
    @given(st.text(LETTERS, max_size=30))
    @example("don't Straße ŒUVRE ①②")
    def test_shape_stays(self, text: str) -> None:
        masked = Mask(SECRET).text(text)
        assert len(masked) == len(text)
        for one, other in zip(text, masked, strict=True):
            assert one.isalnum() == other.isalnum()
            assert unicodedata.category(one) == unicodedata.category(other)

    @given(st.text("abcxyzABC019 '-", max_size=20), st.text("abcxyzABC019 '-", max_size=20))
    def test_equal_stays_equal_and_a_beginning_a_beginning(self, one: str, other: str) -> None:
        mask = Mask(SECRET)
        assert (mask.text(one) == mask.text(other)) is (one == other)
        whole = mask.text(one + other)
        assert whole.startswith(mask.text(one))

    @given(st.text("abcdefghijklmnopqrstuvwxyzABC0123456789 ", min_size=1, max_size=20))
    def test_no_letter_or_digit_stays_itself(self, text: str) -> None:
        for one, other in zip(text, Mask(SECRET).text(text), strict=True):
            assert one == " " or one != other

    @given(st.text("abcdefgß ÉÀé", max_size=20))
    def test_case_stays(self, text: str) -> None:
        masked = Mask(SECRET).text(text)
        assert [each.isupper() for each in text] == [each.isupper() for each in masked]
        assert Mask(SECRET).text(text.lower()) == masked.lower()

    def test_marks_that_are_not_spoken_part_no_word(self) -> None:
        mask = Mask(SECRET)
        assert mask.text("co**st**s").replace("*", "") == mask.text("costs")

    def test_names_of_markup_stay(self) -> None:
        masked = Mask(SECRET).text("<think>Ada</think> <ada@example.com>")
        assert re.fullmatch(r"<think>\w{3}</think> <\w{3}@\w{7}\.\w{3}>", masked)
        assert "ada" not in masked


# Arguments


@tool(effect="write")
def reserve(
    day: date,
    at: time,
    people: int,
    size: Literal["small", "large"],
    name: str,
    price: Decimal,
    begins: datetime,
    share: float = 0.5,
) -> str:
    """Reserve a table."""
    return name


ARGUMENTS: dict[str, Any] = {
    "day": "2026-05-31",
    "at": "14:30",
    "people": 4,
    "size": "large",
    "name": "Lovelace",
    "price": "12.50",
    "begins": "2026-05-31T14:30:00",
    "share": 0.25,
}


def asked(arguments: str, tools: Any = (*TOOLS, reserve), name: str = "reserve") -> CallFile:
    desk = Desk(make_agent(tools=tools))
    desk.say("do it")
    desk.do(events.ModelEvent(desk.request, ToolCall("x1", name, arguments)))
    desk.finish("tool_calls")
    return recorded(desk)


def masked(call: CallFile) -> str:
    redacted = redact(call, SECRET)
    (output,) = [
        entry.what
        for entry in redacted.sessions[0].entries
        if isinstance(entry.what, journal.ModelOutput)
    ]
    return output.calls[0].arguments


def test_arguments_stay_what_the_tool_takes() -> None:
    made = msgspec.json.decode(masked(asked(msgspec.json.encode(ARGUMENTS).decode())))
    kept = {name for name, value in ARGUMENTS.items() if made[name] == value}
    assert kept == {"size"}  # the agent's own word
    reserve.parse(msgspec.json.encode(made).decode())
    assert [type(each) for each in made.values()] == [type(each) for each in ARGUMENTS.values()]


@pytest.mark.parametrize(
    "arguments",
    ["{broken Lovelace", '{"name":"Lovelace"}', '["Lovelace"]', '"Lovelace"', '{"Lovelace":1}', ""],
)
def test_arguments_that_a_tool_refuses_are_refused_again(arguments: str) -> None:
    assert "ovelac" not in masked(asked(arguments))


def test_a_tool_that_is_none_stays_none() -> None:
    call = asked('{"name":"Lovelace"}', name="Lovelace")
    assert "ovelac" not in callfile.encode(redact(call, SECRET)).decode()


def test_an_argument_that_takes_no_placeholder_is_an_error() -> None:
    from typing import Annotated

    @tool(effect="read")
    def find(code: Annotated[str, msgspec.Meta(pattern="^Ada-1$")]) -> str:
        """Find by code."""
        return code

    call = asked('{"code":"Ada-1"}', (*TOOLS, find), "find")
    with pytest.raises(JournalError, match="argument code of tool find cannot be redacted"):
        redact(call)
