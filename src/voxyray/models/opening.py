"""Opening the model that a setting names."""

from __future__ import annotations

from typing import Final

from yarl import URL

from voxyray.errors import SettingsError
from voxyray.models import Model
from voxyray.models.fallback import FallbackModel
from voxyray.models.openai import DEFAULT_BASE_URL, OpenAIModel

_FORMS: Final = (
    "`openai:NAME` (such as openai:gpt-5.4-mini), several with commas to fall back from one to "
    "the next, or `offline`"
)


def open_model(spec: str, *, openai_api_key: str | None, openai_base_url: str | None) -> Model:
    """Open the model that VOXYRAY_MODEL names; nothing is connected yet.

    spec: `openai:NAME`, or several with commas, asked in that order when one fails.
    openai_base_url: None for OpenAI's own; with any other a key is optional.

    Raises:
        SettingsError: it names no model, or its key is missing; the message says the fix.
    """
    base_url = (openai_base_url or "").strip() or DEFAULT_BASE_URL
    models = [_open_one(part.strip(), openai_api_key, base_url) for part in spec.split(",")]
    return models[0] if len(models) == 1 else FallbackModel(models)


def _open_one(spec: str, api_key: str | None, base_url: str) -> Model:
    provider, _, name = spec.partition(":")
    name = name.strip()
    if provider == "offline":
        raise SettingsError(
            "VOXYRAY_MODEL: the offline model belongs to an agent's folder and stands alone; "
            "serve such a folder, or name a language model: " + _FORMS
        )
    if provider != "openai":
        raise SettingsError(f"VOXYRAY_MODEL: {spec!r} names no model; use {_FORMS}")
    if not name:
        raise SettingsError(f"VOXYRAY_MODEL: {spec!r} lacks the model's name; use {_FORMS}")
    if not (api_key or "").strip() and _is_openai(base_url):
        raise SettingsError(
            f"OPENAI_API_KEY is not set, and VOXYRAY_MODEL={spec} needs it; "
            "set it, or OPENAI_BASE_URL to a server that asks for none"
        )
    return OpenAIModel(name, api_key=api_key, base_url=base_url)


def _is_openai(base_url: str) -> bool:
    try:
        return URL(base_url).host == URL(DEFAULT_BASE_URL).host
    except ValueError:
        return False  # OpenAIModel says what is wrong with it
