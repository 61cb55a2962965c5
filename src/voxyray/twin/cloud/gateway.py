"""API Gateway in front of functions: a WebSocket API, its @connections, and an HTTP API.

    async with Gateway.serve(websocket=relay, http=web, stage="live") as gateway:
        ...  # ws://{gateway.address}/live, http://{gateway.address}/voice

What it does to a function is what the real one does (aws-serverless 1.1 to 1.5): the handshake
waits for `$connect`; every frame is an invocation of its own, and they overlap; a function that
raises, is late or answers nonsense makes it send an error frame to the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import msgspec
from aiohttp import web

from voxyray.twin.cloud import events, signatures
from voxyray.twin.cloud.connections import Connection, Gone, LimitExceeded, Limits
from voxyray.twin.cloud.events import Event, Malformed

_log = logging.getLogger(__name__)

Invoke: TypeAlias = Callable[[Event], Awaitable[Any]]
# When the n-th frame of a connection (from 1) is handed over, in seconds after its arrival:
# several times are a duplicate, none loses it.
Deliveries: TypeAlias = Callable[[int], Sequence[float]]

INTERNAL_ERROR: Final = "Internal server error"
TIMED_OUT: Final = "Endpoint request timed out"
_MOST_BODY_BYTES: Final = 10 * 1024 * 1024
_GOING_AWAY: Final = 1001


def at_once(_number: int) -> Sequence[float]:
    """Hand every frame over when it arrives; functions overlap all the same."""
    return (0.0,)


def disorderly(seed: int, *, up_to_ms: float = 300, twice: float = 0.1) -> Deliveries:
    """Hand frames over late and so in any order, some of them twice (as a share)."""
    chance = random.Random(seed)

    def deliveries(_number: int) -> Sequence[float]:
        times = 2 if chance.random() < twice else 1
        return tuple(chance.uniform(0, up_to_ms) / 1000 for _ in range(times))

    return deliveries


class Manners(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway behaves where the real one has a choice.

    disconnects: whether `$disconnect` is invoked; it is best effort. post_ms: what a post to
    @connections takes. forms_encoded: whether forms reach functions as base64, as they do.
    """

    deliveries: Deliveries = at_once
    disconnects: bool = True
    post_ms: float = 0
    forms_encoded: bool = True


class Failure(msgspec.Struct, frozen=True):
    """An invocation that the client was told of, or could have been: what it was and why."""

    event: Event
    why: str


