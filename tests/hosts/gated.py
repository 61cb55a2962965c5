"""A model server whose every token the test lets out: order is proved by events, not by time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

SOON_S = 60.0  # on a clock that jumps: no answer at all comes to an end at once


class Stream:
    """One answer under way; cut is set when the client has closed it."""

    def __init__(self, body: dict[str, Any], response: web.StreamResponse) -> None:
        self.body = body
        self.cut = asyncio.Event()
        self.over = asyncio.Event()
        self._response = response

    @property
    def messages(self) -> list[tuple[str, Any]]:
        """Role and content of what was asked, without the instructions."""
        return [(each["role"], each.get("content")) for each in self.body["messages"][1:]]

    async def say(self, *tokens: str) -> None:
        for token in tokens:
            await self._write({"delta": {"content": token}})

    async def call_tool(self, name: str, id_: str = "call_1", **arguments: Any) -> None:
        """Call a tool and finish."""
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"index": 0, "id": id_, "type": "function", "function": function}
        await self._write({"delta": {"tool_calls": [call]}})
        await self.finish("tool_calls")

    async def finish(self, reason: str = "stop") -> None:
        await self._write({"delta": {}, "finish_reason": reason})
        await self._response.write(b"data: [DONE]\n\n")
        self.over.set()

    async def answer(self, text: str) -> None:
        await self.say(text)
        await self.finish()

    async def _write(self, choice: dict[str, Any]) -> None:
        chunk = json.dumps({"choices": [{"index": 0, **choice}]})
        await self._response.write(f"data: {chunk}\n\n".encode())


class GatedModel:
    """Serves chat completions; every request becomes a `Stream` for the test."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.base_url = ""
        self._arrived: asyncio.Queue[Stream] = asyncio.Queue()

    async def asked(self) -> Stream:
        """Wait for the next request."""
        return await asyncio.wait_for(self._arrived.get(), SOON_S)

    async def completions(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        stream = Stream(body, response)
        self.streams.append(stream)
        self._arrived.put_nowait(stream)
        try:
            await stream.over.wait()
        finally:
            if not stream.over.is_set():
                stream.cut.set()
        return response


@asynccontextmanager
async def gated_model() -> AsyncIterator[GatedModel]:
    model = GatedModel()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.completions)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    model.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield model
    finally:
        await runner.cleanup()
