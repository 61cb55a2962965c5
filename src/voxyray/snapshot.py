"""A call at rest: all that a `Call` knows, so that another process can go on with it.

    text = encode(take(call))
    restore(fresh_call, decode(text), settled_turns)

Turns that nothing can change any more are *settled*: whoever keeps snapshots stores each of them
once, apart, so that a snapshot stays small however long a call becomes. What a snapshot does not
hold is work under way: deltas of a request that have not been spoken, threads, sockets.
"""

from __future__ import annotations

from typing import Final

import msgspec

from voxyray.asked import Asked
from voxyray.call import Call, Ending, Phase
from voxyray.deadlines import Deadlines
from voxyray.errors import JournalError, ToolArgumentError
from voxyray.floor import Floor
from voxyray.history import ToolRun, Turn
from voxyray.keypad import Keypad
from voxyray.speculation import Speculation
from voxyray.tool_runs import Shares, Start

VERSION: Final = 1
# An interrupt, and what was played, can still be of the turn before the current one.
_MOST_OPEN: Final = 2


class SavedEnding(msgspec.Struct, frozen=True, omit_defaults=True):
    """An end of the call that waits; run is that of the `end` tool, if there is one."""

    run: int | None = None
    handoff: str | None = None
    firm: bool = False
    acting: bool = False


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a call knows, but for its settled turns; settled is how many these are."""

    v: int
    phase: Phase
    settled: int
    turns: list[Turn]
    floor: Floor
    keypad: Keypad
    deadlines: Deadlines
    shares: Shares
    zero: float = 0.0
    seq: int = 0
    requests: int = 0
    asked: int | None = None
    ending: SavedEnding | None = None
    cut_owed_until: float = 0.0
    ends_in_space: bool = True
    open_cycle: bool = False
    failures: int = 0
    retries: int = 0
    silences: int = 0
    resumes: int = 0
    fillers: int = 0
    sent_sum: int = 0
    speculation: Speculation = msgspec.field(default_factory=Speculation)


# Fields that a call has under the same name with an underscore.
_SAME: Final = (
    "floor",
    "keypad",
    "deadlines",
    "zero",
    "seq",
    "requests",
    "cut_owed_until",
    "ends_in_space",
    "open_cycle",
    "failures",
    "retries",
    "silences",
    "resumes",
    "fillers",
    "sent_sum",
    "speculation",
)
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Snapshot)
_turn_decoder: Final = msgspec.json.Decoder(Turn)


def take(call: Call, most_settled: int | None = None) -> Snapshot:
    """Give what a call knows now; it shares the call's parts, so encode it before going on.

    most_settled: of the settled turns only the first so many are stored apart by now.
    """
    first = settled(call) if most_settled is None else min(settled(call), most_settled)
    turns = call.history.turns[first:]
    asked, ending, runs = call.under_way()
    return Snapshot(
        v=VERSION,
        phase=call.phase,
        settled=first,
        turns=turns,
        shares=runs.shares(),
        asked=None if asked is None else asked.id,
        ending=None if ending is None else _saved(ending),
        **{name: getattr(call, f"_{name}") for name in _SAME},
    )


def settled(call: Call) -> int:
    """Tell how many turns, from the first on, cannot change any more."""
    turns = call.history.turns
    most = max(0, len(turns) - _MOST_OPEN)
    return next((n for n in range(most) if any(map(_may_change, turns[n].runs()))), most)


def encode(snapshot: Snapshot) -> str:
    """Give a snapshot as JSON."""
    for turn in snapshot.turns:
        _join(turn)
    return _encoder.encode(snapshot).decode()


def decode(text: str) -> Snapshot:
    """Read a snapshot.

    Raises:
        JournalError: it is of another version, or damaged.
    """
    try:
        snapshot = _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise JournalError(f"a call's snapshot is damaged: {error}") from error
    if snapshot.v != VERSION:
        raise JournalError(
            f"a call's snapshot has version {snapshot.v}; this voxyray reads version {VERSION}"
        )
    return snapshot


def encode_turn(turn: Turn) -> str:
    """Give a settled turn as JSON."""
    _join(turn)
    return _encoder.encode(turn).decode()


def decode_turn(text: str) -> Turn:
    """Read a settled turn.

    Raises:
        JournalError: it is damaged.
    """
    try:
        return _turn_decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise JournalError(f"a call's turn is damaged: {error}") from error


def restore(call: Call, snapshot: Snapshot, settled_turns: list[Turn]) -> None:
    """Make a fresh call, made with the same agent and texts, what the snapshot says.

    Raises:
        JournalError: settled turns are missing.
    """
    if len(settled_turns) < snapshot.settled:
        raise JournalError(
            f"{len(settled_turns)} settled turns of {snapshot.settled} are there; "
            "the call's history would have a hole"
        )
    turns = [*settled_turns[: snapshot.settled], *snapshot.turns]
    runs = [run for turn in turns for run in turn.runs()]
    for name in _SAME:
        setattr(call, f"_{name}", getattr(snapshot, name))
    snapshot.deadlines.woken()  # the wake-up that was asked for will come to nobody
    call.phase = snapshot.phase
    call.history.turns = turns
    call.turn = turns[-1] if turns else call.turn
    asked = None if snapshot.asked is None else Asked(snapshot.asked)
    call.resume_work(runs, snapshot.shares, asked)
    if snapshot.ending is not None:
        call.resume_ending(_ending(call, snapshot.ending, runs))


def _saved(ending: Ending) -> SavedEnding:
    run = None if ending.start is None else ending.start.run.id
    return SavedEnding(run, ending.handoff, ending.firm, ending.acting)


def _ending(call: Call, saved: SavedEnding, runs: list[ToolRun]) -> Ending:
    start = None
    if saved.run is not None:
        run = next((each for each in runs if each.id == saved.run), None)
        tool = next((each for each in call.agent.tools if run and each.name == run.name), None)
        if run is None or tool is None:
            raise JournalError("a call's snapshot ends with a tool that is not there any more")
        try:
            start = Start(run, tool, tool.parse(run.call.arguments))
        except ToolArgumentError as error:
            raise JournalError(f"a call's snapshot ends with a changed tool: {error}") from error
    ending = Ending(start, saved.handoff, firm=saved.firm)
    ending.acting = saved.acting
    return ending


def _may_change(run: ToolRun) -> bool:
    untold = run.effect == "write" and not run.told
    return run.status in ("running", "late") or untold


def _join(turn: Turn) -> None:
    """Make one text of the tokens a reply came in."""
    for span in turn.reply.spans:
        span.parts = [span.text]
