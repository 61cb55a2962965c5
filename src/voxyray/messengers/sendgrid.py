"""E-mail through SendGrid's v3 `mail/send`.

It answers 202 with an `X-Message-Id` header, or an `errors` array of message, field and help; see
twilio.com/docs/sendgrid/api-reference/mail-send/mail-send.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from voxyray.errors import MessengerError
from voxyray.messengers import Message
from voxyray.messengers.checks import checked
from voxyray.messengers.http import Answer, Limits, post, refusal, scrubbed

BASE_URL: Final = "https://api.sendgrid.com"
_FIXES: Final = {
    401: "the API key is wrong: check SENDGRID_API_KEY",
    403: "the API key may not send mail, or VOXYRAY_EMAIL_FROM is not a verified sender",
    413: "the e-mail is too large",
}


class SendGridMessenger:
    """Send e-mail from a verified sender.

    now: epoch seconds, to read when a rate limit ends. base_url: for tests.
    """

    name = "sendgrid"

    def __init__(
        self,
        api_key: str,
        sender: str,
        *,
        base_url: str = BASE_URL,
        limits: Limits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._key = api_key
        self._sender = sender
        self._url = base_url.rstrip("/") + "/v3/mail/send"
        self._limits = limits or Limits()
        self._now = now

    def __repr__(self) -> str:
        return "<SendGridMessenger>"

    async def send(self, message: Message) -> str:
        """Have SendGrid take an e-mail and give its message id.

        Raises:
            MessengerError: SendGrid refused it, or could not be asked.
            MessageRefused: it can never be sent as it is.
        """
        answer = await post(
            self.name,
            self._url,
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            body=msgspec.json.encode(self._mail(checked(message))),
            limits=self._limits,
        )
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        message_id = answer.headers.get("x-message-id", "")
        if not message_id:
            raise MessengerError("sendgrid: took a message but gave no id", maybe_sent=True)
        return message_id

    async def close(self) -> None:
        """Do nothing; no connection outlives its request."""

    def _mail(self, message: Message) -> dict[str, Any]:
        sender = {"email": self._sender}
        if message.from_name:
            sender["name"] = message.from_name
        return {
            "personalizations": [{"to": [{"email": message.to}]}],
            "from": sender,
            "subject": message.subject,
            "content": [{"type": "text/plain", "value": message.body}],
        }

    def _refusal(self, answer: Answer) -> MessengerError:
        said = scrubbed(_said(answer.json), self._key)
        fix = _FIXES.get(answer.status, "")
        error = refusal(self.name, answer, "", ": ".join(part for part in (fix, said) if part))
        if error.retry_after_s is None:
            error.retry_after_s = self._until_reset(answer)
        return error

    def _until_reset(self, answer: Answer) -> float | None:
        """Read when SendGrid's rate limit ends: epoch seconds, not `Retry-After`."""
        text = answer.headers.get("x-ratelimit-reset", "")
        if answer.status != 429 or not re.fullmatch(r"[0-9]{1,12}", text):
            return None
        return max(0.0, int(text) - self._now())


def _said(body: Any) -> str:
    errors = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(errors, list):
        return ""
    return "; ".join(
        f"{error.get('message')}" + (f" ({error['field']})" if error.get("field") else "")
        for error in errors[:3]
        if isinstance(error, dict)
    )
