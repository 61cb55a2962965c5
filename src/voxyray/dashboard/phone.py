"""The browser phone: a page that talks to an agent, with no carrier and no account.

The page is ear and mouth only. The twin plays the carrier here, on the server, and calls this very
service; over a WebSocket of our own the page says what was heard, typed and pressed and how far
its voice has come, and is told what to speak and what to show. docs/phone.md lists the messages.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec

from voxyray import journal
from voxyray.dashboard import wording
from voxyray.dashboard.exchange import HouseCarrier
from voxyray.dashboard.site import ROOT, Visit
from voxyray.errors import VoxyrayError
from voxyray.feed import Watch
from voxyray.journal import Entry
from voxyray.reception import Request, Response
from voxyray.runner import Line
from voxyray.service import Service
from voxyray.tracebacks import traced
from voxyray.twin import CallRecord, Phone, record
from voxyray.twin.browser import TIMING, Cue, LiveCaller, RemoteSpeech
from voxyray.waterfall import TurnView, turns

_log = logging.getLogger(__name__)

SOCKET_PATH: Final = f"{ROOT}/phone/socket"
MAX_MESSAGE_BYTES: Final = 16 * 1024
NUMBER: Final = "+15550100001"  # the one that `voxyray call` comes from
_WITHHELD: Final = "anonymous"
_IS_NUMBER: Final = re.compile(r"\+\d{5,15}")
_MOST_CHARS: Final = 2000  # of one utterance
_FIRST_WITHIN_S: Final = 10.0
_A_DAY_S: Final = 86_400.0
_TOGETHER_S: Final = 0.1  # journal entries that come within it make one picture
_LOOK_EVERY_S: Final = 5.0
_TURNS_BEFORE: Final = 2  # that the picture of a turn may rest on

Receive: TypeAlias = Callable[[], Awaitable[str | None]]


# What the page says


class _Said(msgspec.Struct, frozen=True, tag_field="do", forbid_unknown_fields=True):
    pass


class Dial(_Said, frozen=True, tag="dial"):
    """Place the call; an empty agent is whoever takes this number's calls."""

    agent: str = ""
    number: str = ""


class Words(_Said, frozen=True, tag="words"):
    """All words of an utterance so far; lang: the tag they were recognised in."""

    text: str
    last: bool
    lang: str = ""


class Noise(_Said, frozen=True, tag="noise"):
    """The caller begins or ceases to type: they are there, though nothing is said yet."""

    on: bool


class Silence(_Said, frozen=True, tag="silence"):
    """What sounded like words came to nothing."""


class CutIn(_Said, frozen=True, tag="cut_in"):
    """Silence the agent without a word."""


class Key(_Said, frozen=True, tag="key"):
    """A key was pressed."""

    key: str


class Started(_Said, frozen=True, tag="started"):
    """A piece can be heard."""

    piece: int


class Reached(_Said, frozen=True, tag="reached"):
    """So many characters of a piece were spoken."""

    piece: int
    chars: int


class Ended(_Said, frozen=True, tag="ended"):
    """A piece was spoken to its end."""

    piece: int


class HangUp(_Said, frozen=True, tag="hang_up"):
    """End the call."""


_FromPage: TypeAlias = (
    Dial | Words | Noise | Silence | CutIn | Key | Started | Reached | Ended | HangUp
)


# What the page is told, besides the cues of `twin.browser`


class _Told(msgspec.Struct, frozen=True, tag_field="do"):
    pass


class Ringing(_Told, frozen=True, tag="ringing"):
    """The call was placed under this id."""

    call: str


class Answered(_Told, frozen=True, tag="answered"):
    """An agent has the call; lang is the language that the caller is heard in."""

    agent: str
    title: str
    lang: str
    again: bool


class Language(_Told, frozen=True, tag="language"):
    """The caller is heard in another language from now on."""

    lang: str


class Caller(_Told, frozen=True, tag="caller"):
    """A transcript went to the agent."""

    text: str
    last: bool


class Pressed(_Told, frozen=True, tag="pressed"):
    """A key went to the agent."""

    key: str


class Interrupted(_Told, frozen=True, tag="interrupted"):
    """The agent was cut, and with it all that waited to be spoken."""

    by: str


class Announced(_Told, frozen=True, tag="announced"):
    """The carrier itself says something, outside of any session."""

    text: str


class Note(_Told, frozen=True, tag="note"):
    """Something to know; grave: it went wrong."""

    text: str
    grave: bool = False


class BarTold(msgspec.Struct, frozen=True):
    """A part of a waterfall; ms is None if it is unknown, detail tells why."""

    kind: str
    label: str
    at_ms: float
    ms: float | None
    detail: str


