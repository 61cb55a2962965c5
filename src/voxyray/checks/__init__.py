"""What `voxyray doctor` looks at: is everything there that a call needs, and does it work.

A check is a coroutine function that is given a `Setup` and gives findings; it changes nothing that
anybody would notice. No finding holds a secret or somebody's number in full.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from voxyray.carriers.numbers import Account, Number, Standing
from voxyray.settings import Settings

Level = Literal["ok", "warning", "broken"]

REQUEST_WITHIN_S: Final = 8.0


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    level: `broken` keeps calls from going well. fix: what to do, or good to know. ms: how long
    what was asked took to answer.
    """

    check: str
    level: Level
    said: str
    fix: str = ""
    ms: float | None = None


def ok(check: str, said: str, fix: str = "", ms: float | None = None) -> Finding:
    """Find that all is well."""
    return Finding(check, "ok", said, fix, ms)


def warning(check: str, said: str, fix: str, ms: float | None = None) -> Finding:
    """Find something that calls can live with, or that could not be looked at."""
    return Finding(check, "warning", said, fix, ms)


def broken(check: str, said: str, fix: str, ms: float | None = None) -> Finding:
    """Find something that keeps calls from going well."""
    return Finding(check, "broken", said, fix, ms)


class Setup:
    """What is examined, and what checks learn from each other.

    agent: what `voxyray serve` would be given, None for all of agents/. account: at Twilio, None
    if the settings name none. clocks: by whose it is, how many seconds it is ahead of ours.
    within_s: for each request.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        agent: str | None = None,
        account: Account | None = None,
        within_s: float = REQUEST_WITHIN_S,
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.agent = agent
        self.account = account
        self.within_s = within_s
        self.clocks: dict[str, float] = {}
        masked = [name for name, shown in settings.__rich_repr__() if shown == "***"]
        self.secrets: list[str] = [getattr(settings, name) for name in masked]
        self._standing: asyncio.Task[Standing] | None = None
        self._numbers: asyncio.Task[list[Number]] | None = None

    def note_clock(self, whose: str, clock_s: float | None) -> None:
        """Remember what somebody's clock said just now."""
        if clock_s is not None:
            self.clocks[whose] = clock_s - time.time()

    async def standing(self) -> Standing:
        """Ask Twilio how the account is, once for all checks; there must be one.

        Raises:
            CarrierError: Twilio refused it or cannot be asked.
        """
        if self._standing is None:
            self._standing = asyncio.create_task(self._account().standing())
        return await asyncio.shield(self._standing)

    async def numbers(self) -> list[Number]:
        """Ask Twilio for the account's numbers, once for all checks; there must be one.

        Raises:
            CarrierError: Twilio refused it or cannot be asked.
        """
        if self._numbers is None:
            self._numbers = asyncio.create_task(self._account().numbers())
        return await asyncio.shield(self._numbers)

    async def close(self) -> None:
        """End what was asked and nobody waits for any more."""
        tasks = [task for task in (self._standing, self._numbers) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _account(self) -> Account:
        if self.account is None:
            raise RuntimeError("the settings name no account")
        return self.account
