"""The deadlines of a call: named points in time, of which the host is told only the next."""

from __future__ import annotations

import msgspec


class Deadlines(msgspec.Struct, eq=False):
    """Named times, in seconds of the call's clock."""

    _at: dict[str, float] = {}
    _wake: float | None = None

    def arm(self, name: str, at: float) -> None:
        """Set or move a deadline."""
        self._at[name] = at

    def disarm(self, *names: str) -> None:
        """Forget deadlines; unknown ones are fine."""
        for name in names:
            self._at.pop(name, None)

    def clear(self) -> None:
        """Forget them all."""
        self._at.clear()

    def __contains__(self, name: str) -> bool:
        return name in self._at

    @property
    def earliest(self) -> float | None:
        """The next deadline, whatever wake-up was asked for."""
        return min(self._at.values(), default=None)

    def pop_due(self, now: float) -> str | None:
        """Take out the earliest deadline that has passed."""
        name = min(self._at, key=self._at.__getitem__, default=None)
        if name is None or self._at[name] > now:
            return None
        del self._at[name]
        return name

    def woken(self) -> None:
        """Note that the wake-up asked for has come."""
        self._wake = None

    def next_wake(self) -> float | None:
        """Give the time to be woken at, if it is earlier than what was asked for before.

        A deadline that moved later costs nothing: the early wake-up finds nothing due.
        """
        earliest = self.earliest
        if earliest is None or (self._wake is not None and self._wake <= earliest):
            return None
        self._wake = earliest
        return earliest
