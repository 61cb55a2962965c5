from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import aiohttp
import pytest

from tests.models.support import ASK, KEY, SOON_S, collect, on_virtual_time, said, serving
from voxyray.models import TextDelta
from voxyray.models.openai import OpenAIModel
from voxyray.twin.provider import Behaviour, Provider


@on_virtual_time
async def test_tokens_keep_their_pace_without_drift() -> None:
    async with serving(Behaviour(first_token_ms=300, rate=20, tokens=101)) as (_, model):
        loop = asyncio.get_running_loop()
        began = loop.time()
        times = [
            loop.time() - began async for delta in model.stream(ASK) if isinstance(delta, TextDelta)
        ]
    assert times[0] == pytest.approx(0.3, abs=0.02)
    assert times[-1] == pytest.approx(5.3, abs=0.02)
    assert len(times) == 101


async def test_a_hundred_streams_at_once() -> None:
    async with serving(Behaviour(rate=1000, tokens=30)) as (provider, model):
        answers = await asyncio.gather(*(collect(model) for _ in range(100)))
        assert {len(said(deltas).split()) for deltas in answers} == {30}
        assert len(provider.requests) == 100
        assert provider.cancelled == {}


async def test_a_script_in_turn_repeats_its_last() -> None:
    async with serving([Behaviour(text="one"), Behaviour(text="two")]) as (_, model):
        assert [said(await collect(model)) for _ in range(3)] == ["one", "two", "two"]


async def test_a_script_may_look_at_the_request() -> None:
    def echo(body: dict[str, Any]) -> Behaviour:
        return Behaviour(text=body["messages"][-1]["content"])

    async with serving(echo) as (_, model):
        assert said(await collect(model)) == "Hello?"


async def test_a_cut_stream_tells_how_far_it_came() -> None:
    async with serving(Behaviour(stall_at=7)) as (provider, model):
        before = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await collect(model)
        cut = await asyncio.wait_for(provider.wait_cancelled(), SOON_S)
        assert cut.tokens == 7
        assert cut.at > before


async def test_stopping_is_no_cut_of_the_client() -> None:
    async with (
        Provider.serve(Behaviour(hang="headers")) as provider,
        aiohttp.ClientSession() as session,
    ):
        url = f"{provider.base_url}/chat/completions"
        asking = asyncio.create_task(session.post(url, json={}).__aenter__())
        await asyncio.wait_for(provider.wait_requests(), SOON_S)
        await provider.stop()
        with pytest.raises(aiohttp.ClientError):
            await asking
    assert provider.cancelled == {}


async def test_it_runs_as_a_process_of_its_own() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "voxyray.twin.provider", "--port", "0", "--first-token-ms", "0"),
        *("--rate", "0", "--tokens", "60"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 4 * SOON_S)
        model = OpenAIModel("test", api_key=KEY, base_url=line.decode())
        assert len(said(await collect(model)).split()) == 60
        await model.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 4 * SOON_S) == 0
