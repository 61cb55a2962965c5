"""Several models as one: the next is asked while the caller has heard nothing yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from voxyray.errors import ModelError, SettingsError
from voxyray.models import Delta, Finish, Model, ModelRequest, TextDelta, ToolCall


class FallbackModel:
    """Ask the first model; when it fails before its first word or tool call, the next.

    A failure after that is passed on: words were spoken, and a second answer would contradict
    them. `Finish.model` tells who answered.

    Raises:
        SettingsError: no model was given.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        if not models:
            raise SettingsError("a fallback needs at least one model; name one in VOXYRAY_MODEL")
        self.name = " > ".join(model.name for model in models)
        self._models = tuple(models)

    def __repr__(self) -> str:
        return f"<FallbackModel {self.name}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        """Ask one model after the other until one begins to answer.

        Raises:
            ModelError: none did (the message names each), or the one that began broke off.
        """
        failures: list[ModelError] = []
        for model in self._models:
            begun = False
            try:
                async with aclosing(model.stream(request)) as deltas:
                    async for delta in deltas:
                        begun = begun or isinstance(delta, TextDelta | ToolCall)
                        yield _signed(delta, model.name)
                return
            except ModelError as error:
                if begun:
                    raise
                failures.append(error)
        raise _all_failed(self._models, failures)

    async def warm(self) -> None:
        """Warm every model at the same time."""
        await asyncio.gather(*(model.warm() for model in self._models), return_exceptions=True)

    async def close(self) -> None:
        """Close every model, also when one of them cannot be."""
        results = await asyncio.gather(
            *(model.close() for model in self._models), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result


def _signed(delta: Delta, name: str) -> Delta:
    if isinstance(delta, Finish) and not delta.model:
        return msgspec.structs.replace(delta, model=name)
    return delta


def _all_failed(models: Sequence[Model], failures: Sequence[ModelError]) -> ModelError:
    lines = []
    for model, error in zip(models, failures, strict=True):
        said = str(error)
        lines.append(said if said.startswith(model.name) else f"{model.name}: {said}")
    return ModelError(
        "no model answered: " + "; ".join(lines),
        retryable=any(error.retryable for error in failures),
        loggable="no model answered: " + "; ".join(error.loggable for error in failures),
    )
