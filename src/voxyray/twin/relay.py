"""One relay session, from `setup` to the close: Twilio's side of the socket.

Everything that is said to the app leaves through one outbox, so that bursts keep the order in
which they were decided (2.7). What the caller does comes in through `hearing.py`.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

from voxyray.twin import record
from voxyray.twin.attributes import RelayAttributes
from voxyray.twin.pipe import Closed, Line
from voxyray.twin.record import Ending, FrameSeen, Recorder, Spoken
from voxyray.twin.settings import NO_ODDITIES, OBSERVED, Oddities, Timing
from voxyray.twin.speech import (
    CycleDone,
    Happening,
    Manner,
    Played,
    SpeakingOff,
    SpeakingOn,
    Speech,
)
from voxyray.twin.validate import check

CLOSING = "Closing websocket session"
MALFORMED_LIMIT = 10
ENDED = Ending("ended", 1000, CLOSING)
HUNG_UP = Ending("completed", 1000, CLOSING)
DROPPED = Ending("failed", 1006, "", None, 64105, "Websocket ended")
TOO_MANY = Ending(
    "failed", 1007, "Too many consecutive malformed messages", None, 64105, "Websocket ended"
)


class Identity(msgspec.Struct, frozen=True):
    """Who calls whom; call_type is `PSTN`, `SIP` or `CLIENT`."""

    call_sid: str = "CA00000000000000000000000000000000"
    account_sid: str = "AC00000000000000000000000000000000"
    from_: str = "+15550100001"
    to: str = "+15550100000"
    forwarded_from: str = ""
    caller_name: str = ""
    call_type: str = "PSTN"
    direction: str = "inbound"


class Manners(msgspec.Struct, frozen=True):
    """How a simulated carrier behaves.

    seed: of what is left to chance. speech: makes the text-to-speech of a session.
    """

    timing: Timing = OBSERVED
    oddities: Oddities = NO_ODDITIES
    seed: int = 0
    speech: Callable[[Timing], Speech] = Speech


class Bell:
    """Wakes everybody who waits for something to change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait for a ring, or until the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return


def allows(setting: str, by: str) -> bool:
    """Tell whether a setting of `none`, `dtmf`, `speech` or `any` covers a kind of input."""
    return setting in ("any", by)


