"""Does the server answer where the carrier calls it, and does it tell the carrier from others.

It is asked as the carrier would: through the public URL, signed with our auth token. The webhook
that is tried is that of a session's end, for a call that never was: it has no effect.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec

from voxyray.carriers import twilio
from voxyray.carriers.numbers import clock_of
from voxyray.checks import Finding, Setup, broken, ok, warning
from voxyray.errors import CarrierError

_TUNNEL: Final = (
    "for real calls make an https:// address that leads here, such as `ngrok http 8080`, and set "
    "VOXYRAY_PUBLIC_URL to it"
)
_NOBODY: Final = "nothing answers there"
_BODY_BYTES: Final = 1 << 14
_KNOWN: Final = "no such session"  # what the server says to our webhook if it was let in


class _Answer(msgspec.Struct, frozen=True):
    """What the server answered; status 0 if it did not, then text says why and fix what to do."""

    status: int
    text: str
    headers: Mapping[str, str] = {}
    ms: float = 0
    fix: str = ""


async def server(setup: Setup) -> list[Finding]:
    """Check that the server is reached, that it takes what is signed, and nothing else."""
    settings = setup.settings
    answer = await _ask(setup, "GET", f"{settings.base_url}/healthz")
    setup.note_clock("the server", clock_of(answer.headers))
    found = _reached(setup, answer)
    elsewhere = urlsplit(settings.relay_url).hostname != urlsplit(settings.base_url).hostname
    if found.level == "ok":
        both = await asyncio.gather(_webhook(setup), _relay(setup))
        return [found, *both]
    return [found, await _relay(setup)] if elsewhere else [found]


def _reached(setup: Setup, answer: _Answer) -> Finding:
    settings = setup.settings
    where = settings.base_url
    if not answer.status:
        if settings.is_local and answer.text == _NOBODY:
            said = f"no server runs at {where}"
            return warning("server", said, "start it with `voxyray serve`, then run this again")
        return broken("server", f"{where}: {answer.text}", answer.fix)
    if answer.status != 200 or '"status":"ok"' not in answer.text.replace(" ", ""):
        said = f"{where}/healthz answers HTTP {answer.status}, but not as voxyray does"
        fix = "check the path in VOXYRAY_PUBLIC_URL, and where the proxy or tunnel leads"
        if answer.status >= 500:
            fix = "the server is down behind its proxy or tunnel: start it, and see its log"
        return broken("server", said, fix, answer.ms)
    said = f"{where} answers in {answer.ms:,.0f} ms"
    if settings.is_local:
        return ok("server", f"{said}; only the simulated carrier can call it", _TUNNEL, answer.ms)
    return ok("server", said, ms=answer.ms)


async def _webhook(setup: Setup) -> Finding:
    """Send a webhook as the carrier signs it, and one as a forger would."""
    settings = setup.settings
    forged, *signed = await asyncio.gather(
        _post(setup, secrets.token_hex(16)), *(_post(setup, each) for each in settings.auth_tokens)
    )
    for answer in (forged, *signed):
        if problem := _strange(answer):
            return problem
    if forged.status != 403:
        return _open_to_all(setup)
    if not signed:
        fix = "set TWILIO_AUTH_TOKEN to what the server has"
        return warning("webhooks", "forged ones are refused; there is no token to sign with", fix)
    primary, *others = signed
    if primary.status == 403:
        return await _refused(setup, primary, others)
    if any(each.status == 403 for each in others):
        said = "taken with TWILIO_AUTH_TOKEN, but not with TWILIO_SECONDARY_AUTH_TOKEN"
        return warning("webhooks", said, "set the same one at the server before you rotate them")
    if not settings.twilio_auth_token:
        fix = "Twilio signs with the primary one: set TWILIO_AUTH_TOKEN here and at the server"
        return warning("webhooks", "taken with TWILIO_SECONDARY_AUTH_TOKEN, the only one set", fix)
    return ok("webhooks", "signed ones are taken, forged ones refused", ms=primary.ms)


def _strange(answer: _Answer) -> Finding | None:
    """Tell answers that are neither a yes nor a no."""
    if answer.status == 403 or (answer.status == 404 and _KNOWN in answer.text):
        return None
    if not answer.status:
        return broken("webhooks", answer.text, answer.fix)
    if answer.status == 200:
        fix = "see the server's log: as a rule its store cannot be used"
        return broken("webhooks", "the server could not look up a call", fix)
    said = f"/relay-ended answers HTTP {answer.status}"
    if 300 <= answer.status < 400:
        fix = "set VOXYRAY_PUBLIC_URL to the final address: a redirect is no longer signed for"
    elif answer.status >= 500:
        fix = "see the server's log"
    else:
        fix = "let the proxy pass POST requests to it, or bring the server up to date"
    return broken("webhooks", said, fix)


def _open_to_all(setup: Setup) -> Finding:
    if setup.settings.is_local:
        fix = "unset VOXYRAY_ACCEPT_UNSIGNED there, unless you develop without a carrier"
        return warning("webhooks", "forged ones are taken: signatures are not checked", fix)
    fix = "anybody can place calls: unset VOXYRAY_ACCEPT_UNSIGNED there, set TWILIO_AUTH_TOKEN"
    return broken("webhooks", "forged ones are taken", fix)


async def _refused(setup: Setup, primary: _Answer, others: list[_Answer]) -> Finding:
    """Say which token is wrong, as far as others know it."""
    if "another account" in primary.text:
        fix = "set the same TWILIO_ACCOUNT_SID here and at the server"
        return broken("webhooks", "the server serves another account than ours", fix)
    if any(each.status == 404 for each in others):
        said = "refused with TWILIO_AUTH_TOKEN; the server knows the secondary token only"
        return broken("webhooks", said, "set our TWILIO_AUTH_TOKEN at the server and restart it")
    said = "refused, though signed with our TWILIO_AUTH_TOKEN"
    fix = "TWILIO_AUTH_TOKEN and VOXYRAY_PUBLIC_URL must be the same here and at the server"
    if setup.account is not None:
        try:
            await setup.standing()
        except CarrierError as error:
            if error.status == 401:
                return broken("webhooks", f"{said}, which Twilio does not know either", fix)
        else:
            said += ", which Twilio knows"
            fix = "the server has another TWILIO_AUTH_TOKEN or VOXYRAY_PUBLIC_URL: set them there"
    return broken("webhooks", said, fix)


async def _post(setup: Setup, token: str) -> _Answer:
    settings = setup.settings
    url = f"{settings.base_url}/relay-ended"
    form = {
        "AccountSid": settings.twilio_account_sid or "AC" + "0" * 32,
        "CallSid": f"CA{secrets.token_hex(16)}",
        "SessionId": f"VX{secrets.token_hex(16)}",
        "SessionStatus": "completed",
    }
    signature = twilio.sign(token, url, tuple(form.items()))
    return await _ask(setup, "POST", url, form, {twilio.SIGNATURE_HEADER: signature})


async def _relay(setup: Setup) -> Finding:
    """Open the WebSocket as the carrier does and hang up; try it as a forger would."""
    settings = setup.settings
    token = settings.auth_tokens[0] if settings.auth_tokens else ""
    forged, signed = await asyncio.gather(
        _shake(setup, secrets.token_hex(16)), _shake(setup, token or secrets.token_hex(16))
    )
    if not signed.status:
        return broken("relay", f"{settings.relay_url}: {signed.text}", signed.fix)
    if forged.status == 101:
        return msgspec.structs.replace(_open_to_all(setup), check="relay")
    if signed.status == 101:
        said = "signed handshakes are taken, forged ones refused"
        return ok("relay", f"{said}; {signed.ms:,.0f} ms", ms=signed.ms)
    if signed.status in (401, 403):
        if not token:
            fix = "set TWILIO_AUTH_TOKEN to what the server has"
            return warning("relay", "forged handshakes are refused; no token to sign with", fix)
        fix = "TWILIO_AUTH_TOKEN and the WebSocket's address must be the same here and there"
        return broken("relay", "refused, though signed with our TWILIO_AUTH_TOKEN", fix)
    said = f"{settings.relay_url} answers HTTP {signed.status} and opens no WebSocket"
    fix = "let the proxy or tunnel pass WebSocket upgrades to the server"
    if 300 <= signed.status < 400:
        fix = "set VOXYRAY_PUBLIC_URL to the final address: carriers do not follow redirects"
    return broken("relay", said, fix)


async def _shake(setup: Setup, token: str) -> _Answer:
    url = setup.settings.relay_url
    headers = {twilio.SIGNATURE_HEADER: twilio.sign(token, url)}
    refusing = aiohttp.TraceConfig()
    refusing.on_request_redirect.append(_refuse_redirect)
    began = time.perf_counter()
    try:
        async with (
            aiohttp.ClientSession(timeout=_timeout(setup), trace_configs=[refusing]) as session,
            asyncio.timeout(setup.within_s),
            session.ws_connect(url, headers=headers) as socket,
        ):
            ms = (time.perf_counter() - began) * 1000
            await socket.close()
            return _Answer(101, "", ms=ms)
    except aiohttp.ClientResponseError as error:
        return _Answer(error.status, "")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _unreachable(setup, error)


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: object, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    """Stay where we are, as carriers do; `ws_connect` itself would follow."""
    response = redirect.response
    raise aiohttp.ClientResponseError(response.request_info, (), status=response.status)


async def _ask(
    setup: Setup,
    method: str,
    url: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> _Answer:
    data = urlencode(form).encode() if form is not None else None
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"} if form else {}
    began = time.perf_counter()
    try:
        async with (
            aiohttp.ClientSession(timeout=_timeout(setup)) as session,
            session.request(
                method, url, data=data, headers={**kind, **(headers or {})}, allow_redirects=False
            ) as response,
        ):
            ms = (time.perf_counter() - began) * 1000
            text = (await response.content.read(_BODY_BYTES)).decode("utf-8", "replace")
            return _Answer(response.status, text, response.headers, ms)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _unreachable(setup, error)


def _timeout(setup: Setup) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=setup.within_s, ceil_threshold=float("inf"))


def _unreachable(setup: Setup, error: Exception) -> _Answer:
    """Say why there was no answer; the kind of error is all that is safe to show."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _Answer(0, "its name cannot be resolved", fix="check the name, and its DNS record")
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        fix = "Twilio refuses it too: use one of a public authority, for this very name"
        return _Answer(0, "its certificate is not good", fix=fix)
    if isinstance(error, TimeoutError):
        fix = "check the network, its firewall, and that the server is not overloaded"
        return _Answer(0, f"no answer within {setup.within_s:g} s", fix=fix)
    if isinstance(error, aiohttp.ClientConnectorError):
        fix = "start the server, or the proxy or tunnel in front of it"
        return _Answer(0, _NOBODY, fix=fix)
    fix = "see the log of the server, and of the proxy or tunnel in front of it"
    return _Answer(0, f"the connection broke ({type(error).__name__})", fix=fix)
