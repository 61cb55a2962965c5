"""Every attribute of <ConversationRelay> and <Language>, and what it may be.

Twilio ignores an attribute it does not know and ends the call on some values it does not like, so
both are found here, when an agent is loaded. Names and values are those of
twilio.com/docs/voice/twiml/connect/conversationrelay and, for the newest, of twilio-python 9.13;
where only the name is sure, any text is let through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from rapidfuzz import process

from voxyray.errors import TwimlError

Value: TypeAlias = str | bool | int | float | list[str] | tuple[str, ...] | None

_ILLEGAL: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")


def clean(text: str) -> str:
    """Remove what XML 1.0 cannot carry, and write line ends as XML parsers read them."""
    return _ILLEGAL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


@dataclass(frozen=True)
class Rule:
    """What an attribute may be: one of choices, a number in a range, a language, or any text.

    many: several choices, separated by spaces. A bool stands for `true` and `false`.
    """

    choices: tuple[str, ...] = ()
    many: bool = False
    low: float | None = None
    high: float | None = None
    whole: bool = False
    language: bool = False

    @property
    def expected(self) -> str:
        """The allowed values in words."""
        words = [", ".join(self.choices)] if self.choices else []
        if self.low is not None:
            kind = "a whole number" if self.whole else "a number"
            words.append(f"{kind} from {self.low:g} to {self.high:g}")
        if self.language:
            words.append("a language tag such as en-US")
        separated = " (several, separated by spaces)" if self.many else ""
        return f"{' or '.join(words) or 'text'}{separated}"

    def read(self, value: Value) -> str:
        """Give the value as TwiML has it.

        Raises:
            TwimlError: a value that is not allowed; the message names those that are.
        """
        text = _text(value, " " if self.many else ",")
        canonical = {choice.casefold(): choice for choice in self.choices}
        if self.many:
            words = text.split()
            if all(word.casefold() in canonical for word in words):
                return " ".join(dict.fromkeys(canonical[word.casefold()] for word in words))
        elif text.casefold() in canonical:
            return canonical[text.casefold()]
        elif self._fits(text):
            return text
        raise TwimlError(f"may be {self.expected}, not {text[:60]!r}")

    def _fits(self, text: str) -> bool:
        if self == TEXT or (self.language and _LANGUAGE.fullmatch(text)):
            return True
        pattern = r"\d{1,9}" if self.whole else r"\d{1,9}(?:\.\d{1,9})?"
        if self.low is None or self.high is None or not re.fullmatch(pattern, text, re.ASCII):
            return False
        return self.low <= float(text) <= self.high


def _text(value: Value, separator: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        value = separator.join(value)
    if not isinstance(value, str):
        raise TwimlError(f"may be text, a number or a bool, not {type(value).__name__}")
    return clean(value)


TEXT: Final = Rule()
_BOOL: Final = Rule(("true", "false"))
_INPUT: Final = Rule(("none", "dtmf", "speech", "any"))
_INPUT_OR_BOOL: Final = Rule((*_INPUT.choices, *_BOOL.choices))
_TAG: Final = Rule(language=True)
_TAG_OR_MULTI: Final = Rule(("multi",), language=True)
_TTS: Final = Rule(("Google", "Amazon", "ElevenLabs"))
_STT: Final = Rule(("Google", "Deepgram"))
_NORMALIZATION: Final = Rule(("on", "auto", "off"))

RELAY_ATTRIBUTES: Final[Mapping[str, Rule]] = {
    "url": TEXT,
    "welcomeGreeting": TEXT,
    "welcomeGreetingInterruptible": _INPUT_OR_BOOL,
    "language": _TAG_OR_MULTI,
    "ttsLanguage": _TAG_OR_MULTI,
    "transcriptionLanguage": _TAG_OR_MULTI,
    "ttsProvider": _TTS,
    "voice": TEXT,
    "transcriptionProvider": _STT,
    "speechModel": TEXT,
    "interruptible": _INPUT_OR_BOOL,
    "interruptSensitivity": Rule(("high", "medium", "low")),
    "dtmfDetection": _BOOL,
    "reportInputDuringAgentSpeech": _INPUT,
    "preemptible": _BOOL,
    "partialPrompts": _BOOL,
    "speechTimeout": Rule(("auto",), low=600, high=5000, whole=True),  # milliseconds
    "eotThreshold": Rule(low=0.5, high=0.9),
    "ignoreBackchannel": _BOOL,
    "deepgramSmartFormat": _BOOL,
    "hints": TEXT,
    "profanityFilter": _BOOL,
    "backgroundNoiseReduction": TEXT,  # values not published in what was read
    "echoPromptFiltering": _BOOL,
    "elevenlabsTextNormalization": _NORMALIZATION,
    "debug": Rule(("debugging", "speaker-events", "tokens-played"), many=True),
    "events": Rule(("speaker-events", "tokens-played", "config-updated"), many=True),
    "intelligenceService": TEXT,
    "conversationConfiguration": TEXT,
    "conversationId": TEXT,
    "turnDetection": TEXT,  # likewise
    "applicationReconnect": TEXT,  # likewise
    "partialPromptOnHangup": _BOOL,
    "eagerEotThreshold": Rule(low=0.3, high=0.9),
    "asrSmartFormat": _BOOL,
    "ttsTextNormalization": _NORMALIZATION,
    "ttsLanguageTextNormalization": TEXT,
    "elevenlabsLanguageTextNormalization": TEXT,
    "includeInPrompt": Rule(("turn-state", "prompt-segments"), many=True),
    "customerName": TEXT,
}
LANGUAGE_ATTRIBUTES: Final[Mapping[str, Rule]] = {
    "code": _TAG_OR_MULTI,
    "ttsProvider": _TTS,
    "voice": TEXT,
    "transcriptionProvider": _STT,
    "speechModel": TEXT,
    "hints": TEXT,
    "asrSmartFormat": _BOOL,
    "ttsTextNormalization": _NORMALIZATION,
    "ttsLanguageTextNormalization": TEXT,
}

_HINTS: Final = {
    "interruptbydtmf": (
        "Twilio ignores it, though many samples have it; keys cut speech with "
        'interruptible="any" (or "dtmf") and dtmfDetection="true"'
    ),
    "welcomegreetinglanguage": 'the greeting is spoken in ttsLanguage (or in "language")',
}


def validate_relay_attributes(attributes: Mapping[str, Value]) -> dict[str, str]:
    """Check an agent's relay attributes, and give them as TwiML has them; None leaves one out.

    Raises:
        TwimlError: an attribute Twilio would ignore (the message names the nearest), a value it
            would refuse, or a voice or model of another provider.
    """
    if "url" in attributes:
        raise TwimlError("the url of <ConversationRelay> is set by the host, not by an agent")
    checked = _checked("ConversationRelay", attributes, RELAY_ATTRIBUTES)
    _check_providers(checked)
    return checked


def validate_language(
    attributes: Mapping[str, Value], relay: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Check the attributes of a <Language>; what it leaves out it has from its relay.

    Raises:
        TwimlError: as for the relay; or no code.
    """
    checked = _checked("Language", attributes, LANGUAGE_ATTRIBUTES)
    if "code" not in checked:
        raise TwimlError("<Language> needs a code such as es-ES")
    inherited = {name: (relay or {}).get(name) for name in LANGUAGE_ATTRIBUTES}
    # A provider of its own comes with its own default voice and model.
    if "ttsProvider" in checked:
        inherited["voice"] = None
    if "transcriptionProvider" in checked:
        inherited["speechModel"] = None
    kept = {name: value for name, value in inherited.items() if value is not None}
    _check_providers({**kept, **checked})
    return checked


