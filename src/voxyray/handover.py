"""What comes after a relay session: another agent, a person, or the end.

Hand-over data is our own, sent with `end` and given back by the carrier; still it is read as any
input: only the reasons below mean anything, and where a call goes is never taken from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal
from xml.etree.ElementTree import Element

import msgspec

from voxyray.carriers import twiml
from voxyray.errors import SettingsError, TwimlError

_CONNECTING: Final = "I'm connecting you to a colleague."
_NOBODY: Final = "I'm sorry, nobody is free to talk right now. Please call again later. Goodbye."
_CUT_OFF: Final = "I'm sorry, we were cut off. Please call again."

# Reasons for which a person takes the call, if there is one.
_FOR_A_PERSON: Final = frozenset({"live-agent-handoff", "model-failure", "application-failure"})
_STUDIO_URL: Final = "https://webhooks.twilio.com/v1/Accounts/{0}/Flows/{1}?Trigger=incomingCall"


class Handoff(msgspec.Struct, frozen=True, rename="camel"):
    """Hand-over data; agent is the name to put the caller through to."""

    reason_code: str = ""
    agent: str = ""
    reason: str = ""
    summary: str = ""

    @property
    def to_person(self) -> bool:
        """Whether a person is to take the call."""
        return self.reason_code in _FOR_A_PERSON


def read_handoff(text: str) -> Handoff:
    """Read hand-over data; what is not ours reads as nothing."""
    try:
        return msgspec.json.decode(text, type=Handoff)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Handoff()


class Target(msgspec.Struct, frozen=True):
    """Where people are: to dial, a queue, a TaskRouter workflow, or a Studio flow."""

    kind: Literal["dial", "queue", "taskrouter", "studio"]
    value: str


def parse_target(text: str) -> Target:
    """Read VOXYRAY_HANDOFF_TO.

    Raises:
        SettingsError: it is none of the forms.
    """
    kind, _, value = text.partition(":")
    target = Target("dial", text)
    if kind in ("queue", "taskrouter", "studio"):
        target = Target(kind, value.strip())  # type: ignore[arg-type]
    try:
        person_verbs(target, "", {}, action="", whisper="")
    except TwimlError as error:
        raise SettingsError(
            f"VOXYRAY_HANDOFF_TO: {error}. Give a number such as +15550100, sip:user@host, "
            "client:name, queue:NAME, taskrouter:WW..., or studio:FW..."
        ) from error
    return target


def person_verbs(
    target: Target, account_sid: str, task: Mapping[str, str], *, action: str, whisper: str
) -> list[Element]:
    """Give the verbs that put the caller through to a person.

    task: what the person must know. action: told how a dial went. whisper: where the TwiML is that
    the person hears before they are connected.

    Raises:
        TwimlError: a target that is none.
    """
    if target.kind == "queue":
        return [twiml.say(_CONNECTING), twiml.enqueue(target.value)]
    if target.kind == "taskrouter":
        return [twiml.say(_CONNECTING), twiml.enqueue(workflow_sid=target.value, task=dict(task))]
    if target.kind == "studio":
        return [twiml.redirect(_STUDIO_URL.format(account_sid or "AC", target.value))]
    return [twiml.say(_CONNECTING), twiml.dial(target.value, action=action, whisper=whisper)]


def ending_verbs(status: str, handoff: Handoff) -> list[Element]:
    """Give the verbs for a session after which nobody takes the call; status is the carrier's."""
    if status == "completed":
        return []
    if status == "failed":
        return [twiml.say(_CUT_OFF), twiml.hangup()]
    if handoff.reason_code == "live-agent-handoff":
        return [twiml.say(_NOBODY), twiml.hangup()]
    return [twiml.hangup()]


def whisper_verbs(head: Mapping[str, Any]) -> list[Element]:
    """Give what a person hears before they are connected to the caller."""
    summary = str(head.get("summary", ""))
    return [twiml.say(summary)] if summary else []
