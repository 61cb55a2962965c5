"""Agents from folders and modules; what is wrong is named with its file and the fix."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxyray.agent import Agent
from voxyray.errors import AgentError
from voxyray.loading import load_agents, load_folder, load_module
from voxyray.policy import Key

TOOLS = '''
from voxyray.tool import tool

@tool(effect="read")
def opening_hours(day: str) -> str:
    """When the shop is open."""
    return day

@tool(effect="end")
def hang_up() -> None:
    """End the call."""
'''


def write(folder: Path, **files: str | bytes) -> Path:
    """Write an agent's folder; `toml`, `prompt`, `tools` are its files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"toml": "agent.toml", "prompt": "prompt.md", "tools": "tools.py"}
    for name, text in {"toml": "", "prompt": "Be kind.", **files}.items():
        (folder / names[name]).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder of its own, from which modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(folder: Path) -> str:
    with pytest.raises(AgentError) as error:
        load_folder(folder)
    return str(error.value)


class TestFolder:
    def test_everything_of_it_is_read(self, shop: Path) -> None:
        toml = """
            title = "Ada's"
            description = "Sells bikes."
            greeting = "Hi {{ caller.first_name }}"
            time_zone = "Europe/Paris"
            model = "offline"
            [relay]
            dtmfDetection = false
            eotThreshold = 0.7
            speechTimeout = 900
            hints = ["bike", "tyre"]
            [[languages]]
            code = "es-ES"
            [keypad]
            1 = { say = "Nine to five." }
            2 = { tool = "opening_hours" }
            [policy]
            filler_after_s = 2
            fillers = ["Hm."]
        """
        write(shop, toml=toml, prompt="Sell {{ agent.title }} bikes.\n", tools=TOOLS)
        (shop / "offline.toml").write_text("")
        agent = load_folder(shop)
        assert (agent.name, agent.title, agent.model) == ("shop", "Ada's", "offline")
        assert agent.instructions == "Sell {{ agent.title }} bikes.\n"
        assert [tool.name for tool in agent.tools] == ["opening_hours", "hang_up"]
        assert agent.keypad == {"1": Key(say="Nine to five."), "2": Key(tool="opening_hours")}
        assert agent.relay == {
            "dtmfDetection": False,
            "eotThreshold": 0.7,
            "speechTimeout": 900,
            "hints": ["bike", "tyre"],
        }
        assert list(agent.languages) == [{"code": "es-ES"}]
        assert (agent.policy.filler_after_s, agent.policy.fillers) == (2, ("Hm.",))
        assert agent.offline == shop / "offline.toml"

    def test_two_files_are_enough(self, shop: Path) -> None:
        agent = load_folder(write(shop))
        assert (agent.instructions, agent.tools, agent.offline) == ("Be kind.", (), None)

    def test_a_script_wins_over_an_offline_toml(self, shop: Path) -> None:
        write(shop)
        for name in ("offline.toml", "offline.py"):
            (shop / name).write_text("")
        assert load_folder(shop).offline == shop / "offline.py"

    def test_files_of_other_editors_are_read(self, shop: Path) -> None:
        write(shop, toml=b'\xef\xbb\xbftitle = "A"\r\n', prompt=b"\xef\xbb\xbfBe kind.\r\n")
        agent = load_folder(shop)
        assert (agent.title, agent.instructions) == ("A", "Be kind.\n")

    @pytest.mark.parametrize(
        ("code", "names"),
        [
            (TOOLS + "tools = [hang_up]", ["hang_up"]),
            (TOOLS + "tools = ()", []),
            (TOOLS + "same = hang_up", ["opening_hours", "hang_up"]),
            ("x = 1", []),
        ],
    )
    def test_its_tools_are_those_listed_or_all(
        self, shop: Path, code: str, names: list[str]
    ) -> None:
        assert [tool.name for tool in load_folder(write(shop, tools=code)).tools] == names


