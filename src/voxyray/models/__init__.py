"""Language models: one protocol, its request and its typed deltas.

`Model.stream` yields deltas until a `Finish`; it raises `ModelError` for everything else,
a stream that just stops included. Closing or cancelling it closes the upstream connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Literal, Protocol, TypeAlias

import msgspec


class ToolCall(msgspec.Struct, frozen=True, tag_field="type", tag="tool_call"):
    """A model's wish to run a tool; arguments is JSON text, exactly as the model wrote it."""

    id: str
    name: str
    arguments: str


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as the model sees it; parameters is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of the conversation, in the shape most providers share."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class ModelRequest(msgspec.Struct, frozen=True):
    """What to ask a model.

    tool_choice: `auto`, `none`, `required`, or the name of the tool it must call.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"


class TextDelta(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Words to speak: all that arrived in one wake-up, leading spaces kept."""

    text: str


class Usage(msgspec.Struct, frozen=True, tag_field="type", tag="usage"):
    """Tokens the provider counted; cached_tokens are part of input_tokens."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


FinishReason: TypeAlias = Literal["stop", "tool_calls", "length", "content_filter"]


Outcome: TypeAlias = Literal["answered", "late", "failed", "broke off"]


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One of several models that were asked for the same answer.

    at_ms: from the request. outcome: `late` ones were cancelled when another spoke first, those
    that `broke off` had said part of the answer.
    """

    model: str
    at_ms: float
    outcome: Outcome


class Finish(msgspec.Struct, frozen=True, tag_field="type", tag="finish"):
    """The end of a complete answer.

    model: the name of the one that gave it, or its end. attempts: in order, if there were several.
    """

    reason: FinishReason
    model: str = ""
    attempts: tuple[Attempt, ...] = ()


Delta: TypeAlias = TextDelta | ToolCall | Usage | Finish


class Model(Protocol):
    """A language model.

    name: what the journal and the waterfall call it, such as `openai:gpt-5.4-mini`.
    """

    name: str

    def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        """Ask, and yield deltas: texts and tool calls, any usage, one `Finish` at the end.

        Raises:
            ModelError: the request failed, or the stream ended without a finish.
        """
        ...

    async def warm(self) -> None:
        """Open what the first request will need; failing is silent and harmless."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
