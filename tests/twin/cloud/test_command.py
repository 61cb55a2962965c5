"""`voxyray cloud` as people start and stop it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from voxyray.cli import main
from voxyray.settings import VARIABLES

HERE = Path(__file__).parent
PROGRAM = (sys.executable, "-c", "from voxyray.cli import main; main()")
pytest.importorskip("awslambdaric")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "a-token-of-the-tests")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    for name in ("handlers.py", "template.yaml"):
        shutil.copy(HERE / name, tmp_path)
    # The deployed templates have these parameters; settings of this machine become their values.
    names = ("Model", "OpenAiBaseUrl", "HandoffTo")
    more = "".join(f"  {name}: {{ Type: String }}\n" for name in names)
    text = (HERE / "template.yaml").read_text()
    (tmp_path / "small.yaml").write_text(text.replace("Parameters:\n", f"Parameters:\n{more}"))
    return tmp_path


def test_it_starts_says_what_to_do_and_stops(place: Path) -> None:
    command = [*PROGRAM, "cloud", "--port", "0", "--template", "small.yaml", "--cold"]
    with started(command) as process:
        said = read_until(process, "Ctrl-C")
        [url] = re.findall(r"\(\. var/cloud/environment; voxyray call --url (\S+)\)", said)
        with urllib.request.urlopen(f"{url}/hello") as answer:
            assert answer.read().decode().startswith("GET /hello ws://127.0.0.1:")
        environment = (place / "var" / "cloud" / "environment").read_text()
        assert "export VOXYRAY_STORE=dynamodb:voxyray-Table\n" in environment
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert re.search(r"voxyray-Web +1 invocations +1 cold starts, ", rest)


def test_ctrl_c_stops_it_while_it_starts() -> None:
    with started([*PROGRAM, "cloud", "--port", "0", "--template", "small.yaml"]) as process:
        # MiniStack has begun to write its log: it is being waited for.
        log = Path("var/cloud/ministack.log")
        while not log.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
        assert (process.returncode, said) == (0, "")


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=20)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    said = ""
    while words not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def test_bad_arguments_are_said() -> None:
    runner = CliRunner()
    result = runner.invoke(main, ["cloud", "--port", "0", "--parameter", "Name"])
    assert (result.exit_code, "write NAME=VALUE" in result.output) == (2, True)
    result = runner.invoke(main, ["cloud", "--port", "0", "--template", "nothing.yaml"])
    assert (result.exit_code, "cannot read nothing.yaml" in result.output) == (2, True)
    result = runner.invoke(main, ["cloud", "--port", "0", "--template", "template.yaml"])
    assert result.exit_code == 2
    assert "it has no parameter HandoffTo, Model, OpenAiBaseUrl" in result.output
