"""What every `Model` must do. A new kind of model gives its `Stage` and passes these.

A test module subclasses `ModelContract` and gives it a `stage` fixture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Literal, NamedTuple, TypeAlias

import pytest

from tests.models.support import ASK, SOON_S, WITH_TOOL, collect, said, until_failure
from voxyray.errors import ModelError, ModelTimeout
from voxyray.models import Delta, Finish, Model, TextDelta, ToolCall, Usage

Scene: TypeAlias = Literal[
    "talks",  # says TEXT, and counts USAGE
    "works",  # calls the two TOOLS, the second without arguments
    "refuses",  # fails before any word, and no retry can help
    "truncates",  # ends after some words without a finish
    "stalls",  # says some words, then nothing more
    "never begins",
    "talks on",  # some words every ms, for long
]

TEXT = "We are open until six, and on Saturdays until noon."
USAGE = Usage(30, 11, 24)
TOOLS = (ToolCall("a", "book", '{"slot": "Mon 9:00"}'), ToolCall("b", "quit", ""))


class Actor(NamedTuple):
    """A model that plays a scene; dropped waits until a stream of it was closed upstream."""

    model: Model
    dropped: Callable[[], Awaitable[object]]


Stage: TypeAlias = Callable[[Scene], AbstractAsyncContextManager[Actor]]


def finishes(deltas: list[Delta]) -> list[Finish]:
    return [delta for delta in deltas if isinstance(delta, Finish)]


class ModelContract:
    async def test_says_all_words_then_usage_then_one_finish(self, stage: Stage) -> None:
        async with stage("talks") as actor:
            deltas = await collect(actor.model)
        assert said(deltas) == TEXT
        assert all(delta.text for delta in deltas if isinstance(delta, TextDelta))
        assert deltas[-2] == USAGE
        assert [finish.reason for finish in finishes(deltas)] == ["stop"]
        finish = deltas[-1]
        assert isinstance(finish, Finish)
        assert finish.model
        assert finish.model in actor.model.name

    async def test_yields_whole_tool_calls_before_the_finish(self, stage: Stage) -> None:
        async with stage("works") as actor:
            deltas = await collect(actor.model, WITH_TOOL)
        calls = [delta for delta in deltas if isinstance(delta, ToolCall)]
        assert [(call.name, call.arguments) for call in calls] == [
            ("book", TOOLS[0].arguments),
            ("quit", "{}"),
        ]
        assert len({call.id for call in calls}) == 2
        assert finishes(deltas) == [deltas[-1]]
        assert deltas[-1].reason == "tool_calls"  # type: ignore[union-attr]

    async def test_tells_a_refusal(self, stage: Stage) -> None:
        async with stage("refuses") as actor:
            deltas, error = await until_failure(actor.model)
        assert deltas == []
        assert isinstance(error, ModelError)
        assert not error.retryable
        assert actor.model.name.split(" > ")[0] in str(error)

    async def test_tells_that_a_stream_was_truncated(self, stage: Stage) -> None:
        async with stage("truncates") as actor:
            deltas, error = await until_failure(actor.model)
        assert TEXT.startswith(said(deltas))
        assert said(deltas)
        assert finishes(deltas) == []
        assert isinstance(error, ModelError)
        assert error.retryable

    async def test_a_stall_ends_in_a_timeout_and_closes_upstream(self, stage: Stage) -> None:
        async with stage("stalls") as actor:
            deltas, error = await until_failure(actor.model)
            assert said(deltas)
            assert isinstance(error, ModelTimeout)
            await asyncio.wait_for(actor.dropped(), SOON_S)

    async def test_a_first_token_that_never_comes_is_an_error(self, stage: Stage) -> None:
        async with stage("never begins") as actor:
            deltas, error = await until_failure(actor.model)
            assert deltas == []
            assert isinstance(error, ModelError)
            await asyncio.wait_for(actor.dropped(), SOON_S)

    async def test_aclose_closes_upstream(self, stage: Stage) -> None:
        async with stage("talks on") as actor:
            async with aclosing(actor.model.stream(ASK)) as stream:
                assert isinstance(await anext(stream), TextDelta)
            await asyncio.wait_for(actor.dropped(), SOON_S)

    async def test_cancelling_closes_upstream(self, stage: Stage) -> None:
        async with stage("talks on") as actor:
            begun = asyncio.Event()

            async def listen() -> None:
                async for _ in actor.model.stream(ASK):
                    begun.set()

            task = asyncio.create_task(listen())
            await asyncio.wait_for(begun.wait(), SOON_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(actor.dropped(), SOON_S)

    async def test_a_stream_that_nobody_began_costs_nothing(self, stage: Stage) -> None:
        async with stage("talks") as actor:
            await actor.model.stream(ASK).aclose()

    async def test_answers_many_at_once_and_one_after_the_other(self, stage: Stage) -> None:
        async with stage("talks") as actor:
            for _ in range(2):
                answers = await asyncio.gather(*(collect(actor.model) for _ in range(10)))
                assert [said(deltas) for deltas in answers] == [TEXT] * 10

    @pytest.mark.parametrize("scene", ["talks", "refuses", "never begins"])
    async def test_warm_and_close_never_fail(self, stage: Stage, scene: Scene) -> None:
        async with stage(scene) as actor:
            await actor.model.close()
            await actor.model.warm()
            await actor.model.warm()
            await actor.model.close()
            await actor.model.close()

    async def test_warm_leaves_the_answer_as_it_is(self, stage: Stage) -> None:
        async with stage("talks") as actor:
            await actor.model.warm()
            assert said(await collect(actor.model)) == TEXT