class TurnTold(_Told, frozen=True, tag="turn"):
    """A turn as the journal has it by now; told again whenever it changes.

    begins: what began it, if not words. cut and cut_by: how the reply was stopped, empty if it was
    not. culprit: the label of the largest part. All else is as in `TurnView`.
    """

    number: int
    cause: str
    caller: str
    begins: str
    said: str
    heard: str
    cut: str
    cut_by: str
    gap_ms: float | None
    audible_ms: float | None
    bars: list[BarTold]
    culprit: str
    culprit_ms: float | None
    tools: list[str]
    model: str


class Over(_Told, frozen=True, tag="over"):
    """The call is over."""

    why: str
    grave: bool = False


_decoder = msgspec.json.Decoder(_FromPage)
_encoder = msgspec.json.Encoder()


async def page(visit: Visit) -> Response:
    """Show the phone."""
    agents = visit.service.reception.agents.values()
    default_first = sorted(agents, key=lambda agent: agent.name != "default")
    return visit.page(
        "phone.html",
        agents=[agent.listing for agent in default_first],
        chosen=visit.query.get("agent", ""),
        number=NUMBER,
        offline=any(model.name == "offline" for model in visit.service.models.values()),
    )


def is_allowed(service: Service, request: Request) -> bool:
    """Tell whether a handshake may open the phone's socket."""
    # Whatever the version of HTTP: a page of another site must not call either.
    headers = {**request.headers, "upgrade": "websocket"}
    return service.dashboard.access.may_see(msgspec.structs.replace(request, headers=headers))


async def talk(service: Service, line: Line, receive: Receive) -> None:
    """Carry one call of a page, from its first message to the end; hosts call it.

    receive: waits for a text message; None once the page has gone.
    """
    try:
        first = _decode(await asyncio.wait_for(receive(), _FIRST_WITHIN_S))
    except TimeoutError:
        first = None
    if isinstance(first, Dial):
        await _Conversation(service, line, receive).run(first)
    line.close()


