"""The function that runs a use case's tools: an answer to everything, and each write once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.agent import Agent
from voxyray.aws import toolbox
from voxyray.aws.toolbox import Toolbox, open_toolbox
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import AgentError, SettingsError, StoreError, ToolError
from voxyray.messengers.delivery import Delivery
from voxyray.messengers.outbox import OutboxMessenger
from voxyray.notes import FAILED_UNEXPECTEDLY, NOT_RECORDED, OUTCOME_UNKNOWN
from voxyray.stores import Update, keys
from voxyray.stores.memory import MemoryStore
from voxyray.tool import tool

NOW = 1_700_000_000.0
KEY = "CA1:3:book:abc"


class Desk:
    """An agent's tools, what they did, and the toolbox around them."""

    def __init__(self) -> None:
        self.booked: list[str] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.store = MemoryStore(lambda: NOW)
        self.delivery = Delivery(self.store, {"sms": OutboxMessenger()}, now=lambda: NOW)
        self.box = Toolbox(self.agent(), self.store, self.delivery, now=lambda: NOW)

    def agent(self) -> Agent:
        @tool(effect="read")
        async def look_up(word: str, call: CallContext) -> dict[str, Any]:
            """Look something up."""
            return {
                "word": word,
                "at": call.now().isoformat(),
                "agents": [each.name for each in call.agents],
                "call": [call.id, call.agent, call.turn, call.key],
            }

        @tool(effect="write")
        async def book(slot: str, caller: Caller, call: CallContext) -> str:
            """Book a slot."""
            self.begun.set()
            if slot == "slow":
                await self.gate.wait()
            if slot == "taken":
                await caller.save(last_name="Late")
                raise ToolError("It is taken.")
            if slot == "broken":
                raise RuntimeError(caller.number)
            self.booked.append(slot)
            await caller.save(first_name="Ada", notes={"slot": slot})
            call.send_digits("12")
            await call.send_sms(caller.number, f"Booked {slot}.")
            return f"Booked {slot}."

        @tool(effect="write")
        def nothing() -> None:
            """Do nothing, in a thread."""

        @tool(effect="end")
        def transfer(reason: str) -> dict[str, str]:
            """Put through."""
            return {"reasonCode": "live-agent-handoff", "reason": reason}

        tools = [look_up, book, nothing, transfer]
        return Agent(instructions="Be kind.", name="shop", tools=tools)

    async def ask(self, name: str, key: str = KEY, **arguments: Any) -> dict[str, Any]:
        answer = await self.box.answer(event(name, key, **arguments))
        seen: dict[str, Any] = json.loads(json.dumps(answer))  # as Lambda gives it
        return seen

    async def ledger(self) -> list[Any]:
        return await self.store.query(keys.call("CA1"))


def event(name: str, key: str = KEY, **arguments: Any) -> dict[str, Any]:
    return {
        "tool": name,
        "arguments": arguments,
        "caller": {"number": "+15550100", "notes": {"a": "1"}},
        "call": {
            "id": "CA1",
            "agent": "shop",
            "turn": 3,
            "key": key,
            "time_zone": "America/Denver",
            "agents": [{"name": "other", "title": "Other", "description": ""}],
        },
    }


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_tool_knows_its_call(desk: Desk) -> None:
    answer = await desk.ask("look_up", word="x")
    assert answer.keys() == {"result"}
    assert json.loads(answer["result"]) == {
        "word": "x",
        "at": "2023-11-14T15:13:20-07:00",
        "agents": ["other"],
        "call": ["CA1", "shop", 3, KEY],
    }
    assert await desk.ledger() == []


async def test_a_write_is_done_and_tells_all_that_came_of_it(desk: Desk) -> None:
    assert await desk.ask("book", slot="9") == {
        "result": "Booked 9.",
        "actions": [{"type": "sendDigits", "digits": "12"}],
        "caller": {
            "number": "+15550100",
            "first_name": "Ada",
            "last_name": "",
            "email": "",
            "agent": "",
            "language": "",
            "notes": {"a": "1", "slot": "9"},
        },
    }
    assert (await Caller.load(desk.store, "+15550100")).first_name == "Ada"
    assert [entry.body for entry in await desk.delivery.entries()] == ["Booked 9."]
    (item,) = await desk.ledger()
    assert item["expires_at"] == NOW + 30 * 86_400


async def test_nothing_returned_and_what_ends_a_call(desk: Desk) -> None:
    assert await desk.ask("nothing") == {"result": None}
    answer = await desk.ask("transfer", reason="why")
    assert json.loads(answer["result"]) == {"reasonCode": "live-agent-handoff", "reason": "why"}


