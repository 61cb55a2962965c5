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
from voxyray import tool
from voxyray.agent import Agent
from voxyray.models.openai import OpenAIModel
from voxyray.policy import Policy
from voxyray.server import application
from voxyray.service import Service
from voxyray.settings import Settings

_INSTRUCTIONS = "You answer the phone for Ada's bike shop. Be brief, kind and exact. " * 10


@tool
async def opening_hours(day: str) -> str:
    """Tell when the shop is open on a day."""
    return f"{day}: 9 to 12"


def _agent(kind: str) -> Agent:
    """Make the agent that a scenario needs."""
    return Agent(
        instructions=_INSTRUCTIONS,
        tools=[opening_hours] if kind == "tools" else [],
        policy=Policy(speculate=kind == "partials"),
    )


def _service(port: int, model_url: str, store: str, kind: str) -> Service:
    settings = Settings(
        public_url=f"http://127.0.0.1:{port}", store=store, twilio_auth_token=AUTH_TOKEN
    )
    agent = _agent(kind)
    model = OpenAIModel("mock", api_key="benchmark", base_url=model_url)
    return Service(settings, [agent], models={agent.name: model})


async def _serve(fd: int, model_url: str, store: str, kind: str) -> None:
    listener = socket.socket(fileno=fd)
    runner = web.AppRunner(
        application(_service(listener.getsockname()[1], model_url, store, kind)),
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
@click.option("--kind", default="talk", help="The scenario: what the agent must be able to do.")
def main(fd: int, model_url: str, store: str, kind: str) -> None:
    """Serve on an inherited listening socket until SIGTERM."""
    uvloop.run(_serve(fd, model_url, store, kind))


if __name__ == "__main__":
    main()
