from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.models.contract import TEXT, TOOLS, USAGE, Actor, ModelContract, Scene, Stage
from tests.models.support import KEY
from voxyray.models import hedging
from voxyray.models.fallback import FallbackModel
from voxyray.models.openai import OpenAIModel
from voxyray.twin.provider import Behaviour, Provider

SCENES: dict[Scene, Behaviour] = {
    "talks": Behaviour(text=TEXT, usage=USAGE),
    "works": Behaviour(tool_calls=TOOLS, usage=USAGE),
    "refuses": Behaviour(status=401),
    "truncates": Behaviour(text=TEXT, truncate_at=4),
    "stalls": Behaviour(text=TEXT, stall_at=4),
    "never begins": Behaviour(hang="first_token", comment_ms=5),
    "talks on": Behaviour(rate=1000, tokens=100_000),
}


@asynccontextmanager
async def openai(scene: Scene) -> AsyncGenerator[Actor, None]:
    # Tight only where the deadline is what is tested; elsewhere a busy machine must not matter.
    late = 0.04 if scene in ("stalls", "never begins") else 8
    first = late if scene == "never begins" else 8
    async with Provider.serve(SCENES[scene]) as provider:
        model = OpenAIModel(
            "test",
            api_key=KEY,
            base_url=provider.base_url,
            first_token_timeout_s=first,
            stall_timeout_s=late,
        )
        try:
            yield Actor(model, provider.wait_cancelled)
        finally:
            await model.close()


@asynccontextmanager
async def fallback(scene: Scene) -> AsyncGenerator[Actor, None]:
    async with openai(scene) as first, openai(scene) as second:
        yield Actor(FallbackModel([first.model, second.model]), first.dropped)


@asynccontextmanager
async def second_choice(scene: Scene) -> AsyncGenerator[Actor, None]:
    async with openai("refuses") as first, openai(scene) as second:
        yield Actor(FallbackModel([first.model, second.model]), second.dropped)


@asynccontextmanager
async def side_by_side(scene: Scene) -> AsyncGenerator[Actor, None]:
    async with openai(scene) as first, openai(scene) as second:
        yield Actor(FallbackModel([[first.model, second.model]]), first.dropped)


@asynccontextmanager
async def late_first(scene: Scene) -> AsyncGenerator[Actor, None]:
    late: Scene = "refuses" if scene == "refuses" else "never begins"
    async with openai(late) as first, openai(scene) as second:
        yield Actor(FallbackModel([[first.model, second.model]], hedge_share=1), second.dropped)


class TestOpenAI(ModelContract):
    @pytest.fixture
    def stage(self) -> Stage:
        return openai


class TestFallback(ModelContract):
    @pytest.fixture(params=[fallback, second_choice])
    def stage(self, request: pytest.FixtureRequest) -> Stage:
        stage: Stage = request.param
        return stage


class TestHedging(ModelContract):
    @pytest.fixture(params=[side_by_side, late_first])
    def stage(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stage:
        stage: Stage = request.param
        if stage is late_first:
            monkeypatch.setattr(hedging, "START_S", 0.005)
        return stage
