"""`voxyray number` as people and scripts use it, at the simulated Twilio."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from voxyray.cli import main
from voxyray.settings import VARIABLES
from voxyray.twin.messages import Trouble
from voxyray.twin.numbers import Numbers

ONE, TWO = "+18005550101", "+18005550102"
URL = "https://voice.example.com/voice"


@pytest.fixture(autouse=True)
def twilio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Numbers]:
    """An account with two numbers, served from a loop of its own."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    serving = Numbers.serve(ONE, TWO)
    served = asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(5)
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", served.account_sid)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", served.auth_token)
    monkeypatch.setattr("voxyray.carriers.numbers.BASE_URL", served.url)
    yield served
    asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def number(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["number", *arguments], input=typed)


def changes_asked(twilio: Numbers) -> int:
    return sum(method == "POST" for method, _, _ in twilio.asked)


def test_help_has_examples() -> None:
    result = number("--help")
    assert result.exit_code == 0
    assert "voxyray number set" in result.output


def test_list_and_show(twilio: Numbers) -> None:
    twilio.number(TWO).update(trunk_sid="TK1", voice_url="")
    listed = number("list").output
    assert ONE in listed
    assert "https://demo.twilio.com/welcome/voice/" in listed
    assert "the SIP trunk TK1" in listed
    as_json = json.loads(number("list", "--json").stdout)["numbers"]
    assert [each["phone_number"] for each in as_json] == [ONE, TWO]
    shown = number("show", "+1 (800) 555-0102").output
    assert "nowhere" in shown
    assert "Twilio ignores" in shown
    assert json.loads(number("show", ONE, "--json").stdout)["voice_method"] == "POST"
    twilio.numbers.clear()
    assert "no number" in number("list").output


def test_set_says_what_was_and_is_and_how_to_put_it_back(twilio: Numbers) -> None:
    before = dict(twilio.number(ONE))
    result = number("set", ONE, "--url", URL)
    assert result.exit_code == 0, result.output
    assert re.search(
        r"VoiceUrl +before +https://demo\.\S+ *\n +now +https://voice\.", result.output
    )
    assert "VOXYRAY_PUBLIC_URL=https://voice.example.com" in result.stderr
    after = twilio.number(ONE)
    assert (after["voice_url"], after["voice_fallback_url"]) == (URL, URL)
    assert after["sms_url"] == "https://voice.example.com/sms"

    (undo,) = re.findall(r"^ +voxyray (number restore .*)$", result.stdout, re.MULTILINE)
    restored = number(*shlex.split(undo)[1:])
    assert restored.exit_code == 0, restored.output
    now = dict(twilio.number(ONE))
    assert {**now, "date_updated": ""} == {**before, "date_updated": ""}


def test_set_takes_the_public_url(twilio: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXYRAY_PUBLIC_URL", "https://voice.example.com/live/")
    made = json.loads(number("set", ONE, "--json", "--voice-only").stdout)
    assert made["changed"]["VoiceUrl"]["now"] == "https://voice.example.com/live/voice"
    assert "SmsUrl" not in made["changed"]
    assert made["undo"].startswith(f"voxyray number restore {ONE} ")
    assert twilio.number(ONE)["sms_url"].startswith("https://demo.twilio.com")
    again = number("set", ONE, "--voice-only")
    assert "nothing was changed" in again.output
    assert again.stderr == ""
    assert changes_asked(twilio) == 1


@pytest.mark.parametrize("answer", ["n\n", "", "y\n"])
def test_set_asks_before_it_takes_calls_away(twilio: Numbers, answer: str) -> None:
    twilio.number(ONE)["voice_url"] = "https://other.example.com/answer"
    result = number("set", ONE, "--url", URL, typed=answer)
    assert "https://other.example.com/answer" in result.stderr
    if answer == "y\n":
        assert result.exit_code == 0
        assert twilio.number(ONE)["voice_url"] == URL
    else:
        assert result.exit_code == 2
        assert "nothing was changed; --yes" in result.stderr
        assert changes_asked(twilio) == 0


def test_yes_does_not_ask(twilio: Numbers) -> None:
    twilio.number(ONE)["voice_url"] = "https://other.example.com/answer"
    assert number("set", ONE, "--url", URL, "--yes").exit_code == 0
    assert twilio.number(ONE)["voice_url"] == URL


def test_texts_that_go_to_an_app_stay_there(twilio: Numbers) -> None:
    twilio.number(ONE)["sms_application_sid"] = "AP1"
    result = number("set", ONE, "--url", URL)
    assert "still go to the app AP1" in result.output
    assert twilio.number(ONE)["sms_url"].startswith("https://demo.twilio.com")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", ONE], "https://"),
        (["set", ONE, "--url", "http://voice.example.com/voice"], "https://"),
        (["set", ONE, "--url", "https://127.0.0.1:8080/voice"], "tunnel"),
        (["set", "8005550101", "--url", URL], "+14155550100"),
        (["show", "anna"], "+14155550100"),
        (["show", "+18005550999"], f"it has {TWO}, {ONE}"),
        (["restore", ONE, "AccountSid=AC1"], "VoiceUrl"),
    ],
)
def test_errors_are_one_line_with_the_fix(arguments: list[str], said: str, twilio: Numbers) -> None:
    result = number(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert changes_asked(twilio) == 0


@pytest.mark.parametrize("bound", [{"trunk_sid": "TK1"}, {"voice_application_sid": "AP1"}])
def test_numbers_whose_webhook_is_ignored(bound: dict[str, str], twilio: Numbers) -> None:
    twilio.number(ONE).update(bound)
    result = number("set", ONE, "--url", URL)
    assert result.exit_code == 2
    assert "Twilio would ignore the webhook" in result.stderr
    assert changes_asked(twilio) == 0


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TWILIO_AUTH_TOKEN", "wrong-token", "20003"),
        ("TWILIO_ACCOUNT_SID", "", "TWILIO_ACCOUNT_SID not set"),
        ("TWILIO_AUTH_TOKEN", "", "TWILIO_AUTH_TOKEN not set"),
    ],
)
def test_credentials(variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    result = number("list")
    assert result.exit_code == 2
    assert said in result.stderr
    assert "TWILIO_" in result.stderr
    assert "wrong-token" not in result.stderr


def test_twilios_trouble(twilio: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    twilio.script = (Trouble(status=429, code=20429),)
    assert "wait a minute" in number("list").stderr
    twilio.script = (Trouble(drop="before"),)
    assert "check the network" in number("list").stderr
    monkeypatch.setattr("voxyray.carriers.numbers.BASE_URL", "http://127.0.0.1:9")
    assert "check the network" in number("list").stderr


def test_a_change_that_did_not_happen_is_told(
    twilio: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxyray.twin.numbers._set", lambda *_: None)
    result = number("set", ONE, "--url", URL)
    assert result.exit_code == 2
    assert "left VoiceUrl" in result.stderr
