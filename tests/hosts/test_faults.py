"""Models and tools that fail, hang and lie: the caller is spoken to and the call goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.hosts.third_party import Session
from tests.hosts.world import World, make_agent
from voxyray import journal
from voxyray.errors import StoreError, ToolError
from voxyray.models import Delta, ModelRequest, TextDelta, ToolCall
from voxyray.notes import NOT_RECORDED
from voxyray.policy import Policy
from voxyray.stores import Item, Update, keys
from voxyray.stores.memory import MemoryStore
from voxyray.tool import Tool, tool
from voxyray.twin.provider import Behaviour

POLICY = Policy()
GOOD = Behaviour(text="All good.")
SOON_S = 60.0  # virtual


@pytest.fixture(params=("aiohttp", "asgi"))
def host(request: pytest.FixtureRequest) -> str:
    """Where it is mounted does not matter here."""
    return str(request.param)


async def _asks(session: Session, words: str = "hi") -> str:
    await session.say(words)
    return await session.reply()


class TestModels:
    @pytest.mark.parametrize(
        ("bad", "spoken"),
        [
            (Behaviour(status=500), POLICY.apology),
            (Behaviour(status=401), POLICY.apology),
            (Behaviour(status=429), POLICY.apology),
            (Behaviour(status=400), POLICY.apology),
            (Behaviour(reset=True), POLICY.apology),
            (Behaviour(hang="headers"), f"{POLICY.fillers[0]} {POLICY.apology}"),
            (Behaviour(hang="first_token"), f"{POLICY.fillers[0]} {POLICY.apology}"),
            (Behaviour(text="One two three", stall_at=2), f"One two {POLICY.apology}"),
            (Behaviour(text="One two three", truncate_at=2), f"One two {POLICY.apology}"),
            (Behaviour(text="One two three", corrupt_at=2), f"One two {POLICY.apology}"),
            (Behaviour(text="One two three", error_at=2), f"One two {POLICY.apology}"),
            (Behaviour(truncate_at=0), POLICY.apology),
            (Behaviour(text=""), POLICY.apology),
            (Behaviour(raw=(b"\xff\xfe\x00garbage\n\n" * 50,)), POLICY.apology),
            (Behaviour(raw=(b"data: [1,2]\n\n", b"data: null\n\n")), POLICY.apology),
            (Behaviour(raw=()), POLICY.apology),
        ],
        ids=lambda value: "" if isinstance(value, str) else None,
    )
    async def test_the_caller_is_told_and_the_next_turn_works(
        self, world: World, bad: Behaviour, spoken: str
    ) -> None:
        """original.md 37, complaints.md B2: every failure is silence."""
        await world.open(provider=lambda body: GOOD if "again" in str(body) else bad)
        session = await world.carrier.place()
        said = await _asks(session)
        assert said.replace("  ", " ") == spoken
        assert await _asks(session, "again") == "All good."

    async def test_a_passing_trouble_is_not_even_noticed(self, world: World) -> None:
        await world.open(provider=[Behaviour(status=503), GOOD])
        session = await world.carrier.place()
        assert await _asks(session) == "All good."

    async def test_a_model_that_stays_away_ends_the_call_with_a_way_out(self, world: World) -> None:
        await world.open(provider=Behaviour(status=500))
        session = await world.carrier.place()
        words = [await _asks(session) for _ in range(3)]
        assert words == [POLICY.apology, POLICY.apology, POLICY.way_out]
        assert await session.frame() == {
            "type": "end",
            "handoffData": '{"reasonCode": "model-failure"}',
        }

    async def test_nobody_listens_at_the_address(self, world: World) -> None:
        await world.open(provider=GOOD, openai_base_url="http://127.0.0.1:9/v1")
        session = await world.carrier.place()
        assert await _asks(session) == POLICY.apology

    async def test_an_answer_without_an_end_does_not_outrun_an_interrupt(
        self, world: World
    ) -> None:
        await world.open(provider=[Behaviour(tokens=3000, rate=2000), GOOD])
        session = await world.carrier.place()
        await session.say("hi")
        await session.token()
        await session.interrupt("")
        cut = await asyncio.wait_for(world.provider.wait_cancelled(0), SOON_S)
        assert cut.tokens < 3000
        await session.say("again")
        await asyncio.wait_for(world.provider.wait_requests(2), SOON_S)
        words = await session.reply()
        assert words.endswith("All good.")


class _Broken:
    """A model whose author broke every promise; how: what it does."""

    name = "broken"

    def __init__(self, how: str) -> None:
        self.how = how

    def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        if self.how == "raises at once":
            raise ZeroDivisionError("at once")
        if self.how == "no generator":
            return None  # type: ignore[return-value]
        return self._stream()

    async def _stream(self) -> AsyncGenerator[Delta, None]:
        try:
            if self.how == "raises":
                raise ZeroDivisionError("later")
            yield TextDelta("One two.")
            if self.how == "garbage":
                yield object()  # type: ignore[misc]
            if self.how == "lone surrogate":
                yield TextDelta(" \ud800 three")
            if self.how == "no finish":
                return
            raise KeyError("later")
        finally:
            if self.how == "fails to close":
                raise RuntimeError("while closing")

    async def warm(self) -> None:
        raise RuntimeError("cold")

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "how",
    [
        "raises at once",
        "no generator",
        "raises",
        "raises later",
        "garbage",
        "lone surrogate",
        "no finish",
        "fails to close",
    ],
)
async def test_a_model_that_breaks_its_promises(world: World, how: str) -> None:
    await world.open(model=_Broken(how))
    session = await world.carrier.place()
    assert (await _asks(session)).endswith(POLICY.apology)
    assert (await _asks(session)).endswith(POLICY.apology)


class TestTools:
    async def _told(self, world: World, *tools: Tool, said: str = "", **arguments: Any) -> str:
        """Have the model call the first tool; gives what it is told of the outcome."""
        await world.open(make_agent(tools=tools))
        session = await world.carrier.place()
        await session.say("Please")
        await (await world.model.asked()).call_tool(tools[0].name, **arguments)
        stream = await world.model.asked()
        role, content = stream.messages[-1]
        assert role == "tool"
        await stream.answer("That is that.")
        assert await session.reply() == said + "That is that."
        await session.say("And now?")
        await (await world.model.asked()).answer("Alive.")
        assert await session.reply() == "Alive."
        return str(content)

    @pytest.mark.parametrize(
        "error",
        [
            ZeroDivisionError("oops"),
            KeyError("k"),
            AssertionError(),
            StoreError("gone"),
            StopIteration(),
            RecursionError(),
            TimeoutError(),
            SystemExit(1),
            asyncio.CancelledError(),
            MemoryError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("effect", ["read", "write"])
    async def test_a_tool_that_throws(
        self, world: World, error: BaseException, effect: Any
    ) -> None:
        """original.md 8: one failed tool kills the call."""

        @tool(effect=effect, timeout_s=1)
        async def throws() -> str:
            """Throw."""
            raise error

        told = await self._told(world, throws)
        assert told.startswith(("Error: ", "No outcome"))
        assert "oops" not in told

    @pytest.mark.parametrize(
        "message",
        ["no such slot", "", "half a pair \ud800", "x" * 1_000_000, "nul \0"],
        ids=["text", "empty", "surrogate", "huge", "nul"],
    )
    @pytest.mark.parametrize("effect", ["read", "write"])
    async def test_a_tool_that_fails_in_words(
        self, world: World, message: str, effect: Any
    ) -> None:
        @tool(effect=effect)
        async def fails() -> str:
            """Fail."""
            raise ToolError(message)

        told = await self._told(world, fails)
        assert told.startswith(f"Error: {message[:4]}".rstrip())
        assert len(told) < 10_000
        for call in (await world.store.query(keys.day(_today())))[:1]:
            entries = await world.entries(str(call["call"]), journal.ToolFinished)
            assert entries[0].status == "failed"

    @pytest.mark.parametrize(
        "value",
        [object(), "x" * 1_000_000, "\ud800", 10**5000, float("nan"), {1: {2}}, b"\xff", type, ...],
        ids=lambda value: str(value)[:12] if not isinstance(value, int) else "big",
    )
    async def test_a_tool_that_lies(self, world: World, value: Any) -> None:
        @tool(effect="write")
        async def lies() -> Any:
            """Lie."""
            return value

        told = await self._told(world, lies)
        assert told
        assert len(told) < 10_000

    async def test_an_entangled_result(self, world: World) -> None:
        @tool(effect="read")
        async def tangles() -> Any:
            """Tangle."""
            knot: list[Any] = []
            knot.append(knot)
            return knot

        assert "cannot be put into words" in await self._told(world, tangles)

    @pytest.mark.parametrize("effect", ["read", "write"])
    async def test_a_tool_that_hangs(self, world: World, effect: Any) -> None:
        """complaints.md B5 21: call stuck IN_PROGRESS."""

        @tool(effect=effect, timeout_s=3, filler="I'm looking.")
        async def hangs() -> str:
            """Hang."""
            await asyncio.get_running_loop().create_future()
            return "never"

        told = await self._told(world, hangs, said="I'm looking. ")
        assert "within 3 s" in told

    async def test_a_tool_that_hangs_and_will_not_be_stopped(self, world: World) -> None:
        released = asyncio.Event()

        @tool(effect="read", timeout_s=3)
        async def stays() -> str:
            """Stay."""
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue
            return "never"

        told = await self._told(world, stays, said=f"{POLICY.fillers[0]} ")
        assert "within 3 s" in told
        released.set()

    async def test_a_tool_that_blocks_its_thread(self, world: World) -> None:
        released = threading.Event()

        @tool(effect="read", timeout_s=3)
        def blocks() -> str:
            """Block."""
            released.wait()
            return "late"

        try:
            told = await self._told(world, blocks, said=f"{POLICY.fillers[0]} ")
        finally:
            released.set()
        assert "within 3 s" in told

    async def test_a_tool_that_does_not_exist_or_wrong_arguments(self, world: World) -> None:
        """original.md 10: an unknown tool name is a TypeError."""

        @tool(effect="read")
        async def look_up(word: str) -> str:
            """Look up."""
            return word

        await world.open(make_agent(tools=[look_up]))
        session = await world.carrier.place()
        await session.say("Please")
        await (await world.model.asked()).call_tool("lookup", word="x")
        stream = await world.model.asked()
        assert "there is no tool 'lookup'" in stream.messages[-1][1]
        await stream.call_tool("look_up", id_="call_2", wrong=1)
        stream = await world.model.asked()
        assert "did not run" in stream.messages[-1][1]
        await stream.answer("Well.")
        assert await session.reply() == "Well."


class FailingStore(MemoryStore):
    """Fails for chosen methods: fails holds their names."""

    def __init__(self, *fails: str) -> None:
        super().__init__()
        self.fails = set(fails)
        self.order: list[str] = []

    def _do(self, what: str) -> None:
        if what in self.fails:
            raise StoreError("away")

    async def write(self, *writes: Any) -> None:
        self._do("write")
        await super().write(*writes)
        self.order.append("write")

    async def update(self, update: Update) -> Item:
        self._do("update")
        item = await super().update(update)
        self.order.append(f"update {update.set.get('status', '')}".strip())
        return item

    async def append(self, items: Any) -> None:
        self._do("append")
        await super().append(items)


class TestStore:
    async def test_a_write_is_stored_before_and_after_it_runs(self, world: World) -> None:
        store = FailingStore()

        @tool(effect="write")
        async def book(slot: str) -> str:
            """Book a slot."""
            store.order.append("run")
            return f"booked {slot}"

        await world.open(make_agent(tools=[book]), store=store)
        session = await world.place()
        store.order.clear()
        await session.say("Ten, please")
        await (await world.model.asked()).call_tool("book", slot="10:00")
        stream = await world.model.asked()
        assert store.order == ["write", "run", "update done"]
        (run,) = await store.query(keys.call(session.call_sid), "TOOL#")
        assert (run["status"], run["result"]) == ("done", "booked 10:00")
        await stream.answer("Booked.")
        assert await session.reply() == "Booked."

    async def test_a_write_that_cannot_be_recorded_does_not_run(self, world: World) -> None:
        store = FailingStore()
        ran: list[str] = []

        @tool(effect="write")
        async def book(slot: str) -> str:
            """Book a slot."""
            ran.append(slot)
            return "booked"

        await world.open(make_agent(tools=[book]), store=store)
        session = await world.place()
        await session.say("hi")
        stream = await world.model.asked()
        store.fails = {"write"}
        await stream.call_tool("book", slot="10:00")
        stream = await world.model.asked()
        assert stream.messages[-1] == ("tool", f"Error: {NOT_RECORDED}")
        assert ran == []
        await stream.answer("Sorry.")
        assert await session.reply() == "Sorry."

    async def test_a_write_whose_outcome_cannot_be_recorded_is_still_told(
        self, world: World
    ) -> None:
        store = FailingStore()

        @tool(effect="write")
        async def book(slot: str) -> str:
            """Book a slot."""
            store.fails = {"update"}
            return "booked"

        await world.open(make_agent(tools=[book]), store=store)
        session = await world.place()
        await session.say("hi")
        await (await world.model.asked()).call_tool("book", slot="10:00")
        stream = await world.model.asked()
        assert stream.messages[-1] == ("tool", "booked")

    async def test_the_same_write_twice_in_a_turn_runs_once(self, world: World) -> None:
        """complaints.md B5 18: restaurant reservation made twice."""
        ran: list[str] = []

        @tool(effect="write")
        async def book(slot: str) -> str:
            """Book a slot."""
            ran.append(slot)
            return "booked"

        call = ToolCall("a", "book", '{"slot":"10:00"}')
        again = ToolCall("b", "book", '{"slot": "10:00"}')
        await world.open(
            make_agent(tools=[book]), provider=[Behaviour(tool_calls=(call, again)), GOOD]
        )
        session = await world.place()
        assert await _asks(session) == "All good."
        assert ran == ["10:00"]

    async def test_the_call_goes_on_and_the_journal_is_written_once_the_store_is_back(
        self, world: World
    ) -> None:
        store = FailingStore()
        await world.open(provider=GOOD, store=store)
        session = await world.place()
        store.fails = {"append", "get", "update", "write"}
        assert await _asks(session) == "All good."
        await asyncio.sleep(5)
        assert await _asks(session) == "All good."
        store.fails = set()
        await session.close()
        entries = await world.ended(session.call_sid)
        assert isinstance(entries[0], journal.CallStarted)
        assert len([each for each in entries if isinstance(each, journal.LastSent)]) == 2
        assert world.service.recorder.lost == 0


def _today() -> float:
    import time

    return time.time()
