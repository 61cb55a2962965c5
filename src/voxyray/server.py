"""The default host: aiohttp, on uvloop where it exists. It carries frames and decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Final
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from voxyray import frames
from voxyray.errors import RequestRefused
from voxyray.events import Closed
from voxyray.reception import MAX_BODY_BYTES, SETUP_WITHIN_S, Request
from voxyray.runner import Runner
from voxyray.service import Service

_log = logging.getLogger(__name__)

_SERVICE: Final = web.AppKey("service", Service)
_LINES: Final[web.AppKey[set[SocketLine]]] = web.AppKey("lines", set)
# Under every load balancer's idle time-out, and often enough to notice a dead peer.
_HEARTBEAT_S: Final = 25.0
# Far above what `frames.decode` reads: a frame that is merely too long must not end a call.
_MAX_MESSAGE_BYTES: Final = 1024 * 1024
# A reader this far behind gets no more until it has caught up: some 20 s of speech.
_MOST_UNSENT_BYTES: Final = 16 * 1024
_CAUGHT_UP_AFTER_S: Final = 0.05
_DATA: Final = (WSMsgType.TEXT, WSMsgType.BINARY)
_NO_CODE: Final = 1005


def application(service: Service) -> web.Application:
    """Give the aiohttp application; closing it closes the service."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[_SERVICE] = service
    app[_LINES] = set()
    prefix = urlsplit(service.settings.base_url).path
    for base in {"", prefix}:  # proxies strip the public URL's path, or do not
        app.router.add_get(f"{base}/{{path:relay}}", _relay)
        app.router.add_get(f"{base}/{{path:dashboard/phone/socket}}", _phone)
        app.router.add_route("*", f"{base}/{{path:.*}}", _http)

    async def close(_: web.Application) -> None:
        await service.close()

    async def wake(_: web.Application) -> None:
        service.wake()

    app.on_startup.append(wake)
    app.on_shutdown.append(_close_lines)
    app.on_cleanup.append(close)
    return app


async def _close_lines(app: web.Application) -> None:
    """End what is still talking: aiohttp would wait a minute for the callers to hang up."""
    lines = app[_LINES]
    app[_SERVICE].close_pages()
    await asyncio.gather(*[line.close(WSCloseCode.GOING_AWAY) for line in lines])


async def _http(request: web.Request) -> web.StreamResponse:
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return web.Response(status=413, text="the body is too large\n")
    except web.RequestPayloadError:
        return web.Response(status=400, text="the body cannot be read\n")
    answer = await request.app[_SERVICE].answer(_asked(request, body))
    headers = {"Content-Type": answer.content_type, **answer.headers}
    if answer.stream is None:
        return web.Response(status=answer.status, body=answer.body, headers=headers)
    streamed = web.StreamResponse(status=answer.status, headers=headers)
    async with contextlib.aclosing(answer.stream) as pieces:
        with contextlib.suppress(ConnectionError):
            await streamed.prepare(request)
            async for piece in pieces:
                await streamed.write(piece)
    return streamed


def _asked(request: web.Request, body: bytes = b"") -> Request:
    return Request(
        request.method,
        f"/{request.match_info['path']}",
        request.rel_url.raw_query_string,
        {name.lower(): value for name, value in request.headers.items()},
        body,
        request.remote or "",
    )


async def _phone(request: web.Request) -> web.StreamResponse:
    """Carry a call of the browser phone."""
    from voxyray.dashboard import phone  # the twin is nothing that a server starts with

    service = request.app[_SERVICE]
    socket = web.WebSocketResponse(
        heartbeat=_HEARTBEAT_S, compress=False, max_msg_size=phone.MAX_MESSAGE_BYTES
    )
    if not socket.can_prepare(request).ok or not phone.is_allowed(service, _asked(request)):
        return await _http(request)

    async def receive() -> str | None:
        message = await socket.receive()
        return str(message.data) if message.type is WSMsgType.TEXT else None

    await socket.prepare(request)
    line = SocketLine(socket, request.transport)
    lines = request.app[_LINES]
    lines.add(line)
    try:
        await phone.talk(service, line, receive)
        await line.close()
    finally:
        lines.discard(line)
    return socket


