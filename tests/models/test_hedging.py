"""Hedging, breaking off and health, on a virtual clock."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.support import ASK, collect, said, until_failure
from voxyray.errors import ModelError, ModelTimeout
from voxyray.models import Delta, Finish, ModelRequest, TextDelta, ToolCall
from voxyray.models.breaker import FAILURES, PAUSE_S
from voxyray.models.fallback import GO_ON_S, FallbackModel
from voxyray.models.hedging import ENOUGH, MOST_S, START_S, Budget, Member
from voxyray.twin.clock import run_virtual, virtual

HANG = float("inf")


class Paced:
    """Says its words, each after its pause in s; an exception is raised, HANG waits for ever.

    open_at and closed_at: of every stream, in order.
    """

    def __init__(self, name: str, *steps: float | str | Delta | Exception) -> None:
        self.name = name
        self.steps: Sequence[float | str | Delta | Exception] = steps
        self.requests: list[ModelRequest] = []
        self.open_at: list[float] = []
        self.closed_at: list[float] = []

    def __repr__(self) -> str:
        return f"Paced({self.name!r}, {', '.join(map(repr, self.steps))})"

    @property
    def is_open(self) -> bool:
        return len(self.open_at) > len(self.closed_at)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        loop = asyncio.get_running_loop()
        self.requests.append(request)
        self.open_at.append(loop.time())
        try:
            for step in self.steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, str):
                    yield TextDelta(step)
                elif not isinstance(step, float | int):
                    yield step
                elif step == HANG:
                    await loop.create_future()
                else:
                    await asyncio.sleep(step)
            yield Finish("stop", self.name)
        finally:
            self.closed_at.append(loop.time())

    async def warm(self) -> None: ...

    async def close(self) -> None: ...


def finish_of(deltas: list[Delta]) -> Finish:
    finish = deltas[-1]
    assert isinstance(finish, Finish)
    return finish


def outcomes(deltas: list[Delta]) -> list[tuple[str, float, str]]:
    return [(each.model, each.at_ms, each.outcome) for each in finish_of(deltas).attempts]


# Who speaks first


@virtual
async def test_a_second_is_asked_when_the_first_is_late_and_the_first_to_speak_wins() -> None:
    slow, quick = Paced("a", 3.0, "slow"), Paced("b", 0.2, "quick")
    deltas = await collect(FallbackModel([[slow, quick]]))
    assert said(deltas) == "quick"
    assert finish_of(deltas).model == "b"
    assert outcomes(deltas) == [("a", 0, "late"), ("b", START_S * 1000, "answered")]
    assert slow.closed_at == [START_S + 0.2]


@virtual
async def test_the_late_one_may_still_win() -> None:
    first, second = Paced("a", 1.0, "first", 0.5, " words"), Paced("b", 0.2, "second")
    deltas = await collect(FallbackModel([[first, second]]))
    assert said(deltas) == "first words"
    assert outcomes(deltas) == [("a", 0, "answered"), ("b", START_S * 1000, "late")]
    assert second.closed_at == [1.0]


@virtual
async def test_a_tool_call_is_a_word() -> None:
    call = ToolCall("1", "book", "{}")
    second = Paced("b", 0.2, call)
    deltas = await collect(FallbackModel([[Paced("a", HANG), second]]))
    assert [type(delta) for delta in deltas] == [ToolCall, Finish]


@virtual
async def test_an_answer_without_words_waits_for_the_other() -> None:
    models = [Paced("a", 1.0), Paced("b", 2.0, "words")]
    assert said(await collect(FallbackModel([models]))) == "words"
    silent = [Paced("a", 1.0), Paced("b", 2.0)]
    assert finish_of(await collect(FallbackModel([silent]))).reason == "stop"


@virtual
async def test_a_first_in_time_is_asked_alone() -> None:
    second = Paced("b", "second")
    deltas = await collect(FallbackModel([[Paced("a", START_S - 0.01, "first"), second]]))
    assert said(deltas) == "first"
    assert outcomes(deltas) == []
    assert second.requests == []


@virtual
async def test_only_those_side_by_side_are_asked_early() -> None:
    last = Paced("c", "c")
    model = FallbackModel([[Paced("a", 2.0, "a"), Paced("b", HANG)], last])
    assert said(await collect(model)) == "a"
    assert said(await collect(FallbackModel([Paced("a", 2.0, "a"), last]))) == "a"
    assert last.requests == []


@virtual
async def test_when_both_fail_the_next_is_asked() -> None:
    first, second = Paced("a", 2.0, ModelError("x")), Paced("b", 0.5, ModelError("y"))
    deltas = await collect(FallbackModel([[first, second], Paced("c", "third")]))
    assert said(deltas) == "third"
    assert [outcome for *_, outcome in outcomes(deltas)] == ["failed", "failed", "answered"]


@virtual
async def test_an_error_of_the_program_is_passed_on_and_the_other_closed() -> None:
    first, second = Paced("a", HANG), Paced("b", 0.1, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await collect(FallbackModel([[first, second]]))
    assert not first.is_open


@virtual
async def test_a_loser_may_go_on_when_the_winner_breaks_off() -> None:
    first = Paced("a", 2.0, "We are open until six.")
    second = Paced("b", 0.1, "We are", 1.0, ModelTimeout("stalled"))
    deltas = await collect(FallbackModel([[first, second]]))
    assert said(deltas) == "We are open until six."
    assert [outcome for *_, outcome in outcomes(deltas)] == ["late", "broke off", "answered"]


@virtual
async def test_going_on_takes_no_longer_than_a_caller_waits() -> None:
    loop = asyncio.get_running_loop()
    failure = ModelTimeout("stalled")
    models = [Paced("a", "one", failure), Paced("b", HANG), Paced("c", HANG)]
    for model in (FallbackModel([models]), FallbackModel(models)):
        began = loop.time()
        deltas, error = await until_failure(model)
        assert (said(deltas), error) == ("one", failure)
        assert loop.time() - began == GO_ON_S
        assert not any(each.is_open for each in models)


# What late means


def learned(*seconds: float) -> float:
    member = Member(Paced("a"), 0)
    for each in seconds:
        member.first_tokens.add(each)
    return member.late_after_s


def test_late_is_learned() -> None:
    assert learned() == learned(*[5.0] * (ENOUGH - 2)) == START_S
    even = [0.5 + n / 1000 for n in range(500)]
    assert learned(*even[::7], *even[::5]) == pytest.approx(0.95, rel=0.1)
    assert learned(*[9.0] * 50) == MOST_S
    assert learned(*[0.02] * 50) == pytest.approx(0.2)


def test_slow_ones_do_not_hide_one_another() -> None:
    assert learned(*[0.3, 0.3, 0.3, 0.3, 2.5] * 20) == pytest.approx(0.6, rel=0.11)


@virtual
async def test_what_was_too_late_to_be_timed_counts_too() -> None:
    model = FallbackModel([[Paced("a", HANG), Paced("b", 0.1, "b")]], hedge_share=1)
    slow = model._members[0]
    for _ in range(ENOUGH + 1):
        await collect(model)
        slow.breaker.succeeded()
    assert slow.late_after_s == pytest.approx(START_S + 0.1, rel=0.11)


# Budget


@given(st.floats(0.01, 1), st.lists(st.booleans(), max_size=300))
def test_no_more_than_the_share_is_asked_twice(share: float, lates: list[bool]) -> None:
    budget, spent = Budget(share), 0
    for requests, late in enumerate(lates, 1):
        budget.earn()
        spent += late and budget.spend()
        assert spent <= FAILURES + share * requests + 1e-6


@virtual
async def test_a_first_that_is_slow_by_nature_is_not_asked_twice_for_ever() -> None:
    slow, other = Paced("a", 1.5, "a"), Paced("b", 1.4, "b")
    model = FallbackModel([[slow, other]], hedge_share=0.1)
    for _ in range(200):
        assert said(await collect(model)) == "a"
    assert len(other.requests) <= FAILURES + 20


# Health


@virtual
async def test_a_dead_model_costs_nothing_after_a_few_calls() -> None:
    loop = asyncio.get_running_loop()
    dead = Paced("a", HANG)
    model = FallbackModel([[dead, Paced("b", 0.2, "words")]])
    waits = []
    for _ in range(40):
        began = loop.time()
        assert said(await collect(model)) == "words"
        waits.append(round(loop.time() - began, 3))
    assert waits == [START_S + 0.2] * FAILURES + [0.2] * (40 - FAILURES)
    await model.close()
    assert not dead.is_open


@virtual
async def test_a_rival_that_speaks_at_once_wins_against_one_that_was_late() -> None:
    await asyncio.sleep(0.7)  # from here on, a timer's time is not exactly the sum
    model = FallbackModel([[Paced("a", HANG), Paced("b", "words")]])
    for _ in range(FAILURES):
        await collect(model)
    assert model._members[0].breaker.state(asyncio.get_running_loop().time()) == "open"


@virtual
async def test_a_thousand_callers_at_once_need_not_wait_for_the_budget() -> None:
    loop = asyncio.get_running_loop()
    model = FallbackModel([[Paced("a", 8.0, ModelTimeout("late")), Paced("b", 0.2, "words")]])
    await asyncio.gather(*(collect(model) for _ in range(1000)))
    assert loop.time() <= 2 * START_S + 0.3


@virtual
async def test_a_probe_finds_a_model_well_again_and_no_caller_waits_for_it() -> None:
    loop = asyncio.get_running_loop()
    first, second = Paced("a", ModelError("down")), Paced("b", 0.1, "b")
    model = FallbackModel([first, second])
    for _ in range(FAILURES + 3):
        assert said(await collect(model)) == "b"
    assert len(first.requests) == FAILURES
    first.steps = [2.0, "a"]
    await asyncio.sleep(PAUSE_S)
    began = loop.time()
    for _ in range(3):
        assert said(await collect(model)) == "b"
    assert loop.time() - began == pytest.approx(0.3)
    assert len(first.requests) == FAILURES + 1
    assert first.requests[-1] != ASK
    assert first.requests[-1].tools == ()
    await asyncio.sleep(2)
    assert said(await collect(model)) == "a"


@virtual
async def test_when_all_are_unwell_they_are_asked_in_order_all_the_same() -> None:
    models = [Paced("a", ModelError("down")), Paced("b", ModelError("down"))]
    model = FallbackModel(models)
    for _ in range(FAILURES + 1):
        with pytest.raises(ModelError):
            await collect(model)
    models[0].steps = ["a"]
    assert said(await collect(model)) == "a"
    assert said(await collect(model)) == "a"


@virtual
async def test_a_model_that_breaks_off_again_and_again_is_asked_last() -> None:
    first = Paced("a", "one", ModelError("cut"))
    model = FallbackModel([first, Paced("b", "one two")])
    for _ in range(FAILURES + 2):
        assert said(await collect(model)) == "one two"
    assert len(first.requests) == FAILURES


@virtual
async def test_cutting_an_answer_is_no_failure_of_its_model() -> None:
    first = Paced("a", "one", HANG)
    model = FallbackModel([first, Paced("b", "two")])
    for _ in range(10):
        async with aclosing(model.stream(ASK)) as deltas:
            assert await anext(deltas) == TextDelta("one")
    assert len(first.closed_at) == 10


# All orders in which things may happen

_STEP = st.one_of(
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 2.0]),
    st.sampled_from(["word", "word", "word", "call"]),
)
_END = st.sampled_from(["finish", "finish", "fail", "stop", "hang"])


@st.composite
def scripts(draw: st.DrawFn, name: str) -> Paced:
    steps: list[float | str | Delta | Exception] = []
    for number, step in enumerate(draw(st.lists(_STEP, max_size=6))):
        if step == "word":
            steps.append(f" {name}{number}x")
        else:
            steps.append(ToolCall(f"{name}{number}", "t", "{}") if step == "call" else step)
    end = draw(_END)
    if end == "fail":
        steps.append(ModelError("fails"))
    elif end == "hang":
        steps += [5.0, ModelTimeout("stalls")]
    return Paced(name, *steps)


class Watch:
    """Follows what is open upstream, whenever anything was delivered or closed."""

    def __init__(self, models: Sequence[Paced]) -> None:
        self.models = models

    def check(self) -> None:
        assert sum(len(each.open_at) - len(each.closed_at) for each in self.models) <= 2


async def _play(models: Sequence[Paced], groups: int, cut_s: float | None) -> None:
    grouped: list[Paced | list[Paced]] = [
        list(models[:2]) if groups == 2 else list(models),
        *(models[2:] if groups == 2 else ()),
    ]
    model, watch = FallbackModel(grouped, hedge_share=1), Watch(models)
    got: list[Delta] = []
    failed = False

    async def listen() -> None:
        nonlocal failed
        loop = asyncio.get_running_loop()
        try:
            async with aclosing(model.stream(ASK)) as deltas:
                async for delta in deltas:
                    got.append(delta)
                    watch.check()
                    if isinstance(delta, TextDelta):
                        for _ in range(5):  # wake-ups, not time: losers are gone by then
                            await asyncio.sleep(0)
                        running = [each for each in models if each.is_open]
                        assert len(running) <= 1, f"losers are open at {loop.time()}"
        except ModelError:
            failed = True

    try:
        async with asyncio.timeout(cut_s):
            await listen()
    except TimeoutError:
        pass
    else:
        assert failed or isinstance(got[-1], Finish)
    assert not any(each.is_open for each in models)
    _check_words(models, got)
    await model.close()


def _check_words(models: Sequence[Paced], got: list[Delta]) -> None:
    """Check that the words are whole runs of models' words, none twice, no loser's among them."""
    spoken = re.findall(r"\w+", said(got))
    assert len(set(spoken)) == len(spoken)
    by_name = {each.name: each for each in models}
    rest = spoken
    while rest:
        own = [step.strip() for step in by_name[rest[0][0]].steps if isinstance(step, str)]
        run = [word for word in rest if word[0] == rest[0][0]]
        assert rest[: len(run)] == run == own[: len(run)]
        rest = rest[len(run) :]
        if rest:  # it broke off: all that it had to say was said
            assert run == own
            assert any(isinstance(step, Exception) for step in by_name[run[0][0]].steps)
    if got and isinstance(got[-1], Finish):
        model = by_name[got[-1].model]
        calls = [delta for delta in got if isinstance(delta, ToolCall)]
        assert calls == [step for step in model.steps if isinstance(step, ToolCall)]


@settings(max_examples=400, deadline=None)
@given(
    st.tuples(scripts("a"), scripts("b"), scripts("c")),
    st.sampled_from([1, 2]),
    st.one_of(st.none(), st.floats(0, 6)),
)
def test_nothing_leaks_whoever_speaks_first(
    models: tuple[Paced, Paced, Paced], groups: int, cut_s: float | None
) -> None:
    run_virtual(_play(models, groups, cut_s))
