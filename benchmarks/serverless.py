"""What the Lambda host adds, with the real handler under the real runtime client.

    python -m benchmarks.serverless

One process plays everything around the function: carrier, API Gateway, model, and a proxy that
makes DynamoDB (MiniStack) as slow as it is in a region. The function is a process of its own.
Method, limits and figures are in docs/serverless.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import aiohttp
import click
import msgspec
from rich.console import Console
from rich.table import Table
from twilio.request_validator import RequestValidator

from voxyray.models import ToolCall
from voxyray.stores.dynamodb import create_table
from voxyray.twin.cloud import runtime
from voxyray.twin.cloud.faults import Faults
from voxyray.twin.cloud.functions import Pool
from voxyray.twin.cloud.gateway import Gateway, Manners
from voxyray.twin.cloud.ministack import make_client, ministack
from voxyray.twin.cloud.queues import Mapping, Poller
from voxyray.twin.provider import Behaviour, Provider

TOKEN: Final = "benchmark-token"
PUBLIC: Final = "https://voice.example.com"
RELAY: Final = "wss://relay.example.com/live"
TABLE: Final = "voxyray"
QUEUE: Final = "wakes"
TOOL_MS: Final = 100
_LISTENS_S: Final = 0.6
_AGENT: Final = """
title = "Benchmark"
greeting = "Hello."
"""
_TOOLS: Final = f"""
import asyncio
from voxyray import tool

@tool
async def look_up(word: str) -> str:
    \"\"\"Look something up.\"\"\"
    await asyncio.sleep({TOOL_MS / 1000})
    return word

tools = [look_up]
"""
_EMPTY: Final = """
import boto3

client = boto3.client("dynamodb")


def handler(event, context):
    return {"statusCode": 200}
