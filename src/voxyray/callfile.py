"""A call as one file, so that it can be kept, sent to somebody, compared and replayed.

JSON lines: a head that says what it is and how many lines follow, and for each session of the
call what its `Call` was made with, then its journal, an entry a line. Everything a replay needs
is in it; tools' code is not, since their results are in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from voxyray import __version__, definitions, journal
from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import AgentError, JournalError, StoreError, VoxyrayError
from voxyray.history import Carried
from voxyray.journal import Entry
from voxyray.loading import Definition
from voxyray.stores import Item, Store, keys
from voxyray.tool import Tool
from voxyray.tool_definitions import DefinedTool, MakeTool, ToolDefinition, build

VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024  # a call of an hour has some four

_SETUP: Final = "SETUP#"
_ELSEWHERE: Final = "nowhere"  # tools do not run in a replay


class Setup(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a session's `Call` was made with; instructions and greeting as they were rendered."""

    agent: str
    instructions: str
    greeting: str
    started_at: float
    definition: Definition
    tools: tuple[ToolDefinition, ...] = ()
    carried: Carried | None = None
    speaks_first: bool = True


class Session(msgspec.Struct, frozen=True):
    """One session of a call: how it began, and its journal."""

    setup: Setup
    entries: tuple[Entry, ...]


class CallFile(msgspec.Struct, frozen=True):
    """A whole call; voxyray: the version that wrote it."""

    call: str
    sessions: tuple[Session, ...]
    redacted: bool = False
    voxyray: str = __version__


class _Head(msgspec.Struct, frozen=True):
    """The first line; lines: how many follow."""

    voxyray_call: int
    voxyray: str
    journal: int
    call: str
    redacted: bool
    lines: int


# Sessions


def setup_of(call: Call) -> Setup:
    """Give what a call was made with."""
    agent = call.agent
    return Setup(
        agent=agent.name,
        instructions=call.history.instructions,
        greeting=call.greeting,
        started_at=call.started_at,
        definition=definitions.definition_of(agent).definition,
        tools=tuple(_definition(tool) for tool in agent.tools),
        carried=call.carried,
        speaks_first=call.speaks_first,
    )


def _definition(tool: Tool) -> ToolDefinition:
    if isinstance(tool, DefinedTool) and tool.definition is not None:
        return tool.definition
    return ToolDefinition(
        name=tool.name,
        description=tool.description,
        effect=tool.effect,
        parameters=tool.parameters,
        function=_ELSEWHERE,
        timeout_s=tool.timeout_s,
        filler=tool.filler,
        farewell=tool.farewell,
    )


async def _never(values: dict[str, Any], caller: Caller, call: CallContext) -> Any:
    raise NotImplementedError("tools do not run in a replay")


def _without_code(definition: ToolDefinition) -> Tool:
    return build(definition, _never)


def new_call(call_id: str, setup: Setup, make_tool: MakeTool = _without_code) -> Call:
    """Make the `Call` again that a session began with; make_tool: if its tools are to run.

    Raises:
        JournalError: its agent cannot be made of what was kept; the message says why.
    """
    try:
        tools = tuple(make_tool(each) for each in setup.tools)
        # The texts are the call's own: as templates they were read when it began.
        fields = {name: getattr(setup.definition, name) for name in _FIELDS}
        agent = Agent(name=setup.agent, instructions="-", **fields, greeting="", tools=tools)
    except AgentError as error:
        raise JournalError(f"the call's agent cannot be made again: {error}") from error
    return Call(
        call_id,
        agent,
        instructions=setup.instructions,
        greeting=setup.greeting,
        started_at=setup.started_at,
        carried=setup.carried,
        speaks_first=setup.speaks_first,
    )


_FIELDS: Final = tuple(each for each in Definition.__struct_fields__ if each != "greeting")


# The store


def setup_item(call: Call, expires_at: int) -> Item:
    """Give a session's beginning as an item of the store.

    Raises:
        StoreError: the call's id cannot be a key, or the setup cannot be stored.
    """
    pk = keys.call(call.id)
    try:
        text = msgspec.json.encode(setup_of(call)).decode()
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise StoreError(f"it holds what cannot be stored: {error}") from error
    sk = f"{_SETUP}{call.carried.next_turn:05d}"
    return {"pk": pk, "sk": sk, "v": VERSION, "setup": text, "expires_at": expires_at}


async def load(store: Store, call_id: str) -> CallFile:
    """Read a call from the store.

    Raises:
        StoreError: the id can be no call's, or the store failed.
        JournalError: it is damaged, or was recorded before replays were possible.
    """
    pk = keys.call(call_id)
    items = await store.query(pk, _SETUP)
    entries = [journal.from_item(item) for item in await store.query(pk, "J#")]
    if not entries:
        raise JournalError(f"call {call_id} has no journal: it has not begun, or was erased")
    setups = [_setup(item) for item in items]
    parts = list(_split(entries))
    if len(setups) != len(parts):
        raise JournalError(
            f"call {call_id} cannot be replayed: what its agent was then was kept for "
            f"{len(setups)} of {len(parts)} sessions. Calls of older versions have none of it"
        )
    sessions = zip(setups, parts, strict=True)
    return CallFile(call_id, tuple(Session(setup, tuple(part)) for setup, part in sessions))


