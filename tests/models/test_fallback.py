from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from tests.models.support import ASK, collect, said, until_failure
from voxyray.errors import ModelError, ModelTimeout, SettingsError
from voxyray.models import Delta, Finish, ModelRequest, TextDelta, ToolCall, Usage
from voxyray.models.fallback import FallbackModel


class Fake:
    """Yields its script; an exception in it is raised, None waits for ever."""

    def __init__(self, name: str, *script: Delta | Exception | None) -> None:
        self.name = name
        self.script = script
        self.asked = 0
        self.requests: list[ModelRequest] = []
        self.done: list[str] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        self.asked += 1
        self.requests.append(request)
        try:
            for step in self.script:
                if step is None:
                    await asyncio.Event().wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.done.append("stream closed")

    async def warm(self) -> None:
        self.done.append("warmed")

    async def close(self) -> None:
        self.done.append("closed")


HELLO = TextDelta("Hello")
CALL = ToolCall("1", "book", "{}")


async def test_the_first_answers_and_the_second_is_not_asked() -> None:
    first, second = Fake("a", HELLO, Finish("stop", "a")), Fake("b")
    assert await collect(FallbackModel([first, second])) == [HELLO, Finish("stop", "a")]
    assert second.asked == 0


@pytest.mark.parametrize(
    "failure", [ModelError("busy"), ModelError("bad key", retryable=False), ModelTimeout("late")]
)
async def test_the_next_is_asked_after_any_failure_before_the_first_word(
    failure: ModelError,
) -> None:
    first, second = Fake("a", failure), Fake("b", HELLO, Finish("stop", "b"))
    hello, finish = await collect(FallbackModel([first, second]))
    assert hello == HELLO
    assert isinstance(finish, Finish)
    assert finish.model == "b"
    assert [(each.model, each.outcome) for each in finish.attempts] == [
        ("a", "failed"),
        ("b", "answered"),
    ]
    assert first.done == ["stream closed"]


async def test_usage_is_no_word() -> None:
    first = Fake("a", Usage(3), ModelError("cut"))
    second = Fake("b", HELLO, Usage(4), Finish("stop"))
    *deltas, finish = await collect(FallbackModel([first, second]))
    assert deltas == [HELLO, Usage(4)]
    assert isinstance(finish, Finish)
    assert finish.model == "b"


async def test_a_tool_call_of_an_answer_that_broke_off_is_asked_for_anew() -> None:
    other = ToolCall("2", "book", "{}")
    first, second = Fake("a", CALL, ModelError("cut")), Fake("b", other, Finish("tool_calls"))
    calls = [
        delta
        for delta in await collect(FallbackModel([first, second]))
        if isinstance(delta, ToolCall)
    ]
    assert calls == [other]
    assert second.requests == [ASK]


@pytest.mark.parametrize("failure", [ModelError("cut"), ModelTimeout("stalled"), None])
async def test_an_answer_that_breaks_off_goes_on_in_another_model(
    failure: ModelError | None,
) -> None:
    script = [failure] if failure else []
    first = Fake("a", TextDelta("We are open until six, and"), *script)
    second = Fake("b", TextDelta("until six"), TextDelta(", and on Sundays."), Finish("stop"))
    deltas = await collect(FallbackModel([first, second]))
    assert said(deltas) == "We are open until six, and on Sundays."
    finish = deltas[-1]
    assert isinstance(finish, Finish)
    assert [each.outcome for each in finish.attempts] == ["broke off", "answered"]
    *before, prefix, ask = second.requests[0].messages
    assert tuple(before) == ASK.messages
    assert (prefix.role, prefix.content) == ("assistant", "We are open until six, and")
    assert ask.role == "user"
    assert "“open until six, and”" in str(ask.content)


async def test_when_nobody_can_go_on_the_failure_is_passed_on() -> None:
    failure = ModelTimeout("stalled")
    models = [Fake("a", HELLO, failure), Fake("b", ModelError("busy"))]
    deltas, error = await until_failure(FallbackModel(models))
    assert (deltas, error) == ([HELLO], failure)


async def test_when_all_fail_each_is_named() -> None:
    first, second = Fake("a", ModelError("a: busy")), Fake("b", ModelError("no", retryable=False))
    deltas, error = await until_failure(FallbackModel([first, second]))
    assert deltas == []
    assert str(error) == "no model answered: a: busy; b: no"
    assert isinstance(error, ModelError)
    assert error.retryable


async def test_nothing_is_worth_a_retry_when_no_failure_was() -> None:
    models = [Fake(name, ModelError("bad", retryable=False)) for name in "ab"]
    _, error = await until_failure(FallbackModel(models))
    assert isinstance(error, ModelError)
    assert not error.retryable


async def test_an_error_of_the_program_is_no_reason_to_fall_back() -> None:
    second = Fake("b", HELLO, Finish("stop"))
    with pytest.raises(ZeroDivisionError):
        await collect(FallbackModel([Fake("a", ZeroDivisionError()), second]))
    assert second.asked == 0


async def test_closing_closes_the_one_that_answers() -> None:
    first = Fake("a", HELLO, None)
    async with aclosing(FallbackModel([first, Fake("b")]).stream(ASK)) as stream:
        assert await anext(stream) == HELLO
    assert first.done == ["stream closed"]


async def test_cancelling_cancels_the_one_that_answers_and_asks_no_other() -> None:
    first, second = Fake("a", None), Fake("b", HELLO, Finish("stop"))
    task = asyncio.create_task(collect(FallbackModel([first, second])))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert first.done == ["stream closed"]
    assert second.asked == 0


async def test_name_warm_and_close_reach_all() -> None:
    first, second = Fake("a"), Fake("b")
    model = FallbackModel([first, second])
    assert model.name == "a > b"
    await model.warm()
    await model.close()
    assert first.done == second.done == ["warmed", "closed"]


async def test_all_are_closed_though_one_cannot_be() -> None:
    class Stuck(Fake):
        async def close(self) -> None:
            raise OSError("stuck")

    second = Fake("b")
    with pytest.raises(OSError, match="stuck"):
        await FallbackModel([Stuck("a"), second]).close()
    assert second.done == ["closed"]


def test_without_a_model_there_is_nothing_to_ask() -> None:
    with pytest.raises(SettingsError, match="VOXYRAY_MODEL"):
        FallbackModel([])
