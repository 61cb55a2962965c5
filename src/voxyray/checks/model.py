"""Do the models answer, and how soon: each is asked for one word."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp

from voxyray.carriers.numbers import clock_of
from voxyray.checks import Finding, Setup, broken, ok, warning
from voxyray.errors import AgentError, ModelError, SettingsError
from voxyray.loading import load_agents
from voxyray.models import Message, Model, ModelRequest, TextDelta
from voxyray.models.openai import DEFAULT_BASE_URL
from voxyray.models.opening import models_named, open_model
from voxyray.settings import OFFLINE

SLOW_MS: Final = 1500.0

_ASK: Final = ModelRequest((Message("user", "Answer with the one word: ready"),))


async def models(setup: Setup) -> list[Finding]:
    """Ask every model that an agent uses, and each that another falls back to."""
    specs = _specs(setup)
    found = [_offline(setup)] if OFFLINE in specs else []
    names = [name for spec in specs if spec != OFFLINE for name in models_named(spec)]
    if names:
        await _note_clock(setup)
    asked = await asyncio.gather(*(_ask(setup, name) for name in dict.fromkeys(names)))
    return found + list(asked)


async def _note_clock(setup: Setup) -> None:
    """Read the clock of the model's server; no key is needed for that."""
    url = (setup.settings.openai_base_url or DEFAULT_BASE_URL).rstrip("/") + "/models"
    timeout = aiohttp.ClientTimeout(total=setup.within_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            setup.note_clock("the model's server", clock_of(response.headers))
    except (aiohttp.ClientError, OSError, ValueError):
        return  # the model's own check tells it


def _specs(setup: Setup) -> list[str]:
    default = setup.settings.model_or_default
    try:
        used = [agent.model or default for agent in load_agents(setup.agent)]
    except AgentError:
        used = [default]  # the agents' own check tells it
    return list(dict.fromkeys(used))


def _offline(setup: Setup) -> Finding:
    said = "offline: a scripted stand-in, not a language model"
    fix = "set OPENAI_API_KEY, or VOXYRAY_MODEL to openai:NAME, to talk to a real one"
    return (ok if setup.settings.is_local else warning)("model", said, fix)


async def _ask(setup: Setup, name: str) -> Finding:
    settings = setup.settings
    try:
        model = open_model(
            name,
            openai_api_key=settings.openai_api_key or None,
            openai_base_url=settings.openai_base_url or None,
        )
    except SettingsError as error:
        return broken("model", str(error), "see docs/settings.md for the names of models")
    try:
        await model.warm()  # as it is before a call's first turn
        ms = await _first_token_ms(model)
    except ModelError as error:
        again = "try again; a second model after a comma in VOXYRAY_MODEL takes over at such times"
        fix = again if error.retryable else "check VOXYRAY_MODEL, OPENAI_API_KEY, OPENAI_BASE_URL"
        return broken("model", str(error), fix)
    finally:
        await model.close()
    said = f"{name}: first token after {ms:,.0f} ms"
    if ms > SLOW_MS:
        fix = "callers hear that as silence: run this again, or choose a faster model"
        return warning("model", f"{said}, which is slow", fix, ms)
    return ok("model", said, ms=ms)


async def _first_token_ms(model: Model) -> float:
    """Ask, and hang up at the first word: no more is paid for."""
    began = time.perf_counter()
    stream = model.stream(_ASK)
    try:
        async for delta in stream:
            if isinstance(delta, TextDelta):
                return (time.perf_counter() - began) * 1000
    finally:
        await stream.aclose()
    raise ModelError(f"{model.name}: an answer without words", retryable=False)
