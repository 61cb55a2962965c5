"""What the functions of one use case find when they start: its folder, settings and the store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from voxyray import logs
from voxyray.agent import Agent
from voxyray.errors import SettingsError
from voxyray.loading import load_folder
from voxyray.settings import Settings, load_settings
from voxyray.stores import Store
from voxyray.stores.opening import open_store


class UseCase(NamedTuple):
    """One agent's folder and what it works with."""

    folder: Path
    agent: Agent
    settings: Settings
    store: Store


def open_use_case(environ: Mapping[str, str] = os.environ) -> UseCase:
    """Open what the environment names; this blocks, so do it when the process starts.

    Raises:
        SettingsError: a setting is missing or wrong; the message names it and the fix.
        AgentError: the folder holds no agent that can be used.
    """
    named = environ.get("VOXYRAY_AGENT", "").strip()
    if not named:
        raise SettingsError("VOXYRAY_AGENT is not set; set it to an agent's folder in the bundle")
    settings = load_settings(environ)
    logs.set_up_lambda(settings.log_level, settings.log_format)
    folder = Path(named)
    return UseCase(folder, load_folder(folder), settings, open_store(settings.store))
