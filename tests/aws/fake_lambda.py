"""A Lambda service for tests: speaks the Invoke API over HTTP, and fails as the real one does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import web


class Reply(NamedTuple):
    """What an invocation is answered with; error: of the function (X-Amz-Function-Error)."""

    body: bytes
    status: int = 200
    error: str = ""


CUT = Reply(b"", 0)  # the connection breaks before the answer

Function = Callable[[Any], Awaitable[Reply]]


def returned(value: Any) -> Reply:
    return Reply(json.dumps(value).encode())


def failed(kind: str, message: str = "for +15550100") -> Reply:
    body = {"errorType": kind, "errorMessage": message, "stackTrace": []}
    return Reply(json.dumps(body).encode(), error="Unhandled")


def refused(status: int, code: str) -> Reply:
    """What the service itself answers, as the invoke did not get to the function."""
    return Reply(json.dumps({"Type": "User", "Message": "no", "code": code}).encode(), status)


class FakeLambda:
    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.invoked: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def answers(self, *replies: Reply, function: str = "tools") -> None:
        """Give these, one after the other, and the last again and again."""
        left = list(replies)

        async def answer(_: Any) -> Reply:
            return left.pop(0) if len(left) > 1 else left[0]

        self.functions[function] = answer

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeLambda]:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_post("/2015-03-31/functions/{name}/invocations", self._invoke)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _invoke(self, request: web.Request) -> web.StreamResponse:
        payload = json.loads(await request.read())
        self.invoked.append(payload)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        function = self.functions.get(request.match_info["name"])
        reply = (
            refused(404, "ResourceNotFoundException")
            if function is None
            else await function(payload)
        )
        if reply is CUT:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        headers = {"X-Amz-Function-Error": reply.error} if reply.error else {}
        if reply.status != 200:
            headers["x-amzn-ErrorType"] = json.loads(reply.body)["code"]
        return web.Response(
            status=reply.status,
            body=reply.body,
            headers=headers,
            content_type="application/json",
        )
