"""Metrics: every number we count, its name, and how Prometheus and CloudWatch read it.

`CATALOGUE` is the one place that names them; `Meter` (meter.py) finds them in journal entries.
Labels have few values, all ours (a tool's name, a model's, what caused a turn): nothing that a
caller says, and no id of a call, is ever one.
"""

from __future__ import annotations

import os
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Final, Literal, TypeAlias

import msgspec

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# A deployment's own: two of them in one account are not to be mixed.
NAMESPACE: Final = os.environ.get("VOXYRAY_METRICS_NAMESPACE", "voxyray")
# A metric with more label sets than this has a label that should not be one.
_MOST_SETS: Final = 200
_OTHER: Final = "other"
# Limits of CloudWatch's embedded metric format.
_MOST_VALUES: Final = 100
_MOST_METRICS: Final = 100

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Unit: TypeAlias = Literal["Count", "Seconds", "None"]
Labels: TypeAlias = tuple[str, ...]

# What people notice: below 0.3 s a reply is instant, beyond 1 s it is late, beyond 2 s they ask
# whether anybody is there.
_SPEECH: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_PARTS: Final = (0.001, 0.005, 0.02, 0.05, *_SPEECH)
_SILENCE: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)


class Metric(msgspec.Struct, frozen=True):
    """What is counted: unit as CloudWatch calls it; buckets: a histogram's upper bounds."""

    name: str
    kind: Kind
    unit: Unit
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, help_: str, *labels: str, unit: Unit = "Count") -> Metric:
    return Metric(f"voxyray_{name}_total", "counter", unit, help_, labels)


