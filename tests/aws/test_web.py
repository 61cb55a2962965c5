"""Webhooks as an HTTP API gives them: whatever comes, there is an answer of the right form."""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from voxyray.agent import Agent
from voxyray.aws.web import Web
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.stores.memory import MemoryStore

TOKEN = "0123456789abcdef0123456789abcdef"
PUBLIC = "https://voice.example.com"
FORM = {"CallSid": "CA1", "From": "+15550100001", "To": "+15550100000", "Direction": "inbound"}


def _web(public: str = PUBLIC, **settings: Any) -> Web:
    agent = Agent(name="default", instructions="Be kind.", greeting="Grüß Gott & hello!")
    made = Settings(public_url=public, twilio_auth_token=TOKEN, model="offline", **settings)
    return Web(Service(made, [agent], store=MemoryStore()))


def _event(path: str = "/voice", *, encoded: bool = True, **changes: Any) -> dict[str, Any]:
    signed = RequestValidator(TOKEN).compute_signature(f"{PUBLIC}{path}", FORM)
    body = urlencode(FORM)
    return {
        "version": "2.0",
        "routeKey": f"POST {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"x-twilio-signature": signed, "host": "voice.example.com"},
        "requestContext": {"http": {"method": "POST", "path": path}},
        "body": base64.b64encode(body.encode()).decode() if encoded else body,
        "isBase64Encoded": encoded,
        **changes,
    }


@pytest.mark.parametrize("encoded", [True, False])
async def test_a_signed_webhook_is_answered(encoded: bool) -> None:
    answer = await _web().invoke(_event(encoded=encoded))
    assert answer["statusCode"] == 200
    assert answer["headers"] == {"content-type": "text/xml"}
    assert "Grüß Gott &amp; hello!" in answer["body"]
    assert f'url="wss{PUBLIC.removeprefix("https")}/relay"' in answer["body"]


async def test_the_relay_has_an_address_of_its_own() -> None:
    answer = await _web(socket_url="wss://relay.example.com/live").invoke(_event())
    assert 'url="wss://relay.example.com/live"' in answer["body"]


async def test_a_stage_in_the_path_is_no_part_of_the_route() -> None:
    event = _event()
    signed = RequestValidator(TOKEN).compute_signature(f"{PUBLIC}/live/voice", FORM)
    event |= {"rawPath": "/live/voice", "headers": {"X-Twilio-Signature": signed}}
    assert (await _web(f"{PUBLIC}/live").invoke(event))["statusCode"] == 200


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({}, 400),
        ({"rawPath": None}, 400),
        ([], 400),
        ("text", 400),
        (None, 400),
        (_event(requestContext={}), 400),
        (_event(body="%%%"), 400),
        (_event(body=None), 403),
        (_event(headers=None), 403),
        (_event(headers={"x-twilio-signature": "forged"}), 403),
        (_event(requestContext={"http": {"method": "DELETE"}}), 405),
        (_event("/nowhere"), 404),
        (_event(rawQueryString="a=1"), 403),
        (_event(body=base64.b64encode(b"\xff\xfe").decode()), 400),
        (_event(body=base64.b64encode(b"a=" + b"x" * 70_000).decode()), 413),
    ],
)
async def test_anything_else_is_refused(event: Any, status: int) -> None:
    answer = await _web().invoke(event)
    assert answer["statusCode"] == status
    assert isinstance(answer["body"], str)


async def test_a_bug_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    web = _web()

    async def fail(_: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(web._service.reception, "answer", fail)
    answer = await web.invoke(_event())
    assert answer["statusCode"] == 500
    assert "secret" not in answer["body"]


async def test_a_text_is_answered_before_the_process_stands_still() -> None:
    web = _web()
    form = {"MessageSid": "SM1", "From": "+15550100001", "To": "+15550100000", "Body": "hi"}
    signed = RequestValidator(TOKEN).compute_signature(f"{PUBLIC}/sms", form)
    body = base64.b64encode(urlencode(form).encode()).decode()
    event = _event("/sms", headers={"x-twilio-signature": signed}, body=body)
    before = asyncio.all_tasks()
    assert (await web.invoke(event))["statusCode"] == 200
    (entry,) = await web._service.delivery.entries()
    assert entry.to == "+15550100001"
    await web._service.close()
    assert asyncio.all_tasks() == before
