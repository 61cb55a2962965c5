"""Live pages: pieces of HTML as a call happens, from this host or from the store alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.dashboard.looking import TOKEN, Desk, Page, Talk
from voxyray import frames, journal
from voxyray.dashboard import following


class Events:
    """Reads server-sent events; keeps what every piece is by now."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self.pieces: dict[str, Page] = {}
        self.names: list[str] = []
        self.ids: list[str] = []
        self.announced: list[str] = []

    async def until(self, id_: str, text: str) -> Page:
        """Wait until a piece holds some words."""
        while id_ not in self.pieces or text not in self.pieces[id_].text:
            await self.one()
        return self.pieces[id_]

    async def rest(self) -> bytes:
        """Read on to the end, and give what comes behind the last whole event."""
        return bytes((await self._content.read()).rpartition(b"\n\n")[2])

    async def one(self) -> None:
        name, data = "", ""
        while line := (await self._content.readline()).decode().rstrip("\n"):
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                self.ids.append(value)
            elif field == "data":
                data = value
        if name:
            self.names.append(name)
        if name == "piece":
            told = json.loads(data)
            self.pieces[told["id"]] = Page(200, told["html"], {})
            if told["announce"]:
                self.announced.append(told["announce"])
        assert name or not self._content.at_eof(), "the stream has ended"


@asynccontextmanager
async def events(desk: Desk, path: str, **headers: str) -> AsyncIterator[Events]:
    async with desk.session.get(f"{desk.root}{path}", headers=headers) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield Events(answer.content)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_TOGETHER_S", 0.0)
    monkeypatch.setattr(following, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(following, "_OVER_AFTER_S", 0.02)


async def test_calls_come_and_go(desk: Desk) -> None:
    await desk.open()
    async with events(desk, "live") as live:
        await live.until("live-calls", "Nobody is on the phone")
        runner = desk.start("CA1")
        page = await live.until("live-calls", "Calls now 1")
        assert page.all("a", href="calls/CA1")
        assert "+1••••••0001" in page.text
        await desk.service.end(runner)
        await live.until("live-calls", "Calls now 0")


async def test_a_call_is_shown_as_it_happens(desk: Desk) -> None:
    await desk.open()
    runner = desk.start("CA1")
    async with events(desk, "live/CA1") as live:
        await live.until("turn-0", "Hello!")
        await live.until("call-state", "talking")
        runner.receive(frames.Prompt("<b>Two</b> pizzas, call +1 555 010 0001."))
        page = await live.until("turn-1", "Caller <b>Two</b> pizzas, call ••••••")
        assert not page.all("b")
        await live.until("turn-1", "Agent")
        runner.receive(frames.Interrupt("", 10))
        await live.until("turn-1", "the caller cut in")
        assert any("Caller: <b>Two</b>" in each for each in live.announced)
        runner.receive(frames.Prompt("Bye."))
        await live.until("turn-2", "Bye.")
        await desk.service.end(runner)


async def test_it_goes_on_where_it_broke_off(desk: Desk) -> None:
    await desk.open()
    talk = Talk()
    for number in range(6):
        talk.says(f"Question {number}", f"Answer {number}")
    await desk.keep("CA1", talk.entries)
    async with events(desk, "live/CA1?turn=2", **{"Last-Event-ID": "5"}) as live:
        await live.until("turn-6", "Answer 5")
        assert sorted(live.pieces) == ["turn-4", "turn-5", "turn-6"]
        assert live.ids == ["4", "5", "6"]


async def test_a_call_of_another_process_is_followed_in_the_store(desk: Desk) -> None:
    await desk.open()
    talk = Talk().says("Hi.", "Hello.")
    await desk.keep("CA1", talk.entries)
    until = 4_000_000_000
    async with events(desk, "live/CA1") as live:
        await live.until("turn-1", "Hello.")
        known = len(talk.entries)
        talk.says("And now?", "Now this.")
        new = [journal.to_item("CA1", entry, until) for entry in talk.entries[known:]]
        await desk.store.append(new)
        await live.until("turn-2", "Now this.")
        known = len(talk.entries)
        talk.ends()
        await desk.store.append([journal.to_item("CA1", talk.entries[known], until)])
        await live.until("call-state", "by the caller")
        while "over" not in live.names:
            await live.one()


async def test_what_is_not_written_yet_when_one_begins_to_watch_comes_after(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.open()
    runner = desk.start("CA1")
    runner.receive(frames.Prompt("Two pizzas."))
    written: list[Any] = []

    async def keep(items: Any) -> None:
        written.extend(items)

    with monkeypatch.context() as away:
        away.setattr(desk.store, "append", keep)
        async with events(desk, "live/CA1") as live:
            await live.one()
            runner.receive(frames.Prompt("No, three."))
            await live.until("turn-2", "No, three.")
            away.undo()
            await desk.service.recorder.flush()
            await desk.store.append(written)
            await live.until("turn-1", "Two pizzas.")
    await desk.service.end(runner)


async def test_a_watcher_who_falls_behind_reads_the_store(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxyray.feed._MOST_WAITING", 1)
    await desk.open()
    runner = desk.start("CA1")
    async with events(desk, "live/CA1") as live:
        await live.until("turn-0", "Hello!")
        runner.receive(frames.Prompt("One."))
        runner.receive(frames.Prompt("Two."))
        await live.until("turn-2", "Two.")
        await desk.service.end(runner)


async def test_a_journal_that_cannot_be_read_ends_the_stream(desk: Desk) -> None:
    await desk.open()
    await desk.keep("CA1", Talk().entries)
    await desk.store.append([{"pk": "CALL#CA1", "sk": "J#00009#0000099", "v": 99, "at_us": 1}])
    async with events(desk, "live/CA1") as live:
        while "over" not in live.names:
            await live.one()


async def test_streams_are_behind_the_door_too(desk: Desk) -> None:
    await desk.open(token=TOKEN)
    assert (await desk.get("live/CA1")).status == 401
    await desk.sign_in()
    async with events(desk, "live") as live:
        await live.until("live-calls", "Calls now 0")


async def test_a_host_that_closes_ends_them(desk: Desk) -> None:
    await desk.open()
    async with events(desk, "live") as live:
        await live.until("live-calls", "Calls now 0")
        desk.service.close_pages()
        assert await live.rest() == b""


async def test_hidden_numbers_stay_hidden_in_live_pieces(desk: Desk) -> None:
    await desk.open()
    await desk.send("calls", "privacy", {"numbers": "show", "back": "calls"})
    runner = desk.start("CA1")
    async with events(desk, "live") as live:
        await live.until("live-calls", "+15550100001")
    await desk.service.end(runner)
