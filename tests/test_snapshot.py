"""A call that moves to another process at any moment goes on as if it had not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import precondition, rule

from tests.support.desk import Desk, make_agent
from tests.test_call_invariants import SPECULATING, CallMachine
from voxyray import events, snapshot
from voxyray.call import Call
from voxyray.errors import JournalError
from voxyray.events import Command, Event


def moved(call: Call) -> Call:
    """Give the call as another process has it."""
    kept = [snapshot.encode_turn(turn) for turn in call.history.turns[: snapshot.settled(call)]]
    text = snapshot.encode(snapshot.take(call))
    fresh = Call(call.id, call.agent, instructions="Be kind.", greeting=call.greeting)
    turns = [snapshot.decode_turn(each) for each in kept]
    snapshot.restore(fresh, snapshot.decode(text), turns)
    return fresh


class MovingMachine(CallMachine):
    """The invariants hold though the call moves, even in the middle of a reply."""

    @rule()
    @precondition(lambda self: self.desk.call.phase != "new")
    def move(self) -> None:
        self.desk.call = moved(self.desk.call)


class ShadowMachine(CallMachine):
    """A call that moves before every event gives the same commands as one that stays."""

    def __init__(self) -> None:
        super().__init__()
        self.shadow = moved(self.desk.call)
        stays = self.desk.call.receive

        def both(event: Event, now: float) -> list[Command]:
            if self.shadow.under_way()[0] is None:  # deltas of a request are no part of it
                self.shadow = moved(self.shadow)
            theirs = [each for each in self.shadow.receive(event, now) if not _is_wake(each)]
            ours = stays(event, now)
            assert [each for each in ours if not _is_wake(each)] == theirs
            return ours

        self.desk.call.receive = both  # type: ignore[method-assign]


class SpeculatingShadowMachine(ShadowMachine):
    """A guess moves with its call, with all that was kept back."""

    POLICY = SPECULATING


class SpeculatingMovingMachine(MovingMachine):
    """The invariants hold though the call moves while the model answers a guess."""

    POLICY = SPECULATING


def _is_wake(command: Command) -> bool:
    # Whoever moves forgets what wake-up it asked for, and asks again.
    return isinstance(command, events.Wake)


for _machine in (MovingMachine, ShadowMachine, SpeculatingMovingMachine, SpeculatingShadowMachine):
    _machine.TestCase.settings = settings(
        max_examples=60, stateful_step_count=40, deadline=None, print_blob=True
    )
TestMoving = MovingMachine.TestCase
TestShadow = ShadowMachine.TestCase
TestSpeculatingMoving = SpeculatingMovingMachine.TestCase
TestSpeculatingShadow = SpeculatingShadowMachine.TestCase


def test_everything_a_call_knows_is_saved_or_made_anew() -> None:
    """Whoever adds a field to `Call` decides here what becomes of it when the call moves."""
    call = Desk().call
    saved = {f"_{name}" for name in snapshot.Snapshot.__struct_fields__}
    given = {"id", "agent", "policy", "greeting", "speaks_first", "started_at"}
    given |= {"carried", "_before_s"}
    apart = {"history", "phase", "turn", "_runs", "_asked", "_ending"}
    of_the_moment = {"_now", "_out"}
    assert set(vars(call)) - saved - given - apart - of_the_moment == set()


def test_settled_turns_are_given_apart() -> None:
    desk = Desk()
    for number in range(6):
        desk.say(f"question {number}")
        desk.delta(f"answer {number}.")
        desk.finish()
    taken = snapshot.take(desk.call)
    assert taken.settled == 5
    assert [turn.text for turn in taken.turns] == ["question 4", "question 5"]
    assert moved(desk.call).history.messages() == desk.call.history.messages()


def test_a_turn_with_an_untold_write_stays_open() -> None:
    desk = Desk()
    desk.say("book it")
    desk.call_tool("book", slot="ten")
    desk.finish("tool_calls")
    for number in range(4):
        desk.say(f"question {number}")
        desk.delta("well.")
        desk.finish()
    assert snapshot.take(desk.call).settled == 1
    before = moved(desk.call)
    (run,) = [each for turn in before.history.turns for each in turn.runs()]
    assert before.receive(events.ToolReturned(run.id, "booked"), desk.now)
    assert run.status == "done"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        '{"v":1}',
        "[" * 5000,
        '{"v":1,"phase":"odd"}',
    ],
)
def test_a_damaged_snapshot_is_an_error_with_a_name(text: str) -> None:
    with pytest.raises(JournalError, match="damaged"):
        snapshot.decode(text)
    with pytest.raises(JournalError, match="damaged"):
        snapshot.decode_turn(text)


def test_a_snapshot_of_another_version_says_so() -> None:
    text = snapshot.encode(snapshot.take(Desk().call)).replace('"v":1', '"v":99')
    with pytest.raises(JournalError, match="version 99"):
        snapshot.decode(text)


def test_missing_turns_are_no_silent_hole() -> None:
    desk = Desk()
    for number in range(4):
        desk.say(f"question {number}")
        desk.delta("well.")
        desk.finish()
    fresh = Call("CA1", desk.agent, instructions="Be kind.")
    with pytest.raises(JournalError, match="hole"):
        snapshot.restore(fresh, snapshot.take(desk.call), [])


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_a_farewell_whose_tool_is_gone_is_an_error(change: str) -> None:
    desk = Desk()
    desk.say("a person please")
    desk.call_tool("transfer", reason="billing")
    desk.finish("tool_calls")
    taken = snapshot.decode(snapshot.encode(snapshot.take(desk.call)))
    tools: Any = () if change == "gone" else (_other_transfer(),)
    fresh = Call("CA1", make_agent(tools=tools, keypad={}), instructions="Be kind.")
    with pytest.raises(JournalError, match="tool"):
        snapshot.restore(fresh, taken, desk.call.history.turns[: taken.settled])


def _other_transfer() -> Any:
    from voxyray.tool import tool

    @tool(effect="end", name="transfer")
    def transfer(floor: int) -> None:
        """Put through to a floor."""

    return transfer
