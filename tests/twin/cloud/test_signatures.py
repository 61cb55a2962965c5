"""Signatures are checked as the services check them: what botocore signs passes."""

from __future__ import annotations

import datetime
import time
from typing import Any

import aiohttp
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from voxyray.twin.cloud.gateway import Gateway
from voxyray.twin.cloud.signatures import BadSignature, Signed, check

KEYS = {"AKID": "secret"}


def signed(
    *,
    key: str = "AKID",
    secret: str = "secret",
    service: str = "execute-api",
    token: str | None = None,
) -> AWSRequest:
    url = "http://127.0.0.1:80/live/%40connections/L0SM9cOFvHcCIhw%3D?b=2&a=1"
    request = AWSRequest("POST", url, headers={"X-Other": " a  b "}, data=b"hello")
    SigV4Auth(Credentials(key, secret, token), service, "us-east-1").add_auth(request)
    return request


def as_received(request: AWSRequest, **changes: Any) -> Signed:
    headers = {name.lower(): value for name, value in request.headers.items()}
    values: dict[str, Any] = {
        "method": "POST",
        "path": "/live/%40connections/L0SM9cOFvHcCIhw%3D",
        "query": "b=2&a=1",
        "headers": {"host": "127.0.0.1", **headers},
        "body": b"hello",
    }
    return Signed(**{**values, **changes})


@pytest.mark.parametrize("token", [None, "session-token"])
def test_a_right_signature_passes(token: str | None) -> None:
    check(as_received(signed(token=token)), KEYS, "execute-api", time.time())


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b"hullo"},
        {"path": "/live/%40connections/other%3D"},
        {"query": ""},
        {"method": "DELETE"},
    ],
)
def test_what_was_changed_fails(changes: dict[str, Any]) -> None:
    with pytest.raises(BadSignature) as failed:
        check(as_received(signed(), **changes), KEYS, "execute-api", time.time())
    assert failed.value.code == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"key": "OTHER"}, "UnrecognizedClientException"),
        ({"secret": "wrong"}, "InvalidSignatureException"),
        ({"service": "dynamodb"}, "InvalidSignatureException"),
    ],
)
def test_wrong_credentials_fail(settings: dict[str, str], code: str) -> None:
    with pytest.raises(BadSignature) as failed:
        check(as_received(signed(**settings)), KEYS, "execute-api", time.time())
    assert failed.value.code == code


def test_unsigned_malformed_and_old_requests_fail() -> None:
    request = as_received(signed())
    codes = []
    for headers, now_s in (
        ({}, time.time()),
        ({"authorization": "Basic YQ=="}, time.time()),
        ({**request.headers, "x-amz-date": "yesterday"}, time.time()),
        (request.headers, time.time() + 3600),
    ):
        with pytest.raises(BadSignature) as failed:
            check(as_received(signed(), headers=headers), KEYS, "execute-api", now_s)
        codes.append(failed.value.code)
    assert codes == [
        "MissingAuthenticationTokenException",
        "IncompleteSignatureException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
    ]


async def test_connections_can_demand_signatures(http: aiohttp.ClientSession) -> None:
    async def function(_event: dict[str, Any]) -> dict[str, Any]:
        return {"statusCode": 200}

    async with Gateway.serve(websocket=function, credentials=KEYS) as gateway:
        socket = await http.ws_connect(f"ws://{gateway.address}/live")
        [connection_id] = gateway.connections
        url = f"http://{gateway.address}/live/@connections/{connection_id}"
        async with http.post(url, data=b"hello") as answer:
            assert answer.status == 403
            assert answer.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
        request = AWSRequest("POST", url, data=b"hello")
        SigV4Auth(Credentials("AKID", "secret"), "execute-api", "us-east-1").add_auth(request)
        async with http.post(url, data=b"hello", headers=dict(request.headers)) as answer:
            assert answer.status == 200
        assert (await socket.receive()).data == "hello"


def test_botocore_signs_with_the_time_of_day() -> None:
    stamp = signed().headers["X-Amz-Date"]
    signed_at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    assert abs(signed_at.timestamp() - time.time()) < 60