class _Conversation:
    """One call of one page."""

    def __init__(self, service: Service, line: Line, receive: Receive) -> None:
        self._service = service
        self._line = line
        self._receive = receive
        self._call_id = "CA" + secrets.token_hex(16)
        self._entries: dict[tuple[int, int], Entry] = {}
        self._phone: Phone | None = None
        self._numbers = itertools.count(1)
        self._turns_told: dict[int, TurnTold] = {}
        self._lang = ""
        self._from: int | None = None  # the first turn that may have changed

    async def run(self, dial: Dial) -> None:
        """Place the call, and tell the page how it ended."""
        number = dial.number.strip()
        if number and not _IS_NUMBER.fullmatch(number):
            self._tell(Over("A number begins with + and the country, such as +15550100001.", True))
            return
        try:
            if dial.agent:
                await self._service.reception.choose(self._call_id, dial.agent, number)
            self._tell(Ringing(self._call_id))
            self._tell(await self._carry(number or _WITHHELD))
        except VoxyrayError as error:
            self._tell(Over(str(error), True))
        except Exception as error:  # noqa: BLE001 - a page that hears nothing waits for ever
            _log.error("a call of the browser phone failed: %s", traced(error))
            self._tell(Over("Something went wrong on the server; its log says what.", True))

    async def _carry(self, number: str) -> Over:
        carrier = HouseCarrier(self._service)
        carrier.manners = msgspec.structs.replace(
            carrier.manners,
            timing=TIMING,
            speech=lambda timing: RemoteSpeech(timing, self._tell, self._numbers),
        )
        with self._service.feed.watch(self._call_id) as watch:
            following = asyncio.create_task(self._follow(watch), name="browser phone's journal")
            try:
                record_ = await carrier.call(
                    self._script, from_=number, call_sid=self._call_id, on_event=self._on_event
                )
                await carrier.settle()
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            self._take(await watch.take(0) or [])
            self._show_turns()
        return _over(record_)

    async def _script(self, phone: Phone) -> None:
        """Be the caller until somebody hangs up, or the page is closed."""
        self._phone = phone
        reading = asyncio.create_task(self._read(LiveCaller(phone)), name="browser phone's page")
        over = asyncio.create_task(phone.wait_for_end(timeout_s=_A_DAY_S))
        try:
            await asyncio.wait((reading, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, over):
                task.cancel()
            await asyncio.gather(reading, over, return_exceptions=True)
        if not reading.cancelled() and (error := reading.exception()) is not None:
            raise error

    async def _read(self, caller: LiveCaller) -> None:
        while (text := await self._receive()) is not None:
            match _decode(text):
                case HangUp():
                    return
                case Words() | Noise() | Silence() | CutIn() | Key() as act:
                    self._act(caller, act)
                case Started() | Reached() | Ended() as report:
                    self._report(report)

    def _act(self, caller: LiveCaller, act: Words | Noise | Silence | CutIn | Key) -> None:
        listening = True
        match act:
            case Words():
                text = " ".join(act.text.split())[:_MOST_CHARS]
                listening = caller.hear(text, last=act.last, lang=act.lang)
            case Noise():
                caller.noise(on=act.on)
            case Silence():
                caller.give_up()
            case CutIn():
                if not caller.cut_in():
                    self._tell(Note("There is nothing to cut in on, or it may not be cut."))
            case Key() if act.key in tuple("0123456789*#"):
                listening = caller.press(act.key)
        if not listening:
            self._tell(Note("Nobody is listening at this moment."))

    def _report(self, report: Started | Reached | Ended) -> None:
        relay = self._phone.relay if self._phone is not None else None
        if relay is None or not isinstance(relay.speech, RemoteSpeech):
            return
        match report:
            case Started():
                relay.report(relay.speech.started(report.piece, relay.now_ms))
            case Reached():
                relay.speech.reached(report.piece, report.chars)
            case Ended():
                relay.report(relay.speech.ended(report.piece, relay.now_ms))

    # What the page sees

    def _tell(self, told: _Told | Cue) -> None:
        self._line.send(_encoder.encode(told))

    def _on_event(self, event: record.Event) -> None:
        match event:
            case record.CallerSaid():
                self._tell(Caller(event.text, event.last))
            case record.KeyPressed():
                self._tell(Pressed(event.digit))
            case record.Interrupted():
                self._tell(Interrupted(event.by))
            case record.VerbRun(verb="Say"):
                self._tell(Announced(event.detail))
            case record.VerbRun(verb="Dial" | "Enqueue"):
                self._tell(Note("The carrier would now put you through to a person."))
            case record.Complained():
                self._tell(Note(_complaint(event), grave=bool(event.code)))

    async def _follow(self, watch: Watch) -> None:
        """Show each turn as soon as the journal has something new of it."""
        while True:
            self._take(await watch.take(_LOOK_EVERY_S) or [])
            self._show_turns()
            await asyncio.sleep(_TOGETHER_S)

    def _take(self, entries: list[Entry]) -> None:
        for entry in entries:
            if isinstance(entry.what, journal.CallStarted):
                self._tell(self._answered(entry.what.agent, again=bool(entry.turn)))
            self._entries[entry.turn, entry.seq] = entry
            before = entry.turn - 1  # what was heard of it may be told now
            self._from = before if self._from is None else min(self._from, before)
        relay = self._phone.relay if self._phone is not None else None
        if relay is not None and self._lang and self._lang != relay.transcription_language:
            self._lang = relay.transcription_language
            self._tell(Language(self._lang))

    def _answered(self, name: str, *, again: bool) -> Answered:
        agent = self._service.reception.agents.get(name)
        relay = self._phone.relay if self._phone is not None else None
        self._lang = relay.transcription_language if relay is not None else ""
        title = agent.listing.title if agent is not None else name
        return Answered(name, title, self._lang or "en-US", again)

    def _show_turns(self) -> None:
        if self._from is None:
            return
        first, self._from = self._from, None
        kept = [
            entry
            for entry in self._entries.values()
            if entry.turn >= first - _TURNS_BEFORE or isinstance(entry.what, journal.CallStarted)
        ]
        for view in turns(kept):
            told = _turn(view)
            if view.number >= first and self._turns_told.get(view.number) != told:
                self._turns_told[view.number] = told
                self._tell(told)


def _decode(text: str | None) -> _FromPage | None:
    try:
        return _decoder.decode(text) if text is not None else None
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None  # a page of another version; nothing it can say ends a call


def _turn(view: TurnView) -> TurnTold:
    spoke = view.cause in ("speech", "keys", "unknown")
    largest = view.culprit
    return TurnTold(
        view.number,
        view.cause,
        view.caller if spoke else "",
        "" if spoke else wording.begins(view),
        view.said,
        view.heard,
        wording.cut(view.cut) if view.cut is not None else "",
        view.cut.by if view.cut is not None else "",
        view.gap_ms,
        view.audible_ms,
        [
            BarTold(part.kind, part.label, part.at_ms, part.ms, part.detail)
            for part in view.parts
            if part.ms or part.ms is None
        ],
        largest.label if largest is not None else "",
        largest.ms if largest is not None else None,
        [tool.name for tool in view.tools],
        view.model,
    )


def _complaint(event: record.Complained) -> str:
    if not event.code:
        return f"The carrier would warn: {event.text}"
    return f"The carrier's error {event.code}: {event.text}"


def _over(record_: CallRecord) -> Over:
    """Say how the call ended."""
    ending = record_.ending
    if record_.errors and (ending is None or ending.status == "failed"):
        fault = record_.errors[-1]
        return Over(f"The call failed ({fault.code}): {fault.text}", grave=True)
    if record_.script_done and ending is not None and ending.status == "completed":
        return Over("You hung up.")
    return Over("The agent ended the call.")
