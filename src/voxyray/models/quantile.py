"""A quantile of what was seen lately: a histogram whose old counts fade.

Its buckets grow by a tenth each, so a quantile is right to a few percent from 10 ms to a minute,
in a kilobyte and without a clock: what fades is counted in observations, not in hours.
"""

from __future__ import annotations

import math
from typing import Final

_LEAST_S: Final = 0.01
_MOST_S: Final = 60.0
_STEP: Final = math.log(1.1)
_BUCKETS: Final = math.ceil(math.log(_MOST_S / _LEAST_S) / _STEP)
_TOO_BIG: Final = 1e100


class DecayedQuantile:
    """Collects durations in seconds; one that is half_life observations old counts half."""

    def __init__(self, half_life: int = 100) -> None:
        self._counts = [0.0] * _BUCKETS
        self._total = 0.0
        # New counts grow instead of all old ones shrinking: an observation costs one addition.
        self._unit = 1.0
        self._growth = 2.0 ** (1 / half_life)

    @property
    def count(self) -> float:
        """How many observations it rests on, faded ones in part."""
        return self._total / self._unit

    def add(self, seconds: float) -> None:
        """Take a duration; beyond 10 ms and a minute it counts as those."""
        within = min(max(seconds, _LEAST_S), _MOST_S)
        bucket = min(int(math.log(within / _LEAST_S) / _STEP), _BUCKETS - 1)
        self._unit *= self._growth
        self._counts[bucket] += self._unit
        self._total += self._unit
        if self._unit > _TOO_BIG:
            self._counts = [count / self._unit for count in self._counts]
            self._total /= self._unit
            self._unit = 1.0

    def at(self, share: float) -> float:
        """Give the duration that this share of the observations stayed below; 0 without any."""
        wanted, below = share * self._total, 0.0
        for bucket, count in enumerate(self._counts):
            if count and below + count >= wanted:
                within = max(0.0, wanted - below) / count
                return _LEAST_S * math.exp((bucket + within) * _STEP)
            below += count
        return 0.0
