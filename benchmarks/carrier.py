"""The carrier's side of one call, as lean as it can be: signed webhook, then WebSocket by hand.

Frames are masked with a zero key and never parsed as JSON; the tokens of `mock_model` are counted
as bytes. So the generator stays far from being what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import time
from typing import Any, Final, cast
from urllib.parse import urlsplit
from xml.etree import ElementTree

import aiohttp
import msgspec

from voxyray.carriers.twilio import SIGNATURE_HEADER, sign

_MARK: Final = re.compile(rb"word(\d)at(\d+)to(\d+)(?:less(\d+))?")
_LAST: Final = re.compile(rb'"last": ?true')
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A
_PATIENCE_S: Final = 20.0


class Turn:
    """One prompt and what came of it; times in ns of CLOCK_MONOTONIC.

    begun: the first partial, or the prompt itself; asked and written: by the model; between: what
    the server took from a tool call to the request with its result. tokens: received; stray: of
    another turn, or sent after the server had seen our interrupt; in_flight: received between the
    interrupt and the server's answer to the ping behind it.
    """

    __slots__ = (
        "asked",
        "begun",
        "between",
        "closed",
        "digit",
        "fenced",
        "first",
        "first_came",
        "in_flight",
        "interrupted",
        "prompted",
        "stray",
        "tokens",
        "written",
    )

    def __init__(self, prompted: int, begun: int) -> None:
        self.prompted = prompted
        self.begun = begun
        self.first_came = asyncio.Event()
        self.fenced = asyncio.Event()
        self.first = self.asked = self.written = self.interrupted = self.between = 0
        self.tokens = self.in_flight = self.stray = 0
        self.digit = b""
        self.closed = False

    @property
    def heard_ns(self) -> int:
        """From the prompt sent to the first token received."""
        return self.first - self.prompted

    @property
    def added_ns(self) -> int:
        """What of that wait was not the model's; a guess was asked for before it began."""
        model = max(0, self.written - max(self.asked, self.prompted))
        return self.heard_ns - model + self.between


