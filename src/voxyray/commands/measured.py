"""Turns as the simulated carrier saw them, for calls whose journal is out of reach."""

from __future__ import annotations

from typing import Any

from voxyray.twin import CallRecord, FrameSeen
from voxyray.waterfall import Cut, Filler, Part, TurnView

_SERVER = "server, model and tools"
_CARRIER = "carrier and text-to-speech"


class _Turn:
    """One turn while the frames are read."""

    def __init__(self, number: int, cause: str, caller: str, at_ms: float) -> None:
        self.number = number
        self.cause = cause
        self.caller = caller
        self.at_ms = at_ms
        self.said = ""
        self.complete = False
        self.fillers: list[Filler] = []
        self.first_ms: float | None = None
        self.audible_ms: float | None = None
        self.cut: Cut | None = None

    def take(self, frame: FrameSeen, data: dict[str, Any]) -> None:
        """Take a frame that came after the turn's beginning."""
        since_ms = round(frame.t_ms - self.at_ms, 3)
        kind = data.get("type")
        if frame.direction == "from_app" and kind == "text":
            self._words(since_ms, data)
        elif kind == "interrupt" and self.said:
            self.cut = Cut("interrupt", since_ms)
        elif kind == "info" and (data.get("name"), data.get("value")) == ("agentSpeaking", "on"):
            started = self.first_ms is not None and self.audible_ms is None
            self.audible_ms = since_ms if started else self.audible_ms

    def _words(self, since_ms: float, data: dict[str, Any]) -> None:
        text = str(data.get("token", ""))
        self.complete = self.complete or bool(data.get("last"))
        if data.get("preemptible"):
            self.fillers.append(Filler(since_ms, text.strip()))
        elif text:
            if self.first_ms is None and text.strip():
                self.first_ms = since_ms
            self.said += text

    def view(self, heard: str) -> TurnView:
        """Give the turn; heard: what was played while it lasted."""
        parts: tuple[Part, ...] = ()
        if self.first_ms is not None:
            ms = None if self.audible_ms is None else round(self.audible_ms - self.first_ms, 3)
            detail = "the carrier did not report it" if ms is None else ""
            parts = (
                Part("server", _SERVER, 0.0, self.first_ms),
                Part("carrier", _CARRIER, self.first_ms, ms, detail),
            )
        return TurnView(
            self.number,
            self.cause,
            self.caller,
            round(self.at_ms, 3),
            said=self.said.strip(),
            heard=heard.strip(),
            cut=self.cut,
            complete=self.complete,
            fillers=tuple(self.fillers),
            parts=parts,
            gap_ms=self.first_ms,
            audible_ms=self.audible_ms,
        )


def measured(record: CallRecord) -> list[TurnView]:
    """Give the turns of a simulated call from its frames; tools and the model are not seen."""
    turns = [_Turn(0, "greeting", "", 0.0)]
    for frame in record.frames:
        data = frame.data
        if data is None:
            continue
        begun = _begins(frame, data, turns[-1])
        if begun is not None:
            turns.append(begun)
        else:
            turns[-1].take(frame, data)
    ends = [turn.at_ms for turn in turns[1:]] + [float("inf")]
    views = []
    for turn, end_ms in zip(turns, ends, strict=True):
        spoken = [s for s in record.spoken if turn.at_ms <= s.t_ms < end_ms]
        if turn.cause == "greeting":
            turn.said = "".join(s.text for s in spoken if s.source == "greeting") + turn.said
        views.append(
            turn.view("".join(s.heard for s in spoken if s.source in ("greeting", "text")))
        )
    return views


def _begins(frame: FrameSeen, data: dict[str, Any], turn: _Turn) -> _Turn | None:
    """Give the turn that a frame begins, if it does; keys in a row are one input."""
    if frame.direction != "to_app":
        return None
    if data.get("type") == "setup" and frame.session:
        return _Turn(turn.number + 1, "greeting", "", frame.t_ms)
    if data.get("type") == "prompt" and data.get("last", True):
        return _Turn(turn.number + 1, "speech", str(data.get("voicePrompt", "")), frame.t_ms)
    if data.get("type") == "dtmf":
        digit = str(data.get("digit", ""))
        if turn.cause == "keys" and not turn.said:
            turn.caller += digit
            turn.at_ms = frame.t_ms
            return None
        return _Turn(turn.number + 1, "keys", digit, frame.t_ms)
    return None
