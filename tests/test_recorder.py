"""The recorder: journals written behind the talk, whatever the store does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from voxyray import frames, journal
from voxyray.errors import StoreError
from voxyray.journal import Entry
from voxyray.meter import Meter
from voxyray.metrics import CALLS, Metrics
from voxyray.receipts import Prices
from voxyray.recorder import BATCH_EVERY_S, Recorder
from voxyray.stores import Item
from voxyray.stores.memory import MemoryStore
from voxyray.tracing import Tracer
from voxyray.twin import virtual

FAR = 2_000_000_000


class Store(MemoryStore):
    """Counts batches, and can be away."""

    def __init__(self) -> None:
        super().__init__(now=lambda: 0)
        self.batches: list[int] = []
        self.away: Exception | None = None
        self.slow_s = 0.0

    async def append(self, items: Sequence[Item]) -> None:
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if self.away is not None:
            raise self.away
        await super().append(items)
        self.batches.append(len(items))

    async def kept(self, call: str = "CA1") -> list[Any]:
        return [journal.from_item(each).what for each in await self.query(f"CALL#{call}", "J#")]


def entry(seq: int, text: str = "hi") -> Entry:
    return Entry(0, seq, float(seq), journal.TurnStarted("speech", text))


@virtual
async def test_entries_of_all_calls_are_written_together_and_soon() -> None:
    store = Store()
    recorder = Recorder(store)
    for seq in range(50):
        recorder.record(f"CA{seq % 2}", entry(seq), FAR)
    assert store.batches == []
    await asyncio.sleep(BATCH_EVERY_S * 1.5)
    assert store.batches == [50]
    assert len(await store.kept("CA0")) == len(await store.kept("CA1")) == 25
    await recorder.close()


@virtual
async def test_an_idle_recorder_does_nothing() -> None:
    recorder = Recorder(Store())
    recorder.record("CA1", entry(0), FAR)
    await asyncio.sleep(1)
    assert recorder._task is not None
    assert recorder._task.done()
    await recorder.close()


@virtual
async def test_closing_writes_what_waits_at_once() -> None:
    store = Store()
    recorder = Recorder(store)
    recorder.record("CA1", entry(0), FAR)
    started = asyncio.get_running_loop().time()
    await recorder.close()
    assert asyncio.get_running_loop().time() == started
    assert len(await store.kept()) == 1
    await recorder.close()


@pytest.mark.parametrize("trouble", [StoreError("away"), OSError("disk"), KeyError("bug")])
def test_a_store_that_is_away_is_asked_again_and_nothing_is_lost(trouble: Exception) -> None:
    @virtual
    async def run() -> None:
        store = Store()
        recorder = Recorder(store)
        store.away = trouble
        for seq in range(10):
            recorder.record("CA1", entry(seq), FAR)
            await asyncio.sleep(0.5)
        assert store.batches == []
        store.away = None
        await asyncio.sleep(2)
        assert len(await store.kept()) == 10
        assert recorder.lost == 0
        await recorder.close()

    run()


@virtual
async def test_closing_does_not_wait_for_a_store_that_stays_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()
    store.away = StoreError("away")
    recorder = Recorder(store)
    recorder.record("CA1", entry(0), FAR)
    await asyncio.sleep(0.5)
    started = asyncio.get_running_loop().time()
    await recorder.close()
    assert asyncio.get_running_loop().time() - started < 0.5
    assert "1 journal entries could not be stored" in caplog.text


@virtual
async def test_what_is_recorded_while_a_batch_is_written_keeps_its_place() -> None:
    store = Store()
    store.slow_s = 0.5
    recorder = Recorder(store)
    recorder.record("CA1", entry(0), FAR)
    await asyncio.sleep(0.2)
    recorder.record("CA1", entry(1), FAR)
    await recorder.close()
    assert store.batches == [1, 1]


@virtual
async def test_what_no_store_takes_does_not_hold_up_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One reply of 400 KB stopped the journals of every call."""
    store = Store()
    recorder = Recorder(store)
    recorder.record("CA1", entry(0), FAR)
    recorder.record("CA1", entry(1, "secretword" * 50_000), FAR)
    recorder.record("CA2", entry(2), FAR)
    await asyncio.sleep(BATCH_EVERY_S * 1.5)
    assert (len(await store.kept("CA1")), len(await store.kept("CA2"))) == (1, 1)
    assert recorder.lost == 1
    assert "400 KB" in caplog.text
    assert "secretword" not in caplog.text
    await recorder.close()


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("CA1", journal.TurnStarted("speech", "half a pair \ud800")),
        ("CA1", frames.Unknown("novel", {"x": object()})),
        ("no call's id #", journal.LastSent()),
    ],
    ids=["surrogate", "no JSON", "bad id"],
)
def test_recording_never_raises(call: str, what: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is called in the middle of a call: what it raised ended the call."""

    @virtual
    async def run() -> None:
        store = Store()
        recorder = Recorder(store)
        recorder.record(call, Entry(0, 0, 0.0, what), FAR)
        recorder.record("CA1", entry(1), FAR)
        await recorder.close()
        assert len(await store.kept()) == 1
        assert recorder.lost == 1

    with caplog.at_level(logging.DEBUG):
        run()
    assert "half a pair" not in caplog.text


@virtual
async def test_a_store_that_stays_away_too_long_costs_entries_not_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voxyray.recorder._MOST_WAITING", 10)
    store = Store()
    store.away = StoreError("away")
    recorder = Recorder(store)
    for seq in range(100):
        recorder.record("CA1", entry(seq), FAR)
    assert recorder.lost == 90
    assert caplog.text.count("being lost") == 1
    store.away = None
    await recorder.close()
    assert len(await store.kept()) == 10


@virtual
async def test_what_cannot_be_traced_is_counted_and_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: object) -> None:
        raise ValueError

    store, metrics = Store(), Metrics()
    meter = Meter(metrics, Prices(), lambda _: set())
    recorder = Recorder(store, meter=meter, tracer=Tracer(fail, lambda _: ""))
    recorder.record("CA1", Entry(0, 0, 0.0, journal.CallStarted(0.0, "a", "")), FAR)
    recorder.record("CA1", Entry(0, 1, 0.0, journal.CallEnded(1000, "")), FAR)
    await recorder.close()
    assert len(await store.kept()) == 2
    assert metrics.value(CALLS, "a") == 1
    assert "could not be counted" in caplog.text
