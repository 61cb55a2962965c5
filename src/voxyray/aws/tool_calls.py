"""What travels between a call and the function that runs its tools, as JSON.

A function that runs a `write` keeps to its key: asked again with the same one, it gives the first
outcome and does not act again.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Any, TypeAlias

import msgspec

from voxyray.agent import Listing
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.frames import Language, Play, SendDigits

Action: TypeAlias = Play | SendDigits | Language


class Who(msgspec.Struct, frozen=True):
    """A caller's data, as in `Caller`."""

    number: str = ""
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    agent: str = ""
    language: str = ""
    notes: dict[str, str] = {}


class Where(msgspec.Struct, frozen=True):
    """The call, as in `CallContext`; time_zone is the agent's."""

    id: str
    agent: str
    turn: int
    key: str = ""
    time_zone: str = "UTC"
    agents: tuple[Listing, ...] = ()


class ToolRequest(msgspec.Struct, frozen=True):
    """A tool to be run; arguments are plain JSON, without those that are defaults."""

    tool: str
    arguments: dict[str, Any]
    call: Where
    caller: Who = Who()


class ToolAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of it: a result (null if it returned nothing), or an error worded for the model.

    actions: frames to be sent. caller: their data afterwards, if the tool changed it.
    """

    result: str | msgspec.UnsetType | None = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    actions: tuple[Action, ...] = ()
    caller: Who | None = None


def who(caller: Caller) -> Who:
    """Give what travels of a caller."""
    fields = {name: getattr(caller, name) for name in Who.__struct_fields__}
    return Who(**{**fields, "notes": dict(caller.notes)})


def where(call: CallContext) -> Where:
    """Give what travels of a call."""
    zone = _zone_name(call.zone)
    return Where(call.id, call.agent, call.turn, call.key, zone, tuple(call.agents))


def _zone_name(zone: tzinfo) -> str:
    return str(getattr(zone, "key", "UTC"))