class CarrierCall(asyncio.Protocol):
    """One call; turns are kept in order, and every frame goes to the latest.

    events: report speech and played tokens, as the agent's TwiML asks of a carrier.
    wants_partials: what its TwiML says.
    """

    def __init__(self, call_sid: str, *, events: bool = False) -> None:
        self.call_sid = call_sid
        self.turns: list[Turn] = []
        self.closed = False
        self.wants_partials = False
        self._events = events
        self._begun = 0
        self._unreported = b""
        self._upgraded = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    # What the carrier does

    async def begin(
        self, session: aiohttp.ClientSession, base_url: str, voice_path: str, token: str
    ) -> None:
        """Post the webhook, if there is one, follow its TwiML, and send `setup`."""
        url, parameters = f"{base_url}/relay", dict[str, str]()
        if voice_path:
            url, parameters = await self._ask(session, base_url + voice_path, token)
        parts = urlsplit(url)
        # A wss URL is signed as such; that TLS ended before this server says the proxy's header.
        proto = "https" if parts.scheme == "wss" else "http"
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.get_running_loop().create_connection(
                lambda: self, parts.hostname or "", parts.port or 80
            )
            self._write_raw(
                (
                    f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                    f"X-Forwarded-Proto: {proto}\r\n"
                    f"{SIGNATURE_HEADER}: {sign(token, url)}\r\n\r\n"
                ).encode()
            )
            await self._upgraded
        self._send(
            type="setup",
            sessionId=f"VX{self.call_sid}",
            accountSid="AC1",
            callSid=self.call_sid,
            **{"from": "+15550100001"},
            to="+15550100000",
            direction="inbound",
            callStatus="RINGING",
            customParameters=parameters,
        )

    async def _ask(
        self, session: aiohttp.ClientSession, url: str, token: str
    ) -> tuple[str, dict[str, str]]:
        form = {
            "CallSid": self.call_sid,
            "AccountSid": "AC1",
            "From": "+15550100001",
            "To": "+15550100000",
            "CallStatus": "ringing",
            "Direction": "inbound",
        }
        headers = {SIGNATURE_HEADER: sign(token, url, list(form.items()))}
        async with session.post(url, data=form, headers=headers) as answer:
            answer.raise_for_status()
            document = ElementTree.fromstring(await answer.text())
        relay = next(document.iter("ConversationRelay"))
        self.wants_partials = relay.attrib.get("partialPrompts") == "true"
        parameters = {each.attrib["name"]: each.attrib["value"] for each in relay.iter("Parameter")}
        return relay.attrib["url"], parameters

    def partial(self, text: str) -> None:
        """Tell what was understood so far, if the TwiML asked for it."""
        if self.wants_partials:
            self._begun = self._begun or time.monotonic_ns()
            self._send(type="prompt", voicePrompt=text, lang="en-US", last=False)

    def prompt(self, text: str) -> Turn:
        """Say something, as a final transcript."""
        if self._events:
            self._inform("clientSpeaking", "off")
        self._unreported = b""
        now = time.monotonic_ns()
        turn = Turn(now, self._begun or now)
        self._begun = 0
        self.turns.append(turn)
        self._send(type="prompt", voicePrompt=text, lang="en-US", last=True)
        return turn

    def interrupt(self) -> None:
        """Cut in on the latest turn; the ping's answer proves that the server has seen it."""
        turn = self.turns[-1]
        turn.interrupted = time.monotonic_ns()
        self._send(
            type="interrupt",
            utteranceUntilInterrupt=f"word{turn.digit.decode()}",
            durationUntilInterruptMs=300,
        )
        self._write(_PING, b"fence")

    def hang_up(self) -> None:
        """Close the socket as at the end of a call."""
        self._write(_CLOSE, (1000).to_bytes(2, "big"))

    # What it hears

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        if not self._upgraded.done():
            self._upgraded.set_exception(ConnectionError("the server closed the handshake"))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._buffer + data
        if not self._upgraded.done():
            head, blank, rest = data.partition(b"\r\n\r\n")
            if not blank:
                self._buffer = data
                return
            self._accept(head)
            data = rest
        self._buffer = self._take_frames(data, now)

    def _accept(self, head: bytes) -> None:
        status = head.split(b"\r\n", 1)[0]
        if b" 101 " in status:
            self._upgraded.set_result(None)
        else:
            self._upgraded.set_exception(ConnectionError(f"no WebSocket: {status!r}"))

    def _take_frames(self, data: bytes, now: int) -> bytes:
        at, end = 0, len(data)
        while end - at >= 2:
            length, begins = data[at + 1], at + 2
            if length == 126:
                length, begins = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            if end < begins + length:
                break
            self._take(data[at], data[begins : begins + length], now)
            at = begins + length
        return data[at:]

    def _take(self, kind: int, payload: bytes, now: int) -> None:
        if kind == _TEXT and self.turns:
            self._hear(self.turns[-1], payload, now)
        elif kind == _PONG and self.turns and self.turns[-1].interrupted:
            self.turns[-1].fenced.set()
        elif kind == _PING:
            self._write(_PONG, payload)

    def _hear(self, turn: Turn, payload: bytes, now: int) -> None:
        tokens = payload.count(b"word")
        mark = _MARK.search(payload) if tokens and not turn.first else None
        if mark and int(mark[2]) >= turn.begun:  # else an answer to an earlier turn, come late
            turn.first, turn.digit = now, mark[1]
            turn.asked, turn.written = int(mark[2]), int(mark[3])
            turn.between = int(mark[4] or 0)
            turn.first_came.set()
            if self._events:
                self._inform("agentSpeaking", "on")
        own = payload.count(b"word" + turn.digit) if turn.digit else 0
        if turn.fenced.is_set():
            own = 0
        elif turn.interrupted:
            turn.in_flight += own
        turn.tokens += own
        turn.stray += tokens - own
        if _LAST.search(payload):
            turn.closed = True
        if self._events:
            self._report_played(payload, done=turn.closed)

    def _report_played(self, payload: bytes, *, done: bool) -> None:
        """Confirm what was said, a clause of some fifteen tokens at a time."""
        self._unreported += msgspec.json.decode(payload).get("token", "").encode()
        if done or self._unreported.count(b"word") >= 15:
            self._inform("tokensPlayed", self._unreported.decode())
            self._unreported = b""
        if done:
            self._inform("agentSpeaking", "off")
            self._inform("roundTripDelayMs", "120")

    def _inform(self, name: str, value: str) -> None:
        self._send(type="info", name=name, value=value)

    def _send(self, **frame: Any) -> None:
        self._write(_TEXT, msgspec.json.encode(frame))

    def _write(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self._write_raw(bytes([kind]) + length + b"\0\0\0\0" + payload)

    def _write_raw(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
