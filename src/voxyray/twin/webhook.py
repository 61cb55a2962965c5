"""Webhooks as Twilio sends them: form-encoded, signed, and given up after 15 seconds.

The signature (5.1) is written here once more on purpose: it proves the product's check.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import urldefrag, urlencode, urlsplit, urlunsplit

import aiohttp

from voxyray.twin.errors import TwinRefused
from voxyray.twin.record import Post, Recorder

TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 5.0
_USER_AGENT = "TwilioProxy/1.1"
_FAILED, _TIMED_OUT = 11200, 11205


def sign(url: str, fields: Mapping[str, str], auth_token: str) -> str:
    """Sign a webhook: HMAC-SHA1 over the URL and the sorted fields, base64."""
    text = url + "".join(name + fields[name] for name in sorted(fields))
    digest = hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


class Webhooks:
    """Sends one call's webhooks and notes them in its record.

    resolve: maps a public URL to where the app really is; the public one is signed.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        auth_token: str,
        *,
        recorder: Recorder,
        resolve: Callable[[str], str] = str,
        timeout_s: float = TIMEOUT_S,
        twice: bool = False,
    ) -> None:
        self._session = session
        self._auth_token = auth_token
        self._recorder = recorder
        self._resolve = resolve
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S)
        self._twice = twice

    async def send(
        self, what: str, url: str, fields: Mapping[str, str], method: str = "POST"
    ) -> tuple[str, str]:
        """Send a webhook and give the answer's body and content type.

        Raises:
            TwinRefused: 11200 for an HTTP error, 11205 for none within the time.
        """
        headers = {"User-Agent": _USER_AGENT, "I-Twilio-Idempotency-Token": secrets.token_hex(16)}
        if self._twice:
            await self._send_once(what, url, fields, method, headers)
        return await self._send_once(what, url, fields, method, headers)

    async def _send_once(
        self,
        what: str,
        url: str,
        fields: Mapping[str, str],
        method: str,
        headers: Mapping[str, str],
    ) -> tuple[str, str]:
        url = urldefrag(url).url  # connection overrides travel in the fragment and are not signed
        started_ms = self._recorder.now_ms
        status, body, content_type, trouble = 0, "", "", None
        try:
            status, body, content_type = await self._request(url, fields, method, headers)
        except TimeoutError as error:
            trouble = TwinRefused(_TIMED_OUT, f"{url} did not answer in time: {error!r}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            trouble = TwinRefused(_FAILED, f"{url} cannot be reached: {error!r}")
        if trouble is None and not 200 <= status < 300:
            trouble = TwinRefused(_FAILED, f"{url} answered {status}")
        self._recorder.post(Post(started_ms, what, url, dict(fields), status, body))
        if trouble is not None:
            raise trouble
        return body, content_type

    async def _request(
        self, url: str, fields: Mapping[str, str], method: str, headers: Mapping[str, str]
    ) -> tuple[int, str, str]:
        data: bytes | None = None
        signed: Mapping[str, str] = fields
        if method == "GET":
            parts = urlsplit(url)
            query = "&".join(part for part in (parts.query, urlencode(fields)) if part)
            url, signed = urlunsplit(parts._replace(query=query)), {}
        else:
            data = urlencode(fields).encode()
        form = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"} if data else {}
        token = self._auth_token
        signature = {"X-Twilio-Signature": sign(url, signed, token)} if token else {}
        return await self.fetch(method, url, {**headers, **form, **signature}, data)

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None
    ) -> tuple[int, str, str]:
        """Send a request that is signed already; gives status, body and content type."""
        async with self._session.request(
            method, self._resolve(url), data=data, headers=headers, timeout=self._timeout
        ) as answer:
            # Content-Type is read raw: aiohttp makes one up when it is missing.
            body = await answer.text()
            return answer.status, body, answer.headers.get("Content-Type", "")
