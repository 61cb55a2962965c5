"""A simulated Twilio account with phone numbers: the REST API that says where their calls go.

    async with Numbers.serve("+18005550101") as twilio:
        account = Account(twilio.account_sid, twilio.auth_token, base_url=twilio.url)

It checks credentials and parameters, pages and refuses as the real one does. Sending messages is
in `voxyray.twin.messages`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import hmac
import re
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from aiohttp import web

from voxyray.twin.messages import ACCOUNT_SID, AUTH_TOKEN, Trouble

_ROOT: Final = "/2010-04-01/Accounts/{account}"
_DEMO: Final = "https://demo.twilio.com/welcome"
_PAGE_SIZE: Final = 50
_PARAMETER: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_URLS: Final = (
    "VoiceUrl",
    "VoiceFallbackUrl",
    "SmsUrl",
    "SmsFallbackUrl",
    "StatusCallback",
)
_METHODS: Final = (
    "VoiceMethod",
    "VoiceFallbackMethod",
    "SmsMethod",
    "SmsFallbackMethod",
    "StatusCallbackMethod",
)
_OTHERS: Final = ("FriendlyName", "VoiceApplicationSid", "SmsApplicationSid", "TrunkSid")


class Numbers:
    """Serve an account and its numbers, and remember what was asked.

    status: `active`, `suspended` or `closed`; type: `Full` or `Trial`. numbers: the resources, to
    be changed at will. script: one trouble for each request in turn, the last for all after it.
    clock_ahead_s: how far its clock is ahead of ours. most: the largest page it gives. asked:
    method, path with query, and form of every request.
    """

    def __init__(self, *phone_numbers: str, script: tuple[Trouble, ...] = ()) -> None:
        self.account_sid, self.auth_token = ACCOUNT_SID, AUTH_TOKEN
        self.status, self.type = "active", "Full"
        self.numbers = [_resource(at, each) for at, each in enumerate(phone_numbers, 1)]
        self.script = script
        self.clock_ahead_s = 0.0
        self.most = 1000
        self.url = ""
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def serve(
        cls, *phone_numbers: str, script: tuple[Trouble, ...] = ()
    ) -> AsyncGenerator[Numbers, None]:
        """Serve on a free port of this machine until the block is left."""
        twilio = cls(*phone_numbers, script=script)
        app = web.Application()
        one = f"{_ROOT}/IncomingPhoneNumbers/{{sid}}.json"
        app.router.add_get(f"{_ROOT}.json", twilio._account)
        app.router.add_get(f"{_ROOT}/IncomingPhoneNumbers.json", twilio._list)
        app.router.add_get(one, twilio._fetch)
        app.router.add_post(one, twilio._update)
        app.middlewares.append(twilio._guard)
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            twilio.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield twilio
        finally:
            await runner.cleanup()

    def number(self, phone_number: str) -> dict[str, Any]:
        """Give the resource of a number."""
        return next(each for each in self.numbers if each["phone_number"] == phone_number)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        form = dict(parse_qsl((await request.read()).decode("ascii"), keep_blank_values=True))
        trouble = Trouble()
        if self.script:
            trouble = self.script[min(len(self.asked), len(self.script) - 1)]
        self.asked.append((request.method, request.path_qs, form))
        if trouble.hang:
            await asyncio.get_running_loop().create_future()
        if trouble.drop and request.transport is not None:
            request.transport.abort()
        answer = self._refused(request, trouble) or await handler(request)
        clock_s = time.time() + self.clock_ahead_s
        answer.headers["Date"] = email.utils.formatdate(clock_s, usegmt=True)
        return answer

    def _refused(self, request: web.Request, trouble: Trouble) -> web.Response | None:
        if trouble.raw is not None:
            return web.Response(status=trouble.status or 200, body=trouble.raw)
        if trouble.status:
            return _problem(trouble.status, int(trouble.code), trouble.error, trouble.headers)
        pair = base64.b64encode(f"{self.account_sid}:{self.auth_token}".encode())
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, b"Basic " + pair):
            return _problem(401, 20003, "Authenticate")
        if request.match_info.get("account") != self.account_sid:
            return _not_found(request)
        return None

    async def _account(self, _: web.Request) -> web.Response:
        sid = self.account_sid
        return web.json_response(
            {
                "auth_token": self.auth_token,
                "date_created": "Thu, 05 Nov 2026 10:00:00 +0000",
                "date_updated": "Thu, 05 Nov 2026 10:00:00 +0000",
                "friendly_name": "Ada's account",
                "owner_account_sid": sid,
                "sid": sid,
                "status": self.status,
                "subresource_uris": {
                    "incoming_phone_numbers": f"{_path(sid)}/IncomingPhoneNumbers.json"
                },
                "type": self.type,
                "uri": f"{_path(sid)}.json",
            }
        )

    async def _list(self, request: web.Request) -> web.Response:
        if self.status != "active":
            return _problem(401, 20005, "Account not active")
        wanted = request.query.get("PhoneNumber", "")
        pattern = re.compile(re.escape(wanted).replace(r"\*", ".*"))
        found = [each for each in self.numbers if pattern.search(each["phone_number"])]
        size = min(int(request.query.get("PageSize", _PAGE_SIZE)), self.most)
        page = int(request.query.get("Page", 0))
        start = page * size
        shown = found[start : start + size]
        path = f"{_path(self.account_sid)}/IncomingPhoneNumbers.json"

        def uri(number: int, token: str = "") -> str:
            query = {"PageSize": str(size), "Page": str(number)}
            query |= {"PhoneNumber": wanted} if wanted else {}
            query |= {"PageToken": token} if token else {}
            return f"{path}?{urlencode(query)}"

        more = start + size < len(found)
        return web.json_response(
            {
                "incoming_phone_numbers": shown,
                "page": page,
                "page_size": size,
                "start": start,
                "end": start + len(shown) - 1 if shown else 0,
                "uri": uri(page),
                "first_page_uri": uri(0),
                "previous_page_uri": uri(page - 1) if page else None,
                "next_page_uri": uri(page + 1, f"PA{shown[-1]['sid']}") if more else None,
            }
        )

    async def _fetch(self, request: web.Request) -> web.Response:
        resource = self._found(request)
        return _not_found(request) if resource is None else web.json_response(resource)

    async def _update(self, request: web.Request) -> web.Response:
        resource = self._found(request)
        if resource is None:
            return _not_found(request)
        form = self.asked[-1][2]
        for name in _URLS:
            if form.get(name) and not _is_url(form[name]):
                code = 21502 if name.startswith("Sms") else 21402
                return _problem(400, code, f"{name} is not a valid URL: {form[name]}")
        for name in _METHODS:
            if form.get(name) and form[name] not in ("GET", "POST"):
                return _problem(400, 21403, f"{name} is not valid: {form[name]}")
        for name in (*_URLS, *_METHODS, *_OTHERS):
            if name in form:
                _set(resource, name, form[name])
        resource["date_updated"] = email.utils.formatdate(time.time())
        return web.json_response(resource)

    def _found(self, request: web.Request) -> dict[str, Any] | None:
        sid = request.match_info["sid"]
        return next((each for each in self.numbers if each["sid"] == sid), None)


def _set(resource: dict[str, Any], parameter: str, value: str) -> None:
    """Set a field; a number is bound to an app or to a trunk, never to both."""
    empty = None if parameter in ("TrunkSid", "VoiceApplicationSid", "SmsApplicationSid") else ""
    resource[_PARAMETER.sub("_", parameter).lower()] = value or empty
    if value and parameter == "TrunkSid":
        resource["voice_application_sid"] = None
    if value and parameter == "VoiceApplicationSid":
        resource["trunk_sid"] = None


def _resource(at: int, phone_number: str) -> dict[str, Any]:
    """Give a number as it is when it was just bought."""
    sid = f"PN{at:032x}"
    bought = "Fri, 06 Nov 2026 10:00:00 +0000"
    return {
        "account_sid": ACCOUNT_SID,
        "address_requirements": "none",
        "address_sid": None,
        "api_version": "2010-04-01",
        "beta": False,
        "bundle_sid": None,
        "capabilities": {"fax": False, "mms": True, "sms": True, "voice": True},
        "date_created": bought,
        "date_updated": bought,
        "emergency_address_sid": None,
        "emergency_address_status": "unregistered",
        "emergency_status": "Active",
        "friendly_name": phone_number,
        "identity_sid": None,
        "origin": "twilio",
        "phone_number": phone_number,
        "sid": sid,
        "sms_application_sid": "",
        "sms_fallback_method": "POST",
        "sms_fallback_url": "",
        "sms_method": "POST",
        "sms_url": f"{_DEMO}/sms/reply/",
        "status": "in-use",
        "status_callback": "",
        "status_callback_method": "POST",
        "trunk_sid": None,
        "uri": f"{_path(ACCOUNT_SID)}/IncomingPhoneNumbers/{sid}.json",
        "voice_application_sid": "",
        "voice_caller_id_lookup": False,
        "voice_fallback_method": "POST",
        "voice_fallback_url": "",
        "voice_method": "POST",
        "voice_receive_mode": "voice",
        "voice_url": f"{_DEMO}/voice/",
    }


def _path(account_sid: str) -> str:
    return _ROOT.format(account=account_sid)


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and "." in (parts.hostname or "")


def _not_found(request: web.Request) -> web.Response:
    return _problem(404, 20404, f"The requested resource {request.path} was not found")


def _problem(
    status: int, code: int, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers=headers,
    )
