"""TwiML: the few verbs voxyray answers calls with, built as XML and checked.

response(relay("wss://voice.example.com/relay", action="/relay-ended", greeting="Hello!"))
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, SubElement, tostring

from voxyray.carriers.attributes import (
    LANGUAGE_ATTRIBUTES,
    RELAY_ATTRIBUTES,
    TEXT,
    Value,
    clean,
    validate_language,
    validate_relay_attributes,
)
from voxyray.errors import TwimlError

__all__ = [
    "CONTENT_TYPE",
    "LANGUAGE_ATTRIBUTES",
    "RELAY_ATTRIBUTES",
    "dial",
    "enqueue",
    "hangup",
    "redirect",
    "relay",
    "relay_twiml",
    "response",
    "say",
    "validate_language",
    "validate_relay_attributes",
]

CONTENT_TYPE: Final = "text/xml"  # any other is alert 12300 and the end of the call

_E164: Final = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)
_SIP: Final = re.compile(r"sips?:[A-Za-z0-9_.!~*'()%+&=$,;?/-]+@[A-Za-z0-9_.:;=?&%\[\]-]+")
_CLIENT: Final = re.compile(r"client:([A-Za-z0-9_.@+%-]{1,121})")
_WORKFLOW: Final = re.compile(r"WW[0-9a-f]{32}")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def relay_twiml(
    url: str,
    *,
    action: str,
    attributes: Mapping[str, Value] | None = None,
    parameters: Mapping[str, Value] | None = None,
    languages: Sequence[Mapping[str, Value]] = (),
    greeting: str = "",
) -> bytes:
    """Give the whole answer that connects a call to the relay; see `relay`."""
    return response(
        relay(
            url,
            action=action,
            attributes=attributes,
            parameters=parameters,
            languages=languages,
            greeting=greeting,
        )
    )


def relay(
    url: str,
    *,
    action: str,
    attributes: Mapping[str, Value] | None = None,
    parameters: Mapping[str, Value] | None = None,
    languages: Sequence[Mapping[str, Value]] = (),
    greeting: str = "",
) -> Element:
    """Give <Connect> with a relay session.

    url: `wss://`, or `ws://` on this machine, for the twin. action: asked what comes next when
    the session ends; without it a dropped socket is the end of the call. attributes: by their
    TwiML names. parameters: arrive in `setup` as strings. languages: attributes of <Language>.
    greeting: spoken by the carrier, in place of any in attributes; it is spoken again whenever a
    call is given fresh relay TwiML.

    Raises:
        TwimlError: anything Twilio would ignore or refuse; the message says what to write.
    """
    checked = validate_relay_attributes(attributes or {})
    if greeting:
        checked["welcomeGreeting"] = clean(greeting)
    connect = Element("Connect", {"action": _http(action, "action")})
    session = SubElement(connect, "ConversationRelay", {"url": _relay_url(url), **checked})
    for language in languages:
        SubElement(session, "Language", validate_language(language, checked))
    for name, value in (parameters or {}).items():
        SubElement(session, "Parameter", {"name": _name(name), "value": _parameter(name, value)})
    return connect


def say(text: str, *, language: str = "", voice: str = "") -> Element:
    """Give <Say>; its voices are named unlike the relay's (`Polly.Joanna`)."""
    options = {"language": clean(language), "voice": clean(voice)}
    verb = Element("Say", {name: value for name, value in options.items() if value})
    verb.text = clean(text)
    return verb


def hangup() -> Element:
    """Give <Hangup>."""
    return Element("Hangup")


