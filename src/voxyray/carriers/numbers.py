"""The phone numbers of a Twilio account: where each sends its calls and texts, and changing that.

See twilio.com/docs/phone-numbers/api/incomingphonenumber-resource.
"""

from __future__ import annotations

import base64
import difflib
import email.utils
import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import aiohttp
import msgspec

from voxyray.errors import CarrierError, SettingsError
from voxyray.messengers.http import Limits, scrubbed
from voxyray.settings import Settings

BASE_URL: Final = "https://api.twilio.com"

_ACCOUNT: Final = re.compile(r"AC[0-9a-fA-F]{32}")
_PAGE_SIZE: Final = 1000  # the most that Twilio gives at once
_MOST_PAGES: Final = 50
_MEANINGS: Final = {
    "20003": "TWILIO_AUTH_TOKEN is not that of TWILIO_ACCOUNT_SID: copy both from the first page "
    "of the Twilio console",
    "20005": "the account is suspended or closed: see the Twilio console",
    "20403": "the credentials may not do this: use the account's own auth token",
    "20404": "there is no such account or number: check TWILIO_ACCOUNT_SID",
    "20429": "too many requests: wait a minute and try again",
    "21402": "Twilio takes no such VoiceUrl: it must be an https:// address with a public name",
}
_BY_STATUS: Final = {401: "20003", 403: "20403", 404: "20404", 429: "20429"}

# A number's field -> the parameter that changes it. `number restore` takes these and no others.
PARAMETERS: Final = {
    "voice_url": "VoiceUrl",
    "voice_method": "VoiceMethod",
    "voice_fallback_url": "VoiceFallbackUrl",
    "voice_fallback_method": "VoiceFallbackMethod",
    "sms_url": "SmsUrl",
    "sms_method": "SmsMethod",
}


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A number of the account and where it leads; empty is unset.

    voice_application, trunk: a TwiML app or SIP trunk that it is bound to; either makes Twilio
    ignore the voice webhook, as sms_application does that for texts. sms: whether it can text.
    """

    sid: str
    phone_number: str
    voice_url: str = ""
    voice_method: str = ""
    voice_fallback_url: str = ""
    voice_fallback_method: str = ""
    voice_application: str = ""
    trunk: str = ""
    sms_url: str = ""
    sms_method: str = ""
    sms_application: str = ""
    status_callback: str = ""
    sms: bool = False

    @property
    def bound_to(self) -> str:
        """What takes its calls in place of the webhook; empty for nothing."""
        if self.trunk:
            return f"the SIP trunk {self.trunk}"
        return f"the TwiML app {self.voice_application}" if self.voice_application else ""


class Standing(msgspec.Struct, frozen=True):
    """How an account is: `active`, `suspended` or `closed`; clock_s: Twilio's, if it said it."""

    status: str
    trial: bool
    clock_s: float | None = None


