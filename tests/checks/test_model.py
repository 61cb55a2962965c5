"""Models are asked for one word, over real HTTP."""

from __future__ import annotations

import asyncio

import pytest

from tests.checks.support import setup
from voxyray.checks import Setup, model
from voxyray.checks.model import models
from voxyray.twin.provider import Behaviour, Provider

KEY = "sk-0123456789abcdef"


def asking(provider: Provider, spec: str = "openai:any") -> Setup:
    return setup(model=spec, openai_api_key=KEY, openai_base_url=provider.base_url)


@pytest.fixture(autouse=True)
def _no_agents(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))  # the settings' model counts


async def test_the_first_word_is_timed_and_no_more_is_taken() -> None:
    async with Provider.serve(Behaviour(rate=20, tokens=1000)) as provider:
        examined = asking(provider)
        (found,) = await models(examined)
        async with asyncio.timeout(5):
            await provider.wait_cancelled()
    assert found.level == "ok"
    assert "first token after" in found.said
    assert found.ms is not None
    assert len(provider.requests) == 1
    assert abs(examined.clocks["the model's server"]) < 3


async def test_a_slow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "SLOW_MS", 5)
    async with Provider.serve(Behaviour(first_token_ms=20)) as provider:
        (found,) = await models(asking(provider))
    assert found.level == "warning"
    assert "silence" in found.fix


@pytest.mark.parametrize(
    ("behaviour", "said", "fix"),
    [
        (Behaviour(status=401, error=f"Incorrect key: {KEY}"), "HTTP 401", "OPENAI_API_KEY"),
        (Behaviour(status=404, error="no such model"), "HTTP 404", "VOXYRAY_MODEL"),
        (Behaviour(status=429, error="quota"), "HTTP 429", "try again"),
        (Behaviour(tokens=0), "without words", "VOXYRAY_MODEL"),
        (Behaviour(truncate_at=0), "truncated", "try again"),
    ],
)
async def test_models_that_do_not_answer(behaviour: Behaviour, said: str, fix: str) -> None:
    async with Provider.serve(behaviour) as provider:
        (found,) = await models(asking(provider))
    assert found.level == "broken"
    assert said in found.said
    assert fix in found.fix
    assert KEY not in str(found)


async def test_nobody_there() -> None:
    examined = setup(model="openai:any", openai_base_url="http://127.0.0.1:9/v1")
    (found,) = await models(examined)
    assert found.level == "broken"
    assert "cannot connect" in found.said
    assert examined.clocks == {}


async def test_each_model_of_a_chain_is_asked() -> None:
    def script(body: dict[str, object]) -> Behaviour:
        return Behaviour(status=503) if body["model"] == "second" else Behaviour()

    async with Provider.serve(script) as provider:
        found = await models(asking(provider, "openai:first, openai:second"))
    assert [each.level for each in found] == ["ok", "broken"]


async def test_a_missing_key_and_a_wrong_name() -> None:
    for spec, said in (("openai:any", "OPENAI_API_KEY"), ("gpt", "openai:NAME")):
        (found,) = await models(setup(model=spec, openai_base_url="http://127.0.0.1:9"))
        if spec == "gpt":
            assert said in found.said
        (found,) = [await model._ask(setup(model=spec), spec)]
        assert found.level == "broken"
        assert said in found.said


async def test_the_offline_model() -> None:
    (found,) = await models(setup())
    assert found.level == "ok"
    assert "OPENAI_API_KEY" in found.fix
    (found,) = await models(setup("https://voice.example.com"))
    assert found.level == "warning"
