"""A model request under way: what it has given so far."""

from __future__ import annotations

from typing import Final, Literal

from voxyray import journal
from voxyray.models import Finish, ToolCall, Usage
from voxyray.speech import SpeechFilter

_MOST_TEXTS: Final = 5000
_MOST_CHARS: Final = 80_000  # an hour and a half of speech


class Asked:
    """One request's deltas; texts are (at_ms, text) pairs as the journal keeps them.

    seqs: for each text, the number of the journal entry that was next when it came.
    """

    __slots__ = ("calls", "id", "others", "seqs", "speech", "texts", "usage")

    def __init__(self, id_: int) -> None:
        self.id = id_
        self.speech = SpeechFilter()
        self.texts: list[tuple[float, str]] = []
        self.seqs: list[int] = []
        self.others: list[journal.Arrival] = []
        self.calls: list[ToolCall] = []
        self.usage: Usage | None = None

    @property
    def is_silent(self) -> bool:
        """Whether neither words nor a tool call have come yet."""
        return not self.texts and not self.calls

    def note(self, kind: Literal["call", "usage"], at_ms: float, seq: int) -> None:
        """Note when a tool call or usage came."""
        self.others.append(journal.Arrival(kind, at_ms, len(self.texts), seq))

    def output(self, finish: Finish | None) -> journal.ModelOutput:
        """Give all of it for the journal; finish is None if it was cancelled or failed."""
        texts, steps = self.texts, _steps(self.seqs)
        if len(texts) > _MOST_TEXTS or sum(len(text) for _, text in texts) > _MOST_CHARS:
            # An entry has a largest size; what nobody can have listened to loses its timing.
            words = "".join(text for _, text in texts)
            texts, steps = [(texts[0][0], words[:_MOST_CHARS])], ()
        return journal.ModelOutput(
            self.id,
            tuple(texts),
            tuple(self.calls),
            self.usage,
            finish.reason if finish else None,
            finish.model if finish else "",
            steps,
            tuple(self.others),
            finish.attempts if finish else (),
        )


def _steps(seqs: list[int]) -> tuple[tuple[int, int], ...]:
    """Give the places where the numbers change: frames are far fewer than words."""
    before = (-1, *seqs)
    return tuple((n, seq) for n, seq in enumerate(seqs) if seq != before[n])
