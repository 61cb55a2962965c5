"""SMS through Twilio's Messages API: a form POST with Basic authentication.

See twilio.com/docs/messaging/api/message-resource. Twilio queues what it has taken; what becomes
of it is posted to the status callback.
"""

from __future__ import annotations

import base64
from typing import Any, Final
from urllib.parse import quote, urlencode

from voxyray.errors import MessengerError
from voxyray.messengers import Message, codes
from voxyray.messengers.checks import checked
from voxyray.messengers.http import Answer, Limits, post, refusal, scrubbed

BASE_URL: Final = "https://api.twilio.com"


class TwilioMessenger:
    """Send SMS from a number, or from a messaging service.

    sender: E.164, a short code, or the `MG…` SID of a messaging service. status_callback: the
    public URL that is told what becomes of a message; empty for none. base_url: for tests.
    """

    name = "twilio"

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        sender: str,
        *,
        status_callback: str = "",
        base_url: str = BASE_URL,
        limits: Limits | None = None,
    ) -> None:
        self._account = account_sid
        self._token = auth_token
        self._sender = sender
        self._status_callback = status_callback
        path = f"/2010-04-01/Accounts/{quote(account_sid, safe='')}/Messages.json"
        self._url = base_url.rstrip("/") + path
        self._limits = limits or Limits()

    def __repr__(self) -> str:
        return f"<TwilioMessenger of account …{self._account[-4:]}>"

    async def send(self, message: Message) -> str:
        """Have Twilio queue an SMS and give its SID.

        Raises:
            MessengerError: Twilio refused it (21610: opted out), or could not be asked.
            MessageRefused: it can never be sent as it is.
        """
        credentials = base64.b64encode(f"{self._account}:{self._token}".encode()).decode()
        answer = await post(
            self.name,
            self._url,
            headers={
                "Authorization": f"Basic {credentials}",
                "Accept": "application/json",
                "Content-Type": "application/x-www-form-urlencoded",
            },
            body=urlencode(self._form(checked(message))).encode(),
            limits=self._limits,
        )
        fields = answer.json if isinstance(answer.json, dict) else {}
        if not 200 <= answer.status < 300:
            raise self._refusal(answer, fields)
        sid = fields.get("sid")
        if not isinstance(sid, str) or not sid:
            raise MessengerError("twilio: took a message but gave no SID", maybe_sent=True)
        return sid

    async def close(self) -> None:
        """Do nothing; no connection outlives its request."""

    def _form(self, message: Message) -> dict[str, str]:
        sender = "MessagingServiceSid" if self._sender.startswith("MG") else "From"
        form = {"To": message.to, sender: self._sender, "Body": message.body}
        if self._status_callback:
            form["StatusCallback"] = self._status_callback
        return form

    def _refusal(self, answer: Answer, fields: dict[str, Any]) -> MessengerError:
        code = str(fields.get("code") or "")
        if answer.status == 401 and not code:
            code = "20003"
        words = fields.get("message")
        said = scrubbed(words, self._token) if isinstance(words, str) else ""
        error = refusal(
            self.name,
            answer,
            code,
            codes.meaning(code) or said,
            retryable=code in codes.RETRYABLE,
        )
        error.opted_out = code == codes.OPTED_OUT
        return error
