"""Signatures: the reference's vectors, twilio's own validator, and what forgers try."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from voxyray.carriers.twilio import sign, verify_handshake, verify_http

TOKEN = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
VOICE = "https://voice.example.com/voice"
RELAY = "wss://voice.example.com/ws"
PARAMS = [
    ("CallSid", "CA00000000000000000000000000000001"),
    ("From", "+18005550100"),
    ("To", "+18005550101"),
]


@pytest.mark.parametrize(
    ("token", "url", "params", "signature"),
    [
        (
            "12345",
            "https://mycompany.com/myapp.php?foo=1&bar=2",
            [
                ("To", "+18005551212"),
                ("CallSid", "CA1234567890ABCDE"),
                ("Caller", "+14158675310"),
                ("Digits", "1234"),
                ("From", "+14158675310"),
            ],
            "GvWf1cFY/Q7PnoempGyD5oXAezc=",
        ),
        (TOKEN, VOICE, PARAMS, "Jnu9vYIAlizb1ToBH/ByepZb5Wc="),
        (TOKEN, RELAY, [], "O+GJc32aWgDIpCRnhLRM038d17c="),
        (TOKEN, "https://voice.example.com/ws", [], "5y0eYWEK2TkUteOA08k0JMw3NcI="),
        (TOKEN, "wss://voice.example.com/ws/", [], "1QfuPcWOmu+xWlIMVmKzo5NNuHc="),
        (TOKEN, "wss://voice.example.com/ws?t=abc", [], "kQadRlg0hWJNVsg2kzdepZA0YB8="),
        (TOKEN, RELAY, [("t", "abc")], "q5GBEEFKKXcU9zHpig1jbv/RbwY="),
    ],
)
def test_vectors(token: str, url: str, params: list[tuple[str, str]], signature: str) -> None:
    assert sign(token, url, params) == signature
    assert verify_http([token], url, params, signature)


def test_a_handshake_is_signed_over_the_wss_url_mistake_16() -> None:
    assert verify_handshake([TOKEN], RELAY, "O+GJc32aWgDIpCRnhLRM038d17c=")
    for wrong in ("https://voice.example.com/ws", RELAY + "/", RELAY + "?t=abc"):
        assert not verify_handshake([TOKEN], RELAY, sign(TOKEN, wrong))
        assert not verify_handshake([TOKEN], wrong, sign(TOKEN, RELAY))


@pytest.mark.parametrize("port", [":443", ":80"])
def test_a_handshake_has_no_default_port(port: str) -> None:
    signature = sign(TOKEN, f"wss://voice.example.com{port}/ws")
    assert not verify_handshake([TOKEN], RELAY, signature)


@pytest.mark.parametrize(
    "seen",
    [
        "http://voice.example.com/voice",
        "https://10.0.0.1:8080/voice",
        "https://voice.example.com/prod/voice",
        "https://voice.example.com/voice/",
        "https://VOICE.example.com/voice",
        "https://attacker.example/voice",
    ],
)
def test_the_url_is_the_configured_one_not_the_one_a_proxy_shows_mistake_17(seen: str) -> None:
    signature = sign(TOKEN, VOICE, PARAMS)
    assert verify_http([TOKEN], VOICE, PARAMS, signature)
    assert not verify_http([TOKEN], seen, PARAMS, signature)


def test_the_query_stays_as_it_came_mistake_17() -> None:
    raw = f"{VOICE}?agent=a%20b&x=%2B1"
    assert verify_http([TOKEN], raw, [], sign(TOKEN, raw))
    assert not verify_http([TOKEN], f"{VOICE}?agent=a+b&x=%2B1", [], sign(TOKEN, raw))


@pytest.mark.parametrize(
    ("configured", "signed"),
    [
        ("https://a.example/v", "https://a.example:443/v"),
        ("https://a.example:443/v", "https://a.example/v"),
        ("http://a.example/v", "http://a.example:80/v"),
        ("https://a.example:8443/v", "https://a.example:8443/v"),
        ("https://a.example", "https://a.example:443"),
        ("https://a.example?x=1", "https://a.example:443?x=1"),
        ("https://[::1]/v", "https://[::1]:443/v"),
        ("https://[::1]:8443/v", "https://[::1]:8443/v"),
        ("https://user:word@a.example/v", "https://user:word@a.example:443/v"),
    ],
)
def test_a_port_may_be_left_out_or_put_in(configured: str, signed: str) -> None:
    assert verify_http([TOKEN], configured, PARAMS, sign(TOKEN, signed, PARAMS))


@pytest.mark.parametrize(
    "signed", ["https://a.example:80/v", "https://a.example:8443/v", "http://a.example:443/v"]
)
def test_another_port_is_another_url(signed: str) -> None:
    assert not verify_http([TOKEN], "https://a.example/v", PARAMS, sign(TOKEN, signed, PARAMS))


def test_any_of_the_tokens_fits_while_they_rotate() -> None:
    signature = sign(OTHER, VOICE, PARAMS)
    assert verify_http([TOKEN, OTHER], VOICE, PARAMS, signature)
    assert verify_http([OTHER, TOKEN], VOICE, PARAMS, signature)
    assert not verify_http([TOKEN], VOICE, PARAMS, signature)
    assert verify_handshake([TOKEN, OTHER], RELAY, sign(OTHER, RELAY))
    assert verify_handshake(TOKEN, RELAY, sign(TOKEN, RELAY))


@pytest.mark.parametrize("tokens", [[], [""], ["", ""], (), ""])
def test_without_a_token_nothing_is_true(tokens: Any) -> None:
    for signature in (sign("", VOICE, PARAMS), "", None):
        assert not verify_http(tokens, VOICE, PARAMS, signature)
    assert not verify_handshake(tokens, RELAY, sign("", RELAY))


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        " ",
        "garbage",
        "=" * 28,
        "caf\u00e9",
        "\ud800",
        "\x00",
        "x" * 100_000,
        sign(TOKEN, VOICE, PARAMS)[:-1],
        sign(TOKEN, VOICE, PARAMS) + " ",
        sign(TOKEN, VOICE, PARAMS).lower(),
        sign(TOKEN, VOICE, PARAMS) + "," + sign(TOKEN, VOICE, PARAMS),
        b"bytes",
        5,
        ["a"],
    ],
)
def test_wrong_signatures_are_false_and_never_raise(signature: Any) -> None:
    assert not verify_http([TOKEN], VOICE, PARAMS, signature)
    assert not verify_handshake([TOKEN], RELAY, signature)


@pytest.mark.parametrize(
    ("url", "params"),
    [
        ("https://a.example:99999/v", []),
        ("https://a.example:x/v", []),
        ("https://[::1/v", []),
        ("", []),
        ("\ud800", []),
        (None, []),
        (5, []),
        (VOICE, [("\ud800", "")]),
        (VOICE, [("a",)]),
        (VOICE, [("a", None)]),
        (VOICE, [("a", ["b"])]),
        (VOICE, None),
        (VOICE, 5),
    ],
)
def test_requests_that_are_none_are_false_and_never_raise(url: Any, params: Any) -> None:
    assert not verify_http([TOKEN], url, params, sign(TOKEN, VOICE, PARAMS))
    assert not verify_handshake([TOKEN], url, sign(TOKEN, RELAY))


def test_every_parameter_takes_part() -> None:
    signature = sign(TOKEN, VOICE, PARAMS)
    for changed in (
        PARAMS[:-1],
        [*PARAMS, ("SpeechResult", "")],
        [*PARAMS, ("Empty", "x")],
        [*PARAMS[:-1], ("To", "+18005550199")],
        [(name.lower(), value) for name, value in PARAMS],
    ):
        assert not verify_http([TOKEN], VOICE, changed, signature)


def test_repeated_names_count_once_for_each_value_in_order() -> None:
    params = [("b", "2"), ("a", "z"), ("a", "y"), ("a", "z")]
    assert sign(TOKEN, VOICE, params) == sign(TOKEN, VOICE + "ayazb2")
    assert verify_http([TOKEN], VOICE, params[::-1], sign(TOKEN, VOICE, params))


# Bodies that are no forms.

BODY = b'{"a": 1}'
HASHED = f"{VOICE}?x=1&bodySHA256={hashlib.sha256(BODY).hexdigest()}"


def test_a_body_is_checked_by_its_hash() -> None:
    signature = sign(TOKEN, HASHED)
    assert verify_http([TOKEN], HASHED, (), signature, BODY)
    assert RequestValidator(TOKEN).validate(HASHED, BODY.decode(), signature)
    assert not verify_http([TOKEN], HASHED, (), signature, BODY + b" ")
    assert not verify_http([TOKEN], HASHED, (), signature, b"")
    assert not verify_http([OTHER], HASHED, (), signature, BODY)


@pytest.mark.parametrize(
    "url",
    [
        VOICE,
        f"{VOICE}?bodySHA256=",
        f"{VOICE}?bodySHA256=\u00e9",
        f"{HASHED}&bodySHA256=0",
        HASHED.replace("?x=1&", "#"),
    ],
)
def test_a_body_without_its_hash_is_refused(url: str) -> None:
    assert not verify_http([TOKEN], url, (), sign(TOKEN, url), BODY)


# Against twilio's own validator.

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=10)
tails = st.text("abz019-._~%+&=/ \u00e9", max_size=15)
urls = st.builds(
    lambda scheme, host, port, path, query: f"{scheme}://{host}.example{port}/{path}{query}",
    st.sampled_from(["https", "http"]),
    names,
    st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}")),
    tails,
    tails.map(lambda tail: f"?q={tail}") | st.just(""),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
forms = st.lists(st.tuples(texts, texts | st.just("")), max_size=6)


class MultiDict(dict[str, list[str]]):
    """Repeated names as Django keeps them, which is what twilio's validator understands."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        for name, value in pairs:
            self.setdefault(name, []).append(value)

    def getlist(self, name: str) -> list[str]:
        return self[name]


@given(texts, urls, forms)
def test_signatures_equal_twilios(token: str, url: str, params: list[tuple[str, str]]) -> None:
    theirs = RequestValidator(token).compute_signature(url, MultiDict(params))
    assert sign(token, url, params) == theirs


@given(urls, urls, forms)
def test_verdicts_equal_twilios(url: str, another: str, params: list[tuple[str, str]]) -> None:
    theirs = RequestValidator(TOKEN)
    portless = url.replace(url.split("/")[2], url.split("/")[2].partition(":")[0], 1)
    for signed in (url, portless, another):
        for pairs in (params, [*params, ("a", "")]):
            signature = sign(TOKEN, signed, pairs)
            ours = verify_http([TOKEN], url, params, signature)
            assert ours == theirs.validate(url, MultiDict(params), signature)


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text())), st.binary(), st.text())
def test_nothing_raises(
    token: str, url: str, params: list[tuple[str, str]], body: bytes, signature: str
) -> None:
    assert not verify_http([token], url, params, signature)
    assert not verify_http([token], url, params, signature, body)
    assert not verify_handshake([token], url, signature)
    assert not verify_handshake([token], url, base64.b64encode(body).decode())
