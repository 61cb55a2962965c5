"""OpenAIModel against a provider that behaves badly in every way we know."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.support import (
    ASK,
    KEY,
    SOON_S,
    WITH_TOOL,
    answer,
    collect,
    on_virtual_time,
    said,
    serving,
    until_failure,
)
from voxyray.errors import ModelError, ModelTimeout
from voxyray.models import (
    Delta,
    Finish,
    Message,
    ModelRequest,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)
from voxyray.models.openai import GRACE_S, MESSAGE_CHARS, OpenAIModel
from voxyray.models.openai_chunks import AnswerDecoder
from voxyray.twin.provider import Behaviour, Provider, ToolStyle, tool_parts

STOP = Finish("stop", "openai:test")
CALLS = Finish("tool_calls", "openai:test")
BOOK = ToolCall("call_a", "book", '{"slot":"Mon 9:00","name":"Ada"}')
LOOK = ToolCall("call_b", "look", '{"day":"Monday"}')
QUIT = ToolCall("call_c", "quit", "")
QUIT_COMPLETED = ToolCall("call_c", "quit", "{}")


def event(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def words(text: str, finish: str | None = None, **more: Any) -> bytes:
    return event({"choices": [{"delta": {"content": text}, "finish_reason": finish}], **more})


def delta(finish: str | None = None, **fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]})


DONE = b"data: [DONE]\n\n"
END = delta("stop") + DONE


async def raw(*pieces: bytes) -> list[Delta]:
    return await answer(Behaviour(raw=pieces))


async def failure(script: Behaviour, **options: Any) -> tuple[list[Delta], ModelError]:
    async with serving(script, **options) as (_, model):
        deltas, error = await until_failure(model)
    assert isinstance(error, ModelError), error
    assert str(error).startswith("openai:test: ")
    return deltas, error


async def raw_failure(*pieces: bytes) -> tuple[list[Delta], ModelError]:
    return await failure(Behaviour(raw=pieces))


# ------------------------------------------------------------------ words


async def test_words_usage_and_one_finish() -> None:
    deltas = await answer(Behaviour(tokens=3, usage=Usage(20, 3, 16)))
    assert said(deltas) == " word1 word2 word3"
    assert deltas[-2:] == [Usage(20, 3, 16), STOP]


async def test_a_burst_leaves_as_one_delta() -> None:
    deltas = await answer(Behaviour(tokens=600))
    texts = [delta for delta in deltas if isinstance(delta, TextDelta)]
    assert said(deltas).split() == [f"word{number}" for number in range(1, 601)]
    assert len(texts) <= 5  # as many as reads; 600 where each token leaves alone


@on_virtual_time
async def test_the_first_token_waits_for_no_second() -> None:
    async with serving(Behaviour(first_token_ms=200, rate=0.5, tokens=2)) as (_, model):
        loop = asyncio.get_running_loop()
        began = loop.time()
        times = [(loop.time() - began, delta) async for delta in model.stream(ASK)]
    assert [delta for _, delta in times] == [TextDelta(" word1"), TextDelta(" word2"), STOP]
    assert times[0][0] == pytest.approx(0.2, abs=0.05)
    assert times[1][0] == pytest.approx(2.2, abs=0.05)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
async def test_any_line_end(newline: Any) -> None:
    assert said(await answer(Behaviour(tokens=2, newline=newline))) == " word1 word2"


async def test_a_character_cut_in_two() -> None:
    chunk = 'data: {"choices":[{"delta":{"content":"café €"}}]}\n\n'.encode()
    pieces = [bytes([byte]) for byte in chunk]
    assert said(await raw(*pieces, END)) == "café €"


async def test_a_refusal_is_spoken() -> None:
    assert said(await answer(Behaviour(refusal="I cannot do that."))) == "I cannot do that."


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning_is_never_text(field: str) -> None:
    pieces = delta(**{field: "the caller seems"}), delta(content=None, **{field: "odd"})
    assert await raw(*pieces, words("Hi"), END) == [TextDelta("Hi"), STOP]


async def test_parts_of_content_speak_only_their_text() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}, 7]
    assert said(await raw(delta(content=parts), END)) == "Hi"


async def test_only_the_first_choice_is_spoken() -> None:
    both = {"choices": [{"index": 1, "delta": {"content": "no"}}, {"delta": {"content": "yes"}}]}
    assert said(await raw(event(both), END)) == "yes"


async def test_a_message_beside_the_delta_is_not_spoken_twice() -> None:
    both = {"choices": [{"delta": {"content": "Hi"}, "message": {"content": "Hi"}}]}
    assert said(await raw(event(both), words(" there"), END)) == "Hi there"


async def test_events_without_data_and_empty_choices_are_nothing() -> None:
    nothing = b": ping\n\ndata:\n\n" + event({"choices": []}) + event({"choices": None})
    assert await raw(nothing, words("Hi"), delta(), END) == [TextDelta("Hi"), STOP]


# ------------------------------------------------------------------ tool calls

STYLES = ["openai", "interleaved", "whole", "repeated", "no_index", "index_0", "objects"]


@pytest.mark.parametrize("style", STYLES)
async def test_parallel_tool_calls_in_any_style(style: ToolStyle) -> None:
    script = Behaviour(tool_calls=(BOOK, LOOK, QUIT), tool_style=style, usage=Usage(9, 5))
    assert await answer(script) == [BOOK, LOOK, QUIT_COMPLETED, Usage(9, 5), CALLS]


@pytest.mark.parametrize("style", ["no_id", "no_index_no_id"])
async def test_missing_ids_are_made_the_same_every_time(style: ToolStyle) -> None:
    deltas = await answer(Behaviour(tool_calls=(BOOK, LOOK), tool_style=style))
    assert deltas == [
        ToolCall("call_0", "book", BOOK.arguments),
        ToolCall("call_1", "look", LOOK.arguments),
        CALLS,
    ]


async def test_calls_without_index_id_and_arguments_are_told_apart_by_name() -> None:
    calls = [{"function": {"name": name, "arguments": ""}} for name in ("quit", "look")]
    pieces = [delta(tool_calls=[call]) for call in calls]
    assert await raw(*pieces, delta("tool_calls"), DONE) == [
        ToolCall("call_0", "quit", "{}"),
        ToolCall("call_1", "look", "{}"),
        CALLS,
    ]


async def test_ids_are_unique_though_the_server_repeats_them() -> None:
    deltas = await answer(Behaviour(tool_calls=(BOOK, LOOK), tool_style="same_id"))
    assert deltas == [
        ToolCall("same", "book", BOOK.arguments),
        ToolCall("call_1", "look", LOOK.arguments),
        CALLS,
    ]


async def test_a_made_up_id_evades_those_given() -> None:
    parts = [
        {"index": 0, "id": "call_1", "function": {"name": "book", "arguments": "{}"}},
        {"index": 1, "function": {"name": "look", "arguments": "{}"}},
    ]
    deltas = await raw(delta(tool_calls=parts), delta("tool_calls"), DONE)
    assert deltas == [ToolCall("call_1", "book", "{}"), ToolCall("call_1_", "look", "{}"), CALLS]


async def test_an_id_that_changes_in_every_chunk_is_still_one_call() -> None:
    deltas = await answer(Behaviour(tool_calls=(BOOK,), tool_style="new_ids"))
    assert deltas == [ToolCall("random-0", "book", BOOK.arguments), CALLS]


async def test_one_tool_twice_with_other_arguments_is_two_calls() -> None:
    twice = (BOOK, ToolCall("", "book", '{"slot":"Tue"}'))
    deltas = await answer(Behaviour(tool_calls=twice, tool_style="no_index_no_id"))
    assert [call.arguments for call in deltas if isinstance(call, ToolCall)] == [
        BOOK.arguments,
        '{"slot":"Tue"}',
    ]


async def test_a_call_sent_again_whole_is_one_call() -> None:
    part = {"index": 0, "id": "x", "function": {"name": "book", "arguments": '{"a":1}'}}
    deltas = await raw(delta(tool_calls=[part]), delta("tool_calls", tool_calls=[part]), DONE)
    assert deltas == [ToolCall("x", "book", '{"a":1}'), CALLS]


async def test_a_name_in_pieces() -> None:
    parts = [
        {"index": 0, "id": "x", "function": {"name": "bo"}},
        {"index": 0, "function": {"name": "ok", "arguments": "{}"}},
    ]
    pieces = [delta(tool_calls=[part]) for part in parts]
    assert await raw(*pieces, delta("tool_calls"), DONE) == [ToolCall("x", "book", "{}"), CALLS]


async def test_the_legacy_function_call() -> None:
    pieces = delta(function_call={"name": "book"}), delta(function_call={"arguments": "{}"})
    deltas = await raw(*pieces, delta("function_call"), DONE)
    assert deltas == [ToolCall("call_0", "book", "{}"), CALLS]


async def test_words_come_before_the_calls() -> None:
    deltas = await answer(Behaviour(text="One moment.", tool_calls=(LOOK,)))
    assert said(deltas) == "One moment."
    assert deltas[-2:] == [LOOK, CALLS]


async def test_a_call_is_yielded_only_when_whole() -> None:
    script = Behaviour(tool_calls=(BOOK,), truncate_at=4)
    deltas, error = await failure(script)
    assert deltas == []
    assert "truncated" in str(error)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_call_cut_by_the_limit_never_runs(reason: Any) -> None:
    cut = ToolCall("x", "book", '{"slot":"Mo')
    deltas = await answer(Behaviour(tool_calls=(LOOK, cut), finish=reason))
    assert deltas == [LOOK, Finish(reason, "openai:test")]


async def test_a_call_without_a_name_is_an_error() -> None:
    nameless = delta(tool_calls=[{"index": 0, "id": "x", "function": {"arguments": "{}"}}])
    _, error = await raw_failure(nameless, delta("tool_calls"), DONE)
    assert "without a name" in str(error)


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.sampled_from([BOOK, LOOK, QUIT]), min_size=1, max_size=3, unique=True),
    st.sampled_from(STYLES),
    st.lists(st.integers(0, 5000), max_size=12),
)
def test_tool_calls_however_the_bytes_are_cut(
    calls: list[ToolCall], style: ToolStyle, places: list[int]
) -> None:
    parts = tool_parts(calls, style)
    stream = b"".join(delta(tool_calls=[part]) for part in parts) + delta("tool_calls") + DONE
    edges = [0, *sorted(place % len(stream) for place in places), len(stream)]
    decoder = AnswerDecoder()
    for start, end in pairwise(edges):
        assert decoder.feed(stream[start:end]) == ""
    expected = [QUIT_COMPLETED if call is QUIT else call for call in calls]
    assert decoder.tool_calls() == expected
    assert decoder.done


# ------------------------------------------------------------------ finish and usage


@pytest.mark.parametrize(
    ("said_by_server", "meant"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
        ("tool_calls", "stop"),  # there are none
        ("function_call", "stop"),
    ],
)
async def test_finish_reasons(said_by_server: str, meant: Any) -> None:
    deltas = await answer(Behaviour(tokens=1, finish=said_by_server))
    assert deltas[-1] == Finish(meant, "openai:test")


async def test_a_stop_with_tool_calls_means_tool_calls() -> None:
    assert await answer(Behaviour(tool_calls=(LOOK,), finish="stop")) == [LOOK, CALLS]


async def test_words_beside_the_finish_are_spoken() -> None:
    assert await raw(words("Bye", "stop"), DONE) == [TextDelta("Bye"), STOP]


async def test_done_may_be_missing() -> None:
    assert (await answer(Behaviour(tokens=1, done=False, usage=Usage(1))))[-2:] == [Usage(1), STOP]


@on_virtual_time
async def test_after_the_finish_only_a_short_grace_is_waited() -> None:
    async with serving(Behaviour(tokens=1, hang="after_finish", usage=Usage(4))) as (
        provider,
        model,
    ):
        began = asyncio.get_running_loop().time()
        deltas = await collect(model)
        assert asyncio.get_running_loop().time() - began == pytest.approx(GRACE_S, abs=0.05)
        assert deltas == [TextDelta(" word1"), Usage(4), STOP]
        await asyncio.wait_for(provider.wait_cancelled(), SOON_S)


@pytest.mark.parametrize(
    "junk",
    [
        words("more"),
        b"data: {broken\n\n",
        event({"error": {"message": "late"}}),
        event([1]),
        delta("length"),
        delta(tool_calls=[{"index": 0, "function": {"name": "book"}}]),
    ],
)
async def test_after_the_finish_only_usage_counts(junk: bytes) -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    assert await raw(words("Hi"), delta("stop"), junk, usage, DONE) == [
        TextDelta("Hi"),
        Usage(3, 2),
        STOP,
    ]


async def test_a_break_after_the_finish_is_no_failure() -> None:
    async with broken_off(words("Hi") + delta("stop")) as model:
        assert await collect(model) == [TextDelta("Hi"), STOP]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, []),
        ({"prompt_tokens": 5}, [Usage(5)]),
        ({"prompt_tokens": 5, "prompt_tokens_details": None}, [Usage(5)]),
        ({"completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}, [Usage(0, 2, 4)]),
        ({"prompt_tokens": None, "completion_tokens": 2}, [Usage(0, 2)]),
        ({"prompt_tokens": "many"}, []),
        ("much", []),
    ],
)
async def test_usage_in_any_shape(usage: Any, expected: list[Delta]) -> None:
    assert await raw(words("Hi"), words("", "stop", usage=usage), DONE) == [
        TextDelta("Hi"),
        *expected,
        STOP,
    ]


async def test_of_running_usage_the_last_counts() -> None:
    chunks = [words("a", usage={"prompt_tokens": 5, "completion_tokens": n}) for n in (1, 2, 3)]
    assert (await raw(*chunks, delta("stop"), DONE))[-2:] == [Usage(5, 3), STOP]


# ------------------------------------------------------------------ no stream at all


@pytest.mark.parametrize("padding", [b"", b"\n \n"])
async def test_one_json_answer_instead_of_a_stream(padding: bytes) -> None:
    body = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    text = json.dumps({**body, "usage": {"prompt_tokens": 2}}, indent=1).encode()
    deltas = await raw(padding, *(text[at : at + 9] for at in range(0, len(text), 9)))
    assert deltas == [TextDelta("Hi"), Usage(2), STOP]


async def test_one_json_answer_with_tool_calls() -> None:
    script = Behaviour(json=True, text="Wait.", tool_calls=(BOOK, QUIT), usage=Usage(3, 4))
    assert await answer(script) == [TextDelta("Wait."), BOOK, QUIT_COMPLETED, Usage(3, 4), CALLS]


async def test_one_json_answer_as_the_only_event() -> None:
    body = {"choices": [{"message": {"content": "Hi"}, "finish_reason": None}]}
    assert await raw(event(body), DONE) == [TextDelta("Hi"), STOP]


async def test_an_error_as_json_with_status_200() -> None:
    deltas, error = await raw_failure(b'{"error": {"message": "no such engine"}}')
    assert deltas == []
    assert "no such engine" in str(error)


async def test_a_json_answer_cut_off() -> None:
    _, error = await raw_failure(b'{"choices": [{"message"')
    assert "no chunk" in str(error)


# ------------------------------------------------------------------ errors in the stream


@pytest.mark.parametrize("as_event", [False, True])
async def test_an_error_in_the_stream(as_event: bool) -> None:
    script = Behaviour(error_at=2, error="overloaded", error_event=as_event)
    deltas, error = await failure(script)
    assert said(deltas) == " word1 word2"  # what came before it was good
    assert "overloaded" in str(error)
    assert error.retryable


@pytest.mark.parametrize("body", [b'{"message": "overloaded"}', b"overloaded", b'"overloaded"'])
async def test_an_error_event_in_any_shape(body: bytes) -> None:
    deltas, error = await raw_failure(words("Hi"), b"event: error\ndata: " + body + b"\n\n")
    assert deltas == [TextDelta("Hi")]
    assert "reported an error: " in str(error)
    assert "overloaded" in str(error)


@pytest.mark.parametrize("body", ["overloaded", {"error": "overloaded"}, {"code": "overloaded"}])
async def test_an_error_chunk_in_any_shape(body: Any) -> None:
    _, error = await raw_failure(event({"error": body}))
    assert "overloaded" in str(error)


async def test_an_error_in_the_stream_that_no_retry_can_help() -> None:
    bad = {"message": "bad image", "type": "invalid_request_error"}
    _, error = await raw_failure(event({"error": bad}))
    assert not error.retryable


@pytest.mark.parametrize("tokens", [0, 3])
async def test_an_end_without_a_finish_is_truncation(tokens: int) -> None:
    deltas, error = await failure(Behaviour(truncate_at=tokens))
    assert len(said(deltas).split()) == tokens
    assert "truncated" in str(error)


async def test_done_without_a_finish_is_truncation() -> None:
    deltas, error = await raw_failure(words("Hi"), DONE)
    assert deltas == [TextDelta("Hi")]
    assert "truncated" in str(error)


async def test_an_empty_body_is_truncation() -> None:
    _, error = await raw_failure()
    assert "truncated" in str(error)


async def test_a_connection_lost_within_the_stream() -> None:
    async with broken_off(words("Hi")) as model:
        deltas, error = await until_failure(model)
    assert deltas == [TextDelta("Hi")]
    assert isinstance(error, ModelError)
    assert "broke off" in str(error)
    assert error.retryable


async def test_a_corrupt_chunk() -> None:
    deltas, error = await failure(Behaviour(tokens=9, corrupt_at=2))
    assert said(deltas) == " word1 word2"
    assert "no chunk" in str(error)


@pytest.mark.parametrize(
    "chunk",
    [
        b"data: hello\n\n",
        b"data: \xff\xfe\n\n",
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b'data: {"error":' + b"[" * 100_000 + b"\n\n",
        event(None),
        event([]),
        event({}),
        event({"message": "Not Found"}),
        event({"choices": {}}),
        event({"choices": ["x"]}),
        event({"choices": [{"delta": "x"}]}),
        event({"choices": [{"delta": {"content": 5}}]}),
        event({"choices": [{"delta": {"tool_calls": [{"function": {"arguments": 5}}]}}]}),
        event({"choices": [{"delta": {}, "finish_reason": 7}]}),
        b"<html>Bad gateway</html>\n",
        b"data: " + b"x" * (1 << 20) + b"\n\n",
    ],
)
async def test_what_is_no_chunk_is_an_error_with_a_short_excerpt(chunk: bytes) -> None:
    deltas, error = await raw_failure(words("Hi") + b"\n", chunk)
    assert deltas == [TextDelta("Hi")]
    assert len(str(error)) < MESSAGE_CHARS + 50


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"data: ", b"\n\n", b"{"]))))
def test_no_bytes_crash_the_decoder(pieces: list[bytes]) -> None:
    decoder = AnswerDecoder()
    for piece in pieces:
        decoder.feed(piece)
    decoder.end()
    decoder.tool_calls()
    decoder.usage()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "content",
                    "index",
                    "id",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "usage",
                    "error",
                    "finish_reason",
                    "message",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(JSON, max_size=5))
def test_no_json_crashes_the_decoder(bodies: list[Any]) -> None:
    decoder = AnswerDecoder()
    decoder.feed(b"".join(event(body) for body in bodies))
    decoder.tool_calls()
    decoder.usage()


# ------------------------------------------------------------------ HTTP errors


@pytest.mark.parametrize(
    ("status", "retryable", "fix"),
    [
        (400, False, "refuses the request"),
        (401, False, "check OPENAI_API_KEY"),
        (403, False, "OPENAI_API_KEY"),
        (404, False, "VOXYRAY_MODEL"),
        (408, True, "try again"),
        (409, True, "try again"),
        (418, False, ""),
        (422, False, "refuses the request"),
        (429, True, "limit"),
        (500, True, "try again"),
        (503, True, "try again"),
    ],
)
async def test_http_errors(status: int, retryable: bool, fix: str) -> None:
    deltas, error = await failure(Behaviour(status=status, error="the provider's words"))
    assert deltas == []
    assert error.retryable is retryable
    for part in (str(status), fix, "the provider's words"):
        assert part in str(error)


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async with Provider.serve() as elsewhere:
        script = Behaviour(status=307, error=f"{elsewhere.base_url}/chat/completions")
        _, error = await failure(script)
        assert elsewhere.requests == []
    assert "OPENAI_BASE_URL" in str(error)
    assert not error.retryable


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    model = OpenAIModel("test", api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")
    _, error = await until_failure(model)
    await model.close()
    assert isinstance(error, ModelError)
    assert "OPENAI_BASE_URL" in str(error)
    assert error.retryable


async def test_what_speaks_no_http() -> None:
    async with answering(b"220 smtp.example.com ESMTP\r\n") as model:
        _, error = await until_failure(model)
    assert isinstance(error, ModelError)


# ------------------------------------------------------------------ deadlines


async def deadline(script: Behaviour, **options: Any) -> tuple[list[Delta], float, str]:
    """Run into a deadline; give what came, after how many seconds, and the message."""
    loop = asyncio.get_running_loop()
    async with serving(script, **options) as (provider, model):
        began = loop.time()
        deltas, error = await until_failure(model)
        after = loop.time() - began
        assert isinstance(error, ModelTimeout), error
        assert error.retryable
        await asyncio.wait_for(provider.wait_cancelled(), SOON_S)
    return deltas, after, str(error)


@pytest.mark.parametrize("hang", ["headers", "first_token"])
@pytest.mark.parametrize("comment_ms", [0, 1000])
@on_virtual_time
async def test_no_first_token_however_busy_the_line(hang: Any, comment_ms: float) -> None:
    deltas, after, message = await deadline(Behaviour(hang=hang, comment_ms=comment_ms))
    assert deltas == []
    assert after == pytest.approx(8, abs=0.1)
    assert "no first token within 8 s" in message


@on_virtual_time
async def test_role_only_and_empty_chunks_are_no_first_token() -> None:
    async def drip() -> AsyncGenerator[bytes, None]:
        while True:
            yield delta(role="assistant", content="") + event({"choices": []}) + delta()
            await asyncio.sleep(1)

    async with streaming(drip) as model:
        began = asyncio.get_running_loop().time()
        _, error = await until_failure(model)
        assert asyncio.get_running_loop().time() - began == pytest.approx(8, abs=0.1)
    assert isinstance(error, ModelTimeout)


@pytest.mark.parametrize("comment_ms", [0, 1000])
@on_virtual_time
async def test_a_stall_within_the_stream(comment_ms: float) -> None:
    script = Behaviour(first_token_ms=200, rate=1, stall_at=3, comment_ms=comment_ms)
    deltas, after, message = await deadline(script)
    assert said(deltas) == " word1 word2 word3"
    assert after == pytest.approx(7.2, abs=0.1)
    assert "stalled for 5 s" in message


@on_virtual_time
async def test_reasoning_and_pieces_of_tool_calls_are_progress() -> None:
    script = Behaviour(reasoning=5, tool_calls=(BOOK,), rate=0.25)
    assert await answer(script) == [BOOK, CALLS]  # a piece every 4 s


@on_virtual_time
async def test_a_slow_consumer_is_no_stall() -> None:
    async with serving(Behaviour(rate=1, tokens=4)) as (_, model):
        text = ""
        async for item in model.stream(ASK):
            text += item.text if isinstance(item, TextDelta) else ""
            await asyncio.sleep(6)
    assert text == " word1 word2 word3 word4"


@on_virtual_time
async def test_no_connection_within_its_deadline() -> None:
    # A full backlog: the kernel leaves further connections unanswered.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            model = OpenAIModel("test", api_key=KEY, base_url=f"http://127.0.0.1:{address[1]}/v1")
            began = asyncio.get_running_loop().time()
            _, error = await until_failure(model)
            after = asyncio.get_running_loop().time() - began
            await model.close()
        finally:
            for filler in fillers:
                filler.close()
    assert isinstance(error, ModelTimeout)
    assert "no connection to 127.0.0.1 within 3 s" in str(error)
    assert after == pytest.approx(3, abs=0.1)


async def test_deadlines_hold_on_a_real_clock() -> None:
    deltas, _, message = await deadline(
        Behaviour(stall_at=2, comment_ms=5), stall_timeout_s=0.03, first_token_timeout_s=SOON_S
    )
    assert said(deltas) == " word1 word2"
    assert "stalled" in message


# ------------------------------------------------------------------ closing and cancelling


async def test_closing_the_generator_closes_upstream_at_once() -> None:
    async with serving(Behaviour(rate=200, tokens=10_000)) as (provider, model):
        async with aclosing(model.stream(ASK)) as stream:
            await anext(stream)
        cut = await asyncio.wait_for(provider.wait_cancelled(), SOON_S)
        assert cut.tokens < 1000


@pytest.mark.parametrize("script", [Behaviour(stall_at=1), Behaviour(hang="headers")])
async def test_cancelling_closes_upstream_at_once(script: Behaviour) -> None:
    async with serving(script) as (provider, model):
        task = asyncio.create_task(collect(model))
        await asyncio.wait_for(provider.wait_requests(), SOON_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(provider.wait_cancelled(), SOON_S)


async def test_a_failure_closes_upstream_at_once() -> None:
    async with serving(Behaviour(corrupt_at=1, hang="after_finish")) as (provider, model):
        await until_failure(model)
        await asyncio.wait_for(provider.wait_cancelled(), SOON_S)


async def test_other_streams_go_on_when_one_is_closed() -> None:
    async with serving(Behaviour(rate=2000, tokens=20)) as (_, model):
        others = [asyncio.create_task(collect(model)) for _ in range(5)]
        async with aclosing(model.stream(ASK)) as stream:
            await anext(stream)
        for deltas in await asyncio.gather(*others):
            assert len(said(deltas).split()) == 20


# ------------------------------------------------------------------ connections


async def test_a_complete_stream_gives_its_connection_back() -> None:
    async with serving(Behaviour(tokens=5, rate=1000, usage=Usage(1))) as (provider, model):
        for _ in range(3):
            await collect(model)
        assert len(provider.connections) == 1


async def test_who_stops_at_the_finish_gives_the_connection_back_too() -> None:
    async with serving(Behaviour(tokens=5, rate=1000)) as (provider, model):
        for _ in range(3):
            async with aclosing(model.stream(ASK)) as stream:
                async for item in stream:
                    if isinstance(item, Finish):
                        break
        assert len(provider.connections) == 1


@on_virtual_time
async def test_a_body_that_ends_a_little_later_gives_its_connection_back_too() -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        yield words("Hi") + END
        await asyncio.sleep(GRACE_S / 2)

    ports: set[int] = set()
    async with streaming(body, ports) as model:
        for _ in range(3):
            began = asyncio.get_running_loop().time()
            async with aclosing(model.stream(ASK)) as stream:
                assert [await anext(stream), await anext(stream)] == [TextDelta("Hi"), STOP]
                assert asyncio.get_running_loop().time() - began < GRACE_S / 4  # not waited for
    assert len(ports) == 1


async def test_warm_opens_the_connection_that_the_first_request_uses() -> None:
    async with serving(Behaviour()) as (provider, model):
        await model.warm()
        assert provider.warmed == 1
        await collect(model)
        assert len(provider.connections) == 1


async def test_warm_is_silent_when_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    async with Provider.serve() as provider:
        gone = provider.base_url
    model = OpenAIModel("test", api_key=KEY, base_url=gone)
    with caplog.at_level(logging.DEBUG):
        await model.warm()
    await model.close()
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_a_stale_pooled_connection_is_replaced_silently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = [Behaviour(tokens=1), Behaviour(reset=True), Behaviour(tokens=2)]
    with caplog.at_level(logging.DEBUG):
        async with serving(script) as (provider, model):
            await collect(model)
            assert said(await collect(model)) == " word1 word2"
            assert len(provider.requests) == 3
            assert provider.requests[1].body == provider.requests[2].body
    assert "voxyray" not in {record.name.partition(".")[0] for record in caplog.records}


async def test_several_stale_connections_are_replaced_by_a_fresh_one() -> None:
    resets = 3

    def script(_: dict[str, Any]) -> Behaviour:
        asked = len(provider.requests) - 1
        if asked < resets:
            return Behaviour(tokens=1, first_token_ms=20)  # together, so each has its own
        return Behaviour(reset=True) if asked < 2 * resets else Behaviour(tokens=2)

    async with serving(script) as (provider, model):
        await asyncio.gather(*(collect(model) for _ in range(resets)))
        assert len(provider.connections) == resets
        assert said(await collect(model)) == " word1 word2"


async def test_a_fresh_connection_that_is_reset_is_an_error_and_not_asked_twice() -> None:
    async with serving(Behaviour(reset=True)) as (provider, model):
        _, error = await until_failure(model)
        assert len(provider.requests) == 1
    assert isinstance(error, ModelError)
    assert error.retryable


def test_one_model_serves_one_event_loop_after_the_other() -> None:
    model = OpenAIModel("test", api_key=KEY)

    async def once(last: bool) -> str:
        async with Provider.serve(Behaviour(tokens=1)) as provider:
            model._url = model._url.with_port(int(provider.base_url[:-3].rpartition(":")[2]))
            text = said(await collect(model))
            if last:
                await model.close()
            else:
                for session in model._sessions.values():  # as if its sockets had died
                    await session.close()
            return text

    model._url = OpenAIModel("test", api_key=KEY, base_url="http://127.0.0.1:1/v1")._url
    assert asyncio.run(once(last=False)) == " word1"
    assert asyncio.run(once(last=True)) == " word1"
    assert model._sessions == {}


async def test_close_twice_and_ask_again() -> None:
    async with serving(Behaviour(tokens=1)) as (_, model):
        await model.close()
        await collect(model)
        await model.close()
        await model.close()


# ------------------------------------------------------------------ the request


async def body_of(request: ModelRequest, **options: Any) -> dict[str, Any]:
    async with serving(Behaviour(tokens=1), **options) as (provider, model):
        await collect(model, request)
        return provider.requests[0].body


async def test_the_least_request() -> None:
    assert await body_of(ASK) == {
        "model": "test",
        "messages": [{"role": "user", "content": "Hello?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_a_conversation_with_tools() -> None:
    request = ModelRequest(
        messages=(
            Message("system", "Be brief."),
            Message("assistant", None, (LOOK,)),
            Message("tool", "free", tool_call_id="call_b"),
        ),
        tools=(ToolSpec("look", "Looks.", {"type": "object"}),),
        tool_choice="look",
    )
    body = await body_of(request)
    function = {"name": "look", "arguments": LOOK.arguments}
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_b", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "free", "tool_call_id": "call_b"},
    ]
    spec = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    assert body["tools"] == [{"type": "function", "function": spec}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}


@pytest.mark.parametrize("choice", ["none", "required"])
async def test_tool_choice(choice: str) -> None:
    request = ModelRequest(WITH_TOOL.messages, WITH_TOOL.tools, choice)
    assert (await body_of(request))["tool_choice"] == choice
    without = ModelRequest(WITH_TOOL.messages, (), choice)
    assert "tool_choice" not in await body_of(without)  # providers refuse it without tools


async def test_options_and_extras() -> None:
    extra = {"seed": 7, "stream_options": None, "temperature": 1, "stream": False}
    body = await body_of(ASK, temperature=0.2, max_tokens=99, extra=extra)
    assert body["temperature"] == 1
    assert body["max_tokens"] == 99
    assert body["seed"] == 7
    assert body["stream"] is True
    assert "stream_options" not in body


async def test_headers() -> None:
    async with serving(Behaviour(tokens=1)) as (provider, model):
        await collect(model)
        headers = provider.requests[0].headers
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Accept-Encoding"] == "identity"


async def test_without_a_key_there_is_no_authorization() -> None:
    async with Provider.serve(Behaviour(tokens=1)) as provider:
        model = OpenAIModel("test", api_key=None, base_url=provider.base_url)
        await collect(model)
        await model.close()
        assert "Authorization" not in provider.requests[0].headers


# ------------------------------------------------------------------ the key


@pytest.mark.parametrize(
    "script",
    [
        Behaviour(status=401, error=f"Incorrect API key provided: {KEY}."),
        Behaviour(status=500, error="x" * (MESSAGE_CHARS - 60) + KEY),
        Behaviour(error_at=1, error=f"key {KEY} expired"),
        Behaviour(raw=(b"data: Bearer " + KEY.encode() + b"\n\n",)),
        Behaviour(raw=(b'{"detail": "' + KEY.encode() + b'"}',)),
        Behaviour(reset=True),
        Behaviour(truncate_at=1),
        Behaviour(hang="headers"),
    ],
)
async def test_the_key_is_in_no_exception_log_or_repr(
    script: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(script, first_token_timeout_s=0.05) as (_, model):
            _, error = await until_failure(model)
            assert KEY[:12] not in repr(model)
    assert isinstance(error, ModelError)
    # aiohttp's exceptions hold the request's headers, so none may hang on ours.
    assert error.__context__ is None
    assert error.__cause__ is None
    # Error reporters send local variables along; what a provider quotes is in them.
    quoted = KEY in repr(script)
    report = traceback.TracebackException.from_exception(error, capture_locals=not quoted)
    assert KEY[:12] not in "".join(report.format())
    assert KEY[:12] not in repr(error)
    assert KEY[:12] not in caplog.text


async def test_a_key_with_a_line_end_from_a_file_is_used_without() -> None:
    async with Provider.serve(Behaviour(tokens=1)) as provider:
        model = OpenAIModel("test", api_key=f"{KEY}\n", base_url=provider.base_url + "/")
        await collect(model)
        await model.close()
        assert provider.requests[0].headers["Authorization"] == f"Bearer {KEY}"


# ------------------------------------------------------------------ servers by hand


@asynccontextmanager
async def answering(reply: bytes, *, then_abort: bool = False) -> AsyncGenerator[OpenAIModel, None]:
    """A server of bytes, for what a web server would not send."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        if not then_abort:
            await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    model = OpenAIModel("test", api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")
    try:
        yield model
    finally:
        await model.close()
        server.close()
        await server.wait_closed()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def broken_off(body: bytes) -> Any:
    """A stream whose connection dies within it."""
    return answering(HEAD + b"%x\r\n%b\r\n" % (len(body), body), then_abort=True)


@asynccontextmanager
async def streaming(body: Any, ports: set[int] | None = None) -> AsyncGenerator[OpenAIModel, None]:
    """A server whose body is what a generator yields, when it does."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if ports is not None and request.transport is not None:
            ports.add(request.transport.get_extra_info("peername")[1])
        await response.prepare(request)
        async for piece in body():
            await response.write(piece)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    model = OpenAIModel("test", api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")
    try:
        yield model
    finally:
        await model.close()
        await runner.cleanup()
