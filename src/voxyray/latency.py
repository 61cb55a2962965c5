"""How fast agents answer: percentiles over turns, of a call, an agent, a model or a day.

A percentile is a time that was measured (nearest rank), and is given only where enough turns were
measured to tell it: a p99 of thirty turns is just their worst.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

import msgspec

from voxyray.waterfall import ASKED, CallView, TurnView

Measure: TypeAlias = Literal["gap", "audible", "silence", "first_token", "tool"]
Group: TypeAlias = Literal["call", "agent", "model", "day"]

# Percentile -> the fewest values that have one beyond it.
LEAST: Final = {50: 2, 90: 10, 95: 20, 99: 100}


class Percentiles(msgspec.Struct, frozen=True):
    """What so many measured times come to; None where n is too small to tell."""

    n: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    longest_ms: float | None = None


class Latency(msgspec.Struct, frozen=True):
    """How fast some turns went.

    turns: that somebody waited in; answered: of those, how many got words. gap, audible: as in
    `TurnView`. silence: from a barge-in until the carrier reported silence. first_token: of each
    of the model's rounds, failed attempts not counted. tool: of each run.
    """

    calls: int
    turns: int
    answered: int
    interrupted: int
    gap: Percentiles
    audible: Percentiles
    silence: Percentiles
    first_token: Percentiles
    tool: Percentiles


def percentiles(values: Iterable[float]) -> Percentiles:
    """Give the percentiles of some times in milliseconds."""
    ordered = sorted(values)
    n = len(ordered)
    if not n:
        return Percentiles()
    known = {p: ordered[math.ceil(n * p / 100) - 1] if n >= LEAST[p] else None for p in LEAST}
    return Percentiles(n, known[50], known[90], known[95], known[99], ordered[-1])


def too_few(n: int, percentile: int) -> str:
    """Say why a percentile is not given; empty if it is."""
    return f"n={n} is too small for p{percentile}" if n < LEAST[percentile] else ""


def latency(calls: Mapping[str, CallView]) -> Latency:
    """Give the percentiles over all turns of some calls, by id."""
    return _latency([(id_, turn) for id_, view in calls.items() for turn in view.turns])


def by(group: Group, calls: Mapping[str, CallView]) -> dict[str, Latency]:
    """Give them for each call, agent, model or day (of UTC); what is not known is `unknown`."""
    name = _NAMES[group]
    grouped: dict[str, list[tuple[str, TurnView]]] = {}
    for id_, view in calls.items():
        for turn in view.turns:
            # The greeting asks no model; it would make a group of its own.
            if turn.cause != "greeting" or group != "model":
                grouped.setdefault(name(id_, view, turn) or "unknown", []).append((id_, turn))
    return {each: _latency(turns) for each, turns in sorted(grouped.items())}


def first_tokens(turn: TurnView) -> Iterator[float]:
    """Give how long the model took in each round, to its first words or its wish for tools."""
    for part in turn.parts:
        if part.kind == "model" and part.ms is not None:
            yield part.ms


_NAMES: Final[dict[Group, Callable[[str, CallView, TurnView], str]]] = {
    "call": lambda id_, _view, _turn: id_,
    "agent": lambda _id, view, turn: turn.agent or view.agent,
    "model": lambda _id, view, turn: turn.model or _only_model(view),
    "day": lambda _id, view, _turn: _day(view.started_at),
}


def _only_model(view: CallView) -> str:
    """Give the one model of a call: replies that were cut do not tell theirs."""
    models = {turn.model for turn in view.turns if turn.model}
    return models.pop() if len(models) == 1 else ""


def _day(at_s: float | None) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat() if at_s is not None else ""


def _latency(found: Sequence[tuple[str, TurnView]]) -> Latency:
    turns = [turn for _, turn in found]
    asked = [turn for turn in turns if turn.cause in ASKED]
    return Latency(
        calls=len({id_ for id_, _ in found}),
        turns=len(asked),
        answered=sum(turn.gap_ms is not None for turn in asked),
        interrupted=sum(turn.cut is not None and turn.cut.by == "interrupt" for turn in turns),
        gap=percentiles(_known(turn.gap_ms for turn in asked)),
        audible=percentiles(_known(turn.audible_ms for turn in asked)),
        silence=percentiles(_known(turn.silence_ms for turn in turns)),
        first_token=percentiles(ms for turn in turns for ms in first_tokens(turn)),
        tool=percentiles(_known(tool.ms for turn in turns for tool in turn.tools)),
    )


def _known(values: Iterable[float | None]) -> Iterator[float]:
    return (value for value in values if value is not None)
