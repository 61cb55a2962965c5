"""Finds what would keep an agent from taking calls; all of it, not only the first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from voxyray import seeding
from voxyray.commands import naming
from voxyray.errors import AgentError, VoxyrayError
from voxyray.loading import load_folder, load_module
from voxyray.models.offline import load_script
from voxyray.models.opening import open_model
from voxyray.settings import OFFLINE


def problems(folder: Path) -> list[str]:
    """Give what is wrong with the agent in a folder; every message names its file."""
    found: list[str] = []
    for check in (_agent, _tools, _script, _seeds):
        _try(found, check, folder.resolve())
    return list(dict.fromkeys(found))


def _try(found: list[str], check: Callable[[Path], object], folder: Path) -> None:
    try:
        check(folder)
    except VoxyrayError as error:
        found.append(naming.relative(str(error)))


def _agent(folder: Path) -> None:
    agent = load_folder(folder)
    if not agent.model or agent.model == OFFLINE:
        return
    try:
        # Whether the key is set is the server's matter; here only the name counts.
        open_model(agent.model, openai_api_key="unused", openai_base_url=None)
    except VoxyrayError as error:
        raise AgentError(f"{folder / 'agent.toml'}: model: {error}") from error


def _tools(folder: Path) -> None:
    if (folder / "tools.py").exists():
        load_module(folder / "tools.py")


def _script(folder: Path) -> None:
    for name in ("offline.py", "offline.toml"):
        if (folder / name).exists():
            load_script(folder / name)


def _seeds(folder: Path) -> None:
    seeding.maker(folder)
