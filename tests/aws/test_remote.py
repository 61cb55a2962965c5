"""Tools in a function of their own: always a result, whatever becomes of the invocation."""

from __future__ import annotations

import asyncio
import logging
import socket
import zoneinfo
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import msgspec
import pytest

from tests.aws.fake_lambda import CUT, FakeLambda, Reply, failed, refused, returned
from voxyray.agent import Agent, Listing
from voxyray.aws import clients, remote
from voxyray.aws.remote import NO_ANSWER, NOT_RUN, UNKNOWN, remote_tool
from voxyray.aws.toolbox import Toolbox
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ToolError
from voxyray.frames import Language, Play, SendDigits
from voxyray.stores.memory import MemoryStore
from voxyray.tool import Effect, Tool, tool
from voxyray.tool_definitions import define


@tool(effect="read", timeout_s=5)
async def look_up(word: str, day: date = date(2026, 1, 2)) -> str:
    """Look something up."""
    return word


@tool(effect="write", timeout_s=5)
async def book(slot: str) -> str:
    """Book a slot."""
    return slot


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeLambda]:
    async with FakeLambda().serving() as fake:
        values = {"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_LAMBDA": fake.url}
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        clients.forget()
        yield fake
        clients.forget()


class Pauses:
    """Sleeps without taking time."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def far(one: Tool, **options: Any) -> Tool:
    return remote_tool(define(one, "tools"), sleep=options.pop("sleep", Pauses()), **options)


def context(key: str = "CA1:1:book:0") -> CallContext:
    return CallContext(
        "CA1",
        "shop",
        3,
        MemoryStore(),
        key,
        agents=(Listing("other", "Other", "An other one."),),
        zone=zoneinfo.ZoneInfo("America/Denver"),
    )


async def run(one: Tool, call: CallContext | None = None, **values: str) -> Any:
    text = msgspec.json.encode(values or {"slot": "9"}).decode()
    return await one.run(one.parse(text), Caller("+15550100", "Ada"), call or context())


async def told(one: Tool, **values: Any) -> str:
    with pytest.raises(ToolError) as caught:
        await run(one, **values)
    return str(caught.value)


async def test_a_function_is_told_all_a_tool_may_need(cloud: FakeLambda) -> None:
    cloud.answers(returned({"result": "found"}))
    assert await run(far(look_up), word="x", day="2026-05-31") == "found"
    assert cloud.invoked == [
        {
            "tool": "look_up",
            "arguments": {"word": "x", "day": "2026-05-31"},
            "call": {
                "id": "CA1",
                "agent": "shop",
                "turn": 3,
                "key": "CA1:1:book:0",
                "time_zone": "America/Denver",
                "agents": [{"name": "other", "title": "Other", "description": "An other one."}],
            },
            "caller": {
                "number": "+15550100",
                "first_name": "Ada",
                "last_name": "",
                "email": "",
                "agent": "",
                "language": "",
                "notes": {},
            },
        }
    ]
    assert cloud.headers[0].get("x-amz-invocation-type", "RequestResponse") == "RequestResponse"
    assert cloud.headers[0]["authorization"].startswith("AWS4-HMAC-SHA256")


async def test_a_function_by_its_arn(cloud: FakeLambda) -> None:
    arn = "arn:aws:lambda:eu-central-1:123456789012:function:tools:live"
    cloud.answers(returned({"result": None}), function=arn)
    assert await run(remote_tool(define(book, arn))) is None


async def test_what_it_asks_for_is_done_here(cloud: FakeLambda) -> None:
    actions = [
        {"type": "play", "source": "https://example.com/a.mp3"},
        {"type": "sendDigits", "digits": "1w2"},
        {"type": "language", "ttsLanguage": "es-ES"},
    ]
    cloud.answers(returned({"result": "ok", "actions": actions}))
    call = context()
    assert await run(far(book), call) == "ok"
    assert call.actions == [
        Play("https://example.com/a.mp3"),
        SendDigits("1w2"),
        Language("es-ES"),
    ]


async def test_what_it_learned_of_the_caller_is_known_here(cloud: FakeLambda) -> None:
    now = {"number": "+4", "first_name": "Ada", "last_name": "L", "notes": {"a": "2", "b": "1"}}
    caller = Caller("+15550100", "Ada", notes={"a": "1", "c": "1"})

    async def function(_: Any) -> Reply:
        caller.language = "es-ES"  # by another tool, meanwhile
        return returned({"result": "ok", "caller": now})

    cloud.functions["tools"] = function
    await far(book).run({"slot": "9"}, caller, context())
    assert (caller.number, caller.last_name, caller.language) == ("+15550100", "L", "es-ES")
    assert caller.notes == {"a": "2", "b": "1", "c": "1"}


async def test_its_error_is_told_as_it_is(cloud: FakeLambda) -> None:
    actions = [{"type": "sendDigits", "digits": "1"}]
    cloud.answers(returned({"error": "No such slot.", "actions": actions}))
    call = context()
    with pytest.raises(ToolError, match=r"^No such slot\.$"):
        await run(far(book), call)
    assert call.actions == []


async def test_tools_run_at_the_same_time(cloud: FakeLambda) -> None:
    everybody = asyncio.Barrier(8)

    async def meet(_: Any) -> Reply:
        await everybody.wait()  # each gets its answer only when all have been asked
        return returned({"result": "ok"})

    cloud.functions["tools"] = meet
    one = far(look_up)
    assert await asyncio.gather(*(run(one, word=str(n)) for n in range(8))) == ["ok"] * 8


NOT_THERE = [
    refused(404, "ResourceNotFoundException"),
    refused(403, "AccessDeniedException"),
    refused(413, "RequestTooLargeException"),
    refused(409, "ResourceConflictException"),
    failed("Runtime.ImportModuleError"),
]


@pytest.mark.parametrize("reply", NOT_THERE, ids=lambda reply: str(reply.status))
@pytest.mark.parametrize("one", [book, look_up], ids=["write", "read"])
async def test_what_cannot_have_run_is_said_to_be_not_done(
    cloud: FakeLambda, one: Tool, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.answers(reply)
    values = {"slot": "9"} if one is book else {"word": "x"}
    assert await told(far(one), **values) == NOT_RUN
    assert len(cloud.invoked) == 1
    (record,) = [each for each in caplog.records if each.name == "voxyray.aws.remote"]
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(f"call CA1 tool {one.name} (tools): ")
    assert "+1555" not in caplog.text


LOST = [
    failed("Function.ResponseSizeTooLarge"),
    failed("Sandbox.Timedout", "Task timed out after 3.00 seconds"),
    Reply(b"no JSON", error="Unhandled"),
    Reply(b"[]", error="Unhandled"),
    Reply(b""),
    Reply(b"nonsense"),
    Reply(b"null"),
    Reply(b"[" * 100_000),
    Reply(b'{"result": "\xff"}'),
    returned({}),
    returned({"result": None, "error": "both"}),
    returned({"result": 3}),
    returned({"error": None}),
    returned({"result": "ok", "actions": [{"type": "end"}]}),
    returned({"result": "ok", "actions": [{"type": "play", "source": "file:///etc/passwd"}]}),
    returned({"result": "ok", "caller": {"notes": 3}}),
]


@pytest.mark.parametrize("reply", LOST, ids=lambda reply: str(reply.body[:40]))
@pytest.mark.parametrize("effect", ["write", "read"])
async def test_an_answer_that_is_none_leaves_a_write_unknown(
    cloud: FakeLambda, effect: Effect, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.answers(reply)
    if effect == "write":
        assert await told(far(book)) == UNKNOWN
    else:
        assert await told(far(look_up), word="x") == NO_ANSWER
    assert len(cloud.invoked) == 1
    assert "+1555" not in caplog.text


THROTTLED = refused(429, "TooManyRequestsException")


async def test_a_throttled_one_is_tried_again_for_a_short_while(cloud: FakeLambda) -> None:
    cloud.answers(THROTTLED, THROTTLED, returned({"result": "ok"}))
    pauses = Pauses()
    assert await run(far(book, sleep=pauses)) == "ok"
    assert len(cloud.invoked) == 3
    assert 0.05 <= pauses.seconds[0] <= 0.1 <= pauses.seconds[1] <= 0.2


async def test_but_not_for_ever(cloud: FakeLambda) -> None:
    cloud.answers(THROTTLED)
    pauses = Pauses()
    assert await told(far(book, sleep=pauses)) == NOT_RUN
    assert len(cloud.invoked) == 5
    assert sum(pauses.seconds) < 2


@pytest.mark.parametrize("gone", [CUT, refused(500, "ServiceException")], ids=["cut", "500"])
@pytest.mark.parametrize("one", [book, look_up], ids=["write", "read"])
async def test_a_lost_answer_is_asked_for_once_more_with_the_same_key(
    cloud: FakeLambda, one: Tool, gone: Reply
) -> None:
    values = {"slot": "9"} if one is book else {"word": "x"}
    cloud.answers(gone, returned({"result": "ok"}))
    assert await run(far(one), None, **values) == "ok"
    assert cloud.invoked[0] == cloud.invoked[1]
    cloud.answers(gone)
    assert await told(far(one), **values) == (UNKNOWN if one is book else NO_ANSWER)
    assert len(cloud.invoked) == 4


async def test_once_lost_it_is_unknown_whatever_comes_after(cloud: FakeLambda) -> None:
    cloud.answers(CUT, refused(404, "ResourceNotFoundException"))
    assert await told(far(book)) == UNKNOWN


async def test_a_write_whose_answer_was_cut_off_gives_its_first_result(cloud: FakeLambda) -> None:
    """The whole way: it ran, its answer was lost, and it is not run again."""
    booked: list[str] = []

    @tool(effect="write")
    async def book(slot: str, call: CallContext) -> str:
        """Book a slot."""
        booked.append(slot)
        call.send_digits("1")
        return f"{slot} at {call.now().tzname()} by {call.key}"

    box = Toolbox(Agent(instructions="Be kind.", tools=[book]), MemoryStore())
    cut = [True]

    async def function(event: Any) -> Reply:
        answer = returned(await box.answer(event))
        return CUT if cut and cut.pop() else answer

    cloud.functions["tools"] = function
    call = context()
    assert (await run(far(book), call)).startswith("9 at M")
    assert (booked, len(cloud.invoked)) == (["9"], 2)
    assert call.actions == [SendDigits("1")]


@pytest.mark.parametrize("one", [book, look_up], ids=["write", "read"])
async def test_a_slow_one_is_not_waited_for(cloud: FakeLambda, one: Tool) -> None:
    for_ever = asyncio.Event()

    async def slow(_: Any) -> Reply:
        await for_ever.wait()
        return CUT

    cloud.functions["tools"] = slow
    quick = msgspec.structs.replace(define(one, "tools"), timeout_s=0.05)
    values = {"slot": "9"} if one is book else {"word": "x"}
    message = await told(remote_tool(quick, grace_s=0.05), **values)
    assert message == (UNKNOWN if one is book else NO_ANSWER)
    assert len(cloud.invoked) == 1
    for_ever.set()


async def test_a_run_that_is_cancelled_is_let_go_of_at_once(cloud: FakeLambda) -> None:
    asked, on = asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> Reply:
        asked.set()
        await on.wait()
        return returned({"result": "late"})

    cloud.functions["tools"] = slow
    running = asyncio.ensure_future(run(far(look_up), word="x"))
    await asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    on.set()


async def test_a_dead_endpoint(cloud: FakeLambda, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
        assert await told(far(book)) == NOT_RUN


async def test_no_region_is_an_answer_too(
    cloud: FakeLambda, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert await told(far(book)) == NOT_RUN
    assert "set AWS_REGION" in caplog.text


async def test_what_is_too_large_is_not_sent(
    cloud: FakeLambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_BYTES", 100)
    assert (await told(far(book))).startswith("It did not run: it was given more than can be sent")
    assert cloud.invoked == []


async def test_warming_makes_the_client(cloud: FakeLambda, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(clients, "client", lambda service, **_: made.append(service))
    await remote.warm([far(book), book])
    assert made == ["lambda"]


async def test_arguments_are_checked_before_anything_is_asked(cloud: FakeLambda) -> None:
    with pytest.raises(ToolError) as here:
        book.parse('{"slt": 1}')
    with pytest.raises(ToolError) as there:
        far(book).parse('{"slt": 1}')
    assert str(here.value) == str(there.value)
    assert cloud.invoked == []
