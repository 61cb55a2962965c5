"""A model that says what a test tells it to, at the pace it tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeAlias

from voxyray.models import Delta, Finish, ModelRequest, TextDelta

HANG = float("inf")
Step: TypeAlias = Delta | str | float | Exception
Answer: TypeAlias = Sequence[Step]


class ScriptedModel:
    """Gives one answer for each request, the last for all after it.

    A step is a delta, a text, seconds to wait (HANG: for ever) or what to raise; an answer that
    ends without a failure is finished. requests: as asked; cut: numbers of those closed early.
    """

    name = "scripted"

    def __init__(self, *answers: Answer | Callable[[ModelRequest], Answer]) -> None:
        self.answers = answers or (["Hello."],)
        self.requests: list[ModelRequest] = []
        self.cut: list[int] = []
        self.warmed = 0
        self.closed = False

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        number = len(self.requests)
        self.requests.append(request)
        answer = self.answers[min(number, len(self.answers) - 1)]
        steps = answer(request) if callable(answer) else answer
        try:
            for step in steps:
                if isinstance(step, float | int):
                    await (_forever() if step == HANG else asyncio.sleep(step))
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield TextDelta(step) if isinstance(step, str) else step
            if not any(isinstance(step, Finish) for step in steps):
                yield Finish("stop")
        except (GeneratorExit, asyncio.CancelledError):
            self.cut.append(number)
            raise

    async def warm(self) -> None:
        self.warmed += 1

    async def close(self) -> None:
        self.closed = True


def words(text: str, gap_s: float = 0.0) -> list[Step]:
    """Give a text word by word, with a pause before each."""
    parts = text.split(" ")
    tokens = [part if number == 0 else f" {part}" for number, part in enumerate(parts)]
    return [step for token in tokens for step in ((gap_s, token) if gap_s else (token,))]


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()