def _checked(
    element: str, attributes: Mapping[str, Value], rules: Mapping[str, Rule]
) -> dict[str, str]:
    checked: dict[str, str] = {}
    for name, value in attributes.items():
        if name not in rules:
            raise TwimlError(f"<{element}> has no attribute {name!r}{_hint(str(name), rules)}")
        if value is None:
            continue
        try:
            checked[name] = rules[name].read(value)
        except TwimlError as error:
            raise TwimlError(f"{name} of <{element}> {error}") from None
    return checked


def _hint(name: str, rules: Mapping[str, Rule]) -> str:
    plain = name[:100].replace("_", "").casefold()
    if known := _HINTS.get(plain):
        return f": {known}"
    near = process.extractOne(
        plain, [rule for rule in rules if rule != "url"], processor=str.casefold, score_cutoff=60
    )
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(rules)}"


# How each provider names its voices, as far as that tells it from the others.
_VOICES: Final = {
    "Google": re.compile(r"[a-z]{2,3}-[A-Z]{2}-.+"),
    "Amazon": re.compile(r"[A-Z][a-z]+-(?:Neural|Generative)"),
    "ElevenLabs": re.compile(r"[A-Za-z0-9]{20}(?:-.+)?"),
}
_MODELS: Final = {
    "Google": re.compile(r"telephony|long"),
    "Deepgram": re.compile(r"nova-.+|flux.*"),
}
_OF_SAY: Final = re.compile(r"(Polly|Google)\.(.*)", re.IGNORECASE)


def _check_providers(relay: Mapping[str, str]) -> None:
    """Refuse what is sure to end the session with 64101 or 64106."""
    voice = relay.get("voice", "")
    if wrong := _OF_SAY.fullmatch(voice):
        provider = "Amazon" if wrong[1].casefold() == "polly" else "Google"
        raise TwimlError(
            f"voice {voice!r} is a name for <Say>; here it is "
            f'voice="{wrong[2]}" ttsProvider="{provider}"'
        )
    provider = relay.get("ttsProvider", "ElevenLabs")
    _check_kind("voice", voice, "ttsProvider", provider, _VOICES)
    # Which provider transcribes by default depends on the age of the account.
    stt = relay.get("transcriptionProvider", "")
    _check_kind("speechModel", relay.get("speechModel", ""), "transcriptionProvider", stt, _MODELS)
    if relay.get("ttsLanguage", relay.get("language")) == "multi" and provider != "ElevenLabs":
        raise TwimlError(f'the language "multi" is spoken by ElevenLabs only, not by {provider}')
    if relay.get("transcriptionLanguage", relay.get("language")) == "multi" and stt == "Google":
        raise TwimlError('the language "multi" is understood by Deepgram only, not by Google')


def _check_kind(
    what: str, value: str, where: str, provider: str, kinds: Mapping[str, re.Pattern[str]]
) -> None:
    owners = [name for name, pattern in kinds.items() if pattern.fullmatch(value)]
    if provider and owners and provider not in owners:
        raise TwimlError(f'{what} {value[:60]!r} is of {owners[0]}; set {where}="{owners[0]}"')
