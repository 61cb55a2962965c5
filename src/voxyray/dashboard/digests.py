"""What lists and figures need of a call, derived from its journal once and kept in memory.

Calls that are over do not change, so a page of fifty of them is fifty look-ups. What is read is
bounded everywhere: the store's reading thread serves calls, too.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from voxyray import frames, journal, receipts
from voxyray.errors import JournalError, SettingsError
from voxyray.journal import Entry
from voxyray.stores import Item, Store, keys
from voxyray.waterfall import CallView, TurnView, call_view

if TYPE_CHECKING:
    from voxyray.service import Service

JOURNAL: Final = "J#"
ASKED: Final = ("speech", "keys", "unknown")  # turns that somebody waits in
SLOW_MS: Final = 1500.0
_KEPT: Final = 5000
_LONG_ENTRIES: Final = 400
_TALKING_WITHIN_S: Final = 60.0
_WORDS_CHARS: Final = 20_000

T = TypeVar("T")


class Digest(msgspec.Struct, frozen=True):
    """A call in short.

    started_at: epoch seconds. gaps_ms: of the turns that were answered, in order. ended: as in
    `CallEnded`, `talking`, or `unknown` if its end was never written. problem: why the journal
    cannot be read. cents: None if unknown. words: what was said by both, in lower case.
    """

    call: str
    agent: str
    caller: str
    started_at: float
    agents: tuple[str, ...] = ()
    turns: int = 0
    duration_ms: float | None = None
    ended: str = "unknown"
    gaps_ms: tuple[float, ...] = ()
    interruptions: int = 0
    tools: int = 0
    tool_failures: int = 0
    errors: int = 0
    cents: float | None = None
    words: str = ""
    problem: str = ""

    @property
    def slowest_ms(self) -> float | None:
        """The longest wait of the call."""
        return max(self.gaps_ms, default=None)

    @property
    def troubles(self) -> int:
        """Everything that went wrong."""
        lost = self.ended == "dropped" or bool(self.problem)
        return self.errors + self.tool_failures + lost


class Digests:
    """Gives digests of listed calls; prices: None if the table cannot be used."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: OrderedDict[str, Digest] = OrderedDict()
        self.prices = _prices(service)

    async def of(self, listed: Sequence[Item]) -> list[Digest]:
        """Give the digests of calls in their order."""
        return [await self._of(item) for item in listed]

    async def _of(self, item: Item) -> Digest:
        call_id = str(item.get("call", ""))
        if call_id in self._kept:
            self._kept.move_to_end(call_id)
            return self._kept[call_id]
        made = await self._make(call_id, item)
        # Another session may follow where an agent put the caller through: not over for a while.
        quiet_s = time.time() - made.started_at - (made.duration_ms or 0) / 1000
        if call_id not in self._service.runners and quiet_s > _TALKING_WITHIN_S:
            self._kept[call_id] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    async def _make(self, call_id: str, item: Item) -> Digest:
        agent = str(item.get("agent", ""))
        bare = Digest(call_id, agent, str(item.get("caller", "")), _started(item), (agent,))
        try:
            entries = await read(self._service.store, call_id)
        except JournalError as error:
            return msgspec.structs.replace(bare, problem=str(error))
        if not entries:
            return bare
        live = call_id in self._service.runners
        view = await aside(call_view, entries)
        cents = None
        if self.prices is not None and not live:
            cents = (await aside(receipts.receipt, entries, self.prices)).total_cents
        return digest(bare, entries, view, cents, live=live)


async def read(store: Store, call_id: str, *, after: str = "") -> list[Entry]:
    """Read a call's journal, from a sort key on.

    Raises:
        JournalError: an entry is of a newer version, or damaged.
        StoreError: it could not be read.
    """
    items = await store.query(keys.call(call_id), JOURNAL, after=after)
    return [journal.from_item(item) for item in items]


async def aside(work: Callable[..., T], entries: Sequence[Entry], *more: Any) -> T:
    """Derive something from a call's journal without holding up the others' calls.

    Short calls take a millisecond, after which it is their turn; long ones go to a thread, which
    would otherwise cost more: whoever waits for the interpreter waits 5 ms.
    """
    if len(entries) > _LONG_ENTRIES:
        return await asyncio.to_thread(work, entries, *more)
    await asyncio.sleep(0)
    return work(entries, *more)


def digest(
    bare: Digest, entries: Sequence[Entry], view: CallView, cents: float | None, *, live: bool
) -> Digest:
    """Put a call in short; bare: what its list tells of it."""
    asked = [turn for turn in view.turns if turn.cause in ASKED]
    tools = [tool for turn in view.turns for tool in turn.tools]
    return msgspec.structs.replace(
        bare,
        agents=view.agents or bare.agents,
        turns=len(asked),
        duration_ms=view.duration_ms,
        ended=_ended(view, bare.started_at, live=live),
        gaps_ms=tuple(turn.gap_ms for turn in asked if turn.gap_ms is not None),
        interruptions=sum(_interrupted(turn) for turn in view.turns),
        tools=len(tools),
        tool_failures=sum(tool.status == "failed" for tool in tools),
        errors=errors(entries),
        cents=cents,
        words=_words(view),
    )


def errors(entries: Iterable[Entry]) -> int:
    """Count failed requests to models, and errors that the carrier told."""
    return sum(isinstance(e.what, journal.ModelFailure | frames.Error) for e in entries)


def _interrupted(turn: TurnView) -> bool:
    return turn.cut is not None and turn.cut.by == "interrupt"


def _ended(view: CallView, started_at: float, *, live: bool) -> str:
    if view.why and not live:
        return view.why
    quiet_s = time.time() - started_at - view.duration_ms / 1000
    return "talking" if live or quiet_s < _TALKING_WITHIN_S else "unknown"


def _words(view: CallView) -> str:
    said = (f"{turn.caller} {turn.said}" for turn in view.turns)
    return " ".join(" ".join(said).lower().split())[:_WORDS_CHARS]


def _started(item: Item) -> float:
    started = item.get("started_at_ms")
    return started / 1000 if isinstance(started, int) else 0.0


def _prices(service: Service) -> receipts.Prices | None:
    try:
        return receipts.load_prices(getattr(service.settings, "prices", ""))
    except SettingsError:
        return None
