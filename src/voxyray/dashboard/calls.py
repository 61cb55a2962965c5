"""The list of calls: newest first, filtered and searched a bounded way back.

Nothing is counted: a page reads on from where the last one ended. What was searched for is kept on
the server, since numbers and words in an address would end up in histories and logs.
"""

from __future__ import annotations

import datetime
import re
import secrets
import time
from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import urlencode

import msgspec

from voxyray.dashboard import following
from voxyray.dashboard.digests import SLOW_MS, Digest
from voxyray.dashboard.site import Visit
from voxyray.reception import Response
from voxyray.stores import Item, keys

ROWS: Final = 50
MOST_SEARCHED: Final = 500
_ENOUGH_S: Final = 2.0
_MOST_DAYS: Final = 400  # looked into for one page, most of them empty
_A_DAY_S: Final = 86_400
_CHUNK: Final = 16
_SEARCH_CHARS: Final = 200
_DIGITS: Final = re.compile(r"[+\d\s().\-/]+")


class Filter(msgspec.Struct, frozen=True):
    """What calls are wanted; day is a date (UTC), text in lower case."""

    day: str = ""
    agent: str = ""
    errors: bool = False
    slow: bool = False
    text: str = ""

    @property
    def is_any(self) -> bool:
        """Whether anything is asked for."""
        return self != Filter()

    def fits(self, digest: Digest) -> bool:
        """Whether a call is wanted."""
        if self.agent and self.agent not in digest.agents:
            return False
        if self.errors and not digest.troubles:
            return False
        if self.slow and (digest.slowest_ms or 0.0) < SLOW_MS:
            return False
        return not self.text or self._finds(digest)

    def _finds(self, digest: Digest) -> bool:
        if _DIGITS.fullmatch(self.text):
            number = re.sub(r"\D", "", self.text)
            if number and number in re.sub(r"\D", "", digest.caller):
                return True
        whole = " ".join((digest.call, digest.caller, *digest.agents)).lower()
        return self.text in whole or self.text in digest.words


class Found(msgspec.Struct, frozen=True):
    """A page of calls.

    searched: how many were looked at, back to when (epoch seconds). next: where to go on.
    """

    rows: list[Digest]
    searched: int
    back_to: float | None
    next: str


async def page(visit: Visit) -> Response:
    """Show a page of calls."""
    wanted, forgotten = _wanted(visit)
    found = await _find(visit, wanted, visit.query.get("from", ""))
    kept = {name: visit.query[name] for name in _KEPT if visit.query.get(name)}
    first = not visit.query.get("from")
    return await visit.long_page(
        "calls.html",
        found=found,
        wanted=wanted,
        forgotten=forgotten,
        older=urlencode({**kept, "from": found.next}) if found.next else "",
        newest=urlencode(kept),
        first=first,
        back=f"calls?{visit.request.query}" if visit.request.query else "calls",
        agents=sorted(visit.service.reception.agents),
        live=following.live_calls(visit) if first and not wanted.is_any else None,
        slow_ms=SLOW_MS,
        today=time.strftime("%Y-%m-%d", time.gmtime()),
    )


_KEPT: Final = ("day", "agent", "errors", "slow", "search")


async def search(visit: Visit) -> Response:
    """Keep what is searched for, and show what it finds at an address that does not tell it."""
    form = visit.form
    given = {name: form[name][:60] for name in _KEPT[:-1] if form.get(name)}
    if text := " ".join(form.get("text", "").split())[:_SEARCH_CHARS]:
        key = secrets.token_urlsafe(9)
        visit.site.remember(key, {"text": text, "session": visit.session.id})
        given["search"] = key
    return visit.redirect(f"calls?{urlencode(given)}" if given else "calls")


def _wanted(visit: Visit) -> tuple[Filter, bool]:
    """Read the filter; true if the search is no longer known."""
    query = visit.query
    kept = visit.site.searches.get(query.get("search", ""), {})
    ours = kept.get("session") == visit.session.id
    text = kept.get("text", "") if ours else ""
    wanted = Filter(
        day=_date(query.get("day", "")),
        agent=query.get("agent", "") if keys.is_agent(query.get("agent", "")) else "",
        errors=bool(query.get("errors")),
        slow=bool(query.get("slow")),
        text=text.lower(),
    )
    return wanted, bool(query.get("search")) and not ours


async def _find(visit: Visit, wanted: Filter, start: str) -> Found:
    enough_at = time.monotonic() + _ENOUGH_S
    rows: list[Digest] = []
    searched, last, back_to = 0, "", None
    async for day, items in _listed(visit, wanted.day, start):
        for item, digest in zip(items, await visit.site.digests.of(items), strict=True):
            if len(rows) == ROWS or searched == MOST_SEARCHED or time.monotonic() > enough_at:
                return Found(rows, searched, back_to, last)
            searched += 1
            last, back_to = f"{day} {item['sk']}", digest.started_at
            if wanted.fits(digest):
                rows.append(digest)
        if not items:
            return Found(rows, searched, back_to, f"{day} ")
    return Found(rows, searched, back_to, "")


async def _listed(
    visit: Visit, only: str, start: str
) -> AsyncGenerator[tuple[str, list[Item]], None]:
    """Give the lists of calls, newest first, some at a time; none at all after too many days."""
    day, _, after = start.partition(" ")
    day = only or _date(day) or time.strftime("%Y-%m-%d", time.gmtime())
    if start and only and not start.startswith(only):
        after = ""
    oldest = time.time() - (visit.service.settings.retention_days + 1) * _A_DAY_S
    for _ in range(_MOST_DAYS):
        at_s = _epoch(day)
        if at_s + _A_DAY_S < oldest and not only:
            return
        while items := await visit.service.store.query(
            keys.day(at_s), after=after, limit=_CHUNK, reverse=True
        ):
            yield day, items
            after = items[-1]["sk"]
        if only:
            return
        day, after = time.strftime("%Y-%m-%d", time.gmtime(at_s - _A_DAY_S)), ""
    yield day, []


def _date(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat() if len(text) == 10 else ""
    except ValueError:
        return ""


def _epoch(day: str) -> float:
    moment = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC)
    return moment.timestamp()
