"""Entries for those who watch: in order, bounded, and free while nobody does."""

from __future__ import annotations

import pytest

from voxyray import feed, journal
from voxyray.feed import Feed
from voxyray.journal import Entry

ENTRIES = [Entry(0, seq, 0.0, journal.LastSent()) for seq in range(5)]


async def test_watchers_get_what_happens_while_they_watch() -> None:
    made = Feed()
    made.give("CA1", ENTRIES[0])
    with made.watch("CA1") as one, made.watch("CA1") as two, made.watch("CA2") as other:
        made.give("CA1", ENTRIES[1])
        made.give("CA1", ENTRIES[2])
        assert await one.take(1) == ENTRIES[1:3]
        assert await one.take(0) == []
        assert await two.take(0) == ENTRIES[1:3]
        assert await other.take(0) == []
    made.give("CA1", ENTRIES[3])
    assert not made._watches


async def test_who_falls_behind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_MOST_WAITING", 2)
    made = Feed()
    with made.watch("CA1") as watch:
        for entry in ENTRIES:
            made.give("CA1", entry)
        assert await watch.take(0) is None
        made.give("CA1", ENTRIES[4])
        assert await watch.take(0) == [ENTRIES[4]]