class TestWrongToml:
    @pytest.mark.parametrize(
        ("toml", "said"),
        [
            ("title = ", r"Invalid value \(at end of document\)"),
            ('title = "a"\ntitel\n', r"\(at line 2, column 6\)"),
            ('titel = "x"', "unknown field `titel`; did you mean title?"),
            ('voice = "x"', "unknown field `voice`; there are title, description, greeting, "),
            ("title = 5", r"Expected `str`, got `int` - at `$.title`"),
            ("greeting = [1]", r"Expected `str`, got `array` - at `$.greeting`"),
            ('[relay]\nttsProvidr = "x"', "relay: .*did you mean 'ttsProvider'"),
            ("[relay]\nx = { y = 1 }", r"at `$.relay[...]`"),
            ('[[languages]]\nvoice = "x"', "languages, number 1: <Language> needs a code"),
            ("[keypad]\n1 = {}", "keypad, key 1: a key needs exactly one of: say, ask, tool"),
            ('[keypad]\n1 = { sya = "x" }', "key 1: .*unknown field `sya`; did you mean say?"),
            ('[keypad]\n1 = "x"', "keypad, key 1: Expected `object`, got `str`"),
            ('[keypad]\n12 = { say = "x" }', "keypad: '12' is no key of a phone"),
            ('[keypad]\n1 = { tool = "x" }', "keypad: key 1 names no tool: 'x'"),
            ("keypad = 5", r"Expected `object`, got `int` - at `$.keypad`"),
            ("[policy]\nfiler_after_s = 1",
             "unknown field `filer_after_s` - at `$.policy`; did you mean filler_after_s?"),
            ('[policy]\nretries = "x"', r"Expected `int`, got `str` - at `$.policy.retries`"),
            ("[policy]\nretries = true", r"Expected `int`, got `bool` - at `$.policy.retries`"),
            ("[policy]\nmax_duration_s = inf", "policy max_duration_s must be a number above 0"),
            ("[policy]\nfillers = []", "policy fillers needs at least one sentence"),
            ('time_zone = "Mars/Base"', "time_zone: there is no 'Mars/Base'; write it like"),
            ('greeting = "Hi\\n{{ callr }}"', "greeting, line 2: unknown variable 'callr'"),
        ],
    )  # fmt: skip
    def test_the_message_names_the_file_and_the_place(
        self, shop: Path, toml: str, said: str
    ) -> None:
        message = refused(write(shop, toml=toml))
        assert message.startswith(f"{shop / 'agent.toml'}: ")
        pattern = said if "\\(" in said or ".*" in said else re.escape(said)
        assert re.search(pattern, message), message

    def test_bytes_that_are_no_text(self, shop: Path) -> None:
        assert "agent.toml cannot be read: 'utf-8'" in refused(write(shop, toml=b"\xff"))

    def test_no_file(self, shop: Path) -> None:
        shop.mkdir()
        assert refused(shop) == f"{shop / 'agent.toml'} is missing"


class TestWrongPrompt:
    def test_no_file(self, shop: Path) -> None:
        (write(shop) / "prompt.md").unlink()
        assert refused(shop) == f"{shop / 'prompt.md'} is missing"

    def test_nothing_in_it(self, shop: Path) -> None:
        assert "prompt.md is empty: write" in refused(write(shop, prompt=" \n"))

    @pytest.mark.parametrize(
        ("prompt", "said"),
        [
            ("a\n{% if %}", "instructions, line 2: Expected an expression"),
            ("a\nb\n{{ callr }}", "instructions, line 3: unknown variable 'callr'"),
            ("{{ caller.nam }}", "instructions, line 1: .*nam"),
        ],
    )
    def test_the_message_names_the_file_and_the_line(
        self, shop: Path, prompt: str, said: str
    ) -> None:
        message = refused(write(shop, prompt=prompt))
        assert re.match(re.escape(f"{shop / 'prompt.md'}: ") + said, message), message


