"""Keys pressed one after the other, collected into one input."""

from __future__ import annotations

import msgspec

KEYS = frozenset("0123456789*#ABCD")  # A-D: Telnyx only
_MOST_KEYS = 64  # no number is longer; a stuck key must not fill the model's memory


class Keypad(msgspec.Struct, eq=False):
    """Collects keys; `#` or a pause ends an input.

    pause_s: keys pressed closer together than this are one input.
    """

    _pause_s: float
    pressed: str = ""
    _taken_at: float | None = None

    def is_habit(self, key: str, now: float) -> bool:
        """Whether a key is the habitual `#` after an input that is already being answered."""
        taken_at = self._taken_at
        return (
            key == "#"
            and not self.pressed
            and taken_at is not None
            and now - taken_at <= self._pause_s
        )

    def take(self, now: float, key: str = "") -> str:
        """Give all that was pressed as a note for the model, and begin anew.

        key: a last one that is not in pressed.
        """
        self._taken_at = now
        pressed, self.pressed = self.pressed + key, ""
        more = len(pressed) - _MOST_KEYS
        ending = f" and {more} more keys" if more > 0 else ""
        return f"[The caller pressed {' '.join(pressed[:_MOST_KEYS])}{ending}.]"
