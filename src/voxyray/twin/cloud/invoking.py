"""Lambda's Invoke API over HTTP, for functions that invoke functions with a real client."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from aiohttp import web

from voxyray.twin.cloud.errors import FunctionFailed, Throttled
from voxyray.twin.cloud.functions import ACCOUNT, REGION, Pool

_MOST_BYTES: Final = 6 * 1024 * 1024
_MOST_ASYNC_BYTES: Final = 1024 * 1024
_REPEATED_AFTER_S: Final = (60.0, 120.0)  # asynchronous invocations that failed


class LambdaApi:
    """Serve `Invoke` for functions by name.

    repeated_after_s: the waits before an `Event` invocation that failed is repeated.
    asynchronous: what became of each of them: None, or the last failure.
    """

    def __init__(
        self,
        functions: Mapping[str, Pool],
        *,
        repeated_after_s: Sequence[float] = _REPEATED_AFTER_S,
    ) -> None:
        self.functions = functions
        self.asynchronous: list[FunctionFailed | None] = []
        self.url = ""
        self._repeated_after_s = repeated_after_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def serve(
        cls, functions: Mapping[str, Pool], *, port: int = 0, **settings: Any
    ) -> AsyncGenerator[LambdaApi, None]:
        """Serve on loopback until the block is left; port 0 takes a free one."""
        api = cls(functions, **settings)
        await api.start(port)
        try:
            yield api
        finally:
            await api.stop()

    async def start(self, port: int = 0) -> None:
        """Listen; `url` is known from here on."""
        app = web.Application(client_max_size=2 * _MOST_BYTES)
        app.router.add_post("/2015-03-31/functions/{name}/invocations", self._invoke)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Give up what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _invoke(self, request: web.Request) -> web.Response:
        name = _plain_name(unquote(request.match_info["name"]))
        function = self.functions.get(name)
        if function is None:
            arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
            return _refusal(404, "ResourceNotFoundException", f"Function not found: {arn}")
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        event = await request.read() or b"{}"
        if len(event) > (_MOST_ASYNC_BYTES if kind == "Event" else _MOST_BYTES):
            return _refusal(413, "RequestTooLargeException", f"{len(event)} bytes are too many")
        try:
            msgspec.json.decode(event)
        except msgspec.DecodeError as error:
            said = f"Could not parse request body into json: {error}"
            return _refusal(400, "InvalidRequestContentException", said)
        match kind:
            case "RequestResponse":
                return await self._wait(function, event)
            case "Event":
                self._spawn_event(function, event)
                return web.Response(status=202, headers=_headers())
            case "DryRun":
                return web.Response(status=204, headers=_headers())
        return _refusal(400, "InvalidParameterValueException", f"no invocation type: {kind}")

    async def _wait(self, function: Pool, event: bytes) -> web.Response:
        headers = {**_headers(), "X-Amz-Executed-Version": "$LATEST"}
        try:
            answer = await function.invoke_raw(event)
        except Throttled:
            return _refusal(429, "TooManyRequestsException", "Rate Exceeded.")
        except FunctionFailed as error:
            headers["X-Amz-Function-Error"] = "Unhandled"
            return web.Response(body=msgspec.json.encode(error.payload), headers=headers)
        return web.Response(body=answer, headers=headers)

    def _spawn_event(self, function: Pool, event: bytes) -> None:
        task = asyncio.create_task(self._run_event(function, event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_event(self, function: Pool, event: bytes) -> None:
        failure: FunctionFailed | None = None
        for wait_s in (0.0, *self._repeated_after_s):
            await asyncio.sleep(wait_s)
            try:
                await function.invoke_raw(event)
            except FunctionFailed as error:
                failure = error
            else:
                failure = None
                break
        self.asynchronous.append(failure)


def _plain_name(name: str) -> str:
    """Give the name of NAME, NAME:ALIAS or an ARN."""
    parts = name.split(":")
    return parts[6] if parts[0] == "arn" and len(parts) > 6 else parts[0]


def _headers() -> dict[str, str]:
    return {"x-amzn-RequestId": str(uuid.uuid4()), "Content-Type": "application/json"}


def _refusal(status: int, code: str, message: str) -> web.Response:
    headers = {"x-amzn-RequestId": str(uuid.uuid4()), "x-amzn-ErrorType": code}
    kind = "User" if status < 500 else "Service"
    return web.json_response({"Type": kind, "message": message}, status=status, headers=headers)
