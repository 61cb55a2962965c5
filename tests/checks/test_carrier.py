"""The account and its numbers, at the simulated Twilio."""

from __future__ import annotations

from typing import Any

import pytest

from tests.checks.support import setup, told
from voxyray.checks.carrier import account, numbers
from voxyray.twin.messages import Trouble
from voxyray.twin.numbers import Numbers

ONE, TWO = "+18005550101", "+18005550102"
URL = "https://voice.example.com"
WEBHOOK = f"{URL}/voice"


async def test_an_active_account() -> None:
    async with Numbers.serve() as twilio:
        examined = setup(URL, twilio)
        (found,) = await account(examined)
    assert found.level == "ok"
    assert "ConversationRelay" in found.fix
    assert abs(examined.clocks["Twilio"]) < 3


@pytest.mark.parametrize(
    ("status", "kind", "level", "said"),
    [
        ("active", "Trial", "warning", "on trial"),
        ("suspended", "Full", "broken", "suspended"),
        ("closed", "Full", "broken", "closed"),
    ],
)
async def test_other_accounts(status: str, kind: str, level: str, said: str) -> None:
    async with Numbers.serve() as twilio:
        twilio.status, twilio.type = status, kind
        examined = setup(URL, twilio)
        (found,) = await account(examined)
        assert bool(await numbers(examined)) == (status == "active")  # else it was told
    assert found.level == level
    assert said in found.said
    assert found.fix


async def test_credentials_that_are_wrong_or_missing() -> None:
    async with Numbers.serve() as twilio:
        wrong = setup(URL, twilio, twilio_auth_token="wrong-token")
        (found,) = await account(wrong)
        assert await numbers(wrong) == []  # told once
    assert found.level == "broken"
    assert "20003" in found.said
    assert "first page of the Twilio console" in found.fix
    (found,) = await account(setup(URL))
    assert (found.level, found.said) == ("warning", "TWILIO_ACCOUNT_SID not set: not looked at")
    assert await numbers(setup(URL)) == []
    (found,) = await account(setup(URL, twilio_account_sid="SK" + "1" * 32))
    assert (found.level, found.said) == ("broken", "TWILIO_ACCOUNT_SID is no account's")


async def test_its_clock_is_noted() -> None:
    async with Numbers.serve() as twilio:
        twilio.clock_ahead_s = -600
        examined = setup(URL, twilio)
        await account(examined)
    assert examined.clocks["Twilio"] == pytest.approx(-600, abs=3)


async def test_the_account_is_asked_once_for_all() -> None:
    async with Numbers.serve() as twilio:
        examined = setup(URL, twilio)
        await account(examined)
        await examined.standing()
        await numbers(examined)
        await examined.numbers()
        assert len(twilio.asked) == 2


async def test_numbers_that_lead_here() -> None:
    async with Numbers.serve(ONE, TWO) as twilio:
        twilio.number(TWO)["voice_url"] = WEBHOOK + "/"
        (found,) = await numbers(setup(URL, twilio))
    assert (found.level, found.said) == ("ok", "1 of the account's 2 lead here: …0102")


async def test_no_number_leads_here() -> None:
    async with Numbers.serve(ONE) as twilio:
        (found,) = await numbers(setup(URL, twilio))
        assert found.level == "warning"
        assert f"voxyray number set +1... --url {WEBHOOK}" in found.fix
        twilio.numbers.clear()
        (found,) = await numbers(setup(URL, twilio))
        assert "buy one" in found.fix
        assert await numbers(setup("http://127.0.0.1:8080", twilio)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"voice_method": "GET"}, "by GET, which is refused"),
        ({"trunk_sid": "TK1"}, "bound to the SIP trunk: its webhook is ignored"),
        ({"voice_application_sid": "AP1"}, "bound to the TwiML app"),
    ],
)
async def test_numbers_that_seem_to_lead_here(changed: dict[str, str], said: str) -> None:
    async with Numbers.serve(ONE) as twilio:
        twilio.number(ONE).update({"voice_url": WEBHOOK, **changed})
        found = await numbers(setup(URL, twilio))
    assert told(found) == [("numbers", "broken"), ("numbers", "warning")]
    assert said in found[0].said
    assert ONE not in str(found)


@pytest.mark.parametrize(
    ("settings", "can", "level"),
    [
        ({"sms_from": ONE}, True, ""),
        ({"sms_from": ONE}, False, "broken"),
        ({"sms_from": TWO}, True, "warning"),
        ({"sms_from": TWO, "sms": "outbox"}, True, ""),
        ({"sms_from": "MG" + "a" * 32}, True, ""),
        ({}, True, ""),
    ],
)
async def test_who_sends_texts(settings: dict[str, Any], can: bool, level: str) -> None:
    async with Numbers.serve(ONE) as twilio:
        twilio.number(ONE)["voice_url"] = WEBHOOK
        twilio.number(ONE)["capabilities"]["sms"] = can
        found = await numbers(setup(URL, twilio, **settings))
    assert [each.level for each in found if each.check == "messages"] == ([level] if level else [])
    assert not any(TWO in each.said + each.fix for each in found)


async def test_numbers_that_cannot_be_listed() -> None:
    troubles = (Trouble(status=429, code=20429), Trouble())
    async with Numbers.serve(ONE, script=troubles) as twilio:
        (found,) = await numbers(setup(URL, twilio))
    assert told([found]) == [("numbers", "broken")]
    assert "wait a minute" in found.said
