"""A conversation as a script sees it: what happened so far, read from a model's messages.

A script is a pure function of a `Talk`. It keeps nothing between requests: what it must remember
it reads off `Talk.events` again, in order, each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from voxyray import notes
from voxyray.models import Message, ModelRequest, ToolCall
from voxyray.models.offline import smalltalk
from voxyray.reply import CUT_MARK

NoteKind: TypeAlias = Literal[
    "resume", "result", "silence", "greet", "failed", "arrived", "identity", "repeat", "other"
]
CallStatus: TypeAlias = Literal["done", "failed", "waiting", "cancelled"]


class Said(msgspec.Struct, frozen=True):
    """Words of the caller."""

    text: str


class Keyed(msgspec.Struct, frozen=True):
    """Keys the caller pressed, such as `12`."""

    keys: str


class Noted(msgspec.Struct, frozen=True):
    """Something that happened without words.

    arrived: the caller was put through to this agent, or is back from somebody who did not answer.
    identity and repeat: they asked what they are talking to, or to hear it again; the model answers
    these by itself.
    """

    kind: NoteKind


class Replied(msgspec.Struct, frozen=True):
    """What the caller heard; cut: they interrupted it there. at: its message's index."""

    text: str
    cut: bool
    at: int


class Called(msgspec.Struct, frozen=True):
    """A tool call and its outcome; arguments that are no JSON object are empty.

    status: `waiting` has no outcome yet, `cancelled` never ran.
    """

    name: str
    arguments: Mapping[str, Any]
    result: str
    status: CallStatus


Event: TypeAlias = Said | Keyed | Noted | Replied | Called


class Say(msgspec.Struct, frozen=True):
    """Say this, and wait for the caller."""

    text: str


class Use:
    """Use a tool: `Use("book", slot="Mon 9:00")`; its result is in the next request's talk.

    others: tools to be used at the same time.
    """

    __slots__ = ("arguments", "others", "say", "tool")

    def __init__(self, tool: str, /, **arguments: Any) -> None:
        self.tool = tool
        self.arguments = arguments
        self.say = ""
        self.others: tuple[Use, ...] = ()

    def saying(self, text: str) -> Use:
        """Give the same with words that are said first (the farewell, where the tool hangs up)."""
        use = Use(self.tool, **self.arguments)
        use.say, use.others = text, self.others
        return use

    def together(self, *others: Use) -> Use:
        """Give the same with other tools that are used at the same time."""
        use = self.saying(self.say)
        use.others = (*self.others, *others)
        return use

    def __repr__(self) -> str:
        given = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f"Use({self.tool!r}{given})"


Action: TypeAlias = Say | Use


class Talk:
    """A conversation so far.

    system: the instructions, with the facts of this caller. events: all that happened, in order.
    tools: names of the tools on offer. forced: the tool that must be called now, or empty.
    """

    def __init__(self, request: ModelRequest) -> None:
        self.request = request
        self.events = tuple(_events(request.messages))
        self.system = "\n".join(m.content or "" for m in request.messages if m.role == "system")
        named = {spec.name for spec in request.tools}
        self.tools = frozenset() if request.tool_choice == "none" else frozenset(named)
        self.forced = request.tool_choice if request.tool_choice in self.tools else ""

    @property
    def pending(self) -> tuple[Event, ...]:
        """What the caller did since the agent last spoke or acted: what is to be answered."""
        at = len(self.events)
        while at and not isinstance(self.events[at - 1], Replied | Called):
            at -= 1
        return self.events[at:]

    @property
    def text(self) -> str:
        """The caller's words that are to be answered; empty after a tool."""
        return " ".join(event.text for event in self.pending if isinstance(event, Said))

    @property
    def latest(self) -> Event | None:
        """What happened last: the caller's words, a note, or the tool that just finished."""
        return self.events[-1] if self.events else None

    @property
    def said(self) -> str:
        """What the agent said last."""
        replies = (event.text for event in reversed(self.events) if isinstance(event, Replied))
        return next(replies, "")

    @property
    def calls(self) -> tuple[Called, ...]:
        """All tool calls, in order."""
        return tuple(event for event in self.events if isinstance(event, Called))

    @property
    def calls_of_turn(self) -> tuple[Called, ...]:
        """The tool calls made for the latest input."""
        at = len(self.events)
        while at and isinstance(self.events[at - 1], Replied | Called):
            at -= 1
        return tuple(event for event in self.events[at:] if isinstance(event, Called))

    def last_call(self, tool: str) -> Called | None:
        """Give the latest call of a tool."""
        return next((call for call in reversed(self.calls) if call.name == tool), None)

    def offers(self, tool: str) -> bool:
        """Whether this tool may be used now."""
        return tool in self.tools

    def fact(self, pattern: str) -> str:
        """Give what a regular expression's first group (or all of it) finds in the instructions."""
        found = re.search(pattern, self.system, re.MULTILINE)
        return (found[1] if found.re.groups else found[0]) or "" if found else ""

    def facts(self, pattern: str) -> list[dict[str, str]]:
        """Give the named groups of every place where the instructions match."""
        every = re.finditer(pattern, self.system, re.MULTILINE)
        return [{k: v or "" for k, v in found.groupdict().items()} for found in every]

    def vary(self, *texts: str) -> str:
        """Give one of several wordings: another one each time the agent speaks."""
        turns = sum(isinstance(event, Replied) for event in self.events)
        return texts[turns % len(texts)] if texts else ""

    def before(self, message: int) -> Talk:
        """Give the talk as it was before a message."""
        return Talk(msgspec.structs.replace(self.request, messages=self.request.messages[:message]))

    def small_talk(
        self, *kinds: smalltalk.Kind, replies: Mapping[str, Sequence[str]] | None = None
    ) -> Action | None:
        """Answer thanks, hello, goodbye and the like; None if the words to answer are no such.

        kinds: only these; none means all but yes, no and nothing, which mean what was asked.
        Goodbye hangs up where the agent has `hang_up`.
        """
        kind = smalltalk.kind_of(self.text, kinds or smalltalk.UNASKED)
        if kind is None:
            return None
        words = self.vary(*((replies or {}).get(kind) or smalltalk.REPLIES[kind]))
        return self.hang_up(words) if kind == "goodbye" else Say(words)

    def hang_up(self, farewell: str = "Goodbye.") -> Action:
        """Say farewell and end the call, or only say it where there is no tool for it."""
        return Use("hang_up").saying(farewell) if self.offers("hang_up") else Say(farewell)


