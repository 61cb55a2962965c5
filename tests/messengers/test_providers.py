"""What each provider has of its own: codes, headers, callbacks, encryption."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from tests.messengers.support import ADA, QUICK, SHOP, US, bench, http_messenger, mail, sms
from voxyray.carriers.twilio import SIGNATURE_HEADER, verify_http
from voxyray.errors import MessengerError, SettingsError
from voxyray.messengers import codes
from voxyray.messengers.attempts import Policy
from voxyray.messengers.delivery import Delivery
from voxyray.messengers.records import Entry
from voxyray.messengers.sendgrid import SendGridMessenger
from voxyray.messengers.smtp import SmtpMessenger, compose
from voxyray.messengers.twilio import TwilioMessenger
from voxyray.stores.memory import MemoryStore
from voxyray.twin.mail import MailServer, MailTrouble
from voxyray.twin.messages import Providers, Trouble

SERVICE = "MG" + "a" * 32


async def refused(name: str, trouble: Trouble) -> MessengerError:
    async with Providers.serve(trouble) as providers:
        messenger = http_messenger(name, providers)
        with pytest.raises(MessengerError) as caught:
            await messenger.send(sms() if name == "twilio" else mail())
        await messenger.close()
    return caught.value


# Twilio


@pytest.mark.parametrize("code", sorted(codes.MEANINGS))
async def test_twilios_codes_are_handled_as_the_reference_says(code: str) -> None:
    error = await refused("twilio", Trouble(status=400, code=int(code), error="Words"))
    assert error.code == code
    assert codes.MEANINGS[code] in str(error)
    assert error.retryable == (code == "20429")
    assert error.opted_out == (code == "21610")


async def test_an_unknown_code_is_told_in_twilios_words_without_the_number() -> None:
    error = await refused("twilio", Trouble(status=400, code=29999, error=f"The {ADA} is\nodd"))
    assert str(error) == "twilio: HTTP 400, 29999: The … is odd"


async def test_retry_after_is_read() -> None:
    busy = Trouble(status=429, code=20429, headers={"Retry-After": "7"})
    assert (await refused("twilio", busy)).retry_after_s == 7
    wrong = Trouble(
        status=429, code=20429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}
    )
    assert (await refused("twilio", wrong)).retry_after_s is None


async def test_wrong_credentials_name_the_settings() -> None:
    async with Providers.serve() as providers:
        messenger = TwilioMessenger(
            providers.account_sid, "wrong-token", US, base_url=providers.url
        )
        with pytest.raises(MessengerError, match="TWILIO_AUTH_TOKEN") as caught:
            await messenger.send(sms())
        assert (caught.value.code, caught.value.retryable) == ("20003", False)
        assert "wrong-token" not in str(caught.value)
        grid = SendGridMessenger("wrong-key", SHOP, base_url=providers.url)
        with pytest.raises(MessengerError, match="SENDGRID_API_KEY") as caught:
            await grid.send(mail())
        assert "wrong-key" not in str(caught.value)


async def test_a_messaging_service_is_a_sender_too() -> None:
    async with Providers.serve() as providers:
        for sender, field in ((US, "From"), (SERVICE, "MessagingServiceSid")):
            messenger = TwilioMessenger(
                providers.account_sid, providers.auth_token, sender, base_url=providers.url
            )
            await messenger.send(sms())
            assert providers.taken[-1].fields == {"To": ADA, field: sender, "Body": sms().body}


async def test_the_longest_text_is_taken_by_twilio_too() -> None:
    async with bench("twilio") as one:
        await one.messenger.send(sms("🎉" * 800))
        assert len(one.taken()) == 1


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"sid": 5}', b"<html>"])
@pytest.mark.parametrize("name", ["twilio"])
async def test_a_success_without_an_id_may_have_been_sent(name: str, raw: bytes) -> None:
    assert (await refused(name, Trouble(raw=raw))).maybe_sent


async def test_redirects_are_not_followed_for_the_secrets_sake() -> None:
    async with Providers.serve() as away:
        paths = {
            "twilio": f"/2010-04-01/Accounts/{away.account_sid}/Messages.json",
            "sendgrid": "/v3/mail/send",
        }
        for name, path in paths.items():
            moved = Trouble(status=307, raw=b"", headers={"Location": away.url + path})
            error = await refused(name, moved)
            assert (error.retryable, error.maybe_sent) == (False, False)
        assert not away.asked


# Callbacks, whole: accepted, sent, told


@asynccontextmanager
async def desk(*script: Trouble) -> AsyncGenerator[tuple[Delivery, Providers]]:
    """A delivery with Twilio, and an app that takes signed callbacks, over real sockets."""
    public = "https://voice.example.com/status"
    app = web.Application()
    runner = web.AppRunner(app, access_log=None)

    async def status(request: web.Request) -> web.Response:
        fields = parse_qsl((await request.read()).decode(), keep_blank_values=True)
        signature = request.headers.get(SIGNATURE_HEADER)
        assert verify_http([providers.auth_token], public, fields, signature)
        form = dict(fields)
        await delivery.status(form["MessageSid"], form["MessageStatus"], form.get("ErrorCode", ""))
        return web.Response(status=204)

    app.router.add_post("/status", status)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    local = f"http://127.0.0.1:{runner.addresses[0][1]}/status"
    async with Providers.serve(*script, resolve=lambda _: local) as providers:
        messenger = TwilioMessenger(
            providers.account_sid,
            providers.auth_token,
            US,
            status_callback=public,
            base_url=providers.url,
        )
        policy = Policy(first_s=0.01)
        delivery = Delivery(MemoryStore(), {"sms": messenger}, policy=policy)
        yield delivery, providers
        await delivery.close()
    await runner.cleanup()


async def ends(*script: Trouble) -> tuple[Entry, Providers]:
    async with desk(*script) as (delivery, providers):
        await delivery.accept(sms())
        assert await delivery.settle(5)
        await providers.called_back()
        (entry,) = await delivery.entries()
        assert set(providers.answers) <= {204}
        return entry, providers


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    ("told", "code", "status"),
    [
        (("queued", "sent", "delivered"), 0, "delivered"),
        (("delivered", "sent", "delivered"), 0, "delivered"),
        (("sent", "undelivered"), 30003, "undelivered"),
        (("failed",), 30007, "failed"),
    ],
)
async def test_signed_callbacks_say_what_became_of_a_message(
    told: tuple[str, ...], code: int, status: str, early: bool
) -> None:
    entry, providers = await ends(Trouble(callbacks=told, callback_code=code, early=early))
    assert (entry.status, entry.code) == (status, str(code or ""))
    assert entry.provider_id == providers.taken[0].id
    assert len(providers.answers) == len(told)


async def test_a_busy_provider_is_asked_again_and_takes_one() -> None:
    busy = Trouble(status=429, code=20429, error="Too Many Requests")
    entry, providers = await ends(busy, Trouble(status=503), Trouble(callbacks=("delivered",)))
    assert (entry.status, entry.attempts, len(providers.taken)) == ("delivered", 3, 1)


async def test_a_message_whose_answer_was_lost_is_not_sent_again() -> None:
    entry, providers = await ends(Trouble(drop="after"), Trouble())
    assert (entry.status, len(providers.taken), len(providers.asked)) == ("unknown", 1, 1)


async def test_numbers_that_twilio_blocks_are_remembered() -> None:
    async with desk() as (delivery, providers):
        providers.opted_out.add(ADA)
        await delivery.accept(sms())
        await delivery.settle(5)
        assert await delivery.is_opted_out(ADA)
        assert len(providers.asked) == 1


# SendGrid


async def test_sendgrid_says_what_field_is_wrong_and_when_to_come_back() -> None:
    error = await refused("sendgrid", Trouble(status=400, code="subject", error="Too odd"))
    assert str(error) == "sendgrid: HTTP 400: Too odd (subject)"
    async with Providers.serve(
        Trouble(status=429, error="too many requests", headers={"X-RateLimit-Reset": "1060"})
    ) as providers:
        messenger = SendGridMessenger(
            providers.api_key, SHOP, base_url=providers.url, now=lambda: 1000.0
        )
        with pytest.raises(MessengerError) as caught:
            await messenger.send(mail())
    assert caught.value.retry_after_s == 60


async def test_sendgrid_gets_names_and_texts_as_they_are() -> None:
    async with Providers.serve() as providers:
        messenger = http_messenger("sendgrid", providers)
        await messenger.send(mail("One, 2 & <3>", from_name='Ada "Bike" Shop, Söhne'))
        (taken,) = providers.taken
        assert taken.fields == {
            "personalizations": [{"to": [{"email": "ada@example.com"}]}],
            "from": {"email": SHOP, "name": 'Ada "Bike" Shop, Söhne'},
            "subject": "Your tour",
            "content": [{"type": "text/plain", "value": "One, 2 & <3>"}],
        }


@pytest.mark.parametrize("body", [b"[]", b'{"errors": 5}', b'{"errors": [5, {}]}', b"\xff"])
async def test_answers_that_make_no_sense_are_told_by_their_status(body: bytes) -> None:
    for name in ("twilio", "sendgrid"):
        assert "HTTP 400" in str(await refused(name, Trouble(status=400, raw=body)))


# SES


def test_ses_without_boto3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from voxyray.messengers import ses

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SettingsError, match=r"voxyray\[aws\]"):
        ses.SesMessenger(SHOP)


def test_ses_without_a_region_names_the_setting() -> None:
    pytest.importorskip("boto3")
    from voxyray.messengers.ses import SesMessenger

    with pytest.raises(SettingsError, match="AWS_REGION"):
        SesMessenger(SHOP)


async def test_ses_says_the_fix() -> None:
    trouble = Trouble(status=400, code="MailFromDomainNotVerifiedException", error="no")
    error = await refused("ses", trouble)
    assert "VOXYRAY_EMAIL_FROM" in str(error)
    assert not error.retryable


# SMTP


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and certificate of 127.0.0.1 in one file, made for this run."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    outputs = ["-keyout", f"{file}.key", "-out", f"{file}.crt"]
    subprocess.run(
        [openssl, *command.split(), *names.split(), *outputs], check=True, capture_output=True
    )
    file.write_bytes(Path(f"{file}.key").read_bytes() + Path(f"{file}.crt").read_bytes())
    return file


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_mail_and_password_travel_encrypted(certificate: Path, security: Any) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with MailServer.serve(
        context=server_side(certificate), implicit=security == "tls", login=("shop", "hunter2")
    ) as server:
        messenger = SmtpMessenger(
            "127.0.0.1",
            server.port,
            SHOP,
            username="shop",
            password="hunter2",
            security=security,
            context=trusting,
        )
        await messenger.send(mail())
        await messenger.close()
        assert len(server.taken) == 1


async def test_a_certificate_nobody_vouches_for_is_refused(certificate: Path) -> None:
    async with MailServer.serve(context=server_side(certificate)) as server:
        messenger = SmtpMessenger("127.0.0.1", server.port, SHOP, security="starttls")
        with pytest.raises(MessengerError, match="TLS") as caught:
            await messenger.send(mail())
        await messenger.close()
        assert not caught.value.retryable
        assert not server.taken


async def test_without_starttls_nothing_is_told() -> None:
    async with MailServer.serve(login=("shop", "hunter2")) as server:
        messenger = SmtpMessenger(
            "127.0.0.1",
            server.port,
            SHOP,
            username="shop",
            password="hunter2",
            security="starttls",
        )
        with pytest.raises(MessengerError, match="STARTTLS"):
            await messenger.send(mail())
        await messenger.close()
        assert not any("AUTH" in command for command in server.commands)


async def test_a_wrong_password_is_told_without_it() -> None:
    async with MailServer.serve(login=("shop", "right")) as server:
        messenger = SmtpMessenger(
            "127.0.0.1", server.port, SHOP, username="shop", password="hunter2"
        )
        with pytest.raises(MessengerError, match="SMTP_PASSWORD") as caught:
            await messenger.send(mail())
        await messenger.close()
    error = caught.value
    assert (error.code, error.retryable) == ("535", False)
    assert "hunter2" not in f"{error} {error.__context__!r} {error.__cause__!r}"


@pytest.mark.parametrize(
    ("trouble", "retryable"),
    [
        (MailTrouble(greeting=554), False),
        (MailTrouble(mail=550), False),
        (MailTrouble(rcpt=452), True),
        (MailTrouble(data=451), True),
        (MailTrouble(content=452), True),
        (MailTrouble(content=554), False),
        (MailTrouble(drop="greeting"), True),
        (MailTrouble(drop="mail"), True),
        (MailTrouble(drop="rcpt"), True),
    ],
    ids=str,
)
async def test_a_mail_server_that_refuses_has_not_taken_it(
    trouble: MailTrouble, retryable: bool
) -> None:
    async with MailServer.serve(trouble) as server:
        messenger = SmtpMessenger("127.0.0.1", server.port, SHOP)
        with pytest.raises(MessengerError) as caught:
            await messenger.send(mail())
        await messenger.close()
        assert not server.taken
    assert (caught.value.retryable, caught.value.maybe_sent) == (retryable, False)


async def test_a_slow_mail_server_does_not_hold_up_the_loop() -> None:
    async with MailServer.serve(MailTrouble(hang="greeting")) as server:
        messenger = SmtpMessenger("127.0.0.1", server.port, SHOP, timeout_s=QUICK.total_s)
        sending = asyncio.create_task(messenger.send(mail()))
        ticks = 0
        while not sending.done():
            await asyncio.sleep(0.001)
            ticks += 1
        assert ticks > 5
        assert isinstance(sending.exception(), MessengerError)
        await messenger.close()


def test_a_mail_is_plain_seven_bit_text_with_an_id_of_its_key() -> None:
    at = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)
    made = compose(mail("Grüße " * 40, from_name='A "B", C', subject="Ü" * 90), SHOP, at)
    again = compose(mail("Grüße " * 40), SHOP, at)
    raw = made.as_bytes(policy=made.policy.clone(linesep="\r\n"))
    assert raw.isascii()
    assert max(len(line) for line in raw.split(b"\r\n")) < 998
    assert made["Message-ID"] == again["Message-ID"]
    assert made["Message-ID"].endswith("@example.com>")
    assert [made.get_all(name) is not None for name in ("From", "To", "Date")] == [True] * 3
    assert not made.get_all("Bcc")
    assert smtplib.SMTP_PORT == 25


@pytest.mark.parametrize("header", ["subject", "from_name"])
def test_even_unchecked_texts_cannot_add_headers(header: str) -> None:
    with pytest.raises(ValueError):
        compose(mail(**{header: "x\r\nBcc: eve@example.com"}), SHOP, datetime.now(UTC))