async def _relay(request: web.Request) -> web.StreamResponse:
    service = request.app[_SERVICE]
    socket = web.WebSocketResponse(
        heartbeat=_HEARTBEAT_S, compress=False, max_msg_size=_MAX_MESSAGE_BYTES
    )
    if not socket.can_prepare(request).ok:
        return await _http(request)
    try:
        service.reception.check_handshake(
            {name.lower(): value for name, value in request.headers.items()}
        )
    except RequestRefused as refusal:
        _log.warning("handshake refused: %s", refusal)
        return web.Response(status=refusal.status, text=f"{refusal}\n")
    await socket.prepare(request)
    line = SocketLine(socket, request.transport)
    lines = request.app[_LINES]
    lines.add(line)
    try:
        await _talk(service, socket, line)
    finally:
        lines.discard(line)
    return socket


async def _talk(service: Service, socket: web.WebSocketResponse, line: SocketLine) -> None:
    runner = await _admit(service, socket, line)
    if runner is None:
        return
    code = int(WSCloseCode.ABNORMAL_CLOSURE)
    try:
        while (message := await socket.receive()).type in _DATA:
            runner.receive(_decode(message))
        code = line.closed_with or _close_code(socket, message)
    finally:
        line.closed = True
        runner.receive(Closed(code))
        await service.end(runner)


def _close_code(socket: web.WebSocketResponse, last: WSMessage) -> int:
    # aiohttp calls a connection that was lost, and a close without a code, a proper end.
    if last.type is WSMsgType.CLOSED:
        return WSCloseCode.ABNORMAL_CLOSURE
    if last.type is WSMsgType.CLOSE:
        return int(last.data or _NO_CODE)
    return socket.close_code or WSCloseCode.ABNORMAL_CLOSURE


async def _admit(
    service: Service, socket: web.WebSocketResponse, line: SocketLine
) -> Runner | None:
    try:
        first = await socket.receive(timeout=SETUP_WITHIN_S)
        admission = await service.reception.admit(_decode(first))
    except (RequestRefused, TimeoutError) as refusal:
        reason = str(refusal) or "no setup in time"
        _log.warning("session refused: %s", reason)
        await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=reason.encode()[:120])
        return None
    return service.start(admission, line)


def _decode(message: WSMessage) -> frames.InboundFrame:
    if message.type is WSMsgType.TEXT:
        return frames.decode(message.data)
    return frames.Malformed(f"a {message.type.name.lower()} frame")


class SocketLine:
    """Writes straight to the socket; only a slow reader makes it queue.

    closed_with: the code, if it was us who closed it.
    """

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._socket = socket
        self._transport = transport
        self._unsent: deque[bytes] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[bool] | None = None
        self.closed = False
        self.closed_with: int | None = None

    def send(self, data: bytes) -> None:
        """Send a text frame at once, or queue it behind a slow reader; never raises."""
        if self.closed:
            return
        if self._unsent or self._is_behind():
            self._unsent.append(data)
            if self._sender is None or self._sender.done():
                self._sender = asyncio.get_running_loop().create_task(self._send_rest())
            return
        self._write(data)

    def purge(self) -> None:
        """Throw away queued `text` frames."""
        self._unsent = deque(
            data for data in self._unsent if not data.startswith(b'{"type":"text"')
        )

    async def drain(self) -> None:
        """Wait until a slow reader has caught up."""
        if self._sender is not None and not self._sender.done():
            await asyncio.shield(self._sender)  # whoever waits may be cancelled, the frames not

    def close(self, code: int = WSCloseCode.OK) -> asyncio.Task[bool]:
        """Close the socket soon."""
        if self._closer is None:
            self.closed_with = code
            self._closer = asyncio.get_running_loop().create_task(self._socket.close(code=code))
        return self._closer

    def _is_behind(self) -> bool:
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() > _MOST_UNSENT_BYTES

    def _write(self, data: bytes) -> None:
        # aiohttp writes the frame before it first awaits (for a full buffer, which `_is_behind`
        # looks after): one step is the whole work, with no task and no wake-up.
        sending = self._socket.send_frame(data, WSMsgType.TEXT)
        try:
            sending.send(None)
        except StopIteration:
            return
        except (ConnectionError, RuntimeError):
            self.closed = True  # the reader will see the close and tell the call
        else:
            sending.close()

    async def _send_rest(self) -> None:
        while self._unsent and not self.closed:
            if self._is_behind():
                await asyncio.sleep(_CAUGHT_UP_AFTER_S)
            else:
                self._write(self._unsent.popleft())
