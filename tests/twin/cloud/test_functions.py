"""A function's environments: reuse, cold starts, concurrency, timeouts, kills."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voxyray.twin.cloud.errors import FunctionFailed, FunctionTimedOut, Throttled
from voxyray.twin.cloud.functions import InProcess, Pool


class Made:
    """Environments that tell who they are and wait until they are let go."""

    def __init__(self) -> None:
        self.count = 0
        self.gates: dict[str, asyncio.Event] = {}
        self.cleaned: list[str] = []

    def __call__(self) -> InProcess:
        self.count += 1
        me = self.count

        async def handle(event: Any) -> Any:
            if event in self.gates:
                try:
                    await self.gates[event].wait()
                finally:
                    await asyncio.sleep(0)
                    self.cleaned.append(event)
            if event == "raise":
                raise KeyError("a")
            return me

        return InProcess(handle)

    def gate(self, name: str) -> str:
        self.gates[name] = asyncio.Event()
        return name


async def test_an_idle_environment_is_used_again() -> None:
    pool = Pool("f", Made())
    assert [await pool.invoke(each) for each in range(3)] == [1, 1, 1]
    assert (pool.environments, len(pool.cold_starts_ms), pool.invocations) == (1, 1, 3)


async def test_busy_environments_are_not_shared_and_the_latest_is_used_first() -> None:
    made = Made()
    pool = Pool("f", made)
    one = asyncio.create_task(pool.invoke(made.gate("one")))
    two = asyncio.create_task(pool.invoke(made.gate("two")))
    await asyncio.sleep(0.01)
    assert pool.running == (1, 2)
    assert await pool.invoke("x") == 3
    made.gates["one"].set()
    assert await one == 1
    assert await pool.invoke("x") == 1
    made.gates["two"].set()
    assert await two == 2
    assert [await pool.invoke("x") for _ in range(2)] == [2, 2]


async def test_events_and_answers_are_not_shared() -> None:
    seen: list[Any] = []

    async def handle(event: Any) -> Any:
        event["more"] = 1
        seen.append(event)
        return event

    pool = Pool("f", lambda: InProcess(handle))
    event = {"a": (1, 2)}
    answer = await pool.invoke(event)
    assert event == {"a": (1, 2)}
    assert answer == {"a": [1, 2], "more": 1}
    assert answer is not seen[0]


async def test_an_error_of_the_handler_is_the_answer_and_keeps_the_environment() -> None:
    pool = Pool("f", Made())
    with pytest.raises(FunctionFailed) as failed:
        await pool.invoke("raise")
    assert failed.value.payload == {"errorType": "KeyError", "errorMessage": "'a'"}
    assert await pool.invoke("x") == 1


async def test_what_is_no_json_is_an_error() -> None:
    async def handle(event: Any) -> Any:
        return object()

    with pytest.raises(FunctionFailed):
        await Pool("f", lambda: InProcess(handle)).invoke({})


async def test_concurrency_is_limited() -> None:
    made = Made()
    pool = Pool("f", made, concurrency=1)
    one = asyncio.create_task(pool.invoke(made.gate("one")))
    await asyncio.sleep(0.01)
    with pytest.raises(Throttled) as throttled:
        await pool.invoke("x")
    assert throttled.value.payload["errorMessage"] == "Rate Exceeded."
    made.gates["one"].set()
    await one
    assert await pool.invoke("x") == 1
    assert pool.throttled == 1


async def test_what_this_machine_does_not_bear_waits() -> None:
    made = Made()
    pool = Pool("f", made, at_most=1)
    one = asyncio.create_task(pool.invoke(made.gate("one")))
    await asyncio.sleep(0.01)
    two = asyncio.create_task(pool.invoke("x"))
    await asyncio.sleep(0.01)
    assert (pool.running, pool.environments, two.done()) == ((1,), 1, False)
    made.gates["one"].set()
    assert [await one, await two] == [1, 1]


async def test_what_is_late_is_ended_with_its_environment() -> None:
    made = Made()
    pool = Pool("f", made, timeout_s=3)
    began = asyncio.get_running_loop().time()
    with pytest.raises(FunctionTimedOut, match=r"Task timed out after 3\.00 seconds"):
        await pool.invoke(made.gate("one"))
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
    assert made.cleaned == []  # the kill leaves no time to clean up
    assert pool.environments == 0
    assert await pool.invoke("x") == 2


async def test_an_environment_can_be_killed_amid_an_invocation() -> None:
    made = Made()
    pool = Pool("f", made)
    one = asyncio.create_task(pool.invoke(made.gate("one")))
    await asyncio.sleep(0.01)
    pool.kill(1)
    with pytest.raises(FunctionFailed, match="Runtime exited"):
        await one
    assert made.cleaned == []
    assert await pool.invoke("x") == 2
    with pytest.raises(KeyError):
        pool.kill(1)


async def test_fate_kills_whom_it_wants_when_it_wants() -> None:
    made = Made()
    pool = Pool("f", made, fate=lambda invocation: 0.5 if invocation.number == 2 else None)
    assert await pool.invoke("x") == 1
    began = asyncio.get_running_loop().time()
    with pytest.raises(FunctionFailed, match="Runtime exited"):
        await pool.invoke(made.gate("two"))
    assert asyncio.get_running_loop().time() - began == pytest.approx(0.5, abs=0.1)


async def test_a_caller_who_goes_away_ends_the_environment() -> None:
    made = Made()
    pool = Pool("f", made)
    one = asyncio.create_task(pool.invoke(made.gate("one")))
    await asyncio.sleep(0.01)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert (pool.environments, pool.running) == (0, ())


async def test_environments_can_be_started_beforehand() -> None:
    made = Made()
    pool = Pool("f", made)
    await pool.warm(2)
    assert (made.count, pool.environments) == (2, 2)
    await pool.warm(1)
    assert made.count == 2
    await pool.close()
    assert pool.environments == 0


async def test_a_failing_start_is_the_invocations_error() -> None:
    class Broken(InProcess):
        async def start(self) -> None:
            raise FunctionFailed("Runtime.ImportModuleError", "No module named 'nothing'")

    async def handle(event: Any) -> Any:
        return None

    pool = Pool("f", lambda: Broken(handle))
    with pytest.raises(FunctionFailed, match="ImportModuleError"):
        await pool.invoke({})
    assert (pool.environments, pool.cold_starts_ms) == (0, [])
