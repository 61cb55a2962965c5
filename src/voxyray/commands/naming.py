"""How the command line names agents: by name in `agents/`, by folder, or as `module:attribute`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from voxyray.errors import AgentError

AGENTS: Final = Path("agents")


def reference(agent: str | None) -> str | None:
    """Turn a bare name into its folder in agents/; all else stays as it is."""
    if agent is None or ":" in agent or Path(agent).exists():
        return agent
    return str(AGENTS / agent) if (AGENTS / agent).is_dir() else agent


def folders(names: tuple[str, ...]) -> list[Path]:
    """Give the folders of agents by name or path; without names all in agents/.

    Raises:
        AgentError: there is none of that name, or none at all.
    """
    if not names:
        found = sorted(path.parent for path in AGENTS.glob("*/agent.toml"))
        if not found:
            raise AgentError(f"no agents in {AGENTS}/: each needs a folder with an agent.toml")
        return found
    return [_folder(name) for name in dict.fromkeys(names)]


def _folder(name: str) -> Path:
    for path in (AGENTS / name, Path(name)):
        if (path / "agent.toml").exists():
            return path
    known = ", ".join(path.name for path in folders(())) if any(AGENTS.glob("*/agent.toml")) else ""
    raise AgentError(
        f"no agent at {name!r}; give a folder with an agent.toml"
        + (f", or one of {known}" if known else ", such as agents/default")
    )


def relative(text: str) -> str:
    """Write paths below this folder as people type them."""
    return text.replace(f"{Path.cwd()}/", "")
