"""What the dashboard's pages take with many calls, and what they cost the talk.

python -m benchmarks.dashboard [--calls 10000] [--live 500]

A store is filled with calls as they are journaled; then pages are asked for, first with nothing in
memory, then again. The talk is measured beside it: live calls whose model answers at once, from
the caller's words to the first frame that leaves, with and without somebody who turns pages.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from voxyray import frames, journal
from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.journal import Entry, What
from voxyray.models import Finish, TextDelta, ToolCall, Usage
from voxyray.reception import Admission, Request
from voxyray.runner import Runner
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.stores import Item, keys

PAGES: Final = ("", "?span=week", "calls", "calls?slow=1", "agents", "agents/desk", "outbox")
_ASKED: Final = (
    "What are your opening hours on Sunday?",
    "I'd like to order a pizza with mushrooms, please.",
    "My number is +1 555 010 0001, can you call me back?",
    "No, wait, make that two.",
)
_SAID: Final = (
    "We are open from eleven in the morning until ten at night, and on Sunday we close at nine.",
    "One large mushroom pizza, that's twelve fifty. Would you like anything to drink with it?",
    "Of course. I've changed it to two, which makes twenty-five dollars altogether.",
)
_TURNS_EVERY_S: Final = 4.0


def entries(pick: random.Random, at: float, agent: str, number: str) -> list[Entry]:
    """Give the journal of a made-up call: turns, tools, cuts, now and then a failure."""
    call = _Call(at, agent, number)
    for turn in range(1, pick.randint(3, 9)):
        call.turn(pick, turn)
    call.add(400, journal.CallEnded(1000, pick.choice(["caller", "caller", "agent", "dropped"])))
    return call.entries


class _Call:
    def __init__(self, at: float, agent: str, number: str) -> None:
        self.entries: list[Entry] = []
        self._turn = self._seq = self._runs = self._requests = 0
        self._ms = 0.0
        self.add(0, journal.CallStarted(at, agent, "Hello! How can I help you?"))
        self.add(0, frames.Setup(from_=number, to="+15550199"))
        self.add(0, journal.TurnStarted("greeting", ""))
        self.add(600, frames.Info("agentSpeaking", "on"))
        self.add(1800, frames.Info("agentSpeaking", "off"))

    def add(self, after_ms: float, what: What) -> None:
        self._ms += after_ms
        self.entries.append(Entry(self._turn, self._seq, self._ms, what))
        self._seq += 1

    def turn(self, pick: random.Random, number: int) -> None:
        self._turn = number
        asked = pick.choice(_ASKED)
        self.add(pick.uniform(800, 3000), frames.Prompt(asked))
        self.add(0, journal.TurnStarted("speech", asked))
        if pick.random() < 0.35:
            self._tool(pick)
        self._answer(pick)

    def _request(self, pick: random.Random) -> tuple[int, float]:
        self._requests += 1
        self.add(0.2, journal.ModelRequested(self._requests, 0, 5))
        if pick.random() < 0.01:
            self.add(900, journal.ModelFailure(self._requests, "503 overloaded", True))
            return self._request(pick)
        first_ms = pick.lognormvariate(5.9, 0.45)
        self.add(first_ms, journal.FirstToken(self._requests))
        return self._requests, self._ms

    def _tool(self, pick: random.Random) -> None:
        request, _ = self._request(pick)
        call = ToolCall(f"c{request}", "search_menu", '{"dish":"pizza","diet":"vegetarian"}')
        usage = Usage(900, 30, 600)
        self.add(
            5, journal.ModelOutput(request, (), (call,), usage, "tool_calls", "openai:gpt-5.4-mini")
        )
        self._runs += 1
        run = self._runs
        self.add(0, journal.ToolStarted(run, call.name, "read", call.arguments, ""))
        status = "failed" if pick.random() < 0.03 else "done"
        result = '{"found":[{"name":"Funghi","price":"12.50"},{"name":"Margherita"}]}'
        self.add(pick.uniform(20, 400), journal.ToolFinished(run, call.name, status, result))

    def _answer(self, pick: random.Random) -> None:
        request, first_ms = self._request(pick)
        self.add(0.3, journal.FirstSent("model"))
        words = pick.choice(_SAID).split(" ")
        deltas = tuple((first_ms + 20 * n, f"{word} ") for n, word in enumerate(words))
        usage = Usage(1000, len(words), 800)
        output = journal.ModelOutput(request, deltas, (), usage, "stop", "openai:gpt-5.4-mini")
        self.add(20 * len(words), output)
        self.add(0, journal.LastSent())
        self.add(150, frames.Info("agentSpeaking", "on"))
        if pick.random() < 0.25:
            heard = " ".join(words[:5])
            self.add(700, frames.Interrupt(heard, 700))
            self.add(0, journal.Heard(self._turn, heard, "interrupt"))
            self.add(80, frames.Info("agentSpeaking", "off"))
        else:
            self.add(2500, frames.Info("agentSpeaking", "off"))


def items(pick: random.Random, number: int, at: float, agent: str) -> Iterator[Item]:
    """Give a made-up call as the store keeps it."""
    call_id = f"CA{number:032x}"
    expires_at = int(time.time()) + 30 * 86_400
    caller = f"+1555{number % 10_000_000:07d}"
    more = {"call": call_id, "agent": agent, "caller": caller, "expires_at": expires_at}
    place = {"pk": keys.day(at), "sk": keys.started(at, call_id)}
    yield {**place, **more, "started_at_ms": int(at * 1000)}
    head = {"pk": keys.call(call_id), "sk": keys.HEAD, "status": "ended"}
    yield {**head, "agent": agent, "caller": caller, "expires_at": expires_at}
    for entry in entries(pick, at, agent, caller):
        yield journal.to_item(call_id, entry, expires_at)


async def seed(service: Service, calls: int, *, days: float = 3.0) -> None:
    """Fill the store with calls, spread over the last days."""
    pick = random.Random(7)
    agents = [agent.name for agent in service.agents]
    batch: list[Item] = []
    for number in range(calls):
        at = time.time() - 120 - pick.random() ** 2 * days * 86_400
        batch += items(pick, number, at, pick.choice(agents))
        if len(batch) > 2000:
            await service.store.append(batch)
            batch = []
    await service.store.append(batch)


# The talk


class Instant:
    """A model that answers at once."""

    name = "instant"

    async def stream(self, _: Any) -> AsyncIterator[Any]:
        for word in _SAID[0].split(" "):
            yield TextDelta(f"{word} ")
        yield Finish("stop")

    async def warm(self) -> None: ...

    async def close(self) -> None: ...


class Ear:
    """The carrier's side of a call: notes when words arrive."""

    def __init__(self, waits_ms: list[float]) -> None:
        self.asked_at: float | None = None
        self._waits_ms = waits_ms

    def send(self, data: bytes) -> None:
        if self.asked_at is not None and data.startswith(b'{"type":"text"'):
            self._waits_ms.append((time.perf_counter() - self.asked_at) * 1000)
            self.asked_at = None

    def purge(self) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


