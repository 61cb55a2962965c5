"""Simulated providers of messages: Twilio's Messages API, SendGrid's `mail/send`, and SES v2.

    busy = Trouble(status=429, headers={"Retry-After": "2"})
    async with Providers.serve(busy, Trouble()) as them:
        messenger = TwilioMessenger(them.account_sid, them.auth_token, "+18005550101",
                                    base_url=them.url)

They check what the real ones check, and go wrong as those do: refusals, rate limits, answers that
never come though the message was taken, and status callbacks in any order, number and haste. A
mail server is in `voxyray.twin.mail`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode

import aiohttp
import msgspec
from aiohttp import web

from voxyray.twin.webhook import sign

ACCOUNT_SID: Final = "AC" + "0" * 31 + "1"
AUTH_TOKEN: Final = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of an account that is none
API_KEY: Final = "SG.simulated.key"
_SMS_CHARS: Final = 1600
_CALLBACK_S: Final = 15.0
_ENCODE: Final = msgspec.json.encode


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is answered; the default is as the real provider would.

    status: an HTTP status to refuse with, 0 for none; code: Twilio's error code, the name of SES's
    exception, or SendGrid's field; error: the words with it. raw: instead of the usual body. hang,
    drop: before the message is taken, or after that; hang never answers, drop cuts the connection.
    callbacks: Twilio's statuses, posted in this order, callback_code with the last; early: before
    the answer.
    """

    status: int = 0
    code: int | str = 0
    error: str = "simulated trouble"
    headers: Mapping[str, str] = {}
    raw: bytes | None = None
    delay_ms: float = 0
    hang: Literal["", "before", "after"] = ""
    drop: Literal["", "before", "after"] = ""
    callbacks: tuple[str, ...] = ()
    callback_code: int = 0
    early: bool = False


class Taken(msgspec.Struct, frozen=True):
    """A message that a provider took: it will be delivered, whatever the client thinks."""

    provider: str
    id: str
    to: str
    body: str
    subject: str = ""
    sender: str = ""
    fields: Mapping[str, Any] = {}


