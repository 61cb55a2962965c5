"""Reads agents from folders and modules.

A folder holds `agent.toml`, `prompt.md`, and if wanted `tools.py` (its `tools` list, or every
`Tool` in it) and `offline.toml` or `offline.py` for the model that needs no account.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
import tomllib
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from voxyray.agent import Agent
from voxyray.errors import AgentError, VoxyrayError
from voxyray.policy import Key, Policy
from voxyray.tool import Tool

_ROOT = "voxyray_agents"


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `agent.toml` may hold."""

    title: str = ""
    description: str = ""
    greeting: str = "Hello! How can I help you?"
    time_zone: str = "UTC"
    model: str = ""
    relay: dict[str, str | bool | int | float | list[str]] = {}
    languages: tuple[dict[str, str], ...] = ()
    keypad: dict[str, Key] = {}
    policy: Policy = Policy()


def load_folder(folder: Path) -> Agent:
    """Read an agent from its folder; the folder's name is the agent's.

    Raises:
        AgentError: a file is missing or wrong; the message names it.
    """
    folder = folder.resolve()
    definition = _read_definition(folder / "agent.toml")
    instructions = _read(folder / "prompt.md")
    if not instructions.strip():
        raise AgentError(f"{folder / 'prompt.md'} is empty: write the agent's instructions there")
    tools = _load_tools(folder)
    offline = next((p for n in ("offline.py", "offline.toml") if (p := folder / n).exists()), None)
    try:
        return Agent(
            name=folder.name,
            title=definition.title,
            description=definition.description,
            instructions=instructions,
            greeting=definition.greeting,
            tools=tools,
            keypad=definition.keypad,
            relay=dict(definition.relay),
            languages=definition.languages,
            policy=definition.policy,
            time_zone=definition.time_zone,
            model=definition.model,
            offline=offline,
        )
    except AgentError as error:
        message = str(error).removeprefix(f"agent {folder.name}: ")
        file = _FILES.get(re.split(r"\W", message)[0], "agent.toml")
        raise AgentError(f"{folder / file}: {message}") from error


# Where an agent's fields come from, if not from agent.toml.
_FILES: Final = {"name": "", "instructions": "prompt.md", "tools": "tools.py"}


def _read_definition(file: Path) -> Definition:
    try:
        raw = tomllib.loads(_read(file))
        keypad = raw.get("keypad")
        for key, action in keypad.items() if isinstance(keypad, dict) else ():
            try:
                msgspec.convert(action, Key)
            except (AgentError, msgspec.ValidationError) as error:
                raise AgentError(
                    f"{file}: keypad, key {key}: {error}{_hint(error, Key)}"
                ) from error
        return msgspec.convert(raw, Definition)
    except tomllib.TOMLDecodeError as error:
        raise AgentError(f"{file}: {error}") from error
    except msgspec.ValidationError as error:
        kind = Policy if "at `$.policy" in str(error) else Definition
        raise AgentError(f"{file}: {error}{_hint(error, kind)}") from error
    except AgentError as error:
        raise error if str(file) in str(error) else AgentError(f"{file}: {error}") from error


def _hint(error: Exception, kind: type[msgspec.Struct]) -> str:
    """Give what an unknown field may have been meant to be."""
    unknown = re.search("unknown field `(.*?)`", str(error))
    if unknown is None:
        return ""
    near = difflib.get_close_matches(unknown[1], kind.__struct_fields__, 1)
    names = ", ".join(kind.__struct_fields__)
    return f"; did you mean {near[0]}?" if near else f"; there are {names}"


def load_agents(reference: str | None, folder: Path = Path("agents")) -> list[Agent]:
    """Load what the command line names: an agent's folder, `module:attribute`, or all of a folder.

    Raises:
        AgentError: nothing usable is there.
    """
    if reference is None:
        return _load_all(folder)
    path = Path(reference)
    if reference and path.is_dir():
        return [load_folder(path)] if (path / "agent.toml").exists() else _load_all(path)
    module, _, attribute = reference.partition(":")
    if not attribute or not module.replace(".", "").isidentifier():
        raise AgentError(
            f"no agent at {reference!r}; give a folder with an agent.toml, such as "
            "agents/default, or module:attribute"
        )
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except AttributeError as error:
        raise AgentError(f"{reference}: {error}{_agents_of(module)}") from error
    except (Exception, SystemExit) as error:
        raise AgentError(f"{reference}: {_failure(error)}") from error
    if not isinstance(found, Agent):
        kind = type(found).__name__
        raise AgentError(f"{reference} is {kind}, not a voxyray.Agent{_agents_of(module)}")
    return [found]


def _agents_of(module: str) -> str:
    loaded = vars(sys.modules[module]) if module in sys.modules else {}
    names = [name for name, value in loaded.items() if isinstance(value, Agent)]
    return f"; there is {', '.join(f'{module}:{name}' for name in names)}" if names else ""


def _failure(error: BaseException, file: str = "") -> str:
    """Name an exception, and the last line (of that file) that led to it."""
    if isinstance(error, VoxyrayError):
        return str(error)
    places = [
        f"line {at.lineno}: " if file else f"{at.filename}, line {at.lineno}: "
        for at in traceback.extract_tb(error.__traceback__)
        if (at.filename == file if file else "importlib" not in at.filename)
        and at.filename != __file__
    ]
    return f"{places[-1] if places else ''}{type(error).__name__}: {error}"


def _load_all(folder: Path) -> list[Agent]:
    folders = sorted(path.parent for path in folder.glob("*/agent.toml"))
    if not folders:
        raise AgentError(f"no agents in {folder}/: each needs a folder with an agent.toml")
    return [load_folder(path) for path in folders]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise AgentError(f"{file} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"{file} cannot be read: {error}") from error


def _load_tools(folder: Path) -> Sequence[Tool]:
    file = folder / "tools.py"
    if not file.exists():
        return ()
    module = load_module(file)
    listed = getattr(module, "tools", None)
    if isinstance(listed, list | tuple):
        return listed
    if listed is not None:
        raise AgentError(f"{file}: tools must be a list of tools, not {type(listed).__name__}")
    found = [value for value in vars(module).values() if isinstance(value, Tool)]
    return list(dict.fromkeys(found))  # one that goes by two names is still one


def load_module(file: Path) -> ModuleType:
    """Import a Python file of an agent's folder; it may import its neighbours relatively.

    Raises:
        AgentError: it cannot be imported; the cause is chained.
    """
    package = _package(file.parent)
    name = f"{package}.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise AgentError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise AgentError(f"{file}: {_failure(error, str(file))}") from error
    return module


def _package(folder: Path) -> str:
    """Make the package an agent's modules live in, apart from everything importable."""
    sys.modules.setdefault(_ROOT, ModuleType(_ROOT)).__path__ = []
    name = f"{_ROOT}.{folder.name}"
    known = sys.modules.get(name)
    if known is None or known.__path__ != [str(folder)]:
        for stale in [each for each in sys.modules if each.startswith(f"{name}.")]:
            del sys.modules[stale]  # of another folder with the same name
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]
    return name