def dial(
    target: str, *, action: str = "", timeout_s: int = 20, caller_id: str = "", whisper: str = ""
) -> Element:
    """Give <Dial> to a number (E.164), a `sip:` address or a `client:` identity.

    The caller hears ringing until the target answers; action is told how it went. whisper: the
    URL of TwiML that whoever answers hears before they are connected.

    Raises:
        TwimlError: another kind of target or caller id, or a time-out outside 5-600 s.
    """
    if not 5 <= timeout_s <= 600:
        raise TwimlError(f"a dial rings for 5 to 600 s, not {timeout_s}")
    if caller_id and not (_E164.fullmatch(caller_id) or _CLIENT.fullmatch(caller_id)):
        raise TwimlError("caller_id must be a number such as +18005550100, or a client:identity")
    options = {"answerOnBridge": "true", "timeout": str(int(timeout_s))}
    options |= {"action": _http(action, "action")} if action else {}
    verb = Element("Dial", options | ({"callerId": caller_id} if caller_id else {}))
    first = {"url": _http(whisper, "whisper")} if whisper else {}
    if _E164.fullmatch(target):
        SubElement(verb, "Number", first).text = target
    elif _SIP.fullmatch(target) and len(target) <= 255:
        SubElement(verb, "Sip", first).text = target
    elif client := _CLIENT.fullmatch(target):
        SubElement(verb, "Client", first).text = client[1]
    else:
        raise TwimlError(
            f"cannot dial {target[:60]!r}; give a number such as +18005550100, "
            "sip:user@host or client:identity"
        )
    return verb


def enqueue(
    queue: str = "",
    *,
    workflow_sid: str = "",
    task: Mapping[str, Any] | None = None,
    action: str = "",
    wait_url: str = "",
) -> Element:
    """Give <Enqueue>: a named queue, or a TaskRouter workflow with the task's attributes.

    Raises:
        TwimlError: both or neither, no workflow's SID, or a task that is no JSON object.
    """
    if bool(queue) == bool(workflow_sid):
        raise TwimlError("enqueue needs a queue's name or a workflow_sid, and not both")
    options = {"action": _http(action, "action")} if action else {}
    options |= {"waitUrl": _http(wait_url, "wait_url")} if wait_url else {}
    if queue:
        if task is not None:
            raise TwimlError("a task goes to a workflow: give workflow_sid in place of a queue")
        verb = Element("Enqueue", options)
        verb.text = _name(queue)
        return verb
    if not _WORKFLOW.fullmatch(workflow_sid):
        raise TwimlError(f"a workflow's SID is WW and 32 hex digits, not {workflow_sid[:60]!r}")
    verb = Element("Enqueue", {"workflowSid": workflow_sid, **options})
    SubElement(verb, "Task").text = _json(task or {})
    return verb


def redirect(url: str) -> Element:
    """Give <Redirect>: the call goes on with the TwiML at this address, such as a Studio flow's.

    Raises:
        TwimlError: neither an http(s) URL nor a path.
    """
    verb = Element("Redirect")
    verb.text = _http(url, "redirect")
    return verb


def response(*verbs: Element) -> bytes:
    """Give the answer to a webhook, UTF-8; with no verbs the call ends."""
    root = Element("Response")
    root.extend(verbs)
    text = tostring(root, encoding="unicode", short_empty_elements=True)
    return b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode()


def _relay_url(url: str) -> str:
    scheme, host, fragment = _split(url, "the relay's url")
    local = scheme == "ws" and host in _LOOPBACK
    if not (scheme == "wss" or local) or not host or fragment:
        raise TwimlError(f"the relay's url must be wss://host/path, not {url[:100]!r}")
    return url


def _http(url: str, what: str) -> str:
    scheme, host, _ = _split(url, what)
    path = not scheme and not host and url.startswith("/")
    if not path and not (scheme in ("http", "https") and host):
        raise TwimlError(f"{what} must be an http(s) URL or a path such as /voice, not {url!r}")
    return url


def _split(url: str, what: str) -> tuple[str, str, str]:
    # What urlsplit quietly removes, or XML would, must not make two URLs out of one.
    if clean(url) != url or re.search(r"\s", url) or "\\" in url:
        raise TwimlError(f"{what} has characters that no URL has: {url[:100]!r}")
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.fragment
    except ValueError as error:
        raise TwimlError(f"{what} is no URL: {error}") from error


def _name(name: str) -> str:
    if not clean(name).strip():
        raise TwimlError(f"a name cannot be empty: {name!r}")
    return clean(name)


def _parameter(name: str, value: Value) -> str:
    try:
        return TEXT.read(value)
    except TwimlError as error:
        raise TwimlError(f"<Parameter> {name!r} {error}") from None


def _json(task: Mapping[str, Any]) -> str:
    try:
        return clean(json.dumps(dict(task), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise TwimlError(f"a task must be a JSON object: {error}") from error
