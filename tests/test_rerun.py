"""The rest of a call once more: the caller's words as they were, the agent's as they are now."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.desk import Desk
from tests.support.models import ScriptedModel, words
from tests.support.recorded import recorded
from tests.test_replay import talk
from voxyray import events
from voxyray.call import Call
from voxyray.callfile import CallFile, setup_of
from voxyray.errors import JournalError
from voxyray.models import Finish, ToolCall
from voxyray.rerun import NOT_RUN, Answer, Used, rerun
from voxyray.twin import virtual


async def answers(call: CallFile, turn: int, model: Any, *more: str) -> list[Answer]:
    return [each async for each in rerun(call, turn, model, *more)]


def asking(word: str) -> list[Any]:
    return [ToolCall("x", "look_up", f'{{"word": "{word}"}}'), Finish("tool_calls")]


@virtual
async def test_the_caller_says_the_same_and_the_model_something_else() -> None:
    model = ScriptedModel(["What is meant by that?"], ["Goodbye then."])
    first, *others = await answers(recorded(talk()), 2, model, "Ask back.")
    assert first == Answer(
        2, "and what is love?", "It is a feeling that many have.", "What is meant by that?"
    )
    assert [each.caller for each in others] == ["bye"]
    messages = model.requests[0].messages
    assert messages[0].content == "Ask back."
    assert [each.content for each in messages[2:]] == [
        "hello",
        "It costs five.",
        "and what is love?",
    ]


@virtual
async def test_they_cut_in_after_as_many_words() -> None:
    model = ScriptedModel(words("It is what you make of it, I suppose."), ["Bye."])
    await answers(recorded(talk()), 2, model)
    assert "It is what—" in [message.content for message in model.requests[1].messages]


@virtual
async def test_tools_are_answered_from_the_record_or_not_at_all() -> None:
    model = ScriptedModel(asking("love"), ["A feeling."], asking("hate"), ["I cannot."])
    first, second = await answers(recorded(talk()), 2, model)
    assert first.used == (Used("look_up", '{"word":"love"}', recorded=True),)
    assert model.requests[1].messages[-1].content == "a feeling"
    assert second.used == (Used("look_up", '{"word":"hate"}', recorded=False),)
    assert model.requests[3].messages[-1].content == f"Error: {NOT_RUN.format('look_up')}"


@virtual
async def test_an_end_that_was_recorded_ends_the_call() -> None:
    transfer: list[Any] = [ToolCall("x", "transfer", '{"reason": "billing"}'), Finish("tool_calls")]
    made = await answers(recorded(talk()), 2, ScriptedModel(["Well."], transfer))
    assert [(each.new, each.used[0].recorded) for each in made[1:]] == [
        ("I'll put you through.", True)
    ]


@virtual
async def test_keys_are_pressed_again() -> None:
    desk = Desk()
    setup = setup_of(desk.call)
    desk.say("hello")
    desk.answer("Your number, please.")
    desk.press("42")
    desk.pass_time(3)
    desk.answer("Forty-two.")
    desk.do(events.Closed(1000))
    model = ScriptedModel(["Thank you."])
    (answer,) = await answers(recorded(desk, setup), 2, model)
    assert answer == Answer(2, "[pressed 4 2]", "Forty-two.", "Thank you.")
    assert model.requests[0].messages[-1].content == "[The caller pressed 4 2.]"


@virtual
async def test_a_turn_that_is_none() -> None:
    with pytest.raises(JournalError, match=r"no turn 9 to go on from; there are 1, 2, 3, 4, 5"):
        await answers(recorded(talk()), 9, ScriptedModel())


@virtual
async def test_a_difference_before_the_turn_is_an_error() -> None:
    call = recorded(talk())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Call, "_filler_of", lambda *_: "Hmm.")
        with pytest.raises(JournalError, match="cannot be replayed up to turn 5: turn 2"):
            await answers(call, 5, ScriptedModel())
