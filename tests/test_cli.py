"""The `voxyray` command as people and scripts use it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from voxyray import __version__
from voxyray.cli import main
from voxyray.commands import callers, drawing, keyboard, report, terminal
from voxyray.commands.hosting import listen
from voxyray.models import ToolCall
from voxyray.settings import VARIABLES
from voxyray.transcript import ToolView
from voxyray.twin import Ending
from voxyray.twin.provider import Behaviour, Provider, Script

AGENTS = Path(__file__).parent.parent / "agents"
RECEPTION = str(AGENTS / "default")
FAST = ("--pace", "50")
PROGRAM = (sys.executable, "-c", "from voxyray.cli import main; main()")
SHOP = '''
from voxyray import Agent, tool

@tool(effect="read")
def opening_hours(day: str) -> str:
    """When the shop is open."""
    return "nine to six"

agent = Agent(
    name="shop", greeting="Bike shop.", instructions="Sell bikes.", tools=[opening_hours],
    model="openai:any",
)
'''


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder, a store and logging of the test's own."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("VOXYRAY_STORE", f"sqlite:{tmp_path}/calls.sqlite")
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "a-token-of-the-tests")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    handlers, level = list(logging.root.handlers), logging.root.level
    yield tmp_path
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def voxyray(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=typed)


def placed(*arguments: str, typed: str | None = None, code: int = 0) -> dict[str, Any]:
    """Place a call with --json; the standard output must be exactly one object."""
    result = voxyray("call", *FAST, "--json", *arguments, typed=typed)
    assert result.exit_code == code, result.output
    made = json.loads(result.stdout)
    assert isinstance(made, dict)
    return made


@pytest.fixture
def provider() -> Iterator[Any]:
    """Serve a scripted model from a loop of its own; gives a function that sets the script."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    served = Provider()
    asyncio.run_coroutine_threadsafe(served.start(), loop).result(5)

    def play(script: Script) -> str:
        served.script = script
        return served.base_url

    yield play
    asyncio.run_coroutine_threadsafe(served.stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


# Help


def test_version() -> None:
    assert voxyray("--version").output == f"voxyray, version {__version__}\n"


@pytest.mark.parametrize("command", ["serve", "call", "calls", "show", "outbox", "agents"])
def test_help_has_examples(command: str) -> None:
    result = voxyray(command, "--help")
    assert result.exit_code == 0
    assert f"  voxyray {command}" in result.output
    assert command in voxyray("--help").output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from voxyray.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0;"
        "print([m for m in ('aiohttp', 'rich', 'sqlite3', 'uvloop') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


# Errors


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["serve", "nowhere"], {}, "give a folder with an agent.toml"),
        (["serve"], {}, "no agents in agents/"),
        (["serve", "json:dumps"], {}, "not a voxyray.Agent"),
        (["serve", RECEPTION, "--port", "0"], {"VOXYRAY_STORE": "redis:x"}, "sqlite:PATH"),
        (
            ["serve", RECEPTION, "--port", "0"],
            {"VOXYRAY_PUBLIC_URL": "example.com"},
            "VOXYRAY_PUBLIC_URL",
        ),
        (["serve", RECEPTION, "--port", "0"], {"VOXYRAY_MODEL": "gpt"}, "VOXYRAY_MODEL"),
        (["serve", RECEPTION, "--port", "0"], {"VOXYRAY_MODEL": "openai:gpt"}, "OPENAI_API_KEY"),
        (["serve", RECEPTION, "--port", "0"], {"VOXYRAY_LOG_LEVEL": "LOUD"}, "VOXYRAY_LOG_LEVEL"),
        (["serve", RECEPTION, "--host", "256.0.0.1"], {}, "no address of this machine"),
        (
            ["serve", RECEPTION, "--host", "0.0.0.0"],
            {"VOXYRAY_ACCEPT_UNSIGNED": "true"},
            "VOXYRAY_ACCEPT_UNSIGNED",
        ),
        (["call", "--agent", "nobody", "--say", "x"], {}, "nobody"),
        (["call", "--url", "http://127.0.0.1:9", "--say", "x"], {}, "voxyray serve"),
        (["call", "--url", "nonsense", "--say", "x"], {}, "http://127.0.0.1:8080"),
        (["call", "--demo", "--say", "x"], {}, "--say"),
        (["call", "--url", "http://127.0.0.1:9", "--agent", "x"], {}, "--agent"),
        (["calls"], {"VOXYRAY_STORE": "memory:"}, "sqlite:PATH"),
        (["show", "CA0"], {}, "voxyray call"),
        (["show"], {}, "--last"),
    ],
)
def test_errors_are_one_line_with_the_fix(
    arguments: list[str],
    environment: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = voxyray(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in result.output


def test_a_port_in_use() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        result = voxyray("serve", RECEPTION, "--port", str(port))
    assert result.exit_code == 2
    assert f"port {port} is in use" in result.stderr
    assert "--port" in result.stderr


# Calls


def test_a_call_as_json() -> None:
    made = placed("--agent", RECEPTION, "--say", "My name is Ada Lovelace")
    assert made["ok"] is True
    assert made["source"] == "journal"
    assert made["errors"] == []
    assert made["ending"]["by"] == "caller"
    assert made["ending"]["close_code"] == 1000
    greeting, turn = made["turns"]
    assert greeting["cause"] == "greeting"
    assert turn["caller"] == "My name is Ada Lovelace"
    assert turn["heard"] == turn["said"] != ""
    (tool,) = turn["tools"]
    assert tool["name"] == "save_name"
    assert tool["arguments"] == {"first_name": "Ada", "last_name": "Lovelace"}
    assert tool["status"] == "done"
    spoken = [part["ms"] for part in turn["parts"] if part["kind"] != "carrier"]
    assert round(sum(spoken), 3) == turn["gap_ms"]
    assert {frame["direction"] for frame in made["frames"]} == {"to_app", "from_app"}
    assert made["frames"][0]["frame"]["type"] == "setup"
    assert all(frame["t_ms"] >= 0 for frame in made["frames"])


def test_a_call_for_people_then_calls_and_show() -> None:
    result = voxyray(
        "call", *FAST, "--agent", RECEPTION, "--say", "My name is Ada Lovelace", "--say", "Goodbye."
    )
    assert result.exit_code == 0, result.output
    for shown in (
        "scripted stand-in, not a language model",
        "caller My name is Ada Lovelace",
        'save_name(first_name="Ada", last_name="Lovelace") → Saved.',
        "where the time went",
        "model, asks for tools",
        "◀ largest",
        "until they were heard",
        "turns answered",
    ):
        assert shown in result.output
    call_id = re.findall(r"call (CA[0-9a-f]{32})", result.output)[0]

    listed = json.loads(voxyray("calls", "--json").stdout)["calls"]
    assert [(each["call"], each["agent"]) for each in listed] == [(call_id, "default")]
    assert listed[0]["turns"] == 2
    assert listed[0]["ended"] in ("agent", "caller")
    assert listed[0]["caller"] == "+1…01"
    table = voxyray("calls", "--show-numbers").output
    assert call_id in table
    assert "+15550100001" in table

    for wanted in ([call_id], [call_id[:6]], ["--last"]):
        told = voxyray("show", *wanted, "--marks")
        assert told.exit_code == 0, told.output
        assert call_id in told.output
        assert "caller My name is Ada Lovelace" in told.output
        assert "first_token" in told.output
    view = json.loads(voxyray("show", "--last", "--json").stdout)
    assert view["call"] == call_id
    assert [turn["number"] for turn in view["turns"]] == [0, 1, 2]
    unknown = voxyray("show", "CAx")
    assert unknown.exit_code == 2
    assert "voxyray calls" in unknown.stderr


PIZZA = """
title = "Pizza shop"
description = "A pizza shop. Ask about opening hours."
greeting = "Hello {{ caller.first_name }}, this is the pizza shop."
"""


@pytest.fixture
def switchboard(place: Path) -> Path:
    """The receptionist, and a pizza shop that is the tests' own."""
    shop = place / "agents" / "restaurant_order"
    shop.mkdir(parents=True)
    (place / "agents" / "default").symlink_to(RECEPTION)
    (shop / "agent.toml").write_text(PIZZA)
    (shop / "prompt.md").write_text("Sell pizza.")
    (shop / "tools.py").write_text("from voxyray import hang_up\n\ntools = [hang_up]\n")
    return place


def test_the_demonstration_puts_the_caller_through(switchboard: Path) -> None:
    made = placed("--demo")
    assert made["problems"] == []
    assert made["ending"]["by"] == "agent"
    turns = made["turns"]
    assert [turn["number"] for turn in turns] == [0, 1, 2, 3, 4, 5]
    assert [turn["agent"] for turn in turns] == ["default"] * 4 + ["restaurant_order"] * 2
    assert [[tool["name"] for tool in turn["tools"]] for turn in turns] == [
        [],
        ["save_name"],
        [],
        ["choose_use_case", "transfer_to_agent"],
        [],
        ["hang_up"],
    ]
    assert turns[2]["cut"]["by"] == "interrupt"
    assert turns[3]["said"] == "One moment, I'll put you through to the Pizza shop."
    assert turns[4]["cause"] == "greeting"
    assert turns[4]["heard"] == "Hello Ada, this is the pizza shop."
    assert [frame["session"] for frame in made["frames"] if frame["frame"]["type"] == "setup"] == [
        0,
        1,
    ]

    (listed,) = json.loads(voxyray("calls", "--json").stdout)["calls"]
    assert (listed["agent"], listed["last_agent"]) == ("default", "restaurant_order")
    assert (listed["turns"], listed["ended"]) == (4, "agent")
    assert "default → restaurant_order" in voxyray("calls").output
    shown = voxyray("show", "--last").output
    assert "agent default → restaurant_order" in shown
    assert "restaurant_order takes the call" in shown
    assert "ended by agent" in shown


def test_lines_wait_until_the_caller_is_put_through(switchboard: Path) -> None:
    result = voxyray("call", *FAST, "--say", "I want the pizza shop", "--say", "Goodbye")
    assert result.exit_code == 0, result.output
    before, after = result.stdout.split("where the time went")[0].split(
        "restaurant_order takes the call"
    )
    assert "caller I want the pizza shop" in before
    assert "caller Goodbye" in after


def test_a_transfer_at_a_server_that_runs(
    switchboard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*PROGRAM, "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            url = _address(running)
            made = placed("--url", url, "--demo")
            assert made["source"] == "journal"
            assert [turn["agent"] for turn in made["turns"]][-1] == "restaurant_order"
            assert made["turns"][-1]["tools"][0]["name"] == "hang_up"

            monkeypatch.setenv("VOXYRAY_STORE", "memory:")
            made = placed("--url", url, "--demo")
            assert made["source"] == "carrier"
            causes = [turn["cause"] for turn in made["turns"]]
            assert causes == ["greeting", *["speech"] * 3, "greeting", "speech"]
            assert made["turns"][4]["said"] == "Hello Ada, this is the pizza shop."
        finally:
            running.kill()


def _address(running: subprocess.Popen[str]) -> str:
    """Give where a server listens, once it is up."""
    assert running.stdout is not None
    shown = ""
    while "Ctrl-C" not in shown:
        line = running.stdout.readline()
        assert line, shown
        shown += line
    return str(re.findall(r"(http://127.0.0.1:\d+)/voice", shown)[0])


def test_the_beginning_of_an_id_must_be_unique() -> None:
    for _ in range(2):
        placed("--agent", RECEPTION, typed="")
    result = voxyray("show", "CA")
    assert result.exit_code == 2
    assert "2 calls begin with" in result.stderr


def test_tools_and_a_cut_with_a_model_over_http(
    place: Path, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "cli_shop.py").write_text(SHOP)
    hours = ToolCall("c1", "opening_hours", '{"day":"Monday"}')
    long = "We open at nine and we close at six, every day but Sunday. Shall I tell you the way?"
    script = [Behaviour(tool_calls=(hours,)), Behaviour(text=long), Behaviour(text="Bye.")]
    monkeypatch.setenv("OPENAI_BASE_URL", provider(script))
    made = placed(
        "--agent", "cli_shop:agent", "--pace", "4", "--say", "When?", "--say", "!Thank you"
    )
    _, asked, thanked = made["turns"]
    (tool,) = asked["tools"]
    assert (tool["name"], tool["result"]) == ("opening_hours", "nine to six")
    assert asked["cut"]["by"] == "interrupt"
    assert asked["cut"]["late_ms"] is None
    assert asked["said"] == long
    assert long.startswith(asked["heard"])
    assert len(asked["heard"]) < len(long)
    assert thanked["said"] == "Bye."
    assert asked["model"]


def test_a_model_that_is_away_is_not_well(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "cli_away.py").write_text(SHOP)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    made = placed("--agent", "cli_away:agent", "--say", "a", "--say", "b", "--say", "c", code=1)
    assert made["ok"] is False
    assert any("model-failure" in problem for problem in made["problems"])
    failures = [p for t in made["turns"] for p in t["parts"] if p["kind"] == "failure"]
    assert failures
    assert all(failure["detail"] for failure in failures)


def test_standard_input_is_said_line_by_line() -> None:
    made = placed("--agent", RECEPTION, typed="My name is Ada Lovelace\n\n#12#\n")
    assert [turn["cause"] for turn in made["turns"]][:2] == ["greeting", "speech"]
    digits = [f["frame"]["digit"] for f in made["frames"] if f["frame"]["type"] == "dtmf"]
    assert digits == ["1", "2", "#"]


def test_partials_are_asked_for() -> None:
    made = placed("--agent", RECEPTION, "--partials", "--say", "My name is Ada Lovelace")
    prompts = [f["frame"] for f in made["frames"] if f["frame"]["type"] == "prompt"]
    assert [prompt["last"] for prompt in prompts].count(True) == 1
    assert [prompt["last"] for prompt in prompts].count(False) >= 1


def test_lines_that_could_not_be_said_are_told() -> None:
    made = placed("--agent", RECEPTION, "--say", "Goodbye", "--say", "One", "--say", "Two", code=1)
    (problem,) = made["problems"]  # the agent may hear of "One" before it has hung up
    assert re.fullmatch(r"(1 line was|2 lines were) not said: the call was over before", problem)


# A server in a process of its own


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [*PROGRAM, "serve", RECEPTION, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        shown = ""
        while "Ctrl-C" not in shown:
            line = running.stdout.readline()
            assert line, shown
            shown += line
        url = re.findall(r"(http://127.0.0.1:\d+)/voice", shown)[0]
        assert "not a language model" in shown
        assert f"voxyray call --url {url}" in shown
        yield running, url
        running.kill()


def test_calling_a_server_that_runs(
    server: tuple[subprocess.Popen[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, url = server
    made = placed("--url", url, "--say", "My name is Ada Lovelace")
    assert made["source"] == "journal"
    assert made["turns"][1]["tools"][0]["name"] == "save_name"

    monkeypatch.setenv("VOXYRAY_STORE", "memory:")  # out of reach: what the carrier saw is shown
    made = placed("--url", url.replace("127.0.0.1", "localhost"), "--say", "Hello")
    assert made["source"] == "carrier"
    assert made["turns"][1]["heard"]
    assert made["turns"][1]["gap_ms"] > 0
    assert [part["kind"] for part in made["turns"][1]["parts"]] == ["server", "carrier"]

    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "another")
    made = placed("--url", url, "--say", "Hello", code=1)
    assert "TWILIO_AUTH_TOKEN" in made["problems"][0]

    running.send_signal(signal.SIGTERM)
    assert running.wait(5) == 0
    assert running.stderr is not None
    logged = running.stderr.read()
    assert "Traceback" not in logged
    assert "Ada" not in logged
    assert "+1555" not in logged


def test_typing_in_a_terminal(place: Path) -> None:
    mine, theirs = pty.openpty()
    command = [*PROGRAM, "call", "--agent", RECEPTION, "--pace", "20"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True
    ) as running:
        os.close(theirs)
        try:
            shown = _until(mine, "first and last name")
            assert "hangs up" in shown
            os.write(mine, b"I am Ada Lovelasce\x17Lovelace\r")
            shown = _until(mine, "anything else")
            assert 'save_name(first_name="Ada", last_name="Lovelace")' in shown
            os.write(mine, b"\x04")
            _until(mine, "the caller hung up")
            assert running.wait(5) == 0
        finally:
            running.kill()
            os.close(mine)


def test_ctrl_c_hangs_up(place: Path) -> None:
    command = [
        *PROGRAM,
        "call",
        "--agent",
        RECEPTION,
        "--say",
        "I am Ada",
        "--say",
        "And so on",
        "--pace",
        "3",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        while "agent" not in running.stdout.readline().split():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        shown, _ = running.communicate(timeout=10)
    assert "the caller hung up" in shown
    assert "2 lines were not said" in shown
    assert running.returncode == 1


def _until(terminal_end: int, text: str, within_s: float = 10.0) -> str:
    shown, deadline = "", time.monotonic() + within_s
    while text not in shown:
        left = deadline - time.monotonic()
        assert left > 0, f"no {text!r} at the end of {shown[-500:]!r}"
        ready, _, _ = select.select([terminal_end], [], [], left)
        if ready:
            got = os.read(terminal_end, 65536).decode("utf-8", "replace")
            shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", got)
    return shown


# Pieces


@pytest.mark.parametrize(
    ("line", "typed", "step"),
    [
        ("Hello there", False, callers.Step("say", "Hello there")),
        ("!wait a moment", False, callers.Step("cut_in", "wait a moment")),
        ("!", False, callers.Step("say", "!")),
        ("#123", False, callers.Step("press", "123")),
        ("#", False, callers.Step("press", "#")),
        ("##", False, callers.Step("press", "#")),
        ("#1 please", False, callers.Step("say", "#1 please")),
        ("12", False, callers.Step("say", "12")),
        ("12#", True, callers.Step("press", "12#")),
        ("/1 2 3", True, callers.Step("press", "123")),
        ("/hangup", True, callers.Step("hang_up")),
        ("/hangup", False, callers.Step("say", "/hangup")),
        ("/help me", True, callers.Step("say", "/help me")),
    ],
)
def test_lines(line: str, typed: bool, step: callers.Step) -> None:
    assert callers.parse(line, typed=typed) == step


def test_the_line_editor() -> None:
    lines: keyboard.Lines = asyncio.Queue()
    told: list[str] = []
    typing = keyboard.Typing(
        lines, started=lambda: told.append("on"), stopped=lambda: told.append("off")
    )
    typing.feed("ab\x7f\x1b[D\x1b[Acé")
    assert typing.text == "acé"
    typing.feed(" two words\x17")
    assert typing.text == "acé two "
    typing.feed("\x15")
    assert typing.text == ""
    typing.feed("one\rtwo\n\r\n\x04")
    assert [lines.get_nowait() for _ in range(3)] == ["one", "two", None]
    assert lines.empty()
    assert told == ["on", "off", "on", "on"]


@pytest.mark.parametrize(
    ("number", "shown"),
    [("+15551234567", "+1…67"), ("", "withheld"), ("+123", "…"), ("sip:ada@example.com", "si…om")],
)
def test_numbers_are_masked(number: str, shown: str) -> None:
    assert terminal.masked(number) == shown


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (None, "not connected"),
        (Ending("completed", 1000), "the caller hung up"),
        (Ending("ended", 1000), "the agent ended the call"),
        (
            Ending("ended", 1000, handoff_data='{"reasonCode":"silence"}'),
            "the agent ended the call (silence)",
        ),
        (Ending("ended", 1000, handoff_data="[1]"), "the agent ended the call"),
        (Ending("failed", 1006, error_message="Websocket ended"), "failed: Websocket ended"),
    ],
)
def test_how_it_ended(ending: Ending | None, said: str) -> None:
    assert report.how_it_ended(ending) == said


def test_arguments_are_shown_as_a_call() -> None:
    assert drawing.arguments('{"day":"Monday","n":[1,2]}') == 'day="Monday", n=[1,2]'
    assert drawing.arguments("{broken") == "{broken"
    assert drawing.arguments("[1]") == "[1]"
    view = ToolView(0, "f", "{}", "failed", "Error: no", ms=2.0)
    assert drawing.tool(view).plain == "f() failed → Error: no  2.0 ms"
