"""Asking a second model when the first is late: the first to speak wins, the other is cancelled.

Late is what nine of ten requests of that model lately were not. A budget bounds how many requests
are made twice, so that a provider that has become slow is not asked twice for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from voxyray.errors import ModelError
from voxyray.models import Delta, Finish, Model, ModelRequest, Outcome, Usage
from voxyray.models.breaker import Breaker
from voxyray.models.quantile import DecayedQuantile

SHARE: Final = 0.1  # of the requests may be asked twice
LATE: Final = 0.9
START_S: Final = 0.9  # late, as long as nothing is learned
ENOUGH: Final = 10  # observations
LEAST_S: Final = 0.2  # below, nobody hears the difference
MOST_S: Final = 3.0
_OF_MEDIAN: Final = 2.0
_SAVED_AT_START: Final = 3.0  # as many as it takes to find out that a model is dead
_MOST_SAVED: Final = 5.0


class Member:
    """One of several models, and what is known of it; group: models that stand in for it early."""

    def __init__(self, model: Model, group: int) -> None:
        self.model = model
        self.group = group
        self.breaker = Breaker()
        self.first_tokens = DecayedQuantile()

    @property
    def late_after_s(self) -> float:
        """When its first token is late: at the p90 it has shown.

        Where one request in ten is slow, the p90 lies among the slow ones; so it is no more than
        twice the median.
        """
        if self.first_tokens.count < ENOUGH:
            return START_S
        late_s = min(self.first_tokens.at(LATE), _OF_MEDIAN * self.first_tokens.at(0.5))
        return min(max(late_s, LEAST_S), MOST_S)


class Budget:
    """Lets a share of the requests be asked twice; what is not used is saved for a few."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = _SAVED_AT_START

    def earn(self) -> None:
        """Note a request."""
        self._saved = min(_MOST_SAVED, self._saved + self._share)

    def spend(self) -> bool:
        """Tell whether one may be asked twice now."""
        if self._saved < 1 - 1e-9:
            return False
        self._saved -= 1
        return True


class Leg:
    """One request to one model.

    first: its first words, tool call or finish. held: what is passed on only with the finish.
    at: when it was asked, in seconds of the loop's clock. is_late: another was asked because of
    that. outcome: None until it is known.
    """

    __slots__ = (
        "_closing",
        "at",
        "first",
        "held",
        "is_late",
        "member",
        "outcome",
        "stream",
        "task",
    )

    def __init__(self, member: Member, request: ModelRequest) -> None:
        self.member = member
        self.stream: AsyncGenerator[Delta, None] = member.model.stream(request)
        self.first: Delta | None = None
        self.held: list[Delta] = []
        self.at = asyncio.get_running_loop().time()
        self.is_late = False
        self.outcome: Outcome | None = None
        self.task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def age_s(self) -> float:
        """How long ago it was asked."""
        return asyncio.get_running_loop().time() - self.at

    async def listen(self) -> None:
        """Wait for `first`.

        Raises:
            ModelError: it failed before.
        """
        async for delta in self.stream:
            if not isinstance(delta, Usage):
                self.first = delta
                self.member.first_tokens.add(self.age_s)
                return
            self.held.append(delta)
        raise ended_early(self.member.model)

    def start(self) -> asyncio.Task[None]:
        """Listen in a task, so that others can be listened to meanwhile."""
        self.task = asyncio.get_running_loop().create_task(self.listen())
        return self.task

    def cancel(self) -> bool:
        """Cancel it at once, and close what it may have begun to say; true if it was late."""
        was_running = self.task is not None and self.task.cancel()
        self._closing = asyncio.get_running_loop().create_task(self._close())
        # Timers may be early by a little, so its age alone does not tell.
        if not was_running or not (self.is_late or self.age_s >= self.member.late_after_s):
            return False
        # Not known how late, but without it the model would seem quicker than it is.
        self.member.first_tokens.add(self.age_s)
        return True

    async def close(self) -> None:
        """Close the stream, whatever state it is in."""
        await (self._close() if self._closing is None else self._closing)

    async def _close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait((self.task,))
            if not self.task.cancelled():
                self.task.exception()  # else asyncio complains that nobody looked
        with contextlib.suppress(ModelError):
            await self.stream.aclose()


def failure_of(leg: Leg) -> ModelError | None:
    """Give why a leg that has ended said nothing; None if it spoke.

    Raises:
        Exception: it failed otherwise, which is a bug in its model.
    """
    error = leg.task.exception() if leg.task is not None else None
    if error is None or isinstance(error, ModelError):
        return error
    raise error


async def wait_for_any(legs: Sequence[Leg], timeout_s: float | None = None) -> bool:
    """Wait until one of these has spoken or failed; false if the time passed before."""
    tasks = [leg.task for leg in legs if leg.task is not None]
    done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


def is_silent(leg: Leg) -> bool:
    """Tell whether it ended without a word."""
    return isinstance(leg.first, Finish)


def ended_early(model: Model) -> ModelError:
    """Give the error for a stream that just stops."""
    return ModelError(
        f"{model.name}: the stream ended without a finish",
        loggable=f"{model.name}: the stream ended without a finish",
    )
