"""Live pages: server-sent events that carry pieces of HTML, made by the same templates.

A stream ends after half a minute and the browser takes it up again where it was: a host that is
to stop need not wait long for those who watch. A call of another process is followed in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from typing import Final

import msgspec

from voxyray import journal
from voxyray.dashboard import drawing
from voxyray.dashboard.digests import aside, read
from voxyray.dashboard.site import Visit
from voxyray.errors import StoreError
from voxyray.feed import Watch
from voxyray.journal import Entry
from voxyray.reception import Response
from voxyray.stores import keys
from voxyray.waterfall import turns

LIVE_ROWS: Final = 20
_LASTS_S: Final = 30.0
_TOGETHER_S: Final = 0.15  # what comes within it is drawn once
_LOOK_EVERY_S: Final = 1.0
_OVER_AFTER_S: Final = 8.0  # another agent may take the call
_WRITTEN_WITHIN_S: Final = 2.0  # journals are written behind the talk
_TURNS_BEFORE: Final = 2  # a turn's end may be written in the next
_BEGIN: Final = b"retry: 300\n\n"
_STILL_THERE: Final = b":\n\n"
_NO_CALLS: Final = '<div id="live-calls" hidden></div>'


class LiveCall(msgspec.Struct, frozen=True):
    """A call of this host that is going on."""

    id: str
    agent: str
    caller: str
    started_at: float
    turn: int


def live_calls(visit: Visit) -> dict[str, object]:
    """Give how many calls there are now, and the latest of them."""
    runners = visit.service.runners
    latest = list(runners.values())[-LIVE_ROWS:][::-1]
    rows = [
        LiveCall(
            runner.call.id,
            runner.call.agent.name,
            visit.number(runner.caller.number),
            runner.call.started_at,
            runner.call.turn.number,
        )
        for runner in latest
    ]
    return {"count": len(runners), "rows": rows}


async def now(visit: Visit) -> Response:
    """Stream the calls that are going on."""
    return visit.stream(_now(visit))


async def _now(visit: Visit) -> AsyncGenerator[bytes, None]:
    visit.up = ""
    until = time.monotonic() + _LASTS_S
    shown = ""
    yield _BEGIN
    while time.monotonic() < until and not visit.site.closed:
        live = live_calls(visit)
        hidden = not live["count"] and visit.query.get("quiet")
        html = _NO_CALLS if hidden else visit.render("live.html", live=live)
        if html != shown:
            shown = html
            yield _piece("live-calls", html)
        else:
            yield _STILL_THERE
        await asyncio.sleep(_LOOK_EVERY_S)


async def call(visit: Visit) -> Response:
    """Stream one call: its turns, as they change."""
    try:
        keys.call(visit.name)
    except StoreError:
        return Response(404, b"not found\n")
    return visit.stream(_Following(visit).pieces())


class _Following:
    """One page that shows one call."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._entries: dict[tuple[int, int], Entry] = {}
        self._changed_s = time.monotonic()
        self._behind_until_s = self._changed_s + _WRITTEN_WITHIN_S
        self._gap = True  # what was recorded just before is not in the store yet
        self._gaps_ms: dict[int, float] = {}
        self._scale_ms = _number(visit.query.get("scale", ""))
        # After a break the browser tells the last turn it has; else the page does.
        last = visit.request.headers.get("last-event-id") or visit.query.get("turn", "")
        self._from: int | None = max(0, _number(last) - 1)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Give the turns that changed, until the call is over or the stream is old enough."""
        until = time.monotonic() + _LASTS_S
        yield _BEGIN
        with self._visit.service.feed.watch(self._visit.name) as watch:
            first = self._from
            await self._look()
            self._from = first
            self._gaps_ms = drawing.gaps_ms(await aside(turns, list(self._entries.values())))
            while True:
                for piece in self._drawn():
                    yield piece
                if self._is_over():
                    yield b"event: over\ndata: {}\n\n"
                    return
                if time.monotonic() > until or self._visit.site.closed:
                    return
                await self._wait(watch)
                if self._from is None:
                    yield _STILL_THERE

    @property
    def _is_ours(self) -> bool:
        return self._visit.name in self._visit.service.runners

    async def _wait(self, watch: Watch) -> None:
        entries = await watch.take(_LOOK_EVERY_S)
        if entries:
            self._take(entries)
            await asyncio.sleep(_TOGETHER_S)
            entries = await watch.take(0)
            self._take(entries or [])
            if entries is not None:
                return
        if entries is None:
            # What was lost is not in the store yet, perhaps.
            self._gap, self._behind_until_s = True, time.monotonic() + _WRITTEN_WITHIN_S
            await self._look()
        elif not self._is_ours or time.monotonic() < self._behind_until_s:
            # Of another process; or written behind, just when we began to watch.
            await self._look()

    async def _look(self) -> None:
        """Read what the store has beyond what is known."""
        self._gap = self._gap and time.monotonic() < self._behind_until_s
        known = bool(self._entries) and not self._gap
        after = keys.journal(*max(self._entries)) if known else ""
        self._take(await read(self._visit.service.store, self._visit.name, after=after))

    def _take(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if (entry.turn, entry.seq) in self._entries:
                continue
            self._entries[entry.turn, entry.seq] = entry
            self._changed_s = time.monotonic()
            before = entry.turn - 1
            self._from = max(0, before if self._from is None else min(self._from, before))

    def _is_over(self) -> bool:
        if self._is_ours or not self._entries:
            return False
        last = self._entries[max(self._entries)].what
        quiet_s = time.monotonic() - self._changed_s
        return isinstance(last, journal.CallEnded) and quiet_s > _OVER_AFTER_S

    def _drawn(self) -> list[bytes]:
        if self._from is None or not self._entries:
            return []
        first, self._from = self._from, None
        places = sorted(self._entries)
        since = first - _TURNS_BEFORE
        begun = {p[0] for p in places if isinstance(self._entries[p].what, journal.CallStarted)}
        some = [self._entries[p] for p in places if p[0] >= since or p[0] in begun]
        pieces = []
        for view in turns(some):
            if view.number >= first:
                self._gaps_ms |= drawing.gaps_ms([view])
                shown = drawing.turn(self._visit, view, self._scale_ms)
                html = self._visit.render("turn.html", turn=shown)
                said = drawing.announced(self._visit, view)
                pieces.append(_piece(f"turn-{view.number}", html, "turns", said, view.number))
        last = self._entries[places[-1]]
        state = drawing.state(last, self._gaps_ms.values(), live=self._is_ours)
        html = self._visit.render("state.html", state=state)
        return [*pieces, _piece("call-state", html)]


def _piece(id_: str, html: str, into: str = "", announce: str = "", number: int = -1) -> bytes:
    data = {"id": id_, "html": html, "into": into, "announce": announce}
    told = f"id: {number}\n" if number >= 0 else ""
    return f"event: piece\n{told}data: {msgspec.json.encode(data).decode()}\n\n".encode()


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 8 else 0
