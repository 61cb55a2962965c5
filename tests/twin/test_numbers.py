"""The simulated account, as Twilio's own client sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from voxyray.twin.messages import Trouble
from voxyray.twin.numbers import Numbers

ONE, TWO, THREE = "+18005550101", "+18005550102", "+442071838750"


class _Here:
    """Sends what is meant for Twilio to the simulated one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = TwilioHttpClient()

    def request(self, method: str, url: str, *args: Any, **more: Any) -> Any:
        here = url.replace("https://api.twilio.com", self._url)
        return self._http.request(method, here, *args, **more)

    def close(self) -> None:
        self._http.session.close()


async def asked(twilio: Numbers, work: Callable[[Client], Any], token: str = "") -> Any:
    """Let Twilio's client, which blocks, ask in a thread."""

    def run() -> Any:
        http = _Here(twilio.url)
        try:
            client = Client(twilio.account_sid, token or twilio.auth_token, http_client=http)
            return work(client)
        finally:
            http.close()

    return await asyncio.to_thread(run)


async def test_the_account() -> None:
    async with Numbers.serve() as twilio:
        twilio.status, twilio.type = "suspended", "Trial"
        account = await asked(twilio, lambda client: client.api.accounts(client.username).fetch())
    assert (account.sid, account.status, account.type) == (
        twilio.account_sid,
        "suspended",
        "Trial",
    )
    assert account.date_created is not None


async def test_numbers_come_in_pages() -> None:
    async with Numbers.serve(ONE, TWO, THREE) as twilio:
        numbers = await asked(
            twilio, lambda client: client.incoming_phone_numbers.list(page_size=2)
        )
        assert [number.phone_number for number in numbers] == [ONE, TWO, THREE]
        assert len(twilio.asked) == 2
        one = numbers[0]
        assert one.sid.startswith("PN")
        assert one.date_updated is not None
        assert one.capabilities["sms"] is True
        # Every field that Twilio's client knows is there.
        known = {name for name in vars(one) if not name.startswith("_")}
        assert known - set(twilio.numbers[0]) <= {"type"}


def _matching(wanted: str, client: Client) -> Any:
    return client.incoming_phone_numbers.list(phone_number=wanted)


async def test_numbers_are_found_by_a_part() -> None:
    async with Numbers.serve(ONE, TWO, THREE) as twilio:
        for wanted, found in (("+1800", [ONE, TWO]), (THREE, [THREE]), ("+1*102", [TWO])):
            numbers = await asked(twilio, partial(_matching, wanted))
            assert [number.phone_number for number in numbers] == found


async def test_a_number_is_changed() -> None:
    url = "https://voice.example.com/voice"
    async with Numbers.serve(ONE) as twilio:
        sid = twilio.numbers[0]["sid"]
        number = await asked(
            twilio,
            lambda client: client.incoming_phone_numbers(sid).update(
                voice_url=url, voice_method="POST", sms_url="", voice_application_sid="AP1"
            ),
        )
        assert (number.voice_url, number.sms_url) == (url, "")
        assert number.voice_application_sid == "AP1"
        number = await asked(
            twilio, lambda client: client.incoming_phone_numbers(sid).update(trunk_sid="TK1")
        )
        assert (number.trunk_sid, number.voice_application_sid) == ("TK1", None)
        fetched = await asked(twilio, lambda client: client.incoming_phone_numbers(sid).fetch())
        assert fetched.voice_url == url


@pytest.mark.parametrize(
    ("work", "token", "status", "code"),
    [
        (lambda client: client.incoming_phone_numbers("PN0").fetch(), "wrong", 401, 20003),
        (lambda client: client.incoming_phone_numbers("PN0").fetch(), "", 404, 20404),
        (lambda client: client.incoming_phone_numbers("PN0").update(), "", 404, 20404),
        (
            lambda client: client.incoming_phone_numbers(f"PN{1:032x}").update(voice_url="x"),
            "",
            400,
            21402,
        ),
        (
            lambda client: client.incoming_phone_numbers(f"PN{1:032x}").update(voice_method="PUT"),
            "",
            400,
            21403,
        ),
        (lambda client: client.api.accounts("AC0").fetch(), "", 404, 20404),
    ],
)
async def test_refusals(work: Callable[[Client], Any], token: str, status: int, code: int) -> None:
    async with Numbers.serve(ONE) as twilio:
        with pytest.raises(TwilioRestException) as caught:
            await asked(twilio, work, token)
    assert (caught.value.status, caught.value.code) == (status, code)


async def test_trouble_on_demand() -> None:
    busy = Trouble(status=429, code=20429, error="Too Many Requests", headers={"Retry-After": "1"})
    async with Numbers.serve(ONE, script=(busy, Trouble())) as twilio:
        with pytest.raises(TwilioRestException) as caught:
            await asked(twilio, lambda client: client.incoming_phone_numbers(ONE).fetch())
        assert caught.value.code == 20429
        assert len(await asked(twilio, lambda client: client.incoming_phone_numbers.list())) == 1


async def test_its_clock_may_be_wrong() -> None:
    async with Numbers.serve() as twilio, aiohttp.ClientSession() as session:
        twilio.clock_ahead_s = -86_400 * 366
        async with session.get(f"{twilio.url}/2010-04-01/Accounts/AC0.json") as answer:
            assert "GMT" in answer.headers["Date"]
            early = answer.headers["Date"]
        twilio.clock_ahead_s = 0
        async with session.get(f"{twilio.url}/2010-04-01/Accounts/AC0.json") as answer:
            assert answer.headers["Date"][7:16] != early[7:16]
