"""The runner: a call's commands carried out, on a clock that jumps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.console import Console
from tests.support.desk import make_agent
from tests.support.models import HANG, ScriptedModel, words
from voxyray import events, frames, journal
from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.errors import ModelError, ToolError
from voxyray.models import ToolCall
from voxyray.notes import OUTCOME_UNKNOWN
from voxyray.policy import Policy
from voxyray.recorder import Recorder
from voxyray.runner import LINGER_S, Runner
from voxyray.stores import Put, keys
from voxyray.stores.memory import MemoryStore
from voxyray.tool import tool
from voxyray.twin import CallOver, Phone, TwinTimeout, virtual
from voxyray.twin.clock import run_virtual

SETUP = frames.Setup(call_sid="CA1", session_id="VX1")
FAR = 2_000_000_000


class Wire:
    """A line in memory."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.purges = 0
        self.closed = False
        self.blocked: asyncio.Event | None = None

    def send(self, data: bytes) -> None:
        self.sent.append(msgspec.json.decode(data))

    def purge(self) -> None:
        self.purges += 1

    async def drain(self) -> None:
        if self.blocked is not None:
            await self.blocked.wait()

    def close(self) -> None:
        self.closed = True

    @property
    def spoken(self) -> str:
        return "".join(each["token"] for each in self.sent if each["type"] == "text")


def open_call(
    model: Any, agent: Agent | None = None, store: MemoryStore | None = None
) -> tuple[Runner, Wire]:
    agent = agent or make_agent(tools=())
    store = store or MemoryStore(now=lambda: 0)
    wire = Wire()
    call = Call("CA1", agent, instructions="Be kind.", greeting=agent.greeting)
    runner = Runner(
        call,
        line=wire,
        model=model,
        caller=Caller(),
        store=store,
        recorder=Recorder(store),
        expires_at=FAR,
    )
    runner.receive(SETUP)
    return runner, wire


async def over(runner: Runner) -> None:
    runner.receive(events.Closed(1000))
    await runner.finish()
    await runner._recorder.close()


