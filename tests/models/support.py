"""What the tests of models share: a request, a collected answer, a clock for real sockets."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, ParamSpec

from voxyray.models import Delta, Message, Model, ModelRequest, TextDelta, ToolSpec
from voxyray.models.openai import OpenAIModel
from voxyray.twin.provider import Provider, Script

KEY = "sk-very-secret-0123456789"
SOON_S = 5.0  # a bound for what takes milliseconds, not a measurement
ASK = ModelRequest(messages=(Message("user", "Hello?"),))
WITH_TOOL = ModelRequest(
    messages=(Message("user", "Book it."),),
    tools=(ToolSpec("book", "Books.", {"type": "object", "properties": {}}),),
)

_P = ParamSpec("_P")


@asynccontextmanager
async def serving(script: Script, **options: Any) -> AsyncGenerator[tuple[Provider, OpenAIModel]]:
    """Serve a script, with a model that asks it."""
    async with Provider.serve(script) as provider:
        model = OpenAIModel("test", api_key=KEY, base_url=provider.base_url, **options)
        try:
            yield provider, model
        finally:
            await model.close()


async def collect(model: Model, request: ModelRequest = ASK) -> list[Delta]:
    return [delta async for delta in model.stream(request)]


async def answer(script: Script, request: ModelRequest = ASK, **options: Any) -> list[Delta]:
    async with serving(script, **options) as (_, model):
        return await collect(model, request)


async def until_failure(model: Model) -> tuple[list[Delta], Exception]:
    """Give what came before the failure, and the failure."""
    deltas: list[Delta] = []
    try:
        async with aclosing(model.stream(ASK)) as stream:
            async for delta in stream:
                deltas.append(delta)  # noqa: PERF401 - those before a failure count
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return deltas, error
    raise AssertionError(f"no failure, but {deltas}")


def said(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


class _Selector(selectors.DefaultSelector):
    loop: SocketClock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        # Loopback needs no more than this; then nothing is under way, and time may jump.
        ready = super().select(0.01)
        if not ready:
            self.loop.now_s += timeout or 0
        return ready


class SocketClock(asyncio.SelectorEventLoop):
    """Virtual time over real loopback sockets: it jumps once nothing arrives any more."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


def on_virtual_time(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        with asyncio.Runner(loop_factory=SocketClock) as runner:
            runner.run(test(*args, **kwargs))

    return run
