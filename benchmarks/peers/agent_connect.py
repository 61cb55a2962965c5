"""A peer: Twilio Agent Connect, streaming from the OpenAI SDK as its own voice example does.

ConversationRelay alone (no orchestrator, no memory), its own FastAPI application with signatures
checked, answers cancelled as it does by default. Its telemetry is off: nothing may leave this
machine. It logs warnings only, to its advantage; by default it logs more.
"""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import os
import socket
from typing import Any, Final

import uvicorn
from tac import TAC, TACConfig
from tac.channels.voice import VoiceChannel
from tac.server import TACFastAPIServer

from benchmarks.peers import INSTRUCTIONS, arguments
from benchmarks.peers.openai_sdk import Model

_TOKEN: Final = "benchmark"


def main() -> None:
    """Serve on an inherited listening socket until SIGTERM."""
    os.environ["TAC_ANALYTICS_DISABLED"] = "true"
    given = arguments()
    listener = socket.socket(fileno=given.fd)
    model = Model(given.model_url, given.kind)
    config = TACConfig(
        account_sid="AC1",
        auth_token=_TOKEN,
        api_key="SK1",
        api_secret=_TOKEN,
        phone_number="+15550100000",
        voice_public_domain=f"127.0.0.1:{listener.getsockname()[1]}",
        log_level="WARNING",
    )
    tac = TAC(config=config)
    voice = VoiceChannel(tac)
    histories: dict[str, list[Any]] = {}

    async def answer(said: str, context: Any, _memory: Any) -> None:
        call = context.conversation_id
        messages = histories.setdefault(call, [{"role": "system", "content": INSTRUCTIONS}])
        messages.append({"role": "user", "content": said})
        await voice.send_response(call, model.answer(messages))

    tac.on_message_ready(answer)
    app = TACFastAPIServer(tac=tac, voice_channel=voice).app
    # What its start() does, but for the socket and the log.
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(
        sockets=[listener]
    )


if __name__ == "__main__":
    main()
