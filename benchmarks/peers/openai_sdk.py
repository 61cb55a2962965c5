"""What both peers leave to whoever uses them: streaming from the OpenAI SDK, with a tool."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any, Final

from openai import AsyncOpenAI

TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": "opening_hours",
            "description": "Tell when the shop is open on a day.",
            "parameters": {
                "type": "object",
                "properties": {"day": {"type": "string"}},
                "required": ["day"],
            },
        },
    }
]


class Model:
    """The model and what it may ask for."""

    def __init__(self, url: str, kind: str) -> None:
        self._client = AsyncOpenAI(api_key="benchmark", base_url=url)
        self._options: dict[str, Any] = {"tools": TOOLS} if kind == "tools" else {}

    async def answer(self, messages: list[Any]) -> AsyncGenerator[str, None]:
        """Stream an answer, with a round for every tool that the model asks for."""
        said = ""
        while True:
            stream = await self._client.chat.completions.create(
                model="mock", messages=messages, stream=True, **self._options
            )
            calls: list[dict[str, str]] = []
            async for chunk in stream:
                delta = chunk.choices[0].delta
                for part in delta.tool_calls or ():
                    if part.id:
                        calls.append({"id": part.id, "name": part.function.name, "arguments": ""})
                    calls[part.index]["arguments"] += part.function.arguments or ""
                if delta.content:
                    said += delta.content
                    yield delta.content
            if not calls:
                messages.append({"role": "assistant", "content": said})
                return
            messages += await _run(calls)


async def _opening_hours(day: str) -> str:
    return f"{day}: 9 to 12"


async def _run(calls: list[dict[str, str]]) -> list[Any]:
    """Run the tools and give the messages that report them."""
    asked = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for call in calls
    ]
    messages: list[Any] = [{"role": "assistant", "content": None, "tool_calls": asked}]
    for call in calls:
        result = await _opening_hours(**json.loads(call["arguments"]))
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return messages
