from __future__ import annotations

import asyncio
import time

import pytest

from voxyray.twin.clock import VirtualLoop, run_virtual, virtual
from voxyray.twin.errors import Deadlock


def test_minutes_pass_in_milliseconds() -> None:
    started = time.monotonic()

    async def main() -> float:
        await asyncio.sleep(600)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 600
    assert time.monotonic() - started < 1


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        async def note(name: str, after_s: float) -> None:
            await asyncio.sleep(after_s)
            seen.append(f"{name}@{asyncio.get_running_loop().time():g}")

        await asyncio.gather(note("c", 3), note("a", 0.1), note("b", 2.5))
        return seen

    assert run_virtual(main()) == ["a@0.1", "b@2.5", "c@3"]


def test_time_stands_still_while_a_thread_works() -> None:
    async def main() -> tuple[float, list[str]]:
        order: list[str] = []

        async def tick() -> None:
            await asyncio.sleep(0.001)
            order.append("tick")

        ticking = asyncio.create_task(tick())
        await asyncio.to_thread(time.sleep, 0.02)
        order.append("thread")
        now = asyncio.get_running_loop().time()
        await ticking
        return now, order

    assert run_virtual(main()) == (0.0, ["thread", "tick"])


def test_an_abandoned_job_in_a_thread_still_holds_time() -> None:
    async def main() -> float:
        job = asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.02)
        await asyncio.sleep(0)
        job.cancel()
        before = time.monotonic()
        await asyncio.sleep(5)
        return time.monotonic() - before

    assert run_virtual(main()) > 0.01


def test_a_deadlock_raises_and_names_who_waits() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"nothing is scheduled.*\n.*test_clock\.py"):
        run_virtual(main())


def test_a_heartbeat_does_not_hide_a_deadlock() -> None:
    async def main() -> None:
        async def beat() -> None:
            while True:  # noqa: ASYNC110 - the heartbeat of a server
                await asyncio.sleep(20)

        beating = asyncio.create_task(beat())
        await asyncio.Event().wait()
        beating.cancel()

    with pytest.raises(Deadlock, match="not done after 600 virtual seconds"):
        run_virtual(main(), limit_s=600)


def test_timeouts_expire_on_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(15):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 15


@virtual
async def test_the_decorator_runs_a_test_on_virtual_time() -> None:
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
    await asyncio.sleep(3600)


def test_the_error_of_the_main_task_comes_out() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_virtual(main())
