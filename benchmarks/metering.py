"""What counting metrics costs: `python -m benchmarks.metering`.

The entries of real turns go through the recorder with a meter and without one, side by side and by
turns, so that whatever else the machine does disturbs both alike. What a frame waits for is
`record`; the counting itself is done with the batch, every 100 ms for all calls together.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Final

import click
import msgspec

from voxyray import events, frames
from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.journal import Entry
from voxyray.meter import Meter
from voxyray.metrics import Metrics
from voxyray.models import Finish, TextDelta, Usage
from voxyray.receipts import load_prices
from voxyray.recorder import Recorder
from voxyray.stores import Item
from voxyray.stores.memory import MemoryStore

_TOKENS: Final = 40
_FAR: Final = 4_000_000_000
_MODEL: Final = "openai:gpt-5.4-mini"


class Costs(msgspec.Struct, frozen=True):
    """Microseconds a turn: of recording its entries, and of the batch's counting."""

    record_us: float
    count_us: float


class _Nowhere(MemoryStore):
    """Keeps nothing: this is not about stores."""

    async def append(self, items: Sequence[Item]) -> None:
        """Take a batch."""


def entries(turns: int) -> list[Entry]:
    """Give the journal of a call of so many turns, each with a reply, its playing and its cut."""
    agent = Agent(instructions="Be kind.", greeting="Hello.")
    call = Call("CA1", agent, instructions="Be kind.", greeting="Hello.")
    recorded: list[Entry] = []
    now = 0.0

    def do(event: events.Event) -> None:
        nonlocal now
        now += 0.02
        commands = call.receive(event, now)
        recorded.extend(each.entry for each in commands if isinstance(each, events.Record))

    do(frames.Setup(session_id="VX1", call_sid="CA1", from_="+15550100", to="+15550101"))
    for request in range(1, turns + 1):
        do(frames.Prompt("Where are you, and until when are you open?"))
        for _ in range(_TOKENS):
            do(events.ModelEvent(request, TextDelta("word ")))
        do(events.ModelEvent(request, Usage(900, _TOKENS, 500)))
        do(events.ModelEvent(request, Finish("stop", _MODEL)))
        do(frames.Info("agentSpeaking", "on"))
        do(frames.Interrupt("word word", 400))
        do(frames.Info("agentSpeaking", "off"))
    return recorded


async def measure(recorded: Sequence[Entry], turns: int, *, metered: bool) -> Costs:
    """Record a call's entries once."""
    meter = Meter(Metrics(), load_prices(), lambda _: set()) if metered else None
    recorder = Recorder(_Nowhere(), meter=meter)
    began = time.perf_counter()
    for entry in recorded:
        recorder.record("CA1", entry, _FAR)
    done = time.perf_counter()
    recorder.count()
    counted = time.perf_counter()
    await recorder.close()
    return Costs((done - began) / turns * 1e6, (counted - done) / turns * 1e6)


async def compare(turns: int, rounds: int) -> tuple[Costs, Costs]:
    """Measure both by turns; gives the medians without and with a meter."""
    recorded = entries(turns)
    found: dict[bool, list[Costs]] = {False: [], True: []}
    for _ in range(rounds):
        for metered in (False, True):
            found[metered].append(await measure(recorded, turns, metered=metered))
    return _median(found[False]), _median(found[True])


def _median(costs: Sequence[Costs]) -> Costs:
    return Costs(
        statistics.median(each.record_us for each in costs),
        statistics.median(each.count_us for each in costs),
    )


@click.command()
@click.option("--turns", type=click.IntRange(1), default=200, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=30, show_default=True)
def main(turns: int, rounds: int) -> None:
    """Measure what counting metrics costs a turn."""
    without, with_ = asyncio.run(compare(turns, rounds))
    click.echo(f"{len(entries(turns)) / turns:.1f} entries a turn, medians of {rounds} rounds")
    click.echo(f"recording, no meter   {without.record_us:8.1f} us a turn")
    click.echo(f"recording, metered    {with_.record_us:8.1f} us a turn")
    click.echo(f"counting, in batches  {with_.count_us:8.1f} us a turn")


if __name__ == "__main__":
    main()
