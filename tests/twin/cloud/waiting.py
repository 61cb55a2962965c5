"""Waiting for what happens elsewhere: in a process, or behind a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await _tick()


async def _tick() -> None:
    await asyncio.sleep(0.01)
