"""The page of one call, while it goes on and afterwards; and its journal as it was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from voxyray import journal
from voxyray.dashboard import drawing, masking
from voxyray.dashboard.digests import JOURNAL, aside, read
from voxyray.dashboard.overview import nice
from voxyray.dashboard.site import Visit
from voxyray.errors import JournalError, RequestRefused, StoreError
from voxyray.journal import Entry
from voxyray.receipts import Receipt, receipt
from voxyray.reception import Response
from voxyray.stores import Item, keys
from voxyray.waterfall import CallView, call_view

_LEAST_SCALE_MS: Final = 1000.0
_ENTRIES: Final = 200


class Line(msgspec.Struct, frozen=True):
    """An entry of the journal as it is shown; problem: why it cannot be read."""

    place: str
    at_ms: float | None
    kind: str
    text: str
    problem: str = ""


async def page(visit: Visit) -> Response:
    """Show a call."""
    head = await _head(visit)
    entries = await read(visit.service.store, visit.name)
    live = visit.name in visit.service.runners
    if not entries and head is None and not live:
        raise RequestRefused("There is no such call, or it was forgotten by now.", 404)
    prices = visit.site.digests.prices
    view = await aside(call_view, entries)
    bill = await aside(receipt, entries, prices) if prices else None
    return await _drawn(visit, head or {}, entries, live, view, bill)


async def _drawn(
    visit: Visit,
    head: Item,
    entries: Sequence[Entry],
    live: bool,
    view: CallView,
    bill: Receipt | None,
) -> Response:
    lines = {each.number: each for each in bill.turns} if bill else {}
    scale_ms = nice(max(drawing.longest_ms(view.turns), _LEAST_SCALE_MS))
    state = drawing.State(live)
    if entries:
        state = drawing.state(entries[-1], drawing.gaps_ms(view.turns).values(), live=live)
    return await visit.long_page(
        "call.html",
        call=visit.name,
        number=visit.number(str(head.get("caller", ""))),
        view=view,
        turns=[drawing.turn(visit, each, scale_ms, lines.get(each.number)) for each in view.turns],
        state=state,
        follow=live or not state.ended,
        scale_ms=scale_ms,
        bill=bill if view.turns and state.ended else None,
        back=f"calls/{visit.name}",
    )


async def raw(visit: Visit) -> Response:
    """Show the journal's entries as they are stored, some at a time."""
    after = visit.query.get("after", "")
    try:
        pk = keys.call(visit.name)
        items = await visit.service.store.query(pk, JOURNAL, after=after, limit=_ENTRIES)
    except StoreError:
        raise RequestRefused("There is no such call.", 404) from None
    if not items and not after:
        raise RequestRefused("Nothing is written of such a call.", 404)
    return await visit.long_page(
        "journal.html",
        call=visit.name,
        lines=[_line(visit, item) for item in items],
        next=items[-1]["sk"] if len(items) == _ENTRIES else "",
        first=not after,
        back=f"journal/{visit.name}",
    )


def _line(visit: Visit, item: Item) -> Line:
    place = str(item["sk"]).removeprefix(JOURNAL)
    try:
        entry = journal.from_item(item)
    except JournalError as error:
        return Line(place, None, "", "", str(error))
    fields = msgspec.to_builtins(entry.what)
    fields.pop("type", None)
    hidden = masking.values(fields, shown=visit.session.numbers)
    text = msgspec.json.encode(hidden).decode()
    return Line(place, entry.at_ms, journal.kind(entry.what), text)


async def _head(visit: Visit) -> Item | None:
    try:
        return await visit.service.store.get(keys.call(visit.name), keys.HEAD)
    except StoreError:
        raise RequestRefused("There is no such call.", 404) from None
