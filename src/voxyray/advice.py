"""Advice: why a turn was slow, in a sentence, and what can be done about it.

It says only what the waterfall knows. A part that is still open or that the carrier did not report
is said to be unknown, and is never the one to blame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from voxyray.settings import OFFLINE
from voxyray.waterfall import PartKind, TurnView

# From here on people notice that they wait.
SLOW_MS: Final = 800.0
_MUCH_INPUT: Final = 1024  # fewer tokens than this no provider caches


class Advice(msgspec.Struct, frozen=True):
    """Why one turn took its time.

    ms: until the agent was audible where that is known, else until the first words were sent; None
    if there were none. culprit: the kind of part that took most of it; empty if none is known.
    why and fix are whole sentences.
    """

    turn: int
    ms: float | None
    culprit: PartKind | None
    why: str
    fix: str
    unknown: str = ""


def advise(turn: TurnView) -> Advice:
    """Say why a turn took its time."""
    ms = turn.audible_ms if turn.audible_ms is not None else turn.gap_ms
    sums = _sums(turn)
    culprit, most_ms = max(sums.items(), key=lambda item: item[1], default=(None, 0.0))
    unknown = _unknown(turn)
    if ms is None:
        why = f"Turn {turn.number} {_unanswered(turn)}"
    else:
        until = " until it was heard" if turn.audible_ms is not None else ""
        why = f"Turn {turn.number} took {_ms(ms)}{until}"
    if culprit is None:
        return Advice(turn.number, ms, None, f"{why}.", "", unknown)
    who, fix = _CAUSES[culprit](turn)
    of = " of them" if ms is not None else ""
    return Advice(turn.number, ms, culprit, f"{why}: {who} took {_ms(most_ms)}{of}.", fix, unknown)


def _sums(turn: TurnView) -> dict[PartKind, float]:
    """Sum the known parts by kind; two rounds of the model are one thing to complain about."""
    sums: dict[PartKind, float] = {}
    for part in turn.parts:
        if part.ms:
            sums[part.kind] = sums.get(part.kind, 0.0) + part.ms
    return sums


def _unanswered(turn: TurnView) -> str:
    if turn.cut is not None:
        return "was stopped before its first words"
    return "has no first words in the journal"


def _unknown(turn: TurnView) -> str:
    """Say what is not known of the wait."""
    opened = [part for part in turn.parts if part.ms is None]
    if not opened:
        return ""
    part = opened[-1]
    return f"Not known: how long {part.label} took ({part.detail})."


# Who it was, and what to do about it


def _model(turn: TurnView) -> tuple[str, str]:
    rounds = sum(part.kind == "model" for part in turn.parts)
    who = "the model's first token" if rounds == 1 else f"{rounds} rounds of the model"
    fix = "Try a smaller or nearer model (VOXYRAY_MODEL), or shorter instructions."
    if turn.model == OFFLINE:
        fix = "The offline model waits on purpose, as long as a real one would."
    if rounds > 1:
        fix += " Each tool it asks for costs a round: let one tool answer more."
    tokens = turn.tokens
    if tokens is not None and tokens.input_tokens >= _MUCH_INPUT and not tokens.cached_tokens:
        fix += (
            f" None of its {tokens.input_tokens:,} input tokens were cached: put what is the same "
            "for every caller first."
        )
    return who, fix


def _failure(turn: TurnView) -> tuple[str, str]:
    failed = [part for part in turn.parts if part.kind == "failure"]
    said = failed[-1].detail
    who = "a failed attempt" if len(failed) == 1 else f"{len(failed)} failed attempts"
    fix = "Name a second model to fall back to: VOXYRAY_MODEL=openai:FIRST,openai:SECOND."
    return f"{who} of the model ({said})" if said else f"{who} of the model", fix


def _tools(turn: TurnView) -> tuple[str, str]:
    timed = [tool for tool in turn.tools if tool.ms is not None]
    slowest = max(timed, key=lambda tool: tool.ms or 0.0) if timed else None
    labels = [part.label for part in turn.parts if part.kind == "tools" and part.ms]
    who = labels[0] if len(labels) == 1 else f"{len(labels)} rounds of tools"
    name = slowest.name if slowest is not None else "it"
    fix = f"Make {name} faster"
    if not turn.fillers:
        fix += ", or give it a filler (`@tool(filler=...)`) that the caller hears meanwhile"
    return who, f"{fix}."


def _held(_: TurnView) -> tuple[str, str]:
    return (
        "waiting for words that can be spoken",
        (
            "The model began with what is not speech, such as its thinking or a list's marks: "
            "lower its reasoning effort, and ask for plain sentences in the instructions."
        ),
    )


def _voxyray(_: TurnView) -> tuple[str, str]:
    return (
        "voxyray itself",
        (
            "Something kept this process busy: a tool that blocks (make it `async`), or too many "
            "calls for one core. voxyray_event_loop_stall_seconds in /metrics tells for how long."
        ),
    )


def _carrier(_: TurnView) -> tuple[str, str]:
    return (
        "the carrier with its text-to-speech",
        (
            "Try another voice or speech provider (`ttsProvider`), have replies begin with a short "
            "sentence, and serve from a region near the carrier's."
        ),
    )


def _server(_: TurnView) -> tuple[str, str]:
    return "the server with its model and tools", "Its own journal tells more: look there."


_CAUSES: Final[dict[PartKind, Callable[[TurnView], tuple[str, str]]]] = {
    "model": _model,
    "failure": _failure,
    "tools": _tools,
    "held": _held,
    "voxyray": _voxyray,
    "carrier": _carrier,
    "server": _server,
}


def _ms(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms >= 1 else f"{ms:.1f} ms"
