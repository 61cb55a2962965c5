"""What is on this machine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checks.support import setup
from voxyray.checks import Setup, local
from voxyray.errors import StoreError
from voxyray.stores.memory import MemoryStore

AGENTS = Path(__file__).parent.parent.parent / "agents"


async def test_this_python_will_do() -> None:
    (found,) = await local.python(setup())
    assert found.level == "ok"


async def test_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    (found,) = await local.python(setup())
    assert found.level == "broken"
    assert "3.11 to 3.13" in found.fix


async def test_dependencies_that_are_missing_or_old(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        "aiohttp>=99.1",
        "no-such-package-of-ours>=1",
        "click",
        'boto3>=99; extra == "aws"',
        'uvloop>=99; sys_platform != "win32"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: wanted)
    (found,) = await local.python(setup())
    assert found.level == "broken"
    assert "older than 99.1" in found.said
    assert "no-such-package-of-ours is missing" in found.said
    assert "boto3" not in found.said


async def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (found,) = await local.python(setup())
    assert found.level == "warning"
    assert "pip install uvloop" in found.fix


def at(agent: str | None) -> Setup:
    examined = setup()
    examined.agent = agent
    return examined


async def test_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = await local.agents(at(str(AGENTS)))
    assert found.level == "ok"
    assert "default" in found.said
    monkeypatch.chdir(tmp_path)
    (found,) = await local.agents(at(None))
    assert found.level == "broken"
    assert "where your agents/ are" in found.fix
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "agent.toml").write_text("greeting = 5")
    (found,) = await local.agents(at(str(folder)))
    assert found.level == "broken"
    assert "voxyray agents check" in found.fix
    assert str(tmp_path) not in found.said


async def test_a_store_keeps_and_forgets_what_is_written(tmp_path: Path) -> None:
    (found,) = await local.store(setup(store=f"sqlite:{tmp_path}/calls.sqlite"))
    assert found.level in ("ok", "warning")  # the disk of a busy machine may be slow
    assert found.ms is not None
    with contextlib.closing(sqlite3.connect(tmp_path / "calls.sqlite")) as left:
        assert left.execute("SELECT count(*) FROM items").fetchone() == (0,)


async def test_stores_that_do_not_keep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (found,) = await local.store(setup(store="memory:"))
    assert found.level == "warning"
    (found,) = await local.store(setup(store="redis:x"))
    assert found.level == "broken"
    assert "sqlite:PATH" in found.said

    class Forgetful(MemoryStore):
        async def write(self, *_: Any) -> None:
            return

    class Full(MemoryStore):
        async def write(self, *_: Any) -> None:
            raise StoreError("the disk is full")

    for kind, said in ((Forgetful, "does not give back"), (Full, "the disk is full")):
        monkeypatch.setattr(local, "open_store", lambda _, kind=kind: kind())
        (found,) = await local.store(setup(store="sqlite:x"))
        assert found.level == "broken"
        assert said in found.said
        assert found.fix


async def test_a_slow_store(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((10.0, 10.9))
    monkeypatch.setattr(local, "open_store", lambda _: MemoryStore())
    monkeypatch.setattr("voxyray.checks.local.time.perf_counter", lambda: next(moments))
    (found,) = await local.store(setup(store="sqlite:x"))
    assert found.level == "warning"
    assert "900 ms" in found.said


@pytest.mark.parametrize(
    ("settings", "level", "said"),
    [
        ({}, "ok", "SMS kept, e-mail kept"),
        ({"sms": "twilio"}, "broken", "VOXYRAY_SMS=twilio needs"),
        ({"sms_from": "+18005550101"}, "warning", "VOXYRAY_SMS_FROM is set"),
        (
            {"email": "smtp:mail.example.com:587", "email_from": "shop@example.com"},
            "ok",
            "e-mail by smtp",
        ),
        ({"email": "sendgrid"}, "broken", "SENDGRID_API_KEY"),
    ],
)
async def test_who_sends_messages(settings: dict[str, Any], level: str, said: str) -> None:
    (found,) = await local.messages(setup(**settings))
    assert found.level == level
    assert said in found.said
