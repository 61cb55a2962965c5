"""Answers what the carrier asks over HTTP, and lets calls in at the relay; host-free.

A host gives a `Request` and sends the `Response`; it asks `check_handshake` before it accepts a
WebSocket, and `admit` when the first frame, `setup`, has come. Whatever is refused has no effect.

`/voice` binds agent, caller and texts to the call and gives the carrier a token for it, single-use
and short-lived, which comes back in `setup`: the signature of a handshake never changes, so it
proves nothing to somebody who has seen it once.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
import zoneinfo
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element

import msgspec

from voxyray import frames
from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.carriers import twilio, twiml
from voxyray.definitions import Definitions
from voxyray.errors import AgentError, ConditionFailed, RequestRefused, StoreError
from voxyray.handover import (
    Handoff,
    ending_verbs,
    parse_target,
    person_verbs,
    read_handoff,
    whisper_verbs,
)
from voxyray.history import Carried
from voxyray.models import Message
from voxyray.roster import Roster
from voxyray.settings import Settings
from voxyray.stores import Equals, Item, Missing, Put, Store, Update, keys
from voxyray.tool_definitions import MakeTool
from voxyray.tracebacks import traced

_log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
MAX_FORM_FIELDS: Final = 200
TOKEN_LIVES_S: Final = 120  # Twilio opens the socket 0.4-1.1 s after the webhook's answer
SETUP_WITHIN_S: Final = 5.0

_TROUBLE: Final = "I'm sorry, we can't take your call right now. Please try again in a few minutes."
_NOBODY_ANSWERED: Final = "I'm sorry, nobody answered. I'm still here. What can I do for you?"
_TAKEN_OVER: Final = "[The caller was put through to you by {0}.]"
_CAME_BACK: Final = "[The caller was to talk to a person, but nobody answered. They are back.]"


class Request(msgspec.Struct, frozen=True):
    """An HTTP request: headers by lower-case name, path without the public URL's own.

    peer: the address of whoever is connected; empty if the host does not know it.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    peer: str = ""


