"""What Twilio makes of a frame of ours: accept it, accept it with a doubt, or answer 64107.

Written from the reference (3.1-3.7), on purpose without the product's own frame types: a twin that
shares code with what it tests proves nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from voxyray.twin.pipe import Binary


class Verdict(msgspec.Struct, frozen=True):
    """frame: the decoded object if it was one; problem: why it is refused; doubts: warnings."""

    frame: dict[str, Any] | None = None
    problem: str = ""
    doubts: tuple[str, ...] = ()


_Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _address(value: Any) -> bool:
    return isinstance(value, str) and re.match(r"https?://[^/\s]", value) is not None


def _keys(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9w#*]+", value) is not None


# type -> required fields, optional fields
_SHAPES: dict[str, tuple[dict[str, _Check], dict[str, _Check]]] = {
    "text": (
        {"token": _text},
        {"last": _flag, "lang": _text, "interruptible": _flag, "preemptible": _flag},
    ),
    "play": ({"source": _address}, {"loop": _count, "preemptible": _flag, "interruptible": _flag}),
    "sendDigits": ({"digits": _keys}, {}),
    "language": ({}, {"ttsLanguage": _text, "transcriptionLanguage": _text}),
    "end": ({}, {"handoffData": _text}),
}
_UNSETTLED = {"config", "hints"}  # since 2026-10; their JSON is not established


def check(raw: str) -> Verdict:
    """Judge one frame as it came from the socket."""
    frame, problem = _decode(raw)
    if frame is None:
        return Verdict(None, problem)
    kind = frame.get("type")
    if not isinstance(kind, str):
        return Verdict(frame, "it has no type")
    if kind in _UNSETTLED:
        return Verdict(frame, doubts=(f"the twin takes no notice of {kind!r} frames",))
    if kind not in _SHAPES:
        return Verdict(frame, f"unknown type {kind!r}")
    return Verdict(frame, _problem(kind, frame), tuple(_doubts(kind, frame)))


def _decode(raw: str) -> tuple[dict[str, Any] | None, str]:
    if isinstance(raw, Binary):
        return None, "it is binary"
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return None, f"it is not JSON ({error})"
    if not isinstance(value, dict):
        return None, "it is not a JSON object"
    return value, ""


def _problem(kind: str, frame: dict[str, Any]) -> str:
    required, optional = _SHAPES[kind]
    for name, fits in required.items():
        if frame.get(name) is None:
            return f"{kind} needs {name}"
        if not fits(frame[name]):
            return f"{kind} has a wrong {name}"
    for name, fits in optional.items():
        # null is how many encoders write "absent"
        if frame.get(name) is not None and not fits(frame[name]):
            return f"{kind} has a wrong {name}"
    if kind == "language" and not any(frame.get(name) for name in optional):
        return "language needs ttsLanguage or transcriptionLanguage"
    return ""


def _doubts(kind: str, frame: dict[str, Any]) -> list[str]:
    required, optional = _SHAPES[kind]
    known = {"type", *required, *optional}
    found = [f"extra field {name!r} in a {kind} frame" for name in frame if name not in known]
    found += [f"null {name!r} in a {kind} frame" for name in optional if frame.get(name, 0) is None]
    return found