class Talkers:
    """Live calls that each ask something every few seconds."""

    def __init__(self, service: Service, calls: int) -> None:
        self.waits_ms: list[float] = []
        self._runners: list[tuple[Runner, Ear]] = []
        for number in range(calls):
            ear = Ear(self.waits_ms)
            setup = frames.Setup(call_sid=f"CALIVE{number:028x}", from_=f"+1555{number:07d}")
            admission = Admission(service.agents[0], Caller(setup.from_), "Be kind.", "Hi.", setup)
            self._runners.append((service.start(admission, ear), ear))

    async def talk(self, seconds: float) -> list[float]:
        self.waits_ms.clear()
        pause_s = _TURNS_EVERY_S / len(self._runners)
        until = time.perf_counter() + seconds
        number = 0
        while time.perf_counter() < until:
            runner, ear = self._runners[number % len(self._runners)]
            ear.asked_at = time.perf_counter()
            runner.receive(frames.Prompt(_ASKED[number % len(_ASKED)]))
            number += 1
            await asyncio.sleep(pause_s)
        return list(self.waits_ms)


# Pages


async def ask(service: Service, page: str) -> float:
    """Ask for a page; gives the milliseconds it took."""
    path, _, query = page.partition("?")
    host = {"host": "127.0.0.1"}
    begun = time.perf_counter()
    answer = await service.answer(
        Request("GET", f"/dashboard/{path}", query, host, b"", "127.0.0.1")
    )
    if answer.status != 200:
        raise SystemExit(f"/dashboard/{page} gives {answer.status}")
    return (time.perf_counter() - begun) * 1000


