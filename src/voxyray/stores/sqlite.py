"""The store of one machine: a SQLite file, shared by every process on it.

One thread owns the connection that writes. Whatever waits for it is done in one transaction, each
job in a savepoint of its own: many writers share one fsync, and a write that returned is on the
disk. Another thread reads: with a write-ahead log neither waits for the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from voxyray.errors import StoreError
from voxyray.stores import Item, Update, Write, database
from voxyray.stores import items as rules
from voxyray.stores import values as v
from voxyray.stores.lanes import Lane

_Work: TypeAlias = Callable[[sqlite3.Connection], Any]

_GET: Final = (
    "SELECT body FROM items WHERE pk = :pk AND sk = :sk"
    " AND (expires_at IS NULL OR expires_at > :now)"
)
_PUT: Final = "INSERT OR REPLACE INTO items (pk, sk, body, expires_at) VALUES (?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM items WHERE pk = ? AND sk = ?"
_PURGE: Final = (
    "DELETE FROM items WHERE (pk, sk) IN"
    " (SELECT pk, sk FROM items WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
)
# A chunk is a few milliseconds, so that no caller's write waits long behind it.
_PURGE_CHUNK: Final = 500
_PURGE_EVERY_S: Final = 60.0
_CHECKED_AT_ONCE: Final = 50


class SqliteStore:
    """Keep items in a SQLite file; open it with `open`.

    It may be used from one event loop after another, or from several in their threads.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], float],
        writer: sqlite3.Connection,
        reader: sqlite3.Connection,
    ) -> None:
        self._path = path
        self._now = now
        self._writing = _Writing(path, writer)
        self._reading = _Reading(path, reader)
        self._reads = Lane("voxyray-store-read", self._reading.handle, reader.close)
        self._writes = Lane("voxyray-store-write", self._writing.handle, self._finish)
        self._purged_at = now()
        self._purge(self._purged_at)

    @classmethod
    def open(
        cls,
        path: str | Path,
        now: Callable[[], float] = time.time,
        *,
        busy_timeout_s: float = 5.0,
    ) -> SqliteStore:
        """Open a file, or make it with its folders; this blocks, so do it at the start.

        now: the wall clock, epoch seconds; called on the callers' loops only.
        busy_timeout_s: how long a write waits for another process before it fails.

        Raises:
            StoreError: it cannot be opened; the message says what to do.
        """
        # Absolute, for SQLite gives `:memory:` and names that begin with `file:` a meaning.
        path = Path(path).absolute()
        writer, reader = database.open_pair(path, busy_timeout_s)
        return cls(path, now, writer, reader)

    @property
    def commits(self) -> int:
        """How many transactions were committed; fewer than writes where writers shared one."""
        return self._writing.commits

    async def get(self, pk: str, sk: str) -> Item | None:
        """Read one item; None if missing or expired."""
        v.check_key(pk, sk)
        now = self._now()
        item: Item | None = await self._reads.submit(lambda db: _get(db, pk, sk, now))
        return item

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
        rules.check_range(pk, prefix, after, limit)
        sql, given = _selection(pk, prefix, after, limit, reverse)
        given["now"] = self._now()
        items: list[Item] = await self._reads.submit(
            lambda db: [v.decode(body) for (body,) in db.execute(sql, given)]
        )
        return items

    async def write(self, *writes: Write) -> None:
        """Do all the writes or none of them."""
        checked = rules.snapshot(writes)
        await self._change(lambda db, now: _settle(db, checked, now))

    async def update(self, update: Update) -> Item:
        """Do one update and return the item as it is then."""
        checked = rules.snapshot([update])
        rows = await self._change(lambda db, now: _settle(db, checked, now))
        return v.decode(rows[0].body)

    async def append(self, items: Sequence[Item]) -> None:
        """Write any number of new items: here, all or none, in one transaction."""
        rows: list[rules.Row] = []
        for at in range(0, len(items), _CHECKED_AT_ONCE):
            rows += [rules.row(item) for item in items[at : at + _CHECKED_AT_ONCE]]
            await asyncio.sleep(0)  # thousands of items must not hold up the calls of this loop
        rules.refuse_twice([(row.pk, row.sk) for row in rows])
        await self._change(lambda db, _now: _store(db, rows))

    async def purge_expired(self) -> int:
        """Remove expired items, some at a time, and return how many; done now and then anyway."""
        now, removed, chunk = self._now(), 0, _PURGE_CHUNK
        while chunk == _PURGE_CHUNK:
            chunk = await self._writes.submit(lambda db: _purge(db, now))
            removed += chunk
        return removed

    async def close(self) -> None:
        """Do what was begun and close the file; what is asked later raises StoreError."""
        self._writes.stop()
        self._reads.stop()
        await asyncio.to_thread(self._writes.join)

    def _change(self, work: Callable[[sqlite3.Connection, float], Any]) -> asyncio.Future[Any]:
        now = self._now()
        done = self._writes.submit(lambda db: work(db, now))
        if now - self._purged_at >= _PURGE_EVERY_S:
            self._purged_at = now
            self._purge(now)
        return done

    def _finish(self) -> None:
        # Who closes last folds the log into the file; if both close at once, neither does.
        self._reads.join()
        self._writing.close()

    def _purge(self, now: float) -> None:
        # Queued like a write, so it shares the commit of the writes around it.
        self._writes.post(lambda db: self._purge_on(db, now))

    def _purge_on(self, db: sqlite3.Connection, now: float) -> None:
        if _purge(db, now) == _PURGE_CHUNK:
            self._purge(now)


