"""The rest of a recorded call once more, with another prompt or model, against the model itself.

Up to a turn the record is replayed. From there on the caller does what they did then: the same
words, the same keys, and they cut in after as many words. Tools do not run: the same call of a tool
is answered from the record, any other fails and says why.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, Literal

import msgspec

from voxyray import events, frames, journal
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.callfile import CallFile, Session, new_call
from voxyray.context import CallContext
from voxyray.errors import JournalError, ToolError
from voxyray.history import Turn
from voxyray.journal import Entry
from voxyray.models import Model
from voxyray.recorder import Recorder
from voxyray.replay import SessionReplay, Step
from voxyray.runner import Runner
from voxyray.stores import Put, keys
from voxyray.stores.memory import MemoryStore
from voxyray.tool import Tool
from voxyray.tool_definitions import DefinedTool, ToolDefinition, build
from voxyray.waterfall import turns

NOT_RUN: Final = (
    "This is a replay of a recorded call: {0} was not run, for it was not called like this then. "
    "Tell the caller that it cannot be done right now."
)
_FAR: Final = 4_000_000_000
_LOOKS_EVERY_S: Final = 0.005
_PAUSE_S: Final = 1.0  # of a caller who has listened to the end


class Used(msgspec.Struct, frozen=True):
    """A tool that the model wanted; recorded: it was answered from the record."""

    name: str
    arguments: str
    recorded: bool


class Answer(msgspec.Struct, frozen=True):
    """What the agent said to a move of the caller, then and now; turn: its recorded number."""

    turn: int
    caller: str
    old: str
    new: str
    used: tuple[Used, ...] = ()


class Move(msgspec.Struct, frozen=True):
    """What the caller did; kind `cut`: they cut in after so many words."""

    turn: int
    kind: Literal["words", "keys", "cut"]
    text: str = ""
    words: int = 0


async def rerun(
    call: CallFile, turn: int, model: Model, instructions: str | None = None
) -> AsyncIterator[Answer]:
    """Replay up to a turn, then go on with the model; gives answers as they come.

    instructions: in place of those of the call's.

    Raises:
        JournalError: there is no such turn, or today's code differs before it.
    """
    session = _session_of(call, turn)
    before, moves = _parted(call, session, turn)
    live = _Live(call, session, model, moves)
    try:
        await live.open()
        live.replay(before)
        if instructions is not None:
            live.call.history.instructions = instructions
        async for answer in live.go_on():
            yield answer
    finally:
        await live.close()


def _session_of(call: CallFile, turn: int) -> Session:
    """Give the session that a turn is in; an earlier agent's turns cannot be said anew here."""
    for session in call.sessions:
        if any(_begins(entry, turn) for entry in session.entries):
            return session
    known = [e.turn for s in call.sessions for e in s.entries if _begins(e)]
    raise JournalError(
        f"the call has no turn {turn} to go on from; there are {', '.join(map(str, known))}"
    )


def _begins(entry: Entry, turn: int | None = None) -> bool:
    what = entry.what
    by_caller = isinstance(what, journal.TurnStarted) and what.cause != "greeting"
    return by_caller and turn in (None, entry.turn)


def _parted(call: CallFile, session: Session, turn: int) -> tuple[int, list[Move]]:
    """Give how many inputs there were before the turn, and what the caller did from there on."""
    dry = SessionReplay(new_call(call.call, session.setup), session)
    steps = list(dry.steps())
    first = next((n for n, step in enumerate(steps) if _starts(step, turn)), None)
    if first is None:
        why = dry.difference or " ".join(dry.notes)
        raise JournalError(f"the record cannot be replayed up to turn {turn}: {why}")
    while first and isinstance(steps[first - 1].input.event, frames.Dtmf):
        first -= 1  # keys that the turn's input consists of
    return first, list(_moves(steps[first:], turn - 1))


def _starts(step: Step, turn: int) -> bool:
    return any(isinstance(c, events.Record) and _begins(c.entry, turn) for c in step.commands)


def _moves(steps: Iterable[Step], turn: int) -> Iterable[Move]:
    for step in steps:
        entries = [c.entry for c in step.commands if isinstance(c, events.Record)]
        turn = max((entry.turn for entry in entries), default=turn)
        match step.input.event:
            case frames.Prompt(words, _, True) if words.strip():
                yield Move(turn, "words", words)
            case frames.Dtmf(digit):
                started = any(isinstance(e.what, journal.TurnStarted) for e in entries)
                yield Move(turn if started else turn + 1, "keys", digit)
            case frames.Interrupt():
                heard = [e.what for e in entries if isinstance(e.what, journal.Heard)]
                yield from (Move(turn, "cut", words=len(each.text.split())) for each in heard)
            case _:
                pass


def _results(session: Session, call: Call) -> dict[tuple[str, str], journal.ToolFinished]:
    """Give what tools gave then, by name and arguments; of several the last."""
    tools = {tool.name: tool for tool in call.agent.tools if isinstance(tool, DefinedTool)}
    keys: dict[int, tuple[str, str]] = {}
    found = {}
    for entry in session.entries:
        what = entry.what
        if isinstance(what, journal.ToolStarted) and (tool := tools.get(what.name)) is not None:
            keys[what.run] = _key(what.name, tool.given(tool.parse(what.arguments)))
        elif isinstance(what, journal.ToolFinished) and what.status in ("done", "failed"):
            key = keys.get(what.run)
            if key is not None:
                found[key] = what
    return found


