"""The meter: finds metrics in journal entries, in the order in which a call recorded them.

A turn's parts come from the same `Sweep` as its waterfall, so the two never tell different times.
It needs no more than the entries since the turn began; what other processes saw of a call (on
Lambda each invocation may be in another one) it does not know, and does not guess.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from voxyray import frames, journal
from voxyray.journal import Entry
from voxyray.metrics import (
    AUDIBLE,
    CALLS,
    CALLS_ENDED,
    COST,
    FALLBACKS,
    FIRST_TOKEN,
    GAP,
    INTERRUPTIONS,
    MODEL_ERRORS,
    MODEL_REQUESTS,
    PART,
    SILENCE,
    SPECULATION_GAIN,
    SPECULATION_WASTE,
    SPECULATIONS,
    TOKENS,
    TOOL,
    TOOL_CALLS,
    TURNS,
    UNPRICED,
    Metrics,
)
from voxyray.models import Usage
from voxyray.receipts import Prices, is_by_phone
from voxyray.speculation import gained_ms
from voxyray.waterfall import ASKED, Sweep, microseconds, speaking

_MOST_CALLS: Final = 20_000
_NOT_RUN: Final = "not_run"  # its name may be the model's invention
_A_SECOND_US: Final = 1_000_000


class _Talk:
    """What must be remembered of a call until its turn has been measured (times in us)."""

    __slots__ = (
        "agent",
        "asked_us",
        "cut_us",
        "origin_us",
        "runs",
        "sent_us",
        "speaking",
        "sweep",
        "turn",
    )

    def __init__(self) -> None:
        self.agent = ""
        self.turn = -1
        self.sweep: Sweep | None = None
        self.origin_us = 0
        self.sent_us: int | None = None
        self.asked_us: int | None = None
        self.cut_us: int | None = None
        self.speaking: bool | None = None
        self.runs: dict[int, tuple[str, int]] = {}


class Meter:
    """Takes the entries of all calls.

    fallbacks: gives the models that an agent (empty: any) asks when its first one fails, by name.
    """

    def __init__(
        self, metrics: Metrics, prices: Prices, fallbacks: Callable[[str], Collection[str]]
    ) -> None:
        self.metrics = metrics
        self._prices = prices
        self._fallbacks = fallbacks
        self._talks: dict[str, _Talk] = {}

    def take(self, call_id: str, entry: Entry) -> None:
        """Take an entry; those of one call in their order."""
        talk = self._talk(call_id, entry.what)
        what = entry.what
        self._count(talk, entry)
        if is_by_phone(call_id):  # by text nobody waits at a receiver
            self._time(talk, entry)
        if isinstance(what, journal.CallEnded):
            self._talks.pop(call_id, None)

    def _talk(self, call_id: str, what: journal.What) -> _Talk:
        talk = self._talks.get(call_id)
        if talk is None:
            talk = _Talk()
            # What a call records after its end must not be remembered for ever.
            if isinstance(what, journal.CallStarted | journal.TurnStarted):
                self._talks[call_id] = talk
                if len(self._talks) > _MOST_CALLS:
                    del self._talks[next(iter(self._talks))]
        return talk

    # Counting

    def _count(self, talk: _Talk, entry: Entry) -> None:
        add = self.metrics.add
        match entry.what:
            case journal.CallStarted(agent=agent):
                talk.agent = agent
                if entry.turn == 0:  # and not another session of it
                    add(CALLS, agent)
            case journal.TurnStarted(cause=cause):
                add(TURNS, cause)
            case journal.ModelRequested():
                add(MODEL_REQUESTS)
            case journal.ModelOutput():
                self._count_output(talk, entry.what)
            case journal.Speculated():
                self._count_guess(entry.what, entry.at_ms)
            case journal.ModelFailure(retryable=retryable):
                add(MODEL_ERRORS, "yes" if retryable else "no")
            case journal.ToolStarted(run=run, name=name):
                talk.runs[run] = (name, microseconds(entry))
            case journal.ToolFinished(run=run, status=status):
                self._count_tool(talk, run, status, microseconds(entry))
            case journal.Heard(by="interrupt"):
                add(INTERRUPTIONS)
            case journal.CallEnded(why=why):
                add(CALLS_ENDED, why)

    def _count_output(self, talk: _Talk, output: journal.ModelOutput) -> None:
        model = output.model
        if model and model in self._fallbacks(talk.agent):
            self.metrics.add(FALLBACKS, model)
        if output.usage is not None:
            self._count_tokens(model or "unknown", output.usage)

    def _count_guess(self, what: journal.Speculated, at_ms: float) -> None:
        if what.state == "asked":
            self.metrics.add(MODEL_REQUESTS)
        elif what.state != "answered":
            self.metrics.add(SPECULATIONS, what.state)
        if what.state == "dropped" and what.tokens:
            self.metrics.add(SPECULATION_WASTE, amount=what.tokens)
        gained = gained_ms(what, at_ms)
        if gained is not None:
            self.metrics.observe(SPECULATION_GAIN, round(gained / 1000, 6))

    def _count_tokens(self, model: str, usage: Usage) -> None:
        add, price = self.metrics.add, self._prices.models.get(model)
        add(TOKENS, model, "input", amount=usage.input_tokens)
        add(TOKENS, model, "cached", amount=usage.cached_tokens)
        add(TOKENS, model, "output", amount=usage.output_tokens)
        if price is None:
            add(UNPRICED, model, amount=usage.input_tokens + usage.output_tokens)
        else:
            add(COST, model, amount=price.cents(usage) / 100)

    def _count_tool(self, talk: _Talk, run: int, status: str, at_us: int) -> None:
        name, started_us = talk.runs.pop(run, (_NOT_RUN, at_us))
        self.metrics.add(TOOL_CALLS, name, status)
        if name != _NOT_RUN:
            self.metrics.observe(TOOL, _seconds(at_us - started_us), name)

    # Timing

    def _time(self, talk: _Talk, entry: Entry) -> None:
        what, at_us = entry.what, microseconds(entry)
        if isinstance(what, journal.TurnStarted):
            self._begin(talk, entry, what)
        elif isinstance(what, journal.ModelRequested):
            talk.asked_us = at_us
        elif isinstance(what, journal.Speculated):
            self._time_guess(talk, what)
        elif isinstance(what, journal.FirstToken):
            if talk.asked_us is not None:
                self.metrics.observe(FIRST_TOKEN, _seconds(at_us - talk.asked_us))
                talk.asked_us = None
        elif isinstance(what, journal.Heard):
            talk.sent_us = None  # when its words were audible will never be known
            if what.by == "interrupt":
                talk.cut_us = at_us
        elif isinstance(what, frames.Info):
            self._hear(talk, entry)
        if talk.sweep is not None and entry.turn == talk.turn and talk.sweep.take(entry):
            self._answered(talk, talk.sweep)

    def _time_guess(self, talk: _Talk, what: journal.Speculated) -> None:
        if what.state != "confirmed" or what.asked_ms is None:
            return
        if what.first_ms is None:
            talk.asked_us = round(what.asked_ms * 1000)
        else:
            self.metrics.observe(FIRST_TOKEN, round((what.first_ms - what.asked_ms) / 1000, 6))

    def _begin(self, talk: _Talk, entry: Entry, what: journal.TurnStarted) -> None:
        at_us = microseconds(entry)
        talk.turn, talk.origin_us, talk.asked_us = entry.turn, at_us, None
        talk.sweep = Sweep(at_us) if what.cause in ASKED else None
        talk.sent_us = None

    def _answered(self, talk: _Talk, sweep: Sweep) -> None:
        talk.sweep = None
        talk.sent_us = None if talk.speaking else sweep.since_us
        self.metrics.observe(GAP, _seconds(sweep.since_us - sweep.origin_us))
        sums: dict[str, float] = {}
        for part in sweep.parts:
            sums[part.kind] = sums.get(part.kind, 0.0) + (part.ms or 0.0)
        for kind, ms in sums.items():
            self.metrics.observe(PART, round(ms / 1000, 6), kind)

    def _hear(self, talk: _Talk, entry: Entry) -> None:
        now, at_us = speaking(entry), microseconds(entry)
        if now is None:
            return
        talk.speaking = now
        if talk.cut_us is not None:
            if not now:
                self.metrics.observe(SILENCE, _seconds(at_us - talk.cut_us))
            talk.cut_us = None
        if now and talk.sent_us is not None:
            self.metrics.observe(PART, _seconds(at_us - talk.sent_us), "carrier")
            self.metrics.observe(AUDIBLE, _seconds(at_us - talk.origin_us))
            talk.sent_us = None


def _seconds(us: int) -> float:
    return max(0, us) / _A_SECOND_US
