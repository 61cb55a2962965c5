"""What a model is told: the conversation as the caller heard it.

Rules that providers insist on hold by construction: user messages never stand next to each other,
every tool call is followed by its result, and nothing counts as said that was not heard.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from voxyray.models import Message, ToolCall
from voxyray.notes import STILL_RUNNING
from voxyray.reply import CUT_MARK, Reply

Cause: TypeAlias = Literal["greeting", "speech", "keys", "silence", "resume", "result", "limit"]
RunStatus: TypeAlias = Literal["running", "late", "done", "failed", "cancelled"]


class ToolRun(msgspec.Struct, eq=False):
    """One tool call and what became of it.

    status: a `late` run has passed its time-out but may still finish.
    key: identifies a write within the call, `turn:tool:hash of its arguments`.
    filler: what to say when it is slow; told: the model was shown the result.
    """

    id: int
    call: ToolCall
    effect: str = "read"
    key: str = ""
    filler: str = ""
    status: RunStatus = "running"
    result: str = ""
    told: bool = False

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.call.name

    def settles_with(self, other: ToolRun) -> bool:
        """Whether the other run's outcome is this one's too."""
        return other is self or (self.key != "" and self.key == other.key)

    def finish(self, status: RunStatus, result: str) -> None:
        """Settle the run; the model has yet to be told."""
        self.status = status
        self.result = result
        self.told = False


class Turn(msgspec.Struct, eq=False):
    """One input of the caller and the agent's reply; calls holds the tool runs of each round.

    text: what the caller said, or a note in square brackets for other causes; may be empty.
    began_at: when the caller's input was complete, in seconds of the call's clock.
    """

    number: int
    cause: Cause
    text: str
    began_at: float
    reply: Reply = msgspec.field(default_factory=Reply)
    calls: list[list[ToolRun]] = msgspec.field(default_factory=lambda: [[]])

    @property
    def round(self) -> int:
        """The round of model request and tools that the turn is in, from 0."""
        return len(self.calls) - 1

    def runs(self) -> list[ToolRun]:
        """All tool runs of the turn."""
        return [run for calls in self.calls for run in calls]


class Carried(msgspec.Struct, frozen=True):
    """What a session of a call hands to the next one: when another agent takes over.

    dialogue: what was said and heard, words only. next_turn: the number that its first turn has.
    started_at: of the call, epoch seconds.
    """

    dialogue: tuple[Message, ...] = ()
    next_turn: int = 0
    started_at: float = 0.0


class History:
    """All turns of a session; instructions is the system message, carried what came before."""

    def __init__(self, instructions: str, carried: tuple[Message, ...] = ()) -> None:
        self.instructions = instructions
        self.carried = carried
        self.turns: list[Turn] = []

    def messages(self, coming: str = "") -> tuple[Message, ...]:
        """Give the conversation for the next request; coming: a turn that has not begun yet."""
        messages = [Message("system", self.instructions)] if self.instructions else []
        messages += self.carried
        for turn in self.turns:
            if turn.text:
                _append_user(messages, turn.text)
            for round_, runs in enumerate(turn.calls):
                _append_round(messages, _heard(turn, round_), runs)
        if coming:
            _append_user(messages, coming)
        return tuple(messages)

    def dialogue(self) -> tuple[Message, ...]:
        """Give what was said and heard, without tools: another agent has others."""
        return tuple(
            Message(message.role, message.content)
            for message in self.messages()
            if message.role in ("user", "assistant") and message.content
        )

    def untold(self) -> list[ToolRun]:
        """Finished write runs whose result no request has shown to the model."""
        return [
            run
            for turn in self.turns
            for run in turn.runs()
            if run.effect == "write" and run.status in ("done", "failed") and not run.told
        ]

    def tell(self) -> None:
        """Note that the model is now being shown every result."""
        for turn in self.turns:
            for run in turn.runs():
                run.told = run.status != "running"


def _heard(turn: Turn, round_: int) -> str:
    reply = turn.reply
    heard = reply.heard(round_).strip()
    if not heard or not reply.cut:
        return heard
    # The mark stands where the caller stopped hearing: after the last heard round.
    later = any(reply.heard(other).strip() for other in range(round_ + 1, turn.round + 1))
    return heard if later else heard + CUT_MARK


def _append_user(messages: list[Message], text: str) -> None:
    if messages and messages[-1].role == "user":
        text = f"{messages.pop().content}\n{text}"
    messages.append(Message("user", text))


def _append_round(messages: list[Message], heard: str, runs: list[ToolRun]) -> None:
    if runs:
        calls = tuple(run.call for run in runs)
        messages.append(Message("assistant", heard or None, tool_calls=calls))
        for run in runs:
            result = STILL_RUNNING if run.status == "running" else run.result
            messages.append(Message("tool", result, tool_call_id=run.call.id))
    elif heard:
        messages.append(Message("assistant", heard))
