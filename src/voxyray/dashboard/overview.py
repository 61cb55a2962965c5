"""The first page: calls now, how fast agents answer, and what goes wrong.

Figures come from a sample spread evenly over the time asked for, so that ten thousand calls cost
no more than three hundred; the page says how many were looked at.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from voxyray.dashboard import following, wording
from voxyray.dashboard.digests import Digest
from voxyray.dashboard.site import Visit
from voxyray.latency import Percentiles, percentiles
from voxyray.reception import Response
from voxyray.stores import Item, keys

_ENOUGH_S: Final = 2.0  # a first look at a slow store shows part of the sample
_TICKS: Final = 4


class Span(msgspec.Struct, frozen=True):
    """A stretch of time to look at, in buckets that never cross midnight (UTC)."""

    label: str
    buckets: int
    bucket_s: int
    each: int
    bucket: str
    time_format: str


SPANS: Final = {
    "day": Span("24 hours", 24, 3600, 12, "hour", "%H:%M"),
    "week": Span("7 days", 28, 6 * 3600, 10, "six hours", "%a %H:%M"),
    "month": Span("30 days", 30, 86_400, 10, "day", "%d %b"),
}


class Bucket(msgspec.Struct, frozen=True):
    """The calls that began within a stretch of time; x is where it is drawn, 0 to 1000."""

    at_s: float
    label: str
    x: float
    calls: int
    gap: Percentiles


class Chart(msgspec.Struct, frozen=True):
    """Percentiles over time, in a box of 1000 by 100; times downwards from the top line.

    median, high: paths of lines. dots: of single measurements, by kind.
    """

    ticks: tuple[str, ...]
    labels: tuple[str, ...]
    median: str
    high: str
    dots: dict[str, str]


async def page(visit: Visit) -> Response:
    """Show the overview."""
    chosen = visit.query.get("span", "day")
    span = SPANS.get(chosen, SPANS["day"])
    grouped, complete = await _sampled(visit, span)
    buckets = [_bucket(span, at_s, found, place) for place, (at_s, found) in enumerate(grouped)]
    digests = [digest for _, found in grouped for digest in found]
    return await visit.long_page(
        "overview.html",
        span=span,
        spans=SPANS,
        chosen=chosen if chosen in SPANS else "day",
        buckets=buckets,
        chart=draw(buckets),
        figures=_figures(digests),
        sampled=len(digests),
        complete=complete,
        live=following.live_calls(visit),
    )


async def _sampled(visit: Visit, span: Span) -> tuple[list[tuple[float, list[Digest]]], bool]:
    """Give some calls of every bucket, and whether there was time for all of them."""
    enough_at = time.monotonic() + _ENOUGH_S
    newest = int(time.time()) // span.bucket_s * span.bucket_s
    starts = [newest - back * span.bucket_s for back in range(span.buckets)]
    found: list[tuple[float, list[Digest]]] = []
    complete = True
    for at_s in starts:
        complete = time.monotonic() < enough_at
        listed = await _listed(visit, span, at_s) if complete else []
        found.append((float(at_s), await visit.site.digests.of(listed)))
    return found[::-1], complete


async def _listed(visit: Visit, span: Span, at_s: int) -> Sequence[Item]:
    end = keys.started(at_s + span.bucket_s, "")
    items = await visit.service.store.query(
        keys.day(at_s), after=keys.started(at_s, ""), limit=span.each
    )
    return [item for item in items if item["sk"] < end]


def _bucket(span: Span, at_s: float, found: Sequence[Digest], place: int) -> Bucket:
    gaps = [ms for digest in found for ms in digest.gaps_ms]
    label = wording.local(at_s).strftime(span.time_format)
    x = 1000 * (place + 0.5) / span.buckets
    return Bucket(at_s, label, x, len(found), percentiles(gaps))


def _figures(digests: Sequence[Digest]) -> dict[str, object]:
    known = [digest.cents for digest in digests if digest.cents is not None]
    return {
        "gap": percentiles(ms for digest in digests for ms in digest.gaps_ms),
        "turns": sum(digest.turns for digest in digests),
        "interruptions": sum(digest.interruptions for digest in digests),
        "tools": sum(digest.tools for digest in digests),
        "tool_failures": sum(digest.tool_failures for digest in digests),
        "errors": sum(digest.errors for digest in digests),
        "dropped": sum(digest.ended == "dropped" for digest in digests),
        "cents": sum(known) if known else None,
        "priced": len(known),
    }


def draw(buckets: Sequence[Bucket]) -> Chart | None:
    """Draw percentiles over time; None if nothing was measured."""
    longest = max((each.gap.longest_ms or 0.0 for each in buckets), default=0.0)
    if not any(each.gap.n for each in buckets):
        return None
    top = nice(longest)
    medians: list[tuple[float, float] | None] = []
    highs: list[tuple[float, float] | None] = []
    few: list[tuple[float, float] | None] = []
    for each in buckets:
        gap = each.gap
        middle = gap.p50_ms if gap.p50_ms is not None else gap.longest_ms
        medians.append(_point(each.x, middle, top))
        highs.append(_point(each.x, gap.p95_ms, top))
        few.append(_point(each.x, gap.longest_ms if gap.p95_ms is None else None, top))
    ticks = tuple(
        wording.milliseconds(top * (_TICKS - step) / _TICKS) for step in range(_TICKS + 1)
    )
    shown = buckets[:: max(1, len(buckets) // 6)]
    dots = {"median": _dots(medians), "high": _dots(highs), "few": _dots(few)}
    labels = tuple(each.label for each in shown)
    return Chart(ticks, labels, _line(medians), _line(highs), dots)


def nice(ms: float) -> float:
    """Give a round number at or above a time, for the end of a scale."""
    for step in (100, 200, 400, 800, 1000, 2000, 4000, 8000, 12_000, 20_000, 40_000, 60_000):
        if ms <= step:
            return float(step)
    return ms


def _point(x: float, ms: float | None, top: float) -> tuple[float, float] | None:
    return None if ms is None else (x, 100 - 100 * ms / top)


def _line(points: Sequence[tuple[float, float] | None]) -> str:
    """Give a path through neighbours; nothing bridges a stretch without measurements."""
    path, pen_up = "", True
    for point in points:
        if point is not None:
            path += f"{'M' if pen_up else 'L'}{point[0]:.1f} {point[1]:.2f}"
        pen_up = point is None
    return path


def _dots(points: Sequence[tuple[float, float] | None]) -> str:
    return "".join(f"M{point[0]:.1f} {point[1]:.2f}h0" for point in points if point is not None)
