"""The outbox: messages that agents sent, and what became of them."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from voxyray.dashboard import masking
from voxyray.dashboard.site import Visit
from voxyray.messengers.records import Entry, Records
from voxyray.reception import Response

_MOST: Final = 100
_TROUBLED: Final = ("failed", "undelivered", "unknown")


class Row(msgspec.Struct, frozen=True):
    """A message as it is shown; words are empty while they are hidden."""

    entry: Entry
    to: str
    words: str
    troubled: bool


async def page(visit: Visit) -> Response:
    """Show the latest messages."""
    settings = visit.service.settings
    records = Records(visit.service.store, time.time, settings.retention_days)
    entries = await records.latest(_MOST)
    return visit.page(
        "outbox.html", rows=[_row(visit, entry) for entry in entries], most=_MOST, back="outbox"
    )


def _row(visit: Visit, entry: Entry) -> Row:
    words = f"{entry.subject}\n{entry.body}".strip() if visit.session.words else ""
    to = masking.address(entry.to, shown=visit.session.numbers)
    return Row(entry, to, visit.words(words), entry.status in _TROUBLED)
