"""What API Gateway does to functions and clients, row by row of aws-serverless 1.1 to 1.5."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from voxyray.twin.cloud.connections import Limits
from voxyray.twin.cloud.functions import InProcess, Pool
from voxyray.twin.cloud.gateway import Deliveries, Gateway, Manners, disorderly

OK = {"statusCode": 200}
Handle = Callable[[dict[str, Any]], Awaitable[Any]]


class Function:
    """A function that remembers what it was asked, and answers by route key."""

    def __init__(self, **answers: Handle) -> None:
        self.events: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self._answers = answers

    async def __call__(self, event: dict[str, Any]) -> Any:
        self.events.append(event)
        self.changed.set()
        kind = event["requestContext"].get("eventType", "HTTP").lower()
        answer = self._answers.get(kind)
        return await answer(event) if answer else OK

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["requestContext"]["eventType"] == kind]

    async def seen(self, kind: str, number: int = 1) -> list[dict[str, Any]]:
        while len(self.of(kind)) < number:
            self.changed.clear()
            await self.changed.wait()
        return self.of(kind)


def answering(answer: Any) -> Handle:
    async def handle(event: dict[str, Any]) -> Any:
        return answer

    return handle


def raising(error: Exception) -> Handle:
    async def handle(event: dict[str, Any]) -> Any:
        raise error

    return handle


async def forever(event: dict[str, Any]) -> Any:
    await asyncio.get_running_loop().create_future()


class World:
    def __init__(self, gateway: Gateway, function: Function, http: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.function = function
        self.http = http

    def dial(self, query: str = "", **options: Any) -> Any:
        url = f"ws://{self.gateway.address}{self.gateway.path}{query}"
        return self.http.ws_connect(url, **options)

    def url(self, connection_id: str) -> str:
        return f"http://{self.gateway.address}{self.gateway.path}/@connections/{connection_id}"

    async def post(self, connection_id: str, text: str) -> tuple[int, str]:
        async with self.http.post(self.url(connection_id), data=text.encode()) as answer:
            await answer.read()
            return answer.status, answer.headers.get("x-amzn-ErrorType", "")

    @property
    def connection_id(self) -> str:
        return str(self.function.events[0]["requestContext"]["connectionId"])


@asynccontextmanager
async def world(function: Function | None = None, **settings: Any) -> AsyncIterator[World]:
    function = function or Function()
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        Gateway.serve(websocket=function, **settings) as gateway,
    ):
        yield World(gateway, function, http)


# 1.1 events


async def test_connect_event_has_what_api_gateway_sends() -> None:
    async with world(domain="voice.example.com", clock=lambda: 1_790_000_000.008) as its:
        headers = {"X-Twilio-Signature": "abc=", "User-Agent": "Jetty/11"}
        async with its.dial(headers=headers):
            [event] = its.function.events
    context = event["requestContext"]
    assert context["routeKey"] == "$connect"
    assert context["eventType"] == "CONNECT"
    assert context["messageDirection"] == "IN"
    assert (context["stage"], context["domainName"]) == ("live", "voice.example.com")
    assert context["connectedAt"] == context["requestTimeEpoch"] == 1_790_000_000_008
    assert context["requestTime"] == "21/Sep/2026:14:13:20 +0000"
    assert context["requestId"] == context["extendedRequestId"]
    assert context["apiId"]
    assert context["identity"] == {"sourceIp": "127.0.0.1", "userAgent": "Jetty/11"}
    assert len(context["connectionId"]) == 16
    assert event["headers"]["X-Twilio-Signature"] == "abc="
    assert event["headers"]["Host"] == "voice.example.com"
    assert event["multiValueHeaders"]["X-Twilio-Signature"] == ["abc="]
    for name in ("Sec-WebSocket-Key", "X-Amzn-Trace-Id", "X-Forwarded-For", "X-Forwarded-Port"):
        assert event["headers"][name]
    assert event["isBase64Encoded"] is False
    absent = {"body", "queryStringParameters", "multiValueQueryStringParameters"}
    assert not absent & set(event)
    assert "messageId" not in context


async def test_the_query_is_there_if_the_url_had_one() -> None:
    async with world() as its, its.dial("?t=abc&t=d%20e&empty="):
        [event] = its.function.events
    assert event["queryStringParameters"] == {"t": "d e", "empty": ""}
    assert event["multiValueQueryStringParameters"] == {"t": ["abc", "d e"], "empty": [""]}


async def test_message_events_have_an_id_and_a_body_and_no_headers() -> None:
    async with world() as its, its.dial() as socket:
        await socket.send_str('{"type":"prompt"}')
        await socket.send_str("no JSON")
        one, two = await its.function.seen("MESSAGE", 2)
    assert (one["body"], two["body"]) == ('{"type":"prompt"}', "no JSON")
    assert not {"headers", "multiValueHeaders", "queryStringParameters"} & set(one)
    assert one["requestContext"]["routeKey"] == "$default"
    ids = {event["requestContext"]["messageId"] for event in (one, two)}
    assert len(ids) == 2
    requests = {event["requestContext"]["requestId"] for event in its.function.events}
    assert len(requests) == len(its.function.events)
    connections = {event["requestContext"]["connectionId"] for event in its.function.events}
    assert len(connections) == 1


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [(1000, 1000, "bye"), (0, 1005, "Client-side close frame status not set")],
)
async def test_disconnect_event_tells_the_code(code: int, status: int, reason: str) -> None:
    async with world() as its:
        async with its.dial(autoclose=False) as socket:
            if code:
                await socket.close(code=code, message=b"bye")
            else:
                await socket.send_frame(b"", aiohttp.WSMsgType.CLOSE)
                await socket.receive()
            [event] = await its.function.seen("DISCONNECT")
        assert not its.gateway.connections
    context = event["requestContext"]
    assert (context["disconnectStatusCode"], context["disconnectReason"]) == (status, reason)
    assert context["routeKey"] == "$disconnect"
    assert set(event["headers"]) == {"Host", "x-api-key", "X-Forwarded-For", "x-restapi"}
    assert "body" not in event


async def test_a_lost_connection_is_1006() -> None:
    async with world() as its, its.dial() as socket:
        socket._response.connection.transport.abort()
        [event] = await its.function.seen("DISCONNECT")
    assert event["requestContext"]["disconnectStatusCode"] == 1006


async def test_disconnect_may_never_be_invoked() -> None:
    async with world(manners=Manners(disconnects=False)) as its:
        async with its.dial():
            pass
        await asyncio.sleep(0.05)
        assert not its.gateway.connections
        assert not its.function.of("DISCONNECT")


# 1.2 answers


@pytest.mark.parametrize(
    ("handle", "status"),
    [
        (answering({"statusCode": 403}), 403),
        (answering({"statusCode": "401"}), 401),
        (answering({"statusCode": 500}), 500),
        (raising(KeyError("a")), 502),
        (raising(TimeoutError()), 502),
        (answering(None), 502),
        (answering({}), 502),
        (forever, 504),
    ],
)
async def test_a_handshake_is_refused(handle: Handle, status: int) -> None:
    async with world(Function(connect=handle)) as its:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await its.dial()
        assert refused.value.status == status
        assert not its.gateway.connections
        assert not its.function.of("DISCONNECT")


async def test_the_handshake_waits_for_connect() -> None:
    async with world(Function(connect=lambda _: asyncio.sleep(5, OK))) as its:
        began = asyncio.get_running_loop().time()
        async with its.dial():
            assert asyncio.get_running_loop().time() - began >= 5


@pytest.mark.parametrize("answer", [OK, {"statusCode": 500, "body": "no"}, {"statusCode": 403}])
async def test_no_status_of_a_message_reaches_the_client(answer: Any) -> None:
    async with world(Function(message=answering(answer))) as its, its.dial() as socket:
        await socket.send_str("one")
        await its.function.seen("MESSAGE")
        await its.gateway.settle()
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=1)


@pytest.mark.parametrize(
    ("handle", "said"),
    [
        (raising(KeyError("a")), "Internal server error"),
        (raising(TimeoutError()), "Internal server error"),
        (answering(None), "Internal server error"),
        (answering({"body": "no status"}), "Internal server error"),
        (answering({"statusCode": True}), "Internal server error"),
        (forever, "Endpoint request timed out"),
    ],
)
async def test_a_message_that_fails_is_told_to_the_client(handle: Handle, said: str) -> None:
    async with world(Function(message=handle)) as its, its.dial() as socket:
        await socket.send_str("one")
        frame = await socket.receive_json()
        [event] = its.function.of("MESSAGE")
        context = event["requestContext"]
        assert frame == {
            "message": said,
            "connectionId": context["connectionId"],
            "requestId": context["requestId"],
        }
        assert len(its.gateway.failures) == 1
        assert not socket.closed


async def test_a_late_function_goes_on() -> None:
    done = []

    async def late(event: dict[str, Any]) -> Any:
        await asyncio.sleep(40)
        done.append(event)

    async with world(Function(message=late)) as its, its.dial() as socket:
        began = asyncio.get_running_loop().time()
        await socket.send_str("one")
        await socket.receive_json()
        assert asyncio.get_running_loop().time() - began == pytest.approx(29, abs=0.5)
        await its.gateway.settle()
        assert len(done) == 1


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"fate": lambda each: 1.0 if b"MESSAGE" in each.event else None}, "Runtime.ExitError"),
        ({"timeout_s": 3}, "Sandbox.Timedout"),
        ({"concurrency": 1}, "TooManyRequestsException"),
    ],
)
async def test_a_function_that_dies_is_told_to_the_client(
    settings: dict[str, Any], why: str
) -> None:
    async def slow(event: dict[str, Any]) -> Any:
        await asyncio.sleep(10 if event["requestContext"]["eventType"] == "MESSAGE" else 0)
        return OK

    pool = Pool("relay", lambda: InProcess(slow), **settings)
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        Gateway.serve(websocket=pool.invoke) as gateway,
        http.ws_connect(f"ws://{gateway.address}/live") as socket,
    ):
        await socket.send_str("one")
        await socket.send_str("two")
        frame = await socket.receive_json()
        assert frame["message"] == "Internal server error"
        assert why in gateway.failures[0].why


async def test_a_failing_disconnect_is_ignored() -> None:
    async with world(Function(disconnect=raising(KeyError("a")))) as its:
        async with its.dial():
            pass
        await its.function.seen("DISCONNECT")
        await its.gateway.settle()
        assert len(its.gateway.failures) == 1


async def test_other_paths_are_forbidden() -> None:
    async with world() as its:
        for path in ("/", "/other", "/live/more"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await its.http.ws_connect(f"ws://{its.gateway.address}{path}")
            assert refused.value.status == 403


async def test_a_custom_domain_may_be_mapped_at_the_root() -> None:
    async with world(path="") as its, its.dial():
        [event] = its.function.events
        assert event["requestContext"]["stage"] == "live"
        assert (await its.post(its.connection_id, "hello"))[0] == 200


# 1.3 order


async def test_invocations_of_one_connection_overlap() -> None:
    running = []
    most = 0

    async def slow(event: dict[str, Any]) -> Any:
        nonlocal most
        running.append(event)
        most = max(most, len(running))
        await asyncio.sleep(1)
        running.remove(event)
        return OK

    async with world(Function(message=slow)) as its, its.dial() as socket:
        for number in range(5):
            await socket.send_str(str(number))
        await its.function.seen("MESSAGE", 5)
        await its.gateway.settle()
    assert most == 5


async def bodies(deliveries: Deliveries, count: int) -> list[str]:
    async with world(manners=Manners(deliveries=deliveries)) as its:
        async with its.dial() as socket:
            for number in range(count):
                await socket.send_str(str(number))
            await asyncio.sleep(0.05)
            await its.gateway.settle()
        return [event["body"] for event in its.function.of("MESSAGE")]


async def test_frames_can_be_reordered_doubled_and_lost() -> None:
    def deliveries(number: int) -> tuple[float, ...]:
        return {1: (0.5,), 2: (0.1, 0.9), 3: ()}[number]

    assert await bodies(deliveries, 3) == ["1", "0", "1"]


async def test_disorder_is_the_same_for_the_same_seed() -> None:
    chances = disorderly(7, twice=0.5), disorderly(7, twice=0.5)
    assert [chances[0](each) for each in range(9)] == [chances[1](each) for each in range(9)]
    arrived = await bodies(disorderly(7, twice=0.5), 8)
    assert set(arrived) == set("01234567")
    assert len(arrived) > 8
    assert arrived != sorted(arrived)


# 1.4 limits


@pytest.mark.parametrize(("size", "code"), [(32 * 1024, 0), (32 * 1024 + 1, 1009), (200_000, 1009)])
async def test_frames_have_a_limit(size: int, code: int) -> None:
    async with world() as its, its.dial() as socket:
        await socket.send_str("a" * size)
        if code:
            assert (await socket.receive()).data == code
            [event] = await its.function.seen("DISCONNECT")
            assert event["requestContext"]["disconnectStatusCode"] == 1009
        else:
            [event] = await its.function.seen("MESSAGE")
            assert len(event["body"]) == size


@pytest.mark.parametrize(("parts", "code"), [(4, 0), (5, 1009)])
async def test_messages_in_several_frames_have_a_limit(parts: int, code: int) -> None:
    async with world() as its, its.dial() as socket:
        await fragmented(socket, [b"a" * 32 * 1024] * parts)
        if code:
            assert (await socket.receive()).data == code
        else:
            [event] = await its.function.seen("MESSAGE")
            assert len(event["body"]) == parts * 32 * 1024


async def fragmented(socket: Any, parts: list[bytes]) -> None:
    """Send one message in several frames, by hand: no client here does."""
    transport = socket._response.connection.transport
    for index, part in enumerate(parts):
        first = (0x80 if index == len(parts) - 1 else 0) | (0x1 if index == 0 else 0x0)
        head = bytes([first, 0x80 | 127]) + len(part).to_bytes(8, "big")
        transport.write(head + bytes(4) + part)  # a mask of zeros changes nothing


async def test_binary_frames_are_refused() -> None:
    async with world() as its, its.dial() as socket:
        await socket.send_bytes(b"\x00")
        assert (await socket.receive()).data == 1003


async def test_idle_connections_are_closed() -> None:
    async with world() as its, its.dial() as socket:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(300)
        await its.post(its.connection_id, "still there?")
        assert (await socket.receive()).data == "still there?"
        assert (await socket.receive()).data == 1001
        assert loop.time() - began == pytest.approx(900, abs=1)


async def test_connections_end_after_two_hours() -> None:
    async with world() as its, its.dial() as socket:
        began = asyncio.get_running_loop().time()

        async def talk() -> None:
            while True:
                await asyncio.sleep(550)
                await socket.send_str("still here")

        talking = asyncio.create_task(talk())
        assert (await socket.receive()).data == 1001
        assert asyncio.get_running_loop().time() - began == pytest.approx(7200, abs=1)
        talking.cancel()


# 1.5 @connections


async def test_posts_arrive_in_order() -> None:
    async with world(manners=Manners(post_ms=40)) as its, its.dial() as socket:
        began = asyncio.get_running_loop().time()
        posts = []
        for number in range(10):
            posts.append(asyncio.create_task(its.post(its.connection_id, str(number))))
            await asyncio.sleep(0.001)
        received = [(await socket.receive()).data for _ in range(10)]
        assert received == [str(number) for number in range(10)]
        assert [await post for post in posts] == [(200, "")] * 10
        assert 0.04 <= asyncio.get_running_loop().time() - began < 0.3


async def test_text_comes_as_it_was_posted() -> None:
    async with world() as its, its.dial() as socket:
        assert await its.post(its.connection_id, "Grüezi 👋") == (200, "")
        assert (await socket.receive()).data == "Grüezi 👋"
        assert await its.post(its.connection_id, "a" * 131072) == (200, "")
        assert len((await socket.receive()).data) == 131072


async def test_posts_that_are_too_large_are_refused() -> None:
    async with world() as its, its.dial():
        answer = await its.post(its.connection_id, "a" * 131073)
        assert answer == (413, "PayloadTooLargeException")


async def test_unknown_and_closed_connections_are_gone() -> None:
    async with world() as its:
        assert await its.post("nobody=", "hello") == (410, "GoneException")
        async with its.dial():
            assert (await its.post(its.connection_id, "hello"))[0] == 200
        await its.function.seen("DISCONNECT")
        assert await its.post(its.connection_id, "hello") == (410, "GoneException")


async def test_a_connection_that_opens_is_gone_too() -> None:
    answers = []

    async def greet(event: dict[str, Any]) -> Any:
        answers.append(await its.post(event["requestContext"]["connectionId"], "hello"))
        return OK

    async with world(Function(connect=greet)) as its, its.dial():
        assert answers == [(410, "GoneException")]


async def test_too_many_posts_are_refused() -> None:
    async with world(limits=Limits(posts_per_s=2)) as its, its.dial():
        answers = [await its.post(its.connection_id, "hello") for _ in range(3)]
        assert answers == [(200, ""), (200, ""), (429, "LimitExceededException")]
        await asyncio.sleep(1.1)
        assert await its.post(its.connection_id, "hello") == (200, "")


async def test_a_client_that_does_not_read_fills_the_buffer() -> None:
    async with world(limits=Limits(buffer_bytes=100_000)) as its, its.dial() as socket:
        socket._response.connection.transport.pause_reading()
        for _ in range(500):
            status, kind = await its.post(its.connection_id, "a" * 100_000)
            if status != 200:
                break
        assert (status, kind) == (429, "LimitExceededException")


async def test_a_connection_can_be_looked_at_and_deleted() -> None:
    async with world(clock=lambda: 1_790_000_000.0) as its:
        async with its.dial(headers={"User-Agent": "Jetty"}) as socket:
            async with its.http.get(its.url(its.connection_id)) as answer:
                seen = await answer.json()
            assert seen["connectedAt"] == "2026-09-21T14:13:20.000+00:00"
            assert seen["identity"] == {"sourceIp": "127.0.0.1", "userAgent": "Jetty"}
            async with its.http.delete(its.url(its.connection_id)) as answer:
                assert answer.status == 204
            assert (await socket.receive()).data == 1000
            [event] = await its.function.seen("DISCONNECT")
            assert event["requestContext"]["disconnectStatusCode"] == 1000
        async with its.http.delete(its.url(its.connection_id)) as answer:
            assert answer.status == 410


# The HTTP API


@asynccontextmanager
async def web(function: Function, **settings: Any) -> AsyncIterator[World]:
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        Gateway.serve(http=function, **settings) as gateway,
    ):
        yield World(gateway, function, http)


async def test_http_events_have_payload_format_2() -> None:
    function = Function(http=answering({"statusCode": 201, "body": "made"}))
    routes = ["POST /voice"]
    async with web(function, routes=routes, domain="api.example.com") as its:
        headers = [("X-One", "1"), ("X-One", "2"), ("Cookie", "a=1; b=2"), ("User-Agent", "Twilio")]
        form = {"CallSid": "CA1", "Caller": "+1 555"}
        url = f"http://{its.gateway.address}/voice?a=1&a=2&b="
        async with its.http.post(url, data=form, headers=headers) as answer:
            assert (answer.status, await answer.text()) == (201, "made")
            assert answer.headers["Content-Type"] == "text/plain;charset=UTF-8"
    [event] = function.events
    assert (event["version"], event["routeKey"]) == ("2.0", "POST /voice")
    assert (event["rawPath"], event["rawQueryString"]) == ("/voice", "a=1&a=2&b=")
    assert event["queryStringParameters"] == {"a": "1,2", "b": ""}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-one"] == "1,2"
    assert event["headers"]["host"] == "api.example.com"
    assert event["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert event["headers"]["x-forwarded-proto"] == "https"
    assert all(name == name.lower() for name in event["headers"])
    http = event["requestContext"]["http"]
    assert (http["method"], http["path"], http["sourceIp"]) == ("POST", "/voice", "127.0.0.1")
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b"CallSid=CA1&Caller=%2B1+555"


@pytest.mark.parametrize(
    ("kind", "encoded"),
    [
        ("text/plain; charset=utf-8", False),
        ("application/json", False),
        ("application/xml", False),
        ("application/octet-stream", True),
        ("application/x-www-form-urlencoded; charset=UTF-8", True),
    ],
)
async def test_only_text_travels_as_it_is(kind: str, encoded: bool) -> None:
    function = Function()
    async with web(function) as its:
        headers = {"Content-Type": kind}
        await its.http.post(f"http://{its.gateway.address}/", data=b"a=1", headers=headers)
    assert function.events[0]["isBase64Encoded"] is encoded


async def test_forms_can_travel_as_they_are() -> None:
    function = Function()
    async with web(function, manners=Manners(forms_encoded=False)) as its:
        await its.http.post(f"http://{its.gateway.address}/sms", data={"a": "1"})
    assert function.events[0]["body"] == "a=1"
    assert function.events[0]["isBase64Encoded"] is False


async def test_a_get_has_no_body() -> None:
    function = Function()
    async with web(function) as its:
        await its.http.get(f"http://{its.gateway.address}/healthz")
    [event] = function.events
    assert "body" not in event
    assert (event["routeKey"], event["rawQueryString"]) == ("$default", "")


@pytest.mark.parametrize(
    ("handle", "status", "body"),
    [
        (answering({"statusCode": 204}), 204, ""),
        (answering({"statusCode": 200, "body": "YQ==", "isBase64Encoded": True}), 200, "a"),
        (answering({"ok": True}), 200, '{"ok":true}'),
        (answering("plain"), 200, "plain"),
        (raising(KeyError("a")), 500, '{"message": "Internal Server Error"}'),
        (answering({"statusCode": "no"}), 500, '{"message": "Internal Server Error"}'),
        (answering({"statusCode": 200, "body": {}}), 200, ""),
        (answering({"statusCode": 200, "body": 1}), 500, '{"message": "Internal Server Error"}'),
        (answering({"statusCode": 1, "headers": []}), 500, '{"message": "Internal Server Error"}'),
        (forever, 503, '{"message": "Service Unavailable"}'),
    ],
)
async def test_http_answers(handle: Handle, status: int, body: str) -> None:
    async with web(Function(http=handle)) as its:
        answer = await its.http.get(f"http://{its.gateway.address}/")
        assert (answer.status, await answer.text()) == (status, body)


async def test_headers_and_cookies_of_an_answer() -> None:
    answer = {"statusCode": 200, "headers": {"X-Number": 1}, "cookies": ["a=1", "b=2"]}
    async with web(Function(http=answering(answer))) as its:
        response = await its.http.get(f"http://{its.gateway.address}/")
        assert response.headers["X-Number"] == "1"
        assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]


async def test_unknown_routes_are_not_found() -> None:
    async with web(Function(), routes=["POST /voice"]) as its:
        for method, path in (("GET", "/voice"), ("POST", "/other")):
            url = f"http://{its.gateway.address}{path}"
            async with its.http.request(method, url) as answer:
                assert (answer.status, await answer.json()) == (404, {"message": "Not Found"})


async def test_stopping_ends_calls_and_invocations() -> None:
    async with world(Function(message=forever)) as its:
        socket = await its.dial()
        await socket.send_str(json.dumps({"type": "prompt"}))
        await its.function.seen("MESSAGE")
        closing = asyncio.create_task(its.gateway.stop())
        assert (await socket.receive()).data == 1001
        await closing
        assert not its.gateway.connections
