"""The socket as the twin sees it: text frames both ways, and a close with its code.

`dial` opens a real WebSocket as Twilio does; `memory_pipe` gives two ends that meet in memory,
for the virtual clock.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
from collections import deque
from typing import Protocol, TypeAlias

import aiohttp
import msgspec

from voxyray.twin.errors import TwinRefused

USER_AGENT = "Jetty/11.0.24"  # observed on Twilio's handshakes
ABNORMAL = 1006  # no close frame at all: the connection dropped
_CLOSE_TIMEOUT_S = 5.0


class Closed(msgspec.Struct, frozen=True):
    """The end of a line; code 1006 means that it dropped without a close frame."""

    code: int
    reason: str = ""


class Binary(str):
    """A frame that travels as binary; relay sockets know only text frames."""

    __slots__ = ()


Received: TypeAlias = str | Closed


class Line(Protocol):
    """One end of a socket, used by one reader and one writer at a time."""

    async def send(self, text: str) -> None:
        """Send one frame.

        Raises:
            ConnectionResetError: the line is closed.
        """

    async def receive(self) -> Received:
        """Wait for a frame; after the end every call gives `Closed` again."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a code; 1006 cuts the connection without a close frame."""


class _Inbox:
    """What is on its way to one end, with the time it takes."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._items: deque[tuple[float, Received]] = deque()
        self._changed = asyncio.Event()
        self._closing = False

    @property
    def ended(self) -> bool:
        """Whether the close has arrived, so that sending would fail."""
        return self._closing and self._wait_s(len(self._items) - 1) <= 0

    def put(self, item: Received) -> None:
        if not self._closing:
            self._closing = isinstance(item, Closed)
            due_s = asyncio.get_running_loop().time() + self._latency_s
            self._items.append((due_s, item))
            self._changed.set()

    def shut(self, closed: Closed) -> None:
        """End at once: whoever closes does not read what was still on its way."""
        if not self.ended:
            self._closing = True
            self._items = deque([(0.0, closed)])
            self._changed.set()

    def _wait_s(self, index: int) -> float:
        wait_s = self._items[index][0] - asyncio.get_running_loop().time()
        return wait_s if wait_s > 1e-9 else 0.0  # less than a clock tick would never pass

    async def get(self) -> Received:
        while True:
            self._changed.clear()
            if not self._items:
                await self._changed.wait()
            elif wait_s := self._wait_s(0):
                # Nothing is taken out before it is due, so a cancelled reader loses nothing.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait_s)
            else:
                item = self._items[0][1]
                if not isinstance(item, Closed):
                    self._items.popleft()
                return item


class _MemoryLine:
    def __init__(self, mine: _Inbox, theirs: _Inbox) -> None:
        self._mine = mine
        self._theirs = theirs

    async def send(self, text: str) -> None:
        if self._mine.ended:
            raise ConnectionResetError("the line is closed")
        self._theirs.put(text)

    async def receive(self) -> Received:
        return await self._mine.get()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._theirs.put(Closed(code, reason))
        self._mine.shut(Closed(code, reason))


def memory_pipe(latency_ms: float = 0) -> tuple[Line, Line]:
    """Give the two ends of a line in memory; each frame takes latency_ms to arrive.

    Frames sent before a close are delivered before it, except to the end that closed.
    """
    one, other = _Inbox(latency_ms / 1000), _Inbox(latency_ms / 1000)
    return _MemoryLine(one, other), _MemoryLine(other, one)


class _SocketLine:
    """A client WebSocket with a session of its own, so that it can be cut without a close frame."""

    def __init__(
        self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse
    ) -> None:
        self._session = session
        self._socket = socket
        self._end: Closed | None = None

    async def send(self, text: str) -> None:
        if self._end is not None:
            raise ConnectionResetError("the line is closed")
        if isinstance(text, Binary):
            await self._socket.send_bytes(text.encode())
        else:
            await self._socket.send_str(text)

    async def receive(self) -> Received:
        if self._end is not None:
            return self._end
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            return Binary(bytes(message.data).decode("utf-8", "replace"))
        if self._end is None:
            # aiohttp calls a dropped connection 1000; only a close frame is a real one.
            if message.type is aiohttp.WSMsgType.CLOSE:
                self._end = Closed(int(message.data or 1005), str(message.extra or ""))
            else:
                self._end = Closed(ABNORMAL)
            await self._session.close()
        return self._end

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._end is None:
            self._end = Closed(code, reason)
            if code != ABNORMAL:
                await self._socket.close(code=code, message=reason.encode())
        await self._session.close()


def handshake_signature(url: str, auth_token: str) -> str:
    """Sign a relay URL exactly as the TwiML writes it: HMAC-SHA1, no parameters, base64."""
    digest = hmac.new(auth_token.encode(), url.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


async def dial(
    url: str, *, auth_token: str, connect_to: str | None = None, timeout_s: float = 10.0
) -> Line:
    """Open the relay WebSocket as Twilio does.

    url: as the TwiML writes it; this is what is signed. auth_token: an empty one leaves the
    signature out. connect_to: where the app really is.

    Raises:
        TwinRefused: 64102, the socket did not open.
    """
    headers = {"User-Agent": USER_AGENT}
    if auth_token:
        signature = handshake_signature(url, auth_token)
        headers["X-Twilio-Signature"] = signature
        headers["X-Amzn-Bedrock-AgentCore-Runtime-Custom-Twilio-Signature"] = signature
    session = aiohttp.ClientSession()
    try:
        async with asyncio.timeout(timeout_s):
            socket = await session.ws_connect(
                connect_to or url,
                headers=headers,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT_S),
                max_msg_size=0,
            )
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        await session.close()
        why = error.status if isinstance(error, aiohttp.WSServerHandshakeError) else repr(error)
        raise TwinRefused(64102, f"cannot connect to {url}: {why}") from error
    except BaseException:
        await session.close()
        raise
    return _SocketLine(session, socket)
