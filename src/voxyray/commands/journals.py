"""Reading the journals of many calls at once, for commands that compare them."""

from __future__ import annotations

from typing import NamedTuple

from voxyray.commands import lookup
from voxyray.errors import JournalError, StoreError
from voxyray.settings import Settings, load_settings
from voxyray.stores import Store
from voxyray.waterfall import CallView, call_view


class Calls(NamedTuple):
    """Calls by id, the newest first; unreadable: ids of those whose journals are damaged."""

    views: dict[str, CallView]
    unreadable: list[str]


async def read(limit: int, wanted: str | None = None) -> Calls:
    """Read the latest calls, or the one that is meant.

    Raises:
        StoreError: nothing was stored yet, or there is no such call.
        JournalError: the one that is meant cannot be read.
    """
    settings = load_settings()
    store = lookup.existing_store(settings)
    if store is None:
        raise StoreError("no call was stored yet; `voxyray call` places one")
    try:
        if wanted is None:
            return await _latest(store, settings, limit)
        call_id = await lookup.find(store, settings, wanted)
        return Calls({call_id: call_view(await lookup.read_journal(store, call_id))}, [])
    finally:
        await store.close()


async def _latest(store: Store, settings: Settings, limit: int) -> Calls:
    calls = Calls({}, [])
    for listed in await lookup.latest(store, settings, limit):
        try:
            view = call_view(await lookup.read_journal(store, listed.call))
        except JournalError:
            calls.unreadable.append(listed.call)
        else:
            calls.views[listed.call] = view
    return calls