class _Reading:
    """Answer reads, in the reading thread."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._db = db

    def handle(self, works: Sequence[_Work]) -> list[Any]:
        return [self._outcome(work) for work in works]

    def _outcome(self, work: _Work) -> Any:
        try:
            return work(self._db)
        except sqlite3.Error as error:
            return database.explain(error, self._path)
        except StoreError as error:
            return error


class _Writing:
    """Do waiting writes in one transaction, in the writing thread."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.commits = 0
        self._path = path
        self._db = db
        self._file = _identity(path)

    def handle(self, works: Sequence[_Work]) -> list[Any]:
        # Linux lets a file be deleted while it is open; writes would succeed, into nothing.
        if _identity(self._path) != self._file:
            gone = f"the store {self._path}: the file was deleted or replaced; restart"
            return [StoreError(gone) for _ in works]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [self._outcome(work) for work in works]
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            # Even a condition that failed did so against a state that has not come to be.
            return [database.explain(error, self._path) for _ in works]
        self.commits += 1
        return outcomes

    def close(self) -> None:
        self._db.close()

    def _outcome(self, work: _Work) -> Any:
        self._db.execute("SAVEPOINT job")
        outcome: Any
        try:
            outcome = work(self._db)
        except sqlite3.Error as error:
            # A full or failing disk can make SQLite give up the transaction, hence every job.
            if not self._db.in_transaction:
                raise
            outcome = database.explain(error, self._path)
        except Exception as error:  # noqa: BLE001 - one job's fault must not be its neighbours'
            outcome = error
        if isinstance(outcome, Exception):
            self._db.execute("ROLLBACK TO job")
        self._db.execute("RELEASE job")
        return outcome


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _get(db: sqlite3.Connection, pk: str, sk: str, now: float) -> Item | None:
    found = db.execute(_GET, {"pk": pk, "sk": sk, "now": now}).fetchone()
    return None if found is None else v.decode(found[0])


def _settle(db: sqlite3.Connection, writes: Sequence[Write], now: float) -> list[rules.Row]:
    rows = rules.settle(writes, lambda pk, sk: _get(db, pk, sk, now))
    _store(db, rows)
    return rows


def _store(db: sqlite3.Connection, rows: Sequence[rules.Row]) -> None:
    for row in rows:
        if row.body is None:
            db.execute(_DELETE, (row.pk, row.sk))
        else:
            db.execute(_PUT, (row.pk, row.sk, row.body.decode(), row.expires_at))


def _purge(db: sqlite3.Connection, now: float) -> int:
    return db.execute(_PURGE, (now, _PURGE_CHUNK)).rowcount


def _selection(
    pk: str, prefix: str, after: str, limit: int | None, reverse: bool
) -> tuple[str, dict[str, Any]]:
    where = ["pk = :pk", "(expires_at IS NULL OR expires_at > :now)"]
    given: dict[str, Any] = {"pk": pk}
    if prefix:
        where.append("sk >= :prefix AND sk < CAST(:end AS TEXT)")
        # 0xFF is in no UTF-8, so this lies behind every text that begins with the prefix.
        given |= {"prefix": prefix, "end": prefix.encode() + b"\xff"}
    if after:
        where.append("sk < :after" if reverse else "sk > :after")
        given["after"] = after
    order = "DESC" if reverse else "ASC"
    given["limit"] = -1 if limit is None else limit
    sql = f"SELECT body FROM items WHERE {' AND '.join(where)} ORDER BY sk {order} LIMIT :limit"  # noqa: S608 - only texts of this function
    return sql, given
