"""Bad input, by the table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.messengers.support import mail, sms
from voxyray.errors import MessageRefused
from voxyray.messengers import Message, masked
from voxyray.messengers.checks import address, checked, number, one_line
from voxyray.messengers.optout import opt_word

NUMBERS = {
    "+14155550100": "+14155550100",
    " +1 (415) 555-0100 ": "+14155550100",
    "+44 20 7946 0000": "+442079460000",
    "+49\u00a030\u2011901820": "+4930901820",
    "4155559999": None,
    "004915112345678": None,
    "+0123456789": None,
    "+1234": None,
    "+1234567890123456": None,
    "+1415555010a": None,
    "+١٤١٥٥٥٥٠١٠٠": None,
    "++14155550100": None,
    "+14155550100,+14155550101": None,
    "sip:ada@example.com": None,
    "anonymous": None,
    "": None,
    "\ud800": None,
    "+" * 5000: None,
}
ADDRESSES = {
    "ada@example.com": True,
    " ada.lovelace+tours@mail.example.co.uk ": True,
    "o'hara@example.com": True,
    "a@b.co": True,
    "ada@example": False,
    "ada@@example.com": False,
    ".ada@example.com": False,
    "ada..l@example.com": False,
    "ada@-example.com": False,
    "ada@example.com.": False,
    "ada@example.c": False,
    "ada@127.0.0.1": False,
    "ada lovelace@example.com": False,
    "Ada <ada@example.com>": False,
    "ada@example.com\nBcc: eve@example.com": False,
    "ada@example.com,eve@example.com": False,
    "ädä@example.com": False,
    "ada@exämple.com": False,
    "\ud800@example.com": False,
    f"{'a' * 65}@example.com": False,
    f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.{'f' * 60}.com": False,
    "": False,
}


@pytest.mark.parametrize(("given", "plain"), NUMBERS.items(), ids=repr)
def test_numbers(given: str, plain: str | None) -> None:
    if plain is not None:
        assert number(given) == plain
        return
    with pytest.raises(MessageRefused) as caught:
        number(given)
    assert caught.value.reason == "recipient"
    assert not given or given not in str(caught.value)


@pytest.mark.parametrize(("given", "fits"), ADDRESSES.items(), ids=repr)
def test_addresses(given: str, fits: bool) -> None:
    if fits:
        assert address(given) == given.strip()
        return
    with pytest.raises(MessageRefused) as caught:
        address(given)
    assert caught.value.reason == "recipient"


REFUSED: list[tuple[Message, str]] = [
    (sms("x" * 1601), "body"),
    (sms("🎉" * 801), "body"),
    (sms("x" * 10_000_000), "body"),
    (sms("\x00\x01"), "body"),
    (mail("ä" * 100_001), "body"),
    (mail(subject=""), "subject"),
    (mail(subject="\r\n"), "subject"),
    (mail(subject="x" * 201), "subject"),
    (sms(key=""), "key"),
    (sms(key="x" * 501), "key"),
    (sms(to=None), "body"),
    (sms(kind="fax"), "body"),
    (msgspec.structs.replace(mail(), body=5), "body"),
]


@pytest.mark.parametrize(("message", "reason"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_sent(message: Any, reason: str) -> None:
    with pytest.raises(MessageRefused) as caught:
        checked(message)
    assert caught.value.reason == reason


def test_the_longest_that_can() -> None:
    assert checked(sms("x" * 1600)).body == "x" * 1600
    assert checked(sms("🎉" * 800)).body == "🎉" * 800
    assert checked(mail("ä" * 100_000, subject="x" * 200)).subject == "x" * 200
    assert len(checked(mail(from_name="x" * 5000)).from_name) == 100


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_whatever_is_given_a_checked_message_is_clean(text: str, other: str) -> None:
    try:
        clean = checked(mail(text, subject=other, from_name=text, key="k"))
    except MessageRefused:
        return
    for header in (clean.subject, clean.from_name, clean.to):
        assert len(header.splitlines()) <= 1
        header.encode()
    clean.body.encode()
    assert checked(clean) == clean


def test_masks() -> None:
    assert masked("+14155550100") == "…00"
    assert masked("ada@example.com") == "a…@example.com"
    assert masked("") == "…"
    assert repr(sms("secret")) == "<Message sms to …00>"
    assert one_line(" a\r\n b\u2028c\x85d\te ") == "a b c d e"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("STOP", "stop"),
        (" stop.\n", "stop"),
        ('"Stop"', "stop"),
        ("StopAll", "stop"),
        ("unsubscribe", "stop"),
        ("Cancel", "stop"),
        ("END", "stop"),
        ("quit", "stop"),
        ("REVOKE", "stop"),
        ("OPTOUT", "stop"),
        ("START", "start"),
        ("unstop!", "start"),
        ("help", "help"),
        ("INFO", "help"),
        ("yes", None),
        ("please stop by at nine", None),
        ("cancel my tour", None),
        ("", None),
        ("\ud800", None),
    ],
)
def test_words_of_7_6(text: str, word: str | None) -> None:
    assert opt_word(text) == word
