"""The tool runs of a call: which call of the model becomes which run, and at most once.

A `write` is identified by turn, name and arguments. The same write asked for again in its turn
shares the first run, and so does the same write asked for in a later turn while the first is still
running or its result is still untold: a caller who cuts in on "I'm booking that" and says it
again must not get two bookings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from voxyray.errors import ToolArgumentError
from voxyray.history import RunStatus, ToolRun
from voxyray.models import ToolCall
from voxyray.tool import Tool


class Start(msgspec.Struct, frozen=True):
    """A run to be started."""

    run: ToolRun
    tool: Tool
    values: dict[str, Any]


class Shares(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which runs share whose outcome, by their numbers: for a snapshot."""

    writes: dict[str, int] = {}
    by_key: dict[str, int] = {}
    sharing: dict[int, list[int]] = {}


class ToolRuns:
    """All runs of a call, by number."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self._runs: dict[int, ToolRun] = {}
        self._writes: dict[str, ToolRun] = {}  # by name and arguments, the latest run
        self._by_key: dict[str, ToolRun] = {}
        self._sharing: dict[int, list[ToolRun]] = {}  # runs that wait for another's result
        self._call_ids: set[str] = set()

    def get(self, run: int) -> ToolRun | None:
        """Give a run by its number."""
        return self._runs.get(run)

    def open(self, call: ToolCall, turn: int) -> tuple[ToolRun, Start | None]:
        """Make the run of a model's tool call, and tell how to start it if it must.

        One that cannot start (unknown tool, bad arguments) is settled with an error for the model.
        """
        call = self._with_unique_id(call)
        tool = self.tools.get(call.name)
        run = ToolRun(len(self._runs), call, tool.effect if tool else "read")
        self._runs[run.id] = run
        if tool is None:
            known = ", ".join(sorted(self.tools)) or "none"
            run.finish("failed", f"Error: there is no tool {call.name[:60]!r}. Tools: {known}.")
            return run, None
        try:
            values = tool.parse(call.arguments)
        except ToolArgumentError as error:
            run.finish("failed", f"Error: {error}")
            return run, None
        run.filler = tool.filler_text(values) or ""
        if tool.effect == "write" and self._share(run, tool.canonical(values), turn):
            return run, None
        return run, Start(run, tool, values)

    def _share(self, run: ToolRun, arguments: str, turn: int) -> bool:
        digest = hashlib.sha256(arguments.encode()).hexdigest()[:16]
        run.key = f"{turn}:{run.name}:{digest}"
        name_and_arguments = f"{run.name}:{digest}"
        first = self._by_key.get(run.key) or self._writes.get(name_and_arguments)
        if first is None or (first.told and first.key != run.key and not _unfinished(first)):
            self._writes[name_and_arguments] = self._by_key[run.key] = run
            return False
        run.key = first.key
        if _unfinished(first):
            self._sharing.setdefault(first.id, []).append(run)
        if first.status != "running":
            run.finish(first.status, first.result)
        return True

    def settle(self, run: ToolRun, status: RunStatus, result: str) -> list[ToolRun]:
        """Settle a run and those that share it; give them all, none if it was settled before."""
        if run.status != "running" and (run.status != "late" or status == "late"):
            return []
        sharing = self._sharing.get(run.id, [])
        if status != "late":
            self._sharing.pop(run.id, None)
        for each in (run, *sharing):
            each.finish(status, result)
        return [run, *sharing]

    def running(self) -> list[ToolRun]:
        """Give the runs without an outcome, but for those that share another's."""
        sharing = {each.id for others in self._sharing.values() for each in others}
        return [run for run in self._runs.values() if _unfinished(run) and run.id not in sharing]

    def shares(self) -> Shares:
        """Give what else than the runs themselves must be kept."""
        return Shares(
            {name: run.id for name, run in self._writes.items()},
            {key: run.id for key, run in self._by_key.items()},
            {run: [each.id for each in others] for run, others in self._sharing.items()},
        )

    def resume(self, runs: Iterable[ToolRun], shares: Shares) -> None:
        """Go on with the runs of a snapshot."""
        known = self._runs = {run.id: run for run in runs}
        self._writes = {name: known[run] for name, run in shares.writes.items()}
        self._by_key = {key: known[run] for key, run in shares.by_key.items()}
        self._sharing = {
            run: [known[each] for each in others] for run, others in shares.sharing.items()
        }
        self._call_ids = {run.call.id for run in known.values()}

    def _with_unique_id(self, call: ToolCall) -> ToolCall:
        """Providers refuse a history in which two tool calls have the same id."""
        unique, n = call.id or "call", 1
        while unique in self._call_ids:
            n += 1
            unique = f"{call.id or 'call'}_{n}"
        self._call_ids.add(unique)
        return call if unique == call.id else msgspec.structs.replace(call, id=unique)


def _unfinished(run: ToolRun) -> bool:
    return run.status in ("running", "late")