def _key(name: str, values: dict[str, Any]) -> tuple[str, str]:
    return name, msgspec.json.encode(values, order="sorted").decode()


def _said(made: Iterable[Turn]) -> str:
    """Give what was said in some turns, without fillers."""
    spans = (span for turn in made for span in turn.reply.spans if span.kind != "filler")
    return " ".join("".join(span.text for span in spans).split())


class _Nobody:
    """A line to nobody: what is said is in the call's own history."""

    def send(self, data: bytes) -> None:
        """Hear a frame."""

    def purge(self) -> None:
        """Nothing is queued."""

    async def drain(self) -> None:
        """Nothing is queued."""

    def close(self) -> None:
        """Nothing is open."""


class _Live:
    """A call whose beginning is a record; its clock jumps over what nobody waits for."""

    def __init__(self, call: CallFile, session: Session, model: Model, moves: list[Move]) -> None:
        self.call: Call = new_call(call.call, session.setup, self._make_tool)
        self._session = session
        self._moves = moves
        self._loop = asyncio.get_running_loop()
        self._ahead_s = 0.0
        self._results = _results(session, self.call)
        self._used: list[Used] = []
        self._old = {view.number: view.said for view in turns(session.entries)}
        store = self._store = MemoryStore()
        self._recorder = Recorder(store)
        self._runner = Runner(
            self.call,
            line=_Nobody(),
            model=model,
            caller=Caller(),
            store=store,
            recorder=self._recorder,
            expires_at=_FAR,
            clock=self._clock,
        )

    def _clock(self) -> float:
        return self._loop.time() + self._ahead_s

    async def open(self) -> None:
        """Make the call known to the store, as a reception does."""
        await self._store.write(Put({"pk": keys.call(self.call.id), "sk": keys.HEAD}))

    def replay(self, inputs: int) -> None:
        """Bring the call to where the change begins."""
        if inputs == 0:
            return
        given = None
        for number, step in enumerate(SessionReplay(self.call, self._session).steps(), 1):
            given = step.input
            if number == inputs:
                break
        if given is not None:
            self._ahead_s = given.at - self._loop.time()

    async def go_on(self) -> AsyncIterator[Answer]:
        """Make the caller's moves, and tell what is answered."""
        moves = list(self._moves)
        while moves and self.call.phase == "open":
            said = [moves.pop(0)]
            while moves and said[0].kind == "keys" and moves[0].kind == "keys":
                said.append(moves.pop(0))
            if said[0].kind == "cut":
                continue  # of words that were not said now
            self._jump()
            before, self._used = self.call.turn.number, []
            self._make(said)
            await self._settle()
            if moves and moves[0].kind == "cut":
                self._cut(moves.pop(0).words)
            yield self._answer(said, before)

    def _make(self, moves: list[Move]) -> None:
        for move in moves:
            event = frames.Prompt(move.text) if move.kind == "words" else frames.Dtmf(move.text)
            self._runner.receive(event)
        if moves[0].kind == "keys":
            self._ahead_s += self.call.policy.keypad_pause_s
            self._runner.receive(events.Tick())

    def _cut(self, words: int) -> None:
        said = self.call.turn.reply.said.split()
        self._runner.receive(frames.Interrupt(" ".join(said[:words])))

    def _jump(self) -> None:
        """Let the reply be heard to its end, and the caller take a breath."""
        self._ahead_s += max(0.0, self.call.quiet_at - self._clock()) + _PAUSE_S

    async def _settle(self) -> None:
        """Wait until nothing is under way any more, a farewell and its end included."""
        while True:
            asked, ending, _ = self.call.under_way()
            if self._runner.work or asked is not None:
                await asyncio.sleep(_LOOKS_EVERY_S)
            elif ending is not None and self.call.phase == "open":
                self._jump()  # until the farewell counts as heard
                self._runner.receive(events.Tick())
                await asyncio.sleep(0)
            else:
                return

    def _answer(self, moves: list[Move], before: int) -> Answer:
        made = [turn for turn in self.call.history.turns if turn.number > before]
        caller = moves[0].text
        if moves[0].kind == "keys":
            caller = f"[pressed {' '.join(move.text for move in moves)}]"
        number = moves[-1].turn
        old = self._old.get(number, "")
        return Answer(number, caller, old, _said(made), tuple(self._used))

    def _make_tool(self, definition: ToolDefinition) -> Tool:
        return build(definition, functools.partial(self._answer_tool, definition))

    async def _answer_tool(
        self, definition: ToolDefinition, values: dict[str, Any], _: Caller, context: CallContext
    ) -> Any:
        """Answer a tool's call from the record."""
        key = _key(definition.name, values)
        recorded = self._results.get(key)
        self._used.append(Used(definition.name, key[1], recorded is not None))
        if recorded is None:
            raise ToolError(NOT_RUN.format(definition.name))
        if recorded.status == "failed":
            raise ToolError(recorded.result.removeprefix("Error: "))
        context.actions.extend(recorded.actions)
        if definition.effect == "end":
            return recorded.handoff  # None hangs up
        return recorded.result

    async def close(self) -> None:
        """Stop whatever goes on."""
        self._runner.receive(events.Closed(1000))
        await self._runner.finish()
        await self._recorder.close()
