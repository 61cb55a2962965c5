"""Calls for the commands that take a whole one: from the store, or from a file."""

from __future__ import annotations

from pathlib import Path

from voxyray import callfile
from voxyray.callfile import CallFile
from voxyray.commands import lookup
from voxyray.errors import JournalError, StoreError
from voxyray.settings import load_settings

_NONE = "no call was stored yet; `voxyray call` places one"


async def stored(wanted: str | None) -> CallFile:
    """Read a call from the store, by its id or the beginning of it; None is the latest.

    Raises:
        StoreError: there is none, or several.
        JournalError: it cannot be replayed; the message says why.
    """
    settings = load_settings()
    store = lookup.existing_store(settings)
    if store is None:
        raise StoreError(_NONE)
    try:
        if wanted is None:
            latest = await lookup.latest(store, settings, 1)
            if not latest:
                raise StoreError(_NONE)
            return await callfile.load(store, latest[0].call)
        return await callfile.load(store, await lookup.find(store, settings, wanted))
    finally:
        await store.close()


def read(path: Path) -> CallFile:
    """Read a call from its file.

    Raises:
        JournalError: it cannot be read, or is none.
    """
    try:
        if path.stat().st_size > callfile.MAX_BYTES:
            most = callfile.MAX_BYTES // 1024**2
            raise JournalError(f"{path} has {path.stat().st_size:,} bytes; a call has {most} MB")
        return callfile.decode(path.read_bytes(), str(path))
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}") from error


def write(path: Path, data: bytes) -> None:
    """Write a file.

    Raises:
        JournalError: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise JournalError(f"{path} cannot be written: {error.strerror or error}") from error
