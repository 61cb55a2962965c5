"""What the commands share of the terminal: consoles, logging, numbers as people read them."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path

from rich.console import Console

from voxyray import logs
from voxyray.errors import SettingsError
from voxyray.settings import Settings

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def stdout() -> Console:
    """Give the console for what was asked for; colours only where a person looks at it."""
    return Console(highlight=False)


def stderr() -> Console:
    """Give the console for all that is not the answer itself."""
    return Console(stderr=True, highlight=False)


def program() -> str:
    """Give what to type for this program: `make run` starts it from a place not on the PATH."""
    if shutil.which("voxyray") or Path(sys.argv[0]).name != "voxyray":
        return "voxyray"
    return os.path.relpath(sys.argv[0])


def set_up_logging(settings: Settings, least: int = logging.DEBUG) -> None:
    """Log to stderr from the settings' level on, but nothing below least.

    Raises:
        SettingsError: there is no such level.
    """
    name = settings.log_level.upper()
    if name not in _LEVELS:
        raise SettingsError(
            f"VOXYRAY_LOG_LEVEL is {settings.log_level!r}; use one of {', '.join(_LEVELS)}"
        )
    handler = logs.Stderr()
    handler.setFormatter(logs.formatter(settings.log_format))
    logging.basicConfig(
        level=max(logging.getLevelNamesMapping()[name], least), handlers=[handler], force=True
    )


def masked(number: str) -> str:
    """Hide most of a caller's number; enough is left to tell two apart."""
    if not number:
        return "withheld"
    return f"{number[:2]}…{number[-2:]}" if len(number) > 6 else "…"


def milliseconds(ms: float | None) -> str:
    """Write a duration for people; None is unknown."""
    if ms is None:
        return "unknown"
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:,.0f} ms"


def seconds(ms: float) -> str:
    """Write the length of a call."""
    minutes, rest = divmod(round(ms / 1000), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{ms / 1000:.1f} s"


def local_time(at_s: float) -> str:
    """Write a moment in the machine's own time zone; at_s is epoch seconds."""
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M")
