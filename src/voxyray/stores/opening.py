"""Opening the store that a setting names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from voxyray.errors import SettingsError
from voxyray.stores import Store
from voxyray.stores.memory import MemoryStore
from voxyray.stores.sqlite import SqliteStore

_FORMS: Final = (
    "`sqlite:PATH` for a file (such as sqlite:voxyray.db), `dynamodb:TABLE` for a table on AWS, "
    "or `memory:` to keep nothing"
)
# What DynamoDB takes for a table's name.
_TABLE: Final = re.compile(r"[A-Za-z0-9_.\-]{3,255}")


def open_store(spec: str) -> Store:
    """Open the store that VOXYRAY_STORE names; this may block, so do it at the start.

    spec: `sqlite:PATH` (`~` is the home folder), `dynamodb:TABLE` or `memory:`.

    Raises:
        SettingsError: it names no store; the message says what would.
        StoreError: the store cannot be opened.
    """
    kind, colon, rest = spec.strip().partition(":")
    if kind == "memory" and colon and not rest:
        return MemoryStore()
    if kind == "sqlite" and _is_path(rest):
        return SqliteStore.open(_home(rest))
    if kind == "dynamodb" and _TABLE.fullmatch(rest):
        return _open_dynamodb(rest)
    raise SettingsError(f"VOXYRAY_STORE={spec!r} names no store; use {_FORMS}")


def _open_dynamodb(table: str) -> Store:
    # Not everybody has boto3, and nobody else should wait for it.
    from voxyray.stores.dynamodb import DynamoStore

    try:
        return DynamoStore.open(table)
    except SettingsError as error:
        raise SettingsError(f"VOXYRAY_STORE=dynamodb:{table}: {error}") from error


def _home(rest: str) -> Path:
    try:
        return Path(rest).expanduser()
    except RuntimeError as error:
        raise SettingsError(
            f"VOXYRAY_STORE=sqlite:{rest}: {error}; write the whole path"
        ) from error


def _is_path(rest: str) -> bool:
    # `//` is the habit of URLs, `:memory:` that of SQLite; both would make a surprising file.
    return bool(rest) and not rest.startswith((":", "//")) and "\0" not in rest
