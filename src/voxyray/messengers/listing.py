"""The outbox as a table, for the command line and the dashboard."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Final

import msgspec

from voxyray.messengers import masked
from voxyray.messengers.records import Entry

WORDS_CHARS: Final = 48


class Row(msgspec.Struct, frozen=True):
    """One message in a table; to is masked, status has the code of a failure."""

    id: str
    when: str
    kind: str
    to: str
    status: str
    words: str


def rows(entries: Iterable[Entry], zone: tzinfo = UTC) -> list[Row]:
    """Give messages as rows, in their order; times in a zone."""
    return [_row(entry, zone) for entry in entries]


def _row(entry: Entry, zone: tzinfo) -> Row:
    when = datetime.fromtimestamp(entry.created_at_ms / 1000, zone)
    words = " ".join(f"{entry.subject} {entry.body}".split())
    if len(words) > WORDS_CHARS:
        words = words[: WORDS_CHARS - 1].rstrip() + "…"
    return Row(
        entry.id,
        when.strftime("%Y-%m-%d %H:%M"),
        entry.kind,
        masked(entry.to),
        f"{entry.status} ({entry.code})" if entry.code else entry.status,
        words,
    )