async def test_the_same_key_is_answered_as_at_first_and_does_nothing_again(desk: Desk) -> None:
    first = await desk.ask("book", slot="9")
    assert await desk.ask("book", slot="9") == first
    assert desk.booked == ["9"]
    assert len(await desk.delivery.entries()) == 1
    await desk.ask("book", "CA1:4:book:abc", slot="9")
    assert desk.booked == ["9", "9"]


@pytest.mark.parametrize(
    ("slot", "told"),
    [("taken", "It is taken."), ("broken", FAILED_UNEXPECTEDLY.format("RuntimeError"))],
)
async def test_a_failure_is_an_outcome_too(
    desk: Desk, slot: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = await desk.ask("book", slot=slot)
    assert first["error"] == told
    assert ("caller" in first) is (slot == "taken")
    desk.begun.clear()
    assert await desk.ask("book", slot=slot) == first
    assert not desk.begun.is_set()
    assert "+1555" not in caplog.text


async def test_asked_again_while_it_runs_it_is_unknown_and_done_once(desk: Desk) -> None:
    running = asyncio.ensure_future(desk.ask("book", slot="slow"))
    await desk.begun.wait()
    assert await desk.ask("book", slot="slow") == {"error": OUTCOME_UNKNOWN}
    desk.gate.set()
    assert (await running)["result"] == "Booked slow."
    assert (await desk.ask("book", slot="slow"))["result"] == "Booked slow."
    assert desk.booked == ["slow"]


async def test_a_process_that_died_leaves_it_unknown(desk: Desk) -> None:
    running = asyncio.ensure_future(desk.box.answer(event("book", slot="slow")))
    await desk.begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    desk.gate.set()
    assert await Toolbox(desk.agent(), desk.store).answer(event("book", slot="slow")) == {
        "error": OUTCOME_UNKNOWN
    }
    assert desk.booked == []


async def test_a_tool_is_stopped_before_its_function_is(desk: Desk) -> None:
    answer = await desk.box.answer(event("book", slot="slow"), within_s=0.01)
    assert answer["error"].startswith("It took too long and was stopped")
    assert await desk.ask("book", slot="slow") == {"error": OUTCOME_UNKNOWN}


class Failing(MemoryStore):
    """A store whose methods fail, by name."""

    def __init__(self, *fails: str) -> None:
        super().__init__()
        self.fails = set(fails)

    async def get(self, pk: str, sk: str) -> Any:
        self._check("get")
        return await super().get(pk, sk)

    async def write(self, *writes: Any) -> None:
        self._check("write")
        await super().write(*writes)

    async def update(self, update: Update) -> Any:
        self._check("update")
        return await super().update(update)

    def _check(self, name: str) -> None:
        if name in self.fails:
            raise StoreError("away")


async def test_what_cannot_be_recorded_is_not_done(desk: Desk) -> None:
    desk.box = Toolbox(desk.agent(), Failing("write"))
    assert await desk.ask("book", slot="9") == {"error": NOT_RECORDED}
    assert desk.booked == []


async def test_an_outcome_that_cannot_be_stored_is_told_and_then_unknown(desk: Desk) -> None:
    store = Failing("update")
    desk.box = Toolbox(desk.agent(), store)
    assert await desk.ask("nothing") == {"result": None}
    assert await desk.ask("nothing") == {"error": OUTCOME_UNKNOWN}
    store.fails = {"get"}
    assert await desk.ask("nothing") == {"error": OUTCOME_UNKNOWN}


async def test_a_damaged_outcome_is_unknown(desk: Desk) -> None:
    await desk.ask("nothing")
    (item,) = await desk.ledger()
    for answer in ("{", "[]", 3):
        await desk.store.update(Update(item["pk"], item["sk"], set={"answer": answer}))
        assert await desk.ask("nothing") == {"error": OUTCOME_UNKNOWN}


async def test_wrong_arguments_are_refused_in_the_words_of_the_tool(desk: Desk) -> None:
    answer = await desk.ask("book", slt="9")
    assert answer["error"].startswith("book did not run. slot: missing")
    assert await desk.ledger() == []


GOOD = event("look_up", word="x")


@pytest.mark.parametrize(
    "hostile",
    [
        None,
        "",
        [],
        {},
        {"tool": "look_up"},
        {**GOOD, "tool": 3},
        {**GOOD, "tool": "x" * 9999},
        {**GOOD, "arguments": None},
        {**GOOD, "arguments": "{}"},
        {**GOOD, "arguments": {"word": "\ud800" * 99_999}},
        {**GOOD, "caller": "+1"},
        {**GOOD, "caller": {"notes": {"a": 1}}},
        {**GOOD, "call": {**GOOD["call"], "id": "CA 1"}},
        {**GOOD, "call": {**GOOD["call"], "id": ""}},
        {**GOOD, "call": {**GOOD["call"], "turn": "3"}},
        {**GOOD, "call": {**GOOD["call"], "time_zone": "Mars/Olympus"}},
        {**GOOD, "call": {**GOOD["call"], "time_zone": "../../etc/passwd"}},
        {**GOOD, "call": {**GOOD["call"], "time_zone": ""}},
        {**GOOD, "call": {**GOOD["call"], "agents": [{}]}},
        event("book", "", slot="9"),
        event("book", "x" * 9999, slot="9"),
        event("book", "\ud800", slot="9"),
    ],
    ids=lambda each: str(each)[:60],
)
async def test_a_hostile_event_is_answered_and_does_nothing(desk: Desk, hostile: Any) -> None:
    answer = await desk.box.answer(hostile)
    assert answer.keys() == {"error"}
    assert isinstance(answer["error"], str)
    assert len(answer["error"]) < 500
    assert desk.booked == []


BOX = Toolbox(Desk().agent(), MemoryStore())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON | st.fixed_dictionaries(dict.fromkeys(GOOD, JSON)))
def test_whatever_the_event_is_there_is_an_answer(hostile: Any) -> None:
    async def ask() -> None:
        answer = await BOX.answer(hostile)
        assert isinstance(answer["error"], str)

    asyncio.run(ask())


