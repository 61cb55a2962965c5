"""Traces of whole calls: what a collector is sent is what the waterfall shows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hosts.test_handover import FAST, Scripted, desk, pizza
from tests.hosts.world import World, make_agent
from tests.support.collector import Collector, collecting
from voxyray import journal, tool
from voxyray.models import ToolCall
from voxyray.stores import keys
from voxyray.tracing import trace_id
from voxyray.twin import Phone
from voxyray.twin.provider import Behaviour
from voxyray.waterfall import CallView, call_view

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
pytestmark = pytest.mark.parametrize("host", ["aiohttp"])


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@tool(effect="read")
async def look_up(word: str) -> str:
    """Look something up."""
    await asyncio.sleep(0.2)
    return word


def script(body: dict[str, Any]) -> Behaviour:
    if body["messages"][-1]["role"] == "tool":
        return Behaviour(text="It is x.", first_token_ms=100)
    return Behaviour(tool_calls=(ToolCall("c1", "look_up", '{"word":"x"}'),), first_token_ms=250)


async def sent(world: World, collector: Collector) -> list[Any]:
    """Everything that was traced so far."""
    sender = world.service._sender
    assert sender is not None
    await world.service.recorder.flush()
    await asyncio.to_thread(sender._provider.force_flush)
    return collector.spans


async def view(world: World, call_sid: str) -> CallView:
    items = await world.store.query(keys.call(call_sid), "J#")
    return call_view(map(journal.from_item, items))


def told(span: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }


async def test_the_tree_of_a_call_has_its_waterfalls_times(
    collector: Collector, world: World
) -> None:
    await world.open(make_agent(tools=(look_up,)), provider=script, otlp_endpoint=collector.url)
    session = await world.place()
    for _ in range(2):
        await session.say("look")
        assert await session.reply() == "It is x."
    await session.close()
    await world.ended(session.call_sid)
    spans = await sent(world, collector)
    waterfall = await view(world, session.call_sid)
    assert {int.from_bytes(each.trace_id) for each in spans} == {trace_id(session.call_sid)}
    by_id = {each.span_id: each for each in spans}
    (root,) = [each for each in spans if not each.parent_span_id]
    assert root.name == "call agent"
    assert waterfall.started_at is not None
    assert abs(root.start_time_unix_nano - waterfall.started_at * 1e9) < 1e6
    turns = [each for each in spans if each.name == "invoke_agent agent"]
    assert {each.parent_span_id for each in turns} == {root.span_id}
    for turn, shown in zip(turns, waterfall.turns, strict=True):
        assert shown.started_ms is not None
        at_ms = (turn.start_time_unix_nano - root.start_time_unix_nano) / 1e6
        assert at_ms == pytest.approx(shown.started_ms, abs=1)
        assert told(turn).get("voxyray.gap_ms") == shown.gap_ms
        below = [each for each in spans if each.parent_span_id == turn.span_id]
        ran = [each for each in below if each.name == "execute_tool look_up"]
        assert len(ran) == len(shown.tools)
        for span, part in zip(ran, [p for p in shown.parts if p.kind == "tools"], strict=True):
            lasted_ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
            assert lasted_ms == pytest.approx(part.ms, abs=1)
        asked = [mark for mark in shown.marks if mark.name == "model_requested"]
        chats = [each for each in below if each.name == "chat test"]
        for span, mark in zip(chats, asked, strict=True):
            since_ms = (span.start_time_unix_nano - turn.start_time_unix_nano) / 1e6
            assert since_ms == pytest.approx(mark.at_ms, abs=1)
            assert told(span)["gen_ai.response.model"] == "test"
    assert all(each.parent_span_id in by_id for each in spans if each.parent_span_id)
    assert told(turns[1])["voxyray.culprit"] == "model"


async def test_a_transferred_call_is_one_trace(collector: Collector, world: World) -> None:
    model = Scripted(("pizza please", "One moment.", 'transfer_to_agent {"name":"pizza"}'))
    await world.open(desk(), pizza(), model=model, otlp_endpoint=collector.url)

    async def caller(phone: Phone) -> None:
        await phone.listen()
        await phone.say("pizza please")
        await phone.listen()
        await phone.listen()

    record = await world.twin(timing=FAST).call(caller)
    assert len(record.sessions) == 2
    call_sid = record.call_sid
    await world.ended(call_sid)
    spans = await sent(world, collector)
    assert {int.from_bytes(each.trace_id) for each in spans} == {trace_id(call_sid)}
    (first,) = [each for each in spans if each.name == "call default"]
    (second,) = [each for each in spans if each.name == "call pizza"]
    assert second.parent_span_id == first.span_id
    assert second.start_time_unix_nano >= first.end_time_unix_nano
    assert len({each.span_id for each in spans}) == len(spans)


@pytest.mark.parametrize("slow", [False, True], ids=["dead", "slow"])
async def test_calls_do_not_wait_for_a_collector(
    collector: Collector, world: World, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxyray.otlp.CLOSE_WITHIN_S", 0.2)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")  # it tries while they talk
    collector.answering.clear()
    url = collector.url if slow else "http://127.0.0.1:9"
    await world.open(provider=Behaviour(text="Sure.", first_token_ms=50), otlp_endpoint=url)
    session = await world.place()
    for _ in range(5):
        await session.say("hi")
        assert await session.reply() == "Sure."
    await session.close()
    await world.ended(session.call_sid)
    gaps = [turn.gap_ms for turn in (await view(world, session.call_sid)).turns[1:]]
    assert len(gaps) == 5
    assert not world.service.recorder.lost