Responder: TypeAlias = Callable[[Talk], Action]

_BRACKETED: Final = re.compile(r"\s*(\[[^\[\]]{1,400}\])\s*")
_PRESSED: Final = re.compile(r"\[The caller pressed ([0-9A-D*# ]+)\.\]")
_KINDS: Final[Mapping[str, NoteKind]] = {
    notes.RESUME_NOTE: "resume",
    notes.RESULT_NOTE: "result",
    notes.SILENCE_NOTE: "silence",
    notes.GREET_NOTE: "greet",
    notes.END_FAILED_NOTE: "failed",
}
# How the notes of `reception` begin when a call goes on in another session.
_ARRIVALS: Final = ("[The caller was put through to you", "[The caller was to talk to a person")
_WAITING: Final = (notes.STILL_RUNNING, notes.NO_OUTCOME.partition("{")[0])
_CANCELLED: Final = (notes.CANCELLED.partition(":")[0] + ":", "Not done:")


def _events(messages: Sequence[Message]) -> list[Event]:
    results = {m.tool_call_id: m.content or "" for m in messages if m.role == "tool"}
    events: list[Event] = []
    for at, message in enumerate(messages):
        if message.role == "user":
            for line in (message.content or "").splitlines():
                events += _caller_events(line)
        elif message.role == "assistant":
            if heard := (message.content or "").strip():
                cut = heard.endswith(CUT_MARK)
                events.append(Replied(heard.removesuffix(CUT_MARK).strip(), cut, at))
            events += [_called(call, results.get(call.id)) for call in message.tool_calls]
    return events


def _caller_events(line: str) -> list[Event]:
    events: list[Event] = []
    while note := _BRACKETED.match(line):
        line = line[note.end() :]
        if pressed := _PRESSED.fullmatch(note[1]):
            events.append(Keyed(pressed[1].replace(" ", "")))
        else:
            other: NoteKind = "arrived" if note[1].startswith(_ARRIVALS) else "other"
            events.append(Noted(_KINDS.get(note[1], other)))
    if not line.strip():
        return events
    if smalltalk.asks_to_repeat(line):
        return [*events, Noted("repeat")]
    asked, rest = smalltalk.split_identity(line)
    if asked:
        events.append(Noted("identity"))
    return [*events, Said(rest)] if rest else events


def _called(call: ToolCall, result: str | None) -> Called:
    try:
        arguments = msgspec.json.decode(call.arguments) if call.arguments else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        arguments = {}
    if not isinstance(arguments, dict):
        arguments = {}
    return Called(call.name, arguments, result or "", _status(result))


def _status(result: str | None) -> CallStatus:
    if result is None or result.startswith(_WAITING):
        return "waiting"
    if result.startswith(_CANCELLED):
        return "cancelled"
    return "failed" if result.startswith("Error:") else "done"
