from __future__ import annotations

from typing import Any

import pytest

from tests.models.support import collect, said
from voxyray.errors import ModelError, SettingsError
from voxyray.models import Model, hedging
from voxyray.models.fallback import FallbackModel
from voxyray.models.openai import OpenAIModel
from voxyray.models.opening import models_named, open_model
from voxyray.twin.provider import Behaviour, Provider

KEY = "sk-very-secret-0123456789"


def opened(spec: str, key: str | None = KEY, base_url: str | None = None) -> Model:
    return open_model(spec, openai_api_key=key, openai_base_url=base_url)


def refusal(spec: str, key: str | None = KEY, base_url: str | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        opened(spec, key, base_url)
    assert KEY not in str(caught.value)
    return str(caught.value)


def test_one_model() -> None:
    model = opened("openai:gpt-5.4-mini")
    assert isinstance(model, OpenAIModel)
    assert model.name == "openai:gpt-5.4-mini"


def test_a_name_may_hold_colons() -> None:
    assert opened(" openai:llama3:8b ").name == "openai:llama3:8b"


def test_several_fall_back_in_order() -> None:
    model = opened("openai:a, openai:b")
    assert isinstance(model, FallbackModel)
    assert model.name == "openai:a > openai:b"


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "gpt-5.4-mini",
        "cohere:x",
        "openai",
        "OpenAI:x:",
        "openai:a,",
        "openai:a |",
        "| openai:a",
        "openai:a || openai:b",
        "openai:a, hedge=5%, openai:b | openai:c",
    ],
)
def test_what_names_no_model_is_refused_with_the_forms(spec: str) -> None:
    message = refusal(spec)
    assert "VOXYRAY_MODEL" in message
    assert "openai:NAME" in message


def test_a_missing_name_is_said() -> None:
    assert "lacks the model's name" in refusal("openai: ")


async def asked_with(spec: str, key: str) -> list[str]:
    """Give the keys that the models of a spec come with, in order, as all of them refuse."""
    async with Provider.serve(Behaviour(status=500)) as provider:
        model = opened(spec, key, provider.base_url)
        with pytest.raises(ModelError):
            await collect(model)
        await model.close()
    return [asked.headers["Authorization"] for asked in provider.requests]


async def test_a_model_that_is_named_again_takes_the_next_key() -> None:
    assert await asked_with("openai:a | openai:a", "one, two") == ["Bearer one", "Bearer two"]
    assert await asked_with("openai:a, openai:a", "one") == ["Bearer one"] * 2
    assert await asked_with("openai:a, openai:b", "one,two,") == ["Bearer one"] * 2
    assert await asked_with("openai:a", " one , two") == ["Bearer one"]


@pytest.mark.parametrize("spec", ["openai:a|openai:b", "openai:a | openai:b, hedge = 7.5 %"])
async def test_a_bar_lets_the_second_speak_when_the_first_is_late(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedging, "START_S", 0.001)

    def behave(body: dict[str, Any]) -> Behaviour:
        return Behaviour(hang="headers") if body["model"] == "a" else Behaviour(text="Hello")

    async with Provider.serve(behave) as provider:
        model = opened(spec, KEY, provider.base_url)
        deltas = await collect(model)
        await model.close()
    assert said(deltas) == "Hello"
    assert model.name == "openai:a > openai:b"


@pytest.mark.parametrize("share", ["0%", "101%", "5", "", "x%", "-1%", "0.1"])
def test_a_share_that_is_none(share: str) -> None:
    message = refusal(f"openai:a | openai:b, hedge={share}")
    assert "hedge=5%" in message
    assert f"hedge={share}" in message


@pytest.mark.parametrize("spec", ["openai:a, hedge=5%", "openai:a, openai:b, hedge=5%"])
def test_a_share_of_nothing_is_refused(spec: str) -> None:
    assert "`|`" in refusal(spec)


def test_the_single_models_of_a_spec() -> None:
    assert models_named("openai:a | openai:b:c,openai:a, hedge=5%") == [
        "openai:a",
        "openai:b:c",
        "openai:a",
    ]
    assert models_named("gpt") == ["gpt"]


@pytest.mark.parametrize("spec", ["offline", "openai:a,offline", "openai:a|offline", "offline:x"])
def test_offline_belongs_to_an_agents_folder(spec: str) -> None:
    assert "agent's folder" in refusal(spec)


@pytest.mark.parametrize("key", [None, "", "  "])
@pytest.mark.parametrize("base_url", [None, "", "https://api.openai.com/v1/"])
def test_openai_itself_wants_a_key(key: str | None, base_url: str | None) -> None:
    assert "OPENAI_API_KEY" in refusal("openai:a", key, base_url)


def test_another_server_needs_none() -> None:
    assert opened("openai:a", None, "http://localhost:11434/v1").name == "openai:a"


@pytest.mark.parametrize("base_url", ["localhost:1234", "ftp://x/v1", "http://", "http://[", "x"])
def test_a_base_url_that_is_none(base_url: str) -> None:
    assert "OPENAI_BASE_URL" in refusal("openai:a", KEY, base_url)


def test_a_base_url_with_a_password_is_refused_and_not_quoted() -> None:
    message = refusal("openai:a", KEY, "https://me:hunter2@example.com/v1")
    assert "OPENAI_BASE_URL" in message
    assert "hunter2" not in message
