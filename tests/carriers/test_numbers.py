"""The numbers of an account, asked over real HTTP at the simulated Twilio."""

from __future__ import annotations

import time
from urllib.parse import urlencode

import pytest

from voxyray.carriers import numbers
from voxyray.carriers.numbers import Account, Number
from voxyray.errors import CarrierError, SettingsError
from voxyray.messengers.http import Limits
from voxyray.settings import Settings
from voxyray.twin.messages import Trouble
from voxyray.twin.numbers import Numbers

ONE, TWO = "+18005550101", "+18005550102"
URL = "https://voice.example.com/voice"


def account(twilio: Numbers, token: str = "", total_s: float = 5) -> Account:
    return Account(
        twilio.account_sid,
        token or twilio.auth_token,
        base_url=twilio.url,
        limits=Limits(connect_s=5, total_s=total_s),
    )


async def test_how_an_account_is() -> None:
    async with Numbers.serve() as twilio:
        standing = await account(twilio).standing()
        assert (standing.status, standing.trial) == ("active", False)
        assert standing.clock_s == pytest.approx(time.time(), abs=3)
        twilio.status, twilio.type, twilio.clock_ahead_s = "suspended", "Trial", 3600
        standing = await account(twilio).standing()
        assert (standing.status, standing.trial) == ("suspended", True)
        assert standing.clock_s == pytest.approx(time.time() + 3600, abs=3)


async def test_all_pages_of_numbers_are_read() -> None:
    many = [f"+1800555{at:04d}" for at in range(205)]
    async with Numbers.serve(*many) as twilio:
        twilio.most = 50
        assert [each.phone_number for each in await account(twilio).numbers()] == many
        assert len(twilio.asked) == 5


async def test_a_page_elsewhere_is_not_followed_for_the_tokens_sake() -> None:
    body = b'{"incoming_phone_numbers": [], "next_page_uri": "https://elsewhere.example/next"}'
    async with Numbers.serve(script=(Trouble(raw=body),)) as twilio:
        assert await account(twilio).numbers() == []
        assert len(twilio.asked) == 1


async def test_a_number_is_found_whole_only() -> None:
    async with Numbers.serve("+180055501019", ONE) as twilio:
        found = await account(twilio).number(ONE)
    assert found.phone_number == ONE
    assert found.voice_url == "https://demo.twilio.com/welcome/voice/"
    assert found.sms
    assert found.bound_to == ""


async def test_a_number_of_somebody_else_names_those_near_it() -> None:
    async with Numbers.serve(ONE, "+442071838750") as twilio:
        with pytest.raises(CarrierError) as caught:
            await account(twilio).number(TWO)
        assert str(caught.value) == (
            f"{TWO} is not in this account; it has {ONE} and 1 more (`voxyray number list`)"
        )
        twilio.numbers.clear()
        with pytest.raises(CarrierError, match="has no number"):
            await account(twilio).number(TWO)


async def test_what_is_changed_and_nothing_else() -> None:
    async with Numbers.serve(ONE) as twilio:
        before = await account(twilio).number(ONE)
        wanted = numbers.settings_for(URL, before)
        changed = numbers.changes(before, wanted)
        now = await account(twilio).change(before, {name: wanted[name] for name in changed})
        assert (now.voice_url, now.voice_method) == (URL, "POST")
        assert now.voice_fallback_url == URL
        assert now.sms_url == "https://voice.example.com/sms"
        assert numbers.changes(now, wanted) == {}
        # And back, by what is printed.
        undo = numbers.parse_parameters(
            urlencode({name: one for name, (one, _) in changed.items()})
        )
        assert await account(twilio).change(now, undo) == before


@pytest.mark.parametrize(
    ("trouble", "token", "said"),
    [
        (
            Trouble(),
            "wrong-token",
            "HTTP 401, 20003.*TWILIO_AUTH_TOKEN is not that of TWILIO_ACCOUNT_SID",
        ),
        (Trouble(status=401, raw=b"<html>"), "", "401, 20003.*TWILIO_AUTH_TOKEN"),
        (Trouble(status=401, code=20005, error="Account not active"), "", "suspended or closed"),
        (Trouble(status=429, code=20429), "", "HTTP 429, 20429.*wait a minute"),
        (Trouble(status=503, raw=b"<html>down"), "", "HTTP 503.*no reason"),
        (Trouble(status=400, code=29999, error="Odd: +14155550100"), "", "29999.*Odd: …$"),
        (Trouble(raw=b"[]"), "", "HTTP 200"),
        (Trouble(hang="before"), "", "no answer within 0.2 s"),
        (Trouble(drop="before"), "", "check the network"),
    ],
)
async def test_refusals_name_the_fix(trouble: Trouble, token: str, said: str) -> None:
    async with Numbers.serve(ONE, script=(trouble,)) as twilio:
        asked = account(twilio, token, total_s=0.2 if trouble.hang else 5)
        with pytest.raises(CarrierError, match=said) as caught:
            await asked.numbers()
    assert "wrong-token" not in str(caught.value)
    assert twilio.auth_token not in str(caught.value)


