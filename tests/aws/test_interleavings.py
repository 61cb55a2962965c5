"""The Lambda host's invariants, whatever overlaps, comes late, comes twice, fails or dies."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.lambda_world import (
    POLICY,
    SILENCE_AFTER_S,
    Asked,
    Step,
    Weather,
    World,
    play,
)
from voxyray.aws.line import GATHER_S
from voxyray.aws.relay import POLL_S, WATCH_S
from voxyray.aws.session import LEASE_MS, SKEW_MS
from voxyray.notes import OUTCOME_UNKNOWN
from voxyray.twin.clock import run_virtual

_LEASE_S = (LEASE_MS + SKEW_MS) / 1000

steps = st.builds(
    Step,
    st.sampled_from(["prompt", "prompt", "prompt", "interrupt", "partial", "info", "hostile"]),
    after_s=st.sampled_from([0.002, 0.03, 0.3, 1.0, 2.5, 5.0]),
    text=st.sampled_from(["tell", "tell", "book", "look", "slow", "hang"]),
    again_s=st.sampled_from([(), (), (0.0,), (0.1, 2.0)]),
)
late_steps = st.builds(
    Step,
    st.sampled_from(["prompt", "prompt", "prompt", "interrupt", "info"]),
    after_s=st.sampled_from([0.002, 0.03, 0.3, 1.0, 2.5]),
    text=st.sampled_from(["tell", "book", "look", "slow"]),
    late_s=st.sampled_from([0.0, 0.1, 0.8]),
    again_s=st.sampled_from([(), (), (0.1,)]),
)
scripts = st.lists(steps, min_size=1, max_size=7)
weathers = st.builds(
    Weather,
    seed=st.integers(0, 2**32),
    store_s=st.sampled_from([0.005, 0.05, 0.3]),
    post_s=st.sampled_from([0.01, 0.1, 0.4]),
    late_wakes_s=st.sampled_from([0.0, 3.0]),
    wakes_twice=st.booleans(),
    skew_s=st.sampled_from([0.0, 0.2]),
    timeout_s=st.sampled_from([28.0, 28.0, 9.0]),
    models_fail=st.booleans(),
)
kills = st.dictionaries(st.integers(3, 14), st.floats(0, 2.5), min_size=1, max_size=3)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of warnings are expected here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def check(weather: Weather, script: list[Step]) -> None:
    """Play an example and hold it to everything."""
    world = run_virtual(play(weather, script))
    problems = judge(world)
    assert not problems, "\n".join(problems)


def judge(world: World) -> list[str]:
    """Tell what went wrong."""
    weather = world.weather
    fair = not world.pool.timed_out  # a slow store can cost an invocation its life
    fair &= not (weather.kills or weather.store_fails or weather.posts_fail or weather.queue_fails)
    if world.refused_posts > 3 + len(weather.kills):
        world.wrong.append(f"{world.refused_posts} posts to a connection that is gone")
    problems = [*world.wrong, *_repeated_writes(world), *_dead_air(world), *_last_answer(world)]
    if not (weather.store_fails or weather.posts_fail):
        problems += _closed(world)
    ended = any(post.frame["type"] == "end" for post in world.wire)
    if fair and world.deleted and not ended:
        problems.append("the call was refused")
    if fair:
        problems += [*_seen_in_time(world), *_prompts(world), *_told(world)]
    return problems


def _repeated_writes(world: World) -> list[str]:
    return [f"write {key} was run {n} times" for key, n in world.done.items() if n > 1]


def _closed(world: World) -> list[str]:
    """A reply is closed once, and only if words went before."""
    problems, words = [], False
    for post in world.wire:
        frame = post.frame
        if frame["type"] != "text":
            continue
        words |= bool(frame["token"].strip())
        if frame["last"] and not words:
            problems.append(f"closed twice at {post.at}: {_shown(world)}")
        words = words and not frame["last"]
    if words and not world.over:
        problems.append(f"never closed: {_shown(world)}")
    return problems


def _dead_air(world: World) -> list[str]:
    """After every prompt something is said, unless the caller does something else first."""
    problems = []
    spoken = [post.at for post in world.wire if post.frame.get("token", "").strip()]
    inputs = sorted(world.arrivals.items(), key=lambda each: each[1].sent_at)
    for place, (number, arrival) in enumerate(inputs):
        after = inputs[place + 1][1].sent_at if place + 1 < len(inputs) else math.inf
        others = [each.stored_at for _, each in inputs if each is not arrival]
        overtaken = any(arrival.stored_at <= at < after for at in others)
        quick = after < arrival.sent_at + _patience(world)
        if arrival.kind != "prompt" or world.over or overtaken or quick:
            continue
        if not any(arrival.sent_at < at <= arrival.sent_at + _patience(world) for at in spoken):
            problems.append(f"dead air after {number}, {arrival}: {_shown(world)}")
    return problems


def _patience(world: World) -> float:
    weather = world.weather
    slow = 10 * 2 * weather.store_s + 4 * weather.post_s + GATHER_S + POLL_S + weather.skew_s + 0.8
    limit = POLICY.filler_after_s + slow
    if weather.kills or world.pool.timed_out:
        # A frame whose invocation dies before its first write is lost; silence is noticed.
        each = WATCH_S + _LEASE_S + weather.late_wakes_s + 1
        limit += SILENCE_AFTER_S + (len(weather.kills) + world.pool.timed_out) * each
    if weather.store_fails or weather.posts_fail or weather.queue_fails:
        limit += SILENCE_AFTER_S + WATCH_S + _LEASE_S + weather.late_wakes_s
    return limit


def _last_answer(world: World) -> list[str]:
    """Once all is well, a prompt is answered: by somebody who knows it, and to the end."""
    if world.over:
        return []
    number = max(world.arrivals)
    answers = [each for each in world.asked if number in each.knows]
    said = "".join(each.frame.get("token", "") for each in world.wire)
    if not any(f"q{each.number}w2." in said for each in answers):
        return [f"the last prompt was not answered: {_shown(world)}"]
    return [] if world.wire[-1].frame.get("last", True) else [f"left open: {_shown(world)}"]


def _seen_in_time(world: World) -> list[str]:
    """An owner sees what arrives with its next poll."""
    weather = world.weather
    most_s = POLL_S + 8 * weather.store_s + 2 * weather.post_s + weather.skew_s + 0.01
    return [
        f"seen late: {number}, {arrival}"
        for number, arrival in world.arrivals.items()
        if arrival.stored_at + most_s < arrival.seen_at < math.inf
        and not world.over
        and not weather.rough_start  # there it has to wait for `setup`
    ]


def _prompts(world: World) -> list[str]:
    """Every prompt reaches the model once, and in the order of arrival if it came in order."""
    if world.over:
        return []
    told = _numbers(world.asked[-1])
    spoken = [number for number, each in world.arrivals.items() if each.kind == "prompt"]
    stored = [each.stored_at for each in world.arrivals.values() if each.kind == "prompt"]
    if stored != sorted(stored):  # they overtook each other
        told, spoken = sorted(told), sorted(spoken)
    return [] if told == spoken else [f"told {told}, but the caller said {spoken}"]


def _numbers(asked: Asked) -> list[int]:
    words = " ".join(each.content or "" for each in asked.messages if each.role == "user").split()
    return [int(word[1:]) for word in words if word[0] == "p" and word[1:].isdigit()]


def _told(world: World) -> list[str]:
    """What a write did is in the history that the model is given."""
    if world.over:
        return []
    results = [each.content or "" for each in world.asked[-1].messages if each.role == "tool"]
    # One that outlives its invocation leaves nothing but its beginning.
    booked = sum("booked" in result or OUTCOME_UNKNOWN in result for result in results)
    told = booked >= len(world.done)
    return [] if told else [f"{len(world.done)} writes, but the model knows {results}"]


def _shown(world: World) -> str:
    wire = [(round(post.at, 2), post.frame.get("token", post.frame)) for post in world.wire]
    asked = [(each.number, round(each.at, 2), sorted(each.knows)) for each in world.asked]
    return f"\n  wire {wire}\n  asked {asked}\n  arrivals {world.arrivals}"


_fewer = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


@_fewer
@given(weathers, scripts)
def test_slow_overlapping_and_repeated(weather: Weather, script: list[Step]) -> None:
    check(weather, script)


@_fewer
@given(weathers, st.lists(late_steps, min_size=1, max_size=7))
def test_late_and_overtaking(weather: Weather, script: list[Step]) -> None:
    check(weather, script)


@_fewer
@given(weathers, st.lists(late_steps, min_size=1, max_size=7), kills)
def test_killed_at_any_moment(
    weather: Weather, script: list[Step], kills: dict[int, float]
) -> None:
    check(msgspec.structs.replace(weather, kills=kills), script)


@_fewer
@given(weathers, scripts, st.sampled_from([0.05, 0.2]))
def test_a_store_that_fails(weather: Weather, script: list[Step], store_fails: float) -> None:
    check(msgspec.structs.replace(weather, store_fails=store_fails), script)


@_fewer
@given(weathers, scripts)
def test_overtaken_by_the_first_prompt(weather: Weather, script: list[Step]) -> None:
    check(msgspec.structs.replace(weather, rough_start=True), script)


@_fewer
@given(weathers, scripts, st.sampled_from([0.02, 0.3, 1.5]), st.sampled_from(["tell", "hang"]))
def test_hung_up(weather: Weather, script: list[Step], after_s: float, told: str) -> None:
    check(weather, [*script, Step("hangup", after_s, told, again_s=(0.1,))])


@_fewer
@given(weathers, scripts, kills)
def test_everything_at_once(weather: Weather, script: list[Step], kills: dict[int, float]) -> None:
    worst = msgspec.structs.replace(
        weather, kills=kills, store_fails=0.1, posts_fail=0.1, queue_fails=0.1
    )
    check(worst, script)
