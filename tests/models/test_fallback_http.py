"""Several models over real connections: every way in which a provider goes wrong, anywhere."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from yarl import URL

from tests.models.support import KEY, SOON_S, WITH_TOOL, collect, on_virtual_time, said
from voxyray.models import Finish, ToolCall
from voxyray.models.fallback import FallbackModel
from voxyray.models.openai import OpenAIModel
from voxyray.twin.provider import Behaviour, Provider, Script

TEXT = "We are open until six, and on Saturdays until noon. Shall I book you a slot?"
TOKENS = re.findall(r"\s*\S+", TEXT)
CALL = ToolCall("a", "book", '{"slot": "Mon 9:00"}')


@asynccontextmanager
async def two(
    first: Script, second: Script, *, side_by_side: bool = True
) -> AsyncGenerator[tuple[Provider, Provider, FallbackModel]]:
    async with Provider.serve(first) as one, Provider.serve(second) as other:
        models = [
            OpenAIModel(name, api_key=KEY, base_url=provider.base_url, stall_timeout_s=2)
            for name, provider in (("a", one), ("b", other))
        ]
        model = FallbackModel([models] if side_by_side else models)
        try:
            yield one, other, model
        finally:
            await model.close()


def broken_at(behaviour: Behaviour, trouble: str, place: int) -> Behaviour:
    return msgspec.structs.replace(behaviour, **{trouble: place})


def obedient(body: dict[str, Any]) -> Behaviour:
    """Repeat the words that are asked for, complete the last, and go on."""
    asked = re.search(r"at “(.*)”, and was heard", str(body["messages"][-1]["content"]))
    return Behaviour(text=TEXT[TEXT.index(asked[1]) :] if asked else TEXT)


def silent_about_it(body: dict[str, Any]) -> Behaviour:
    """Go on with the next word, repeating nothing."""
    heard = str(body["messages"][-2]["content"])
    return Behaviour(text=TEXT[len(heard) :].lstrip() or ".")


@pytest.mark.parametrize("second", [Behaviour(text=TEXT), obedient, silent_about_it])
@pytest.mark.parametrize("trouble", ["truncate_at", "corrupt_at", "error_at", "stall_at"])
def test_whatever_breaks_an_answer_anywhere_each_word_is_said_once(
    trouble: str, second: Script
) -> None:
    @on_virtual_time
    async def run() -> None:
        for place in range(1, len(TOKENS)):
            broken = broken_at(Behaviour(text=TEXT), trouble, place)
            async with two(broken, second, side_by_side=place % 2 == 0) as (_, other, model):
                deltas = await collect(model)
            assert said(deltas) == TEXT
            finish = deltas[-1]
            assert isinstance(finish, Finish)
            assert finish.model == "openai:b"
            assert len(other.requests) == 1

    run()


@on_virtual_time
async def test_a_stream_that_ends_at_any_byte_goes_on() -> None:
    async with Provider.serve(Behaviour(text=TEXT)) as provider:
        whole = await _body(provider)
    for end in range(0, len(whole), 97):
        async with two(Behaviour(raw=(whole[:end],)), Behaviour(text=TEXT)) as (_, _, model):
            assert said(await collect(model)) == TEXT


async def _body(provider: Provider) -> bytes:
    """Give the bytes of an answer, cut before its finish."""
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(provider.base_url).port)
    ask = b'{"messages": []}'
    head = "POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    writer.write((head % len(ask)).encode() + ask)
    answer = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    body = answer.partition(b"\r\n\r\n")[2]
    return body[: body.index(b'"finish_reason":"stop"')]


@pytest.mark.parametrize(
    "broken",
    [
        Behaviour(status=429),
        Behaviour(status=500),
        Behaviour(status=401),
        Behaviour(reset=True),
        Behaviour(truncate_at=0),
        Behaviour(corrupt_at=0),
        Behaviour(hang="headers"),
        Behaviour(hang="first_token", comment_ms=100),
        Behaviour(first_token_ms=3000, text="late"),
    ],
)
@on_virtual_time
async def test_a_provider_that_says_nothing_is_made_up_for(broken: Behaviour) -> None:
    hangs = bool(broken.hang or broken.first_token_ms)
    async with two(broken, Behaviour(text=TEXT)) as (first, _, model):
        deltas = await collect(model)
        assert said(deltas) == TEXT
        finish = deltas[-1]
        assert isinstance(finish, Finish)
        assert [each.outcome for each in finish.attempts] == [
            "late" if hangs else "failed",
            "answered",
        ]
        if hangs:
            cut = await asyncio.wait_for(first.wait_cancelled(), SOON_S)
            assert cut.tokens == 0


@on_virtual_time
async def test_the_loser_is_cut_off_while_the_winner_speaks() -> None:
    loop = asyncio.get_running_loop()
    winner = Behaviour(text=TEXT, rate=2)
    async with two(Behaviour(first_token_ms=8000), winner) as (first, _, model):
        deltas = await collect(model)
        assert said(deltas) == TEXT
        assert first.cancelled[0].at < loop.time() - 5
        assert len(first.requests) == 1


@pytest.mark.parametrize("place", range(1, 6))
@pytest.mark.parametrize("trouble", ["truncate_at", "stall_at"])
def test_a_tool_call_that_was_begun_is_asked_for_anew(trouble: str, place: int) -> None:
    @on_virtual_time
    async def run() -> None:
        broken = broken_at(Behaviour(tool_calls=(CALL,)), trouble, place)
        async with two(broken, Behaviour(tool_calls=(CALL,))) as (_, other, model):
            deltas = await collect(model, WITH_TOOL)
        calls = [delta for delta in deltas if isinstance(delta, ToolCall)]
        assert [(call.name, call.arguments) for call in calls] == [("book", CALL.arguments)]
        assert len(other.requests[0].body["messages"]) == len(WITH_TOOL.messages)

    run()