class Providers:
    """Serve all three APIs, and remember what was asked and taken.

    script: one trouble for each request in turn, the last for all after it. resolve: maps the
    public URL of a callback to where the app is; the public one is signed. opted_out: numbers
    that Twilio blocks. asked: every request's path and headers. answers: the app's statuses to
    callbacks, 0 if it did not answer.
    """

    def __init__(self, *script: Trouble, resolve: Callable[[str], str] = str) -> None:
        self.script = script
        self.account_sid, self.auth_token, self.api_key = ACCOUNT_SID, AUTH_TOKEN, API_KEY
        self.url = ""
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.taken: list[Taken] = []
        self.opted_out: set[str] = set()
        self.answers: list[int] = []
        self._resolve = resolve
        self._callbacks: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def serve(
        cls, *script: Trouble, resolve: Callable[[str], str] = str
    ) -> AsyncGenerator[Providers, None]:
        """Serve on a free port of this machine until the block is left."""
        providers = cls(*script, resolve=resolve)
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post(
            "/2010-04-01/Accounts/{account}/Messages.json", providers._answering(_Twilio)
        )
        app.router.add_post("/v3/mail/send", providers._answering(_SendGrid))
        app.router.add_post("/v2/email/outbound-emails", providers._answering(_Ses))
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        providers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield providers
        finally:
            await providers.called_back()
            await runner.cleanup()

    async def called_back(self) -> None:
        """Wait until every callback was posted."""
        while self._callbacks:
            await asyncio.wait(self._callbacks)

    def _answering(self, api: type[_Api]) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.StreamResponse:
            number = min(len(self.asked), len(self.script) - 1)
            trouble = self.script[number] if self.script else Trouble()
            self.asked.append((request.path, dict(request.headers)))
            return await self._answer(api(self, request, await request.read()), trouble)

        return answer

    async def _answer(self, api: _Api, trouble: Trouble) -> web.StreamResponse:
        await asyncio.sleep(trouble.delay_ms / 1000)
        await self._go_wrong(api, trouble, "before")
        refused = trouble if trouble.status else api.refusal()
        if refused is not None:
            body = api.problem(refused) if refused.raw is None else refused.raw
            return _response(refused.status, body, api.headers(refused))
        taken = api.take()
        self.taken.append(taken)
        if trouble.early:
            await self._call_back(taken, trouble)
        elif trouble.callbacks:
            task = asyncio.create_task(self._call_back(taken, trouble))
            self._callbacks.add(task)
            task.add_done_callback(self._callbacks.discard)
        await self._go_wrong(api, trouble, "after")
        status, body, headers = api.success(taken)
        body = body if trouble.raw is None else trouble.raw
        return _response(status, body, {**headers, **trouble.headers})

    async def _go_wrong(self, api: _Api, trouble: Trouble, when: str) -> None:
        if trouble.hang == when:
            await asyncio.get_running_loop().create_future()
        if trouble.drop == when and api.request.transport is not None:
            api.request.transport.abort()
            raise asyncio.CancelledError

    async def _call_back(self, taken: Taken, trouble: Trouble) -> None:
        url = taken.fields.get("StatusCallback", "")
        for number, status in enumerate(trouble.callbacks, 1):
            if not url:
                return
            last = number == len(trouble.callbacks)
            code = trouble.callback_code if last else 0
            self.answers.append(await self._post(url, _callback(taken, status, code)))

    async def _post(self, url: str, form: dict[str, str]) -> int:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "X-Twilio-Signature": sign(url, form, self.auth_token),
            "User-Agent": "TwilioProxy/1.1",
        }
        timeout = aiohttp.ClientTimeout(total=_CALLBACK_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    self._resolve(url), data=urlencode(form).encode(), headers=headers
                ) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, OSError):
            return 0


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _callback(taken: Taken, status: str, code: int) -> dict[str, str]:
    form = {
        "AccountSid": ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "From": taken.sender,
        "MessageSid": taken.id,
        "MessageStatus": status,
        "SmsSid": taken.id,
        "SmsStatus": status,
        "To": taken.to,
    }
    return {**form, "ErrorCode": str(code)} if code else form


class _Api:
    """One request to one provider's API."""

    name = ""

    def __init__(self, providers: Providers, request: web.Request, body: bytes) -> None:
        self.providers = providers
        self.request = request
        self.fields = self.read(body)

    @property
    def number(self) -> int:
        """The number of the message that is taken next."""
        return len(self.providers.taken) + 1

    def read(self, body: bytes) -> Mapping[str, Any]:
        """Read the request's body; an unreadable one is empty."""
        with contextlib.suppress(msgspec.DecodeError):
            fields = msgspec.json.decode(body)
            return fields if isinstance(fields, dict) else {}
        return {}

    def headers(self, trouble: Trouble) -> Mapping[str, str]:
        """Give the headers of a refusal."""
        return trouble.headers

    def problem(self, trouble: Trouble) -> bytes:
        """Give the body of a refusal."""
        raise NotImplementedError

    def refusal(self) -> Trouble | None:
        """Refuse what the real provider would refuse."""
        raise NotImplementedError

    def take(self) -> Taken:
        """Read what was taken."""
        raise NotImplementedError

    def success(self, taken: Taken) -> tuple[int, bytes, Mapping[str, str]]:
        """Give the status, body and headers of a success."""
        raise NotImplementedError


