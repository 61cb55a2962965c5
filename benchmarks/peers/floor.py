"""The floor: the least a Python program can do between carrier and model, with no feature at all.

picows for the WebSocket, HTTP to the model by hand on connections that are kept, msgspec, uvloop.
No webhook, no signature, no store, no history, no error is handled: nobody should run this. It
tells how much of a figure is Python and the kernel.
"""
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

import asyncio
import re
import socket
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from benchmarks.peers import INSTRUCTIONS, arguments

_EVENT: Final = re.compile(rb"data: (\{.*\})\n\n")
_END: Final = b"0\r\n\r\n"
_HEAD: Final = (
    "POST {path}/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer benchmark\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


class _Frame(msgspec.Struct):
    type: str
    voicePrompt: str = ""  # noqa: N815 - the carrier's name


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


class _Text(msgspec.Struct, tag_field="type", tag="text"):
    token: str
    last: bool = False


_frames: Final = msgspec.json.Decoder(_Frame)
_chunks: Final = msgspec.json.Decoder(_Chunk)
_encode: Final = msgspec.json.Encoder().encode
_LAST: Final = _encode(_Text("", last=True))


class _Upstream(asyncio.Protocol):
    """One connection to the model; it answers one call at a time."""

    def __init__(self, idle: list[_Upstream]) -> None:
        self._idle = idle
        self._buffer = b""
        self.call: _Call | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        end = 0
        for event in _EVENT.finditer(data):
            end = event.end()
            token = _chunks.decode(event[1]).choices[0].delta.content
            if token and self.call is not None:
                self.call.say(_encode(_Text(token)))
        self._buffer = data[end:]
        if self._buffer.endswith(_END):
            self._buffer = b""
            call, self.call = self.call, None
            self._idle.append(self)
            if call is not None:
                call.upstream = None
                call.say(_LAST)


class _Call(WSListener):
    """One call."""

    def __init__(self, host: str, port: int, path: str, idle: list[_Upstream]) -> None:
        self._host, self._port, self._path = host, port, path
        self._idle = idle
        self._carrier: WSTransport | None = None
        self._asking: asyncio.Task[None] | None = None
        self.upstream: _Upstream | None = None

    def say(self, frame: bytes) -> None:
        if self._carrier is not None:
            self._carrier.send(WSMsgType.TEXT, frame)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._carrier = transport

    def on_ws_disconnected(self, _: WSTransport) -> None:
        self._carrier = None
        self._stop()

    def on_ws_frame(self, _: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        said = _frames.decode(frame.get_payload_as_bytes())
        if said.type == "prompt":
            self._stop()
            self._ask(said.voicePrompt)
        elif said.type == "interrupt":
            self._stop()

    def _stop(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None and upstream.transport is not None:
            upstream.call = None
            upstream.transport.abort()

    def _ask(self, prompt: str) -> None:
        body = _encode(
            {
                "model": "mock",
                "stream": True,
                "messages": [
                    {"role": "system", "content": INSTRUCTIONS},
                    {"role": "user", "content": prompt},
                ],
            }
        )
        head = _HEAD.format(path=self._path, host=self._host, length=len(body)).encode()
        if self._idle:
            self._send(self._idle.pop(), head + body)
        else:
            self._asking = asyncio.ensure_future(self._connect(head + body))

    async def _connect(self, request: bytes) -> None:
        _, upstream = await asyncio.get_running_loop().create_connection(
            lambda: _Upstream(self._idle), self._host, self._port
        )
        self._send(upstream, request)

    def _send(self, upstream: _Upstream, request: bytes) -> None:
        upstream.call, self.upstream = self, upstream
        if upstream.transport is not None:
            upstream.transport.write(request)


async def _serve(listener: socket.socket, model_url: str) -> None:
    url = urlsplit(model_url)
    idle: list[_Upstream] = []
    server = await ws_create_server(
        lambda _: _Call(url.hostname or "", url.port or 80, url.path, idle), sock=listener
    )
    await server.serve_forever()


def main() -> None:
    """Serve on an inherited listening socket until killed."""
    given = arguments()
    uvloop.run(_serve(socket.socket(fileno=given.fd), given.model_url))


if __name__ == "__main__":
    main()
