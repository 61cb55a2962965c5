from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.models.quantile import DecayedQuantile


def learned(values: list[float], half_life: int = 1_000_000) -> DecayedQuantile:
    quantile = DecayedQuantile(half_life)
    for value in values:
        quantile.add(value)
    return quantile


@given(
    st.lists(st.floats(0.011, 59), min_size=1, max_size=200),
    st.sampled_from([0.1, 0.5, 0.9, 0.99]),
)
def test_it_is_the_quantile_to_a_bucket(values: list[float], share: float) -> None:
    ordered, place = sorted(values), share * len(values)
    least = ordered[max(0, math.ceil(place - 0.01) - 1)]
    most = ordered[min(len(values) - 1, math.floor(place + 0.01))]
    assert least / 1.11 <= learned(values).at(share) <= most * 1.11


def test_nothing_seen() -> None:
    assert DecayedQuantile().at(0.9) == 0
    assert DecayedQuantile().count == 0


@pytest.mark.parametrize(("value", "counts_as"), [(-1, 0.01), (0, 0.01), (1e-9, 0.01), (1e9, 60)])
def test_what_is_beyond_its_bounds_counts_as_those(value: float, counts_as: float) -> None:
    assert learned([value]).at(1) == pytest.approx(counts_as, rel=0.11)


def test_it_forgets() -> None:
    quantile = learned([0.2] * 1000, half_life=100)
    for _ in range(300):
        quantile.add(2)
    assert quantile.at(0.5) == pytest.approx(2, rel=0.11)
    for _ in range(500):
        quantile.add(0.2)
    assert quantile.at(0.9) == pytest.approx(0.2, rel=0.11)


def test_its_count_is_that_of_what_still_counts() -> None:
    assert learned([1] * 50).count == pytest.approx(50, rel=0.01)
    assert learned([1] * 5000, half_life=100).count == pytest.approx(145, rel=0.01)


def test_it_lives_for_ever() -> None:
    spread = random.Random(1)
    quantile = DecayedQuantile(half_life=10)
    for _ in range(20_000):
        quantile.add(spread.lognormvariate(math.log(0.3), 0.5))
        assert 0 < quantile.count < 16
    assert 0.1 < quantile.at(0.5) < 1
