"""The circuit breaker: whether a model may be asked first, judged by how it did lately.

                  failures in a row, or too many of late
    closed ------------------------------------------------> open
      ^                                                        |  a pause passes
      |  the probe answers                                     v
      +--------------------------------------------------- half open
                 (the probe fails: open again, for twice the pause)

It holds no clock and does no I/O: times are seconds of one monotonic clock, given by its owner.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half open"]

FAILURES: Final = 3  # in a row
RATE: Final = 0.5  # of the last dozen or so
PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 60.0
_RECENT: Final = 0.1  # what the newest outcome weighs in the rate


class Breaker:
    """Judges one model.

    After a probe that answered it is closed on trial: the first real failure opens it again, for
    longer than before; the first real answer forgets all.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._rate = 0.0
        self._open_until: float | None = None
        self._pause_s = PAUSE_S
        self._probing = False

    def state(self, now: float) -> State:
        """Tell whether it may be asked first (closed), last (open), or should be probed."""
        if self._open_until is None:
            return "closed"
        return "half open" if self._probing or now >= self._open_until else "open"

    def succeeded(self) -> None:
        """Note that it gave a caller an answer."""
        self._in_a_row = 0
        self._rate *= 1 - _RECENT
        self._open_until = None
        self._pause_s = PAUSE_S

    def failed(self, now: float) -> bool:
        """Note that it failed; true if that opened it."""
        self._in_a_row += 1
        self._rate += (1 - self._rate) * _RECENT
        if self._open_until is not None:
            # Asked for want of a better one, or one of many calls that found out together.
            if now >= self._open_until:
                self._open(now)
            return False
        if self._in_a_row < FAILURES and self._rate < RATE:
            return False
        self._open(now)
        return True

    def begin_probe(self, now: float) -> bool:
        """Tell whether to probe it now; once, until that probe has ended."""
        if self._probing or self.state(now) != "half open":
            return False
        self._probing = True
        return True

    def end_probe(self, now: float, *, answered: bool | None) -> None:
        """Note how a probe went; None if it was given up, which tells nothing."""
        self._probing = False
        if answered is None or self._open_until is None:
            return
        if answered:
            self._open_until = None
            self._in_a_row = FAILURES - 1
        else:
            self._open(now)

    def _open(self, now: float) -> None:
        self._open_until = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._rate = 0.0
