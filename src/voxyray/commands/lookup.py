"""Finding calls in the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import msgspec

from voxyray import journal
from voxyray.errors import SettingsError, StoreError, VoxyrayError
from voxyray.journal import Entry
from voxyray.settings import Settings
from voxyray.stores import Item, Store, keys
from voxyray.stores.opening import open_store

_JOURNAL: Final = "J#"
_A_DAY_S: Final = 86_400
_WRITTEN_WITHIN_S: Final = 3.0  # journals are written behind the talk
_LOOK_EVERY_S: Final = 0.1
_TALKING_WITHIN_S: Final = 60.0


class Listed(msgspec.Struct, frozen=True):
    """A call in the list of its day.

    agent took the call; last_agent: who had it last, another one if the caller was put through.
    started_at: epoch seconds. turns: begun so far, greetings not counted. ended: `agent`,
    `caller`, `dropped`, `talking`, or `unknown` when its end was never written.
    """

    call: str
    agent: str
    caller: str
    started_at: float
    turns: int
    ended: str
    duration_ms: float | None
    last_agent: str = ""


def existing_store(settings: Settings) -> Store | None:
    """Open the settings' store to look into it; None if nothing was ever stored.

    Raises:
        SettingsError: it keeps nothing, or names no store.
        StoreError: it cannot be opened.
    """
    kind, _, path = settings.store.partition(":")
    if kind == "memory":
        raise SettingsError(
            "VOXYRAY_STORE=memory: keeps nothing to look at; use sqlite:PATH for calls that stay"
        )
    if kind == "sqlite" and path and not Path(path).expanduser().exists():
        return None
    return open_store(settings.store)


async def read_journal(store: Store, call_id: str, *, ended: int = 0) -> list[Entry]:
    """Read a call's journal; ended: wait a little for the ends of so many sessions to be written.

    Raises:
        StoreError: the id can be no call's.
        JournalError: an entry is of a newer version, or damaged.
    """
    deadline_s = time.monotonic() + _WRITTEN_WITHIN_S
    while True:
        entries = [
            journal.from_item(item) for item in await store.query(keys.call(call_id), _JOURNAL)
        ]
        if sum(isinstance(entry.what, journal.CallEnded) for entry in entries) >= ended:
            return entries
        # A server that writes to another store would never write it here.
        if time.monotonic() > deadline_s:
            return entries
        await asyncio.sleep(_LOOK_EVERY_S)


async def days(store: Store, settings: Settings) -> AsyncGenerator[list[Item], None]:
    """Give the lists of calls day by day, the newest day and call first."""
    now_s = time.time()
    for back in range(settings.retention_days + 1):
        yield await store.query(keys.day(now_s - back * _A_DAY_S), reverse=True)


async def latest(store: Store, settings: Settings, limit: int) -> list[Listed]:
    """Give the latest calls, newest first."""
    items: list[Item] = []
    async for day in days(store, settings):
        items += day
        if len(items) >= limit:
            break
    return [await _listed(store, item) for item in items[:limit]]


async def _listed(store: Store, item: Item) -> Listed:
    """Look at the last entry only: it tells the turns, and the end if there was one."""
    call_id, started_at = str(item.get("call", "")), int(item.get("started_at_ms", 0)) / 1000
    last = await store.query(keys.call(call_id), _JOURNAL, limit=1, reverse=True)
    head = await store.get(keys.call(call_id), keys.HEAD) or {}
    agent = str(item.get("agent", ""))
    turns, ended, duration_ms = 0, "unknown", None
    if last:
        turns = max(0, int(str(last[0]["sk"]).split("#")[1]) - _transfers(head))
        duration_ms = int(last[0].get("at_us", 0)) / 1000
        ended = _ended(last[0], started_at + duration_ms / 1000)
    return Listed(
        call_id,
        agent,
        str(item.get("caller", "")),
        started_at,
        turns,
        ended,
        duration_ms,
        str(head.get("agent", agent)),
    )


def _transfers(head: Item) -> int:
    """Tell how often the call went on in another session: each began with a greeting."""
    return len(head.get("ended_sessions", ())) - (head.get("status") == "ended")


def _ended(last: Item, at_s: float) -> str:
    try:
        what = journal.from_item(last).what
    except VoxyrayError:
        return "unknown"
    if isinstance(what, journal.CallEnded):
        return what.why
    return "talking" if time.time() - at_s < _TALKING_WITHIN_S else "unknown"


async def find(store: Store, settings: Settings, wanted: str) -> str:
    """Give the id of the call that is meant, by its id or the beginning of it.

    Raises:
        StoreError: there is none, or several.
    """
    try:
        if await store.get(keys.call(wanted), keys.HEAD) is not None:
            return wanted
    except StoreError:
        raise _unknown(wanted) from None
    found: list[str] = []
    async for day in days(store, settings):
        found += [call for item in day if (call := str(item.get("call"))).startswith(wanted)]
    found = list(dict.fromkeys(found))
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(found[:3]) + (" ..." if len(found) > 3 else "")
        raise StoreError(f"{len(found)} calls begin with {wanted!r}: {some}; give more of the id")
    raise _unknown(wanted)


def _unknown(wanted: str) -> StoreError:
    return StoreError(f"there is no call {wanted[:60]!r}; `voxyray calls` lists those there are")