"""
_WORDS: Final = ("well", "now", "then", "there", "is", "a", "way,")


class Turn(msgspec.Struct):
    """Marks of a turn in ms from when its prompt was sent, and how many posts it took."""

    asked: float
    first: float
    last: float
    posts: int


class World:
    """Everything around the function."""

    def __init__(self, folder: Path, ministack_url: str) -> None:
        self.folder = folder
        self.url = ministack_url
        self.provider = Provider()
        self.gateway: Gateway
        self.dynamodb: Faults
        self.relay: Pool
        self.web: Pool

    def function(self, name: str, handler: str, **environment: str) -> runtime.Function:
        paths = [str(Path(__file__).parent.parent / "src"), *filter(None, sys.path)]
        variables = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONPATH": os.pathsep.join(paths),
            "VOXYRAY_STORE": f"dynamodb:{TABLE}",
            "VOXYRAY_PUBLIC_URL": PUBLIC,
            "VOXYRAY_RELAY_URL": RELAY,
            "VOXYRAY_SECRETS": "ssm:/voxyray/",
            "VOXYRAY_CONNECTIONS_URL": f"http://{self.gateway.address}/live",
            "VOXYRAY_WAKE_QUEUE_URL": f"{self.url}/000000000000/{QUEUE}",
            "VOXYRAY_AGENTS": str(self.folder / "agents"),
            "VOXYRAY_MODEL": "openai:bench",
            "VOXYRAY_LOG_LEVEL": "WARNING",
            "OPENAI_BASE_URL": self.provider.base_url,
            **environment,
        }
        return runtime.Function(
            name=name,
            handler=handler,
            folder=self.folder,
            environment=variables,
            log=self.folder / f"{name}.log",
        )

    async def place(self, session: aiohttp.ClientSession, number: int) -> Caller:
        """Place a call and let it come to rest after its greeting."""
        form = {
            "CallSid": f"CA{number:032d}",
            "From": "+15550100001",
            "To": "+15550100000",
            "Direction": "inbound",
        }
        headers = {
            "X-Twilio-Signature": RequestValidator(TOKEN).compute_signature(f"{PUBLIC}/voice", form)
        }
        url = f"http://{self.gateway.address}/voice"
        async with session.post(url, data=form, headers=headers) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise click.ClickException(f"/voice answered {answer.status}: {body[:200]!r}")
        token = ElementTree.fromstring(body).find(".//Parameter")
        signature = RequestValidator(TOKEN).compute_signature(RELAY, {})
        socket = await session.ws_connect(
            f"ws://{self.gateway.address}/live", headers={"X-Twilio-Signature": signature}
        )
        caller = Caller(self, socket)
        await caller.send(
            type="setup",
            callSid=form["CallSid"],
            sessionId=f"VX{number}",
            customParameters={"token": token.get("value") if token is not None else ""},
            **{"from": form["From"], "to": form["To"]},
        )
        await asyncio.sleep(0.5)
        return caller


class Caller:
    """One relay socket; every frame it gets is timed."""

    def __init__(self, world: World, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.world = world
        self.socket = socket

    async def send(self, **frame: Any) -> float:
        await self.socket.send_str(json.dumps(frame))
        return asyncio.get_running_loop().time()

    async def frame(self, within_s: float = 10) -> tuple[float, dict[str, Any]]:
        message = await asyncio.wait_for(self.socket.receive(), within_s)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise click.ClickException(f"the socket closed: {message}")
        return asyncio.get_running_loop().time(), json.loads(message.data)

    async def turn(self) -> Turn:
        """Say something, as people do when they have listened, and take the whole answer."""
        await asyncio.sleep(_LISTENS_S)
        asked_before = len(self.world.provider.requests)
        began = await self.send(type="prompt", voicePrompt="Tell me.", lang="en-US", last=True)
        at, frame = await self.frame()
        first, posts = at, 1
        while not frame["last"]:
            at, frame = await self.frame()
            posts += 1
        asked = self.world.provider.requests[asked_before].at
        return Turn(_ms(asked - began), _ms(first - began), _ms(at - began), posts)

    async def cut(self, after_s: float) -> float:
        """Say something, interrupt the answer; ms from the interrupt to the last words."""
        await asyncio.sleep(_LISTENS_S)
        await self.send(type="prompt", voicePrompt="Tell me.", lang="en-US", last=True)
        await self.frame()
        until = asyncio.get_running_loop().time() + after_s
        with contextlib.suppress(TimeoutError):
            while (left := until - asyncio.get_running_loop().time()) > 0:
                await self.frame(left)
        began = last = await self.send(
            type="interrupt", utteranceUntilInterrupt="well", durationUntilInterruptMs=400
        )
        with contextlib.suppress(TimeoutError):
            while True:
                last, _ = await self.frame(0.6)
        return _ms(last - began)


def _ms(seconds: float) -> float:
    return seconds * 1000


@contextlib.asynccontextmanager
async def world(dynamodb_ms: float, post_ms: float) -> AsyncIterator[World]:
    """Start everything around the function, and its pool."""
    async with contextlib.AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        agent = folder / "agents" / "default"
        agent.mkdir(parents=True)
        (agent / "agent.toml").write_text(_AGENT)
        (agent / "prompt.md").write_text("You answer the phone.")
        (agent / "tools.py").write_text(_TOOLS)
        (folder / "empty.py").write_text(_EMPTY)
        url = await exits.enter_async_context(ministack(folder))
        await asyncio.to_thread(_prepare, url)
        made = World(folder, url)
        await made.provider.start()
        exits.push_async_callback(made.provider.stop)
        made.dynamodb = await exits.enter_async_context(Faults.serve(url))
        await _calibrate(made.dynamodb, dynamodb_ms)
        made.gateway = await exits.enter_async_context(
            Gateway.serve(manners=Manners(post_ms=post_ms), stage="live")
        )
        made.relay = runtime.pool(made.function("relay", "voxyray.aws.relay.handler"))
        made.web = runtime.pool(made.function("web", "voxyray.aws.web.handler"))
        exits.push_async_callback(made.relay.close)
        exits.push_async_callback(made.web.close)
        made.gateway.websocket, made.gateway.http = made.relay.invoke, made.web.invoke
        mapping = Mapping(queue=QUEUE, function="relay", batch_size=1, report_failures=True)
        polling = asyncio.create_task(Poller(mapping, made.relay, url).run())
        exits.callback(polling.cancel)
        yield made


def _prepare(url: str) -> None:
    create_table(make_client("dynamodb", url), TABLE)
    make_client("sqs", url).create_queue(QueueName=QUEUE)
    parameters = make_client("ssm", url)
    for name, value in {"twilio-auth-token": TOKEN, "openai-api-key": "sk-none"}.items():
        parameters.put_parameter(Name=f"/voxyray/{name}", Value=value, Type="SecureString")


async def _calibrate(dynamodb: Faults, wanted_ms: float) -> None:
    """Choose the delay with which a read takes so long in all: timers are rounded up.

    Each read comes after a pause, as a turn's do: a processor that was idle is slower.
    """
    tried = {}
    for step in range(int(wanted_ms * 2) + 1):
        dynamodb.latency_ms = step / 2
        tried[step / 2] = await _latency_ms(dynamodb.url)
    dynamodb.latency_ms = min(tried, key=lambda delay: abs(tried[delay] - wanted_ms))
    dynamodb.counts.clear()


async def _latency_ms(url: str) -> float:
    """Give what a read takes through the proxy without any delay."""
    headers = {
        "X-Amz-Target": "DynamoDB_20120810.GetItem",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request",
    }
    key = {"pk": {"S": "none"}, "sk": {"S": "none"}}
    body = json.dumps({"TableName": TABLE, "Key": key}).encode()
    took = []
    async with aiohttp.ClientSession() as session:
        for _ in range(15):
            await asyncio.sleep(0.1)
            began = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as answer:
                await answer.read()
            took.append(_ms(time.perf_counter() - began))
    return statistics.median(took)


async def _pace_ms(base_url: str) -> float:
    """Give when the model's last words come if nobody is in between, in ms from the request."""
    took = []
    async with aiohttp.ClientSession() as session:
        for _ in range(5):
            began = time.perf_counter()
            body = {"model": "bench", "stream": True, "messages": []}
            async with session.post(f"{base_url}/chat/completions", json=body) as answer:
                await answer.read()
            took.append(_ms(time.perf_counter() - began))
    return statistics.median(took)


