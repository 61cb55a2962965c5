"""One call as its page shows it: words said and heard, tools, and bars for where the time went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from voxyray import journal
from voxyray.dashboard import wording
from voxyray.dashboard.digests import ASKED
from voxyray.dashboard.site import Visit
from voxyray.journal import Entry
from voxyray.latency import Percentiles, percentiles
from voxyray.receipts import TurnReceipt
from voxyray.transcript import ToolView
from voxyray.waterfall import Cut, Part, TurnView

_LEAST_PERCENT = 0.4  # less cannot be seen


class Bar(msgspec.Struct, frozen=True):
    """A part of a waterfall; x and width in percent of the scale, width None if it is unknown."""

    kind: str
    label: str
    ms: float | None
    x: float
    width: float | None
    detail: str
    largest: bool


class ToolShown(msgspec.Struct, frozen=True):
    """A tool call as it is shown."""

    name: str
    effect: str
    arguments: str
    status: str
    result: str
    ms: float | None


class TurnShown(msgspec.Struct, frozen=True):
    """A turn as it is shown.

    unheard: what was said and never played. waiting: the caller's input has no answer yet.
    """

    view: TurnView
    caller: str
    begins: str
    heard: str
    unheard: str
    tools: list[ToolShown]
    fillers: list[str]
    bars: list[Bar]
    notes: list[str]
    waiting: bool
    scale_ms: float
    receipt: TurnReceipt | None = None


class State(msgspec.Struct, frozen=True):
    """How far a call is; gap: of the turns that were answered so far."""

    live: bool
    ended: str = ""
    length_ms: float = 0.0
    gap: Percentiles = Percentiles()


def turn(
    visit: Visit, view: TurnView, scale_ms: float, receipt: TurnReceipt | None = None
) -> TurnShown:
    """Give a turn; scale_ms: what the whole width of its bars stands for."""
    heard, unheard = _heard(view)
    spoke = view.cause in ("speech", "keys", "unknown")
    scale_ms = max(scale_ms, longest_ms([view]))
    return TurnShown(
        view,
        visit.words(view.caller) if spoke else "",
        "" if spoke and view.caller else wording.begins(view),
        visit.words(heard),
        visit.words(unheard),
        [_tool(visit, tool) for tool in view.tools],
        [visit.words(filler.text) for filler in view.fillers],
        bars(view.parts, scale_ms),
        [visit.words(note) for note in _notes(view)],
        not view.said and view.cut is None and not view.complete and spoke,
        scale_ms,
        receipt,
    )


def longest_ms(views: Sequence[TurnView]) -> float:
    """Give where the last part of any turn ends."""
    return max((p.at_ms + (p.ms or 0.0) for view in views for p in view.parts), default=0.0)


def bars(parts: Sequence[Part], scale_ms: float) -> list[Bar]:
    """Give the bars of a waterfall."""
    known = [part for part in parts if part.ms]
    largest = max(known, key=lambda part: part.ms or 0.0) if len(known) > 1 else None
    shown = []
    for part in parts:
        if part.kind == "held" and part.ms is not None and not part.ms:
            continue
        x, width = 0.0, None
        if scale_ms:
            x = min(100 * part.at_ms / scale_ms, 100 - _LEAST_PERCENT)
            if part.ms is not None:
                width = max(100 * part.ms / scale_ms, _LEAST_PERCENT)
        shown.append(Bar(part.kind, part.label, part.ms, x, width, part.detail, part is largest))
    return shown


def state(last: Entry, gaps_ms: Iterable[float], *, live: bool) -> State:
    """Tell how far a call is by its last entry, and how fast it was answered."""
    ended = last.what.why if isinstance(last.what, journal.CallEnded) else ""
    return State(live, "" if live else ended, last.at_ms, percentiles(gaps_ms))


def gaps_ms(views: Iterable[TurnView]) -> dict[int, float]:
    """Give how long callers waited for an answer, by turn."""
    return {
        view.number: view.gap_ms
        for view in views
        if view.gap_ms is not None and view.cause in ASKED
    }


def announced(visit: Visit, view: TurnView) -> str:
    """Give what a screen reader says of a turn once it is complete."""
    if not view.complete and view.cut is None:
        return ""
    heard, _ = _heard(view)
    words = f"Turn {view.number}. "
    if view.cause in ("speech", "keys") and view.caller:
        words += f"Caller: {visit.words(view.caller)}. "
    if heard:
        words += f"Agent: {visit.words(heard)} "
    if view.cut is not None:
        words += f"Cut: {wording.cut(view.cut)}."
    return words


def _heard(view: TurnView) -> tuple[str, str]:
    """Part a reply into what was heard and what was not."""
    if view.cut is None:
        return view.said, ""
    # The wordings may differ: then only what was heard is certain.
    rest = view.said[len(view.heard) :] if view.said.startswith(view.heard) else ""
    return view.heard, rest


def _tool(visit: Visit, tool: ToolView) -> ToolShown:
    return ToolShown(
        tool.name,
        tool.effect,
        visit.words(_pretty(tool.arguments)),
        tool.status,
        visit.words(_pretty(tool.result)),
        tool.ms,
    )


def _pretty(text: str) -> str:
    """Write JSON so that it can be read; what is none stays as it is."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    if isinstance(value, str):
        return value
    plain = msgspec.json.encode(value).decode()
    return plain if len(plain) < 80 else msgspec.json.format(plain, indent=2)


def _notes(view: TurnView) -> list[str]:
    notes = [
        f"Bridged after {wording.milliseconds(filler.at_ms)}: “{filler.text}”"
        for filler in view.fillers
    ]
    told = [each for each in view.parts if each.detail and (each.kind == "failure" or each.ms)]
    notes += [f"{part.label}: {part.detail}" for part in told]
    if view.cut is not None and view.cut.by == "interrupt" and view.said:
        notes.append(_interrupted(view.cut))
    return notes


def _interrupted(cut: Cut) -> str:
    late = "not one word was sent after it"
    if cut.late_ms is not None:
        late = f"words were still sent {wording.milliseconds(cut.late_ms)} after it"
    silent = ""
    if cut.silent_ms is not None:
        silent = f"; silence {wording.milliseconds(cut.silent_ms)} after it"
    return f"The caller cut in at {wording.milliseconds(cut.at_ms)}: {late}{silent}."
