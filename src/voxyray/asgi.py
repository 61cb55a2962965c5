"""The same host for people who mount voxyray into an ASGI application (FastAPI, Starlette, ...).

app.mount("/phone", agent.app(public_url="https://voice.example.com/phone"))
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from voxyray import frames
from voxyray.agent import Agent
from voxyray.errors import RequestRefused, VoxyrayError
from voxyray.events import Closed
from voxyray.reception import MAX_BODY_BYTES, SETUP_WITHIN_S, Request, Response
from voxyray.runner import Runner
from voxyray.service import Service
from voxyray.settings import load_settings, with_development_token

_log = logging.getLogger(__name__)

# As the applications that mount this one declare them.
Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_POLICY_VIOLATION: Final = 1008


def application(agents: Sequence[Agent], **settings: Any) -> Application:
    """Give an ASGI application that answers the agents' calls.

    settings win over the environment and voxyray.toml; nothing is opened before the first
    request, so that workers can fork.
    """
    return Application(
        lambda: Service(
            with_development_token(load_settings(**settings)), agents, clock=time.perf_counter
        )
    )


class Application:
    """An ASGI 3 application over a service that is opened when first needed."""

    def __init__(self, open_service: Callable[[], Service]) -> None:
        self._open = open_service
        self._service: Service | None = None

    @property
    def service(self) -> Service:
        """The service, opened now if it was not yet."""
        if self._service is None:
            self._service = self._open()
        return self._service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as the ASGI server asks."""
        if scope["type"] in ("http", "websocket"):
            self.service.wake()
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._relay(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def close(self) -> None:
        """Close the service; for hosts that send no lifespan events to mounted applications."""
        if self._service is not None:
            await self._service.close()
            self._service = None

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = (await receive())["type"]
            if event == "lifespan.startup":
                # What cannot work is told here, and not to the first caller.
                try:
                    _ = self.service
                except VoxyrayError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
            else:
                await self.close()
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body") or len(body) > MAX_BODY_BYTES:
                break  # the reception refuses a body that is too large
        answer = await self.service.answer(self._asked(scope, scope["method"], body))
        await _answer(answer, receive, send)

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._path(scope).startswith("/dashboard/"):
            await self._phone(scope, receive, send)
            return
        await receive()  # websocket.connect
        try:
            if self._path(scope) != "/relay":
                raise RequestRefused("there is no WebSocket here", 404)
            self.service.reception.check_handshake(_headers(scope))
        except RequestRefused as refusal:
            _log.warning("handshake refused: %s", refusal)
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})  # becomes HTTP 403
            return
        await send({"type": "websocket.accept"})
        line = QueueLine(send)
        runner = await self._admit(receive, line)
        if runner is None:
            await line.finish()
            return
        code = 1006
        try:
            while (event := await receive())["type"] == "websocket.receive":
                runner.receive(_decode(event))
            code = event.get("code", 1006)
        finally:
            line.closed = True
            runner.receive(Closed(code))
            await self.service.end(runner)
            await line.finish()

    async def _phone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry a call of the browser phone."""
        from voxyray.dashboard import phone  # the twin is nothing that a server starts with

        await receive()  # websocket.connect
        asked = self._asked(scope, "GET")
        if asked.path != phone.SOCKET_PATH or not phone.is_allowed(self.service, asked):
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})  # becomes HTTP 403
            return

        async def text() -> str | None:
            event = await receive()
            return event.get("text") if event["type"] == "websocket.receive" else None

        await send({"type": "websocket.accept"})
        line = QueueLine(send)
        await phone.talk(self.service, line, text)
        await line.finish()

    async def _admit(self, receive: Receive, line: QueueLine) -> Runner | None:
        try:
            first = await asyncio.wait_for(receive(), SETUP_WITHIN_S)
            admission = await self.service.reception.admit(_decode(first))
        except (RequestRefused, TimeoutError) as refusal:
            reason = str(refusal) or "no setup in time"
            _log.warning("session refused: %s", reason)
            line.close(_POLICY_VIOLATION, reason[:120])
            return None
        return self.service.start(admission, line)

    def _asked(self, scope: Scope, method: str, body: bytes = b"") -> Request:
        query, peer = scope["query_string"].decode("latin-1"), (scope.get("client") or ("",))[0]
        return Request(method, self._path(scope), query, _headers(scope), body, peer)

    def _path(self, scope: Scope) -> str:
        """Give the path within this application: neither where it is mounted, nor a proxy's."""
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        prefix = root or urlsplit(self.service.settings.base_url).path
        return path[len(prefix) :] if path.startswith(f"{prefix}/") else path


async def _answer(answer: Response, receive: Receive, send: Send) -> None:
    headers = {"content-type": answer.content_type, **answer.headers}
    if answer.stream is None:
        headers["content-length"] = str(len(answer.body))
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if answer.stream is not None:
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async with contextlib.aclosing(answer.stream) as pieces:
                async for piece in pieces:
                    if gone.done():
                        break
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            gone.cancel()
    await send({"type": "http.response.body", "body": answer.body})


async def _gone(receive: Receive) -> None:
    """Wait until whoever asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }


def _decode(event: Mapping[str, Any]) -> frames.InboundFrame:
    text = event.get("text")
    if text is None:
        return frames.Malformed("a binary frame or a close")
    return frames.decode(text)


class QueueLine:
    """Hands frames to the server's `send` one after the other, from a task of its own."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._unsent: deque[dict[str, Any]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self.closed = False

    def send(self, data: bytes) -> None:
        """Queue a text frame; never raises."""
        if not self.closed:
            self._queue({"type": "websocket.send", "text": data.decode()})

    def purge(self) -> None:
        """Throw away queued `text` frames."""
        self._unsent = deque(
            event
            for event in self._unsent
            if not event.get("text", "").startswith('{"type":"text"')
        )

    async def drain(self) -> None:
        """Wait until the server has taken everything."""
        if self._sender is not None and not self._sender.done():
            await asyncio.shield(self._sender)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket after what is queued."""
        if not self.closed:
            self._queue({"type": "websocket.close", "code": code, "reason": reason})
            self.closed = True

    async def finish(self) -> None:
        """Wait until the last frame was handed over."""
        await self.drain()

    def _queue(self, event: dict[str, Any]) -> None:
        self._unsent.append(event)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._send_rest())

    async def _send_rest(self) -> None:
        try:
            while self._unsent:
                await self._send(self._unsent.popleft())
        except (OSError, RuntimeError) as error:
            _log.info("the socket closed while sending: %s", error)
            self.closed = True
            self._unsent.clear()
