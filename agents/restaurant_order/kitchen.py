"""How long an order takes: a rule, so that everybody is told the same."""

from __future__ import annotations

from datetime import datetime

import msgspec

from .hours import Hours, later


class Kitchen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Minutes of the rule; data/menu.toml says what they mean."""

    first_minutes: int
    each_minutes: int
    queue_minutes: int
    queue_most_minutes: int
    delivery_minutes: int
    round_minutes: int

    def minutes(self, items: int, queue: int = 0) -> int:
        """Give how long the kitchen needs; queue: items of other orders that come before."""
        waiting = min(self.queue_most_minutes, self.queue_minutes * max(0, queue))
        needed = self.first_minutes + self.each_minutes * max(0, items - 1) + waiting
        return -(-needed // self.round_minutes) * self.round_minutes

    def wait(self, items: int, queue: int, *, delivery: bool) -> int:
        """Give how many minutes the caller waits, way included."""
        return self.minutes(items, queue) + (self.delivery_minutes if delivery else 0)

    def can_finish(self, hours: Hours, now: datetime, items: int, queue: int = 0) -> bool:
        """Whether an order placed now would be ready before the shop closes."""
        closes = hours.closing(now)
        return closes is not None and later(now, self.minutes(items, queue)) <= closes
