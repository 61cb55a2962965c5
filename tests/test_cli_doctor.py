"""`voxyray doctor` as people and scripts use it, against real servers of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result

from tests.checks.support import TOKEN, our_server
from voxyray.cli import main
from voxyray.settings import VARIABLES
from voxyray.twin.messages import ACCOUNT_SID
from voxyray.twin.numbers import Numbers
from voxyray.twin.provider import Behaviour, Provider

AGENTS = str(Path(__file__).parent.parent / "agents")
PROGRAM = (sys.executable, "-c", "from voxyray.cli import main; main()")
T = TypeVar("T")


class World:
    """A loop of its own, in which servers run while a command asks them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(10)

    def serve(self, serving: contextlib.AbstractAsyncContextManager[T]) -> T:
        return self.run(self._stack.enter_async_context(serving))

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder and a store of the test's own; no server runs at its public URL."""
    for variable in (*VARIABLES.values(), "VOXYRAY_SMS_QUEUE_URL", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("VOXYRAY_STORE", f"sqlite:{tmp_path}/calls.sqlite")
    monkeypatch.setenv("VOXYRAY_PUBLIC_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def levels(result: Result) -> dict[str, str]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return {each["check"]: each["level"] for each in found}


def test_help_has_examples() -> None:
    result = doctor("--help")
    assert result.exit_code == 0
    assert "voxyray doctor --json" in result.output


def test_a_new_laptop_is_well_enough() -> None:
    result = doctor(AGENTS)
    assert result.exit_code == 0, result.output
    assert "start it with `voxyray serve`" in result.output
    assert "calls can go well; 2 to know about" in result.output
    assert not Path("var/auth-token").exists()  # nothing is made by looking


def test_everything_is_well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    twilio = world.serve(Numbers.serve())
    model = world.serve(Provider.serve(Behaviour()))
    url = world.serve(our_server(twilio_auth_token=twilio.auth_token))
    monkeypatch.setattr("voxyray.carriers.numbers.BASE_URL", twilio.url)
    for name, value in {
        "TWILIO_ACCOUNT_SID": twilio.account_sid,
        "TWILIO_AUTH_TOKEN": twilio.auth_token,
        "OPENAI_API_KEY": "sk-of-the-tests",
        "OPENAI_BASE_URL": model.base_url,
    }.items():
        monkeypatch.setenv(name, value)
    result = doctor(AGENTS, "--url", url, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ok"] is True
    assert levels(result) == dict.fromkeys(
        (
            *("python", "agents", "store", "messages", "model", "twilio"),
            *("server", "webhooks", "relay", "clock"),
        ),
        "ok",
    )
    assert twilio.auth_token not in result.output
    assert "sk-of-the-tests" not in result.output
    assert "all is well" in doctor(AGENTS, "--url", url).output


def test_what_is_broken_is_told_with_the_fix(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    twilio = world.serve(Numbers.serve())
    twilio.clock_ahead_s = 600
    model = world.serve(Provider.serve(Behaviour(status=401, error="no such key")))
    url = world.serve(our_server(twilio_auth_token="another-token"))
    monkeypatch.setattr("voxyray.carriers.numbers.BASE_URL", twilio.url)
    for name, value in {
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "OPENAI_API_KEY": "sk-of-the-tests",
        "OPENAI_BASE_URL": model.base_url,
        "VOXYRAY_SMS": "twilio",
    }.items():
        monkeypatch.setenv(name, value)
    result = doctor("nowhere", "--url", url, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)["findings"]
    broken = {each["check"] for each in found if each["level"] == "broken"}
    assert broken == {"agents", "messages", "model", "twilio", "webhooks", "relay"}
    assert all(each["fix"] for each in found if each["level"] != "ok")
    assert TOKEN not in result.output


def test_a_clock_that_is_wrong(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    twilio = world.serve(Numbers.serve())
    twilio.clock_ahead_s = -86_400
    monkeypatch.setattr("voxyray.carriers.numbers.BASE_URL", twilio.url)
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", twilio.account_sid)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", twilio.auth_token)
    result = doctor(AGENTS)
    assert result.exit_code == 0
    assert re.search(r"! clock +this machine's is 8\d{4} s ahead of Twilio", result.output)


def test_settings_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXYRAY_PUBLIC_URL", "http://voice.example.com")
    result = doctor()
    assert result.exit_code == 1
    assert result.output.startswith("✗ settings")
    assert "https://" in result.output
    assert levels(doctor("--json")) == {"settings": "broken"}


def test_the_token_that_a_server_here_made_is_used(world: World, place: Path) -> None:
    (place / "var").mkdir()
    (place / "var" / "auth-token").write_text(TOKEN)
    url = world.serve(our_server())
    result = doctor(AGENTS, "--url", url, "--json")
    assert levels(result)["webhooks"] == "ok"
    assert TOKEN not in result.output


def test_logging_is_as_before() -> None:
    doctor(AGENTS)
    assert logging.root.manager.disable == logging.NOTSET


def test_in_a_pipe_each_finding_is_one_plain_line() -> None:
    done = subprocess.run(
        [*PROGRAM, "doctor", AGENTS], capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout
    assert all(line[0] in "✓!✗" for line in lines[:-2])
    assert any(line.startswith("! server") and " → " in line for line in lines)
    assert done.stderr == ""


@pytest.mark.parametrize("colour", [True, False])
def test_on_a_terminal_it_is_coloured_and_folded(colour: bool) -> None:
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60"}
    if not colour:
        environment["NO_COLOR"] = "1"
    ours, theirs = pty.openpty()
    output = b""
    with subprocess.Popen([*PROGRAM, "doctor", AGENTS], stdout=theirs, env=environment) as program:
        os.close(theirs)
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(ours, 65536):
                output += part
    os.close(ours)
    assert program.returncode == 0
    text = output.decode()
    assert ("\x1b[32m✓" in text) == colour
    assert "✓" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= 60
    assert "  → " in plain
