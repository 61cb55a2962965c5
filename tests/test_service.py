"""The service: what outlives a call, and what it leaves behind."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.support.desk import make_agent
from tests.support.models import HANG, ScriptedModel
from voxyray import callfile, events, frames, journal
from voxyray.caller import Caller
from voxyray.errors import SettingsError
from voxyray.models.offline import OfflineModel
from voxyray.models.openai import OpenAIModel
from voxyray.reception import Admission
from voxyray.replay import replay
from voxyray.service import Service, choose_model
from voxyray.settings import Settings
from voxyray.stores import keys
from voxyray.stores.memory import MemoryStore
from voxyray.twin import virtual


class Wire:
    """A line that forgets."""

    def send(self, data: bytes) -> None: ...
    def purge(self) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...


class KeptStore(MemoryStore):
    """Can still be read after it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True


def open_service(model: Any = None, **settings: Any) -> Service:
    agent = make_agent(tools=())
    return Service(
        Settings(**settings),
        [agent],
        store=KeptStore(now=lambda: 0),
        models={agent.name: model or ScriptedModel()},
    )


def admission(call: str = "CA1") -> Admission:
    setup = frames.Setup(call_sid=call)
    return Admission(make_agent(tools=()), Caller("+15550100001"), "Be kind.", "Hello", setup)


@virtual
async def test_a_call_is_listed_in_its_day_and_forgotten_when_it_ends() -> None:
    service = open_service()
    runner = service.start(admission(), Wire())
    started = runner.call.started_at
    assert list(service.runners) == ["CA1"]
    runner.receive(events.Closed(1000))
    await service.end(runner)
    assert service.runners == {}
    await service.close()
    (item,) = await service.store.query(keys.day(started))
    assert (item["call"], item["agent"], item["caller"]) == ("CA1", "agent", "+15550100001")


@virtual
async def test_what_a_call_was_made_with_is_kept_so_that_it_can_be_replayed() -> None:
    service = open_service(ScriptedModel(["Hi ", 0.5, "there."]))
    runner = service.start(admission(), Wire())
    await asyncio.sleep(5.123)
    runner.receive(frames.Prompt("hello"))
    await asyncio.sleep(20)
    runner.receive(events.Closed(1000))
    await service.close()
    call = await callfile.load(service.store, "CA1")
    assert call.sessions[0].setup.instructions == "Be kind."
    assert replay(call).identical


@virtual
async def test_an_older_session_that_ends_late_does_not_take_the_newer_one_along() -> None:
    service = open_service()
    older = service.start(admission(), Wire())
    newer = service.start(admission(), Wire())
    await service.end(older)
    assert service.runners == {"CA1": newer}
    await service.end(newer)
    await service.close()


@virtual
async def test_closing_ends_all_calls_together_and_writes_their_journals() -> None:
    model = ScriptedModel([HANG])
    service = open_service(model)
    for number in range(3):
        service.start(admission(f"CA{number}"), Wire()).receive(frames.Prompt("hi"))
    await asyncio.sleep(0.1)
    started = asyncio.get_running_loop().time()
    await service.close()
    assert asyncio.get_running_loop().time() - started < 1
    assert sorted(model.cut) == [0, 1, 2]
    assert model.closed
    store = service.store
    assert isinstance(store, KeptStore)
    assert store.closed
    for number in range(3):
        items = await store.query(keys.call(f"CA{number}"), "J#")
        kinds = [type(journal.from_item(item).what) for item in items]
        assert journal.TurnStarted in kinds


def test_without_an_agent_there_is_nothing_to_serve() -> None:
    with pytest.raises(SettingsError, match="no agent"):
        Service(Settings(), [])


def test_the_switch_that_checks_nothing_is_loud(caplog: pytest.LogCaptureFixture) -> None:
    """conversationrelay.md 9 no. 18: validation switched off for a tunnel, and forgotten."""
    with caplog.at_level(logging.WARNING):
        open_service(accept_unsigned=True)
    assert "VOXYRAY_ACCEPT_UNSIGNED" in caplog.text


class TestModels:
    @pytest.mark.parametrize(
        ("settings", "agent", "kind", "name"),
        [
            ({}, "", OfflineModel, "offline"),
            ({"openai_api_key": "k"}, "", OpenAIModel, "openai:"),
            ({"openai_api_key": "k", "model": "openai:m"}, "", OpenAIModel, "openai:m"),
            ({"openai_api_key": "k", "model": "openai:m"}, "openai:own", OpenAIModel, "openai:own"),
            ({"openai_api_key": "k"}, "offline", OfflineModel, "offline"),
        ],
    )
    async def test_the_agents_own_else_the_settings_else_offline(
        self, settings: dict[str, str], agent: str, kind: type[Any], name: str
    ) -> None:
        model = choose_model(Settings(**settings), make_agent(model=agent))  # type: ignore[arg-type]
        assert isinstance(model, kind)
        assert model.name.startswith(name)
        await model.close()

    @pytest.mark.parametrize(
        ("spec", "named"),
        [("openai:m", "OPENAI_API_KEY"), ("gpt-5", "VOXYRAY_MODEL"), ("openai:", "VOXYRAY_MODEL")],
    )
    def test_a_model_that_cannot_be_asked_is_told_at_start(self, spec: str, named: str) -> None:
        with pytest.raises(SettingsError, match=named):
            choose_model(Settings(model=spec), make_agent())
