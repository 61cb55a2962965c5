"""`voxyray export` and `voxyray replay`, as people use them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.recorded import recorded
from tests.test_redact import marked
from tests.test_replay import talk
from voxyray import callfile, checksums
from voxyray.call import Call
from voxyray.cli import main
from voxyray.settings import VARIABLES

WORDS = [
    f"{consonants}vwxz"
    for consonants in ["bbgr", "ccgr", "ddgr", "ffgr", "ggtr", "hhgr", "jjgr", "kkgr"]
]
WORDS += [f"{consonants}vwxz" for consonants in ["llgr", "mmgr", "nngr", "ppgr"]]


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder and a store of the test's own."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("VOXYRAY_STORE", f"sqlite:{tmp_path}/calls.sqlite")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    handlers, level = list(logging.root.handlers), logging.root.level
    yield tmp_path
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def voxyray(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def file(place: Path) -> Path:
    path = place / "x.call"
    path.write_bytes(callfile.encode(recorded(talk())))
    return path


class TestStoredCalls:
    @pytest.fixture(autouse=True)
    def _placed(self) -> None:
        agent = str(Path(__file__).parent.parent / "agents" / "default")
        result = voxyray("call", "--agent", agent, "--pace", "50", "--say", "I'm Ada Lovelace")
        assert result.exit_code == 0, result.output

    def test_one_is_exported_and_replayed(self, place: Path) -> None:
        exported = voxyray("export", "--last")
        assert exported.exit_code == 0
        (place / "a.call").write_bytes(exported.stdout_bytes)
        assert voxyray("export", "--last", "-o", "b.call").exit_code == 0
        assert (place / "a.call").read_bytes() == (place / "b.call").read_bytes()
        for arguments in (("a.call",), ("--last",), ("CA",)):
            result = voxyray("replay", *arguments)
            assert result.exit_code == 0, result.output
            assert "identical: " in result.output

    def test_redacted_it_tells_nobodys_name(self) -> None:
        assert "Lovelace" in voxyray("export", "--last").stdout
        redacted = voxyray("export", "--last", "--redact").stdout
        assert "Lovelace" not in redacted
        assert '"redacted":true' in redacted


class TestReplay:
    def test_a_turn_a_line(self, file: Path) -> None:
        result = voxyray("replay", str(file))
        assert result.exit_code == 0
        assert "2   and what is love?                      ✓ identical" in result.stdout
        assert "a tool" not in result.stdout

    def test_the_first_difference_is_named(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Call, "_filler_of", lambda *_: "Hmm.")
        result = voxyray("replay", str(file))
        assert result.exit_code == 1
        assert "✓ identical" in result.stdout
        assert "✗ differs" in result.stdout
        assert "- not reached" in result.stdout
        assert "the first difference is in turn 2, 1.673 s into the call:" in result.stdout
        assert "recorded  filler words “One moment, please.”" in result.stdout
        assert "today     filler words “Hmm.”" in result.stdout

    def test_as_json(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = json.loads(voxyray("replay", str(file), "--json").stdout)
        assert (made["identical"], made["turns"]) == (True, [0, 1, 2, 3, 4, 5])
        monkeypatch.setattr(checksums, "of_messages", lambda _: 0)
        result = voxyray("replay", str(file), "--json")
        assert (result.exit_code, json.loads(result.stdout)["difference"]["turn"]) == (1, 1)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "give a call's id or a file"),
            (("x.call", "--last"), "give a call's id or a file"),
            (("x.call", "--model", "offline"), "say --from TURN"),
            (("x.call", "--from", "1", "--to-test", "t.py"), "leave --from out"),
            (("x.call", "--from", "99"), "no turn 99"),
            (("x.call", "--from", "2", "--prompt", "none.md"), "none.md cannot be read"),
            (("y.call",), "there is no file y.call"),
            (("CA1",), "no call was stored yet"),
            (("damaged.call",), "damaged.call is no exported call"),
            (("x.call", "--to-test", "taken.py"), "taken.py is not a test of ours"),
            (("x.call", "--to-test", "no/folder.py"), "no/folder.py cannot be written"),
        ],
    )
    def test_what_cannot_be_done_is_said(
        self, file: Path, arguments: tuple[str, ...], message: str
    ) -> None:
        (file.parent / "damaged.call").write_text("hello")
        (file.parent / "taken.py").write_text("print('mine')")
        result = voxyray("replay", *arguments)
        assert result.exit_code == 2
        assert message in result.output


class TestRerun:
    def test_old_and_new_side_by_side(self, file: Path) -> None:
        (file.parent / "new.md").write_text("Be brief with {{ caller.number }}.")
        result = voxyray("replay", str(file), "--from", "2", "--prompt", "new.md")
        assert result.exit_code == 0, result.output
        assert "from turn 2  model offline  prompt new.md" in result.stdout
        assert "caller and what is love?" in result.stdout
        assert "It is a feeling that many have." in result.stdout
        assert "You can say goodbye whenever you like." in result.stdout

    def test_as_json(self, file: Path) -> None:
        made = json.loads(voxyray("replay", str(file), "--from", "2", "--json").stdout)
        assert made["model"] == "offline"
        assert [each["turn"] for each in made["answers"]] == [2, 5]

    def test_a_prompt_that_cannot_be_used(self, file: Path) -> None:
        (file.parent / "new.md").write_text("Hello {{ nobody }}")
        result = voxyray("replay", str(file), "--from", "2", "--prompt", "new.md")
        assert result.exit_code == 2
        assert "unknown variable 'nobody'" in result.output


class TestToTest:
    def test_it_passes_where_the_code_is_the_same_and_is_redacted(self, place: Path) -> None:
        path = place / "marked.call"
        path.write_bytes(callfile.encode(marked(WORDS, "+4123456789")))
        for _ in range(2):  # our own is written over
            assert voxyray("replay", "marked.call", "--to-test", "test_it.py").exit_code == 0
        source = (place / "test_it.py").read_text()
        assert not [word for word in (*WORDS, "4123456789") if word in source]
        passed = run_pytest(place)
        assert passed.returncode == 0, passed.stdout
        assert "1 passed" in passed.stdout

    def test_it_fails_and_says_why_where_it_is_not(self, file: Path) -> None:
        assert voxyray("replay", str(file), "--to-test", "test_it.py").exit_code == 0
        (file.parent / "conftest.py").write_text(
            "from voxyray.call import Call\nCall._filler_of = lambda *_: 'Hmm.'\n"
        )
        failed = run_pytest(file.parent)
        assert failed.returncode == 1
        assert "got filler words “Hmm.”" in failed.stdout

    def test_whatever_was_said_stays_a_text(self, place: Path) -> None:
        words = [f"a'''{n}\\\"\"\"\\N{{x}}{word}" for n, word in enumerate(WORDS)]
        (place / "odd.call").write_bytes(callfile.encode(marked(words, "+4123456789")))
        result = voxyray("replay", "odd.call", "--to-test", "test_it.py")
        assert result.exit_code == 0, result.output
        assert run_pytest(place).returncode == 0


def run_pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:asyncio"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "test_it.py"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
