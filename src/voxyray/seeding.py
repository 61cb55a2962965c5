"""Runs an agent's `seeds.py`, which fills the store with what its tools need."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from voxyray.errors import AgentError, VoxyrayError
from voxyray.loading import load_module
from voxyray.stores import Store

Maker: TypeAlias = Callable[[Store, datetime], Awaitable[int]]


def maker(folder: Path) -> Maker | None:
    """Give the `seed` of an agent's seeds.py; None if it has no such file.

    Raises:
        AgentError: the file cannot be imported, or has no such function.
    """
    file = folder.resolve() / "seeds.py"
    if not file.exists():
        return None
    made: Maker | None = getattr(load_module(file), "seed", None)
    if not inspect.iscoroutinefunction(made):
        raise AgentError(f"{file}: define `async def seed(store: Store, now: datetime) -> int`")
    return made


async def made(folder: Path, make: Maker, store: Store, now: datetime) -> int:
    """Make the seeds, and give how many there were to make.

    Raises:
        AgentError: the agent's function failed.
    """
    try:
        return await make(store, now)
    except VoxyrayError:
        raise
    except Exception as error:
        raise AgentError(f"{folder / 'seeds.py'}: {type(error).__name__}: {error}") from error
