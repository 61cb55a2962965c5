"""What is asked of a benchmark and what it gives, as values that go through JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["talk", "storm", "events", "barge-in", "tools", "partials", "memory"]

AUTH_TOKEN: Final = "benchmark"  # of a carrier that is simulated

# Of added latency at p95; more is no longer a call that the core holds.
HELD_WITHIN_MS: Final = 50.0

# What other processes may use of a core before a measurement is in doubt.
DISTURBED_PERCENT: Final = 10.0

# A percentile of fewer samples than this says nothing.
_SAMPLES_FOR_P95: Final = 20
_SAMPLES_FOR_P99: Final = 100
# The median would hide these.
_WORST: Final = frozenset({"tokens_after_interrupt", "unanswered", "broken", "never_closed"})


class Workload(msgspec.Struct, frozen=True):
    """How the mock model answers: first token, then tokens at a rate.

    tool: the name of a tool that it asks for before every answer.
    """

    first_token_ms: float = 200
    tokens: int = 60
    rate: float = 50
    tool: str = ""

    @property
    def reply_s(self) -> float:
        """From the request to the end of the answer."""
        requests = 2 if self.tool else 1
        return requests * self.first_token_ms / 1000 + (self.tokens - 1) / self.rate


class Scenario(msgspec.Struct, frozen=True):
    """What to measure: a kind of talk, with so many calls, for so long."""

    kind: Kind
    calls: int
    seconds: float
    workload: Workload = Workload()

    @property
    def title(self) -> str:
        """Its name in tables."""
        return f"{self.kind}, {self.calls} calls"


class Spread(msgspec.Struct, frozen=True):
    """Percentiles in ms; None where there are too few samples to tell."""

    samples: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    most: float | None = None


class Figures(msgspec.Struct, frozen=True):
    """What one scenario gave.

    heard: prompt frame sent to first token frame received. added: that less what the model itself
    took of it; to_model and from_model are its two parts. guessed: turns whose answer was asked
    for before their final prompt. cpu_percent and the like are of one core.
    unanswered and broken: turns without any, or with only some, of their tokens. in_flight: tokens
    that were under way when an interrupt was sent; tokens_after_interrupt: that the server sent
    after it had seen it; never_closed: interrupts after which the answer was asked to its end.
    late and model_late: how late the instruments' own timers fired.
    foreign_percent: what the rest of the machine used meanwhile.
    """

    kind: Kind
    calls: int
    seconds: float = 0
    turns: int = 0
    tokens: int = 0
    heard: Spread = Spread()
    added: Spread = Spread()
    to_model: Spread = Spread()
    from_model: Spread = Spread()
    guessed: int = 0
    cpu_ms_per_turn: float | None = None
    cpu_ms_per_1000_tokens: float | None = None
    cpu_percent: float = 0
    interrupts: int = 0
    in_flight: int = 0
    tokens_after_interrupt: int = 0
    upstream_closed: Spread = Spread()
    never_closed: int = 0
    unanswered: int = 0
    broken: int = 0
    idle_kb_per_call: float | None = None
    speaking_kb_per_call: float | None = None
    rss_mb: float = 0
    late: Spread = Spread()
    model_late: Spread = Spread()
    generator_percent: float = 0
    model_percent: float = 0
    foreign_percent: float = 0


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured; load: the load average before and after."""

    python: str
    system: str
    processor: str
    cores: int
    server_core: int
    other_cores: tuple[int, ...]
    commit: str
    date: str
    load: tuple[float, float]


class Probe(msgspec.Struct, frozen=True):
    """One step of the search for how many calls a core holds."""

    calls: int
    held: bool
    figures: Figures


class Capacity(msgspec.Struct, frozen=True):
    """How many calls a core holds; most: it held as many as were tried, the search ended there."""

    kind: Kind
    calls: int
    most: bool
    probes: tuple[Probe, ...]


class Measured(msgspec.Struct, frozen=True):
    """One server's figures.

    scenarios: medians over the runs; every: each scenario's runs one by one.
    """

    server: str
    packages: dict[str, str]
    boot_ms: float
    import_ms: float
    scenarios: tuple[Figures, ...]
    every: tuple[tuple[Figures, ...], ...] = ()
    capacities: tuple[Capacity, ...] = ()

    def of(self, kind: Kind, calls: int | None = None) -> Figures | None:
        """Give one scenario's figures, if it was measured."""
        return next(
            (each for each in self.scenarios if each.kind == kind and calls in (None, each.calls)),
            None,
        )


class Report(msgspec.Struct, frozen=True):
    """Everything that was measured; voxyray is the first of servers."""

    machine: Machine
    workload: Workload
    runs: int
    seconds: float
    servers: tuple[Measured, ...]


def spread(values_ms: Sequence[float]) -> Spread:
    """Give the percentiles of samples."""
    if not values_ms:
        return Spread()
    values = sorted(values_ms)
    count = len(values)

    def at(share: float, least: int) -> float | None:
        return round(values[min(count - 1, int(count * share))], 3) if count >= least else None

    return Spread(
        count,
        round(statistics.median(values), 3),
        at(0.95, _SAMPLES_FOR_P95),
        at(0.99, _SAMPLES_FOR_P99),
        round(values[-1], 3),
    )


def median(rows: Sequence[Figures]) -> Figures:
    """Give the median of every figure of the same scenario's runs; of faults the worst."""
    merged = _median("", [msgspec.to_builtins(row) for row in rows])
    return msgspec.convert(merged, Figures, strict=False)


def _median(name: str, values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known or isinstance(known[0], str):
        return known[0] if known else None
    if isinstance(known[0], dict):
        return {key: _median(key, [value[key] for value in known]) for key in known[0]}
    if name in _WORST:
        return max(known)
    if isinstance(known[0], int):
        return statistics.median_low(known)
    return round(statistics.median(known), 3)
