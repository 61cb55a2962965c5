"""The events as API Gateway writes them, and what it makes of a function's answer.

WebSocket events are those of a proxy integration (aws-serverless 1.1), HTTP ones those of payload
format 2.0.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, unquote

import msgspec
from multidict import CIMultiDictProxy

Event: TypeAlias = dict[str, Any]

# Only these travel as they are: forms do not, which surprises everybody once.
_TEXT: Final = ("application/json", "application/xml", "application/javascript")
_HOP_BY_HOP: Final = ("connection", "upgrade", "content-length", "transfer-encoding")
_ACCOUNT: Final = "123456789012"


class Malformed(Exception):
    """A function's answer is none that API Gateway can use."""


class Caller(msgspec.Struct, frozen=True):
    """A client of an API: where it comes from, and what it calls itself."""

    source_ip: str
    user_agent: str = ""


class Api(msgspec.Struct, frozen=True):
    """Which API and stage an event comes from."""

    api_id: str
    stage: str
    domain: str


class Session(msgspec.Struct):
    """One connection of a WebSocket API; connected_at_ms is epoch time."""

    api: Api
    connection_id: str
    connected_at_ms: int
    caller: Caller

    def event(self, route: str, kind: str, now_s: float) -> Event:
        """Give what all events of a connection have in common."""
        request_id = new_id()
        identity = {"sourceIp": self.caller.source_ip}
        if self.caller.user_agent:
            identity["userAgent"] = self.caller.user_agent
        context = {
            "routeKey": route,
            "eventType": kind,
            "extendedRequestId": request_id,
            "requestTime": _clf(now_s),
            "messageDirection": "IN",
            "stage": self.api.stage,
            "connectedAt": self.connected_at_ms,
            "requestTimeEpoch": round(now_s * 1000),
            "identity": identity,
            "requestId": request_id,
            "domainName": self.api.domain,
            "connectionId": self.connection_id,
            "apiId": self.api.api_id,
        }
        return {"requestContext": context, "isBase64Encoded": False}


def new_id() -> str:
    """Make an id as API Gateway makes them: 16 characters, the last of them `=`."""
    return base64.urlsafe_b64encode(secrets.token_bytes(11)).decode()


def connect_event(
    session: Session, headers: CIMultiDictProxy[str], query: str, now_s: float
) -> Event:
    """Give the event of `$connect`; query: raw, and only there if the URL had one."""
    event = session.event("$connect", "CONNECT", now_s)
    fields = _forwarded(headers, session.api.domain, session.caller)
    fields = [each for each in fields if each[0].lower() not in _HOP_BY_HOP]
    event = {"headers": dict(fields), "multiValueHeaders": _grouped(fields), **event}
    if query:
        pairs = parse_qsl(query, keep_blank_values=True)
        event["queryStringParameters"] = dict(pairs)
        event["multiValueQueryStringParameters"] = _grouped(pairs)
    return event


def message_event(session: Session, body: str, now_s: float) -> Event:
    """Give the event of one inbound frame."""
    event = session.event("$default", "MESSAGE", now_s)
    event["requestContext"]["messageId"] = new_id()
    return {**event, "body": body}


def disconnect_event(session: Session, code: int, reason: str, now_s: float) -> Event:
    """Give the event of `$disconnect`; its headers are almost empty."""
    event = session.event("$disconnect", "DISCONNECT", now_s)
    event["requestContext"] |= {"disconnectStatusCode": code, "disconnectReason": reason}
    fields = [
        ("Host", session.api.domain),
        ("x-api-key", ""),
        ("X-Forwarded-For", ""),
        ("x-restapi", ""),
    ]
    return {"headers": dict(fields), "multiValueHeaders": _grouped(fields), **event}


def check_websocket_answer(answer: Any) -> int:
    """Give the status of what a function answered.

    Raises:
        Malformed: it has none.
    """
    status = answer.get("statusCode") if isinstance(answer, dict) else None
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    if not isinstance(status, int) or isinstance(status, bool):
        raise Malformed(f"an answer without a statusCode: {str(answer)[:200]}")
    return status


