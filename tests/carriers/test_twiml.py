"""TwiML: what is refused before Twilio ignores it, and that XML parsers read back what we meant."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.twiml.voice_response import Connect, ConversationRelay

from voxyray.carriers.attributes import clean
from voxyray.carriers.twiml import (
    LANGUAGE_ATTRIBUTES,
    RELAY_ATTRIBUTES,
    dial,
    enqueue,
    hangup,
    redirect,
    relay,
    relay_twiml,
    response,
    say,
    validate_language,
    validate_relay_attributes,
)
from voxyray.errors import TwimlError

URL = "wss://voice.example.com/relay"
ACTION = "https://voice.example.com/relay-ended"


def read(twiml: bytes) -> ET.Element:
    root = ET.fromstring(twiml)
    assert root.tag == "Response"
    return root


def test_the_whole_answer() -> None:
    twiml = relay_twiml(
        URL,
        action="/relay-ended?a=1&b=2",
        attributes={"voice": None, "dtmfDetection": True, "eotThreshold": 0.7},
        parameters={"token": "t_42"},
        languages=[{"code": "es-ES", "ttsProvider": "google"}],
        greeting="Hello!",
    )
    assert twiml.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?><Response>'
        '<Connect action="/relay-ended?a=1&amp;b=2">'
        '<ConversationRelay url="wss://voice.example.com/relay" dtmfDetection="true" '
        'eotThreshold="0.7" welcomeGreeting="Hello!">'
        '<Language code="es-ES" ttsProvider="Google" />'
        '<Parameter name="token" value="t_42" /></ConversationRelay></Connect></Response>'
    )


def test_no_verbs_end_the_call() -> None:
    assert response() == b'<?xml version="1.0" encoding="UTF-8"?><Response />'


def test_verbs_come_in_order() -> None:
    root = read(response(say("One moment."), redirect("/voice"), hangup()))
    assert [verb.tag for verb in root] == ["Say", "Redirect", "Hangup"]


def test_a_greeting_takes_the_place_of_the_agents() -> None:
    for greeting, spoken in (("Welcome back", "Welcome back"), ("", "Hello")):
        connect = relay(
            URL, action=ACTION, attributes={"welcomeGreeting": "Hello"}, greeting=greeting
        )
        assert connect[0].get("welcomeGreeting") == spoken
    assert relay(URL, action=ACTION)[0].get("welcomeGreeting") is None


# Escaping.


def test_a_quote_or_ampersand_in_the_greeting_is_escaped_mistake_33() -> None:
    greeting = 'Ada & Co: say "hi" <now>, it\'s 5 > 4'
    root = read(relay_twiml(URL, action=ACTION, greeting=greeting, parameters={"a&b": '"<>'}))
    session = root[0][0]
    assert session.get("welcomeGreeting") == greeting
    assert session[0].attrib == {"name": "a&b", "value": '"<>'}
    assert read(response(say(greeting)))[0].text == greeting


@given(st.text(), st.text())
def test_any_text_is_read_back_by_a_strict_parser(text: str, name: str) -> None:
    twiml = response(
        say(text),
        relay(
            URL,
            action=ACTION,
            attributes={"hints": text},
            greeting=text,
            parameters={f"n{name}": text},
        ),
    )
    spoken, connect = read(twiml)
    assert (spoken.text or "") == clean(text)
    assert connect[0].get("welcomeGreeting", "") == clean(text)
    assert connect[0].get("hints") == clean(text)
    assert connect[0][0].attrib == {"name": clean(f"n{name}"), "value": clean(text)}


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFFFD, exclude_categories=["Cs"])))
def test_nothing_is_lost_that_xml_can_carry(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("bad", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
def test_characters_xml_cannot_carry_are_left_out(bad: str) -> None:
    assert read(response(say(f"a{bad}b")))[0].text == "ab"


def test_line_ends_are_those_a_parser_reads() -> None:
    assert read(response(say("a\r\nb\rc\n\td")))[0].text == "a\nb\nc\n\td"
    assert read(relay_twiml(URL, action=ACTION, greeting="a\r\nb\tc"))[0][0].get(
        "welcomeGreeting"
    ) == ("a\nb\tc")


# Attributes.


def test_interrupt_by_dtmf_does_not_exist_mistake_24() -> None:
    for name in ("interruptByDtmf", "interrupt_by_dtmf"):
        with pytest.raises(TwimlError, match=r'interruptible="any"'):
            validate_relay_attributes({name: True})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("dtmfDetect", "dtmfDetection"),
        ("dtmf_detection", "dtmfDetection"),
        ("DtmfDetection", "dtmfDetection"),
        ("interuptible", "interruptible"),
        ("reportInputDuringAgentSpeach", "reportInputDuringAgentSpeech"),
        ("speech_model", "speechModel"),
        ("welcomeGreeting ", "welcomeGreeting"),
        ("ttsprovider", "ttsProvider"),
        ("eotTreshold", "eotThreshold"),
    ],
)
def test_a_misspelt_attribute_names_the_nearest_mistake_24(wrong: str, right: str) -> None:
    with pytest.raises(TwimlError, match=f"did you mean '{right}'"):
        validate_relay_attributes({wrong: "x"})


@pytest.mark.parametrize("name", ["", "xyzzy", "x" * 10_000, "\ud800", "<>&"])
def test_an_attribute_like_no_other_names_them_all(name: str) -> None:
    with pytest.raises(TwimlError, match="has no attribute"):
        relay_twiml(URL, action=ACTION, attributes={name: "x"})


def test_no_agent_sets_the_url() -> None:
    with pytest.raises(TwimlError, match="url"):
        validate_relay_attributes({"url": "wss://elsewhere.example/ws"})


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("interruptible", True, "true"),
        ("interruptible", "Speech", "speech"),
        ("welcomeGreetingInterruptible", "none", "none"),
        ("reportInputDuringAgentSpeech", "any", "any"),
        ("language", "en-US", "en-US"),
        ("language", "multi", "multi"),
        ("language", "zh-Hans-CN", "zh-Hans-CN"),
        ("ttsProvider", "elevenlabs", "ElevenLabs"),
        ("transcriptionProvider", "DEEPGRAM", "Deepgram"),
        ("interruptSensitivity", "low", "low"),
        ("partialPrompts", "true", "true"),
        ("partialPrompts", False, "false"),
        ("speechTimeout", "auto", "auto"),
        ("speechTimeout", 600, "600"),
        ("speechTimeout", "5000", "5000"),
        ("eotThreshold", 0.5, "0.5"),
        ("eotThreshold", "0.9", "0.9"),
        ("hints", ["Acme", "Zephyr"], "Acme,Zephyr"),
        ("events", "speaker-events  tokens-played", "speaker-events tokens-played"),
        ("events", ["speaker-events", "speaker-events"], "speaker-events"),
        ("debug", "debugging", "debugging"),
        ("elevenlabsTextNormalization", "off", "off"),
        ("turnDetection", "whatever it is", "whatever it is"),
        ("backgroundNoiseReduction", "x", "x"),
        ("applicationReconnect", True, "true"),
        ("profanityFilter", False, "false"),
        ("conversationId", "conv_1", "conv_1"),
        ("eagerEotThreshold", 0.3, "0.3"),
        ("includeInPrompt", ["turn-state", "prompt-segments"], "turn-state prompt-segments"),
        ("ttsTextNormalization", "auto", "auto"),
    ],
)
def test_values_as_twilio_has_them(name: str, value: Any, written: str) -> None:
    assert validate_relay_attributes({name: value}) == {name: written}


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("interruptible", "sometimes", "none, dtmf, speech, any, true, false"),
        ("reportInputDuringAgentSpeech", True, "none, dtmf, speech, any"),
        ("language", "English", "language tag such as en-US"),
        ("language", "en_US", "language tag"),
        ("language", "", "language tag"),
        ("ttsProvider", "Polly", "Google, Amazon, ElevenLabs"),
        ("transcriptionProvider", "Whisper", "Google, Deepgram"),
        ("interruptSensitivity", "max", "high, medium, low"),
        ("dtmfDetection", "yes", "true, false"),
        ("dtmfDetection", 1, "true, false"),
        ("speechTimeout", 599, "auto or a whole number from 600 to 5000"),
        ("speechTimeout", 5001, "600 to 5000"),
        ("speechTimeout", 700.5, "whole number"),
        ("speechTimeout", "-700", "whole number"),
        ("speechTimeout", "\u0667\u0660\u0660", "whole number"),
        ("speechTimeout", "9" * 5000, "whole number"),
        ("eotThreshold", 0.49, "a number from 0.5 to 0.9"),
        ("eotThreshold", 1, "0.5 to 0.9"),
        ("eotThreshold", float("nan"), "0.5 to 0.9"),
        ("eotThreshold", True, "0.5 to 0.9"),
        ("events", "speaker_events", "several, separated by spaces"),
        ("events", "debugging", "config-updated"),
        ("hints", {"a": 1}, "not dict"),
        ("hints", [1, 2], "not list"),
        ("welcomeGreeting", b"bytes", "not bytes"),
    ],
)
def test_wrong_values_name_the_allowed_ones(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(TwimlError, match=f"{name} of <ConversationRelay> may be .*{allowed}"):
        validate_relay_attributes({name: value})


def test_every_attribute_of_the_reference_is_known() -> None:
    assert len(RELAY_ATTRIBUTES) == 40
    for name, rule in RELAY_ATTRIBUTES.items():
        if name != "url":
            assert validate_relay_attributes({name: None}) == {}
            for choice in rule.choices:
                attributes: dict[str, Any] = {name: choice}
                if name == "language":
                    attributes["transcriptionProvider"] = "Deepgram"
                assert validate_relay_attributes(attributes)[name] == choice
    assert set(LANGUAGE_ATTRIBUTES) - {"code"} < set(RELAY_ATTRIBUTES)


@pytest.mark.parametrize(
    ("build", "rules"),
    [
        (Connect.conversation_relay, RELAY_ATTRIBUTES),
        (ConversationRelay.language, LANGUAGE_ATTRIBUTES),
    ],
)
def test_every_argument_of_twilios_sdk_is_known(
    build: Callable[..., Any], rules: dict[str, Any]
) -> None:
    for name in set(inspect.signature(build).parameters) - {"self", "kwargs"}:
        first, *rest = name.split("_")
        assert first + "".join(map(str.capitalize, rest)) in rules


# Voices and models of another provider.


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"voice": "Polly.Joanna-Neural"}, 'voice="Joanna-Neural" ttsProvider="Amazon"'),
        ({"voice": "polly.Joanna", "ttsProvider": "Amazon"}, "name for <Say>"),
        ({"voice": "Google.en-US-Neural2-A"}, 'voice="en-US-Neural2-A" ttsProvider="Google"'),
        ({"voice": "Polly."}, "name for <Say>"),
        ({"voice": "en-US-Journey-O"}, 'set ttsProvider="Google"'),
        ({"voice": "Joanna-Neural"}, 'set ttsProvider="Amazon"'),
        ({"voice": "Joanna-Neural", "ttsProvider": "Google"}, 'set ttsProvider="Amazon"'),
        ({"voice": "en-US-Journey-O", "ttsProvider": "Amazon"}, 'set ttsProvider="Google"'),
        ({"voice": "UgBBYS2sOqTuMpoF3BR0", "ttsProvider": "Google"}, '"ElevenLabs"'),
        ({"voice": "UgBBYS2sOqTuMpoF3BR0-flash_v2_5", "ttsProvider": "Amazon"}, '"ElevenLabs"'),
        ({"speechModel": "flux", "transcriptionProvider": "Google"}, '"Deepgram"'),
        ({"speechModel": "nova-3-general", "transcriptionProvider": "Google"}, '"Deepgram"'),
        ({"speechModel": "telephony", "transcriptionProvider": "Deepgram"}, '"Google"'),
        ({"language": "multi", "ttsProvider": "Google"}, "ElevenLabs only"),
        ({"ttsLanguage": "multi", "ttsProvider": "Amazon"}, "ElevenLabs only"),
        ({"transcriptionLanguage": "multi", "transcriptionProvider": "Google"}, "Deepgram only"),
    ],
)
def test_voices_and_models_of_another_provider_are_refused_mistake_25(
    attributes: dict[str, Any], said: str
) -> None:
    with pytest.raises(TwimlError, match=said):
        validate_relay_attributes(attributes)


@pytest.mark.parametrize(
    "attributes",
    [
        {"voice": "UgBBYS2sOqTuMpoF3BR0-flash_v2_5-1.0_0.5_0.75"},
        {"voice": "en-US-Chirp3-HD-Aoede", "ttsProvider": "Google"},
        {"voice": "Joanna-Neural", "ttsProvider": "Amazon"},
        {"voice": "a name of next year", "ttsProvider": "Google"},
        {"speechModel": "flux"},
        {"speechModel": "telephony"},
        {"speechModel": "telephony", "transcriptionProvider": "Google"},
        {"language": "multi", "ttsLanguage": "en-US", "ttsProvider": "Google"},
    ],
)
def test_what_may_be_right_is_left_alone(attributes: dict[str, Any]) -> None:
    assert validate_relay_attributes(attributes) == attributes


def test_a_language_is_checked_with_what_it_has_from_its_relay() -> None:
    google = {"ttsProvider": "Google", "voice": "en-US-Journey-O"}
    assert validate_language({"code": "es-ES", "voice": "es-ES-Neural2-A"}, google)
    assert validate_language({"code": "es-ES", "ttsProvider": "Amazon"}, google)
    with pytest.raises(TwimlError, match='set ttsProvider="Amazon"'):
        validate_language({"code": "es-ES", "voice": "Lucia-Neural"}, google)
    with pytest.raises(TwimlError, match="name for <Say>"):
        relay_twiml(URL, action=ACTION, languages=[{"code": "es", "voice": "Polly.Lucia"}])


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ({}, "needs a code"),
        ({"code": None}, "needs a code"),
        ({"code": "Spanish"}, "code of <Language>"),
        ({"code": "es-ES", "language": "es-ES"}, "<Language> has no attribute 'language'"),
        ({"code": "es-ES", "voise": "x"}, "did you mean 'voice'"),
        ({"code": "es-ES", "ttsProvider": "Azure"}, "Google, Amazon, ElevenLabs"),
    ],
)
def test_wrong_languages(language: dict[str, Any], said: str) -> None:
    with pytest.raises(TwimlError, match=said):
        relay_twiml(URL, action=ACTION, languages=[language])


# Addresses.


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://voice.example.com/ws",
        "ws://voice.example.com/ws",
        "voice.example.com/ws",
        "wss:///ws",
        "wss://",
        "wss://a.example/ws#part",
        "wss://a.example/w s",
        "wss://a.example/ws\n",
        "wss://a.example\\@evil.example/ws",
        "wss://[::1/ws",
        "wss://a.example/\x00",
        "javascript:alert(1)",
    ],
)
def test_wrong_relay_urls(url: str) -> None:
    with pytest.raises(TwimlError, match="the relay's url"):
        relay_twiml(url, action=ACTION)


@pytest.mark.parametrize(
    "url", ["wss://a.example/ws", "wss://a.example:8443/x", "ws://127.0.0.1:1/r", "ws://[::1]/r"]
)
def test_right_relay_urls(url: str) -> None:
    assert relay(url, action=ACTION)[0].get("url") == url


@pytest.mark.parametrize(
    "url", ["", "relay-ended", "//evil.example/x", "ftp://a.example/", "https://", "/a b", "/\\e"]
)
def test_wrong_addresses(url: str) -> None:
    with pytest.raises(TwimlError):
        redirect(url)
    with pytest.raises(TwimlError):
        relay_twiml(URL, action=url)


def test_redirects() -> None:
    flow = "https://webhooks.twilio.com/v1/Accounts/AC/Flows/FW?Trigger=incomingCall&x=1"
    assert read(response(redirect(flow)))[0].text == flow
    assert read(response(redirect("/voice")))[0].text == "/voice"


@pytest.mark.parametrize("name", ["", " ", "\x00"])
def test_a_parameter_needs_a_name(name: str) -> None:
    with pytest.raises(TwimlError, match="empty"):
        relay_twiml(URL, action=ACTION, parameters={name: "x"})


def test_parameters_are_text() -> None:
    session = relay(URL, action=ACTION, parameters={"a": True, "b": 5, "c": ""})[0]
    assert [each.get("value") for each in session] == ["true", "5", ""]
    with pytest.raises(TwimlError, match="'a' may be"):
        relay_twiml(URL, action=ACTION, parameters={"a": {}})  # type: ignore[dict-item]


# Other verbs.


@pytest.mark.parametrize(
    ("target", "noun", "text"),
    [
        ("+18005550100", "Number", "+18005550100"),
        ("sip:ada@example.com", "Sip", "sip:ada@example.com"),
        ("sip:ada@10.0.0.1:5060;transport=tls", "Sip", "sip:ada@10.0.0.1:5060;transport=tls"),
        ("client:ada_1", "Client", "ada_1"),
    ],
)
def test_dials(target: str, noun: str, text: str) -> None:
    verb = read(response(dial(target, action="/after-dial", caller_id="+18005550101")))[0]
    assert verb.attrib == {
        "answerOnBridge": "true",
        "timeout": "20",
        "action": "/after-dial",
        "callerId": "+18005550101",
    }
    assert (verb[0].tag, verb[0].text) == (noun, text)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "8005550100",
        "+1 800 555 0100",
        "+0800555010",
        "+1",
        "+" + "1" * 16,
        "+1800555010\u0661",
        "+18005550100\n",
        "sip:example.com",
        "sip:a@b<c>",
        "sip:a@" + "b" * 300,
        "client:",
        "client:a b",
        "tel:+18005550100",
        "anonymous",
    ],
)
def test_wrong_targets(target: str) -> None:
    with pytest.raises(TwimlError, match="cannot dial"):
        dial(target)


@pytest.mark.parametrize("timeout_s", [4, 601, -1, float("nan")])
def test_wrong_ringing_times(timeout_s: Any) -> None:
    with pytest.raises(TwimlError, match="5 to 600"):
        dial("+18005550100", timeout_s=timeout_s)


def test_a_caller_id_is_a_number_or_client() -> None:
    assert dial("+18005550100", caller_id="client:ada").get("callerId") == "client:ada"
    with pytest.raises(TwimlError, match="caller_id"):
        dial("+18005550100", caller_id="anonymous")


def test_queues() -> None:
    verb = read(response(enqueue("A & B", wait_url="/wait", action="/done")))[0]
    assert verb.text == "A & B"
    assert verb.attrib == {"action": "/done", "waitUrl": "/wait"}


def test_workflows_get_the_task_as_json() -> None:
    sid = "WW" + "0" * 32
    task = {"reason": 'a "quote" & <more>', "name": "Zo\u00eb \x00"}
    verb = read(response(enqueue(workflow_sid=sid, task=task)))[0]
    assert verb.attrib == {"workflowSid": sid}
    assert json.loads(verb[0].text or "") == task
    assert enqueue(workflow_sid=sid)[0].text == "{}"


@pytest.mark.parametrize(
    "build",
    [
        lambda: enqueue(),
        lambda: enqueue(" "),
        lambda: enqueue("a", workflow_sid="WW" + "0" * 32),
        lambda: enqueue("a", task={}),
        lambda: enqueue(workflow_sid="WW1"),
        lambda: enqueue(workflow_sid="WW" + "0" * 32, task={"a": object()}),
        lambda: enqueue(workflow_sid="WW" + "0" * 32, task={"a": float("nan")}),
        lambda: enqueue("a", action="nowhere"),
        lambda: enqueue("a", wait_url="nowhere"),
    ],
)
def test_wrong_queues(build: Callable[[], ET.Element]) -> None:
    with pytest.raises(TwimlError):
        build()


def test_what_is_said_may_have_a_language_and_a_voice() -> None:
    verb = say("Hola", language="es-ES", voice="Polly.Lucia")
    assert verb.attrib == {"language": "es-ES", "voice": "Polly.Lucia"}
    assert say("Hello").attrib == {}
