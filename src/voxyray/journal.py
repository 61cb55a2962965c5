"""The journal: the ordered record of everything that happened in a call.

Transcript, waterfall, metrics and replay are derived from it. What came in is recorded as it came
(the carrier's frames, what models and tools gave, deadlines that fired); what was decided is
recorded as marks. A model's deltas are recorded together when its request ends, so that the hot
path only appends to a list.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from voxyray import frames
from voxyray.errors import JournalError, StoreError
from voxyray.models import Attempt, FinishReason, ToolCall, Usage
from voxyray.stores import Item, keys

VERSION = 1

GuessState: TypeAlias = Literal["asked", "answered", "confirmed", "dropped"]


class _What(msgspec.Struct, frozen=True, tag_field="type"):
    pass


class CallStarted(_What, frozen=True, tag="call_started"):
    """The session opened; at is the wall clock in epoch seconds.

    clock: what the call's own clock showed, in seconds; None in journals that did not keep it.
    """

    at: float
    agent: str
    greeting: str
    clock: float | None = None


class TurnStarted(_What, frozen=True, tag="turn_started"):
    """A turn began; text is the caller's input as the model will see it."""

    cause: str
    text: str


class ModelRequested(_What, frozen=True, tag="model_requested"):
    """The model was asked, in a round of this turn.

    told: a checksum of the messages, instructions left out.
    """

    request: int
    round: int
    messages: int
    told: int | None = None


class FirstToken(_What, frozen=True, tag="first_token"):
    """The model's first words (or tool call) arrived."""

    request: int


class FirstSent(_What, frozen=True, tag="first_sent"):
    """The first words of the reply left; kind `filler` is not an answer."""

    kind: Literal["model", "fixed", "filler"]


class LastSent(_What, frozen=True, tag="last_sent"):
    """The reply was closed with `last: true`.

    said: what was sent of it, or the beginning of that. sent: a checksum of every frame of the
    session so far.
    """

    said: str = ""
    sent: int | None = None


class Said(_What, frozen=True, tag="said"):
    """Fixed words or filler that were sent."""

    text: str
    kind: Literal["fixed", "filler"]


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """When a tool call or usage came: after so many deltas, before the entry seq."""

    kind: Literal["call", "usage"]
    at_ms: float
    deltas: int
    seq: int


class ModelOutput(_What, frozen=True, tag="model_output"):
    """All that a request gave until it ended; deltas are (at_ms, text) pairs.

    finish is None if the request was cancelled or failed. steps: where in the journal they came,
    as (delta, seq) pairs: from that delta on, that entry was the next. others: when and where
    tool calls and usage came. Empty if they were not kept; replay needs them. attempts: as in
    `Finish`.
    """

    request: int
    deltas: tuple[tuple[float, str], ...]
    calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    finish: FinishReason | None = None
    model: str = ""
    steps: tuple[tuple[int, int], ...] = ()
    others: tuple[Arrival, ...] = ()
    attempts: tuple[Attempt, ...] = ()


class Speculated(_What, frozen=True, tag="speculated"):
    """The model was asked before the caller's words were final, or what became of that.

    The marks of a request that was not (yet) confirmed stand in the turn before. state `answered`:
    the whole answer is there. told: a checksum as in `ModelRequested`. asked_ms and first_ms: when
    it was asked and when its first token came, as `Entry.at_ms`. why it was dropped; tokens:
    what a dropped one used, estimated where the provider did not tell.
    """

    request: int
    state: GuessState
    told: int | None = None
    asked_ms: float | None = None
    first_ms: float | None = None
    why: str = ""
    tokens: int = 0


class ModelFailure(_What, frozen=True, tag="model_failure"):
    """A request failed."""

    request: int
    message: str
    retryable: bool


class ToolStarted(_What, frozen=True, tag="tool_started"):
    """A tool was started; arguments is the model's JSON text."""

    run: int
    name: str
    effect: str
    arguments: str
    key: str


class ToolFinished(_What, frozen=True, tag="tool_finished"):
    """A tool run was settled; status as in `ToolRun`.

    actions and handoff: what else the tool returned.
    """

    run: int
    name: str
    status: str
    result: str
    actions: tuple[frames.OutboundFrame, ...] = ()
    handoff: str | None = None


class Heard(_What, frozen=True, tag="heard"):
    """What was heard of a reply when it was cut; by tells who cut it.

    said and sent as in `LastSent`.
    """

    of_turn: int
    text: str
    by: Literal["interrupt", "newer", "hangup"]
    said: str = ""
    sent: int | None = None


class DeadlinePassed(_What, frozen=True, tag="deadline"):
    """A deadline passed and something was done about it."""

    name: str


class CallEnded(_What, frozen=True, tag="call_ended"):
    """The socket closed; why is `agent`, `caller` or `dropped`; sent as in `LastSent`."""

    code: int
    why: str
    sent: int | None = None


What: TypeAlias = (
    CallStarted
    | TurnStarted
    | ModelRequested
    | FirstToken
    | FirstSent
    | LastSent
    | Said
    | ModelOutput
    | Speculated
    | ModelFailure
    | ToolStarted
    | ToolFinished
    | Heard
    | DeadlinePassed
    | CallEnded
    | frames.InboundFrame
)


class Entry(msgspec.Struct, frozen=True):
    """One thing that happened; at_ms counts from the call's first event."""

    turn: int
    seq: int
    at_ms: float
    what: What


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(What)


def to_item(call_id: str, entry: Entry, expires_at: int) -> Item:
    """Give the entry as an item of the store; times are kept in microseconds.

    Raises:
        StoreError: the call's id cannot be a key, or a value cannot be stored.
    """
    pk = keys.call(call_id)
    try:
        return {
            "pk": pk,
            "sk": keys.journal(entry.turn, entry.seq),
            "v": VERSION,
            "at_us": round(entry.at_ms * 1000),
            "what": _encoder.encode(entry.what).decode(),
            "expires_at": expires_at,
        }
    except (ValueError, OverflowError, RecursionError, TypeError, msgspec.MsgspecError) as error:
        raise StoreError(f"it holds what cannot be stored: {error}") from error


def from_item(item: Item) -> Entry:
    """Read an entry back.

    Raises:
        JournalError: it is of a newer version, or damaged.
    """
    name = f"journal entry {item.get('sk')!s:.60} of {item.get('pk')!s:.60}"
    if item.get("v") != VERSION:
        raise JournalError(
            f"{name} has version {item.get('v')!r}; this voxyray reads version {VERSION}. "
            "Install the voxyray that wrote it."
        )
    try:
        turn, seq = keys.journal_place(item["sk"])
        what = _decoder.decode(item["what"])
        return Entry(turn, seq, int(item["at_us"]) / 1000, what)
    except KeyError as error:
        raise JournalError(f"{name} is damaged: it has no {error}") from error
    except (ValueError, OverflowError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise JournalError(f"{name} is damaged: {error}") from error


def kind(what: What) -> str:
    """Give the tag of an entry, such as `prompt` or `first_sent`."""
    tag: Any = type(what).__struct_config__.tag
    return str(tag)