class HttpRequest(msgspec.Struct, frozen=True):
    """A request to an HTTP API; path and query as they came."""

    method: str
    path: str
    query: str
    headers: CIMultiDictProxy[str]
    body: bytes
    caller: Caller


def http_event(
    request: HttpRequest, api: Api, route: str, now_s: float, *, forms_encoded: bool = True
) -> Event:
    """Give the event of payload format 2.0; forms_encoded: whether forms travel as base64."""
    fields = _forwarded(request.headers, api.domain, request.caller)
    headers: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        if name not in ("cookie", "connection", "transfer-encoding"):
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    event: Event = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": unquote(request.path),  # raw by name only
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": _http_context(request, api, route, now_s),
        "isBase64Encoded": False,
    }
    if cookies := request.headers.getall("cookie", []):
        event["cookies"] = [each.strip() for line in cookies for each in line.split(";")]
    if request.query:
        pairs = parse_qsl(request.query, keep_blank_values=True)
        event["queryStringParameters"] = {
            name: ",".join(values) for name, values in _grouped(pairs).items()
        }
    if request.body:
        event |= _body(request, forms_encoded=forms_encoded)
    return event


def _body(request: HttpRequest, *, forms_encoded: bool) -> Event:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = kind == "application/x-www-form-urlencoded"
    if kind.startswith("text/") or kind in _TEXT or (form and not forms_encoded):
        return {"body": request.body.decode("utf-8", "replace"), "isBase64Encoded": False}
    return {"body": base64.b64encode(request.body).decode(), "isBase64Encoded": True}


def _http_context(request: HttpRequest, api: Api, route: str, now_s: float) -> Event:
    return {
        "accountId": _ACCOUNT,
        "apiId": api.api_id,
        "domainName": api.domain,
        "domainPrefix": api.domain.partition(".")[0],
        "http": {
            "method": request.method,
            "path": unquote(request.path),
            "protocol": "HTTP/1.1",
            "sourceIp": request.caller.source_ip,
            "userAgent": request.caller.user_agent,
        },
        "requestId": new_id(),
        "routeKey": route,
        "stage": api.stage,
        "time": _clf(now_s),
        "timeEpoch": round(now_s * 1000),
    }


class HttpAnswer(msgspec.Struct, frozen=True):
    """What an HTTP API answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()


def http_answer(answer: Any) -> HttpAnswer:
    """Read what a function answered; without a statusCode it is JSON, and status 200.

    Raises:
        Malformed: it cannot be read.
    """
    if not isinstance(answer, dict) or "statusCode" not in answer:
        plain = answer.encode() if isinstance(answer, str) else msgspec.json.encode(answer)
        return HttpAnswer(200, {"content-type": "application/json"}, plain)
    status = check_websocket_answer(answer)
    body = answer.get("body") or ""
    if not isinstance(body, str):
        raise Malformed(f"the body is no string but a {type(body).__name__}")
    try:
        raw = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    except ValueError as error:
        raise Malformed("the body is no base64") from error
    headers = {str(name).lower(): str(value) for name, value in _items(answer.get("headers"))}
    headers.setdefault("content-type", "text/plain;charset=UTF-8")
    return HttpAnswer(status, headers, raw, tuple(map(str, answer.get("cookies") or ())))


def _items(headers: Any) -> list[tuple[Any, Any]]:
    if headers is None:
        return []
    if not isinstance(headers, dict):
        raise Malformed(f"the headers are no object but a {type(headers).__name__}")
    return list(headers.items())


def _forwarded(
    headers: CIMultiDictProxy[str], domain: str, caller: Caller
) -> list[tuple[str, str]]:
    """Give the client's headers and those that API Gateway adds."""
    trace = f"Root=1-{secrets.token_hex(4)}-{secrets.token_hex(12)}"
    added = {
        "Host": domain,
        "X-Amzn-Trace-Id": trace,
        "X-Forwarded-For": caller.source_ip,
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
    }
    names = {name.lower() for name in added}
    kept = [(name, value) for name, value in headers.items() if name.lower() not in names]
    return [*added.items(), *kept]


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _clf(now_s: float) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now_s))
