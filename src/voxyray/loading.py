"""Reads agents from folders and modules.

A folder holds `agent.toml`, `prompt.md`, and if wanted `tools.py` (its `tools` list, or every
`Tool` in it) and `offline.toml` or `offline.py` for the model that needs no account.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import msgspec

from voxyray.agent import Agent
from voxyray.errors import AgentError, VoxyrayError
from voxyray.policy import Key, Policy
from voxyray.tool import Tool


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
    file = folder / "agent.toml"
    try:
        definition = msgspec.convert(tomllib.loads(_read(file)), Definition)
    except tomllib.TOMLDecodeError as error:
        raise AgentError(f"{file}: {error}") from error
    except msgspec.ValidationError as error:
        raise AgentError(f"{file}: {error}") from error
    except AgentError as error:
        raise error if str(file) in str(error) else AgentError(f"{file}: {error}") from error
    offline = next((p for n in ("offline.py", "offline.toml") if (p := folder / n).exists()), None)
    try:
        return Agent(
            name=folder.name,
            title=definition.title,
            description=definition.description,
            instructions=_read(folder / "prompt.md"),
            greeting=definition.greeting,
            tools=_load_tools(folder),
            keypad=definition.keypad,
            relay=dict(definition.relay),
            languages=definition.languages,
            policy=definition.policy,
            time_zone=definition.time_zone,
            model=definition.model,
            offline=offline,
        )
    except VoxyrayError as error:
        if str(folder) in str(error):
            raise
        raise AgentError(f"{folder}: {error}") from error


def load_agents(reference: str | None, folder: Path = Path("agents")) -> list[Agent]:
    """Load what the command line names: an agent's folder, `module:attribute`, or all of a folder.

    Raises:
        AgentError: nothing usable is there.
    """
    if reference is None:
        return _load_all(folder)
    path = Path(reference)
    if path.is_dir():
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
    except (ImportError, AttributeError) as error:
        raise AgentError(f"{reference}: {error}") from error
    if not isinstance(found, Agent):
        raise AgentError(f"{reference} is {type(found).__name__}, not a voxyray.Agent")
    return [found]


def _load_all(folder: Path) -> list[Agent]:
    folders = sorted(path.parent for path in folder.glob("*/agent.toml"))
    if not folders:
        raise AgentError(f"no agents in {folder}/: each needs a folder with an agent.toml")
    return [load_folder(path) for path in folders]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"{file} cannot be read: {error}") from error


def _load_tools(folder: Path) -> Sequence[Tool]:
    file = folder / "tools.py"
    if not file.exists():
        return ()
    module = load_module(file)
    listed = getattr(module, "tools", None)
    if listed is not None:
        return list(listed)
    return [value for value in vars(module).values() if isinstance(value, Tool)]


def load_module(file: Path) -> ModuleType:
    """Import a Python file of an agent's folder.

    Raises:
        AgentError: it cannot be imported; the cause is chained.
    """
    name = f"voxyray_agents.{file.parent.name}.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise AgentError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise AgentError(f"{file}: {type(error).__name__}: {error}") from error
    return module
