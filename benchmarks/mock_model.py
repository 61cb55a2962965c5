"""An OpenAI-compatible model that does nothing but keep time; a process of its own.

    python -m benchmarks.mock_model --fd 3 --workload '{"first_token_ms":200}'

It is HTTP by hand, so that what it costs is not mistaken for the server's cost. The first token of
an answer names the moment the request had arrived and the moment that token was written, both of
CLOCK_MONOTONIC, which all processes of a machine share. Head, role and first token leave in one
write: a model that answers its headers early would take work off the measured path.

Where the workload names a tool, the first answer asks for it, and the call's id carries those two
moments to the second; so its first token also tells how long the server took in between.

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
_CALLED: Final = re.compile(r"call_at(\d+)to(\d+)")
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class _Message(msgspec.Struct):
    role: str
    tool_call_id: str = ""


class _Request(msgspec.Struct):
    messages: list[_Message]


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
_END: Final = _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_TAIL: Final = _chunked(_EVENT.format(delta="{}", finish='"stop"').encode()) + _END


def _tool_call(name: str, call_id: str) -> bytes:
    """Ask for a tool, its arguments in a chunk of their own as OpenAI sends them."""
    called = {"name": name, "arguments": ""}
    opened = {"index": 0, "id": call_id, "type": "function", "function": called}
    told = {"index": 0, "function": {"arguments": '{"day":"saturday"}'}}
    deltas = [
        ({"role": "assistant", "content": None, "tool_calls": [opened]}, "null"),
        ({"tool_calls": [told]}, "null"),
        ({}, '"tool_calls"'),
    ]
    events = [
        _EVENT.format(delta=msgspec.json.encode(delta).decode(), finish=finish).encode()
        for delta, finish in deltas
    ]
    return b"".join(map(_chunked, events)) + _END


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
            called = _tool_result(rest[:wanted]) if self._mock.workload.tool else None
            self._answer = _Answer(self._mock, self._transport, now, called)
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


def _tool_result(body: bytes) -> tuple[int, int] | None:
    """Tell when the tool whose result ends this request was asked for: request and first chunk."""
    message = msgspec.json.decode(body, type=_Request).messages[-1]
    called = _CALLED.fullmatch(message.tool_call_id)
    return (int(called[1]), int(called[2])) if called else None


class _Answer:
    """One answer on its way; called: when the tool before it was, where there is one."""

    def __init__(
        self,
        mock: Mock,
        transport: asyncio.Transport,
        asked_ns: int,
        called: tuple[int, int] | None,
    ) -> None:
        self.asked_ns = asked_ns
        self._mock = mock
        self._transport = transport
        self._called = called
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
        tool = self._mock.workload.tool
        if tool and self._called is None:
            self._timer = None
            self._transport.write(_HEAD + _tool_call(tool, f"call_at{self.asked_ns}to{now}"))
            return
        self._sent = 1
        mark = f"at{self.asked_ns}to{now}"
        if self._called is not None:
            asked, told = self._called
            mark = f"at{asked}to{now}less{self.asked_ns - told}"
        self._transport.write(_HEAD + _ROLE + _token(f" word{self._digit}{mark}"))
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