class _Twilio(_Api):
    name = "twilio"

    def read(self, body: bytes) -> Mapping[str, Any]:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True))

    def problem(self, trouble: Trouble) -> bytes:
        return _ENCODE(
            {
                "code": trouble.code,
                "message": trouble.error,
                "more_info": f"https://www.twilio.com/docs/errors/{trouble.code}",
                "status": trouble.status,
            }
        )

    def refusal(self) -> Trouble | None:
        them, form = self.providers, self.fields
        pair = f"{them.account_sid}:{them.auth_token}".encode()
        expected = "Basic " + base64.b64encode(pair).decode()
        given = self.request.headers.get("Authorization", "")
        own = self.request.match_info["account"] == them.account_sid
        if not own or not hmac.compare_digest(given.encode(), expected.encode()):
            return Trouble(status=401, code=20003, error="Authenticate")
        to, body = form.get("To", ""), form.get("Body", "")
        checks = (
            (21603, "A 'From' phone number is required.", not _sender(form)),
            (21602, "Message body is required.", not body),
            (21617, "The concatenated message body exceeds the 1600 character limit", _long(body)),
            (
                21211,
                f"The 'To' number {to} is not a valid phone number.",
                not re.fullmatch(r"\+[1-9]\d{6,14}", to),
            ),
            (21610, "Attempt to send to unsubscribed recipient", to in them.opted_out),
        )
        for code, words, applies in checks:
            if applies:
                return Trouble(status=400, code=code, error=words)
        return None

    def take(self) -> Taken:
        form = self.fields
        sid = f"SM{self.number:032x}"
        return Taken(self.name, sid, form["To"], form["Body"], sender=_sender(form), fields=form)

    def success(self, taken: Taken) -> tuple[int, bytes, Mapping[str, str]]:
        service = taken.fields.get("MessagingServiceSid")
        resource = {
            "sid": taken.id,
            "account_sid": self.providers.account_sid,
            "api_version": "2010-04-01",
            "body": taken.body,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": None if service else taken.sender,
            "messaging_service_sid": service,
            "num_segments": "0" if service else "1",
            "status": "accepted" if service else "queued",
            "to": taken.to,
        }
        return 201, _ENCODE(resource), {}


class _SendGrid(_Api):
    name = "sendgrid"

    def problem(self, trouble: Trouble) -> bytes:
        error = {"message": trouble.error, "field": trouble.code or None, "help": None}
        return _ENCODE({"errors": [error]})

    def refusal(self) -> Trouble | None:
        if self.request.headers.get("Authorization") != f"Bearer {self.providers.api_key}":
            words = "The provided authorization grant is invalid, expired, or revoked"
            return Trouble(status=401, error=words)
        mail = self.fields
        for field in ("personalizations", "from", "subject", "content"):
            if not mail.get(field):
                words = f"The {field} parameter is required."
                return Trouble(status=400, code=field, error=words)
        if "@" not in mail["personalizations"][0]["to"][0]["email"]:
            words = "Does not contain a valid address."
            return Trouble(status=400, code="personalizations.0.to.0.email", error=words)
        return None

    def take(self) -> Taken:
        mail = self.fields
        (content,) = mail["content"]
        return Taken(
            self.name,
            f"simulated-{self.number}",
            mail["personalizations"][0]["to"][0]["email"],
            content["value"],
            mail["subject"],
            mail["from"]["email"],
            mail,
        )

    def success(self, taken: Taken) -> tuple[int, bytes, Mapping[str, str]]:
        return 202, b"", {"X-Message-Id": taken.id}


class _Ses(_Api):
    name = "ses"

    def headers(self, trouble: Trouble) -> Mapping[str, str]:
        return {"x-amzn-errortype": str(trouble.code), **trouble.headers}

    def problem(self, trouble: Trouble) -> bytes:
        return _ENCODE({"message": trouble.error})

    def refusal(self) -> Trouble | None:
        if not self.request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
            words = "Missing Authentication Token"
            return Trouble(status=403, code="MissingAuthenticationTokenException", error=words)
        return None

    def take(self) -> Taken:
        mail = self.fields
        simple = mail["Content"]["Simple"]
        return Taken(
            self.name,
            f"0100018c-{self.number}",
            mail["Destination"]["ToAddresses"][0],
            simple["Body"]["Text"]["Data"],
            simple["Subject"]["Data"],
            mail["FromEmailAddress"],
            mail,
        )

    def success(self, taken: Taken) -> tuple[int, bytes, Mapping[str, str]]:
        return 200, _ENCODE({"MessageId": taken.id}), {}


def _sender(form: Mapping[str, Any]) -> str:
    return str(form.get("From") or form.get("MessagingServiceSid") or "")


def _long(body: str) -> bool:
    return len(body.encode("utf-16-le")) // 2 > _SMS_CHARS
