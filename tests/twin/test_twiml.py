from __future__ import annotations

import pytest

from voxyray.twin import RelayAttributes, TwinRefused
from voxyray.twin.twiml import (
    Connect,
    Dial,
    Enqueue,
    Hangup,
    NotPlayed,
    Pause,
    Play,
    Redirect,
    Reject,
    Say,
    Verb,
    read,
)


def verbs(inner: str, warnings: list[str] | None = None) -> tuple[Verb, ...]:
    noted = [] if warnings is None else warnings
    return read(f"<Response>{inner}</Response>", "text/xml; charset=utf-8", warn=noted.append)


def relay(attributes: str, inner: str = "", warnings: list[str] | None = None) -> RelayAttributes:
    if "url=" not in attributes:
        attributes += ' url="wss://voice.example.com/relay"'
    found = verbs(
        f"<Connect><ConversationRelay {attributes}>{inner}</ConversationRelay></Connect>", warnings
    )
    assert isinstance(found[0], Connect)
    return found[0].relay


def test_reads_every_verb() -> None:
    assert verbs(
        "<Say>Hi <emphasis>you</emphasis></Say><Play loop='2'>https://x.example/a.mp3</Play>"
        "<Pause length='3'/><Redirect method='GET'>/next</Redirect><Reject reason='busy'/>"
        "<Hangup/><Gather/>"
    ) == (
        Say("Hi you"),
        Play("https://x.example/a.mp3", 2),
        Pause(3),
        Redirect("/next", "GET"),
        Reject("busy"),
        Hangup(),
        NotPlayed("Gather"),
    )


def test_reads_dial_and_enqueue() -> None:
    assert verbs(
        '<Dial action="/after">+15550100002</Dial>'
        "<Dial><Number>+15550100003</Number><Sip>sip:a@b.example</Sip></Dial>"
        '<Enqueue workflowSid="WW1"><Task>{"a":1}</Task></Enqueue><Enqueue>support</Enqueue>'
    ) == (
        Dial(("+15550100002",), "/after"),
        Dial(("+15550100003", "sip:a@b.example")),
        Enqueue("", "WW1", '{"a":1}'),
        Enqueue("support"),
    )


def test_reads_a_full_relay() -> None:
    warnings: list[str] = []
    found = relay(
        'welcomeGreeting="Hi &amp; hello" interruptible="true" welcomeGreetingInterruptible="false"'
        ' language="en-US" ttsLanguage="es-ES" partialPrompts="true" dtmfDetection="true"'
        ' ttsProvider="elevenlabs" voice="UgBBYS2sOqTuMpoF3BR0-flash_v2_5-1.0_0.5_0.75"'
        ' speechModel="flux" eotThreshold="0.8" speechTimeout="auto" debug="debugging"'
        ' events="speaker-events tokens-played" reportInputDuringAgentSpeech="any"',
        '<Language code="es-ES" ttsProvider="Google" voice="es-ES-Neural2-A"/>'
        '<Parameter name="tenant" value="t_42"/><Failover/>',
        warnings,
    )
    assert found.welcome_greeting == "Hi & hello"
    assert (found.interruptible, found.welcome_greeting_interruptible) == ("any", "none")
    assert (found.tts_language, found.transcription_language) == ("es-ES", "en-US")
    assert found.events == {"speaker-events", "tokens-played", "debugging"}
    assert found.languages[0].code == "es-ES"
    assert found.parameters == {"tenant": "t_42"}
    assert warnings == []


def test_what_twilio_ignores_silently_is_a_warning() -> None:
    warnings: list[str] = []
    relay('interruptByDtmf="true" events="speaker"', "<Paremeter/>", warnings)
    assert warnings == [
        "ConversationRelay ignores the unknown element <Paremeter>",
        "ConversationRelay ignores the unknown attribute 'interruptByDtmf'",
        "events and debug know no 'speaker'",
    ]


@pytest.mark.parametrize(
    "attributes",
    [
        'interruptible="yes"',
        'dtmfDetection="True"',
        'speechTimeout="200"',
        'speechTimeout="1.5"',
        'eotThreshold="0.95"',
        'interruptSensitivity="max"',
        'reportInputDuringAgentSpeech="true"',
        'language="english please"',
        'ttsProvider="Polly"',
        'transcriptionProvider="Whisper"',
        'ttsProvider="Amazon" voice="Polly.Joanna-Neural"',
        'ttsProvider="Google" voice="Joanna-Neural"',
        'voice="en-US-Journey-O"',
        'ttsProvider="Google" ttsLanguage="multi"',
        'transcriptionProvider="Google" transcriptionLanguage="multi"',
        'elevenlabsTextNormalization="yes"',
        'url=""',
        'url="https://voice.example.com/relay"',
        'url="ws://voice.example.com/relay"',
        'url="/relay"',
        'url="wss://voice.example.com:port/relay"',
        'url="wss://voice.example.com/relay#x"',
    ],
)
def test_impossible_values_are_64101(attributes: str) -> None:
    with pytest.raises(TwinRefused) as refused:
        relay(attributes)
    assert refused.value.code == 64101


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_loopback_may_do_without_tls(host: str) -> None:
    assert relay(f'url="ws://{host}/relay"').url == f"ws://{host}/relay"


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        ("<Response>", "text/xml", 12100),
        ("OK", "text/xml", 12100),
        ("", "text/xml", 12100),
        ("<Answer/>", "text/xml", 12100),
        ("<Response><Say>a & b</Say></Response>", "text/xml", 12100),
        ('<!DOCTYPE x [<!ENTITY a "b">]><Response>&a;</Response>', "text/xml", 12100),
        ("<Response/>", "application/json", 12300),
        ("OK", "text/plain", 12300),
        ("<Response/>", "", 12300),
        ("<Response><say>hi</say></Response>", "text/xml", 12200),
        ("<Response><Connect/></Response>", "text/xml", 12200),
        ("<Response><Connect><Stream/></Connect></Response>", "text/xml", 12200),
        ("<Response><Pause length='x'/></Response>", "text/xml", 12200),
        ("<Response><Redirect/></Response>", "text/xml", 12200),
        ("<Response><Redirect method='PUT'>/x</Redirect></Response>", "text/xml", 12200),
        ("<Response><Dial/></Response>", "text/xml", 12200),
        (
            (
                "<Response><Connect><ConversationRelay url='wss://a.example/b'><Language/>"
                "</ConversationRelay></Connect></Response>"
            ),
            "text/xml",
            64101,
        ),
    ],
)
def test_bad_twiml_is_refused_with_twilios_code(body: str, content_type: str, code: int) -> None:
    with pytest.raises(TwinRefused) as refused:
        read(body, content_type, warn=lambda _: None)
    assert refused.value.code == code


def test_an_empty_response_has_no_verbs() -> None:
    assert read('<?xml version="1.0" encoding="UTF-8"?><Response/>', "text/xml", warn=print) == ()
