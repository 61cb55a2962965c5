"""A third party's carrier: knows the protocol, and nothing of voxyray or of its twin."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from xml.etree import ElementTree

import aiohttp
from twilio.request_validator import RequestValidator
from yarl import URL

TOKEN: Final = "0123456789abcdef0123456789abcdef"
ACCOUNT: Final = "AC00000000000000000000000000000000"
FORM_TYPE: Final = "application/x-www-form-urlencoded; charset=UTF-8"
SOON_S: Final = 60.0  # on a clock that jumps

Frame = dict[str, Any]


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes

    @property
    def verbs(self) -> list[ElementTree.Element]:
        return list(ElementTree.fromstring(self.body))

    @property
    def names(self) -> list[str]:
        return [verb.tag for verb in self.verbs]


def new_call_sid() -> str:
    return "CA" + secrets.token_hex(16)


def form_of(call_sid: str, **fields: str) -> dict[str, str]:
    return {
        "AccountSid": ACCOUNT,
        "ApiVersion": "2010-04-01",
        "CallSid": call_sid,
        "CallStatus": "ringing",
        "Direction": "inbound",
        "From": "+15550100001",
        "FromCity": "",
        "To": "+15550100000",
        **fields,
    }


class Carrier:
    """Places calls; token signs, public is the origin that is signed, resolve finds the app."""

    def __init__(
        self, session: aiohttp.ClientSession, public: str, resolve: Callable[[str], str]
    ) -> None:
        self.session = session
        self.public = public
        self.resolve = resolve
        self.validator = RequestValidator(TOKEN)

    async def post(
        self,
        path: str,
        form: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        signature: str | None = None,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a webhook; a signature of "" sends none, None the right one."""
        url = self.public + path
        if body is None:
            body = urlencode(form or {}).encode()
        if signature is None:
            signature = self.validator.compute_signature(url, dict(form or {}))
        sent = {"Content-Type": FORM_TYPE, **(headers or {})}
        if signature:
            sent["X-Twilio-Signature"] = signature
        async with self.session.request(
            method,
            URL(self.resolve(url), encoded=True),
            data=body,
            headers=sent,
            allow_redirects=False,
        ) as answer:
            return Answer(
                answer.status, answer.headers.get("Content-Type", ""), await answer.read()
            )

    async def voice(self, call_sid: str, **fields: str) -> Relay:
        """Ask the app what to do with a call; it must be the relay."""
        answer = await self.post("/voice", form_of(call_sid, **fields))
        assert answer.status == 200, answer
        return Relay.read(answer.body)

    async def dial(
        self, url: str, *, signature: str | None = None
    ) -> aiohttp.ClientWebSocketResponse:
        """Open the relay's socket; a signature of "" sends none, None the right one."""
        if signature is None:
            signature = self.validator.compute_signature(url, {})
        headers = {"X-Twilio-Signature": signature} if signature else {}
        return await self.session.ws_connect(
            self.resolve(url), headers=headers, autoping=True, max_msg_size=0
        )

    async def place(self, call_sid: str = "", **fields: str) -> Session:
        """Place a call, and send its setup."""
        call_sid = call_sid or new_call_sid()
        relay = await self.voice(call_sid, **fields)
        session = Session(await self.dial(relay.url), call_sid, relay)
        await session.send(session.setup())
        return session


class Relay(NamedTuple):
    """What the TwiML says about the relay."""

    url: str
    action: str
    attributes: dict[str, str]
    parameters: dict[str, str]

    @classmethod
    def read(cls, body: bytes) -> Relay:
        connect = ElementTree.fromstring(body).find("Connect")
        assert connect is not None, body
        (noun,) = connect.findall("ConversationRelay")
        attributes = dict(noun.attrib)
        parameters = {
            each.get("name", ""): each.get("value", "") for each in noun.findall("Parameter")
        }
        return cls(attributes.pop("url"), connect.get("action", ""), attributes, parameters)


class Session:
    """One relay socket, seen from the carrier's side."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, call_sid: str, relay: Relay
    ) -> None:
        self.socket = socket
        self.call_sid = call_sid
        self.relay = relay

    def setup(self, **changes: Any) -> Frame:
        return {
            "type": "setup",
            "sessionId": "VX" + "0" * 32,
            "accountSid": ACCOUNT,
            "parentCallSid": "",
            "callSid": self.call_sid,
            "from": "+15550100001",
            "to": "+15550100000",
            "callType": "PSTN",
            "direction": "inbound",
            "callStatus": "RINGING",
            "customParameters": self.relay.parameters,
            **changes,
        }

    async def send(self, frame: Frame | str) -> None:
        await self.socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def say(self, text: str) -> None:
        await self.send({"type": "prompt", "voicePrompt": text, "lang": "en-US", "last": True})

    async def interrupt(self, heard: str) -> None:
        await self.send(
            {"type": "interrupt", "utteranceUntilInterrupt": heard, "durationUntilInterruptMs": 460}
        )

    async def frame(self) -> Frame:
        """Receive a frame."""
        message = await asyncio.wait_for(self.socket.receive(), SOON_S)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        frame = json.loads(message.data)
        assert isinstance(frame, dict)
        return frame

    async def token(self) -> str:
        """Receive a text frame that does not close the reply."""
        frame = await self.frame()
        assert (frame["type"], frame["last"]) == ("text", False), frame
        return str(frame["token"])

    async def reply(self) -> str:
        """Receive up to the frame that closes the reply; gives what is spoken."""
        words = ""
        while True:
            frame = await self.frame()
            assert frame["type"] == "text", frame
            words += str(frame["token"])
            if frame["last"]:
                return words

    async def close(self) -> None:
        """Hang up, as a carrier does."""
        await self.socket.close(code=1000, message=b"Closing websocket session")

    @property
    def transport(self) -> asyncio.Transport:
        connection = self.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        return connection.transport

    def drop(self) -> None:
        """Cut the connection without a close frame."""
        connection = self.socket._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()

    async def closed(self) -> int:
        """Wait for the app to close; gives the code. Nothing else may come."""
        message = await asyncio.wait_for(self.socket.receive(), SOON_S)
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        return int(message.data)