# The handler, as Lambda calls it


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 20_000


FILES = {
    "agent.toml": 'title = "Shop"\ntime_zone = "Asia/Tokyo"\n',
    "prompt.md": "Be kind.\n",
    "tools.py": (
        "import asyncio\n"
        "from voxyray.tool import tool\n"
        '@tool(effect="read")\n'
        "async def look_up(word: str) -> str:\n"
        '    """Look it up."""\n'
        '    if word == "cancel":\n'
        "        raise asyncio.CancelledError\n"
        '    if word == "exit":\n'
        "        raise SystemExit\n"
        "    return word.upper()\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "shop"
    made.mkdir()
    for name, text in FILES.items():
        (made / name).write_text(text)
    level = logging.getLogger().level
    yield made
    logging.getLogger().setLevel(level)


@pytest.fixture
def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VOXYRAY_STORE", "memory:")
    monkeypatch.setenv("VOXYRAY_AGENT", str(folder))
    toolbox._opened.cache_clear()
    yield
    if toolbox._opened.cache_info().currsize:
        toolbox._opened()[0].close()
    toolbox._opened.cache_clear()


@pytest.mark.usefixtures("opened")
def test_the_handler_runs_the_tools_of_its_folder_on_one_loop() -> None:
    for word in ("a", "b"):
        answer = toolbox.handler(event("look_up", word=word), Context())
        assert answer == {"result": word.upper()}
    assert toolbox._opened.cache_info().misses == 1


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("word", ["cancel", "exit"])
def test_the_handler_answers_whatever_a_tool_does(word: str) -> None:
    assert "error" in toolbox.handler(event("look_up", word=word), Context())
    assert toolbox.handler(event("look_up", word="a"), Context()) == {"result": "A"}


@pytest.mark.usefixtures("opened")
def test_a_setting_that_is_wrong_is_an_answer_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VOXYRAY_AGENT", "/nowhere")
    assert "error" in toolbox.handler(event("look_up", word="a"), Context())
    assert "/nowhere/agent.toml is missing" in caplog.text


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(SettingsError, match="VOXYRAY_AGENT is not set"):
        open_toolbox({"VOXYRAY_STORE": "memory:"})
    with pytest.raises(AgentError, match="is missing"):
        open_toolbox({"VOXYRAY_STORE": "memory:", "VOXYRAY_AGENT": str(folder / "no")})


async def test_messages_go_into_the_outbox_where_there_is_a_queue(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    class Queue:
        def __init__(self, url: str) -> None:
            self.url = url

        async def send(self, body: str, delay_s: float = 0.0) -> None:
            sent.append(body)

    monkeypatch.setattr("voxyray.aws.queues.Queue", Queue)
    (folder / "tools.py").write_text(
        "from voxyray.context import CallContext\n"
        "from voxyray.tool import tool\n"
        '@tool(effect="write")\n'
        "async def tell(call: CallContext) -> str:\n"
        '    """Tell them."""\n'
        '    return await call.send_sms("+15550100", "Hello.")\n'
    )
    environ = {
        "VOXYRAY_STORE": "memory:",
        "VOXYRAY_AGENT": str(folder),
        "VOXYRAY_SMS_QUEUE_URL": "https://sqs.example.com/1/sms",
    }
    answer = await open_toolbox(environ).answer(event("tell"))
    (ticket,) = map(msgspec.json.decode, sent)
    assert ticket["sk"].endswith(answer["result"])
    del environ["VOXYRAY_SMS_QUEUE_URL"]
    answer = await open_toolbox(environ).answer(event("tell"))
    assert answer == {"error": "no sms can be sent from here"}
