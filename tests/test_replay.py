"""A recorded call, once more: identical frames and history, or the first decision that differs."""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.support.console import CALL_ID, Console
from tests.support.desk import SETUP, Desk, make_agent
from tests.support.recorded import recorded, stored
from tests.test_call_invariants import SPECULATING, CallMachine
from tests.test_snapshot import moved
from voxyray import callfile, checksums, events, frames, history, journal
from voxyray.agent import Agent
from voxyray.call import Call, _not_before
from voxyray.caller import Caller
from voxyray.callfile import CallFile, Session, setup_of
from voxyray.errors import JournalError
from voxyray.events import AskModel, Command
from voxyray.floor import Floor
from voxyray.loading import load_folder
from voxyray.models import ModelRequest, Usage
from voxyray.models.offline import OfflineModel, load_script
from voxyray.replay import Difference, Input, replay
from voxyray.speech import SpeechFilter
from voxyray.stores import keys
from voxyray.twin import CallOver, Phone, TwinTimeout
from voxyray.twin.clock import run_virtual

ROOT = Path(__file__).parent.parent


class RecordedMachine(CallMachine):
    """Whatever happened in a call, its record leads to the same frames and the same history."""

    def __init__(self) -> None:
        super().__init__()
        self.setup = setup_of(self.desk.call)

    def teardown(self) -> None:
        super().teardown()
        call = callfile.decode(callfile.encode(recorded(self.desk, self.setup)))
        asked: dict[int, ModelRequest] = {}

        def watch(_: Input, commands: list[Command]) -> None:
            asked.update({c.request: c.ask for c in commands if isinstance(c, AskModel)})

        replayed = replay(call, watch)
        assert replayed.difference is None, str(replayed.difference)
        assert replayed.stopped is None, replayed.notes
        assert replayed.sent == tuple(self.desk.sent)
        assert asked == self.desk.asks


class SpeculatingRecordedMachine(RecordedMachine):
    """A guess is kept back and confirmed, or dropped, at the same moments once more."""

    POLICY = SPECULATING

    @rule(after_s=st.sampled_from([0.05, 0.3]), finishes=st.booleans())
    def utter(self, after_s: float, finishes: bool) -> None:
        """A partial, what the model makes of it, and the final words."""
        self.prompt("book it", last=False)
        self.desk.pass_time(0.25)
        self.speak("sure")
        if finishes:
            self.finish("stop")
        self.wait(after_s)
        self.prompt("Book it.", last=True)


