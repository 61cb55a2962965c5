"""Keys pressed one after the other, collected into one input."""

from __future__ import annotations

KEYS = frozenset("0123456789*#ABCD")  # A-D: Telnyx only
_MOST_KEYS = 64  # no number is longer; a stuck key must not fill the model's memory


class Keypad:
    """Collects keys; `#` or a pause ends an input.

    pause_s: keys pressed closer together than this are one input.
    """

    __slots__ = ("_pause_s", "_taken_at", "pressed")

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._taken_at = float("-inf")
        self.pressed = ""

    def is_habit(self, key: str, now: float) -> bool:
        """Whether a key is the habitual `#` after an input that is already being answered."""
        return key == "#" and not self.pressed and now - self._taken_at <= self._pause_s

    def take(self, now: float, key: str = "") -> str:
        """Give all that was pressed as a note for the model, and begin anew.

        key: a last one that is not in pressed.
        """
        self._taken_at = now
        pressed, self.pressed = self.pressed + key, ""
        more = len(pressed) - _MOST_KEYS
        ending = f" and {more} more keys" if more > 0 else ""
        return f"[The caller pressed {' '.join(pressed[:_MOST_KEYS])}{ending}.]"