class TestModels:
    @virtual
    async def test_setup_warms_the_model(self) -> None:
        model = ScriptedModel()
        runner, _ = open_call(model)
        await asyncio.sleep(0.1)
        assert model.warmed == 1
        await over(runner)

    @virtual
    async def test_an_interrupt_closes_the_stream_before_anything_else_runs(self) -> None:
        model = ScriptedModel(words("One two three four five", gap_s=0.1))
        runner, wire = open_call(model)
        runner.receive(frames.Prompt("hi"))
        await asyncio.sleep(0.25)
        runner.receive(frames.Interrupt("One"))
        await asyncio.sleep(0)
        assert model.cut == [0]
        await asyncio.sleep(1)
        assert wire.spoken == "One two"
        await over(runner)

    @virtual
    async def test_a_request_that_is_cancelled_before_it_began_is_forgotten(self) -> None:
        model = ScriptedModel(["Hello."])
        runner, _ = open_call(model)
        for _ in range(5):
            runner.receive(frames.Prompt("hi"))
        await asyncio.sleep(0.1)
        assert runner._requests == {}
        assert len(model.requests) == 1
        await over(runner)

    @virtual
    async def test_a_slow_reader_holds_the_model_back(self) -> None:
        model = ScriptedModel(words("One two three"))
        runner, wire = open_call(model)
        wire.blocked = asyncio.Event()
        runner.receive(frames.Prompt("hi"))
        await asyncio.sleep(1)
        assert wire.spoken == "One"
        wire.blocked.set()
        await asyncio.sleep(1)
        assert wire.spoken == "One two three"
        await over(runner)

    @virtual
    async def test_the_end_of_the_call_closes_a_stream(self) -> None:
        model = ScriptedModel([HANG])
        runner, _ = open_call(model)
        runner.receive(frames.Prompt("hi"))
        await asyncio.sleep(0.1)
        await over(runner)
        assert model.cut == [0]
        assert runner._requests == {}

    @virtual
    async def test_a_bug_of_ours_is_told_to_the_caller(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runner, wire = open_call(ScriptedModel([HANG]))
        runner.receive(frames.Prompt("hi"))
        monkeypatch.setattr(runner.call, "receive", _fail)
        runner.receive(frames.Prompt("hi"))
        assert "something went wrong" in wire.spoken
        assert wire.sent[-1] == {
            "type": "end",
            "handoffData": '{"reasonCode":"application-failure"}',
        }
        runner.receive(frames.Prompt("hi"))
        assert len(wire.sent) == 2
        await over(runner)


def _fail(*_: Any) -> Any:
    raise ZeroDivisionError("a caller's words")


class TestTools:
    @virtual
    async def test_a_write_is_waited_for_after_the_caller_has_gone(self) -> None:
        done: list[str] = []

        @tool(effect="write", timeout_s=60)
        async def book() -> str:
            """Book."""
            await asyncio.sleep(LINGER_S - 1)
            done.append("booked")
            return "booked"

        store = MemoryStore(now=lambda: 0)
        model = ScriptedModel([ToolCall("a", "book", "{}")])
        runner, _ = open_call(model, make_agent(tools=(book,)), store)
        runner.receive(frames.Prompt("hi"))
        await asyncio.sleep(0.1)
        await over(runner)
        assert done == ["booked"]
        (run,) = await store.query(keys.call("CA1"), "TOOL#")
        assert (run["status"], run["result"]) == ("done", "booked")

    @virtual
    async def test_what_will_not_end_is_not_waited_for_for_ever(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        released = asyncio.Event()

        @tool(effect="write", timeout_s=600)
        async def stays() -> None:
            """Stay."""
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue

        runner, _ = open_call(
            ScriptedModel([ToolCall("a", "stays", "{}")]), make_agent(tools=(stays,))
        )
        runner.receive(frames.Prompt("hi"))
        await asyncio.sleep(0.1)
        started = asyncio.get_running_loop().time()
        await over(runner)
        assert asyncio.get_running_loop().time() - started < LINGER_S + 5
        assert "will not be stopped" in caplog.text
        released.set()
        await asyncio.sleep(0)

    @pytest.mark.parametrize(
        ("stored", "told"),
        [
            ({"status": "done", "result": "booked"}, "booked"),
            ({"status": "failed", "result": "no such slot"}, "Error: no such slot"),
            ({"status": "begun"}, f"Error: {OUTCOME_UNKNOWN}"),
            ({}, f"Error: {OUTCOME_UNKNOWN}"),
        ],
    )
    def test_a_write_begun_before_is_not_run_again(self, stored: Any, told: str) -> None:
        """DESIGN 2, invariant 4: at most once, whatever is restarted."""
        ran: list[bool] = []

        @tool(effect="write")
        async def book() -> None:
            """Book."""
            ran.append(True)

        async def call() -> None:
            store = MemoryStore(now=lambda: 0)
            model = ScriptedModel([ToolCall("a", "book", "{}")], ["Well."])
            probe, _ = open_call(model, make_agent(tools=(book,)), store)
            probe.receive(frames.Prompt("hi"))
            await asyncio.sleep(0.1)
            await over(probe)
            (item,) = await store.query(keys.call("CA1"), "TOOL#")
            ran.clear()
            await store.write(Put({"pk": item["pk"], "sk": item["sk"], **stored}))
            again = ScriptedModel([ToolCall("a", "book", "{}")], ["Well."])
            runner, wire = open_call(again, make_agent(tools=(book,)), store)
            runner.receive(frames.Prompt("hi"))
            await asyncio.sleep(0.1)
            assert ran == []
            assert again.requests[1].messages[-1].content == told
            assert wire.spoken == "Well."
            await over(runner)

        run_virtual(call())


MARKERS = ("Lovelace", "+15550177777", "secretword", "sk-secret")


class TestLogs:
    def test_nothing_personal_is_logged_in_a_whole_call(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """complaints.md B10 36: personal data in traces and logs."""
        caplog.set_level(logging.DEBUG)

        @tool(effect="write")
        async def fails(name: str) -> str:
            """Fail."""
            raise ValueError(f"no slot for {name}")

        @tool(effect="read")
        def complains(name: str) -> str:
            """Complain."""
            raise ToolError(f"no such person {name}")

        model = ScriptedModel(
            [ToolCall("a", "fails", '{"name":"Lovelace"}')],
            [ToolCall("b", "complains", '{"name":"Lovelace"}')],
            ["I'm sorry, Ms Lovelace."],
            [ZeroDivisionError("they said secretword")],
            [ModelError("HTTP 500", retryable=False)],
            ["Bye Lovelace."],
        )
        console = Console(
            make_agent(greeting="Hello Lovelace", tools=(fails, complains)),
            model,
            caller=Caller("+15550177777", "Ada", "Lovelace"),
        )

        async def caller(phone: Phone) -> None:
            await phone.listen()
            for text in ("I am Lovelace", "secretword", "secretword again", "bye secretword"):
                await phone.say(text)
                await phone.listen()
            phone.raw('{"type":"error","description":"64107 secretword"}')
            phone.raw("secretword")

        record = run_virtual(console.talk(caller))
        assert "Lovelace" in record.heard
        assert "ValueError" in caplog.text  # what happened, and where
        assert "in fails" in caplog.text
        for marker in MARKERS:
            assert marker not in caplog.text


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(["Hello", "What do you sell", "No"])),
        st.tuples(st.just("cut_in"), st.integers(1, 8)),
        st.tuples(st.just("press"), st.sampled_from(["1", "2", "12#", "*"])),
        st.tuples(st.just("wait"), st.floats(0, 4)),
        st.tuples(st.just("listen"), st.just(0)),
        st.tuples(st.just("raw"), st.sampled_from(["{}", "nonsense", '{"type":"interrupt"}'])),
    ),
    max_size=6,
)
LONG = "One two three four five. Six seven eight nine ten. Eleven twelve thirteen fourteen."
ANSWERS = st.lists(
    st.one_of(
        st.just(["Short answer."]),
        st.just(words(LONG, gap_s=0.08)),
        st.just(words(LONG)),
        st.just([2.0, *words(LONG, gap_s=0.3)]),
        st.just([HANG]),
        st.just(["One two", HANG]),
        st.just(["One two", ModelError("cut")]),
        st.just([ModelError("down", retryable=False)]),
        st.just([ToolCall("a", "look_up", '{"word":"x"}')]),
        st.just(["Let me see.", ToolCall("a", "book", '{"slot":"ten"}')]),
        st.just([ToolCall("a", "look_slowly", '{"word":"x"}')]),
    ),
    min_size=1,
    max_size=5,
)


