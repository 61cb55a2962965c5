"""Calls over real HTTP and real sockets, to a small app that knows nothing of the product."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from twilio.request_validator import RequestValidator

from voxyray.twin import CallRecord, Carrier, Oddities, Phone, Timing, TwinRefused, dial
from voxyray.twin.webhook import sign

TOKEN = "0123456789abcdef0123456789abcdef"
PUBLIC = "voice.example.com"
QUICK = Timing().scaled(0.005)
GREETED = '<ConversationRelay url="wss://{host}/relay" welcomeGreeting="Hi."/>'
Reply = Callable[[web.WebSocketResponse, dict[str, Any]], Awaitable[None]]


class App:
    """An app behind a public name; answers[path] are the TwiML bodies it gives in turn."""

    def __init__(self, answers: dict[str, list[str]], reply: Reply | None = None) -> None:
        self.answers = answers
        self.reply = reply
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.setups: list[dict[str, Any]] = []
        self.closes: list[int | None] = []
        self.content_type = "text/xml"
        self.status = 200
        self.relay_status = 101
        self.address = ""
        self.validator = RequestValidator(TOKEN)

    def resolve(self, url: str) -> str:
        for scheme, real in (("wss://", "ws://"), ("https://", "http://")):
            url = url.replace(f"{scheme}{PUBLIC}", f"{real}{self.address}")
        return url

    def carrier(self, **settings: Any) -> Carrier:
        return Carrier(
            f"https://{PUBLIC}/voice",
            TOKEN,
            **{"resolve": self.resolve, "timing": QUICK, **settings},
        )

    def fields(self, path: str) -> list[dict[str, str]]:
        return [fields for at, fields in self.requests if at == path]

    async def webhook(self, request: web.Request) -> web.Response:
        form = await request.post()
        fields = {name: str(value) for name, value in form.items()}
        signature = request.headers.get("X-Twilio-Signature", "")
        if not self.validator.validate(f"https://{PUBLIC}{request.rel_url}", fields, signature):
            return web.Response(status=403)
        self.requests.append((request.path, fields | dict(request.query)))
        if request.path == "/slow":
            await asyncio.sleep(0.05)
        left = self.answers.get(request.path, [])
        body = left.pop(0) if left else "<Response/>"
        return web.Response(text=body, content_type=self.content_type, status=self.status)

    async def relay(self, request: web.Request) -> web.StreamResponse:
        url = f"wss://{PUBLIC}{request.rel_url}"
        if not self.validator.validate(url, {}, request.headers.get("X-Twilio-Signature", "")):
            return web.Response(status=403)
        if self.relay_status != 101:
            return web.Response(status=self.relay_status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            frame = json.loads(message.data)
            if frame["type"] == "setup":
                self.setups.append(frame)
            if self.reply is not None:
                await self.reply(socket, frame)
        self.closes.append(socket.close_code)
        return socket


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[App]:
    routes = web.Application()
    routes.router.add_get("/relay", app.relay)
    routes.router.add_route("*", "/{path:.*}", app.webhook)
    runner = web.AppRunner(routes)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    app.address = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield app
    finally:
        await runner.cleanup()


def connect(relay: str = GREETED, action: str = "/ended", after: str = "") -> str:
    noun = relay.format(host=PUBLIC)
    wanted = f' action="{action}"' if action else ""
    return f"<Response><Connect{wanted}>{noun}</Connect>{after}</Response>"


def saying(text: str, *more: dict[str, Any]) -> Reply:
    async def reply(socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["type"] == "prompt":
            await socket.send_json({"type": "text", "token": text, "last": True})
            for each in more:
                await socket.send_json(each)

    return reply


async def asks(phone: Phone) -> None:
    await phone.listen()
    await phone.say("Hello?")
    await phone.listen()


async def asks_and_stays(phone: Phone) -> None:
    await phone.listen()
    await phone.say("Hello?")
    await phone.wait_for_end()


async def stays(phone: Phone) -> None:
    await phone.wait_for_end()


def codes(record: CallRecord) -> list[int]:
    return [fault.code for fault in record.errors]


def test_signatures_agree_with_twilios_own_validator() -> None:
    fields = {"CallSid": "CA1", "From": "+15550100001", "Empty": "", "B": "2", "A": "1"}
    url = "https://voice.example.com/voice?x=1"
    assert RequestValidator(TOKEN).validate(url, fields, sign(url, fields, TOKEN))
    assert (
        sign(
            "https://mycompany.com/myapp.php?foo=1&bar=2",
            {
                "CallSid": "CA1234567890ABCDE",
                "Caller": "+14158675310",
                "Digits": "1234",
                "From": "+14158675310",
                "To": "+18005551212",
            },
            "12345",
        )
        == "GvWf1cFY/Q7PnoempGyD5oXAezc="
    )


async def test_a_whole_call_from_webhook_to_hangup() -> None:
    async with serving(App({"/voice": [connect()]}, saying("I heard you."))) as app:
        record = await app.carrier(status_url=f"https://{PUBLIC}/status").call(
            asks, from_="+15550100009", caller_name="ADA"
        )
    assert record.errors == ()
    assert record.heard == "Hi.I heard you."
    assert [path for path, _ in app.requests] == ["/voice", "/ended", "/status"]
    voice, ended, status = (fields for _, fields in app.requests)
    assert (voice["From"], voice["CallerName"]) == ("+15550100009", "ADA")
    assert (voice["CallStatus"], voice["Direction"]) == ("ringing", "inbound")
    assert voice["FromCity"] == ""
    assert (ended["SessionStatus"], ended["CallStatus"]) == ("completed", "completed")
    assert ended["SessionId"] == app.setups[0]["sessionId"] == record.sessions[0].session_id
    assert ended["SessionDuration"].isdigit()
    assert "HandoffData" not in ended
    assert "ErrorCode" not in ended
    assert status["CallStatus"] == "completed"
    assert app.closes == [1000]
    assert app.setups[0]["callSid"] == voice["CallSid"] == record.call_sid


async def test_status_may_overtake_the_action() -> None:
    async with serving(App({"/voice": [connect()]})) as app:
        await app.carrier(
            status_url=f"https://{PUBLIC}/status", oddities=Oddities(status_first=True)
        ).call(greeted)
    assert [path for path, _ in app.requests] == ["/voice", "/status", "/ended"]


async def greeted(phone: Phone) -> None:
    await phone.listen()


async def test_webhooks_may_come_twice() -> None:
    async with serving(App({"/voice": [connect(), connect()]})) as app:
        record = await app.carrier(oddities=Oddities(twice=True)).call(greeted)
    assert [path for path, _ in app.requests] == ["/voice", "/voice", "/ended", "/ended"]
    assert len(record.sessions) == 1


async def test_end_posts_the_handoff_verbatim_and_dials() -> None:
    handoff = '{"reason": "billing &amp; más"}'
    answers = {
        "/voice": [connect()],
        "/ended": ['<Response><Dial action="/dialled">+15550100002</Dial></Response>'],
        "/dialled": ["<Response><Say>Nobody there.</Say><Hangup/></Response>"],
    }
    end = {"type": "end", "handoffData": handoff}
    async with serving(App(answers, saying("One moment.", end))) as app:
        record = await app.carrier(dial_outcome="no-answer").call(asks_and_stays)
    [ended] = app.fields("/ended")
    assert ended["HandoffData"] == handoff
    assert (ended["SessionStatus"], ended["CallStatus"]) == ("ended", "in-progress")
    assert app.fields("/dialled")[0]["DialCallStatus"] == "no-answer"
    assert [v.verb for v in record.verbs] == ["Connect", "Dial", "Say", "Hangup"]
    assert record.heard == "Hi.One moment.Nobody there."
    assert app.closes == [1000]


async def test_a_drop_reconnects_with_the_same_call_and_a_new_session() -> None:
    async def script(phone: Phone) -> None:
        await phone.listen()
        phone.drop()
        assert await phone.listen() == "Back again."

    again = '<ConversationRelay url="wss://{host}/relay" welcomeGreeting="Back again."/>'
    answers = {"/voice": [connect()], "/ended": [connect(again)]}
    async with serving(App(answers)) as app:
        record = await app.carrier().call(script)
    first, second = app.setups
    assert first["callSid"] == second["callSid"]
    assert first["sessionId"] != second["sessionId"]
    assert (first["callStatus"], second["callStatus"]) == ("RINGING", "IN_PROGRESS")
    failed, completed = app.fields("/ended")
    assert (failed["SessionStatus"], failed["CallStatus"]) == ("failed", "in-progress")
    assert (failed["ErrorCode"], failed["ErrorMessage"]) == ("64105", "Websocket ended")
    assert completed["SessionStatus"] == "completed"
    assert app.closes == [1006, 1000]
    assert codes(record) == [64105]


async def test_an_app_that_drops_the_socket_gets_failed_64105() -> None:
    async def reply(socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["type"] == "prompt":
            await socket.close(code=1011)

    async with serving(App({"/voice": [connect()]}, reply)) as app:
        record = await app.carrier().call(asks_and_stays)
    assert app.fields("/ended")[0]["ErrorCode"] == "64105"
    assert record.ending is not None
    assert record.ending.close_code == 1011


async def test_ten_malformed_frames_post_failed_64105() -> None:
    async def reply(socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["type"] == "setup":
            for _ in range(10):
                await socket.send_str("Internal server error")

    async with serving(App({"/voice": [connect()]}, reply)) as app:
        record = await app.carrier().call(stays)
    assert app.closes == [1007]
    assert app.fields("/ended")[0]["ErrorCode"] == "64105"
    assert codes(record) == [64107] * 10 + [64105]


async def test_a_refused_handshake_is_64102_and_the_action_is_told() -> None:
    async with serving(App({"/voice": [connect()]})) as app:
        app.relay_status = 503
        record = await app.carrier().call(stays)
    assert codes(record) == [64102]
    ended = app.fields("/ended")[0]
    assert (ended["SessionStatus"], ended["ErrorCode"]) == ("failed", "39001")
    assert record.sessions == ()


@pytest.mark.parametrize("token", ["f" * 32, ""])
async def test_a_wrong_or_missing_signature_is_refused_everywhere(token: str) -> None:
    async with serving(App({"/voice": [connect()]})) as app:
        wrong = Carrier(f"https://{PUBLIC}/voice", token, resolve=app.resolve, timing=QUICK)
        record = await wrong.call(stays)
        url = f"wss://{PUBLIC}/relay"
        with pytest.raises(TwinRefused, match=r"64102.*403"):
            await dial(url, auth_token=token, connect_to=app.resolve(url))
    assert codes(record) == [11200]
    assert app.requests == []


async def test_without_action_the_call_goes_on_after_connect() -> None:
    answers = {"/voice": [connect(action="", after="<Say>Still here.</Say>")]}
    async with serving(App(answers, saying("Bye.", {"type": "end"}))) as app:
        record = await app.carrier().call(asks_and_stays)
    assert record.heard == "Hi.Bye.Still here."


async def test_follows_verbs_and_redirects_relative_to_the_last_document() -> None:
    answers = {
        "/voice": ["<Response><Say>Wait.</Say><Redirect>sub/next?a=1</Redirect></Response>"],
        "/sub/next": [
            (
                "<Response><Pause/><Play>https://x.example/a.mp3</Play>"
                "<Redirect method='GET'>last</Redirect></Response>"
            )
        ],
        "/sub/last": ["<Response><Enqueue action='/queued'>support</Enqueue></Response>"],
        "/queued": ["<Response><Reject/></Response>"],
    }
    async with serving(App(answers)) as app:
        record = await app.carrier().call(stays)
    assert [v.verb for v in record.verbs] == [
        "Say",
        "Redirect",
        "Pause",
        "Play",
        "Redirect",
        "Enqueue",
        "Reject",
    ]
    assert record.errors == ()
    assert app.fields("/queued")[0]["QueueResult"] == "bridged"
    assert app.fields("/sub/last")[0]["CallSid"] == record.call_sid


async def test_redirecting_in_circles_ends() -> None:
    around = "<Response><Redirect>/voice</Redirect></Response>"
    async with serving(App({"/voice": [around] * 60})) as app:
        record = await app.carrier().call(stays)
    assert codes(record) == [12200]


async def test_hanging_up_during_a_verb_stops_the_call() -> None:
    async def script(phone: Phone) -> None:
        while not app.requests:
            await phone.wait(0.002)
        phone.hang_up()

    body = "<Response><Pause length='600'/><Say>Never.</Say></Response>"
    async with serving(App({"/voice": [body]})) as app:
        record = await app.carrier().call(script)
    assert [v.verb for v in record.verbs][:1] == ["Pause"]
    assert record.heard == ""


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": 500}, 11200),
        ({"content_type": "text/plain"}, 12300),
        ({"answers": {"/voice": ["<Response>"]}}, 12100),
        ({"answers": {"/voice": ["<Response><Nonsense/></Response>"]}}, 12200),
        ({"answers": {"/voice": [connect('<ConversationRelay url="ws://{host}/relay"/>')]}}, 64101),
    ],
)
async def test_bad_answers_are_alerts_and_end_the_call(change: dict[str, Any], code: int) -> None:
    async with serving(App({"/voice": [connect()]})) as app:
        for name, value in change.items():
            setattr(app, name, value)
        record = await app.carrier().call(stays)
    assert codes(record) == [code]
    assert record.sessions == ()


async def test_a_slow_webhook_is_11205() -> None:
    async with serving(App({})) as app:
        slow = Carrier(
            f"https://{PUBLIC}/slow",
            TOKEN,
            resolve=app.resolve,
            timing=QUICK,
            webhook_timeout_s=0.02,
        )
        record = await slow.call(stays)
    assert codes(record) == [11205]
    assert record.posts[0].status == 0


async def test_an_app_that_is_not_there_is_11200() -> None:
    record = await Carrier("http://127.0.0.1:1/voice", TOKEN, timing=QUICK).call(stays)
    assert codes(record) == [11200]


async def test_many_calls_run_side_by_side() -> None:
    async with serving(App({"/voice": [connect()] * 20}, saying("I heard you."))) as app:
        carrier = app.carrier()
        records = await asyncio.gather(*(carrier.call(asks) for _ in range(20)))
    assert {record.heard for record in records} == {"Hi.I heard you."}
    assert len({record.call_sid for record in records}) == 20
