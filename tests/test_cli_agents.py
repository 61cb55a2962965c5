"""`voxyray agents` and `voxyray outbox` as people and scripts use them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from voxyray.cli import main
from voxyray.definitions import definition_of, save
from voxyray.loading import load_folder
from voxyray.messengers import Message
from voxyray.messengers.delivery import Delivery
from voxyray.messengers.outbox import OutboxMessenger
from voxyray.settings import VARIABLES
from voxyray.stores import Store, keys
from voxyray.stores.opening import open_store

TOML = """
title = "Bike shop"
description = "Opening hours and repairs."
greeting = "Hello{% if caller.known %} {{ caller.first_name }}{% endif %}!"

[relay]
language = "en-GB"

[keypad]
1 = { say = "We are open." }
2 = { tool = "opening_hours" }
"""
TOOLS = '''
from voxyray import hang_up, tool


@tool(effect="read")
def opening_hours(day: str) -> str:
    """When the shop is open."""
    return "nine to six"


tools = [opening_hours, hang_up]
'''
SEEDS = """
from datetime import datetime

from voxyray.stores import Put, Store


async def seed(store: Store, now: datetime) -> int:
    assert now.tzinfo is not None
    for hour in range(3):
        await store.write(Put({"pk": "HOURS", "sk": str(hour)}))
    return 3