class Relay:
    """A session over a line; `run` carries it to its end, the rest is called while it runs.

    turn_cycle: the newest talk cycle when the caller last did something; cycles after it are the
    reply.
    """

    def __init__(
        self,
        line: Line,
        attributes: RelayAttributes,
        *,
        recorder: Recorder,
        identity: Identity,
        session_id: str,
        bell: Bell,
        manners: Manners,
    ) -> None:
        self.attributes = attributes
        self.recorder = recorder
        self.timing = manners.timing
        self.oddities = manners.oddities
        self.rng = random.Random(manners.seed)
        self.speech = manners.speech(manners.timing)
        self.session_id = session_id
        self.tts_language = attributes.tts_language
        self.transcription_language = attributes.transcription_language
        self.caller_talks = False
        self.turn_cycle = 0
        self.done_cycle = 0
        self.over = False
        self._reply: list[str] = []
        self._reply_started_ms: float | None = None
        self._line = line
        self._identity = identity
        self._bell = bell
        self._loop = asyncio.get_running_loop()
        self._number = len(recorder.sessions)
        self._outbox: asyncio.Queue[str | Closed] = asyncio.Queue()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ending: Ending | None = None
        self._wants_end: Ending | None = None
        self._malformed = 0
        self._interrupts = 0

    # -- from setup to close ------------------------------------------------------------------

    async def run(self) -> Ending:
        """Carry the session from `setup` to its end."""
        opened_ms = self.recorder.now_ms
        self._open()
        writing = asyncio.create_task(self._write(), name="twin relay writer")
        try:
            while not isinstance(got := await self._line.receive(), Closed):
                self._take(got)
            ending = self._ending or msgspec.structs.replace(
                DROPPED, close_code=got.code, close_reason=got.reason
            )
        finally:
            self.finish(DROPPED)
            self._stop()
            await writing
        if ending.error_code is not None:
            self.recorder.fail(ending.error_code, ending.error_message)
        self.recorder.close(self.session_id, opened_ms, ending)
        self._bell.ring()
        return ending

    def finish(self, ending: Ending) -> None:
        """Close the socket, unless that is happening already."""
        if self._ending is None:
            self._ending = ending
            self._outbox.put_nowait(Closed(ending.close_code, ending.close_reason))
            self._bell.ring()

    def _open(self) -> None:
        self._emit(self._setup())
        self.recorder.tell(record.SessionOpened(self.recorder.now_ms, self.session_id))
        if "debugging" in self.attributes.events:
            self.info("roundTripDelayMs", f"{self.timing.round_trip_ms:.0f}")
        if self.oddities.unknown_frames:
            self._emit({"type": "weather", "outlook": {"today": ["rain", 7]}})
        if self.attributes.welcome_greeting:
            self._at("greeting", self.now_ms + self.timing.greeting_ms, self._greet)

    def _setup(self) -> dict[str, Any]:
        who = self._identity
        frame: dict[str, Any] = {
            "type": "setup",
            "sessionId": self.session_id,
            "accountSid": who.account_sid,
            "parentCallSid": "",
            "callSid": who.call_sid,
            "from": who.from_,
            "to": who.to,
            "forwardedFrom": who.forwarded_from,
            "callType": who.call_type,
            "callerName": who.caller_name,
            "direction": who.direction,
            "callStatus": "IN_PROGRESS" if self._number else "RINGING",
            "customParameters": dict(self.attributes.parameters),
        }
        optional = ("parentCallSid", "forwardedFrom", "callerName", "callType")
        if self.oddities.omitted_fields:
            hidden = optional if frame["customParameters"] else (*optional, "customParameters")
            return {name: value for name, value in frame.items() if name not in hidden}
        if self.oddities.null_fields:
            return frame | dict.fromkeys(optional)
        return frame

    def _greet(self) -> None:
        setting = self.attributes.welcome_greeting_interruptible
        manner = Manner(setting, False, self.tts_language, "greeting")
        text = self.attributes.welcome_greeting
        self._drive(self.speech.text(text, last=True, now_ms=self.now_ms, manner=manner))

    async def _write(self) -> None:
        gone = False
        while not isinstance(item := await self._outbox.get(), Closed):
            try:
                if not gone:
                    await self._line.send(item)
            except ConnectionResetError:
                gone = True  # the reader learns of it too, and of how
        await self._line.close(item.code, item.reason)

    def _stop(self) -> None:
        self.over = True
        for timer in self._timers.values():
            timer.cancel()
        cut, happened = self.speech.purge(self.now_ms)
        for each in [*happened, *([cut] if cut else [])]:
            self._note(each)
        self._bell.ring()

    # -- what the app sends -------------------------------------------------------------------

    def _take(self, raw: str) -> None:
        verdict = check(raw)
        seen = FrameSeen(self.now_ms, "from_app", self._number, str(raw), verdict.frame)
        self.recorder.frames.append(seen)
        if self._ending is not None:
            return
        for doubt in verdict.doubts:
            self.recorder.warn(doubt)
        frame = verdict.frame or {}
        problem = verdict.problem
        if not problem and self._wants_end is not None and frame["type"] == "end":
            problem = "end was sent already"
        if problem:
            self._refuse(raw, problem)
        elif self._wants_end is not None:
            self.recorder.warn(f"a {frame['type']} frame came after end")
        else:
            self._malformed = 0
            self._obey(frame)

    def _refuse(self, raw: str, problem: str) -> None:
        self.recorder.fail(64107, f"{problem}: {raw[:200]}")
        text = f"Invalid message received, code: 64107, {raw}"
        self._emit({"type": "error", "description": text})
        self._malformed += 1
        if self._malformed >= MALFORMED_LIMIT:
            self.finish(TOO_MANY)

    def _obey(self, frame: dict[str, Any]) -> None:
        now_ms = self.now_ms
        match frame["type"]:
            case "text":
                token, last = frame["token"], frame.get("last") or False
                self.recorder.tell(record.AgentToken(now_ms, token, last))
                manner = self._manner(frame, "text")
                self._drive(self.speech.text(token, last=last, now_ms=now_ms, manner=manner))
            case "play":
                loop = 1 if frame.get("loop") is None else frame["loop"]
                manner = self._manner(frame, "play")
                source = frame["source"]
                self._drive(self.speech.play(source, loop=loop, now_ms=now_ms, manner=manner))
            case "sendDigits":
                talks = self.caller_talks
                digits = frame["digits"]
                self._drive(self.speech.digits(digits, now_ms=now_ms, caller_talks=talks))
            case "language":
                self._switch(frame)
            case "end":
                handoff = frame.get("handoffData")
                self._wants_end = msgspec.structs.replace(ENDED, handoff_data=handoff)
                self._drive(self.speech.close_cycle(now_ms))

    def _manner(self, frame: dict[str, Any], source: str) -> Manner:
        wanted = frame.get("interruptible")
        setting = self.attributes.interruptible
        if wanted is not None:
            setting = "any" if wanted else "none"
        preemptible = frame.get("preemptible")
        if preemptible is None:
            preemptible = self.attributes.preemptible
        lang = frame.get("lang") or self.tts_language
        self._check_language(lang, self.tts_language)
        return Manner(setting, preemptible, lang, source)

    def _switch(self, frame: dict[str, Any]) -> None:
        for name in ("ttsLanguage", "transcriptionLanguage"):
            if frame.get(name):
                self._check_language(frame[name], "")
        self.tts_language = frame.get("ttsLanguage") or self.tts_language
        self.transcription_language = (
            frame.get("transcriptionLanguage") or self.transcription_language
        )

    def _check_language(self, code: str, active: str) -> None:
        declared = {language.code for language in self.attributes.languages}
        own = {self.attributes.tts_language, self.attributes.transcription_language, "multi"}
        if code != active and code not in declared | own and "multi" not in own - {"multi"}:
            self.recorder.warn(f"language {code!r} is declared by no <Language>")

    # -- what is played -----------------------------------------------------------------------

    @property
    def now_ms(self) -> float:
        """Milliseconds since the call started."""
        return self.recorder.now_ms

    @property
    def reply_done(self) -> bool:
        """Whether a reply to the caller's last input was closed and played to its end."""
        return self.done_cycle > self.turn_cycle and self.speech.idle

    @property
    def heard(self) -> str:
        """What was played since the caller's last input, to the last whole word."""
        return "".join(self._reply) + self.speech.heard_now(self.now_ms)

    @property
    def heard_ms(self) -> float:
        """For how long the reply to the caller's last input has been audible."""
        return 0 if self._reply_started_ms is None else self.now_ms - self._reply_started_ms

    def new_turn(self) -> None:
        """Note that the caller did something: what is said from now on is the reply."""
        self.turn_cycle = max(self.done_cycle, self.speech.cycle)
        self._reply.clear()
        self._reply_started_ms = self.now_ms if self.speech.speaking else None

    def barge_in(self, by: str, then: Callable[[], None] | None = None) -> bool:
        """Cut the agent if it may be cut; `then` runs right before it is said to be silent."""
        happened = self.speech.advance(self.now_ms)
        self._drive(happened)
        cuts = self.speech.busy and allows(self.speech.interruptible, by)
        if cuts:
            was_speaking = self.speech.speaking
            cut, _ = self.speech.purge(self.now_ms)
            self._drive([])
            if cut is not None:
                self._note(cut)
            self._interrupt(cut, by)
        elif by == "speech" and self.oddities.idle_interrupt and not self.speech.busy:
            self._interrupt(None, by)
        if then is not None:
            then()
        if cuts:
            if was_speaking:
                self._speaker("agentSpeaking", "off")
            self.new_turn()
            self._settle_end()
        return cuts

    def _interrupt(self, cut: Played | None, by: str) -> None:
        heard = cut.heard if cut is not None and cut.piece.kind == "text" else ""
        length_ms = round(cut.at_ms - cut.started_ms) if cut is not None else 0
        self._interrupts += 1
        every = self.oddities.text_duration_every
        as_text = every > 0 and self._interrupts % every == 0
        frame: dict[str, Any] = {
            "type": "interrupt",
            "utteranceUntilInterrupt": "" if self.oddities.silent_fragment else heard.strip(),
            "durationUntilInterruptMs": str(length_ms) if as_text else length_ms,
        }
        if self.oddities.omitted_fields:
            del frame["durationUntilInterruptMs"]
        self._emit(frame)
        self.recorder.tell(record.Interrupted(self.now_ms, heard, by))

    def report(self, happened: list[Happening]) -> None:
        """Take what somebody who plays the speech reports."""
        self._drive(happened + self.speech.advance(self.now_ms))

    def _drive(self, happened: list[Happening]) -> None:
        for each in happened:
            self._note(each)
        due_ms = self.speech.next_ms()
        if due_ms is None:
            if (timer := self._timers.pop("speech", None)) is not None:
                timer.cancel()
        else:
            # Rounding may wake us a hair early: what was due counts as due.
            self._at("speech", due_ms, lambda: self._drive(self.speech.advance(due_ms)))
        self._settle_end()
        self._bell.ring()

    def _note(self, happening: Happening) -> None:
        match happening:
            case SpeakingOn():
                if self._reply_started_ms is None:
                    self._reply_started_ms = happening.at_ms
                self._speaker("agentSpeaking", "on")
            case SpeakingOff():
                self._speaker("agentSpeaking", "off")
            case CycleDone():
                self.done_cycle = happening.cycle
            case Played():
                self._note_played(happening)

    def _note_played(self, played: Played) -> None:
        piece = played.piece
        source = piece.manner.source if piece.kind == "text" else piece.kind
        times = (played.started_ms, played.at_ms)
        self.recorder.say(
            Spoken(*times, piece.text, played.heard, source, played.fate, self._number)
        )
        if piece.kind == "text":
            self._reply.append(played.heard)
        heard = piece.text if piece.kind == "digits" else played.heard
        if piece.kind != "play" and heard.strip() and "tokens-played" in self.attributes.events:
            self.info("tokensPlayed", heard.strip())

    def _settle_end(self) -> None:
        """Close once an `end` was asked for and everything was said."""
        if self._wants_end is not None and not self.speech.busy:
            ending = self._wants_end
            due_ms = self.now_ms + self.timing.end_to_close_ms
            if "end" not in self._timers:
                self._at("end", due_ms, lambda: self.finish(ending))

    # -- what the app is sent -----------------------------------------------------------------

    def client_speaking(self, value: str) -> None:
        """Note that the caller's voice starts (`on`) or stops (`off`)."""
        self.caller_talks = value == "on"
        self._speaker("clientSpeaking", value)

    def prompt(self, text: str, *, last: bool, lang: str) -> None:
        """Send a transcript."""
        frame: dict[str, Any] = {"type": "prompt", "voicePrompt": text, "lang": lang, "last": last}
        if self.oddities.omitted_fields:
            del frame["lang"]
            if last:
                del frame["last"]
        self._emit(frame)
        self.recorder.tell(record.CallerSaid(self.now_ms, text, last))

    def dtmf(self, digit: str) -> None:
        """Send a key."""
        self._emit({"type": "dtmf", "digit": digit})

    def info(self, name: str, value: str) -> None:
        """Send an event."""
        self._emit({"type": "info", "name": name, "value": value})

    def raw(self, text: str) -> None:
        """Send anything at all."""
        if self.over:
            return
        data = check(text).frame
        self.recorder.frames.append(FrameSeen(self.now_ms, "to_app", self._number, text, data))
        self._outbox.put_nowait(text)

    def _speaker(self, name: str, value: str) -> None:
        if "speaker-events" in self.attributes.events:
            self.info(name, value)

    def _emit(self, frame: dict[str, Any]) -> None:
        if self._ending is not None or self.over:
            return
        if self.oddities.extra_fields:
            frame = frame | {"novelty": {"since": 2027, "tags": ["a", None]}}
        text = json.dumps(frame, separators=(",", ":"), ensure_ascii=False)
        twice = self.oddities.duplicate_frames and frame["type"] != "setup"
        for _ in range(2 if twice else 1):
            self.raw(text)

    def _at(self, name: str, due_ms: float, action: Callable[[], None]) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
        delay_s = max(0.0, due_ms - self.now_ms) / 1000
        self._timers[name] = self._loop.call_later(delay_s, action)
