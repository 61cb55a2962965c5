"""A store in memory, for tests and for a first try; it forgets everything at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from voxyray.errors import StoreError
from voxyray.stores import Item, Update, Write
from voxyray.stores import items as rules
from voxyray.stores import values as v


class MemoryStore:
    """Keep items in a dictionary, as JSON, so that nobody holds a part of what is stored.

    No method ever waits, so no other task runs in the middle of one: each is atomic.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._partitions: dict[str, dict[str, rules.Row]] = {}
        self._closed = False

    async def get(self, pk: str, sk: str) -> Item | None:
        """Read one item; None if missing or expired."""
        self._check_open()
        v.check_key(pk, sk)
        return self._live(pk, sk)

    async def query(
        self,
        pk: str,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Item]:
        """Read the items of a partition whose sk begins with prefix, in byte order of sk."""
        self._check_open()
        rules.check_range(pk, prefix, after, limit)
        found: list[Item] = []
        for sk in sorted(self._partitions.get(pk, ()), key=str.encode, reverse=reverse):
            beyond = not after or (sk < after if reverse else sk > after)
            item = self._live(pk, sk) if beyond and sk.startswith(prefix) else None
            if item is not None:
                found.append(item)
            if len(found) == limit:
                break
        return found

    async def write(self, *writes: Write) -> None:
        """Do all the writes or none of them."""
        self._check_open()
        self._keep(rules.settle(rules.snapshot(writes), self._live))

    async def update(self, update: Update) -> Item:
        """Do one update and return the item as it is then."""
        self._check_open()
        rows = rules.settle(rules.snapshot([update]), self._live)
        self._keep(rows)
        return v.decode(rows[0].body or b"")

    async def append(self, items: Sequence[Item]) -> None:
        """Write any number of new items."""
        self._check_open()
        self._keep(rules.rows(items))

    async def close(self) -> None:
        """Forget everything."""
        self._closed = True
        self._partitions.clear()

    def _live(self, pk: str, sk: str) -> Item | None:
        row = self._partitions.get(pk, {}).get(sk)
        if row is None or row.body is None:
            return None
        if row.expires_at is not None and row.expires_at <= self._now():
            return None
        return v.decode(row.body)

    def _keep(self, rows: Sequence[rules.Row]) -> None:
        for row in rows:
            partition = self._partitions.setdefault(row.pk, {})
            if row.body is None:
                partition.pop(row.sk, None)
            else:
                partition[row.sk] = row

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")
