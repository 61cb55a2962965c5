"""The scheduled function of a use case: refreshes its data by its folder's `seeds.py`."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
import zoneinfo
from collections.abc import Callable
from datetime import datetime
from typing import Any

from voxyray import definitions, seeding
from voxyray.aws.use_case import UseCase, open_use_case

_log = logging.getLogger(__name__)

_MARGIN_S = 2.0  # before the function is stopped from outside


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Refresh the data, and give how much was made; this is what Lambda calls."""
    del event  # whatever wakes it, it does the same
    loop, use_case = _opened()
    within_s = context.get_remaining_time_in_millis() / 1000 - _MARGIN_S
    # What goes wrong is the schedule's to see: the invocation fails, and comes again.
    return {"made": loop.run_until_complete(asyncio.wait_for(refresh(use_case), within_s))}


@functools.cache
def _opened() -> tuple[asyncio.AbstractEventLoop, UseCase]:
    use_case = open_use_case()
    # One loop for the life of the process: connections and locks belong to it.
    return asyncio.new_event_loop(), use_case


async def refresh(use_case: UseCase, clock: Callable[[], float] = time.time) -> int:
    """Make what is missing as of now, where the agent is, and give how many items that were.

    Raises:
        AgentError: seeds.py cannot be used, or failed.
        StoreError: the store failed.
    """
    make = seeding.maker(use_case.folder)
    if make is None:
        _log.info("%s has no seeds.py", use_case.agent.name)
        return 0
    # The day is the agent's, not that of the machine: in Missoula it is still yesterday.
    agent = await definitions.current(use_case.store, use_case.agent)
    here = datetime.fromtimestamp(clock(), zoneinfo.ZoneInfo(agent.time_zone))
    made = await seeding.made(use_case.folder, make, use_case.store, here)
    _log.info("%s: %d items made", agent.name, made)
    return made
