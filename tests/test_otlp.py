"""What leaves for a collector, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.collector import Collector, collecting
from tests.support.desk import make_agent
from voxyray import otlp
from voxyray.errors import SettingsError
from voxyray.otlp import Sender
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.stores.memory import MemoryStore
from voxyray.tracing import Event, Span, span_id, trace_id

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

TRACE = trace_id("CA1")
CALL = Span("call a", "server", TRACE, 1, None, 1000, 9000, {"voxyray.turns": 2})
CHAT = Span(
    "chat m",
    "client",
    TRACE,
    2,
    1,
    2000,
    3000,
    {"error.type": "503", "gen_ai.response.finish_reasons": ("stop",)},
    (Event("first_token", 2500),),
)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


async def test_spans_arrive_as_they_are(collector: Collector) -> None:
    sender = Sender(f"{collector.url}/v1/traces")
    for span in (CHAT, CALL):  # children end first
        sender.send(span)
    await sender.close()
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.resources[0]["service.name"] == "voxyray"
    chat, call = collector.spans
    assert int.from_bytes(call.trace_id) == int.from_bytes(chat.trace_id) == TRACE
    assert (int.from_bytes(call.span_id), call.parent_span_id) == (1, b"")
    assert (int.from_bytes(chat.span_id), int.from_bytes(chat.parent_span_id)) == (2, 1)
    assert (chat.start_time_unix_nano, chat.end_time_unix_nano) == (2000, 3000)
    assert (call.kind, chat.kind) == (2, 3)
    assert (call.status.code, chat.status.code) == (0, 2)
    assert [(each.name, each.time_unix_nano) for each in chat.events] == [("first_token", 2500)]
    told = {each.key: each.value for each in chat.attributes}
    assert told["error.type"].string_value == "503"
    assert told["gen_ai.response.finish_reasons"].array_value.values[0].string_value == "stop"


async def test_the_environment_says_who_we_are(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "front-desk")
    sender = Sender(f"{collector.url}/v1/traces")
    sender.send(CALL)
    await sender.close()
    assert collector.resources[0]["service.name"] == "front-desk"


async def test_the_environment_switches_it_off(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    sender = Sender(f"{collector.url}/v1/traces")
    for span in (CHAT, CALL):
        sender.send(span)
    await sender.close()
    assert collector.bodies == []


async def test_sampling_takes_whole_calls(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    sender = Sender(f"{collector.url}/v1/traces")
    for number in range(40):
        call = f"CA{number}"
        for turn in range(3):
            parent = span_id(call, 0, 0, "call")
            id_ = span_id(call, 0, turn, "turn")
            sender.send(Span("turn", "internal", trace_id(call), id_, parent, 1, 2, {}))
        root = span_id(call, 0, 0, "call")
        sender.send(Span("call", "server", trace_id(call), root, None, 1, 2, {}))
    await sender.close()
    traces: dict[bytes, int] = {}
    for span in collector.spans:
        traces[span.trace_id] = traces.get(span.trace_id, 0) + 1
    assert 5 < len(traces) < 35
    assert set(traces.values()) == {4}


async def test_a_slow_collector_makes_nobody_wait(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "CLOSE_WITHIN_S", 0.2)
    collector.answering.clear()
    sender = Sender(f"{collector.url}/v1/traces")
    began = time.monotonic()
    for _ in range(5000):  # more than there is room for
        sender.send(CALL)
    sent_s = time.monotonic() - began
    assert sent_s < 2, "some 30 us each"
    began = time.monotonic()
    await sender.close()
    assert time.monotonic() - began < 1
    collector.answering.set()
    await asyncio.to_thread(sender._provider.shutdown)


async def test_a_collector_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otlp, "CLOSE_WITHIN_S", 0.2)
    sender = Sender("http://127.0.0.1:9/v1/traces")
    sender.send(CALL)
    began = time.monotonic()
    await sender.close()
    assert time.monotonic() - began < 1


class TestService:
    def service(self, **settings: str) -> Service:
        return Service(Settings(**settings), [make_agent()], store=MemoryStore())  # type: ignore[arg-type]

    async def test_it_traces_when_a_collector_is_named(self, collector: Collector) -> None:
        service = self.service(otlp_endpoint=f"{collector.url}/")
        assert service._sender is not None
        service._sender.send(CALL)
        await service.close()
        assert len(collector.spans) == 1

    def test_without_the_extra_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("opentelemetry.sdk.trace", "opentelemetry.sdk.resources"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SettingsError, match=r"pip install 'voxyray\[otel\]'"):
            self.service(otlp_endpoint="http://127.0.0.1:4318")

    def test_the_model_that_is_asked_first(self) -> None:
        service = self.service(model="openai:a, openai:b", openai_api_key="k")
        assert service._first_model("agent") == "openai:a"
        assert service._first_model("nobody") == ""


def test_who_has_no_traces_loads_nothing_of_it() -> None:
    program = (
        "import sys\n"
        "from voxyray import Agent\n"
        "from voxyray.service import Service\n"
        "from voxyray.settings import Settings\n"
        "from voxyray.stores.memory import MemoryStore\n"
        "Service(Settings(), [Agent(instructions='x')], store=MemoryStore())\n"
        "loaded = [m for m in sys.modules if m.startswith('opentelemetry') or 'tracing' in m]\n"
        "assert not [m for m in loaded if m.startswith(('opentelemetry', 'voxyray'))], loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
