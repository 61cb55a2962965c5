"""Reads TwiML as Twilio would, strictly.

Malformed XML is 12100, a wrong content type 12300, an unknown verb 12200, an impossible relay
attribute 64101. One concession to laptops: the relay url may be ws:// on a loopback address.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from voxyray.twin.attributes import INVALID, Language, RelayAttributes, read_attributes
from voxyray.twin.errors import TwinRefused

CONTENT_TYPES = ("text/xml", "application/xml", "text/html")
_PARSE, _SCHEMA, _CONTENT_TYPE = 12100, 12200, 12300


class Say(msgspec.Struct, frozen=True, tag=True):
    """Speak a text, then go on."""

    text: str
    loop: int = 1


class Play(msgspec.Struct, frozen=True, tag=True):
    """Play a file, then go on."""

    url: str
    loop: int = 1


class Pause(msgspec.Struct, frozen=True, tag=True):
    """Be silent for a while."""

    length_s: float = 1


class Hangup(msgspec.Struct, frozen=True, tag=True):
    """End the call."""


class Reject(msgspec.Struct, frozen=True, tag=True):
    """Refuse the call."""

    reason: str = "rejected"


class Redirect(msgspec.Struct, frozen=True, tag=True):
    """Go on with the TwiML at another URL."""

    url: str
    method: str = "POST"


class Dial(msgspec.Struct, frozen=True, tag=True):
    """Connect the caller to somebody; targets are numbers, SIP addresses or conference names."""

    targets: tuple[str, ...]
    action: str = ""
    method: str = "POST"


class Enqueue(msgspec.Struct, frozen=True, tag=True):
    """Put the caller into a queue, or make a task of the call."""

    name: str
    workflow_sid: str = ""
    task: str = ""
    action: str = ""
    method: str = "POST"


class Connect(msgspec.Struct, frozen=True, tag=True):
    """Open a relay session; action is asked what to do after it."""

    relay: RelayAttributes
    action: str = ""
    method: str = "POST"


class NotPlayed(msgspec.Struct, frozen=True, tag=True):
    """A verb that Twilio knows and the twin passes over."""

    name: str


Verb: TypeAlias = (
    Say | Play | Pause | Hangup | Reject | Redirect | Dial | Enqueue | Connect | NotPlayed
)
_Warn: TypeAlias = Callable[[str], None]

_PASSED_OVER = {
    "Gather",
    "Leave",
    "Pay",
    "Prompt",
    "Queue",
    "Record",
    "Refer",
    "Siprec",
    "Sms",
    "Start",
    "Stop",
}


def read(body: str, content_type: str, *, warn: _Warn) -> tuple[Verb, ...]:
    """Read a TwiML answer; an empty `<Response/>` gives no verbs.

    warn: told of what Twilio ignores silently.

    Raises:
        TwinRefused: Twilio would raise an alert and end the call; code says which.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES:
        raise TwinRefused(_CONTENT_TYPE, f"content type {content_type!r} is no TwiML")
    root = _parse(body)
    if root.tag != "Response":
        raise TwinRefused(_PARSE, f"the root is <{root.tag}>, not <Response>")
    return tuple(_verb(element, warn) for element in root)


def _parse(body: str) -> ET.Element:
    if "<!DOCTYPE" in body or "<!ENTITY" in body:
        raise TwinRefused(_PARSE, "TwiML has no document type")
    try:
        # Without a DOCTYPE there are no entities to expand.
        return ET.fromstring(body.strip().encode())  # noqa: S314
    except (ET.ParseError, ValueError, LookupError) as error:
        raise TwinRefused(_PARSE, f"not well-formed: {error}") from error


def _verb(element: ET.Element, warn: _Warn) -> Verb:
    reader = _READERS.get(element.tag)
    if reader is not None:
        return reader(element, warn)
    if element.tag in _PASSED_OVER:
        warn(f"the twin passes over <{element.tag}>")
        return NotPlayed(element.tag)
    raise TwinRefused(_SCHEMA, f"there is no verb <{element.tag}>")


def _words(element: ET.Element) -> str:
    return "".join(element.itertext()).strip()