async def test_an_address_that_twilio_refuses() -> None:
    async with Numbers.serve(ONE) as twilio:
        number = await account(twilio).number(ONE)
        with pytest.raises(CarrierError, match=r"21402.*public name") as caught:
            await account(twilio).change(number, {"VoiceUrl": "nonsense"})
    assert (caught.value.status, caught.value.code) == (400, "21402")


async def test_no_network() -> None:
    asked = Account("AC1", "token", base_url="http://127.0.0.1:9")
    with pytest.raises(CarrierError, match=r"cannot be asked.*check the network"):
        await asked.standing()


def test_an_account_needs_both_settings() -> None:
    with pytest.raises(SettingsError, match=r"^TWILIO_ACCOUNT_SID not set"):
        numbers.open_account(Settings(twilio_auth_token="token"))
    with pytest.raises(SettingsError, match="TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN not set"):
        numbers.open_account(Settings())
    with pytest.raises(SettingsError, match="SK is an API key's"):
        numbers.open_account(Settings(twilio_account_sid="SK1", twilio_auth_token="token"))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (URL, URL),
        (f" {URL}/ ", URL),
        ("https://voice.example.com", URL),
        ("https://voice.example.com/live/", "https://voice.example.com/live/voice"),
        ("https://voice.example.com:8443/x?a=1", "https://voice.example.com:8443/x/voice?a=1"),
    ],
)
def test_the_webhook_of_what_somebody_wrote(text: str, url: str) -> None:
    assert numbers.webhook_url(text) == url


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://voice.example.com/voice", "https://"),
        ("voice.example.com", "https://"),
        ("https://", "https://"),
        ("https://voice.example.com:99999/", "https://"),
        ("https://me:secret@voice.example.com/voice", "https://"),
        ("https://127.0.0.1:8080/voice", "tunnel"),
        ("https://10.0.0.7/voice", "tunnel"),
        ("https://[::1]/voice", "tunnel"),
        ("https://localhost/voice", "tunnel"),
        ("https://laptop.local/voice", "tunnel"),
    ],
)
def test_addresses_that_twilio_cannot_call(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        numbers.webhook_url(text)
    assert "secret" not in str(caught.value)


def test_texts_are_led_here_where_that_has_an_effect() -> None:
    number = Number(sid="PN1", phone_number=ONE, sms=True)
    assert numbers.settings_for(URL, number)["SmsUrl"] == "https://voice.example.com/sms"
    assert "SmsUrl" not in numbers.settings_for(URL, number, texts=False)
    for without in (
        Number(sid="PN1", phone_number=ONE),
        Number(sid="PN1", phone_number=ONE, sms=True, sms_application="AP1"),
    ):
        assert "SmsUrl" not in numbers.settings_for(URL, without)


def test_what_a_number_is_bound_to() -> None:
    assert Number(sid="PN1", phone_number=ONE, trunk="TK1").bound_to == "the SIP trunk TK1"
    app = Number(sid="PN1", phone_number=ONE, voice_application="AP1")
    assert app.bound_to == "the TwiML app AP1"


@pytest.mark.parametrize("text", ["", "VoiceUrl", "AccountSid=AC1", "VoiceUrl=x&TrunkSid=TK1"])
def test_only_what_was_printed_is_put_back(text: str) -> None:
    with pytest.raises(SettingsError, match="VoiceUrl"):
        numbers.parse_parameters(text)


def test_the_same_place_is_recognised() -> None:
    for other in (URL, f"{URL}/", "https://VOICE.example.com:443/voice", f"{URL}#rc=1"):
        assert numbers.same_url(URL, other)
    for other in ("", "https://voice.example.com", "http://voice.example.com/voice", f"{URL}?a=1"):
        assert not numbers.same_url(URL, other)
    assert not numbers.same_url(URL, "https://voice.example.com:99999/voice")
