"""Journal entries as they happen, for whoever watches a running call.

It is a look-up in an empty dictionary while nobody does. A watcher that falls behind loses
entries, never the call: it is told, and reads the store again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from voxyray.journal import Entry

_MOST_WAITING: Final = 2000  # some minutes of talk


class Watch:
    """What one watcher has not seen yet."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lost = False
        self._changed = asyncio.Event()

    def put(self, entry: Entry) -> None:
        """Keep an entry until it is taken; never raises."""
        if len(self._entries) < _MOST_WAITING:
            self._entries.append(entry)
        else:
            self._lost = True
        self._changed.set()

    async def take(self, within_s: float) -> list[Entry] | None:
        """Wait for entries and take them; none came in time: empty; some were lost: None."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), within_s)
        self._changed.clear()
        entries, self._entries = self._entries, []
        lost, self._lost = self._lost, False
        return None if lost else entries


class Feed:
    """Broadcasts the entries of this host's calls."""

    def __init__(self) -> None:
        self._watches: dict[str, set[Watch]] = {}

    def give(self, call_id: str, entry: Entry) -> None:
        """Give an entry to those who watch the call."""
        if self._watches:
            for watch in self._watches.get(call_id, ()):
                watch.put(entry)

    @contextlib.contextmanager
    def watch(self, call_id: str) -> Iterator[Watch]:
        """Watch a call while the block runs."""
        watch = Watch()
        self._watches.setdefault(call_id, set()).add(watch)
        try:
            yield watch
        finally:
            watching = self._watches[call_id]
            watching.discard(watch)
            if not watching:
                del self._watches[call_id]
