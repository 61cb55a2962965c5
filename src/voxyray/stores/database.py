"""The SQLite file behind a store: opening, its schema, and what its errors mean."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from voxyray.errors import StoreError

SCHEMA: Final = 1
# "vxry": tells our files from another program's, whose tables we must not touch.
APPLICATION: Final = 0x76787279

_TABLE: Final = """
CREATE TABLE items (
    pk TEXT NOT NULL,
    sk TEXT NOT NULL,
    body TEXT NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (pk, sk)
) WITHOUT ROWID
"""
_INDEX: Final = "CREATE INDEX items_expiry ON items (expires_at) WHERE expires_at IS NOT NULL"
_FIXES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_BUSY: "another process holds it locked; find that process and end it",
    sqlite3.SQLITE_LOCKED: "another process holds it locked; find that process and end it",
    sqlite3.SQLITE_READONLY: "it cannot be written; let this user write the file and its folder",
    sqlite3.SQLITE_PERM: "it cannot be written; let this user write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; is it a file in a folder this user can write?",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a backup, or move it away to begin anew",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database; set VOXYRAY_STORE to another path, "
    "or move the file away to begin anew",
    sqlite3.SQLITE_IOERR: "the disk fails; look at the system's log, then restart",
}


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """Turn SQLite's error into one that says what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    fix = _FIXES.get(code, "this is not expected; restart, and report it if it happens again")
    return StoreError(f"the store {path}: {fix} ({error})")


def open_pair(path: Path, busy_timeout_s: float) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Open a store's file, made if it is missing, with its folders: for writing and for reading.

    It blocks: on the disk, and up to busy_timeout_s on other processes.

    Raises:
        StoreError: it cannot be opened, is damaged, another program's or a newer voxyray's.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the store {path}: its folder cannot be made ({error})") from error
    opened: list[sqlite3.Connection] = []
    try:
        opened.append(_connect(path, busy_timeout_s))
        _prepare(opened[0], path, busy_timeout_s)
        opened.append(_connect(path, busy_timeout_s))
        # The first look at a file makes SQLite read its shared memory; better now than in a call.
        opened[1].execute("SELECT 1 FROM items LIMIT 1").fetchone()
    except (sqlite3.Error, StoreError) as error:
        for connection in opened:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, path) from error
        raise
    return opened[0], opened[1]


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    # Made here, used in its lane's thread only; transactions are begun by hand.
    connection = sqlite3.connect(
        path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
    fresh = _is_fresh(connection, path)
    _use_wal(connection, busy_timeout_s)
    if not fresh:
        return
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have made the tables since.
    if _is_fresh(connection, path):
        connection.execute(_TABLE)
        connection.execute(_INDEX)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute("COMMIT")


def _is_fresh(connection: sqlite3.Connection, path: Path) -> bool:
    application, version, tables = connection.execute(
        "SELECT (SELECT application_id FROM pragma_application_id),"
        " (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)"
    ).fetchone()
    if (application, version, tables) == (0, 0, 0):
        return True
    if application != APPLICATION:
        raise StoreError(
            f"the store {path}: it is another program's database; "
            "set VOXYRAY_STORE to a path of its own"
        )
    if version > SCHEMA:
        raise StoreError(
            f"the store {path}: a newer voxyray wrote it (schema {version}, this one knows "
            f"{SCHEMA}); upgrade voxyray, or set VOXYRAY_STORE to another path"
        )
    return False


def _use_wal(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    # Two processes that switch a new file at once would wait for each other; SQLite then fails
    # one of them at once instead of waiting (https://sqlite.org/c3ref/busy_handler.html).
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
            continue
        if mode != "wal":
            raise StoreError(f"SQLite cannot share files here (journal mode {mode}); use a disk")
        return