class TestWrongTools:
    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("import json\n\n1 / 0", "line 3: ZeroDivisionError: division by zero"),
            ("def f(:", r"SyntaxError: .*tools.py, line 1"),
            (
                "import no_such_thing",
                "line 1: ModuleNotFoundError: No module named 'no_such_thing'",
            ),
            ("import sys\nsys.exit(1)", "line 2: SystemExit: 1"),
            ("tools = 5", "tools must be a list of tools, not int"),
            ("tools = [5]", "tools: .*5 is not a tool; decorate it with @tool"),
            (TOOLS + "tools = [hang_up, hang_up]", "tools: two tools are named 'hang_up'"),
            (TOOLS + "@tool\ndef f(x): ...", "tool .*f: parameter 'x' has no annotation"),
        ],
    )
    def test_the_message_names_the_file_and_the_line(
        self, shop: Path, code: str, said: str
    ) -> None:
        message = refused(write(shop, tools=code))
        assert re.match(re.escape(f"{shop / 'tools.py'}: ") + said, message), message

    def test_a_module_that_failed_is_not_kept(self, shop: Path) -> None:
        write(shop, tools="1 / 0")
        refused(shop)
        assert "voxyray_agents.shop.tools" not in sys.modules
        write(shop, tools=TOOLS)
        assert len(load_folder(shop).tools) == 2

    def test_something_that_is_no_module(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt").write_text("")
        with pytest.raises(AgentError, match=r"x\.txt is not a Python file"):
            load_module(tmp_path / "x.txt")


@pytest.mark.parametrize("name", ["Bike Shop", "shop.1", "läden"])
def test_a_folder_whose_name_is_no_agents_name(tmp_path: Path, name: str) -> None:
    message = refused(write(tmp_path / name))
    assert message.startswith(f"{tmp_path / name}: name {name!r} is not lower case")


class TestReferences:
    def test_all_agents_of_a_folder(self, tmp_path: Path) -> None:
        for name in ("b", "a"):
            write(tmp_path / name)
        (tmp_path / "no_agent").mkdir()
        assert [agent.name for agent in load_agents(None, tmp_path)] == ["a", "b"]
        assert [agent.name for agent in load_agents(str(tmp_path))] == ["a", "b"]

    def test_one_folder(self, shop: Path) -> None:
        write(shop)
        assert [agent.name for agent in load_agents(str(shop))] == ["shop"]

    @pytest.mark.parametrize("reference", [None, "."])
    def test_no_agents_at_all(self, here: Path, reference: str | None) -> None:
        with pytest.raises(AgentError, match=r"no agents in .*: each needs a folder with an agent"):
            load_agents(reference)

    def test_an_attribute_of_a_module(self, here: Path) -> None:
        (here / "bikes").mkdir()
        (here / "bikes" / "phone.py").write_text(
            "from voxyray.agent import Agent\nann = Agent(instructions='Be kind.', name='ann')\n"
        )
        [agent] = load_agents("bikes.phone:ann")
        assert isinstance(agent, Agent)
        assert agent.name == "ann"

    @pytest.mark.parametrize(
        ("reference", "said"),
        [
            ("nowhere", "no agent at 'nowhere'; give a folder with an agent.toml, .*module:attr"),
            ("shop:", "no agent at 'shop:'"),
            (":agent", "no agent at ':agent'"),
            ("shop.py:agent:x", "no attribute 'agent:x'|No module named"),
            ("a/b:agent", "no agent at 'a/b:agent'"),
            ("", "no agent at ''"),
            (".shop:agent", ".shop:agent: "),
            ("a..b:agent", r"a\.\.b:agent: .*No module named"),
            ("no_such_module:agent", "no_such_module:agent: .*No module named 'no_such_module'"),
            ("good:agnt", "module 'good' has no attribute 'agnt'; there is good:agent"),
            ("good:number", "good:number is int, not a voxyray.Agent; there is good:agent"),
            ("raising:agent", r"raising:agent: .*raising\.py, line 2: ZeroDivisionError: "),
            ("leaving:agent", "leaving:agent: .*SystemExit: 3"),
            ("garbled:agent", r"garbled:agent: SyntaxError: .*garbled\.py, line 1"),
            ("wrong:agent", "wrong:agent: agent agent: time_zone: there is no 'x'"),
        ],
    )
    def test_one_that_leads_nowhere(self, here: Path, reference: str, said: str) -> None:
        begin = "from voxyray.agent import Agent\n"
        for name, code in {
            "good": f"{begin}agent = Agent(instructions='Be kind.')\nnumber = 5",
            "raising": "x = 0\n1 / x",
            "leaving": "raise SystemExit(3)",
            "garbled": "def (",
            "wrong": f"{begin}agent = Agent(instructions='Be kind.', time_zone='x')",
        }.items():
            (here / f"{name}.py").write_text(code)
        with pytest.raises(AgentError, match=said):
            load_agents(reference)