"""


@pytest.fixture(autouse=True)
def bikes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with one agent, and a store, of the test's own."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("VOXYRAY_STORE", f"sqlite:{tmp_path}/calls.sqlite")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return written(tmp_path / "agents" / "bikes")


def written(folder: Path) -> Path:
    folder.mkdir(parents=True)
    texts = {"agent.toml": TOML, "prompt.md": "Sell bikes{{ caller.name }}.", "tools.py": TOOLS}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def voxyray(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def told(*arguments: str, code: int = 0) -> str:
    result = voxyray(*arguments)
    assert result.exit_code == code, result.output
    return result.stdout


def in_store(path: Path, work: Callable[[Store], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        store = open_store(f"sqlite:{path}/calls.sqlite")
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


class TestList:
    def test_tells_what_each_agent_is_and_can(self, bikes: Path) -> None:
        (agent,) = json.loads(told("agents", "list", "--json"))["agents"]
        assert agent == {
            "name": "bikes",
            "title": "Bike shop",
            "description": "Opening hours and repairs.",
            "tools": {"opening_hours": "read", "hang_up": "end"},
            "keypad": {"1": "says 'We are open.'", "2": "uses opening_hours"},
            "model": "",
            "offline": "",
            "pushed": "no",
            "problem": "",
        }
        shown = told("agents", "list")
        assert "opening_hours (read), hang_up (end)" in shown
        assert max(map(len, shown.splitlines())) <= 80

    def test_a_broken_agent_hides_no_other(self, bikes: Path) -> None:
        broken = written(bikes.parent / "broken")
        (broken / "prompt.md").unlink()
        shown = told("agents", "list")
        assert "bikes  Bike shop" in shown
        assert "cannot take calls: agents/broken/prompt.md is missing" in shown


class TestCheck:
    def test_says_so_if_all_is_well(self) -> None:
        assert "bikes  is well\n1 agent ready" in told("agents", "check")

    def test_finds_all_that_is_wrong_with_all_agents(self, bikes: Path) -> None:
        (bikes / "prompt.md").write_text("Sell bikes.\nTo {{ callr.name }}.")
        (bikes / "offline.toml").write_text('[intents.x]\nreply = "Yes, {nobody}."')
        (bikes / "seeds.py").write_text("seed = 1")
        other = written(bikes.parent / "other")
        (other / "tools.py").write_text("import nothing_like_it")
        third = written(bikes.parent / "third")
        (third / "agent.toml").write_text(TOML.replace("[relay]", 'model = "gpt"\n[relay]'))
        fourth = written(bikes.parent / "fourth")
        (fourth / "agent.toml").write_text(TOML.replace("language", "langage"))
        shown = told("agents", "check", code=1)
        for problem in (
            "agents/bikes/prompt.md: instructions, line 2: unknown variable 'callr'",
            "agents/bikes/offline.toml: intents.x.reply",
            "agents/bikes/seeds.py: define `async def seed",
            "agents/other/tools.py: line 1: ModuleNotFoundError",
            "agents/third/agent.toml: model:",
            "agents/fourth/agent.toml: relay: ",
            "6 problems in 4 agents",
        ):
            assert problem in shown
        assert "Traceback" not in shown

    def test_one_agent_only(self, bikes: Path) -> None:
        written(bikes.parent / "other")
        assert "1 agent ready" in told("agents", "check", "bikes")
        assert "1 agent ready" in told("agents", "check", "agents/other")

    def test_needs_no_key_for_a_model(self, bikes: Path) -> None:
        (bikes / "agent.toml").write_text('model = "openai:gpt-5.4-mini"\n' + TOML)
        assert "is well" in told("agents", "check")


class TestShow:
    def test_renders_for_callers_known_and_not(self) -> None:
        shown = json.loads(told("agents", "show", "bikes", "--json"))
        assert shown["texts"] == {
            "unknown": {"instructions": "Sell bikes.", "greeting": "Hello!"},
            "known": {"instructions": "Sell bikesAda Lovelace.", "greeting": "Hello Ada!"},
        }
        assert shown["relay"]["language"] == "en-GB"
        assert shown["tools"][0]["parameters"]["required"] == ["day"]
        text = told("agents", "show", "bikes")
        for part in ("greeting: Hello Ada!", "en-GB", "read: When the shop is open."):
            assert part in text

    def test_shows_the_edit_that_the_next_call_uses(self, bikes: Path, tmp_path: Path) -> None:
        told("agents", "push", "bikes")
        agent = load_folder(bikes)
        edit = definition_of(agent)
        changed = type(edit)(edit.definition, "Sell tyres.")
        in_store(tmp_path, lambda store: save(store, agent, changed))
        shown = json.loads(told("agents", "show", "bikes", "--json"))
        assert shown["texts"]["known"]["instructions"] == "Sell tyres."
        assert shown["pushed"] == "version 2, differs from the folder"

    def test_an_agent_of_a_module(self, bikes: Path) -> None:
        code = (
            'from voxyray import Agent\n\nagent = Agent(instructions="Sell tents.", name="tents")'
        )
        (bikes.parent.parent / "shown_tents.py").write_text(code)
        assert "Sell tents." in told("agents", "show", "shown_tents:agent")


class TestPush:
    def test_writes_versions(self, tmp_path: Path) -> None:
        assert "bikes: version 1 is in the store" in told("agents", "push")
        assert "bikes: version 2 is in the store" in told("agents", "push", "bikes")
        item = in_store(tmp_path, lambda store: store.get(keys.agent("bikes"), keys.DEFINITION))
        assert item["version"] == 2
        assert "version 2, as in the folder" in told("agents", "list")

    def test_writes_nothing_if_one_of_them_is_broken(self, bikes: Path, tmp_path: Path) -> None:
        (written(bikes.parent / "other") / "prompt.md").unlink()
        assert voxyray("agents", "push").exit_code == 2
        assert not (tmp_path / "calls.sqlite").exists()


class TestSeed:
    def test_says_how_many_were_made(self, bikes: Path, tmp_path: Path) -> None:
        written(bikes.parent / "other")
        (bikes / "seeds.py").write_text(SEEDS)
        shown = told("agents", "seed")
        assert "bikes: 3 items made" in shown
        assert "other: needs none" in shown
        assert len(in_store(tmp_path, lambda store: store.query("HOURS"))) == 3

    def test_a_failure_is_one_line(self, bikes: Path) -> None:
        (bikes / "seeds.py").write_text("async def seed(store, now):\n    return 1 / 0\n")
        result = voxyray("agents", "seed")
        assert result.exit_code == 2
        assert "agents/bikes/seeds.py: ZeroDivisionError" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["agents", "check", "nobody"], {}, "one of bikes"),
        (["agents", "show", "nobody"], {}, "one of bikes"),
        (["agents", "show", "json:dumps"], {}, "not a voxyray.Agent"),
        (["agents", "push", "nobody"], {}, "one of bikes"),
        (["agents", "push"], {"VOXYRAY_STORE": "memory:"}, "sqlite:PATH"),
        (["agents", "seed"], {"VOXYRAY_STORE": "memory:"}, "sqlite:PATH"),
        (["outbox"], {"VOXYRAY_STORE": "memory:"}, "sqlite:PATH"),
    ],
)
def test_errors_are_one_line_with_the_fix(
    arguments: list[str], environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = voxyray(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_no_agents_at_all(bikes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bikes)
    result = voxyray("agents", "list")
    assert result.exit_code == 2
    assert "no agents in agents/" in result.stderr


@pytest.mark.parametrize(
    "command", [[], ["list"], ["check"], ["show"], ["push"], ["seed"]], ids=" ".join
)
def test_help(command: list[str]) -> None:
    assert "Usage: " in told("agents", *command, "--help")


class TestOutbox:
    @pytest.fixture(autouse=True)
    def messages(self, tmp_path: Path) -> None:
        async def work(store: Store) -> None:
            messenger = OutboxMessenger()
            delivery = Delivery(store, {"sms": messenger, "email": messenger})
            await delivery.accept(
                Message(kind="sms", to="+15550100001", body="Your [b]pizza[/b].", key="1")
            )
            await delivery.settle(5)
            await delivery.accept(
                Message(
                    kind="email",
                    to="ada@example.com",
                    body="See you.",
                    key="2",
                    subject="Your tour",
                )
            )
            await delivery.settle(5)
            await delivery.close()

        in_store(tmp_path, work)

    def test_lists_messages_newest_first(self) -> None:
        shown = told("outbox")
        assert shown.index("Your tour See you.") < shown.index("Your [b]pizza[/b].")
        assert "…01" in shown
        assert "+15550100001" not in shown
        assert "no account" in shown
        assert max(map(len, shown.splitlines())) <= 80

    def test_shows_numbers_if_asked(self) -> None:
        assert "+15550100001" in told("outbox", "--show-numbers")

    def test_as_json(self) -> None:
        (latest,) = json.loads(told("outbox", "--json", "--limit", "1"))["messages"]
        assert (latest["kind"], latest["to"]) == ("email", "a…@example.com")
        assert (latest["status"], latest["body"]) == ("stored", "See you.")
        messages = json.loads(told("outbox", "--json", "--show-numbers"))["messages"]
        assert [each["to"] for each in messages] == ["ada@example.com", "+15550100001"]


def test_an_empty_outbox() -> None:
    assert "No messages yet" in told("outbox")
    assert json.loads(told("outbox", "--json")) == {"messages": []}
