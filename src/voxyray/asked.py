"""A model request under way: what it has given so far."""

from __future__ import annotations

from voxyray import journal
from voxyray.models import Finish, ToolCall, Usage
from voxyray.speech import SpeechFilter


class Asked:
    """One request's deltas; texts are (at_ms, text) pairs as the journal keeps them."""

    __slots__ = ("calls", "id", "speech", "texts", "usage")

    def __init__(self, id_: int) -> None:
        self.id = id_
        self.speech = SpeechFilter()
        self.texts: list[tuple[float, str]] = []
        self.calls: list[ToolCall] = []
        self.usage: Usage | None = None

    @property
    def is_silent(self) -> bool:
        """Whether neither words nor a tool call have come yet."""
        return not self.texts and not self.calls

    def output(self, finish: Finish | None) -> journal.ModelOutput:
        """Give all of it for the journal; finish is None if it was cancelled or failed."""
        return journal.ModelOutput(
            self.id,
            tuple(self.texts),
            tuple(self.calls),
            self.usage,
            finish.reason if finish else None,
            finish.model if finish else "",
        )
