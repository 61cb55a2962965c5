"""A simulated Twilio that calls your app over real HTTP and real sockets, or over a line in memory.

It follows TwiML as the reference says (1.6, 1.7, 4.5): the voice webhook, relay sessions, the
action URL after each of them, what that answers, and the status callback.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import TypeAlias
from urllib.parse import urljoin

import aiohttp

from voxyray.twin import twiml
from voxyray.twin.attributes import RelayAttributes
from voxyray.twin.errors import CallOver, TwinRefused
from voxyray.twin.phone import Phone
from voxyray.twin.pipe import Line, dial
from voxyray.twin.record import CallRecord, Ending, OnEvent, Recorder, Spoken
from voxyray.twin.relay import Identity, Manners, Relay
from voxyray.twin.settings import NO_ODDITIES, OBSERVED, Oddities, Timing
from voxyray.twin.webhook import TIMEOUT_S, Webhooks

Script: TypeAlias = Callable[[Phone], Awaitable[None]]
_Document: TypeAlias = tuple[twiml.Verb, ...]
MAX_DOCUMENTS = 50  # more TwiML than that is a loop

_NOT_OPENED = Ending(
    "failed", 1006, "", None, 39001, "Network connection to WebSocket server failed"
)


class Carrier:
    """Places calls to a voice URL.

    auth_token: signs webhooks and handshakes; an empty one sends them unsigned.
    resolve: maps public URLs (https and wss) to where the app listens; what is signed stays the
    public one. status_url: gets the status callback. dial_outcome: `completed`, `busy`,
    `no-answer`, `failed` or `canceled`. webhook_timeout_s: Twilio gives 15.
    """

    def __init__(
        self,
        voice_url: str,
        auth_token: str,
        *,
        account_sid: str = "AC00000000000000000000000000000000",
        resolve: Callable[[str], str] = str,
        status_url: str = "",
        dial_outcome: str = "completed",
        timing: Timing = OBSERVED,
        oddities: Oddities = NO_ODDITIES,
        seed: int = 0,
        webhook_timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.voice_url = voice_url
        self.auth_token = auth_token
        self.account_sid = account_sid
        self.resolve = resolve
        self.status_url = status_url
        self.dial_outcome = dial_outcome
        self.manners = Manners(timing, oddities, seed)
        self.webhook_timeout_s = webhook_timeout_s

    async def call(
        self,
        script: Script,
        *,
        from_: str = "+15550100001",
        to: str = "+15550100000",
        call_sid: str = "",
        forwarded_from: str = "",
        caller_name: str = "",
        on_event: OnEvent | None = None,
    ) -> CallRecord:
        """Call the app, let the script be the caller, and give the record of the call.

        When the script returns, the caller hangs up. What the script raises comes out of here,
        except `CallOver`: then the record says that the script was not done.
        """
        call_sid = call_sid or "CA" + secrets.token_hex(16)
        identity = Identity(call_sid, self.account_sid, from_, to, forwarded_from, caller_name)
        recorder = Recorder(asyncio.get_running_loop().time, on_event)
        phone = Phone(recorder, self.manners.timing)
        async with aiohttp.ClientSession() as session:
            webhooks = self.webhooks(session, recorder)
            call = _Call(self, identity, recorder, phone, webhooks)
            return await _carry(call.run(), script, phone, recorder, identity)

    def webhooks(self, session: aiohttp.ClientSession, recorder: Recorder) -> Webhooks:
        """Give what sends one call's webhooks."""
        return Webhooks(
            session,
            self.auth_token,
            recorder=recorder,
            resolve=self.resolve,
            timeout_s=self.webhook_timeout_s,
            twice=self.manners.oddities.twice,
        )

    async def dial(self, url: str) -> Line:
        """Open the relay socket that the TwiML names.

        Raises:
            TwinRefused: 64102, it did not open.
        """
        return await dial(url, auth_token=self.auth_token, connect_to=self.resolve(url))