async def _cold(made: World, handler: str, times: int) -> list[float]:
    """Give what it takes from the start of the process to its first answer, in ms."""
    signature = RequestValidator(TOKEN).compute_signature(RELAY, {})
    took = []
    for number in range(times):
        context = {
            "routeKey": "$connect",
            "eventType": "CONNECT",
            "connectionId": f"cold{number}",
            "requestTimeEpoch": round(time.time() * 1000),
        }
        event = {"headers": {"X-Twilio-Signature": signature}, "requestContext": context}
        pool = runtime.pool(made.function("cold", handler))
        began = time.perf_counter()
        answer = await pool.invoke(event)
        took.append(_ms(time.perf_counter() - began))
        await pool.close()
        if answer != {"statusCode": 200}:
            raise click.ClickException(f"{handler} answered {answer}")
    return took


async def measure(turns: int, dynamodb_ms: float, post_ms: float, console: Console) -> None:
    """Measure everything and print it."""
    table = Table(title="The Lambda host, medians in ms from the prompt's sending")
    for name in ("", "aim", "median", "p95"):
        table.add_column(name, justify="left" if not name else "right")

    def row(what: str, aim: str, values: list[float]) -> None:
        middle, high = statistics.median(values), sorted(values)[int(len(values) * 0.95)]
        table.add_row(what, aim, f"{middle:.1f}", f"{high:.1f}")

    async with world(dynamodb_ms, post_ms) as made, aiohttp.ClientSession() as session:
        text = " ".join((_WORDS * 9)[:60])
        caller = await made.place(session, 1)
        for rate in (50, 100):
            made.provider.script = Behaviour(text=text, first_token_ms=300, rate=rate)
            console.print(f"{turns} turns at {rate} tokens a second ...")
            await caller.turn()
            taken = [await caller.turn() for _ in range(turns)]
            pace = await _pace_ms(made.provider.base_url)
            row(f"{rate} tokens/s: model asked", "8", [each.asked for each in taken])
            row("  first word", "318", [each.first for each in taken])
            row("  last word after the model's", "20", [each.last - pace for each in taken])
            row("  posts", "20", [float(each.posts) for each in taken])
        console.print(f"{turns} turns with a tool ...")
        lookup = ToolCall("call_1", "look_up", '{"word":"x"}')

        def script(body: dict[str, Any]) -> Behaviour:
            told = body["messages"][-1]["role"] == "tool"
            calls = () if told else (lookup,)
            return Behaviour(
                text=text if told else "", tool_calls=calls, first_token_ms=300, rate=100 * told
            )

        made.provider.script = script
        rounds = 300 + TOOL_MS + 300
        caller = await made.place(session, 2)
        await caller.turn()
        taken = [await caller.turn() for _ in range(turns)]
        row(
            "a tool turn's first word, beyond model and tool",
            "30",
            [t.first - rounds for t in taken],
        )
        console.print(f"{turns} interruptions ...")
        made.provider.script = Behaviour(text=text * 5, first_token_ms=300, rate=50)
        caller = await made.place(session, 3)
        cuts = [await caller.cut(0.4 + 0.037 * (n % 7)) for n in range(turns)]
        row("interrupt to last post", "150", cuts)
        console.print("cold starts ...")
        empty = await _cold(made, "empty.handler", 7)
        ours = await _cold(made, "voxyray.aws.relay.handler", 7)
        row("cold start, empty handler with a boto3 client", "", empty)
        row("cold start, ours", "", ours)
        floor = statistics.median(empty)
        row("  beyond the empty one", "300", [each - floor for each in ours])
        console.print(table)
        console.print(
            f"DynamoDB {dynamodb_ms:g} ms a request, post {post_ms:g} ms, model's first token "
            f"300 ms; {len(made.gateway.failures)} failed invocations; "
            f"requests to DynamoDB: {made.dynamodb.counts}"
        )


@click.command()
@click.option("--turns", default=20, show_default=True)
@click.option("--dynamodb-ms", default=5.0, show_default=True)
@click.option("--post-ms", default=10.0, show_default=True)
def main(turns: int, dynamodb_ms: float, post_ms: float) -> None:
    """Measure the Lambda host."""
    asyncio.run(measure(turns, dynamodb_ms, post_ms, Console()))


if __name__ == "__main__":
    main()
