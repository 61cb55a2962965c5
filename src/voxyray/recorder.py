"""Writes journals behind the talk: one batching writer for all calls of a host."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from voxyray import journal
from voxyray.errors import StoreError
from voxyray.feed import Feed
from voxyray.journal import Entry
from voxyray.meter import Meter
from voxyray.metrics import LOST
from voxyray.stores import Item, Store
from voxyray.stores.values import check_item
from voxyray.tracebacks import traced

if TYPE_CHECKING:
    from voxyray.tracing import Tracer

_log = logging.getLogger(__name__)

BATCH_EVERY_S: Final = 0.1
_RETRY_AFTER_S: Final = 1.0
# Some 20 calls of an hour each; beyond that the store has been away too long.
_MOST_WAITING: Final = 200_000
_LOST_PER_LINE: Final = 1000


class Recorder:
    """Collects items and stores them in batches; talk never waits for it.

    feed: is given every entry, for whoever watches. meter: counts them, batch by batch too;
    tracer: makes spans of them.
    lost: how many items could not be kept because the store stayed away.
    """

    def __init__(
        self,
        store: Store,
        feed: Feed | None = None,
        meter: Meter | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._store = store
        self._feed = feed or Feed()
        self._meter = meter
        self._takers = [each.take for each in (meter, tracer) if each is not None]
        self._uncounted: list[tuple[str, Entry]] = []
        self._waiting: list[Item] = []
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self.lost = 0

    def record(self, call_id: str, entry: Entry, expires_at: int) -> None:
        """Take a journal entry to be written soon; never raises."""
        if self._takers:
            self._uncounted.append((call_id, entry))
        self._feed.give(call_id, entry)
        try:
            self.put(journal.to_item(call_id, entry, expires_at))
        except (StoreError, ValueError, TypeError, msgspec.MsgspecError) as error:
            self._lose(f"an entry of kind {journal.kind(entry.what)} cannot be written: {error}")

    def put(self, item: Item) -> None:
        """Take any item to be written soon."""
        if len(self._waiting) >= _MOST_WAITING:
            self._lose("the store has been away too long")
            return
        self._waiting.append(item)
        if self._task is None or self._task.done():
            # It writes for all calls: what it logs is not of the one that has woken it.
            self._task = asyncio.get_running_loop().create_task(
                self._write_behind(), context=contextvars.Context()
            )

    async def _write_behind(self) -> None:
        while self._waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), BATCH_EVERY_S)
            if not await self.flush():
                if self._closing.is_set():
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), _RETRY_AFTER_S)

    async def flush(self) -> bool:
        """Write what is waiting now; false if the store failed, then it waits on."""
        self.count()
        batch, self._waiting = self._waiting, []
        if not batch:
            return True
        try:
            await self._store.append(batch)
        except Exception as error:  # noqa: BLE001 - nothing may end the writing
            storable = self._storable(batch)
            self._waiting = storable + self._waiting
            if len(storable) < len(batch):
                return await self.flush()
            _log.warning("journal not written, will be tried again: %s", error)
            return False
        return True

    def count(self) -> None:
        """Count and trace what was recorded since the last time."""
        entries, self._uncounted = self._uncounted, []
        for take in self._takers:
            for call_id, entry in entries:
                try:
                    take(call_id, entry)
                except Exception as error:  # noqa: BLE001 - no count is worth a journal
                    _log.error("an entry could not be counted: %s", traced(error))

    def _storable(self, batch: list[Item]) -> list[Item]:
        """Leave out what no store will ever take: it would hold up all calls' entries for ever."""
        kept = []
        for item in batch:
            try:
                check_item(item)
            except StoreError as error:
                self._lose(f"{item['pk']} {item['sk']}: {error}")
            else:
                kept.append(item)
        return kept

    def _lose(self, why: str) -> None:
        self.lost += 1
        if self._meter is not None:
            self._meter.metrics.add(LOST)
        if self.lost == 1 or self.lost % _LOST_PER_LINE == 0:
            _log.error("journal entries are being lost, %d so far: %s", self.lost, why)

    async def close(self) -> None:
        """Write everything that is waiting, once more if need be."""
        self._closing.set()
        if self._task is not None:
            await self._task
        if not await self.flush():
            _log.error("%d journal entries could not be stored", len(self._waiting))