async def run_relay(
    line: Line,
    script: Script,
    *,
    attributes: RelayAttributes | None = None,
    identity: Identity | None = None,
    timing: Timing = OBSERVED,
    oddities: Oddities = NO_ODDITIES,
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> CallRecord:
    """Run one relay session over a line, without HTTP; for tests on the virtual clock.

    The script is the caller as in `Carrier.call`; the parameters are in `attributes`.
    """
    who = identity or Identity()
    recorder = Recorder(asyncio.get_running_loop().time, on_event)
    phone = Phone(recorder, timing)

    async def session() -> None:
        manners = Manners(timing, oddities, seed)
        await _relay(line, attributes or RelayAttributes(), who, recorder, phone, manners)

    return await _carry(session(), script, phone, recorder, who)


async def _relay(
    line: Line,
    attributes: RelayAttributes,
    identity: Identity,
    recorder: Recorder,
    phone: Phone,
    manners: Manners,
) -> tuple[str, Ending]:
    session_id = "VX" + secrets.token_hex(16)
    relay = Relay(
        line,
        attributes,
        recorder=recorder,
        identity=identity,
        session_id=session_id,
        bell=phone.bell,
        manners=manners,
    )
    phone.connect(relay)
    try:
        return session_id, await relay.run()
    finally:
        phone.connect(None)


async def _carry(
    call: Awaitable[None], script: Script, phone: Phone, recorder: Recorder, identity: Identity
) -> CallRecord:
    """Run the carrier's and the caller's side together until the call is over."""

    async def caller() -> bool:
        try:
            await script(phone)
        except CallOver:
            return False
        phone.hang_up()
        return True

    async def carrier() -> None:
        try:
            await call
        finally:
            await phone.end()

    carrying = asyncio.create_task(carrier(), name="twin carrier")
    calling = asyncio.create_task(caller(), name="twin caller script")
    try:
        await asyncio.wait((carrying, calling), return_when=asyncio.FIRST_EXCEPTION)
        for task in (calling, carrying):
            if task.done():
                task.result()
    finally:
        for task in (calling, carrying):
            task.cancel()
        await asyncio.gather(calling, carrying, return_exceptions=True)
    return recorder.record(
        call_sid=identity.call_sid,
        account_sid=identity.account_sid,
        from_=identity.from_,
        to=identity.to,
        script_done=calling.result(),
    )


class _Call:
    """One call over HTTP: follows TwiML until there is no more of it, or nobody to hear it."""

    def __init__(
        self,
        carrier: Carrier,
        identity: Identity,
        recorder: Recorder,
        phone: Phone,
        webhooks: Webhooks,
    ) -> None:
        self._carrier = carrier
        self._who = identity
        self._recorder = recorder
        self._phone = phone
        self._webhooks = webhooks
        self._timing = carrier.manners.timing
        self._url = carrier.voice_url
        self._status = "ringing"
        self._status_sent = False

    async def run(self) -> None:
        """Carry the call from the voice webhook to the status callback."""
        try:
            document: _Document | None = await self._ask("voice", self._carrier.voice_url)
            for _ in range(MAX_DOCUMENTS):
                if document is None:
                    break
                document = await self._follow(document)
            else:
                self._recorder.fail(12200, f"more than {MAX_DOCUMENTS} documents in one call")
        except TwinRefused as error:
            self._recorder.fail(error.code, error.message)
        self._status = "completed"
        await self._report_status()

    async def _ask(
        self,
        what: str,
        url: str,
        extra: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> _Document:
        """Ask a URL of the app what to do next; relative URLs count from the last document."""
        url = urljoin(self._url, url)
        fields = {**self._fields(), **(extra or {})}
        body, content_type = await self._webhooks.send(what, url, fields, method)
        self._url = url
        return twiml.read(body, content_type, warn=self._recorder.warn)

    async def _follow(self, document: _Document) -> _Document | None:
        """Carry out verbs; gives the TwiML that takes over, or None when the call is over."""
        for verb in document:
            if self._phone.hung_up:
                return None
            self._recorder.verb(type(verb).__name__, _detail(verb))
            match verb:
                case twiml.Connect():
                    taken_over, following = await self._connect(verb)
                    if taken_over:
                        return following
                case twiml.Redirect():
                    return await self._ask("redirect", verb.url, method=verb.method)
                case twiml.Hangup() | twiml.Reject():
                    return None
                case twiml.Dial():
                    if (after := await self._dial(verb)) is not None:
                        return after
                case twiml.Enqueue():
                    if (after := await self._enqueue(verb)) is not None:
                        return after
                case _:
                    await self._perform(verb)
        return None

    async def _perform(self, verb: twiml.Verb) -> None:
        """Carry out a verb that only takes time."""
        self._status = "in-progress"
        started_ms = self._recorder.now_ms
        match verb:
            case twiml.Say():
                length_ms = 1000 * len(verb.text) / self._timing.speech_cps * (verb.loop or 1000)
                hung_up = await self._phone.hold(length_ms)
                now_ms = self._recorder.now_ms
                fate = "interrupted" if hung_up else "played"
                heard = "" if hung_up else verb.text
                self._recorder.say(Spoken(started_ms, now_ms, verb.text, heard, "verb", fate))
            case twiml.Play():
                await self._phone.hold(self._timing.play_ms * (verb.loop or 1000))
            case twiml.Pause():
                await self._phone.hold(self._timing.pause_second_ms * verb.length_s)

    async def _connect(self, verb: twiml.Connect) -> tuple[bool, _Document | None]:
        """Run a relay session and ask the action URL; tells whether that takes the call over."""
        if await self._phone.hold(self._timing.voice_to_setup_ms):
            return True, None
        session_id, ending = await self._session(verb.relay)
        hung_up = ending.status == "completed"
        timing = self._timing
        delays = {"completed": timing.hangup_to_action_ms, "ended": timing.end_to_action_ms}
        self._status = "completed" if hung_up else "in-progress"
        if hung_up and self._carrier.manners.oddities.status_first:
            await self._report_status()
        await asyncio.sleep(delays.get(ending.status, timing.drop_to_action_ms) / 1000)
        if not verb.action:
            return hung_up, None
        fields = self._session_fields(session_id, ending)
        answer = await self._ask("action", verb.action, fields, verb.method)
        return True, None if hung_up else answer

    async def _session(self, attributes: RelayAttributes) -> tuple[str, Ending]:
        carrier = self._carrier
        try:
            line = await carrier.dial(attributes.url)
        except TwinRefused as error:
            self._recorder.fail(error.code, error.message)
            return "VX" + secrets.token_hex(16), _NOT_OPENED
        self._status = "in-progress"
        return await _relay(
            line, attributes, self._who, self._recorder, self._phone, carrier.manners
        )

    def _session_fields(self, session_id: str, ending: Ending) -> dict[str, str]:
        duration_ms = 0.0
        if self._recorder.sessions and self._recorder.sessions[-1].session_id == session_id:
            duration_ms = self._recorder.sessions[-1].duration_ms
        fields = {
            "SessionId": session_id,
            "SessionStatus": ending.status,
            "SessionDuration": str(round(duration_ms / 1000)),
        }
        if ending.handoff_data is not None:
            fields["HandoffData"] = ending.handoff_data
        if ending.error_code is not None:
            fields["ErrorCode"] = str(ending.error_code)
            fields["ErrorMessage"] = ending.error_message
        return fields

    async def _dial(self, verb: twiml.Dial) -> _Document | None:
        self._status = "in-progress"
        started_ms = self._recorder.now_ms
        hung_up = await self._phone.hold(self._timing.dial_ms)
        outcome = "completed" if hung_up else self._carrier.dial_outcome
        if not verb.action:
            return None
        fields = {"DialCallStatus": outcome, "DialCallSid": "CA" + secrets.token_hex(16)}
        if outcome == "completed":
            seconds = (self._recorder.now_ms - started_ms) / 1000
            fields["DialCallDuration"] = str(round(seconds))
        answer = await self._ask("dial", verb.action, fields, verb.method)
        return () if hung_up else answer

    async def _enqueue(self, verb: twiml.Enqueue) -> _Document | None:
        self._status = "in-progress"
        started_ms = self._recorder.now_ms
        hung_up = await self._phone.hold(self._timing.dial_ms)
        if not verb.action:
            return None
        seconds = (self._recorder.now_ms - started_ms) / 1000
        fields = {
            "QueueResult": "hangup" if hung_up else "bridged",
            "QueueSid": "QU" + secrets.token_hex(16),
            "QueueTime": str(round(seconds)),
        }
        answer = await self._ask("enqueue", verb.action, fields, verb.method)
        return () if hung_up else answer

    async def _report_status(self) -> None:
        if not self._carrier.status_url or self._status_sent:
            return
        self._status_sent = True
        status_first = self._carrier.manners.oddities.status_first
        if not status_first:
            await asyncio.sleep(self._timing.action_to_status_ms / 1000)
        fields = {
            **self._fields(),
            "CallDuration": str(round(self._recorder.now_ms / 1000)),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "0",
            "Timestamp": formatdate(),
        }
        try:
            await self._webhooks.send("status", self._carrier.status_url, fields)
        except TwinRefused as error:
            self._recorder.fail(error.code, error.message)

    def _fields(self) -> dict[str, str]:
        """Give the parameters of every voice webhook (1.6); the geographic ones may be empty."""
        who = self._who
        fields = {
            "AccountSid": who.account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": who.call_sid,
            "CallStatus": self._status,
            "Called": who.to,
            "Caller": who.from_,
            "Direction": who.direction,
            "From": who.from_,
            "To": who.to,
        }
        for party in ("From", "To", "Called", "Caller"):
            fields |= {f"{party}City": "", f"{party}State": "", f"{party}Zip": ""}
            fields[f"{party}Country"] = "US"
        if who.forwarded_from:
            fields["ForwardedFrom"] = who.forwarded_from
        if who.caller_name:
            fields["CallerName"] = who.caller_name
        return fields


def _detail(verb: twiml.Verb) -> str:
    match verb:
        case twiml.Say():
            return verb.text
        case twiml.Play() | twiml.Redirect():
            return verb.url
        case twiml.Connect():
            return verb.relay.url
        case twiml.Dial():
            return ", ".join(verb.targets)
        case twiml.Enqueue():
            return verb.name or verb.workflow_sid
        case twiml.NotPlayed():
            return verb.name
        case twiml.Pause():
            return f"{verb.length_s:g} s"
        case _:
            return ""