class Response(msgspec.Struct, frozen=True):
    """An HTTP answer; with a stream, its pieces are sent as they come instead of a body."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {}
    stream: AsyncGenerator[bytes, None] | None = None


class Admission(msgspec.Struct, frozen=True):
    """A call that was let in; setup no longer holds its token."""

    agent: Agent
    caller: Caller
    instructions: str
    greeting: str
    setup: frames.Setup
    carried: Carried | None = None


Form = dict[str, str]


class Texts(Protocol):
    """Who takes inbound text messages."""

    async def take(self, form: Mapping[str, str]) -> None:
        """Take one; StoreError: it should come again."""
        ...


class Statuses(Protocol):
    """Who takes status callbacks of messages."""

    async def status(self, provider_id: str, status: str, code: str = "") -> bool:
        """Apply one; StoreError: it should come again."""
        ...


class Reception:
    """The desk at which every request is checked.

    agents: the one named `default`, else the first, takes callers without a choice. make_tool:
    makes the tools of agents that only the store knows; without it there are none. now: gives
    epoch seconds.
    """

    def __init__(
        self,
        settings: Settings,
        agents: Sequence[Agent],
        store: Store,
        now: Callable[[], float] = time.time,
        make_tool: MakeTool | None = None,
    ) -> None:
        self.settings = settings
        self._roster = Roster(agents, store, make_tool)
        self._store = store
        self._definitions = Definitions(store, make_tool)
        self._now = now
        self._person = parse_target(settings.handoff_to) if settings.handoff_to else None
        self._routes: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/voice": ("POST", self._voice),
            "/relay-ended": ("POST", self._relay_ended),
            "/after-dial": ("POST", self._after_dial),
            "/whisper": ("POST", self._whisper),
            "/relay": ("GET", self._no_socket),
            "/healthz": ("GET", self._healthz),
        }

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents that can answer, by name."""
        return self._roster.agents

    def take_texts(self, texting: Texts, delivery: Statuses) -> None:
        """Take text messages and their status callbacks too, and give them to these."""

        async def sms(request: Request) -> Response:
            form = self._signed_form(request)
            self._checked(f"sms:{form.get('MessageSid', '')}")
            return await self._stored(texting.take(form))

        async def status(request: Request) -> Response:
            form = self._signed_form(request)
            sid = form.get("MessageSid") or form.get("SmsSid", "")
            state = form.get("MessageStatus") or form.get("SmsStatus", "")
            return await self._stored(delivery.status(sid, state, form.get("ErrorCode", "")))

        self._routes |= {"/sms": ("POST", sms), "/status": ("POST", status)}

    async def _stored(self, work: Awaitable[object]) -> Response:
        """Answer once it is stored; if it cannot be, the carrier should come again."""
        try:
            await work
        except StoreError as error:
            raise RequestRefused(f"cannot be stored: {error}", 503) from error
        return _xml()

    async def bind_text(self, caller: Caller) -> tuple[Agent, str]:
        """Give the agent that answers a caller's text, and its rendered instructions."""
        await self._roster.refresh()
        agent = await self._current(caller.agent)
        return agent, str(self._binding(agent, caller)["instructions"])

    async def choose(self, call_id: str, name: str, number: str) -> None:
        """Bind a call that is about to come to an agent, whoever else takes that caller's calls.

        Raises:
            StoreError: it cannot be stored.
        """
        caller = await Caller.load(self._store, number)
        await self._bind(self._checked(call_id), await self._current(name), caller)

    # HTTP

    async def answer(self, request: Request) -> Response:
        """Answer a request; never raises for anything a request may hold."""
        route = self._routes.get(request.path)
        if route is None:
            return Response(404, b"not found\n")
        method, handler = route
        if request.method != method:
            return Response(405, f"use {method}\n".encode())
        try:
            return await handler(request)
        except RequestRefused as refusal:
            _log.warning("%s refused: %s", request.path, refusal)
            return Response(refusal.status, f"{refusal}\n".encode())

    async def _healthz(self, _: Request) -> Response:
        return Response(200, b'{"status":"ok"}\n', "application/json")

    async def _no_socket(self, _: Request) -> Response:
        return Response(426, b"this is a WebSocket\n")

    async def _voice(self, request: Request) -> Response:
        form = self._signed_form(request)
        call_id = self._checked(form.get("CallSid", ""))
        number = _other_side(form)
        try:
            caller, _ = await asyncio.gather(
                Caller.load(self._store, number), self._roster.refresh()
            )
            agent = await self._current(caller.agent)
            head = await self._bind(call_id, agent, caller)
            if head["agent"] != agent.name:
                agent = await self._current(str(head["agent"]))
            return _xml(self._connect(agent, head))
        except RequestRefused:
            raise
        except Exception as error:  # noqa: BLE001 - an error status is a dead line to the caller
            _log.error("call %s cannot be taken: %s", call_id, traced(error))
            return _xml(twiml.say(_TROUBLE), twiml.hangup())

    def _find(self, name: str) -> Agent:
        agent = self.agents.get(name) or self._roster.fallback
        if agent is None:
            raise AgentError("there is no agent; deploy one")
        return agent

    async def _current(self, name: str) -> Agent:
        """Give the agent of this name, else the one for everybody, as it is defined now."""
        return await self._definitions.current(self._find(name))

    def _connect(self, agent: Agent, head: Item) -> Element:
        """Give the verb that connects the call to the relay."""
        return twiml.relay(
            self.settings.relay_url,
            action=self._url("/relay-ended"),
            attributes=agent.relay_attributes,
            languages=agent.languages,
            parameters={"token": head["token"]},
            greeting=head["greeting"],
        )

    def _binding(self, agent: Agent, caller: Caller) -> Item:
        """Give what is bound to a call before its socket opens."""
        at = self._now()
        local = datetime.fromtimestamp(at, zoneinfo.ZoneInfo(agent.time_zone))
        others = [other.listing for other in self.agents.values() if other.name != agent.name]
        texts = agent.render(caller, local, others)
        return {
            "status": "ringing",
            "agent": agent.name,
            "caller": caller.number,
            "instructions": texts.instructions,
            "greeting": texts.greeting,
            "token": secrets.token_urlsafe(24),
            "token_until": int(at) + TOKEN_LIVES_S,
            "expires_at": self.expires_at(),
        }

    async def _bind(self, call_id: str, agent: Agent, caller: Caller) -> Item:
        """Store what belongs to the call; the carrier's retry gets the same again.

        Raises:
            RequestRefused: the call has been let in before: this is a replay.
        """
        pk = keys.call(call_id)
        head = {"pk": pk, "sk": keys.HEAD, **self._binding(agent, caller)}
        try:
            await self._store.write(Put(head, Missing()))
        except ConditionFailed:
            bound = await self._store.get(pk, keys.HEAD)
            if bound is None or bound.get("status") != "ringing":
                raise RequestRefused("this call was answered before", 409) from None
            return bound
        return head

    async def _rebind(self, head: Item, agent: Agent, note: str, greeting: str = "") -> Element:
        """Bind a call that goes on to an agent, and give the verb that connects it again."""
        caller = await Caller.load(self._store, str(head.get("caller", "")))
        agent = await self._definitions.current(agent)
        carried = _carried(head)
        dialogue = (*carried.dialogue, Message("user", note))
        binding = self._binding(agent, caller) | {
            "carried": msgspec.json.encode(
                msgspec.structs.replace(carried, dialogue=dialogue)
            ).decode()
        }
        if greeting:
            binding["greeting"] = greeting
        when = Equals("status", "ended")
        bound = await self._store.update(Update(head["pk"], keys.HEAD, set=binding, when=when))
        return self._connect(agent, bound)

    async def _relay_ended(self, request: Request) -> Response:
        form = self._signed_form(request)
        call_id = self._checked(form.get("CallSid", ""))
        status = form.get("SessionStatus", "")
        if status not in ("completed", "ended", "failed"):
            raise RequestRefused(f"no SessionStatus we know: {status[:40]!r}", 400)
        if status == "failed":
            _log.warning("call %s: session failed: %s", call_id, form.get("ErrorCode", "")[:10])
        handoff = read_handoff(form.get("HandoffData", ""))
        head: Item = {"pk": keys.call(call_id), "agent": ""}
        await self._roster.refresh()
        try:
            head = await self._end_session(call_id, form.get("SessionId", ""), handoff)
            return _xml(*await self._after(head, status, handoff))
        except ConditionFailed:
            raise RequestRefused("no such session", 404) from None
        except Exception as error:  # noqa: BLE001 - an error status is a dead line to the caller
            _log.error("call %s: its end could not be handled: %s", call_id, traced(error))
            return _xml(*ending_verbs(status, handoff))

    async def _end_session(self, call_id: str, session: str, handoff: Handoff) -> Item:
        """Note that a session has ended: once, so that a replay cannot go on with the call."""
        pk = keys.call(call_id)
        head = await self._store.get(pk, keys.HEAD)
        if head is None:
            raise ConditionFailed("no such call")
        sessions = list(head.get("ended_sessions", ()))
        if head.get("status") == "ended" or session in sessions:
            return head | {"repeated": True}
        ended = {
            "status": "ended",
            "ended_sessions": [*sessions, session[:100]],
            "summary": handoff.summary,
            "reason": handoff.reason,
        }
        when = Equals("status", head["status"])
        return await self._store.update(
            Update(pk, keys.HEAD, set=ended, remove=("token",), when=when)
        )

    async def _after(self, head: Item, status: str, handoff: Handoff) -> list[Element]:
        """Tell the carrier what comes after the session."""
        next_agent = self.agents.get(handoff.agent)
        goes_on = status == "ended" and not head.get("repeated")
        if goes_on and handoff.reason_code == "agent-transfer" and next_agent is not None:
            before = self._find(str(head.get("agent"))).listing.title
            return [await self._rebind(head, next_agent, _TAKEN_OVER.format(before))]
        if self._person is not None and (status == "failed" or (goes_on and handoff.to_person)):
            task = {"call": head["pk"].removeprefix("CALL#"), "caller": str(head.get("caller", ""))}
            task |= {"reason": handoff.reason or handoff.reason_code, "summary": handoff.summary}
            return person_verbs(
                self._person,
                self.settings.twilio_account_sid,
                task,
                action=self._url("/after-dial"),
                whisper=self._url("/whisper") if handoff.summary else "",
            )
        return ending_verbs(status, handoff)

    async def _after_dial(self, request: Request) -> Response:
        """Take a caller back whom nobody answered."""
        form = self._signed_form(request)
        call_id = self._checked(form.get("CallSid", ""))
        if form.get("DialCallStatus") == "completed":
            return _xml(twiml.hangup())
        ending = ending_verbs("ended", Handoff("live-agent-handoff"))
        await self._roster.refresh()
        try:
            head = await self._store.get(keys.call(call_id), keys.HEAD)
            agent = self.agents.get(str(head.get("agent"))) if head else None
            if head is None or agent is None or "carried" not in head:
                return _xml(*ending)
            return _xml(await self._rebind(head, agent, _CAME_BACK, _NOBODY_ANSWERED))
        except ConditionFailed:
            raise RequestRefused("the call has gone on already", 409) from None
        except Exception as error:  # noqa: BLE001 - an error status is a dead line to the caller
            _log.error("call %s cannot be taken back: %s", call_id, traced(error))
            return _xml(*ending)

    async def _whisper(self, request: Request) -> Response:
        """Tell whoever answers what the call is about; the dialled leg names its parent call."""
        form = self._signed_form(request)
        call_id = self._checked(form.get("ParentCallSid", ""))
        try:
            head = await self._store.get(keys.call(call_id), keys.HEAD) or {}
        except StoreError as error:
            _log.error("call %s: no summary for the colleague: %s", call_id, error)
            head = {}
        return _xml(*whisper_verbs(head))

    def _url(self, path: str) -> str:
        return f"{self.settings.base_url}{path}"

    def _signed_form(self, request: Request) -> Form:
        """Read a webhook's form and check its signature.

        Raises:
            RequestRefused: it is no form (400, 413), or not signed by the carrier (403).
        """
        if len(request.body) > MAX_BODY_BYTES:
            raise RequestRefused("the body is too large", 413)
        try:
            fields = parse_qsl(
                request.body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=bool(request.body),
                errors="strict",
                max_num_fields=MAX_FORM_FIELDS,
            )
        except ValueError:
            raise RequestRefused("the body is no form", 400) from None
        url = f"{self.settings.base_url}{request.path}"
        if request.query:
            url += f"?{request.query}"
        signature = request.headers.get(twilio.SIGNATURE_HEADER.lower())
        tokens = self.settings.auth_tokens
        if not self.settings.accept_unsigned and not twilio.verify_http(
            tokens, url, fields, signature
        ):
            raise RequestRefused("the signature is missing or wrong")
        form = dict(fields)
        ours = self.settings.twilio_account_sid
        if ours and form.get("AccountSid") != ours:
            raise RequestRefused("of another account")
        return form

    def _checked(self, call_id: str) -> str:
        try:
            keys.call(call_id)
        except StoreError:
            raise RequestRefused("no usable CallSid", 400) from None
        return call_id

    # The relay

    def check_handshake(self, headers: Mapping[str, str]) -> None:
        """Check a WebSocket's handshake; headers by lower-case name.

        Raises:
            RequestRefused: it is not signed by the carrier.
        """
        signature = headers.get(twilio.SIGNATURE_HEADER.lower())
        if not self.settings.accept_unsigned and not twilio.verify_handshake(
            self.settings.auth_tokens, self.settings.relay_url, signature
        ):
            raise RequestRefused("the signature is missing or wrong")

    async def admit(self, frame: frames.InboundFrame) -> Admission:
        """Let a call in by its first frame; its token works once.

        Raises:
            RequestRefused: no `setup`, or not one that `/voice` has prepared.
        """
        if not isinstance(frame, frames.Setup):
            raise RequestRefused("the first frame must be setup")
        parameters = dict(frame.custom_parameters)
        await self._roster.refresh()
        try:
            head = await self._take_token(frame, parameters.pop("token", ""))
            caller = await Caller.load(self._store, str(head.get("caller", "")))
        except ConditionFailed:
            raise RequestRefused("the token was used before") from None
        except StoreError as error:
            # Why is for our log: the reason of a refusal goes out to whoever knocked.
            _log.error("call %s cannot be let in: %s", frame.call_sid[:60], error)
            raise RequestRefused("the call cannot be let in", 503) from error
        agent = self.agents.get(str(head.get("agent")))
        if agent is None:
            raise RequestRefused(f"no agent {head.get('agent')!r} here", 503)
        return Admission(
            await self._definitions.current(agent),
            caller,
            str(head.get("instructions", "")),
            str(head.get("greeting", "")),
            msgspec.structs.replace(frame, custom_parameters=parameters),
            _carried(head) if "carried" in head else None,
        )

    async def _take_token(self, frame: frames.Setup, token: str) -> Item:
        pk = keys.call(self._checked(frame.call_sid))
        head = await self._store.get(pk, keys.HEAD) or {}
        expected = str(head.get("token", ""))
        if not expected or not hmac.compare_digest(
            expected.encode(), token.encode(errors="replace")
        ):
            raise RequestRefused("the token is not of this call")
        if int(head.get("token_until", 0)) < self._now():
            raise RequestRefused("the token has expired")
        ours = self.settings.twilio_account_sid
        if ours and frame.account_sid != ours:
            raise RequestRefused("of another account")
        return await self._store.update(
            Update(
                pk,
                keys.HEAD,
                set={"status": "talking", "session": frame.session_id[:100]},
                remove=("token", "token_until"),
                when=(Equals("token", expected), Equals("status", "ringing")),
            )
        )

    def expires_at(self) -> int:
        """When records made now may be forgotten, epoch seconds."""
        return int(self._now()) + self.settings.retention_days * 86_400


def _other_side(form: Form) -> str:
    """Give the number we talk to: on calls that we placed it is the called one."""
    outbound = form.get("Direction", "").startswith("outbound")
    return form.get("To" if outbound else "From", "")


def _carried(head: Item) -> Carried:
    """Read what the session before left for this one; nothing, if it is damaged."""
    try:
        return msgspec.json.decode(str(head.get("carried", "")), type=Carried)
    except msgspec.MsgspecError:
        return Carried()


def _xml(*verbs: Element) -> Response:
    return Response(200, twiml.response(*verbs), twiml.CONTENT_TYPE)
