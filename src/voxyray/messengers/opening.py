"""Opening the messengers that the settings name."""

from __future__ import annotations

import logging
import re
from typing import Final

from voxyray.errors import MessageRefused, SettingsError
from voxyray.messengers import Messenger
from voxyray.messengers.checks import address
from voxyray.messengers.outbox import OutboxMessenger
from voxyray.messengers.sendgrid import SendGridMessenger
from voxyray.messengers.smtp import SmtpMessenger, default_security
from voxyray.messengers.twilio import TwilioMessenger
from voxyray.settings import Settings

_log = logging.getLogger(__name__)

STATUS_PATH: Final = "/status"

_SMS_FORMS: Final = "`twilio`, or `outbox` to keep messages without sending them"
_EMAIL_FORMS: Final = (
    "`sendgrid`, `ses`, `smtp:HOST:PORT` (such as smtp:mail.example.com:587), "
    "or `outbox` to keep messages without sending them"
)
# A number, a short code, or a messaging service.
_SENDER: Final = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{5,6}|MG[0-9a-fA-F]{32}")


def open_messengers(settings: Settings) -> dict[str, Messenger]:
    """Open who delivers `sms` and `email`; nothing is connected yet.

    VOXYRAY_SMS is `twilio` or `outbox`; by default `twilio` if TWILIO_ACCOUNT_SID,
    TWILIO_AUTH_TOKEN and VOXYRAY_SMS_FROM are set. VOXYRAY_EMAIL is `sendgrid`, `ses`,
    `smtp:HOST:PORT` or `outbox` (the default).

    Raises:
        SettingsError: a setting is missing or wrong; the message names it and the fix.
    """
    return {"sms": _open_sms(settings), "email": _open_email(settings)}


def _open_sms(settings: Settings) -> Messenger:
    needed = {
        "TWILIO_ACCOUNT_SID": settings.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": settings.twilio_auth_token,
        "VOXYRAY_SMS_FROM": settings.sms_from,
    }
    missing = [name for name, value in needed.items() if not value]
    if not settings.sms and missing and settings.sms_from:
        _log.warning("VOXYRAY_SMS_FROM is set but %s not: no SMS is sent", " and ".join(missing))
    kind = settings.sms or ("outbox" if missing else "twilio")
    if kind == "outbox":
        return OutboxMessenger()
    if kind != "twilio":
        raise SettingsError(f"VOXYRAY_SMS={settings.sms!r} is no way to send SMS; use {_SMS_FORMS}")
    if missing:
        raise SettingsError(
            f"VOXYRAY_SMS=twilio needs {' and '.join(missing)}; set it, or VOXYRAY_SMS=outbox"
        )
    if not _SENDER.fullmatch(settings.sms_from):
        raise SettingsError(
            f"VOXYRAY_SMS_FROM is {settings.sms_from!r}; write a number of yours such as "
            "+14155550100, or the SID of a messaging service (MG and 32 digits)"
        )
    # Nobody outside can reach an address of this machine, and Twilio refuses it (21609).
    callback = "" if settings.is_local else settings.base_url + STATUS_PATH
    return TwilioMessenger(
        settings.twilio_account_sid,
        settings.twilio_auth_token,
        settings.sms_from,
        status_callback=callback,
    )


def _open_email(settings: Settings) -> Messenger:
    kind = settings.email or "outbox"
    if kind == "outbox":
        return OutboxMessenger()
    if kind == "sendgrid":
        if not settings.sendgrid_api_key:
            raise SettingsError(
                "VOXYRAY_EMAIL=sendgrid needs SENDGRID_API_KEY; set it, or VOXYRAY_EMAIL=outbox"
            )
        return SendGridMessenger(settings.sendgrid_api_key, _sender(settings))
    if kind == "ses":
        from voxyray.messengers.ses import SesMessenger  # boto3 takes half a second to import

        return SesMessenger(_sender(settings))
    if kind.startswith("smtp:"):
        return _open_smtp(settings, kind)
    # Not quoted: what was written there may hold a password.
    raise SettingsError(f"VOXYRAY_EMAIL is no way to send e-mail; use {_EMAIL_FORMS}")


def _open_smtp(settings: Settings, spec: str) -> Messenger:
    host, _, port = spec.removeprefix("smtp:").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")  # IPv6
    fits = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not fits or not re.fullmatch(r"[A-Za-z0-9.\-:]+", host):
        raise SettingsError(
            "VOXYRAY_EMAIL must be smtp:HOST:PORT, such as smtp:mail.example.com:587; user and "
            "password go into SMTP_USERNAME and SMTP_PASSWORD"
        )
    if bool(settings.smtp_username) != bool(settings.smtp_password):
        raise SettingsError("set both SMTP_USERNAME and SMTP_PASSWORD, or neither")
    return SmtpMessenger(
        host,
        int(port),
        _sender(settings),
        username=settings.smtp_username,
        password=settings.smtp_password,
        security=default_security(host, int(port)),
    )


def _sender(settings: Settings) -> str:
    if not settings.email_from:
        raise SettingsError(
            f"VOXYRAY_EMAIL={settings.email.partition(':')[0]} needs VOXYRAY_EMAIL_FROM: set it "
            "to the address that e-mail comes from"
        )
    try:
        return address(settings.email_from)
    except MessageRefused:
        raise SettingsError(
            f"VOXYRAY_EMAIL_FROM is {settings.email_from!r}; write one address such as "
            "hello@example.com"
        ) from None
