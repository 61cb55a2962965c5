"""A telephone exchange in the house: the twin calls this very service, without a network.

Webhooks are signed, answered by the service and read as TwiML; the relay session runs over a line
in memory. So it is a call like any other, wherever voxyray is mounted and whatever is before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from voxyray import frames
from voxyray.errors import RequestRefused
from voxyray.events import Closed
from voxyray.reception import SETUP_WITHIN_S, Request
from voxyray.service import Service
from voxyray.twin import Carrier, TwinRefused
from voxyray.twin.pipe import Closed as LineClosed
from voxyray.twin.pipe import Line, handshake_signature, memory_pipe
from voxyray.twin.record import Recorder
from voxyray.twin.webhook import Webhooks

_ACCOUNT: Final = "AC00000000000000000000000000000000"
_POLICY_VIOLATION: Final = 1008


class HouseCarrier(Carrier):
    """A simulated carrier of one service."""

    def __init__(self, service: Service) -> None:
        settings = service.settings
        super().__init__(
            f"{settings.base_url}/voice",
            next(iter(settings.auth_tokens), ""),
            account_sid=settings.twilio_account_sid or _ACCOUNT,
        )
        self._service = service
        self._sessions: set[asyncio.Task[None]] = set()

    def webhooks(self, session: aiohttp.ClientSession, recorder: Recorder) -> Webhooks:
        """Give what brings one call's webhooks to the service."""
        return _Inside(self._service, session, self.auth_token, recorder=recorder)

    async def dial(self, url: str) -> Line:
        """Open a relay session of the service.

        Raises:
            TwinRefused: 64102, the URL is of somebody else, or the handshake was refused.
        """
        if url != self._service.settings.relay_url:
            raise TwinRefused(64102, f"{url} is not this voxyray's")
        signature = handshake_signature(url, self.auth_token) if self.auth_token else ""
        try:
            self._service.reception.check_handshake({"x-twilio-signature": signature})
        except RequestRefused as refusal:
            raise TwinRefused(64102, str(refusal)) from refusal
        ours, theirs = memory_pipe()
        task = asyncio.create_task(_answer(self._service, theirs), name="a call in the house")
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)
        return ours

    async def settle(self) -> None:
        """Wait until the service has let go of all sessions."""
        await asyncio.gather(*self._sessions, return_exceptions=True)


class _Inside(Webhooks):
    def __init__(
        self,
        service: Service,
        session: aiohttp.ClientSession,
        auth_token: str,
        *,
        recorder: Recorder,
    ) -> None:
        super().__init__(session, auth_token, recorder=recorder)
        self._service = service

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None
    ) -> tuple[int, str, str]:
        """Let the service answer a request."""
        base_url = self._service.settings.base_url
        if not url.startswith(f"{base_url}/"):
            raise ValueError(f"{url} is not below {base_url}")
        parts = urlsplit(url.removeprefix(base_url))
        lower = {name.lower(): value for name, value in headers.items()}
        request = Request(method, parts.path, parts.query, lower, data or b"")
        async with asyncio.timeout(self._timeout.total):
            answer = await self._service.answer(request)
        return answer.status, answer.body.decode("utf-8", "replace"), answer.content_type


async def _answer(service: Service, end: Line) -> None:
    """Be the host of one session, as `server` is over a socket."""
    line = _HouseLine(end)
    try:
        async with asyncio.timeout(SETUP_WITHIN_S):
            admission = await service.reception.admit(_decode(await end.receive()))
    except (RequestRefused, TimeoutError) as refusal:
        await end.close(_POLICY_VIOLATION, str(refusal)[:120])
        return
    runner = service.start(admission, line)
    code = 1006
    try:
        while not isinstance(got := await end.receive(), LineClosed):
            runner.receive(_decode(got))
        code = got.code
    finally:
        runner.receive(Closed(code))
        await service.end(runner)


def _decode(got: str | LineClosed) -> frames.InboundFrame:
    if isinstance(got, LineClosed):
        return frames.Malformed("a close")
    return frames.decode(got)


class _HouseLine:
    """A runner's line over a pipe in memory, which takes everything at once."""

    def __init__(self, end: Line) -> None:
        self._end = end
        self._closing: asyncio.Task[None] | None = None

    def send(self, data: bytes) -> None:
        """Send a text frame at once; never raises."""
        sending = self._end.send(data.decode())
        try:
            sending.send(None)
        except (StopIteration, ConnectionError):
            return
        sending.close()

    def purge(self) -> None:
        """Throw nothing away: nothing waits here."""

    async def drain(self) -> None:
        """Wait for nobody."""

    def close(self) -> asyncio.Task[None]:
        """Close the line soon."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._end.close())
        return self._closing