TestSpeculatingRecorded = SpeculatingRecordedMachine.TestCase
TestSpeculatingRecorded.settings = settings(
    max_examples=500,
    stateful_step_count=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestRecorded = RecordedMachine.TestCase
TestRecorded.settings = settings(
    max_examples=1000,
    stateful_step_count=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)


# The twin

ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("say"),
            st.sampled_from(
                [
                    "My name is Ada Lovelace",
                    "I'd like to order some food",
                    "I'd like a pizza margherita and two colas",
                    "Yes, please",
                    "No",
                    "What's on the menu?",
                    "Please put me through to the apartment search",
                    "Goodbye",
                ]
            ),
        ),
        st.tuples(st.just("cut"), st.integers(0, 12)),
        st.tuples(st.just("press"), st.sampled_from(["1", "42#", "0"])),
        st.tuples(st.just("wait"), st.sampled_from([0.2, 2.0, 14.0])),
    ),
    max_size=7,
)
AGENTS = [load_folder(ROOT / "agents" / name) for name in ("default", "restaurant_order")]


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
@given(actions=ACTIONS, words_per_s=st.sampled_from([0, 12, 300]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_call_of_the_twin_replays_identically(
    agent: Agent, actions: list[tuple[str, Any]], words_per_s: float
) -> None:
    call, sent = run_virtual(placed(agent, actions, words_per_s))
    call = callfile.decode(callfile.encode(call))
    replayed = replay(call)
    assert replayed.identical, (str(replayed.difference), replayed.notes)
    assert [msgspec.json.decode(frames.encode(frame)) for frame in replayed.sent] == sent


async def placed(
    agent: Agent, actions: list[tuple[str, Any]], words_per_s: float
) -> tuple[CallFile, list[Any]]:
    """Place a call with the offline model; gives its record, and what the carrier got."""
    script = load_script(agent.offline) if agent.offline else None
    model = OfflineModel(script, first_token_s=0.3, words_per_s=words_per_s)
    texts = agent.render(Caller(), datetime(2026, 5, 4, 12, tzinfo=UTC), [])
    plain = dataclasses.replace(agent, instructions="-", greeting=texts.greeting)
    console = Console(plain, model)
    console.call.history.instructions = texts.instructions
    setup = setup_of(console.call)

    async def caller(phone: Phone) -> None:
        with contextlib.suppress(CallOver, TwinTimeout):
            await phone.listen()
            for what, value in actions:
                await act(phone, what, value)
            await phone.wait(1)

    record = await console.talk(caller)
    items = await console.store.query(keys.call(CALL_ID), "J#")
    entries = tuple(journal.from_item(item) for item in items)
    sent = [each.data for each in record.frames if each.direction == "from_app"]
    return CallFile(CALL_ID, (Session(setup, entries),)), sent


async def act(phone: Phone, what: str, value: Any) -> None:
    if what == "say":
        await phone.say(value)
        await phone.listen()
    elif what == "cut":
        await phone.say("Tell me more")
        await phone.cut_in("No, wait", after_words=value)
    elif what == "press":
        await phone.press(value)
    else:
        await phone.wait(value)


# What is found


def talk() -> Desk:
    """A call of six turns with everything in it that can change."""
    desk = Desk()
    desk.pass_time(0.123456)
    desk.say("hello")  # turn 1
    desk.delta("It **costs**")
    desk.pass_time(0.05)
    desk.delta(" five.")
    desk.finish()
    desk.say("and what is love?")  # turn 2
    desk.pass_time(1.6)  # a filler
    desk.call_tool("look_up", word="love")
    desk.do(events.ModelEvent(desk.request, Usage(10, 3)))
    desk.finish("tool_calls")
    desk.pass_time(0.4)
    desk.return_tool("a feeling", actions=(frames.Play("https://example.com/a.mp3"),))
    desk.answer("It is a feeling that many have.")
    desk.info("tokensPlayed", "It is a")
    desk.interrupt("It is a feeling")
    desk.pass_time(11)  # turn 3: nothing followed
    desk.answer("As I said.")
    desk.pass_time(20)  # turn 4: silence
    desk.say("bye")
    desk.call_tool("transfer", reason="billing")
    desk.finish("tool_calls")
    desk.pass_time(10)
    desk.return_tool("x", handoff='{"reasonCode":"live-agent-handoff"}')
    desk.do(events.Closed(1000))
    return desk


def no_audio(call: Call, frame: frames.OutboundFrame) -> None:
    if not isinstance(frame, frames.Play):
        send(call, frame)


send, end_call = Call._send, Call._end_call


def differs(call: CallFile) -> Difference:
    difference = replay(call).difference
    assert difference is not None
    return difference


def test_a_call_with_everything_is_identical() -> None:
    desk = talk()
    replayed = replay(recorded(desk))
    assert replayed.identical, str(replayed.difference)
    assert replayed.sent == tuple(desk.sent)
    assert replayed.turns == tuple(range(6))
    assert replayed.notes == ()


@pytest.mark.parametrize(
    ("owner", "name", "change", "turn", "expected", "got"),
    [
        (SpeechFilter, "feed", lambda _, text: text, 1, "It costs five.", "It **costs** five."),
        (Call, "_filler_of", lambda *_: "Hmm.", 2, "One moment, please.", "Hmm."),
        (Call, "_resume_after_s", lambda _: 60.0, 2, "the resume deadline", "nothing"),
        (Floor, "hears_caller", lambda _: True, 3, "a turn caused by resume", "nothing"),
        (Call, "_send", no_audio, 2, "after the recorded frames", "other frames"),
        (history, "CUT_MARK", "...", 3, "with the recorded history", "another history"),
        (Call, "_end_call", lambda call, _: end_call(call, None), 5, "by agent", "other frames"),
        (checksums, "of_messages", lambda _: 0, 1, "request 1 to the model", "history"),
    ],
    ids=["words", "filler", "patience", "noise", "audio", "mark", "handoff", "messages"],
)
def test_a_change_of_behaviour_is_caught_and_named(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    change: Any,
    turn: int,
    expected: str,
    got: str,
) -> None:
    call = recorded(talk())
    monkeypatch.setattr(owner, name, change)
    difference = differs(call)
    assert difference.turn == turn, str(difference)
    assert expected in difference.expected
    assert got in difference.got


def test_the_difference_reads_as_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    call = recorded(talk())
    monkeypatch.setattr(Call, "_filler_of", lambda *_: "Hmm.")
    assert str(differs(call)) == (
        "turn 2, 1.673 s into the call: expected filler words “One moment, please.”; "
        "got filler words “Hmm.”"
    )


def test_sessions_are_replayed_one_after_the_other() -> None:
    first = talk()
    second = Desk(make_agent(name="other"), set_up=False)
    second.call = Call(
        "CA1",
        second.agent,
        instructions="Be brief.",
        greeting="Other here.",
        started_at=40.25,
        carried=first.call.carry(),
    )
    setup = setup_of(second.call)
    second.do(SETUP)
    second.say("me again")
    second.answer("Welcome.")
    second.do(events.Closed(1006))
    one, two = recorded(first), recorded(second, setup)
    call = CallFile("CA1", (*one.sessions, *two.sessions))
    replayed = replay(callfile.decode(callfile.encode(call)))
    assert replayed.identical, str(replayed.difference)
    assert replayed.sent == (*first.sent, *second.sent)
    assert replayed.turns == tuple(range(8))


# Records that do not suffice


def test_a_call_that_goes_on_is_replayed_as_far_as_it_got() -> None:
    desk = Desk()
    desk.say("hello")
    desk.answer("Hi.")
    desk.say("and now?")
    desk.delta("Well")
    replayed = replay(recorded(desk))
    assert replayed.difference is None
    assert replayed.stopped == 2
    assert "ends in the middle of a reply" in replayed.notes[0]


def test_words_that_died_with_their_process_are_said_to_be_lost() -> None:
    desk = Desk()
    desk.say("hello")
    desk.delta("Well, ")
    desk.call = moved(desk.call)
    desk.do(events.ModelFailed(desk.request, "gone", retryable=True))
    desk.answer("Hi.")
    desk.do(events.Closed())
    replayed = replay(recorded(desk))
    assert (replayed.difference, replayed.stopped) == (None, 1)
    assert "lost with the process" in replayed.notes[0]


def test_a_journal_of_before_replay_is_replayed_as_well_as_it_can_be() -> None:
    desk = talk()
    entries = tuple(msgspec.structs.replace(e, what=older(e.what)) for e in stored(desk.entries))
    replayed = replay(CallFile("CA1", (Session(setup_of(desk.call), entries),)))
    assert replayed.difference is None, str(replayed.difference)
    assert "older version" in replayed.notes[0]


def older(what: Any) -> Any:
    unknown: dict[str, Any] = {
        field.name: field.default
        for field in msgspec.structs.fields(what)
        if field.name in ("clock", "told", "said", "sent", "steps", "others")
    }
    return msgspec.structs.replace(what, **unknown)


@pytest.mark.parametrize("gone", [0, 1, 5, 20])
def test_a_missing_entry_is_no_difference_but_an_error(gone: int) -> None:
    desk = talk()
    entries = stored(desk.entries)
    entries = (*entries[:gone], *entries[gone + 1 :])
    with pytest.raises(JournalError, match=f"entry {gone} of session 1 was not kept"):
        replay(CallFile("CA1", (Session(setup_of(desk.call), entries),)))


def test_an_empty_session_is_an_error() -> None:
    with pytest.raises(JournalError, match="no journal"):
        replay(CallFile("CA1", (Session(setup_of(Desk().call), ()),)))


def test_a_reply_of_any_length_fits_into_an_entry() -> None:
    desk = Desk()
    desk.say("hello")
    for _ in range(100):
        desk.delta("so long " * 1000)
    desk.finish()
    (closed,) = desk.noted(journal.LastSent)
    assert len(closed.said) == 2000
    assert closed.sent is not None


# Exactly what was decided by


@given(st.floats(0, 2e9), st.lists(st.floats(0, 20), max_size=12))
def test_times_are_kept_exactly(start: float, waits: list[float]) -> None:
    """Deadlines that fall on the same moment as an input fall on it again."""
    desk = Desk(set_up=False)
    desk.now = start
    desk.do(SETUP)
    for n, wait in enumerate(waits):
        desk.pass_time(wait)
        desk.press("42#"[n % 3])
    replayed = replay(recorded(desk))
    assert replayed.difference is None, str(replayed.difference)
    assert replayed.sent == tuple(desk.sent)


@given(st.floats(0, 2e9))
def test_a_wake_up_is_never_before_its_deadline(at: float) -> None:
    """On a clock that stands still between timers, one that is would never end."""
    wake = _not_before(at)
    assert at <= wake <= at + 2e-6
    assert round(wake * 1e6) / 1e6 == wake


@pytest.mark.parametrize("nth", range(9))
def test_a_later_session_on_the_wall_clock_rounds_the_same_way(nth: int) -> None:
    """Lambda's clock is epoch seconds, which have no exact microseconds."""
    desk = Desk(set_up=False)
    began_at = 1_795_376_759.5937
    desk.now = began_at + 7.123_456_7
    carried = history.Carried((), 3, began_at)
    desk.call = Call(
        "CA1",
        desk.agent,
        instructions="Be kind.",
        greeting=desk.agent.greeting,
        started_at=began_at + 7.0 + nth * 2**-22,  # as near as two times can be
        carried=carried,
    )
    setup = setup_of(desk.call)
    desk.do(SETUP)
    for _ in range(300):
        desk.now += 0.012_345_67
        desk.info("roundTripDelayMs", "148")
    replayed = replay(recorded(desk, setup))
    assert replayed.identical, str(replayed.difference)
