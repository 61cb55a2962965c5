from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.models.breaker import FAILURES, LONGEST_PAUSE_S, PAUSE_S, Breaker


def opened(at: float = 0) -> Breaker:
    breaker = Breaker()
    assert [breaker.failed(at) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(20):
        breaker.failed(0)
        breaker.succeeded()
        breaker.succeeded()
    for _ in range(FAILURES - 1):
        assert not breaker.failed(0)
    assert breaker.state(0) == "closed"
    assert breaker.failed(0)
    assert breaker.state(0) == "open"


def test_it_opens_when_half_of_late_failed() -> None:
    breaker = Breaker()
    for _ in range(40):
        if breaker.failed(0):
            return
        breaker.succeeded()
    pytest.fail("every second failure is no health")


def test_after_a_pause_it_wants_one_probe() -> None:
    breaker = opened()
    assert not breaker.begin_probe(PAUSE_S - 0.1)
    assert breaker.state(PAUSE_S) == "half open"
    assert breaker.begin_probe(PAUSE_S)
    assert not breaker.begin_probe(PAUSE_S)
    assert breaker.state(PAUSE_S) == "half open"


def test_a_probe_that_answers_closes_it_on_trial() -> None:
    breaker = opened()
    breaker.begin_probe(PAUSE_S)
    breaker.end_probe(PAUSE_S, answered=True)
    assert breaker.state(PAUSE_S) == "closed"
    assert breaker.failed(PAUSE_S)
    assert breaker.state(PAUSE_S * 2.9) == "open"
    assert breaker.state(PAUSE_S * 3) == "half open"


def test_a_real_answer_forgets_all() -> None:
    breaker = opened()
    breaker.succeeded()  # asked for want of a better one
    assert breaker.state(0) == "closed"
    assert not breaker.failed(0)


def test_pauses_grow_while_probes_fail_but_not_for_ever() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(8):
        began = now
        while not breaker.begin_probe(now):
            now += 0.5
        pauses.append(now - began)
        breaker.end_probe(now, answered=False)
    assert pauses[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_a_probe_that_was_given_up_tells_nothing() -> None:
    breaker = opened()
    assert breaker.begin_probe(PAUSE_S)
    breaker.end_probe(PAUSE_S, answered=None)
    assert breaker.state(PAUSE_S) == "half open"
    assert breaker.begin_probe(PAUSE_S)


def test_calls_that_find_out_together_do_not_prolong_the_pause() -> None:
    breaker = opened()
    for _ in range(100):
        assert not breaker.failed(0.1)
    assert breaker.state(PAUSE_S) == "half open"


_STEPS = st.lists(st.sampled_from(["ok", "bad", "probe ok", "probe bad", "given up"]), max_size=60)


@given(_STEPS, st.floats(0.1, 30))
def test_it_can_always_recover(steps: list[str], apart_s: float) -> None:
    breaker, now = Breaker(), 0.0
    for step in steps:
        now += apart_s
        if step == "ok":
            breaker.succeeded()
            assert breaker.state(now) == "closed"
        elif step == "bad":
            breaker.failed(now)
        elif breaker.begin_probe(now):
            breaker.end_probe(
                now, answered={"probe ok": True, "probe bad": False, "given up": None}[step]
            )
    now += LONGEST_PAUSE_S
    assert breaker.state(now) in ("closed", "half open")
    if breaker.begin_probe(now):
        breaker.end_probe(now, answered=True)
    assert breaker.state(now) == "closed"
