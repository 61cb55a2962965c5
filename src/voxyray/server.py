"""The default host: aiohttp, on uvloop where it exists. It carries frames and decides nothing."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Final
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
# Under every load balancer's idle time-out, and often enough to notice a dead peer.
_HEARTBEAT_S: Final = 25.0
# A reader this far behind gets no more until it has caught up: some 20 s of speech.
_MOST_UNSENT_BYTES: Final = 16 * 1024
_CAUGHT_UP_AFTER_S: Final = 0.05


def application(service: Service) -> web.Application:
    """Give the aiohttp application; closing it closes the service."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[_SERVICE] = service
    prefix = urlsplit(service.settings.base_url).path
    for base in {"", prefix}:  # proxies strip the public URL's path, or do not
        app.router.add_get(f"{base}/relay", _relay)
        app.router.add_route("*", f"{base}/{{path:.*}}", _http)

    async def close(_: web.Application) -> None:
        await service.close()

    app.on_cleanup.append(close)
    return app


async def _http(request: web.Request) -> web.Response:
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return web.Response(status=413, text="the body is too large\n")
    service = request.app[_SERVICE]
    answer = await service.reception.answer(
        Request(
            request.method,
            f"/{request.match_info['path']}",
            request.rel_url.raw_query_string,
            {name.lower(): value for name, value in request.headers.items()},
            body,
        )
    )
    headers = {"Content-Type": answer.content_type}
    return web.Response(status=answer.status, body=answer.body, headers=headers)


async def _relay(request: web.Request) -> web.StreamResponse:
    service = request.app[_SERVICE]
    try:
        service.reception.check_handshake(
            {name.lower(): value for name, value in request.headers.items()}
        )
    except RequestRefused as refusal:
        _log.warning("handshake refused: %s", refusal)
        return web.Response(status=refusal.status, text=f"{refusal}\n")
    socket = web.WebSocketResponse(
        heartbeat=_HEARTBEAT_S, compress=False, max_msg_size=frames.MAX_FRAME_BYTES + 1
    )
    if not socket.can_prepare(request).ok:
        return web.Response(status=426, text="this is a WebSocket\n")
    await socket.prepare(request)
    line = SocketLine(socket, request.transport)
    runner = await _admit(service, socket, line)
    if runner is None:
        return socket
    try:
        async for message in socket:
            runner.receive(_decode(message))
    finally:
        line.closed = True
        runner.receive(Closed(socket.close_code or WSCloseCode.ABNORMAL_CLOSURE))
        await service.end(runner)
    return socket


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
    """Writes straight to the socket; only a slow reader makes it queue."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._socket = socket
        self._transport = transport
        self._unsent: deque[bytes] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[Any] | None = None
        self.closed = False

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

    def close(self) -> None:
        """Close the socket soon."""
        self._closer = asyncio.get_running_loop().create_task(self._socket.close())

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
