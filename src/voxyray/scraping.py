"""`/metrics`: who may read the numbers, and what is only measured once somebody does."""

from __future__ import annotations

import asyncio
import contextvars
import hmac
from collections.abc import Mapping
from typing import Final

from voxyray.errors import RequestRefused
from voxyray.loopback import is_from_here
from voxyray.metrics import CONTENT_TYPE, STALL, Metrics
from voxyray.reception import Request, Response
from voxyray.recorder import Recorder

METRICS_PATH: Final = "/metrics"
_LOOK_EVERY_S: Final = 0.05
_A_MINUTE_S: Final = 60.0


def check_reader(token: str, peer: str, headers: Mapping[str, str]) -> None:
    """Check who asks: the token's bearer, or without a token somebody on this machine.

    peer: the address that the connection comes from; headers by lower-case name.

    Raises:
        RequestRefused: neither of them.
    """
    if token:
        given = headers.get("authorization", "")
        expected = f"Bearer {token}"
        if not hmac.compare_digest(given.encode(errors="replace"), expected.encode()):
            raise RequestRefused("metrics need the header Authorization: Bearer TOKEN", 401)
        return
    if not is_from_here(peer, headers):
        raise RequestRefused(
            "metrics are for this machine only; set VOXYRAY_METRICS_TOKEN to read them from others"
        )


class Scraping:
    """Answers `/metrics`."""

    def __init__(self, token: str, metrics: Metrics, recorder: Recorder) -> None:
        self._token = token
        self._metrics = metrics
        self._recorder = recorder
        self._stalls = StallWatch(metrics)

    def answer(self, request: Request) -> Response:
        """Give the numbers as they are now."""
        if request.method != "GET":
            return Response(405, b"use GET\n")
        try:
            check_reader(self._token, request.peer, request.headers)
        except RequestRefused as refusal:
            return Response(refusal.status, f"{refusal}\n".encode())
        self._stalls.start()
        self._recorder.count()
        return Response(200, self._metrics.exposition().encode(), CONTENT_TYPE)

    async def close(self) -> None:
        """Measure no more."""
        await self._stalls.stop()


class StallWatch:
    """Finds out how long the event loop stands still, from the first time somebody asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._task: asyncio.Task[None] | None = None
        self._minute = 0
        self._longest = [0.0, 0.0]  # of the last minute and of this one
        metrics.gauge(STALL, lambda: max(self._longest))

    def start(self) -> None:
        """Begin to look, if it has not begun yet."""
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._look(), context=contextvars.Context())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def note(self, late_s: float, now_s: float) -> None:
        """Take how late the loop was."""
        minute = int(now_s / _A_MINUTE_S)
        if minute != self._minute:
            last = self._longest[1] if minute == self._minute + 1 else 0.0
            self._minute, self._longest = minute, [last, 0.0]
        self._longest[1] = max(self._longest[1], late_s)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _LOOK_EVERY_S
            await asyncio.sleep(_LOOK_EVERY_S)
            self.note(max(0.0, loop.time() - due_s), loop.time())
