"""Redaction: a call with every word, number and name replaced, which still replays identically.

What came in is replaced (`masking` says how), and so are the agent's texts; then the call is run
with that, which makes all the rest anew. So nothing of the original can be left in what was
derived from it, and if the replaced call would not do the very same, there is no file.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

from voxyray import events, frames, journal
from voxyray.call import Call
from voxyray.callfile import CallFile, Session, Setup, new_call
from voxyray.errors import JournalError
from voxyray.events import Command, Event
from voxyray.history import Carried
from voxyray.journal import Entry
from voxyray.masked_arguments import masked_arguments
from voxyray.masking import Mask
from voxyray.models import Message, TextDelta, ToolCall
from voxyray.policy import Key, Policy
from voxyray.replay import SessionReplay
from voxyray.tool import Tool
from voxyray.tool_definitions import ToolDefinition

_TRIES: Final = 16
_DIGITS: Final = "0123456789"
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}|multi")
_PLACEHOLDER: Final = re.compile(r"(\{\{|\}\}|\{[^{}]*\})")
# What the carrier says in words of its own.
_CARRIER_WORDS: Final = frozenset(
    {
        *("PSTN", "SIP", "CLIENT", "inbound", "outbound", "outbound-api", "outbound-dial"),
        *("RINGING", "IN_PROGRESS", "QUEUED", "COMPLETED", "on", "off"),
        *("agentSpeaking", "clientSpeaking", "tokensPlayed", "roundTripDelayMs"),
    }
)
_KEPT_IN_HANDOFF: Final = ("reasonCode", "agent")


def redact(call: CallFile, secret: bytes | None = None) -> CallFile:
    """Give the call with everything that could tell who spoke, and of what, replaced.

    secret: for the placeholders; without it a new one, which nobody keeps.

    Raises:
        JournalError: it does not replay identically as it is, or not with placeholders.
    """
    best: tuple[int, CallFile] | None = None
    secret = secret or secrets.token_bytes(32)
    for number in range(_TRIES):
        mask = Mask(secret[:62] + number.to_bytes(2, "big"))
        made = _Redaction(mask).call(call)
        if best is None or mask.coincidences() < best[0]:
            best = mask.coincidences(), made
        if best[0] == 0:
            break
    if best is None:
        raise AssertionError("there was a first try")
    return best[1]


class _Redaction:
    """One try, with one mask."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._text = mask.text
        self._ids: dict[str, str] = {"": ""}
        self._keys: dict[str, str] = {}
        self._deltas: dict[int, list[str]] = {}
        self._tools: dict[str, Tool] = {}

    def call(self, call: CallFile) -> CallFile:
        sessions = tuple(
            self._session(call.call, session, number)
            for number, session in enumerate(call.sessions, 1)
        )
        return CallFile(self._text(call.call), sessions, redacted=True, voxyray=call.voxyray)

    def _session(self, call_id: str, session: Session, number: int) -> Session:
        setup = self._setup(session.setup)
        ours, theirs = new_call(self._text(call_id), setup), new_call(call_id, session.setup)
        self._tools = {tool.name: tool for tool in theirs.agent.tools}
        self._deltas = dict(self._masked_deltas(session))
        original = SessionReplay(theirs, session, number)
        entries: list[Entry] = []
        for step in original.steps():
            if original.difference is not None:
                break
            commands = ours.receive(self._event(step.input.event), step.input.at)
            _same_shape(step.commands, commands, ours)
            entries += [each.entry for each in commands if isinstance(each, events.Record)]
        if original.difference is not None:
            raise JournalError(
                "only a call that replays identically can be redacted, and this one does not: "
                f"{original.difference}. Try the voxyray that recorded it."
            )
        return Session(setup, tuple(entries))

    # What the call was made with

    def _setup(self, setup: Setup) -> Setup:
        self._keys = self._key_names(setup)
        definition = setup.definition
        keypad = {self._digits(key): self._key(each) for key, each in definition.keypad.items()}
        definition = msgspec.structs.replace(
            definition, greeting="", keypad=keypad, policy=self._policy(definition.policy)
        )
        return msgspec.structs.replace(
            setup,
            instructions=self._text(setup.instructions),
            greeting=self._text(setup.greeting),
            definition=definition,
            tools=tuple(self._tool(each) for each in setup.tools),
            carried=None if setup.carried is None else self._carried(setup.carried),
        )

    def _key_names(self, setup: Setup) -> dict[str, str]:
        """Rename the menu's keys; of the others nothing is left but that they were pressed."""
        menu = [key for key in setup.definition.keypad if key in _DIGITS]
        names = self._mask.shuffled(_DIGITS)
        spare = [key for key in _DIGITS if key not in {names[each] for each in menu}]
        if len(spare) < 2:
            return names
        others = {key: spare[spare[0] == key] for key in _DIGITS}
        return others | {key: names[key] for key in menu}

    def _digits(self, keys: str) -> str:
        return "".join(self._keys.get(key, key) for key in keys)

    def _key(self, key: Key) -> Key:
        return Key(say=self._text(key.say), ask=self._text(key.ask), tool=key.tool)

    def _policy(self, policy: Policy) -> Policy:
        changed: dict[str, Any] = {}
        for name in policy.__struct_fields__:
            value = getattr(policy, name)
            if isinstance(value, str):
                changed[name] = self._text(value)
            elif isinstance(value, tuple):
                changed[name] = tuple(map(self._text, value))
        return msgspec.structs.replace(policy, **changed)

    def _tool(self, tool: ToolDefinition) -> ToolDefinition:
        filler = tool.filler
        if filler is not None:
            parts = _PLACEHOLDER.split(filler)
            filler = "".join(p if n % 2 else self._text(p) for n, p in enumerate(parts))
        farewell = None if tool.farewell is None else self._text(tool.farewell)
        return msgspec.structs.replace(tool, filler=filler, farewell=farewell)

    def _carried(self, carried: Carried) -> Carried:
        dialogue = tuple(
            Message(each.role, None if each.content is None else self._text(each.content))
            for each in carried.dialogue
        )
        return msgspec.structs.replace(carried, dialogue=dialogue)

    # What came in

    def _masked_deltas(self, session: Session) -> Any:
        """Give each request's texts; words are whole only when they are put together."""
        for entry in session.entries:
            if isinstance(entry.what, journal.ModelOutput):
                texts = [text for _, text in entry.what.deltas]
                whole, made = self._text("".join(texts)), []
                for text in texts:
                    made.append(whole[: len(text)])
                    whole = whole[len(text) :]
                yield entry.what.request, made

    def _event(self, event: Event) -> Event:
        change = self._CHANGES.get(type(event))
        return event if change is None else change(self, event)

    def _setup_frame(self, frame: frames.Setup) -> Event:
        changed = {
            field: self._word(value)
            for field in frame.__struct_fields__
            if isinstance(value := getattr(frame, field), str)
        }
        parameters = {name: self._text(each) for name, each in frame.custom_parameters.items()}
        return msgspec.structs.replace(frame, **changed, custom_parameters=parameters)

    def _word(self, word: str) -> str:
        return word if word in _CARRIER_WORDS else self._text(word)

    def _prompt(self, frame: frames.Prompt) -> Event:
        lang = frame.lang if _LANGUAGE.fullmatch(frame.lang) else self._text(frame.lang)
        return frames.Prompt(self._text(frame.voice_prompt), lang, frame.last)

    def _dtmf(self, frame: frames.Dtmf) -> Event:
        return frames.Dtmf(self._digits(frame.digit))

    def _interrupt(self, frame: frames.Interrupt) -> Event:
        played = self._text(frame.utterance_until_interrupt)
        return msgspec.structs.replace(frame, utterance_until_interrupt=played)

    def _info(self, frame: frames.Info) -> Event:
        return frames.Info(self._word(frame.name), self._word(frame.value))

    def _error(self, frame: frames.Error) -> Event:
        return frames.Error(self._text(frame.description))

    def _unknown(self, frame: frames.Unknown) -> Event:
        return frames.Unknown(self._text(frame.name), self._mask.value(frame.fields))

    def _malformed(self, frame: frames.Malformed) -> Event:
        return frames.Malformed(self._text(frame.reason), self._text(frame.excerpt))

    def _model(self, event: events.ModelEvent) -> Event:
        delta = event.delta
        if isinstance(delta, TextDelta):
            return events.ModelEvent(event.request, TextDelta(self._deltas[event.request].pop(0)))
        if isinstance(delta, ToolCall):
            id_ = self._ids.setdefault(delta.id, f"call-{len(self._ids)}")
            tool = self._tools.get(delta.name)
            name = delta.name if tool is not None else self._text(delta.name)
            arguments = masked_arguments(self._mask, tool, delta.arguments)
            return events.ModelEvent(event.request, ToolCall(id_, name, arguments))
        return event

    def _failed(self, event: events.ModelFailed) -> Event:
        return msgspec.structs.replace(event, message=self._text(event.message))

    def _tool_failed(self, event: events.ToolFailed) -> Event:
        return msgspec.structs.replace(event, message=self._text(event.message))

    def _returned(self, event: events.ToolReturned) -> Event:
        actions = tuple(self._action(frame) for frame in event.actions)
        handoff = None if event.handoff is None else self._handoff(event.handoff)
        return events.ToolReturned(event.run, self._text(event.result), actions, handoff)

    def _action(self, frame: frames.OutboundFrame) -> frames.OutboundFrame:
        if isinstance(frame, frames.Play):
            scheme, _, rest = frame.source.partition("://")
            return msgspec.structs.replace(frame, source=f"{scheme}://{self._text(rest)}")
        if isinstance(frame, frames.SendDigits):
            return frames.SendDigits(self._digits(frame.digits))
        return frame

    def _handoff(self, handoff: str) -> str:
        try:
            data = msgspec.json.decode(handoff, type=dict[str, Any])
        except msgspec.MsgspecError:
            return self._text(handoff)
        masked = {
            name: value if name in _KEPT_IN_HANDOFF else self._mask.value(value)
            for name, value in data.items()
        }
        return msgspec.json.encode(masked).decode()

    _CHANGES: ClassVar[dict[type, Callable[[_Redaction, Any], Event]]] = {
        frames.Setup: _setup_frame,
        frames.Prompt: _prompt,
        frames.Dtmf: _dtmf,
        frames.Interrupt: _interrupt,
        frames.Info: _info,
        frames.Error: _error,
        frames.Unknown: _unknown,
        frames.Malformed: _malformed,
        events.ModelEvent: _model,
        events.ModelFailed: _failed,
        events.ToolFailed: _tool_failed,
        events.ToolReturned: _returned,
    }


def _same_shape(original: list[Command], masked: list[Command], call: Call) -> None:
    if [_shape(each) for each in original] != [_shape(each) for each in masked]:
        raise JournalError(
            f"turn {call.turn.number} cannot be redacted: with placeholders the call would go on "
            "in another way. Export it as it is, if you may."
        )


def _shape(command: Command) -> object:
    """Give all of a command but its words."""
    match command:
        case events.Record(entry):
            return type(entry.what), entry.turn, entry.seq, entry.at_ms
        case events.Send(frames.Text() as frame):
            flags = frame.last, frame.interruptible, frame.preemptible
            return len(frame.token), *flags
        case events.Send(frame):
            return type(frame)
        case events.AskModel(request, ask):
            return request, len(ask.messages), ask.tool_choice
        case events.RunTool(run, tool):
            return run, tool.name
        case _:
            return command