def _histogram(name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(f"voxyray_{name}_seconds", "histogram", "Seconds", help_, labels, buckets)


CALLS = _counter("calls", "Calls that began.", "agent")
CALLS_ENDED = _counter("calls_ended", "Sessions that ended, by who ended them.", "why")
CALLS_ACTIVE = Metric("voxyray_calls_active", "gauge", "Count", "Calls going on now.")
TURNS = _counter("turns", "Turns that began, by what began them.", "cause")
GAP = _histogram("turn_gap", "From the end of the caller's input to the first words sent.", _SPEECH)
AUDIBLE = _histogram(
    "turn_audible", "From the end of the caller's input to the start of speech.", _SPEECH
)
PART = _histogram(
    "turn_part",
    "Parts of a turn's wait; without the carrier's they sum to the gap.",
    _PARTS,
    "part",
)
INTERRUPTIONS = _counter("interruptions", "Replies that the caller cut.")
SILENCE = _histogram("silence", "From a barge-in to the silence the carrier reported.", _SILENCE)
MODEL_REQUESTS = _counter("model_requests", "Requests to a model.")
MODEL_ERRORS = _counter("model_errors", "Requests to a model that failed.", "retryable")
FALLBACKS = _counter("model_fallbacks", "Answers by another model than the first.", "model")
FIRST_TOKEN = _histogram("model_first_token", "From a request to its first token.", _SPEECH)
SPECULATIONS = _counter(
    "speculations", "Requests made before the caller's words were final, by outcome.", "status"
)
SPECULATION_GAIN = _histogram(
    "speculation_gain", "How much sooner an answer could be given that was asked early.", _PARTS
)
SPECULATION_WASTE = _counter(
    "speculation_wasted_tokens", "Tokens of early requests that were dropped, in part estimated."
)
TOKENS = _counter(
    "tokens", "Tokens, by kind: input, cached (of the input), output.", "model", "kind"
)
UNPRICED = _counter("tokens_unpriced", "Tokens of models that have no price.", "model")
COST = _counter("model_cost_dollars", "What models cost, by our prices.", "model", unit="None")
TOOL_CALLS = _counter("tool_calls", "Settled tool calls, by outcome.", "tool", "status")
TOOL = _histogram("tool", "How long tools ran.", _PARTS, "tool")
LOST = _counter("journal_entries_lost", "Journal entries that could not be stored.")
STALL = Metric(
    "voxyray_event_loop_stall_seconds",
    "gauge",
    "Seconds",
    "The longest that the event loop stood still, in this minute and the last.",
)

CATALOGUE: Final = (
    CALLS,
    CALLS_ENDED,
    CALLS_ACTIVE,
    TURNS,
    GAP,
    AUDIBLE,
    PART,
    INTERRUPTIONS,
    SILENCE,
    MODEL_REQUESTS,
    MODEL_ERRORS,
    FALLBACKS,
    FIRST_TOKEN,
    SPECULATIONS,
    SPECULATION_GAIN,
    SPECULATION_WASTE,
    TOKENS,
    UNPRICED,
    COST,
    TOOL_CALLS,
    TOOL,
    LOST,
    STALL,
)


class _Histogram:
    """Observations by bucket, the last one without an upper bound."""

    __slots__ = ("counts", "sum")

    def __init__(self, metric: Metric) -> None:
        self.counts = [0] * (len(metric.buckets) + 1)
        self.sum = 0.0


class Metrics:
    """The numbers of this process.

    keep: also keep every observation until `emf` gives it away, as functions on Lambda do.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._sums: dict[str, dict[Labels, float]] = {each.name: {} for each in CATALOGUE}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {
            each.name: {} for each in CATALOGUE
        }
        self._gauges: dict[str, Callable[[], float]] = {}
        self._kept: dict[tuple[Labels, str], list[float]] | None = {} if keep else None

    def keep(self) -> None:
        """Keep observations for `emf` from now on."""
        self._kept = {} if self._kept is None else self._kept

    def add(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        """Count something."""
        sums = self._sums[metric.name]
        if labels not in sums and len(sums) >= _MOST_SETS:
            labels = (_OTHER,) * len(labels)
        sums[labels] = sums.get(labels, 0.0) + amount
        self._keep(metric, labels, amount)

    def observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        """Note a time."""
        histograms = self._histograms[metric.name]
        histogram = histograms.get(labels)
        if histogram is None:
            labels = labels if len(histograms) < _MOST_SETS else (_OTHER,) * len(labels)
            histogram = histograms.setdefault(labels, _Histogram(metric))
        histogram.counts[bisect_left(metric.buckets, seconds)] += 1
        histogram.sum += seconds
        self._keep(metric, labels, seconds)

    def gauge(self, metric: Metric, value: Callable[[], float]) -> None:
        """Have a value read whenever somebody asks."""
        self._gauges[metric.name] = value

    def value(self, metric: Metric, *labels: str) -> float:
        """Give a counter's or gauge's value, or how many observations a histogram has."""
        if metric.kind == "histogram":
            found = self._histograms[metric.name].get(labels)
            return float(sum(found.counts)) if found is not None else 0.0
        if metric.name in self._gauges:
            return self._gauges[metric.name]()
        return self._sums[metric.name].get(labels, 0.0)

    def _keep(self, metric: Metric, labels: Labels, value: float) -> None:
        if self._kept is not None:
            self._kept.setdefault((labels, metric.name), []).append(value)

    # Prometheus

    def exposition(self) -> str:
        """Give everything in Prometheus' text format."""
        return "".join(line for metric in CATALOGUE for line in self._exposed(metric))

    def _exposed(self, metric: Metric) -> Iterator[str]:
        yield f"# HELP {metric.name} {metric.help}\n"
        yield f"# TYPE {metric.name} {metric.kind}\n"
        if metric.kind == "histogram":
            for labels, histogram in self._histograms[metric.name].items():
                yield from _buckets(metric, labels, histogram)
        elif metric.kind == "gauge":
            if metric.name in self._gauges:
                yield f"{metric.name} {self._gauges[metric.name]()!r}\n"
        elif metric.labels:
            for labels, value in self._sums[metric.name].items():
                yield f"{metric.name}{_labels(metric, labels)} {value!r}\n"
        else:
            yield f"{metric.name} {self._sums[metric.name].get((), 0.0)!r}\n"

    # CloudWatch

    def emf(self, now: Callable[[], float] = time.time) -> list[str]:
        """Give what was kept since the last time, as lines of CloudWatch's embedded format.

        Gauges are left out: of the many processes on Lambda none knows the whole.
        """
        if not self._kept:
            return []
        kept, self._kept = self._kept, {}
        at_ms = int(now() * 1000)
        groups: dict[tuple[Labels, Labels, Kind], list[tuple[Metric, list[float]]]] = {}
        for (labels, name), values in kept.items():
            metric = _BY_NAME[name]
            if metric.kind == "counter":
                values = [sum(values)]
            group = groups.setdefault((metric.labels, labels, metric.kind), [])
            for first in range(0, len(values), _MOST_VALUES):
                group.append((metric, values[first : first + _MOST_VALUES]))
        return [
            _line(at_ms, dict(zip(names, labels, strict=True)), kind, list(part))
            for (names, labels, kind), group in groups.items()
            for part in _apart(group)
        ]

    def print_emf(self) -> None:
        """Print what was kept to stdout, where Lambda's log collects it."""
        for line in self.emf():
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


_BY_NAME: Final = {each.name: each for each in CATALOGUE}


def _buckets(metric: Metric, labels: Labels, histogram: _Histogram) -> Iterator[str]:
    bounds = [*(repr(bound) for bound in metric.buckets), "+Inf"]
    for bound, count in zip(bounds, accumulate(histogram.counts), strict=True):
        yield f"{metric.name}_bucket{_labels(metric, labels, le=bound)} {count}\n"
    yield f"{metric.name}_sum{_labels(metric, labels)} {histogram.sum!r}\n"
    yield f"{metric.name}_count{_labels(metric, labels)} {sum(histogram.counts)}\n"


def _labels(metric: Metric, labels: Labels, **more: str) -> str:
    named = [*zip(metric.labels, labels, strict=True), *more.items()]
    return (
        "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in named) + "}" if named else ""
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _apart(
    group: list[tuple[Metric, list[float]]],
) -> Iterator[tuple[tuple[Metric, list[float]], ...]]:
    """Part a group so that no line has a metric twice, nor too many."""
    while group:
        names: set[str] = set()
        now: list[tuple[Metric, list[float]]] = []
        later: list[tuple[Metric, list[float]]] = []
        for each in group:
            fits = each[0].name not in names and len(names) < _MOST_METRICS
            (now if fits else later).append(each)
            names.add(each[0].name)
        yield tuple(now)
        group = later


def _line(
    at_ms: int, labels: dict[str, str], kind: Kind, metrics: list[tuple[Metric, list[float]]]
) -> str:
    dimensions = [list(labels)]
    if labels and kind == "counter":
        dimensions.append([])  # the total, for alarms that want no label
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": dimensions,
        "Metrics": [{"Name": metric.name, "Unit": metric.unit} for metric, _ in metrics],
    }
    values: dict[str, Any] = {
        metric.name: kept[0] if len(kept) == 1 else kept for metric, kept in metrics
    }
    line = {
        "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]},
        **{name: text or "unknown" for name, text in labels.items()},
        **values,
    }
    return msgspec.json.encode(line).decode()
