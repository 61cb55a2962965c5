"""A clock that jumps once no byte is under way: deadlines of seconds pass in milliseconds.

Everything a test talks to (carrier, host, model server) runs in its own loop, and loopback
delivers at once, so that a loop with nothing to read for a while is a world that waits.
"""

from __future__ import annotations

import asyncio
import selectors

_PATIENCE_S = 0.02  # real; loopback needs microseconds, a starved kernel perhaps milliseconds


class _Selector(selectors.DefaultSelector):
    loop: SocketClock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        ready = super().select(_PATIENCE_S)
        if not ready:
            self.loop.now_s += timeout or 0
        return ready


class SocketClock(asyncio.SelectorEventLoop):
    """Virtual time over real loopback sockets."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s