async def follow(service: Service, page: str) -> None:
    """Watch a live page."""
    host = {"host": "127.0.0.1"}
    while True:
        request = Request("GET", f"/dashboard/{page}", "", host, b"", "127.0.0.1")
        stream = (await service.answer(request)).stream
        if stream is not None:
            async for _ in stream:
                pass


async def turn_pages(service: Service, pages: list[str], pause_s: float) -> None:
    """Ask for pages one after the other, as people do."""
    while True:
        for page in pages:
            await ask(service, page)
            await asyncio.sleep(pause_s)


async def measure(calls: int, live: int, seconds: float) -> None:
    """Print what pages take, and what the talk takes beside them."""
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(store=f"sqlite:{Path(folder) / 'calls.sqlite'}", model="offline")
        agents = [Agent(name=name, instructions="Be kind.") for name in ("desk", "restaurant")]
        models: Any = {agent.name: Instant() for agent in agents}
        service = Service(settings, agents, models=models, clock=time.perf_counter)
        begun = time.perf_counter()
        await seed(service, calls)
        console.print(f"{calls:,} calls stored in {time.perf_counter() - begun:.1f} s")
        talkers = Talkers(service, live)
        pages = [*PAGES, f"calls/CA{calls // 2:032x}", f"journal/CA{calls // 2:032x}"]
        await _pages(console, service, pages)
        await _talk(console, service, talkers, pages, seconds)
        await service.close()


async def _pages(console: Console, service: Service, pages: list[str]) -> None:
    table = Table("page", "first, ms", "again, median ms", "again, longest ms")
    for page in pages:
        first = await ask(service, page)
        again = [await ask(service, page) for _ in range(20)]
        cells = (first, statistics.median(again), max(again))
        table.add_row(f"/dashboard/{page}", *(f"{ms:,.1f}" for ms in cells))
    console.print(table)


async def _talk(
    console: Console, service: Service, talkers: Talkers, pages: list[str], seconds: float
) -> None:
    table = Table("from words to the first frame", "turns", "p50, ms", "p99, ms", "longest, ms")
    await talkers.talk(2)  # warm
    for _ in range(2):
        table.add_row("nobody looks", *_cells(await talkers.talk(seconds)))
        watching = [
            asyncio.ensure_future(turn_pages(service, pages, 0.25)),
            *(asyncio.ensure_future(follow(service, "live")) for _ in range(3)),
            asyncio.ensure_future(follow(service, f"live/CALIVE{0:028x}")),
        ]
        waits = await talkers.talk(seconds)
        for task in watching:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*watching, return_exceptions=True)
        table.add_row("pages turned 4 times a second, 4 live", *_cells(waits))
    console.print(table)


def _cells(waits_ms: list[float]) -> tuple[str, ...]:
    cuts = statistics.quantiles(waits_ms, n=100)
    return (f"{len(waits_ms):,}", f"{cuts[49]:.3f}", f"{cuts[98]:.3f}", f"{max(waits_ms):.3f}")


@click.command()
@click.option("--calls", default=10_000, show_default=True)
@click.option("--live", default=500, show_default=True)
@click.option("--seconds", default=10.0, show_default=True)
def main(calls: int, live: int, seconds: float) -> None:
    """Measure the dashboard."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(calls, live, seconds))


if __name__ == "__main__":
    main()
