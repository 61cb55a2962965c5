"""The server under test: a bare agent on the default host, as production runs it.

python -m benchmarks.server --fd 3 --model-url http://127.0.0.1:4000/v1 --store sqlite:/tmp/x
"""

from __future__ import annotations

import asyncio
import signal
import socket

import click
import uvloop
from aiohttp import web

from benchmarks.figures import AUTH_TOKEN
from voxyray.agent import Agent
from voxyray.models.openai import OpenAIModel
from voxyray.server import application
from voxyray.service import Service
from voxyray.settings import Settings

_INSTRUCTIONS = "You answer the phone for Ada's bike shop. Be brief, kind and exact. " * 10


def _service(port: int, model_url: str, store: str) -> Service:
    settings = Settings(
        public_url=f"http://127.0.0.1:{port}", store=store, twilio_auth_token=AUTH_TOKEN
    )
    agent = Agent(instructions=_INSTRUCTIONS)
    model = OpenAIModel("mock", api_key="benchmark", base_url=model_url)
    return Service(settings, [agent], models={agent.name: model})


async def _serve(fd: int, model_url: str, store: str) -> None:
    listener = socket.socket(fileno=fd)
    runner = web.AppRunner(
        application(_service(listener.getsockname()[1], model_url, store)),
        access_log=None,
        shutdown_timeout=1,
    )
    await runner.setup()
    await web.SockSite(runner, listener, backlog=1024).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()


@click.command()
@click.option("--fd", type=int, required=True)
@click.option("--model-url", required=True)
@click.option("--store", required=True)
def main(fd: int, model_url: str, store: str) -> None:
    """Serve on an inherited listening socket until SIGTERM."""
    uvloop.run(_serve(fd, model_url, store))


if __name__ == "__main__":
    main()
