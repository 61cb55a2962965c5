"""An OpenAI-compatible model that does nothing but keep time; a process of its own.

    python -m benchmarks.mock_model --fd 3 --workload '{"first_token_ms":200}'

It is HTTP by hand, so that what it costs is not mistaken for the server's cost. The first token of
an answer names the moment the request had arrived and the moment that token was written, both of
CLOCK_MONOTONIC, which all processes of a machine share. Head, role and first token leave in one
write: a model that answers its headers early would take work off the measured path.

`GET /report` tells which answers were cut by their client and when, and how late timers fired.
"""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import time
from typing import Final, cast

import click
import msgspec
import uvloop

from benchmarks.figures import Workload

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
# All that OpenAI sends around a token, so that its decoding costs what it costs there.
_EVENT: Final = (
    'data: {{"id":"chatcmpl-benchmark","object":"chat.completion.chunk","created":1700000000,'
    '"model":"mock","service_tier":"default","system_fingerprint":null,"choices":[{{"index":0,'
    '"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}\n\n'
)
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class ModelReport(msgspec.Struct, frozen=True):
    """cut: for each answer cut by its client, when it was asked and when cut, ns; late_ms: by
    how much the first tokens left later than planned."""

    cut: list[tuple[int, int]]
    late_ms: list[float]


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _token(text: str) -> bytes:
    delta = msgspec.json.encode({"content": text}).decode()
    return _chunked(_EVENT.format(delta=delta, finish="null").encode())


_ROLE: Final = _chunked(
    _EVENT.format(delta='{"role":"assistant","content":"","refusal":null}', finish="null").encode()
)
_TAIL: Final = (
    _chunked(_EVENT.format(delta="{}", finish='"stop"').encode())
    + _chunked(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)
# An answer's tokens all bear its digit, so that a stray one of another answer is seen.
_TOKENS: Final = [_token(f" word{digit}") for digit in range(10)]


class Mock:
    """What all connections share."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.loop = asyncio.get_running_loop()
        self.answers = 0
        self.cut: list[tuple[int, int]] = []
        self.late_ms: list[float] = []

    def report(self) -> bytes:
        """Give and forget what was seen."""
        data = msgspec.json.encode(ModelReport(self.cut, self.late_ms))
        self.cut, self.late_ms = [], []
        return data


class _Connection(asyncio.Protocol):
    """One client's connection: requests one after the other."""

    def __init__(self, mock: Mock) -> None:
        self._mock = mock
        self._buffer = b""
        self._answer: _Answer | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._buffer += data
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        wanted = int(length[1]) if length else 0
        if not blank or len(rest) < wanted or self._transport is None:
            return
        self._buffer = rest[wanted:]
        if head.startswith(b"POST"):
            self._answer = _Answer(self._mock, self._transport, now)
        else:
            body = self._mock.report() if b"/report" in head.split(b"\r\n", 1)[0] else b"{}"
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )

    def connection_lost(self, _: Exception | None) -> None:
        now = time.monotonic_ns()
        if self._answer is not None and self._answer.stop():
            self._mock.cut.append((self._answer.asked_ns, now))


class _Answer:
    """One answer on its way."""

    def __init__(self, mock: Mock, transport: asyncio.Transport, asked_ns: int) -> None:
        self.asked_ns = asked_ns
        self._mock = mock
        self._transport = transport
        self._digit = mock.answers % 10
        mock.answers += 1
        self._sent = 0
        delay_s = mock.workload.first_token_ms / 1000
        self._first_ns = asked_ns + int(delay_s * 1e9)
        self._timer: asyncio.TimerHandle | None = mock.loop.call_later(delay_s, self._begin)

    def stop(self) -> bool:
        """Stop; false if the answer was complete."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _begin(self) -> None:
        now = time.monotonic_ns()
        self._mock.late_ms.append((now - self._first_ns) / 1e6)
        self._first_ns = now
        self._sent = 1
        first = _token(f" word{self._digit}at{self.asked_ns}to{now}")
        self._transport.write(_HEAD + _ROLE + first)
        self._next()

    def _go_on(self) -> None:
        # What is due by now, so that a late timer neither drifts nor makes the answer slower.
        workload = self._mock.workload
        elapsed_s = (time.monotonic_ns() - self._first_ns) / 1e9
        due = min(workload.tokens, max(int(elapsed_s * workload.rate) + 1, self._sent + 1))
        self._transport.write(_TOKENS[self._digit] * (due - self._sent))
        self._sent = due
        self._next()

    def _next(self) -> None:
        workload = self._mock.workload
        if self._sent >= workload.tokens:
            self._timer = None
            self._transport.write(_TAIL)
            return
        at_ns = self._first_ns + int(self._sent / workload.rate * 1e9)
        delay_s = max(0.0, (at_ns - time.monotonic_ns()) / 1e9)
        self._timer = self._mock.loop.call_later(delay_s, self._go_on)


async def _serve(fd: int, workload: Workload) -> None:
    mock = Mock(workload)
    listener = socket.socket(fileno=fd)
    server = await mock.loop.create_server(lambda: _Connection(mock), sock=listener, backlog=1024)
    await server.serve_forever()


@click.command()
@click.option("--fd", type=int, required=True)
@click.option("--workload", required=True)
def main(fd: int, workload: str) -> None:
    """Serve on an inherited listening socket until killed."""
    gc.disable()  # an instrument must not pause
    uvloop.run(_serve(fd, msgspec.json.decode(workload, type=Workload)))


if __name__ == "__main__":
    main()
