"""Nothing that a caller, carrier or model says is in logs, metrics or traces, whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.hosts.third_party import Session, form_of
from tests.hosts.world import World, make_agent
from tests.support.collector import Collector, collecting
from voxyray import journal, logs
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.models import ToolCall
from voxyray.stores import keys
from voxyray.tool import tool
from voxyray.twin.provider import Behaviour

WORD: Final = "Zorblax"  # in every name, word and result
NUMBER: Final = "5558675309"  # in every number
KEYS: Final = "90210"
MARKERS: Final = (WORD, NUMBER, KEYS)
EMAIL: Final = f"{WORD}@{WORD}.example.com"


class Lines(logging.Handler):
    """What is logged, as text and as JSON."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._formatters = [logs.formatter("text"), logs.formatter("json")]

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "uvicorn.access":  # the server's own: whatever path a stranger asks for
            self.lines += [each.format(record) for each in self._formatters]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """All lines of ours, and what others log where people run it."""
    handler, root, ours = Lines(), logging.getLogger(), logging.getLogger("voxyray")
    levels = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@tool(effect="write")
async def remember(text: str, caller: Caller, context: CallContext) -> str:
    """Remember what the caller wants."""
    await caller.save(first_name="Ada", last_name=WORD, email=EMAIL)
    await context.send_email(EMAIL, subject=f"For {WORD}", text=f"Dear {WORD}")
    await context.send_sms(f"+1{NUMBER}", f"Dear {WORD}")
    return f"{text}, {WORD}"


@tool(effect="read")
def explode(text: str) -> str:
    """Fail."""
    raise ValueError(f"{text} {WORD} {NUMBER}")


@tool(effect="end")
def pass_on(reason: str) -> dict[str, str]:
    """Put the caller through."""
    return {"reasonCode": "live-agent-handoff", "reason": f"{reason} {WORD}"}


def reply(body: dict[str, Any]) -> Behaviour:
    """Do what the caller's last words name, and quote them everywhere."""
    messages = body["messages"]
    if messages[-1]["role"] == "tool":
        return Behaviour(text=f"{WORD} it is.")
    said = next(each["content"] for each in reversed(messages) if each["role"] == "user")
    quoted = json.dumps({"text": f"{WORD} {NUMBER}"})
    if "remember" in said:
        return Behaviour(tool_calls=(ToolCall("c1", "remember", quoted),))
    if "explode" in said:
        return Behaviour(
            tool_calls=(
                ToolCall("c1", "explode", quoted),
                ToolCall("c2", f"invent_{WORD}", quoted),
            )
        )
    if "refuse" in said:
        return Behaviour(status=400, error=f"this is not allowed: {WORD} {NUMBER}")
    if "break" in said:
        return Behaviour(text=f"Dear {WORD} and so on", error_at=2, error=f"{WORD}")
    return Behaviour(text=f"You said {said}.")


async def ask(session: Session, words: str) -> None:
    await session.say(f"{words} {WORD} {NUMBER}")
    await session.reply()


async def talk(world: World) -> str:
    """Hold a call in which everything that can hold words holds ours."""
    fields = {
        "From": f"+1{NUMBER}",
        "CallerName": WORD,
        "FromCity": WORD,
        "SipHeader_X-Who": WORD,
        "ForwardedFrom": f"+1{NUMBER}",
    }
    session = await world.carrier.place(**fields)
    await session.say(f"hello {WORD}")
    await session.reply()
    for frame in (
        session.setup(
            **{"from": f"+1{NUMBER}", "callerName": WORD, "customParameters": {WORD: WORD}}
        ),
        {"type": "prompt", "voicePrompt": WORD, "lang": WORD, "last": False},
        {"type": "info", "name": WORD, "value": WORD},
        {"type": "info", "name": "tokensPlayed", "value": WORD},
        {"type": "error", "description": WORD},
        {"type": WORD, "what": WORD},
        {"type": "dtmf", "digit": WORD},
        f"{WORD} is no JSON",
        json.dumps([WORD]),
    ):
        await session.send(frame)
    for words in ("remember", "explode", "refuse", "break"):
        await ask(session, words)
    await session.interrupt(f"Dear {WORD}")
    for key in KEYS:
        await session.send({"type": "dtmf", "digit": key})
    await session.reply()
    await session.close()
    await world.ended(session.call_sid)
    return session.call_sid


