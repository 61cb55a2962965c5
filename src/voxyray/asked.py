"""A model request under way: what it has given so far."""

from __future__ import annotations

from typing import Final

from voxyray import journal
from voxyray.models import Finish, ToolCall, Usage
from voxyray.speech import SpeechFilter

_MOST_TEXTS: Final = 5000
_MOST_CHARS: Final = 80_000  # an hour and a half of speech


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
        texts = self.texts
        if len(texts) > _MOST_TEXTS or sum(len(text) for _, text in texts) > _MOST_CHARS:
            # An entry has a largest size; what nobody can have listened to loses its timing.
            words = "".join(text for _, text in texts)
            texts = [(texts[0][0], words[:_MOST_CHARS])]
        return journal.ModelOutput(
            self.id,
            tuple(texts),
            tuple(self.calls),
            self.usage,
            finish.reason if finish else None,
            finish.model if finish else "",
        )
