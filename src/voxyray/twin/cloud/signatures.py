"""Checks AWS signatures (version 4), as every service does: callers' own requests, not webhooks."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import msgspec

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+),\s*"
    r"SignedHeaders=(?P<names>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_VALID_FOR_S: Final = 300


class BadSignature(Exception):
    """A request is not signed as it must be; code: the service's name for that."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Signed(msgspec.Struct, frozen=True):
    """A request as it came: path and query still encoded, names of headers in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def check(request: Signed, secrets: Mapping[str, str], service: str, now_s: float) -> None:
    """Check a request's signature; secrets: secret access keys by access key id.

    Raises:
        BadSignature: there is none, or it is wrong, old, or for another service.
    """
    given = request.headers.get("authorization", "")
    if not given:
        raise BadSignature("MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(given)
    if match is None:
        raise BadSignature("IncompleteSignatureException", "The Authorization header is malformed")
    date, region, named, last = (match["scope"].split("/") + [""] * 4)[:4]
    if (named, last) != (service, "aws4_request"):
        raise BadSignature("InvalidSignatureException", f"Credential should be for {service!r}")
    secret = secrets.get(match["key"])
    if secret is None:
        raise BadSignature(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    stamp = request.headers.get("x-amz-date", "")
    _check_time(stamp, now_s)
    scope = f"{date}/{region}/{service}/aws4_request"
    text = _to_sign(request, match["names"].split(";"), stamp, scope)
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    if not hmac.compare_digest(_mac(key, text).hex(), match["signature"]):
        raise BadSignature("InvalidSignatureException", "The request signature does not match.")


def _check_time(stamp: str, now_s: float) -> None:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise BadSignature("IncompleteSignatureException", "X-Amz-Date is missing") from None
    if abs(now_s - signed_at) > _VALID_FOR_S:
        raise BadSignature("InvalidSignatureException", f"Signature expired: {stamp}")


def _to_sign(request: Signed, names: list[str], stamp: str, scope: str) -> str:
    headers = [f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names]
    canonical = "\n".join(
        [
            request.method,
            quote(request.path, safe="/~"),  # encoded once more than it travels
            "&".join(sorted(request.query.split("&"))),
            *headers,
            "",
            ";".join(names),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
