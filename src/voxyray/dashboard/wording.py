"""How pages put things: durations, moments, and what happened, as people say them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from voxyray.waterfall import Cut, TurnView

_NO_INPUT: Final = {
    "greeting": "the call begins",
    "silence": "the caller says nothing",
    "resume": "nothing more came; the agent goes on",
    "result": "a tool has finished; the agent tells",
    "limit": "the call has lasted long enough",
}
_ENDED: Final = {
    "agent": "by the agent",
    "caller": "by the caller",
    "dropped": "dropped",
    "talking": "talking now",
    "unknown": "end not recorded",
}
_CUT: Final = {
    "interrupt": "the caller cut in",
    "newer": "a newer input replaced it",
    "hangup": "the call ended",
}


def milliseconds(ms: float | None) -> str:
    """Write a short duration; None is unknown."""
    if ms is None:
        return "unknown"
    return f"{ms:.1f} ms" if 0 < ms < 10 else f"{ms:,.0f} ms"


def length(ms: float | None) -> str:
    """Write the length of a call."""
    if ms is None:
        return "unknown"
    minutes, rest = divmod(round(ms / 1000), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{ms / 1000:.1f} s"


def moment(at_s: float | None) -> str:
    """Write a moment in the machine's own time zone."""
    return local(at_s).strftime("%Y-%m-%d %H:%M") if at_s is not None else "unknown"


def clock(at_s: float) -> str:
    """Write a moment of today."""
    return local(at_s).strftime("%H:%M:%S")


def machine(at_s: float | None) -> str:
    """Write a moment for machines."""
    return datetime.fromtimestamp(at_s or 0, UTC).isoformat(timespec="seconds")


def local(at_s: float) -> datetime:
    """Give a moment in the machine's own time zone; at_s is epoch seconds."""
    return datetime.fromtimestamp(at_s).astimezone()


def begins(turn: TurnView) -> str:
    """Say what began a turn that no words began."""
    if turn.cause == "greeting" and turn.number:
        return f"{turn.agent or 'another agent'} takes the call"
    return _NO_INPUT.get(turn.cause, turn.caller or turn.cause)


def cut(how: Cut) -> str:
    """Say who stopped a reply."""
    return _CUT[how.by]


def cents(amount: float | None) -> str:
    """Write money; None is unknown, which is never nothing."""
    if amount is None:
        return "unknown"
    return f"${amount / 100:,.2f}" if amount >= 100 else f"{amount:.2f} ¢"


def counted(number: int, what: str) -> str:
    """Write a number of things."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def address(name: str) -> str:
    """Make a name part of an address: calls' ids may hold any character of an URL."""
    return quote(name, safe="")


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "ms": milliseconds,
    "lasting": length,
    "moment": moment,
    "clock": clock,
    "machine": machine,
    "ended": lambda why: _ENDED.get(why, why),
    "begins": begins,
    "cut": cut,
    "cents": cents,
    "counted": counted,
    "address": address,
}
