"""A simulated OpenAI-compatible server: paced streams, and every way in which they go wrong.

    async with Provider.serve(Behaviour(text="Hello there", rate=50)) as provider:
        model = OpenAIModel("any", api_key="any", base_url=provider.base_url)

It also runs as a process of its own: `python -m voxyray.twin.provider --rate 50 --tokens 60`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final, Literal, NoReturn, TypeAlias

import click
import msgspec
from aiohttp import web

from voxyray.models import ToolCall, Usage

ToolStyle: TypeAlias = Literal[
    "openai",  # name first, then the arguments in small pieces, one call after the other
    "interleaved",  # the same, the pieces of all calls taking turns
    "whole",  # every call in one chunk
    "repeated",  # id and name in every chunk
    "no_index",
    "no_index_no_id",  # whole calls
    "index_0",  # whole calls that all claim index 0
    "no_id",
    "same_id",  # one id for all calls
    "new_ids",  # another id in every chunk of one call
    "objects",  # arguments as an object instead of text
]


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is answered; the default is a good answer at once.

    first_token_ms: from the request; rate: tokens/s after that, 0 for all in one write.
    text: cut into tokens before its spaces; None for `tokens` counted ones (" word1 word2").
    status: other than 200 answers with error as the provider's message.
    *_at: after so many tokens (text tokens, else chunks of tool calls) the stream ... error_at:
    reports error; truncate_at: ends without a finish; stall_at: hangs; corrupt_at: breaks.
    hang: never gets beyond this. reset: closes the connection before any byte of an answer.
    raw: sent as the body instead of all else, piece by piece. comment_ms: between keep-alives.
    """

    first_token_ms: float = 0
    rate: float = 0
    tokens: int = 20
    text: str | None = None
    refusal: str | None = None
    reasoning: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    tool_style: ToolStyle = "openai"
    finish: str | None = None
    usage: Usage | None = None
    done: bool = True
    status: int = 200
    error: str = "simulated trouble"
    error_event: bool = False
    error_at: int | None = None
    truncate_at: int | None = None
    stall_at: int | None = None
    corrupt_at: int | None = None
    hang: Literal["", "headers", "first_token", "after_finish"] = ""
    reset: bool = False
    json: bool = False
    raw: tuple[bytes, ...] | None = None
    comment_ms: float = 0
    newline: Literal["\n", "\r\n", "\r"] = "\n"


Script: TypeAlias = Behaviour | Sequence[Behaviour] | Callable[[dict[str, Any]], Behaviour]


class Asked(msgspec.Struct):
    """One request as it came; connection is the client's port, at the loop's time in s."""

    body: dict[str, Any]
    headers: dict[str, str]
    connection: int
    at: float


class Cut(msgspec.Struct):
    """A stream that the client closed; at: the loop's time in s, tokens: sent until then."""

    at: float
    tokens: int