class Gateway:
    """Serve a WebSocket API and an HTTP API on one port.

    websocket, http: invoke the function with an event and give its answer.
    path: of the WebSocket API, the stage's name unless given. routes: of the HTTP API, such as
    "POST /voice"; without them everything is `$default`. domain: in events; the Host header if
    empty. credentials: secret keys by access key id, to check signatures of @connections with.
    clock: epoch seconds.

    connections: by id, also those that are opening. failures: invocations that failed.
    """

    def __init__(
        self,
        *,
        websocket: Invoke | None = None,
        http: Invoke | None = None,
        stage: str = "live",
        path: str | None = None,
        routes: Sequence[str] = (),
        domain: str = "",
        credentials: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        manners: Manners | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.websocket = websocket
        self.http = http
        self.stage = stage
        self.path = f"/{stage}" if path is None else path.rstrip("/")
        self.routes = frozenset(routes)
        self.domain = domain
        self.credentials = credentials
        self.limits = limits or Limits()
        self.manners = manners or Manners()
        self.clock = clock
        self.connections: dict[str, Connection] = {}
        self.failures: list[Failure] = []
        self.address = ""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._runner: web.AppRunner | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def serve(
        cls, *, listener: socket.socket | None = None, **settings: Any
    ) -> AsyncGenerator[Gateway, None]:
        """Serve until the block is left: at a free port of loopback, or where a socket listens.

        settings: the class's.
        """
        gateway = cls(**settings)
        await gateway.start(listener)
        try:
            yield gateway
        finally:
            await gateway.stop()

    async def start(self, listener: socket.socket | None = None) -> None:
        """Listen; `address` (host:port) is known from here on."""
        app = web.Application(client_max_size=_MOST_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        listener = listener or socket.create_server(("127.0.0.1", 0))
        await web.SockSite(self._runner, listener).start()
        self.address = "{}:{}".format(*listener.getsockname()[:2])

    async def stop(self) -> None:
        """Close all connections and give up what runs."""
        self.manners = msgspec.structs.replace(self.manners, disconnects=False)
        open_now = list(self.connections.values())
        await asyncio.gather(*[each.close(_GOING_AWAY) for each in open_now])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def settle(self) -> None:
        """Wait until no invocation is running."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = unquote(request.raw_path.partition("?")[0])
        if path.startswith(f"{self.path}/@connections/"):
            return await self._manage(request, path.rpartition("/")[2])
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if self.websocket is None or path.rstrip("/") != self.path:
                return web.json_response({"message": "Forbidden"}, status=403)
            return await self._connect(request, self.websocket)
        return await self._http(request)

    # The WebSocket API

    async def _connect(self, request: web.Request, invoke: Invoke) -> web.StreamResponse:
        session = events.Session(
            self._api(request, "relay-api", self.stage),
            events.new_id(),
            round(self.clock() * 1000),
            _caller(request),
        )
        connection = self.connections[session.connection_id] = Connection(session, self.limits)
        try:
            event = events.connect_event(
                session, request.headers, request.rel_url.raw_query_string, self.clock()
            )
            status = await self._admit(invoke, event)
            if not 200 <= status < 300:
                return web.json_response(_about(session, event, "Forbidden"), status=status)
            opened = await connection.open(request)
            await connection.read(opened, lambda text: self._take(invoke, connection, text))
            return opened
        finally:
            connection.gone = True
            del self.connections[session.connection_id]
            if connection.was_open and self.manners.disconnects:
                event = events.disconnect_event(session, *connection.ended, self.clock())
                self._spawn(self._disconnect(invoke, event))

    async def _admit(self, invoke: Invoke, event: Event) -> int:
        """Give the status of the handshake."""
        try:
            return events.check_websocket_answer(await self._ask(invoke, event))
        except TimeoutError:
            return 504
        except Exception as error:  # noqa: BLE001 - whatever the function raised
            self._note(event, error)
            return 502

    def _take(self, invoke: Invoke, connection: Connection, text: str) -> None:
        # What arrived first has the earlier time, also within a millisecond.
        connection.received_at = max(self.clock(), connection.received_at + 0.001)
        event = events.message_event(connection.session, text, connection.received_at)
        for delay_s in self.manners.deliveries(connection.received):
            self._spawn(self._deliver(invoke, connection, event, delay_s))

    async def _deliver(
        self, invoke: Invoke, connection: Connection, event: Event, delay_s: float
    ) -> None:
        if delay_s:
            await asyncio.sleep(delay_s)
        said = INTERNAL_ERROR
        try:
            events.check_websocket_answer(await self._ask(invoke, event))
            return
        except TimeoutError:
            said = TIMED_OUT
        except Exception as error:  # noqa: BLE001 - whatever the function raised
            self._note(event, error)
        about = _about(connection.session, event, said)
        with contextlib.suppress(Gone, LimitExceeded):
            await connection.post(msgspec.json.encode(about).decode())

    async def _disconnect(self, invoke: Invoke, event: Event) -> None:
        try:
            await self._ask(invoke, event)
        except Exception as error:  # noqa: BLE001 - its result is ignored
            self._note(event, error)

    async def _ask(self, invoke: Invoke, event: Event, limit_s: float | None = None) -> Any:
        """Invoke, but wait no longer than an integration may take; the function goes on then."""

        async def ask() -> Any:
            return await invoke(event)

        task = self._spawn(ask())
        limit_s = self.limits.integration_s if limit_s is None else limit_s
        await asyncio.wait({task}, timeout=limit_s)
        if not task.done():
            self._note(event, TimeoutError(f"no answer within {limit_s:g} s"))
            raise TimeoutError
        try:
            return task.result()
        except TimeoutError as error:
            raise RuntimeError("the function raised TimeoutError") from error

    # @connections

    async def _manage(self, request: web.Request, connection_id: str) -> web.Response:
        body = await request.read()
        try:
            self._check_signature(request, body)
        except signatures.BadSignature as error:
            return _refusal(403, error.code, str(error))
        connection = self.connections.get(connection_id)
        if request.method == "POST" and len(body) > self.limits.message_bytes:
            return _refusal(413, "PayloadTooLargeException", "Payload too large")
        if connection is None or not connection.open_now:
            return _refusal(410, "GoneException", "Gone")
        match request.method:
            case "POST":
                return await self._post(connection, body)
            case "GET":
                return web.json_response(self._describe(connection))
            case "DELETE":
                self._spawn(connection.close())
                return web.Response(status=204)
        return _refusal(403, "ForbiddenException", "Forbidden")

    async def _post(self, connection: Connection, body: bytes) -> web.Response:
        try:
            await connection.post(body.decode("utf-8", "replace"), self.manners.post_ms / 1000)
        except Gone:
            return _refusal(410, "GoneException", "Gone")
        except LimitExceeded:
            return _refusal(429, "LimitExceededException", "Rate exceeded")
        return web.Response()

    def _describe(self, connection: Connection) -> dict[str, Any]:
        session, now_s = connection.session, self.clock()
        caller = session.caller
        return {
            "connectedAt": _iso(session.connected_at_ms / 1000),
            "lastActiveAt": _iso(now_s - connection.idle_s),
            "identity": {"sourceIp": caller.source_ip, "userAgent": caller.user_agent},
        }

    def _check_signature(self, request: web.Request, body: bytes) -> None:
        if self.credentials is None:
            return
        path, _, query = request.raw_path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = signatures.Signed(request.method, path, query, headers, body)
        signatures.check(signed, self.credentials, "execute-api", self.clock())

    # The HTTP API

    async def _http(self, request: web.Request) -> web.Response:
        path = request.raw_path.partition("?")[0]
        route = f"{request.method} {path}" if self.routes else "$default"
        if self.http is None or (self.routes and route not in self.routes):
            return web.json_response({"message": "Not Found"}, status=404)
        try:
            body = await request.read()
        except web.RequestPayloadError:
            return web.json_response({"message": "Bad Request"}, status=400)
        event = events.http_event(
            events.HttpRequest(
                request.method,
                path,
                request.rel_url.raw_query_string,
                request.headers,
                body,
                _caller(request),
            ),
            self._api(request, "web-api", "$default"),
            route,
            self.clock(),
            forms_encoded=self.manners.forms_encoded,
        )
        try:
            answer = await self._ask(self.http, event, self.limits.http_integration_s)
            read = events.http_answer(answer)
        except TimeoutError:
            return web.json_response({"message": "Service Unavailable"}, status=503)
        except Exception as error:  # noqa: BLE001 - whatever the function raised
            self._note(event, error)
            return web.json_response({"message": "Internal Server Error"}, status=500)
        response = web.Response(status=read.status, headers=read.headers, body=read.body)
        for cookie in read.cookies:
            response.headers.add("Set-Cookie", cookie)
        return response

    # What all of them use

    def _api(self, request: web.Request, api_id: str, stage: str) -> events.Api:
        return events.Api(api_id, stage, self.domain or request.host)

    def _note(self, event: Event, error: Exception) -> None:
        why = str(error) if isinstance(error, Malformed) else f"{type(error).__name__}: {error}"
        _log.debug("an invocation for %s failed: %s", event["requestContext"]["routeKey"], why)
        self.failures.append(Failure(event, why))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _caller(request: web.Request) -> events.Caller:
    return events.Caller(request.remote or "127.0.0.1", request.headers.get("User-Agent", ""))


def _about(session: events.Session, event: Event, said: str) -> dict[str, str]:
    request_id = event["requestContext"]["requestId"]
    return {"message": said, "connectionId": session.connection_id, "requestId": request_id}


def _refusal(status: int, code: str, message: str) -> web.Response:
    headers = {"x-amzn-ErrorType": code, "x-amzn-RequestId": events.new_id()}
    return web.json_response({"message": message}, status=status, headers=headers)


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
