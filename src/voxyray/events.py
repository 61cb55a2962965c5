"""What goes into a `Call` and what comes out of it.

Events are the carrier's frames (`voxyray.frames`) and the structs below; commands tell the host
what to do. Times are seconds of one monotonic clock, whichever the host has.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from voxyray.frames import InboundFrame, OutboundFrame
from voxyray.journal import Entry
from voxyray.models import Delta, ModelRequest
from voxyray.tool import Tool


class ModelEvent(msgspec.Struct, frozen=True, gc=False):
    """A delta of a model request."""

    request: int
    delta: Delta


class ModelFailed(msgspec.Struct, frozen=True, tag_field="type", tag="model_failed"):
    """A model request failed; retryable: the same request may well succeed at once."""

    request: int
    message: str
    retryable: bool = False


class ToolReturned(msgspec.Struct, frozen=True, tag_field="type", tag="tool_returned"):
    """A tool finished; actions are frames it asked for, handoff what an `end` tool returned."""

    run: int
    result: str
    actions: tuple[OutboundFrame, ...] = ()
    handoff: str | None = None


class ToolFailed(msgspec.Struct, frozen=True, tag_field="type", tag="tool_failed"):
    """A tool failed; message is worded for the model."""

    run: int
    message: str


class Tick(msgspec.Struct, frozen=True):
    """The time asked for with `Wake` has come (or any other)."""


class Closed(msgspec.Struct, frozen=True, tag_field="type", tag="closed"):
    """The socket closed; 1000 is a proper end, 1006 a drop."""

    code: int = 1006
    reason: str = ""


Event: TypeAlias = (
    InboundFrame | ModelEvent | ModelFailed | ToolReturned | ToolFailed | Tick | Closed
)


class Warm(msgspec.Struct, frozen=True):
    """Open now what the first prompt will need."""


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send a frame at once."""

    frame: OutboundFrame


class Purge(msgspec.Struct, frozen=True):
    """Throw away text that was to be sent but has not left yet."""


class AskModel(msgspec.Struct, frozen=True):
    """Ask the model; its deltas come back with this request number."""

    request: int
    ask: ModelRequest


class CancelModel(msgspec.Struct, frozen=True):
    """Close that request's connection now; its further deltas are not wanted."""

    request: int


class RunTool(msgspec.Struct, frozen=True):
    """Run a tool with parsed arguments.

    key: for a `write`, the host must record it durably before running, so that the same key never
    runs twice in this call.
    """

    run: int
    tool: Tool
    values: dict[str, Any]
    turn: int
    key: str


class CancelTool(msgspec.Struct, frozen=True):
    """Stop a running tool; nobody waits for its result."""

    run: int


class Wake(msgspec.Struct, frozen=True):
    """Deliver a `Tick` at this time; replaces the wake-up asked for before."""

    at: float


class Record(msgspec.Struct, frozen=True):
    """Write this to the journal, behind the talk."""

    entry: Entry


class HangUp(msgspec.Struct, frozen=True):
    """Close the socket; the carrier should have done so after `end`."""


Command: TypeAlias = (
    Send | Purge | AskModel | CancelModel | RunTool | CancelTool | Wake | Record | Warm | HangUp
)
