"""Small apps for the twin to call: scripted, and without any of the product's code."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from voxyray.twin import CallRecord, Closed, Line, Phone, RelayAttributes, memory_pipe, run_relay

Frame = dict[str, Any]
App = Callable[[Line], Awaitable[None]]

EVENTS = frozenset({"speaker-events", "tokens-played"})
OPEN = RelayAttributes(
    events=EVENTS,
    dtmf_detection=True,
    report_input_during_agent_speech="any",
)


def text(token: str, last: bool = False, **more: Any) -> Frame:
    return {"type": "text", "token": token, "last": last, **more}


def answering(*replies: Sequence[Frame], first: Sequence[Frame] = (), on: str = "prompt") -> App:
    """Send `first` on setup and the next of `replies` on every final prompt (or key)."""

    async def app(line: Line) -> None:
        left = iter(replies)
        async for frame in incoming(line):
            if frame["type"] == "setup":
                await send(line, first)
            elif frame["type"] == on and frame.get("last", True):
                await send(line, next(left, []))

    return app


async def send(line: Line, frames: Iterable[Frame]) -> None:
    for frame in frames:
        await line.send(json.dumps(frame))


async def incoming(line: Line) -> Any:
    while not isinstance(got := await line.receive(), Closed):
        yield json.loads(got)


async def call(app: App, script: Callable[[Phone], Awaitable[None]], **settings: Any) -> CallRecord:
    """Run one session of an app in memory."""
    here, there = memory_pipe()
    serving = asyncio.create_task(_serve(app, there))
    try:
        return await run_relay(here, script, **{"attributes": OPEN, **settings})
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def _serve(app: App, line: Line) -> None:
    with contextlib.suppress(ConnectionResetError):
        await app(line)


def names(record: CallRecord, *kinds: str) -> list[str]:
    """Give what the app was sent, one short word each, optionally only some kinds."""
    found = []
    for frame in record.received():
        name = frame["type"]
        if name == "info":
            name = f"{frame['name']} {frame['value']}"
        elif name == "prompt":
            name = "final" if frame["last"] else "partial"
        found.append(name)
    return [n for n in found if not kinds or n in kinds]
