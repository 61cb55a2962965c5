"""Which messengers the settings open, and what is said when they cannot."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from voxyray.errors import SettingsError
from voxyray.messengers import opening
from voxyray.messengers.opening import open_messengers
from voxyray.messengers.smtp import default_security
from voxyray.messengers.twilio import TwilioMessenger
from voxyray.settings import Settings, load_settings

ACCOUNT = {
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_AUTH_TOKEN": "hidden-token",
    "VOXYRAY_SMS_FROM": "+18005550101",
}
MAIL = {"VOXYRAY_EMAIL_FROM": "shop@example.com"}
LOGIN = {"SMTP_USERNAME": "shop", "SMTP_PASSWORD": "hidden-password"}


def settings(*given: dict[str, str], **more: str) -> Settings:
    environ: dict[str, str] = {}
    for part in (*given, more):
        environ |= part
    return load_settings(environ)


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)  # no voxyray.toml of a developer


@pytest.mark.parametrize(
    ("given", "sms", "email"),
    [
        ({}, "outbox", "outbox"),
        (ACCOUNT, "twilio", "outbox"),
        ({**ACCOUNT, "VOXYRAY_SMS": "outbox"}, "outbox", "outbox"),
        ({**ACCOUNT, "VOXYRAY_SMS_FROM": "MG" + "0a" * 16}, "twilio", "outbox"),
        ({**ACCOUNT, "VOXYRAY_SMS_FROM": "24365"}, "twilio", "outbox"),
        (
            {**MAIL, "VOXYRAY_EMAIL": "sendgrid", "SENDGRID_API_KEY": "k"},
            "outbox",
            "sendgrid",
        ),
        ({**MAIL, **LOGIN, "VOXYRAY_EMAIL": "smtp:mail.example.com:587"}, "outbox", "smtp"),
        ({**MAIL, "VOXYRAY_EMAIL": "smtp:[::1]:25"}, "outbox", "smtp"),
        ({"VOXYRAY_EMAIL": "outbox"}, "outbox", "outbox"),
    ],
)
async def test_what_is_opened(given: dict[str, str], sms: str, email: str) -> None:
    opened = open_messengers(settings(given))
    assert {kind: one.name for kind, one in opened.items()} == {"sms": sms, "email": email}
    for one in opened.values():
        await one.close()


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"VOXYRAY_SMS": "twilio"}, ["TWILIO_ACCOUNT_SID", "VOXYRAY_SMS_FROM"]),
        ({"VOXYRAY_SMS": "pigeon"}, ["VOXYRAY_SMS", "outbox"]),
        ({**ACCOUNT, "VOXYRAY_SMS_FROM": "8005550101"}, ["VOXYRAY_SMS_FROM", "+14155550100"]),
        ({"VOXYRAY_EMAIL": "pigeon"}, ["VOXYRAY_EMAIL", "smtp:"]),
        ({**MAIL, "VOXYRAY_EMAIL": "sendgrid"}, ["SENDGRID_API_KEY"]),
        ({"VOXYRAY_EMAIL": "sendgrid", "SENDGRID_API_KEY": "k"}, ["VOXYRAY_EMAIL_FROM"]),
        ({**MAIL, "VOXYRAY_EMAIL": "smtp:mail.example.com"}, ["VOXYRAY_EMAIL", ":587"]),
        ({**MAIL, "VOXYRAY_EMAIL": "smtp:mail.example.com:0"}, ["VOXYRAY_EMAIL"]),
        ({**MAIL, "VOXYRAY_EMAIL": "smtp:mail.example.com:99999"}, ["VOXYRAY_EMAIL"]),
        ({**MAIL, "VOXYRAY_EMAIL": "smtp:me:hidden@mail.example.com:25"}, ["SMTP_PASSWORD"]),
        ({**MAIL, "VOXYRAY_EMAIL": "smtp://mail.example.com:25"}, ["smtp:HOST:PORT"]),
        ({"VOXYRAY_EMAIL": "smtp:mail.example.com:25"}, ["VOXYRAY_EMAIL_FROM"]),
        (
            {"VOXYRAY_EMAIL": "smtp:h:25", "VOXYRAY_EMAIL_FROM": "Ada <a@b.co>"},
            ["VOXYRAY_EMAIL_FROM", "hello@example.com"],
        ),
        ({**MAIL, "VOXYRAY_EMAIL": "smtp:h:25", "SMTP_USERNAME": "u"}, ["SMTP_PASSWORD"]),
        (
            {
                **MAIL,
                "VOXYRAY_EMAIL": "smtp:h:25",
                "SMTP_USERNAME": "u",
                "SMTP_PASSWORD": "hiddén",
            },
            ["SMTP_PASSWORD", "ASCII"],
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(given: dict[str, str], names: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        open_messengers(settings(given))
    for name in names:
        assert name in str(caught.value)
    assert "hidd" not in str(caught.value)


def test_half_an_account_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_messengers(settings({"VOXYRAY_SMS_FROM": "+18005550101"}))
    assert "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN" in caplog.text


def test_secrets_are_not_shown() -> None:
    shown = repr(settings(ACCOUNT, LOGIN, {"SENDGRID_API_KEY": "hidden-key"}))
    assert "hidden" not in shown
    for messenger in open_messengers(settings(ACCOUNT)).values():
        assert "hidden" not in repr(messenger)


def test_status_callbacks_are_asked_for_where_they_can_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def noting(*given: Any, status_callback: str) -> Any:
        asked.append(status_callback)
        return TwilioMessenger(*given, status_callback=status_callback)

    monkeypatch.setattr(opening, "TwilioMessenger", noting)
    open_messengers(settings(ACCOUNT))
    open_messengers(settings(ACCOUNT, VOXYRAY_PUBLIC_URL="https://voice.example.com/app/"))
    assert asked == ["", "https://voice.example.com/app/status"]


def test_mail_is_encrypted_unless_it_stays_here() -> None:
    assert default_security("mail.example.com", 465) == "tls"
    assert default_security("mail.example.com", 25) == "starttls"
    assert default_security("127.0.0.1", 1025) == "none"
