"""One POST to a provider: its answer, or an error that says whether it may have arrived.

Every request has a connection of its own. On one that is kept, a request lost because the server
had hung up while idle looks the same as one that was taken and whose answer was lost: the first
must be sent again, the second must not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import msgspec

from voxyray.arguments import harmless
from voxyray.errors import MessengerError

_BODY_BYTES: Final = 1 << 16
_REASON_CHARS: Final = 200
# Providers quote recipients: `The 'To' number +1415... is not valid`.
_PERSONAL: Final = re.compile(r"[^\s@<>'\"]+@[^\s@<>'\"]+|\+?\d{7,}")
_NEVER_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Limits(msgspec.Struct, frozen=True):
    """How long to wait, in seconds: for a connection, and for the whole answer."""

    connect_s: float = 5.0
    total_s: float = 20.0


class Answer(msgspec.Struct, frozen=True):
    """What a provider answered; headers by lower-case name, json None if the body is none."""

    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def retry_after_s(self) -> float | None:
        """The seconds of `Retry-After`, if it gives seconds."""
        text = self.headers.get("retry-after", "").strip()
        return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


async def post(
    name: str, url: str, *, headers: Mapping[str, str], body: bytes, limits: Limits
) -> Answer:
    """Post a body and read the answer, whatever its status; redirects are not followed.

    Raises:
        MessengerError: no connection (retryable), or no answer (maybe_sent).
    """
    timeout = aiohttp.ClientTimeout(
        total=limits.total_s, connect=limits.connect_s, ceil_threshold=float("inf")
    )
    connector = aiohttp.TCPConnector(force_close=True)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            found = {key.lower(): value for key, value in response.headers.items()}
            return Answer(response.status, found, await _json(response))
    except _NEVER_SENT as error:
        problem = MessengerError(
            f"{name}: no connection ({type(error).__name__}): check the network", retryable=True
        )
    except ValueError as error:  # InvalidURL, or a secret that no header can carry
        problem = MessengerError(f"{name}: the request cannot be made ({type(error).__name__})")
    except (aiohttp.ClientError, OSError) as error:
        problem = MessengerError(
            f"{name}: no answer ({type(error).__name__}); it may have been sent", maybe_sent=True
        )
    # Raised out here, for aiohttp's exceptions carry the request's headers: the secret.
    raise problem


async def _json(response: aiohttp.ClientResponse) -> Any:
    body = b""
    try:
        while len(body) < _BODY_BYTES and (part := await response.content.readany()):
            body += part
        return msgspec.json.decode(body)
    except (aiohttp.ClientError, OSError, msgspec.DecodeError):
        return None  # the status stands; TimeoutError is an OSError


def refusal(
    name: str, answer: Answer, code: str, reason: str, *, retryable: bool = False
) -> MessengerError:
    """Make the error of an answer that is no success.

    429 and 5xx are worth another attempt; but 504 says that a gateway got no answer, so the
    provider behind it may well have taken the message.
    """
    status = answer.status
    unknown = status == 504
    what = f"{name}: HTTP {status}" + (f", {code}" if code else "")
    return MessengerError(
        f"{what}: {scrubbed(reason)}" if reason else what,
        code=code or str(status),
        retryable=not unknown and (retryable or status == 429 or status >= 500),
        maybe_sent=unknown,
        retry_after_s=answer.retry_after_s,
    )


def scrubbed(text: str, *secrets: str) -> str:
    """Take secrets, numbers and addresses out of a provider's words, and cut them short."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    text = _PERSONAL.sub("…", " ".join(harmless(text).split()))
    return text if len(text) <= _REASON_CHARS else text[:_REASON_CHARS] + "…"
