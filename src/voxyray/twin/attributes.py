"""What Twilio knows of `<ConversationRelay>`: its attributes, their values and their defaults.

Written from the reference (1.3, 1.4), on purpose independent of the product's allow-list.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from voxyray.twin.errors import TwinRefused

INVALID = 64101  # invalid parameter or attribute


class Language(msgspec.Struct, frozen=True):
    """A `<Language>` child: it declares settings and activates nothing."""

    code: str
    tts_provider: str = ""
    voice: str = ""
    transcription_provider: str = ""
    speech_model: str = ""


class RelayAttributes(msgspec.Struct, frozen=True):
    """The settings of a relay session that the twin acts on, with Twilio's defaults.

    events: what `events` and `debug` name, such as `speaker-events` and `tokens-played`.
    """

    url: str = "wss://voice.example.com/relay"
    welcome_greeting: str = ""
    welcome_greeting_interruptible: str = "any"
    tts_language: str = "en-US"
    transcription_language: str = "en-US"
    tts_provider: str = "ElevenLabs"
    voice: str = ""
    transcription_provider: str = "Deepgram"
    speech_model: str = ""
    interruptible: str = "any"
    report_input_during_agent_speech: str = "none"
    dtmf_detection: bool = False
    preemptible: bool = False
    partial_prompts: bool = False
    ignore_backchannel: bool = False
    events: frozenset[str] = frozenset()
    languages: tuple[Language, ...] = ()
    parameters: dict[str, str] = {}


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value in values


def _ignoring_case(*values: str) -> Callable[[str], bool]:
    return lambda value: value.lower() in {v.lower() for v in values}


def _anything(_value: str) -> bool:
    return True


def _language(value: str) -> bool:
    return value == "multi" or re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", value) is not None


def _timeout(value: str) -> bool:
    return value == "auto" or (value.isascii() and value.isdigit() and 600 <= int(value) <= 5000)


def _threshold(value: str) -> bool:
    return re.fullmatch(r"0?\.\d+", value) is not None and 0.5 <= float(value) <= 0.9


_BOOL = _one_of("true", "false")
_INPUT = _one_of("none", "dtmf", "speech", "any")
_INPUT_OR_BOOL = _one_of("none", "dtmf", "speech", "any", "true", "false")

_KNOWN: dict[str, Callable[[str], bool]] = {
    "url": _anything,
    "welcomeGreeting": _anything,
    "welcomeGreetingInterruptible": _INPUT_OR_BOOL,
    "language": _language,
    "ttsLanguage": _language,
    "transcriptionLanguage": _language,
    "ttsProvider": _ignoring_case("Google", "Amazon", "ElevenLabs"),
    "voice": _anything,
    "transcriptionProvider": _ignoring_case("Google", "Deepgram"),
    "speechModel": _anything,
    "interruptible": _INPUT_OR_BOOL,
    "interruptSensitivity": _one_of("high", "medium", "low"),
    "dtmfDetection": _BOOL,
    "reportInputDuringAgentSpeech": _INPUT,
    "preemptible": _BOOL,
    "partialPrompts": _BOOL,
    "speechTimeout": _timeout,
    "eotThreshold": _threshold,
    "ignoreBackchannel": _BOOL,
    "deepgramSmartFormat": _BOOL,
    "hints": _anything,
    "profanityFilter": _BOOL,
    "backgroundNoiseReduction": _anything,  # values not established
    "echoPromptFiltering": _BOOL,
    "elevenlabsTextNormalization": _one_of("on", "auto", "off"),
    "debug": _anything,
    "events": _anything,
    "intelligenceService": _anything,
    "conversationConfiguration": _anything,
    "conversationId": _anything,
    "turnDetection": _anything,  # values not established
    "applicationReconnect": _BOOL,
}
_STREAMS = {"debugging", "speaker-events", "tokens-played", "config-updated"}


def read_attributes(
    given: Mapping[str, str],
    *,
    languages: tuple[Language, ...] = (),
    parameters: Mapping[str, str] | None = None,
    warn: Callable[[str], None],
) -> RelayAttributes:
    """Read the attributes of a `<ConversationRelay>` as Twilio would.

    warn: told of what Twilio ignores silently, so that a misspelling shows.

    Raises:
        TwinRefused: 64101, a known attribute has an impossible value.
    """
    _check_values(given, warn)
    _check_url(given.get("url", ""), warn)
    language = given.get("language", "en-US")
    attributes = RelayAttributes(
        url=given["url"],
        welcome_greeting=given.get("welcomeGreeting", ""),
        welcome_greeting_interruptible=_input(given.get("welcomeGreetingInterruptible", "any")),
        tts_language=given.get("ttsLanguage", language),
        transcription_language=given.get("transcriptionLanguage", language),
        tts_provider=given.get("ttsProvider", "ElevenLabs"),
        voice=given.get("voice", ""),
        transcription_provider=given.get("transcriptionProvider", "Deepgram"),
        speech_model=given.get("speechModel", ""),
        interruptible=_input(given.get("interruptible", "any")),
        report_input_during_agent_speech=given.get("reportInputDuringAgentSpeech", "none"),
        dtmf_detection=given.get("dtmfDetection") == "true",
        preemptible=given.get("preemptible") == "true",
        partial_prompts=given.get("partialPrompts") == "true",
        ignore_backchannel=given.get("ignoreBackchannel") == "true",
        events=_streams(given, warn),
        languages=languages,
        parameters=dict(parameters or {}),
    )
    _check_speech(attributes)
    return attributes


def _check_values(given: Mapping[str, str], warn: Callable[[str], None]) -> None:
    for name, value in given.items():
        if name not in _KNOWN:
            warn(f"ConversationRelay ignores the unknown attribute {name!r}")
        elif not _KNOWN[name](value):
            raise TwinRefused(INVALID, f"{name}={value!r} is no valid value")


def _input(value: str) -> str:
    return {"true": "any", "false": "none"}.get(value, value)


def _streams(given: Mapping[str, str], warn: Callable[[str], None]) -> frozenset[str]:
    names = set((given.get("events", "") + " " + given.get("debug", "")).split())
    for name in sorted(names - _STREAMS):
        warn(f"events and debug know no {name!r}")
    return frozenset(names & _STREAMS)


def _check_url(url: str, warn: Callable[[str], None]) -> None:
    """Insist on wss; ws is the twin's concession to laptops and goes to loopback only."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise TwinRefused(INVALID, f"url={url!r}: {error}") from error
    if not host or parts.scheme not in ("wss", "ws"):
        raise TwinRefused(INVALID, f"url={url!r} must be a wss:// URL")
    if parts.scheme == "ws" and not _is_loopback(host):
        raise TwinRefused(INVALID, f"url={url!r}: ws:// is for loopback addresses, use wss://")
    if parts.query:
        warn("the relay url has a query, and signatures over queries are disputed")
    if parts.fragment:
        raise TwinRefused(INVALID, f"url={url!r} must not have a fragment")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _check_speech(attributes: RelayAttributes) -> None:
    """Refuse voices and models that do not suit their provider (6.1) or `multi` (1.3)."""
    settings = [(attributes.tts_provider, attributes.voice)]
    settings += [(x.tts_provider or attributes.tts_provider, x.voice) for x in attributes.languages]
    for provider, voice in settings:
        if voice and not _suits(provider.lower(), voice):
            raise TwinRefused(INVALID, f"voice={voice!r} is none of {provider}'s")
    if attributes.tts_language == "multi" and attributes.tts_provider.lower() != "elevenlabs":
        raise TwinRefused(INVALID, "ttsLanguage multi needs ElevenLabs")
    if attributes.transcription_language == "multi":
        models = ("", "nova-2-general", "nova-3-general", "flux")
        provider = attributes.transcription_provider.lower()
        if provider != "deepgram" or attributes.speech_model not in models:
            raise TwinRefused(INVALID, "transcriptionLanguage multi needs Deepgram's nova models")


def _suits(provider: str, voice: str) -> bool:
    if provider == "google":
        return re.match(r"[a-z]{2,3}-[A-Z]{2}-\w", voice) is not None
    if provider == "amazon":
        return re.fullmatch(r"[A-Z]\w+-(Neural|Generative)", voice) is not None
    return re.fullmatch(r"[A-Za-z0-9]{16,}(-[\w.]+)*", voice) is not None