class Account:
    """An account at Twilio.

    base_url: for tests.
    """

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        base_url: str = BASE_URL,
        limits: Limits | None = None,
    ) -> None:
        self._token = auth_token
        pair = base64.b64encode(f"{account_sid}:{auth_token}".encode()).decode()
        self._auth = {"Authorization": f"Basic {pair}"}
        self._base = base_url.rstrip("/")
        self._path = f"/2010-04-01/Accounts/{quote(account_sid, safe='')}"
        self._limits = limits or Limits(connect_s=5, total_s=15)

    async def standing(self) -> Standing:
        """Ask how the account is.

        Raises:
            CarrierError: Twilio refused it or cannot be asked.
        """
        fields, headers = await self._ask("GET", f"{self._path}.json")
        return Standing(
            str(fields.get("status", "")), fields.get("type") == "Trial", clock_of(headers)
        )

    async def numbers(self, phone_number: str = "") -> list[Number]:
        """Give the account's numbers; phone_number: only this one.

        Raises:
            CarrierError: Twilio refused it or cannot be asked.
        """
        query = {"PageSize": str(_PAGE_SIZE)}
        if phone_number:
            query["PhoneNumber"] = phone_number
        path = f"{self._path}/IncomingPhoneNumbers.json?{urlencode(query)}"
        found: list[Number] = []
        for _ in range(_MOST_PAGES):
            fields, _headers = await self._ask("GET", path)
            found += [_number(each) for each in fields.get("incoming_phone_numbers") or ()]
            path = str(fields.get("next_page_uri") or "")
            if not path.startswith("/"):  # the end; elsewhere the token would go with it
                break
        # The filter also takes parts of numbers.
        return [each for each in found if phone_number in ("", each.phone_number)]

    async def number(self, phone_number: str) -> Number:
        """Find a number of the account.

        Raises:
            CarrierError: it is not the account's, or Twilio cannot be asked.
        """
        found = await self.numbers(phone_number)
        if not found:
            raise CarrierError(_not_here(phone_number, await self.numbers()), status=404)
        return found[0]

    async def change(self, number: Number, parameters: Mapping[str, str]) -> Number:
        """Change some of a number's parameters, named as Twilio does, and give it as it is then.

        Raises:
            CarrierError: Twilio refused it or cannot be asked.
        """
        path = f"{self._path}/IncomingPhoneNumbers/{quote(number.sid, safe='')}.json"
        fields, _ = await self._ask("POST", path, urlencode(parameters).encode())
        return _number(fields)

    async def _ask(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        timeout = aiohttp.ClientTimeout(
            total=self._limits.total_s, connect=self._limits.connect_s, ceil_threshold=float("inf")
        )
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        headers = {**self._auth, "Accept": "application/json", **form}
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
                session.request(
                    method, self._base + path, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                fields = _decoded(await response.read())
                if 200 <= response.status < 300 and fields is not None:
                    return fields, response.headers
                problem = self._refusal(response.status, fields or {})
        except TimeoutError:
            problem = CarrierError(
                f"Twilio gave no answer within {self._limits.total_s:g} s: check the network"
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = CarrierError(
                f"Twilio cannot be asked ({type(error).__name__}): check the network"
            )
        # Raised out here, for aiohttp's exceptions carry the request's headers: the secret.
        raise problem

    def _refusal(self, status: int, fields: Mapping[str, Any]) -> CarrierError:
        code = str(fields.get("code") or _BY_STATUS.get(status, ""))
        said = fields.get("message")
        words = scrubbed(said, self._token) if isinstance(said, str) else ""
        reason = _MEANINGS.get(code) or words or "no reason was given"
        what = f"Twilio refused it (HTTP {status}{f', {code}' if code else ''})"
        return CarrierError(f"{what}: {reason}", status=status, code=code)


def open_account(settings: Settings) -> Account:
    """Give the account that the settings name; nothing is connected yet.

    Raises:
        SettingsError: its SID or token is not set, or no account's; what is wrong, `: `, the fix.
    """
    needed = {
        "TWILIO_ACCOUNT_SID": settings.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": settings.twilio_auth_token,
    }
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise SettingsError(
            f"{' and '.join(missing)} not set: copy from the first page of the Twilio console"
        )
    if not _ACCOUNT.fullmatch(settings.twilio_account_sid):
        raise SettingsError(
            "TWILIO_ACCOUNT_SID is no account's: it is AC and 32 digits (SK is an API key's); copy "
            "it from the first page of the Twilio console"
        )
    return Account(settings.twilio_account_sid, settings.twilio_auth_token, base_url=BASE_URL)


def webhook_url(text: str) -> str:
    """Give the address of the voice webhook for what somebody wrote; `/voice` is added if missing.

    Raises:
        SettingsError: Twilio could not call it.
    """
    try:
        url = urlsplit(text.strip())
        _ = url.port  # raises beyond 65535
    except ValueError:
        url = urlsplit("")
    if url.scheme.lower() != "https" or not url.hostname or url.username or url.fragment:
        raise SettingsError(
            "the webhook must be an https:// address, such as https://voice.example.com/voice; "
            "for a server on this machine start a tunnel and give its address"
        )
    if not _is_public(url.hostname):
        raise SettingsError(
            f"Twilio cannot reach {url.hostname}: start a tunnel and give its https:// address"
        )
    path = url.path.rstrip("/")
    return urlunsplit(url._replace(path=path if path.endswith("/voice") else f"{path}/voice"))


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".localhost", ".internal"))


def settings_for(url: str, number: Number, *, texts: bool = True) -> dict[str, str]:
    """Give the parameters that lead a number to the voice webhook at a URL.

    The webhook is its own fallback: a first request that was lost gets a second chance, and one
    that was answered is known by its CallSid. texts: lead these to `/sms` beside it, too.
    """
    parameters = {
        "VoiceUrl": url,
        "VoiceMethod": "POST",
        "VoiceFallbackUrl": url,
        "VoiceFallbackMethod": "POST",
    }
    if texts and number.sms and not number.sms_application:
        parts = urlsplit(url)
        path = parts.path.removesuffix("/voice") + "/sms"
        parameters |= {"SmsUrl": urlunsplit(parts._replace(path=path)), "SmsMethod": "POST"}
    return parameters


def changes(number: Number, parameters: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Give what parameters would change about a number: each one's value before and after."""
    before = {name: getattr(number, field) for field, name in PARAMETERS.items()}
    return {
        name: (before[name], value) for name, value in parameters.items() if before[name] != value
    }


def parse_parameters(text: str) -> dict[str, str]:
    """Read parameters written as a form, such as `VoiceUrl=https%3A%2F%2F...&VoiceMethod=POST`.

    Raises:
        SettingsError: it is no form, or names something else.
    """
    try:
        parameters = dict(parse_qsl(text, keep_blank_values=True, strict_parsing=True))
    except ValueError:
        parameters = {}
    if not parameters or not set(parameters) <= set(PARAMETERS.values()):
        raise SettingsError(
            "not what `number set` printed: it must hold NAME=VALUE&NAME=VALUE of "
            + ", ".join(PARAMETERS.values())
        )
    return parameters


def same_url(one: str, other: str) -> bool:
    """Whether two addresses lead to the same place; connection overrides do not count."""
    return _canonical(one) == _canonical(other)


def _canonical(url: str) -> tuple[str, ...]:
    try:
        parts = urlsplit(url.strip())
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return (url,)
    return (parts.scheme, parts.hostname or "", str(port), parts.path.rstrip("/"), parts.query)


def clock_of(headers: Mapping[str, str]) -> float | None:
    """Read a server's clock from its `Date` header; epoch seconds."""
    try:
        return email.utils.parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, TypeError):
        return None


def _number(fields: Mapping[str, Any]) -> Number:
    names = {
        "voice_application": "voice_application_sid",
        "trunk": "trunk_sid",
        "sms_application": "sms_application_sid",
    }
    texts = {
        name: str(fields.get(names.get(name, name)) or "")
        for name in Number.__struct_fields__
        if name != "sms"
    }
    capabilities = fields.get("capabilities")
    can = capabilities if isinstance(capabilities, dict) else {}
    # Twilio has written both `sms` and `SMS`.
    return Number(**texts, sms=bool(can.get("sms", can.get("SMS", False))))


def _not_here(phone_number: str, numbers: list[Number]) -> str:
    known = [each.phone_number for each in numbers]
    if not known:
        return f"{phone_number} is not in this account, which has no number: buy one first"
    near = difflib.get_close_matches(phone_number, known, n=3, cutoff=0.6) or known[:3]
    more = len(known) - len(near)
    others = f" and {more} more (`voxyray number list`)" if more else ""
    return f"{phone_number} is not in this account; it has {', '.join(near)}{others}"


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        fields = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return fields if isinstance(fields, dict) else None
