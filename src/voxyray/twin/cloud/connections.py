"""One connection of the WebSocket API, and who may do what with it from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from voxyray.twin.cloud.events import Session

_NO_STATUS: Final = 1005
_CLOSES_WITHIN_S: Final = 2.0
_REASONS: Final = {
    1000: "Connection Closed Normally",
    1001: "Going away",
    1003: "Unsupported data",
    1005: "Client-side close frame status not set",
    1006: "Connection closed abnormally",
    1009: "Message too big",
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """API Gateway's quotas; tests may set smaller ones.

    buffer_bytes: of what the client has not taken yet; more is refused (429).
    posts_per_s: to one connection; 0 for any number.
    """

    frame_bytes: int = 32 * 1024
    message_bytes: int = 128 * 1024
    idle_s: float = 600
    duration_s: float = 7200
    integration_s: float = 29
    http_integration_s: float = 30
    buffer_bytes: int = 256 * 1024
    posts_per_s: float = 0


class Gone(Exception):
    """There is no such connection (any more, or yet)."""


class LimitExceeded(Exception):
    """Too much for a connection: too many posts, or the client does not take them."""


class Connection:
    """A client's socket; `socket` is None until it is open, and `gone` once it is closed.

    ended: its close code and reason.
    """

    def __init__(self, session: Session, limits: Limits) -> None:
        self.session = session
        self.ended: tuple[int, str] = (_NO_STATUS, "")
        self.gone = False
        self.received = 0
        self.received_at = 0.0
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._opened_s = self._active_s = self._loop.time()
        self._socket: web.WebSocketResponse | None = None
        self._transport: asyncio.Transport | None = None
        self._in_turn = asyncio.Lock()  # gives way in the order of arrival
        self._posts_s: list[float] = []
        self._closing: asyncio.Future[None] | None = None  # kept, or it could be collected

    async def open(self, request: web.Request) -> web.WebSocketResponse:
        """Complete the upgrade."""
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=self._limits.message_bytes + 1, timeout=_CLOSES_WITHIN_S
        )
        await socket.prepare(request)
        # aiohttp tells no frame's size. No byte has come since: clients wait for our answer.
        protocol: Any = request.protocol
        parser = protocol._payload_parser  # noqa: SLF001
        tap = _FrameTap(parser, self._limits.frame_bytes, self._too_big)
        protocol._payload_parser = tap  # noqa: SLF001
        self._socket, self._transport = socket, request.transport
        self._opened_s = self._active_s = self._loop.time()
        return socket

    async def read(self, socket: web.WebSocketResponse, take: Callable[[str], None]) -> None:
        """Take frames until the connection ends."""
        watching = asyncio.create_task(self._watch())
        try:
            while (message := await socket.receive()).type is WSMsgType.TEXT:
                self._active_s = self._loop.time()
                self.received += 1
                take(message.data)
            if message.type is WSMsgType.BINARY:
                await self.close(WSCloseCode.UNSUPPORTED_DATA)
            elif not self.gone:
                self._note_end(_close_code(socket, message.type, message.data), message.extra)
        finally:
            self.gone = True
            watching.cancel()

    async def post(self, text: str, latency_s: float = 0) -> None:
        """Send a frame, in the order of arrival; half of the latency passes before it is sent.

        Raises:
            Gone: the connection is not open.
            LimitExceeded: too many posts, or too much that the client has not taken.
        """
        due_s = self._loop.time() + latency_s / 2
        async with self._in_turn:
            if latency_s:
                await asyncio.sleep(due_s - self._loop.time())
            if self._socket is None or self.gone or self._socket.closed:
                raise Gone
            self._check_rate()
            transport = self._transport
            if transport and transport.get_write_buffer_size() > self._limits.buffer_bytes:
                raise LimitExceeded
            self._active_s = self._loop.time()
            await self._send(self._socket, text)
        if latency_s:
            await asyncio.sleep(latency_s / 2)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close from this side; the client is told the code."""
        if self._socket is not None and not self.gone:
            self._note_end(code, reason)
            self.gone = True
            await self._socket.close(code=code, message=self.ended[1].encode())

    @property
    def open_now(self) -> bool:
        """Whether frames can be sent."""
        return self._socket is not None and not self.gone

    @property
    def was_open(self) -> bool:
        """Whether the handshake was completed."""
        return self._socket is not None

    @property
    def idle_s(self) -> float:
        """For how long nothing was sent either way."""
        return self._loop.time() - self._active_s

    async def _send(self, socket: web.WebSocketResponse, text: str) -> None:
        # Written at once; what is waited for is a client that reads slowly, and that is told by
        # the size of the buffer.
        sending = asyncio.ensure_future(socket.send_str(text))
        await asyncio.sleep(0)
        if sending.done():
            if isinstance(sending.exception(), ConnectionResetError):
                raise Gone
            sending.result()
        else:
            sending.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _check_rate(self) -> None:
        if not self._limits.posts_per_s:
            return
        now_s = self._loop.time()
        self._posts_s = [each for each in self._posts_s if each > now_s - 1]
        if len(self._posts_s) >= self._limits.posts_per_s:
            raise LimitExceeded
        self._posts_s.append(now_s)

    async def _watch(self) -> None:
        """Close when idle for too long, or open for too long."""
        while True:
            end_s = min(
                self._active_s + self._limits.idle_s, self._opened_s + self._limits.duration_s
            )
            if (wait_s := end_s - self._loop.time()) <= 0:
                break
            await asyncio.sleep(wait_s)
        await self.close(WSCloseCode.GOING_AWAY)

    def _too_big(self) -> None:
        self._closing = asyncio.ensure_future(self.close(WSCloseCode.MESSAGE_TOO_BIG))

    def _note_end(self, code: int, reason: object) -> None:
        self.ended = (code, str(reason or _REASONS.get(code, "")))