def _number(element: ET.Element, name: str, default: int) -> int:
    text = element.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise TwinRefused(_SCHEMA, f"<{element.tag} {name}={text!r}> is no number")
    return int(text)


def _method(element: ET.Element) -> str:
    method = element.get("method", "POST").upper()
    if method not in ("GET", "POST"):
        raise TwinRefused(_SCHEMA, f"<{element.tag} method={method!r}> must be GET or POST")
    return method


def _required(element: ET.Element, value: str) -> str:
    if not value:
        raise TwinRefused(_SCHEMA, f"<{element.tag}> is empty")
    return value


def _say(element: ET.Element, _warn: _Warn) -> Say:
    return Say(_words(element), _number(element, "loop", 1))


def _play(element: ET.Element, _warn: _Warn) -> Play:
    return Play(
        element.get("digits") or _required(element, _words(element)), _number(element, "loop", 1)
    )


def _pause(element: ET.Element, _warn: _Warn) -> Pause:
    return Pause(_number(element, "length", 1))


def _hangup(_element: ET.Element, _warn: _Warn) -> Hangup:
    return Hangup()


def _reject(element: ET.Element, _warn: _Warn) -> Reject:
    return Reject(element.get("reason", "rejected"))


def _redirect(element: ET.Element, _warn: _Warn) -> Redirect:
    return Redirect(_required(element, _words(element)), _method(element))


def _dial(element: ET.Element, _warn: _Warn) -> Dial:
    nouns = tuple(_words(child) for child in element)
    own = (element.text or "").strip()
    targets = nouns or ((own,) if own else ())
    _required(element, "".join(targets))
    return Dial(targets, element.get("action", ""), _method(element))


def _enqueue(element: ET.Element, _warn: _Warn) -> Enqueue:
    task = element.find("Task")
    return Enqueue(
        (element.text or "").strip(),
        element.get("workflowSid", ""),
        _words(task) if task is not None else "",
        element.get("action", ""),
        _method(element),
    )


def _connect(element: ET.Element, warn: _Warn) -> Connect:
    for name in element.attrib:
        if name not in ("action", "method"):
            warn(f"Connect ignores the unknown attribute {name!r}")
    if len(element) != 1:
        raise TwinRefused(_SCHEMA, f"<Connect> needs exactly one noun, not {len(element)}")
    noun = element[0]
    if noun.tag != "ConversationRelay":
        raise TwinRefused(_SCHEMA, f"the twin knows no <Connect><{noun.tag}>")
    return Connect(_relay(noun, warn), element.get("action", ""), _method(element))


def _relay(element: ET.Element, warn: _Warn) -> RelayAttributes:
    languages: list[Language] = []
    parameters: dict[str, str] = {}
    for child in element:
        if child.tag == "Language":
            languages.append(_language(child, warn))
        elif child.tag == "Parameter":
            if not child.get("name"):
                raise TwinRefused(INVALID, "<Parameter> needs a name")
            parameters[child.attrib["name"]] = child.get("value", "")
        elif child.tag != "Failover":
            warn(f"ConversationRelay ignores the unknown element <{child.tag}>")
    return read_attributes(
        element.attrib, languages=tuple(languages), parameters=parameters, warn=warn
    )


def _language(element: ET.Element, warn: _Warn) -> Language:
    names = {"ttsProvider", "voice", "transcriptionProvider", "speechModel"}
    for name in element.attrib.keys() - names - {"code"}:
        warn(f"Language ignores the unknown attribute {name!r}")
    if not element.get("code"):
        raise TwinRefused(INVALID, "<Language> needs a code")
    return Language(
        element.attrib["code"],
        element.get("ttsProvider", ""),
        element.get("voice", ""),
        element.get("transcriptionProvider", ""),
        element.get("speechModel", ""),
    )


_READERS: dict[str, Callable[[ET.Element, _Warn], Verb]] = {
    "Say": _say,
    "Play": _play,
    "Pause": _pause,
    "Hangup": _hangup,
    "Reject": _reject,
    "Redirect": _redirect,
    "Dial": _dial,
    "Enqueue": _enqueue,
    "Connect": _connect,
}
