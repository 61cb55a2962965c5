"""Calls as a host records them: through the items of a store, and back."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.desk import Desk
from voxyray import frames, journal
from voxyray.callfile import CallFile, Session, Setup, setup_of
from voxyray.journal import Entry

EXPIRES_AT = 2_000_000_000


def stored(entries: Sequence[Entry], call_id: str = "CA1") -> tuple[Entry, ...]:
    """Give entries as a store has them."""
    items = [journal.to_item(call_id, entry, EXPIRES_AT) for entry in entries]
    return tuple(journal.from_item(item) for item in sorted(items, key=lambda item: item["sk"]))


def recorded(desk: Desk, setup: Setup | None = None) -> CallFile:
    """Give the call of a desk as a file would hold it."""
    setup = setup or setup_of(desk.call)
    return CallFile("CA1", (Session(setup, stored(desk.entries)),))


def sent(desk: Desk) -> tuple[frames.OutboundFrame, ...]:
    """Give all that a desk sent."""
    return tuple(desk.sent)