def _setup(item: Item) -> Setup:
    name = f"{item.get('sk')!s:.60} of {item.get('pk')!s:.60}"
    if item.get("v") != VERSION:
        raise JournalError(
            f"{name} has version {item.get('v')!r}; this voxyray reads version {VERSION}. "
            "Install the voxyray that wrote it."
        )
    try:
        return msgspec.json.decode(item["setup"], type=Setup)
    except _DAMAGE as error:
        raise JournalError(f"{name} is damaged: {error}") from error


def _split(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Give the entries of each session; the journal's first is always that it began."""
    part: list[Entry] = []
    for entry in entries:
        if isinstance(entry.what, journal.CallStarted) and part:
            yield part
            part = []
        part.append(entry)
    yield part


# The file


class _SetupLine(msgspec.Struct, frozen=True):
    session: Setup


class _EntryLine(msgspec.Struct, frozen=True):
    turn: int
    seq: int
    at_us: int
    what: journal.What


_DAMAGE: Final = (
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    VoxyrayError,
    msgspec.MsgspecError,
)
_head_decoder: Final = msgspec.json.Decoder(_Head)
_setup_decoder: Final = msgspec.json.Decoder(_SetupLine)
_entry_decoder: Final = msgspec.json.Decoder(_EntryLine)
_SESSION: Final = b'{"session":'


def encode(call: CallFile) -> bytes:
    """Give a call as a file's content.

    Raises:
        JournalError: it holds what JSON cannot.
    """
    lines: list[object] = []
    for session in call.sessions:
        lines.append(_SetupLine(session.setup))
        lines += [
            _EntryLine(each.turn, each.seq, round(each.at_ms * 1000), each.what)
            for each in session.entries
        ]
    head = _Head(VERSION, call.voxyray, journal.VERSION, call.call, call.redacted, len(lines))
    try:
        return b"".join(msgspec.json.encode(line) + b"\n" for line in (head, *lines))
    except _DAMAGE as error:
        raise JournalError(f"call {call.call} cannot be written: {error}") from error


def decode(data: bytes, name: str = "the file") -> CallFile:
    """Read a call from a file's content; name: what to call it in errors.

    Raises:
        JournalError: it is none, damaged, cut off, of a newer version, or far too large.
    """
    if len(data) > MAX_BYTES:
        most = MAX_BYTES // 1024**2
        raise JournalError(f"{name} has {len(data):,} bytes; a call has {most} MB at most")
    lines = data.splitlines()
    head = _read_head(lines[0] if lines else b"", name)
    if len(lines) - 1 < head.lines:
        raise JournalError(
            f"{name} was cut off: {len(lines) - 1} of its {head.lines} lines are there. "
            "Export the call again."
        )
    if len(lines) - 1 > head.lines:
        raise JournalError(f"{name} is damaged: {head.lines} lines belong to it, and more follow")
    sessions: list[tuple[Setup, list[Entry]]] = []
    for number, line in enumerate(lines[1:], 2):
        try:
            if line.startswith(_SESSION):
                sessions.append((_setup_decoder.decode(line).session, []))
            else:
                sessions[-1][1].append(_entry(line))
        except (*_DAMAGE, IndexError) as error:
            raise JournalError(f"{name}, line {number}, is damaged: {error}") from error
    made = (Session(setup, tuple(entries)) for setup, entries in sessions)
    return CallFile(head.call, tuple(made), head.redacted, head.voxyray)


def _entry(line: bytes) -> Entry:
    read = _entry_decoder.decode(line)
    return Entry(read.turn, read.seq, read.at_us / 1000, read.what)


def _read_head(line: bytes, name: str) -> _Head:
    try:
        version = msgspec.json.decode(line, type=dict[str, Any])["voxyray_call"]
    except _DAMAGE as error:
        raise JournalError(
            f"{name} is no exported call; `voxyray export CALL > x.call` writes one"
        ) from error
    if version != VERSION:
        raise JournalError(
            f"{name} has version {version!r:.20}; this voxyray reads version {VERSION}. "
            "Install the voxyray that wrote it."
        )
    try:
        head = _head_decoder.decode(line)
    except _DAMAGE as error:
        raise JournalError(f"{name}, line 1, is damaged: {error}") from error
    if head.journal != journal.VERSION:
        raise JournalError(
            f"{name} holds a journal of version {head.journal}; this voxyray reads version "
            f"{journal.VERSION}. Install the voxyray that wrote it."
        )
    return head