async def knock(world: World, call_sid: str) -> None:
    """Send what is refused, with our words in it."""
    post = world.carrier.post
    handoff = json.dumps({"reasonCode": "live-agent-handoff", "reason": WORD, "summary": WORD})
    ended = form_of(call_sid, SessionStatus="ended", SessionId="VX1", HandoffData=handoff)
    await post("/relay-ended", ended)
    await post("/relay-ended", form_of(call_sid, SessionStatus="failed", ErrorMessage=WORD))
    await post("/after-dial", form_of(call_sid, DialCallStatus=WORD))
    await post("/whisper", form_of("CA2", ParentCallSid=call_sid, From=f"+1{NUMBER}"))
    await post("/voice", form_of("CA1", From=f"+1{NUMBER}"), signature=WORD)
    await post("/voice", body=f"{WORD}=%zz&{NUMBER}".encode())
    await post("/sms", form_of("CA1", MessageSid="SM1", From=f"+1{NUMBER}", Body=WORD))
    await post("/status", form_of("CA1", MessageSid="SM1", MessageStatus=WORD, To=NUMBER))
    await post(f"/{WORD}?who={NUMBER}")


async def metrics(world: World, capsys: pytest.CaptureFixture[str]) -> str:
    """What Prometheus or CloudWatch is told."""
    if world.host == "lambda":
        return capsys.readouterr().out
    url = world.resolve(f"{world.public}/metrics")
    headers = {"Authorization": f"Bearer {world.settings.metrics_token}"}
    async with world.carrier.session.get(url, headers=headers) as answer:
        assert answer.status == 200
        return await answer.text()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


async def traces(world: World, collector: Collector) -> str:
    """What a collector is told, byte by byte."""
    sender = world.service._sender
    assert sender is not None
    await world.service.recorder.flush()
    await asyncio.to_thread(sender._provider.force_flush)
    return b"".join(collector.bodies).decode("utf-8", "replace")


@pytest.mark.parametrize("host", ["aiohttp", "asgi"])
async def test_nothing_personal_is_traced(collector: Collector, world: World) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    agent = make_agent(tools=(remember, explode, pass_on))
    await world.open(agent, provider=reply, otlp_endpoint=collector.url)
    call_sid = await talk(world)
    await knock(world, call_sid)
    told = await traces(world, collector)
    for marker in MARKERS:
        assert marker.lower() not in told.lower()
    stored = json.dumps([str(each) for each in await world.entries(call_sid)])
    assert WORD in stored
    assert call_sid in told
    for name in ("execute_tool remember", "execute_tool explode", "chat test", "ToolError", "400"):
        assert name in told


async def test_nothing_personal_is_logged_is_logged_or_counted(
    world: World, lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = make_agent(tools=(remember, explode, pass_on))
    await world.open(agent, provider=reply, metrics_token="a-token-of-sixteen")
    call_sid = await talk(world)
    await knock(world, call_sid)
    told = await metrics(world, capsys)
    logged = "\n".join(lines.lines)
    for marker in MARKERS:
        assert marker.lower() not in logged.lower()
        assert marker.lower() not in told.lower()
    # It was all there to be told.
    stored = json.dumps([str(each) for each in await world.entries(call_sid)])
    assert WORD in stored
    assert NUMBER in stored
    assert (await world.store.get(keys.caller(f"+1{NUMBER}"), "PROFILE") or {})["email"] == EMAIL
    assert await world.entries(call_sid, journal.ModelFailure)
    assert "voxyray_turn_gap_seconds" in told
    assert "voxyray_model_errors_total" in told
    assert 'tool="explode"' in told or '"tool":"explode"' in told
    ours = [json.loads(line) for line in lines.lines if line.startswith("{")]
    assert any(line.get("call") == call_sid and line.get("turn") for line in ours)