def _close_code(socket: web.WebSocketResponse, kind: WSMsgType, data: Any) -> int:
    # aiohttp calls a connection that was lost, and a close without a code, a proper end.
    if kind is WSMsgType.CLOSE:
        return int(data or _NO_STATUS)
    if kind is WSMsgType.CLOSED:
        return int(WSCloseCode.ABNORMAL_CLOSURE)
    return int(socket.close_code or WSCloseCode.ABNORMAL_CLOSURE)


class _FrameTap:
    """Looks at the length of each frame on its way to aiohttp, which tells that of messages."""

    def __init__(self, parser: Any, most: int, too_big: Callable[[], None]) -> None:
        self._parser = parser
        self._most = most
        self._too_big = too_big
        self._head = b""
        self._skip = 0  # bytes of the present frame that are yet to come
        self._closed = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if not self._closed:
            self._look(bytes(data))
        if self._closed:
            return False, b""
        fed: tuple[bool, bytes] = self._parser.feed_data(data)
        return fed

    def feed_eof(self) -> None:
        self._parser.feed_eof()

    def _look(self, data: bytes) -> None:
        while data:
            if self._skip:
                step = min(self._skip, len(data))
                self._skip -= step
                data = data[step:]
                continue
            self._head += data
            if (lengths := _lengths(self._head)) is None:
                return
            head, payload = lengths
            data, self._head, self._skip = self._head[head:], b"", payload
            if payload > self._most:
                self._closed = True
                self._too_big()
                return


def _lengths(head: bytes) -> tuple[int, int] | None:
    """Give the lengths of a frame's head and payload (RFC 6455, 5.2); None if yet unknown."""
    if len(head) < 2:
        return None
    mask, short = 4 * (head[1] >> 7), head[1] & 0x7F
    wide = {126: 2, 127: 8}.get(short, 0)
    if len(head) < 2 + wide + mask:
        return None
    payload = int.from_bytes(head[2 : 2 + wide], "big") if wide else short
    return 2 + wide + mask, payload
