"""A peer: FastAPI and the OpenAI SDK with nothing around them, as tutorials write it.

Kinder than most of them: an answer is a task, cancelled by an interruption or the next prompt, so
that it stops at all. Signatures are not checked.
"""
# mypy: disable-error-code="import-not-found,untyped-decorator"

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect

from benchmarks.peers import INSTRUCTIONS, arguments
from benchmarks.peers.openai_sdk import Model

app = FastAPI()


@app.post("/twiml")
async def twiml(request: Request) -> Response:
    url = f"ws://{request.headers['host']}/ws"
    return Response(
        f'<Response><Connect><ConversationRelay url="{url}" welcomeGreeting="Hello!"/>'
        "</Connect></Response>",
        media_type="text/xml",
    )


@app.websocket("/ws")
async def relay(websocket: WebSocket) -> None:
    await websocket.accept()
    messages: list[Any] = [{"role": "system", "content": INSTRUCTIONS}]
    speaking: asyncio.Task[None] | None = None
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = json.loads(await websocket.receive_text())
            if message["type"] in ("prompt", "interrupt") and speaking is not None:
                speaking.cancel()
            if message["type"] == "prompt":
                messages.append({"role": "user", "content": message["voicePrompt"]})
                speaking = asyncio.create_task(_speak(websocket, messages))
    if speaking is not None:
        speaking.cancel()


async def _speak(websocket: WebSocket, messages: list[Any]) -> None:
    model: Model = app.state.model
    async with contextlib.aclosing(model.answer(messages)) as tokens:
        async for token in tokens:
            await websocket.send_text(json.dumps({"type": "text", "token": token, "last": False}))
    await websocket.send_text(json.dumps({"type": "text", "token": "", "last": True}))


def main() -> None:
    """Serve on an inherited listening socket until SIGTERM."""
    given = arguments()
    app.state.model = Model(given.model_url, given.kind)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=given.fd)])


if __name__ == "__main__":
    main()
