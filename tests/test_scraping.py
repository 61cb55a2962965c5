"""`/metrics`: who may read it, and how long the event loop stands still."""

from __future__ import annotations

import asyncio

import pytest

from voxyray import journal
from voxyray.errors import RequestRefused
from voxyray.journal import Entry
from voxyray.meter import Meter
from voxyray.metrics import CALLS, CONTENT_TYPE, STALL, Metrics
from voxyray.receipts import Prices
from voxyray.reception import Request, Response
from voxyray.recorder import Recorder
from voxyray.scraping import Scraping, StallWatch, check_reader
from voxyray.stores.memory import MemoryStore
from voxyray.twin import virtual

TOKEN = "a-token-of-sixteen"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080", "LOCALHOST:1"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_this_machine_may_read_them(peer: str, host: str) -> None:
    check_reader("", peer, {"host": host})


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("", {"host": "localhost"}),
        ("192.168.1.7", {"host": "localhost"}),
        ("127.0.0.1", {}),
        ("127.0.0.1", {"host": "evil.example.com"}),
        ("127.0.0.1", {"host": "localhost", "x-forwarded-for": "1.2.3.4"}),
        ("127.0.0.1", {"host": "localhost", "forwarded": "for=1.2.3.4"}),
        ("127.0.0.1", {"host": "localhost", "authorization": f"Bearer {TOKEN}x"}),
    ],
)
def test_nobody_else_may(peer: str, headers: dict[str, str]) -> None:
    token = TOKEN if "authorization" in headers else ""
    with pytest.raises(RequestRefused):
        check_reader(token, peer, headers)


def test_who_has_the_token_may_from_anywhere() -> None:
    headers = {"host": "voice.example.com", "authorization": f"Bearer {TOKEN}"}
    check_reader(TOKEN, "1.2.3.4", headers)
    with pytest.raises(RequestRefused, match="Authorization"):
        check_reader(TOKEN, "127.0.0.1", {"host": "localhost"})


def test_a_token_of_odd_characters_is_refused_not_an_error() -> None:
    with pytest.raises(RequestRefused):
        check_reader(TOKEN, "", {"authorization": "Bearer \udcff é"})


def ask(scraping: Scraping, method: str = "GET", peer: str = "127.0.0.1") -> Response:
    return scraping.answer(Request(method, "/metrics", headers={"host": "localhost"}, peer=peer))


@virtual
async def test_the_answer_counts_what_was_just_recorded() -> None:
    metrics = Metrics()
    recorder = Recorder(MemoryStore(), meter=Meter(metrics, Prices(), lambda _: set()))
    scraping = Scraping("", metrics, recorder)
    recorder.record("CA1", Entry(0, 0, 0.0, journal.CallStarted(0.0, "shop", "")), 2_000_000_000)
    assert metrics.value(CALLS, "shop") == 0, "not yet: talk does not wait for it"
    answer = ask(scraping)
    assert (answer.status, answer.content_type) == (200, CONTENT_TYPE)
    assert b'voxyray_calls_total{agent="shop"} 1.0' in answer.body
    assert ask(scraping, "POST").status == 405
    assert ask(scraping, peer="1.2.3.4").status == 403
    await scraping.close()
    await recorder.close()


@virtual
async def test_an_entry_that_cannot_be_counted_is_stored_all_the_same() -> None:
    class Broken(Meter):
        def take(self, call_id: str, entry: Entry) -> None:
            raise ValueError

    store = MemoryStore(now=lambda: 0)
    recorder = Recorder(store, meter=Broken(Metrics(), Prices(), lambda _: set()))
    recorder.record("CA1", Entry(0, 0, 0.0, journal.CallStarted(0.0, "shop", "")), 2_000_000_000)
    assert await recorder.flush()
    assert len(await store.query("CALL#CA1", "J#")) == 1
    await recorder.close()


@virtual
async def test_the_loop_is_watched_from_the_first_question_on() -> None:
    metrics = Metrics()
    watch = StallWatch(metrics)
    before = len(asyncio.all_tasks())
    watch.start()
    watch.start()
    assert len(asyncio.all_tasks()) == before + 1
    await asyncio.sleep(1)
    assert metrics.value(STALL) == 0.0
    await watch.stop()
    assert len(asyncio.all_tasks()) == before


def test_the_longest_stall_of_this_minute_and_the_last() -> None:
    metrics = Metrics()
    watch = StallWatch(metrics)
    told = []
    for late_s, now_s in ((0.2, 1), (0.1, 59), (0.05, 61), (0.01, 121), (0.0, 500)):
        watch.note(late_s, now_s)
        told.append(metrics.value(STALL))
    assert told == [0.2, 0.2, 0.2, 0.05, 0.0]
