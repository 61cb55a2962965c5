"""Which agents there are: those of the bundle, and those that only the table knows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from voxyray import definitions
from voxyray.agent import Agent
from voxyray.errors import AgentError, VoxyrayError
from voxyray.stores import Store
from voxyray.tool_definitions import MakeTool
from voxyray.tracebacks import traced

_log = logging.getLogger(__name__)

EVERY_S: Final = 60.0
_AGAIN_S: Final = 5.0  # after the table could not be read


class Roster:
    """The agents that can answer, by name; the table is read by `refresh`, and seldom.

    bundle: the agents whose folders are at hand. make_tool: makes the tools of stored agents;
    without it there are only the bundle's. clock: seconds, monotonic.
    """

    def __init__(
        self,
        bundle: Sequence[Agent],
        store: Store,
        make_tool: MakeTool | None = None,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bundle = {agent.name: agent for agent in bundle}
        self._store = store
        self._make_tool = make_tool
        self._every_s = every_s
        self._clock = clock
        self._agents = self._bundle
        self._seen: dict[str, int] = {}  # the version of each stored definition that was read
        self._due: float | None = None
        self._reading = asyncio.Lock()

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents as they were at the last refresh; another mapping after each change."""
        return self._agents

    @property
    def fallback(self) -> Agent | None:
        """Who takes callers without a choice: the one named `default`, else the first."""
        return self._agents.get("default") or next(iter(self._agents.values()), None)

    async def refresh(self) -> None:
        """Read the table again, if that was long ago; never raises.

        What cannot be read or used leaves the last good agents in force.
        """
        # Nobody but the first waits for somebody else's refresh: there are agents already.
        if self._make_tool is None or not self._is_due() or (self._reading.locked() and self._due):
            return
        async with self._reading:
            if not self._is_due():
                return
            wait_s = _AGAIN_S
            try:
                await self._read(self._make_tool)
                wait_s = self._every_s
            except VoxyrayError as error:
                _log.error("the stored agents cannot be read: %s", error)
            except Exception as error:  # noqa: BLE001 - a call must not fail for it
                _log.error("the stored agents cannot be read: %s", traced(error))
            self._due = self._clock() + wait_s

    def _is_due(self) -> bool:
        return self._due is None or self._clock() >= self._due

    async def _read(self, make_tool: MakeTool) -> None:
        versions = await definitions.listed(self._store)
        changed = [name for name, version in versions.items() if self._seen.get(name) != version]
        read = await asyncio.gather(*(self._one(name, make_tool) for name in changed))
        agents = {name: self._agents[name] for name in versions if name in self._agents}
        agents |= {agent.name: agent for agent in read if agent is not None}
        self._seen = versions
        self._agents = {**self._bundle, **agents}

    async def _one(self, name: str, make_tool: MakeTool) -> Agent | None:
        """Give an agent as it is stored; None if that cannot be used."""
        base = self._bundle.get(name)
        try:
            edit = await definitions.stored(self._store, name)
            if edit is None or (base is not None and edit.tools is None):
                return base
            if base is None:
                return definitions.build(name, edit, make_tool)
            return definitions.apply(base, edit, make_tool)
        except AgentError as error:
            _log.error("the stored agent %s is not used: %s", name, error)
            return None