class Provider:
    """Serve chat completions that behave as told, and remember what was asked.

    script: one behaviour for all requests, one for each in turn (the last for all after it), or
    a function of the request's body.
    requests: in order of arrival; cancelled: by the request's number; warmed: GETs of models;
    connections: the client's ports that were seen.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = Behaviour() if script is None else script
        self.requests: list[Asked] = []
        self.cancelled: dict[int, Cut] = {}
        self.connections: set[int] = set()
        self.warmed = 0
        self.base_url = ""
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Condition()

    @classmethod
    @contextlib.asynccontextmanager
    async def serve(
        cls, script: Script | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> AsyncGenerator[Provider, None]:
        """Serve until the block is left; port 0 takes a free one."""
        provider = cls(script)
        await provider.start(host, port)
        try:
            yield provider
        finally:
            await provider.stop()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; `base_url` is known from here on."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.base_url = f"http://{host}:{bound}/v1"

    async def stop(self) -> None:
        """Close the port and all streams."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def wait_cancelled(self, number: int = 0) -> Cut:
        """Wait until the client has closed a stream; bound it with a timeout."""
        async with self._changed:
            await self._changed.wait_for(lambda: number in self.cancelled)
        return self.cancelled[number]

    async def wait_requests(self, count: int = 1) -> None:
        """Wait until so many requests have come; bound it with a timeout."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def _models(self, request: web.Request) -> web.Response:
        self._meet(request)
        self.warmed += 1
        return web.json_response({"object": "list", "data": []})

    def _meet(self, request: web.Request) -> int:
        peer = request.transport and request.transport.get_extra_info("peername")
        connection = int(peer[1]) if peer else 0
        self.connections.add(connection)
        return connection

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = msgspec.json.decode(await request.read(), type=dict[str, Any])
        number = len(self.requests)
        now = asyncio.get_running_loop().time()
        self.requests.append(Asked(body, dict(request.headers), self._meet(request), now))
        stream = _Stream(request, self._behaviour(number, body), now)
        await self._tell()
        try:
            return await stream.play()
        except (asyncio.CancelledError, ConnectionError):
            if self._runner is not None:  # else it is us who close
                now = asyncio.get_running_loop().time()
                self.cancelled[number] = Cut(now, stream.tokens)
                await self._tell()
            raise

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _behaviour(self, number: int, body: dict[str, Any]) -> Behaviour:
        if isinstance(self.script, Behaviour):
            return self.script
        if callable(self.script):
            return self.script(body)
        return self.script[min(number, len(self.script) - 1)] if self.script else Behaviour()


class _Stream:
    """One answer on its way; tokens counts what was sent."""

    def __init__(self, request: web.Request, behaviour: Behaviour, began: float) -> None:
        self.tokens = 0
        self._request = request
        self._behaviour = behaviour
        self._began = began
        self._loop = asyncio.get_running_loop()
        self._response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )

    async def play(self) -> web.StreamResponse:
        behaviour = self._behaviour
        if behaviour.hang == "headers":
            await _forever()
        if behaviour.reset:
            if self._request.transport is not None:
                self._request.transport.abort()
            await _forever()  # until the loss of the connection cancels us
        if behaviour.status != 200 or behaviour.json:
            return await self._play_json()
        await self._response.prepare(self._request)
        if behaviour.raw is not None:
            for piece in behaviour.raw:
                await self._response.write(piece)
                await asyncio.sleep(0)
        else:
            await self._play_chunks(_plan(behaviour))
        await self._response.write_eof()
        return self._response

    async def _play_json(self) -> web.Response:
        behaviour = self._behaviour
        await self._sleep_until(self._began + behaviour.first_token_ms / 1000)
        if behaviour.status != 200:
            error = {"message": behaviour.error, "type": "simulated", "code": None}
            headers = {"Location": behaviour.error} if 300 <= behaviour.status < 400 else {}
            return web.json_response({"error": error}, status=behaviour.status, headers=headers)
        return web.Response(body=_completion(behaviour), content_type="application/json")

    async def _play_chunks(self, plan: _Plan) -> None:
        behaviour = self._behaviour
        await self._response.write(plan.head)
        if behaviour.hang == "first_token":
            await self._sleep_until(float("inf"))
        first_at = self._began + behaviour.first_token_ms / 1000
        await self._sleep_until(first_at)
        rate, total = behaviour.rate, len(plan.tokens)
        while self.tokens < total:
            # What is due by now, so that a late wake-up neither drifts nor sends chunk by chunk.
            due = int((self._loop.time() - first_at) * rate) + 1 if rate else total
            end = min(total, max(due, self.tokens + 1))
            await self._response.write(b"".join(plan.tokens[self.tokens : end]))
            self.tokens = end
            if end < total:
                await self._sleep_until(first_at + end / rate)
        if plan.tail:
            await self._response.write(plan.tail)
        if plan.hangs:
            await self._sleep_until(float("inf"))

    async def _sleep_until(self, at: float) -> None:
        comment_s = self._behaviour.comment_ms / 1000
        while (left := at - self._loop.time()) > 0:
            if not comment_s:
                await (_forever() if left == float("inf") else asyncio.sleep(left))
            else:
                await asyncio.sleep(min(left, comment_s))
                if self._response.prepared:
                    await self._response.write(b": keep-alive\n\n")


class _Plan(msgspec.Struct, frozen=True):
    head: bytes
    tokens: tuple[bytes, ...]
    tail: bytes
    hangs: bool


@functools.lru_cache(maxsize=256)
def _plan(behaviour: Behaviour) -> _Plan:
    event = functools.partial(_event, newline=behaviour.newline)
    head = event(_choice({"role": "assistant", "content": "", "refusal": None}))
    tokens = [event(chunk) for chunk in _token_chunks(behaviour)]
    tail: list[bytes] = []
    hangs = behaviour.hang == "after_finish"
    if behaviour.truncate_at is not None:
        tokens = tokens[: behaviour.truncate_at]
    elif behaviour.stall_at is not None:
        tokens, hangs = tokens[: behaviour.stall_at], True
    elif behaviour.error_at is not None:
        tokens = tokens[: behaviour.error_at]
        error = {"error": {"message": behaviour.error, "type": "server_error", "code": None}}
        prefix = b"event: error" + behaviour.newline.encode() if behaviour.error_event else b""
        tail = [prefix + event(error)]
    elif behaviour.corrupt_at is not None:
        tokens = tokens[: behaviour.corrupt_at]
        tail = [f'data: {{"choices":[{{"delta":{behaviour.newline * 2}'.encode()]
    else:
        tail.append(event(_choice({}, _finish(behaviour))))
        if behaviour.usage is not None:
            tail.append(event({"choices": [], "usage": _usage(behaviour.usage)}))
        if behaviour.done and not hangs:
            tail.append(f"data: [DONE]{behaviour.newline * 2}".encode())
    return _Plan(head, tuple(tokens), b"".join(tail), hangs)


def _event(chunk: dict[str, Any], *, newline: str) -> bytes:
    # All that OpenAI sends around a token, so that its decoding costs what it costs there.
    envelope = {
        "id": "chatcmpl-simulated",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "simulated",
        "service_tier": "default",
        "system_fingerprint": None,
    }
    body = chunk if "error" in chunk else {**envelope, **chunk}
    end = newline.encode()
    return b"data: " + msgspec.json.encode(body) + end + end


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {"choices": [choice], "usage": None}


def _finish(behaviour: Behaviour) -> str:
    return behaviour.finish or ("tool_calls" if behaviour.tool_calls else "stop")


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _text(behaviour: Behaviour) -> str:
    if behaviour.text is not None:
        return behaviour.text
    if behaviour.tool_calls or behaviour.refusal:
        return ""
    return "".join(f" word{number}" for number in range(1, behaviour.tokens + 1))


def _token_chunks(behaviour: Behaviour) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"reasoning_content": " hm"}] * behaviour.reasoning
    deltas += [{"content": token} for token in _cut_tokens(_text(behaviour))]
    deltas += [{"refusal": token} for token in _cut_tokens(behaviour.refusal or "")]
    deltas += [
        {"tool_calls": [part]} for part in tool_parts(behaviour.tool_calls, behaviour.tool_style)
    ]
    return [_choice(delta) for delta in deltas]


def _cut_tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def tool_parts(calls: Sequence[ToolCall], style: ToolStyle) -> list[dict[str, Any]]:
    """Cut tool calls into the `tool_calls` entries of chunks, the way some server does."""
    whole = style in ("whole", "no_index_no_id", "index_0", "objects")
    cut = [_parts(index, call, whole=whole) for index, call in enumerate(calls)]
    parts = [part for call in cut for part in call]
    if style == "interleaved":
        longest = max(map(len, cut), default=0)
        parts = [call[turn] for turn in range(longest) for call in cut if turn < len(call)]
    for number, part in enumerate(parts):
        _bend(part, style, number, calls[part["index"]])
    return parts


def _parts(index: int, call: ToolCall, *, whole: bool) -> list[dict[str, Any]]:
    function = {"name": call.name, "arguments": call.arguments if whole else ""}
    parts = [{"index": index, "id": call.id, "type": "function", "function": function}]
    if not whole:
        pieces = [call.arguments[at : at + 4] for at in range(0, len(call.arguments), 4)]
        parts += [{"index": index, "function": {"arguments": piece}} for piece in pieces]
    return parts


def _bend(part: dict[str, Any], style: ToolStyle, number: int, call: ToolCall) -> None:
    if style == "repeated":
        part["id"], part["function"]["name"] = call.id, call.name
    elif style == "new_ids":
        part["id"] = f"random-{number}"
    elif style == "same_id" and "id" in part:
        part["id"] = "same"
    elif style == "index_0":
        part["index"] = 0
    elif style == "objects":
        part["function"]["arguments"] = msgspec.json.decode(call.arguments or "{}")
    if style in ("no_index", "no_index_no_id"):
        del part["index"]
    if style in ("no_id", "no_index_no_id"):
        part.pop("id", None)


def _completion(behaviour: Behaviour) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": _text(behaviour) or None}
    if behaviour.refusal:
        message["refusal"] = behaviour.refusal
    if behaviour.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": text}}
            for call in behaviour.tool_calls
            for text in (call.arguments,)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish(behaviour)}
    usage = _usage(behaviour.usage) if behaviour.usage else None
    return msgspec.json.encode(
        {"object": "chat.completion", "model": "simulated", "choices": [choice], "usage": usage}
    )


async def _forever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody sets this future")


async def _run(behaviour: Behaviour, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Provider.serve(behaviour, host=host, port=port) as provider:
        click.echo(provider.base_url)  # flushed: whoever started us waits for it
        await stop.wait()


_ZERO: Final = click.FloatRange(min=0)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, help="0 takes a free one.", show_default=True)
@click.option("--first-token-ms", type=_ZERO, default=200.0, show_default=True)
@click.option("--rate", type=_ZERO, default=50.0, help="Tokens/s; 0: at once.", show_default=True)
@click.option("--tokens", type=click.IntRange(min=0), default=60, show_default=True)
@click.option("--text", help="Say this instead of counted words.")
def main(
    host: str, port: int, first_token_ms: float, rate: float, tokens: int, text: str | None
) -> None:
    """Serve a simulated OpenAI-compatible model, and print the base URL to use."""
    behaviour = Behaviour(first_token_ms=first_token_ms, rate=rate, tokens=tokens, text=text)
    try:
        import uvloop
    except ImportError:  # Windows
        asyncio.run(_run(behaviour, host, port))
    else:
        uvloop.run(_run(behaviour, host, port))


if __name__ == "__main__":
    main()
