"""Calls as JSON: one shape for `voxyray call`, and for `voxyray show`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from voxyray.transcript import ToolView
from voxyray.twin import CallRecord, Ending
from voxyray.waterfall import TurnView

# Hand-over reasons of ours that mean the agent could not do its work.
_TROUBLE: Final = ("model-failure", "application-failure")

_REFUSED: Final = (
    "the server refuses our signature (403): TWILIO_AUTH_TOKEN and VOXYRAY_PUBLIC_URL must be the "
    "same here as there"
)


def turn(view: TurnView) -> dict[str, Any]:
    """Give a turn as plain values; times are milliseconds, unknown ones null."""
    values: dict[str, Any] = msgspec.to_builtins(view)
    values["tools"] = [tool(each) for each in view.tools]
    values["silence_ms"] = view.silence_ms
    values["culprit"] = view.culprit.label if view.culprit is not None else None
    return values


def tool(view: ToolView) -> dict[str, Any]:
    """Give a tool call; arguments that are JSON are given as values."""
    values: dict[str, Any] = msgspec.to_builtins(view)
    with contextlib.suppress(msgspec.DecodeError):
        values["arguments"] = msgspec.json.decode(view.arguments)
    return values


def call(
    record: CallRecord,
    turns: Sequence[TurnView],
    *,
    source: str,
    problems: Sequence[str],
) -> dict[str, Any]:
    """Give a simulated call; source: `journal`, or `carrier` for what only it has measured."""
    return {
        "call": record.call_sid,
        "ok": not problems,
        "duration_ms": round(record.duration_ms, 3),
        "source": source,
        "turns": [turn(view) for view in turns],
        "frames": [
            {
                "t_ms": round(frame.t_ms, 3),
                "direction": frame.direction,
                "session": frame.session,
                "frame": frame.data if frame.data is not None else frame.text,
            }
            for frame in record.frames
        ],
        "ending": ending(record.ending),
        "problems": list(problems),
        "errors": [msgspec.to_builtins(fault) for fault in record.errors],
        "warnings": list(record.warnings),
    }


def ending(end: Ending | None) -> dict[str, Any] | None:
    """Give how the last session ended; by: `caller`, `agent` or `failure`."""
    if end is None:
        return None
    by = {"completed": "caller", "ended": "agent"}.get(end.status, "failure")
    return {"by": by, **msgspec.to_builtins(end)}


def problems(record: CallRecord, *, left: int = 0, trouble: str = "") -> list[str]:
    """Say what was not well about a simulated call; empty if it ended well."""
    if any(post.status == 403 for post in record.posts):
        return [_REFUSED]
    found = [f"error {fault.code}: {fault.text}" for fault in record.errors]
    end = record.ending
    if end is None and not found:
        found.append("the call was not connected")
    reason = handoff_reason(end)
    if reason in _TROUBLE:
        found.append(f"the agent gave up: {reason}")
    if trouble:
        found.append(trouble)
    if left and end is not None:
        lines = "line was" if left == 1 else "lines were"
        found.append(f"{left} {lines} not said: the call was over before")
    return found


def handoff_reason(end: Ending | None) -> str:
    """Give the reason in the hand-over data, if there is one."""
    if end is None or not end.handoff_data:
        return ""
    try:
        data = msgspec.json.decode(end.handoff_data)
    except msgspec.DecodeError:
        return ""
    return str(data.get("reasonCode", "")) if isinstance(data, dict) else ""


def how_it_ended(end: Ending | None) -> str:
    """Say in words how the call ended."""
    if end is None:
        return "not connected"
    if end.status == "failed":
        return f"failed: {end.error_message or end.error_code}"
    if end.status == "completed":
        return "the caller hung up"
    reason = handoff_reason(end)
    return f"the agent ended the call ({reason})" if reason else "the agent ended the call"
