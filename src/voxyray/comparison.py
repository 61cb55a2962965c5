"""Tells two journal entries apart, and says in words what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from voxyray import journal
from voxyray.journal import Entry

_LONGEST: Final = 300
# What older journals do not hold, and what cannot be compared with them.
_OPTIONAL: Final = ("clock", "told", "said", "sent", "steps", "others", "actions", "handoff")


def same(recorded: Entry, got: Entry) -> bool:
    """Whether two entries are the same, as far as the recorded one tells."""
    if (recorded.turn, recorded.at_ms) != (got.turn, got.at_ms):
        return False
    return recorded.what == got.what or _comparable(recorded.what, got.what) == got.what


def _comparable(recorded: journal.What, got: journal.What) -> journal.What | None:
    """Give the recorded entry, with what it does not tell taken from the other one."""
    if type(recorded) is not type(got):
        return None
    unknown = {
        field.name: getattr(got, field.name)
        for field in msgspec.structs.fields(recorded)
        if field.name in _OPTIONAL and getattr(recorded, field.name) == field.default
    }
    return msgspec.structs.replace(recorded, **unknown)


def told_apart(recorded: Entry, got: Entry) -> tuple[str, str]:
    """Say in words what differs between two entries: what was recorded, and what came now."""
    one, other = in_words(recorded.what), in_words(got.what)
    if one != other:
        return one, other
    if recorded.turn != got.turn:
        return f"{one} in turn {recorded.turn}", f"the same in turn {got.turn}"
    if recorded.at_ms != got.at_ms:
        return f"{one} at {recorded.at_ms:,.3f} ms", f"the same at {got.at_ms:,.3f} ms"
    before, now = recorded.what, got.what
    names = [each.name for each in msgspec.structs.fields(before)]
    name = next((n for n in names if getattr(before, n) != getattr(now, n)), "")
    if name in _UNSPOKEN:
        return f"{one}, {_UNSPOKEN[name][0]}", _UNSPOKEN[name][1]
    return f"{one}, {name} {_short(before, name)}", f"{name} {_short(now, name)}"


# Checksums say that something differs, not what.
_UNSPOKEN: Final = {
    "sent": ("after the recorded frames", "other frames: other flags, or split elsewhere"),
    "told": ("with the recorded history", "another history with as many messages"),
}


def _short(what: journal.What, name: str) -> str:
    return f"{getattr(what, name, None)!r:.100}"


def in_words(what: journal.What) -> str:
    """Say what an entry is about."""
    say = _WORDS.get(type(what))
    return f"a {journal.kind(what)} frame" if say is None else say(what)


def _last_sent(what: journal.LastSent) -> str:
    return f"the reply closed, having said {_quoted(what.said)}" if what.said else "a closed reply"


def _heard(what: journal.Heard) -> str:
    said = f" of {_quoted(what.said)}" if what.said else ""
    return f"a cut by {what.by} after {_quoted(what.text)} was heard{said}"


def _quoted(text: str) -> str:
    return f"“{text}”" if len(text) <= _LONGEST else f"“{text[: _LONGEST - 3]}...”"


_WORDS: Final[Mapping[type, Callable[[Any], str]]] = {
    journal.CallStarted: lambda what: f"the call's start with {what.agent}",
    journal.TurnStarted: lambda what: f"a turn caused by {what.cause}, {_quoted(what.text)}",
    journal.ModelRequested: lambda what: (
        f"request {what.request} to the model, with {what.messages} messages"
    ),
    journal.FirstToken: lambda _: "the model's first token",
    journal.FirstSent: lambda what: f"the first words ({what.kind})",
    journal.LastSent: _last_sent,
    journal.Said: lambda what: f"{what.kind} words {_quoted(what.text)}",
    journal.ModelOutput: lambda what: (
        f"the end of request {what.request} ({what.finish or 'cut short'})"
    ),
    journal.Speculated: lambda what: (
        f"speculative request {what.request} {what.state}{f' ({what.why})' if what.why else ''}"
    ),
    journal.ModelFailure: lambda what: f"a failed request: {what.message}",
    journal.ToolStarted: lambda what: f"tool {what.name} started with {what.arguments}",
    journal.ToolFinished: lambda what: f"tool {what.name} {what.status}: {_quoted(what.result)}",
    journal.Heard: _heard,
    journal.DeadlinePassed: lambda what: f"the {what.name} deadline",
    journal.CallEnded: lambda what: f"the end of the call by {what.why} ({what.code})",
}
