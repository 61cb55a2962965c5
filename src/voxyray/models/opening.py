"""Opening the models that a setting names.

openai:a                        one model
openai:a, openai:b              b when a fails, or to go on with an answer that broke off
openai:a | openai:b, openai:c   b also when a is late, and the first to speak wins; c after both
openai:a | openai:b, hedge=5%   for at most one request in twenty
openai:a | openai:a             the same model again, with the next key if there are several
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from yarl import URL

from voxyray.errors import SettingsError
from voxyray.models import Model
from voxyray.models.fallback import FallbackModel
from voxyray.models.hedging import SHARE
from voxyray.models.openai import DEFAULT_BASE_URL, OpenAIModel

ALONE_STALL_S: Final = 5.0
STALL_S: Final = 2.0  # where another model can go on
_FORMS: Final = (
    "`openai:NAME` (such as openai:gpt-5.4-mini), several with commas to fall back from one to "
    "the next, or with `|` to ask the second already when the first is late, or `offline`"
)
_HEDGE: Final = re.compile(r"hedge\s*=\s*(.*)")
_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def open_model(spec: str, *, openai_api_key: str | None, openai_base_url: str | None) -> Model:
    """Open the model that VOXYRAY_MODEL names; nothing is connected yet.

    spec: as above. openai_api_key: one, or several with commas: a model that is named again takes
    the next. openai_base_url: None for OpenAI's own; with any other a key is optional.

    Raises:
        SettingsError: it names no model, or its key is missing; the message says the fix.
    """
    base_url = (openai_base_url or "").strip() or DEFAULT_BASE_URL
    keys = [key.strip() for key in (openai_api_key or "").split(",") if key.strip()]
    groups, share = _parse(spec)
    named = [name for group in groups for name in group]
    if len(named) == 1:
        return _open_one(named[0], keys[0] if keys else "", base_url, ALONE_STALL_S)
    seen: Counter[str] = Counter()
    models: list[list[Model]] = []
    for group in groups:
        models.append([])
        for name in group:
            key = keys[seen[name] % len(keys)] if keys else ""
            seen[name] += 1
            models[-1].append(_open_one(name, key, base_url, STALL_S))
    return FallbackModel(models, hedge_share=SHARE if share is None else share)


def models_named(spec: str) -> list[str]:
    """Give the single models of a spec, each as a spec of its own; wrong ones as they are."""
    items = [item.strip() for item in re.split(r"[,|]", spec)]
    return [item for item in items if not _HEDGE.fullmatch(item)]


def _parse(spec: str) -> tuple[list[list[str]], float | None]:
    """Give the groups of names, and the share of hedged requests if it is named."""
    *items, last = [item.strip() for item in spec.split(",")]
    hedge = _HEDGE.fullmatch(last)
    if hedge is None:
        items.append(last)
    groups = [[name.strip() for name in item.split("|")] for item in items]
    if hedge is None:
        return groups, None
    if not any(len(group) > 1 for group in groups):
        raise SettingsError(
            f"VOXYRAY_MODEL: {last!r} needs a model to ask when the first is late; write it with "
            "`|`, such as openai:a | openai:b, hedge=5%"
        )
    percent = _PERCENT.fullmatch(hedge[1])
    if percent is None or not 0 < float(percent[1]) <= 100:
        raise SettingsError(
            f"VOXYRAY_MODEL: {last!r} is no share of the requests; write 1% to 100%, such as "
            "hedge=5%"
        )
    return groups, float(percent[1]) / 100


def _open_one(spec: str, api_key: str, base_url: str, stall_s: float) -> Model:
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
    if not api_key and _is_openai(base_url):
        raise SettingsError(
            f"OPENAI_API_KEY is not set, and VOXYRAY_MODEL={spec} needs it; "
            "set it, or OPENAI_BASE_URL to a server that asks for none"
        )
    return OpenAIModel(name, api_key=api_key, base_url=base_url, stall_timeout_s=stall_s)


def _is_openai(base_url: str) -> bool:
    try:
        return URL(base_url).host == URL(DEFAULT_BASE_URL).host
    except ValueError:
        return False  # OpenAIModel says what is wrong with it