def _caller(actions: list[tuple[str, Any]]) -> Any:
    async def script(phone: Phone) -> None:
        for name, value in actions:
            try:
                match name:
                    case "say":
                        await phone.say(value)
                    case "cut_in":
                        await phone.cut_in("Stop", after_words=value, timeout_s=3)
                    case "press":
                        await phone.press(value)
                    case "wait":
                        await phone.wait(value)
                    case "raw":
                        phone.raw(value)
                    case _:
                        await phone.listen(timeout_s=30)
            except TwinTimeout:
                continue
            except CallOver:
                return
        await phone.wait(60)  # whatever is under way comes to its end

    return script


class TestAnyCall:
    """DESIGN 2's invariants, as a carrier sees them."""

    @given(actions=ACTIONS, answers=ANSWERS, latency_ms=st.sampled_from([0, 0, 40]))
    @settings(
        max_examples=80,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=True,
    )
    def test_invariants(self, actions: Any, answers: Any, latency_ms: float) -> None:
        policy = Policy(max_duration_s=90, silence_after_s=20)
        console = Console(make_agent(policy=policy), ScriptedModel(*answers))
        record = run_virtual(console.talk(_caller(actions), latency_ms=latency_ms))
        faults = [fault for fault in record.errors if fault.code == 64107]
        assert faults == []
        assert console.runner is not None
        assert not console.runner._crashed
        _check_cycles(record)
        if not latency_ms:
            _check_no_late_tokens(record)
        entries = run_virtual(_entries(console))
        assert isinstance(entries[-1], journal.CallEnded)

    @given(cuts=st.lists(st.integers(0, 12), min_size=1, max_size=5), answers=ANSWERS)
    @settings(max_examples=80, deadline=None, derandomize=True)
    def test_history_is_what_was_played(self, cuts: list[int], answers: Any) -> None:
        console = Console(make_agent(policy=Policy(max_duration_s=600)), ScriptedModel(*answers))
        actions: list[tuple[str, Any]] = [("listen", 0)]
        for words_heard in cuts:
            cut = [("cut_in", words_heard)] if words_heard else []
            actions += [("say", "Hello"), *cut, ("listen", 0)]
        record = run_virtual(console.talk(_caller(actions)))
        _check_history(console, record)


async def _entries(console: Console) -> list[Any]:
    items = await console.store.query(keys.call(console.call.id), "J#")
    return [journal.from_item(item).what for item in items]


def _check_cycles(record: Any) -> None:
    """Every reply that spoke is closed: what comes last of all is a `last: true`, or a cut."""
    open_ = False
    for frame in record.frames:
        data = frame.data or {}
        if frame.direction == "to_app" and data.get("type") == "interrupt":
            open_ = False
        elif frame.direction == "from_app" and data.get("type") == "text":
            assert data["token"] or open_ or data["last"]
            open_ = not data["last"]
    assert not open_ or not record.script_done


def _check_no_late_tokens(record: Any) -> None:
    """After an interrupt nothing is sent before the caller, or a deadline, asks for it."""
    cut_at, key_at = None, -1.0
    for frame in record.frames:
        data = frame.data or {}
        kind = data.get("type")
        if kind == "dtmf":
            key_at = frame.t_ms
        if frame.direction == "to_app" and kind == "interrupt":
            # A key's own interrupt comes after it: what is said then answers the key.
            cut_at = None if frame.t_ms - key_at < 1000 else frame.t_ms
        elif frame.direction == "to_app":
            cut_at = cut_at if kind == "info" else None
        elif kind == "text" and cut_at is not None:
            # What left in the same instant had left before the interrupt was there.
            assert frame.t_ms == cut_at or frame.t_ms - cut_at > 900, "a late token"


def _check_history(console: Console, record: Any) -> None:
    """What the model is told was said is, in order, what the carrier played; fillers aside."""
    played = _plain(each.heard for each in record.spoken if each.source in ("greeting", "text"))
    fillers = set(_plain(Policy().fillers)) | set(_plain(["Let me look at x."]))
    at = 0
    for turn in console.call.history.turns[:-1]:
        for word in _plain([turn.reply.heard()]):
            while at < len(played) and played[at] != word:
                assert played[at] in fillers, f"{played[at]!r} was played and is not in history"
                at += 1
            assert at < len(played), f"{word!r} is in history and was not played"
            at += 1


def _plain(texts: Iterable[str]) -> list[str]:
    text = " ".join(texts)
    return "".join(each.lower() if each.isalnum() else " " for each in text).split()
