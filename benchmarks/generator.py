"""The load generator: plays the carrier for many calls at once; a process of its own.

    python -m benchmarks.generator '{"scenario":{...},"base_url":...}'

It writes lines of JSON: `{"done":0.25}` while it measures, and the figures at the end.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import uvloop

from benchmarks.carrier import CarrierCall, Turn
from benchmarks.figures import Figures, Scenario, Spread, spread
from benchmarks.mock_model import ModelReport

_GAP_S: Final = 0.1  # between the replies of a storm
_SILENT_SHARE: Final = 3  # in talk, one call in so many speaks
_OPENED_AT_ONCE: Final = 8
_SPEAK_IN_MEMORY: Final = 8  # one call in so many, when memory is measured
_SETTLE_S: Final = 0.5
_PROGRESS_EVERY_S: Final = 1.0
_MODEL_SLACK_S: Final = 1.0
_CUT_SAYS_NOTHING_S: Final = 0.3
_PATIENCE_S: Final = 10.0
_PROMPT: Final = "Could you tell me whether you are open on Saturday morning, please?"
# How recognition hears it: cumulative, revised, at last only punctuated anew.
_PARTIALS: Final = (
    "Could",
    "Could you tell",
    "Could you tell me weather",
    "Could you tell me whether you are open on",
    "could you tell me whether you are open on Saturday morning please",
)
_SAYS_MORE: Final = " Or on Sunday?"
_MORE_SHARE: Final = 0.2  # of the finals say more than the last partial
_PARTIAL_EVERY_S: Final = 0.2
_FINAL_AFTER_S: Final = (0.35, 0.55)  # from the last partial


class Task(msgspec.Struct, frozen=True):
    """What the generator is told: what to measure, and where server and model are.

    voice_path: of the webhook; a server without one is connected to at /relay.
    """

    scenario: Scenario
    base_url: str
    voice_path: str
    model_url: str
    auth_token: str
    server_pid: int
    model_pid: int


class _Usage(msgspec.Struct, frozen=True):
    """At one moment: CPU seconds of server, model, this process and the machine; tokens heard."""

    server: float
    model: float
    own: float
    machine: float
    tokens: int
    at: float


def cpu_seconds(pid: int) -> float:
    """Give the CPU time a process has used, threads included, to the nanosecond."""
    # clock_getcpuclockid(3) of another process; Python has it for threads only.
    return time.clock_gettime((~pid << 3) | 2)


def rss_kb(pid: int) -> int:
    """Give the memory a process holds."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def _machine_seconds() -> float:
    user, nice, system, _, _, irq, soft = map(
        int, Path("/proc/stat").read_text(encoding="ascii").split(None, 8)[1:8]
    )
    return (user + nice + system + irq + soft) / 100


class Generator:
    """Runs one scenario."""

    def __init__(self, task: Task, session: aiohttp.ClientSession) -> None:
        self._task = task
        self._scenario = task.scenario
        self._session = session
        self._calls: list[CarrierCall] = []
        self._late_ms: list[float] = []
        self._random = random.Random(task.scenario.calls)

    async def run(self) -> Figures:
        """Open the calls, measure, and hang up."""
        if self._scenario.kind == "memory":
            return await self._measure_memory()
        await self._open(self._scenario.calls)
        await asyncio.sleep(_SETTLE_S)
        await self._ask_model()  # forget what opening did
        before = self._usage()
        await self._talk()
        after = self._usage()
        report = await self._settle()
        return self._figures(before, after, report)

    async def _measure_memory(self) -> Figures:
        """Weigh calls: what each idle one holds, and what one holds more while it is answered."""
        pid, count = self._task.server_pid, self._scenario.calls
        workload = self._scenario.workload
        await self._open(1)
        self._calls[0].prompt(_PROMPT)
        await asyncio.sleep(workload.reply_s + _SETTLE_S)
        base = rss_kb(pid)
        await self._open(count)
        await asyncio.sleep(_SETTLE_S)
        idle = rss_kb(pid)
        speaking = self._calls[1 : 1 + max(1, count // _SPEAK_IN_MEMORY)]
        for call in speaking:
            call.prompt(_PROMPT)
        await asyncio.sleep((workload.first_token_ms / 1000 + workload.reply_s) / 2)
        held = rss_kb(pid)
        await asyncio.sleep(workload.reply_s)
        await self._hang_up()
        idle_kb = (idle - base) / count
        return Figures(
            "memory",
            count,
            idle_kb_per_call=round(idle_kb, 1),
            speaking_kb_per_call=round(idle_kb + (held - idle) / len(speaking), 1),
            rss_mb=round(held / 1024, 1),
        )

    # The calls

    async def _open(self, count: int) -> None:
        turnstile = asyncio.Semaphore(_OPENED_AT_ONCE)
        first = len(self._calls)
        calls = [
            CarrierCall(f"CA{first + number}", events=self._scenario.kind == "events")
            for number in range(count)
        ]
        self._calls += calls

        async def begin(call: CarrierCall) -> None:
            async with turnstile:
                task = self._task
                await call.begin(self._session, task.base_url, task.voice_path, task.auth_token)

        await asyncio.gather(*map(begin, calls))

    async def _talk(self) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time() + 0.05
        until = start + self._scenario.seconds
        play = {"barge-in": self._barge_in, "partials": self._speak_in_partials}.get(
            self._scenario.kind, self._prompt_regularly
        )
        jobs = [
            play(call, start + period_share * self._period_s, until)
            for call, period_share in zip(self._calls, self._shares(), strict=True)
        ]
        progress = loop.create_task(_tell_progress(start, self._scenario.seconds))
        await asyncio.gather(*jobs)
        progress.cancel()

    @property
    def _period_s(self) -> float:
        reply_s = self._scenario.workload.reply_s
        match self._scenario.kind:
            case "talk":
                return reply_s * _SILENT_SHARE
            case "partials":
                spoken_s = _PARTIAL_EVERY_S * len(_PARTIALS) + _FINAL_AFTER_S[1]
                return reply_s + spoken_s + _GAP_S
            case _:
                return reply_s + _GAP_S

    def _shares(self) -> Iterator[float]:
        count = len(self._calls)
        return (number / count for number in range(count))

    async def _prompt_regularly(self, call: CarrierCall, at: float, until: float) -> None:
        while at < until:
            await self._sleep_until(at)
            call.prompt(_PROMPT)
            at += self._period_s
        await self._sleep_until(until)

    async def _speak_in_partials(self, call: CarrierCall, at: float, until: float) -> None:
        while at < until:
            for number, partial in enumerate(_PARTIALS):
                await self._sleep_until(at + _PARTIAL_EVERY_S * number)
                call.partial(partial)
            await asyncio.sleep(self._random.uniform(*_FINAL_AFTER_S))
            more = self._random.random() < _MORE_SHARE
            call.prompt(_PROMPT + _SAYS_MORE * more)
            at += self._period_s
        await self._sleep_until(until)

    async def _barge_in(self, call: CarrierCall, at: float, until: float) -> None:
        workload = self._scenario.workload
        while at < until:
            await self._sleep_until(at)
            turn = call.prompt(_PROMPT)
            try:
                async with asyncio.timeout(_MODEL_SLACK_S + workload.first_token_ms / 1000):
                    await turn.first_came.wait()
            except TimeoutError:
                pass  # counted as unanswered
            else:
                speech_s = (workload.tokens - 1) / workload.rate
                await asyncio.sleep(speech_s * self._random.uniform(0.1, 0.8))
                call.interrupt()
                async with asyncio.timeout(_PATIENCE_S):
                    await turn.fenced.wait()
            at = asyncio.get_running_loop().time() + _CUT_SAYS_NOTHING_S
        await self._sleep_until(until)

    async def _sleep_until(self, at: float) -> None:
        loop = asyncio.get_running_loop()
        if at > loop.time():
            await asyncio.sleep(at - loop.time())
            self._late_ms.append((time.monotonic() - at) * 1000)

    async def _settle(self) -> ModelReport:
        """Let replies end, hear the model's side, and hang up."""
        await asyncio.sleep(self._scenario.workload.reply_s + _SETTLE_S)
        report = await self._ask_model()
        await self._hang_up()
        return report

    async def _hang_up(self) -> None:
        for call in self._calls:
            call.hang_up()
        await asyncio.sleep(0.2)

    async def _ask_model(self) -> ModelReport:
        async with self._session.get(f"{self._task.model_url}/report") as answer:
            return msgspec.json.decode(await answer.read(), type=ModelReport)

    # The figures

    def _usage(self) -> _Usage:
        task = self._task
        return _Usage(
            cpu_seconds(task.server_pid),
            cpu_seconds(task.model_pid),
            time.process_time(),
            _machine_seconds(),
            sum(turn.tokens for call in self._calls for turn in call.turns),
            time.monotonic(),
        )

    def _figures(self, before: _Usage, after: _Usage, report: ModelReport) -> Figures:
        scenario = self._scenario
        turns = [turn for call in self._calls for turn in call.turns]
        answered = [turn for turn in turns if turn.first]
        seconds = after.at - before.at
        server_s = after.server - before.server
        own_s, model_s = after.own - before.own, after.model - before.model
        foreign_s = max(0.0, after.machine - before.machine - server_s - own_s - model_s)
        tokens = after.tokens - before.tokens
        figures = Figures(
            kind=scenario.kind,
            calls=scenario.calls,
            seconds=round(seconds, 2),
            turns=len(turns),
            tokens=tokens,
            heard=_spread_ns([turn.heard_ns for turn in answered]),
            added=_spread_ns([turn.added_ns for turn in answered]),
            to_model=_spread_ns([max(0, turn.asked - turn.prompted) for turn in answered]),
            from_model=_spread_ns(
                [turn.first - max(turn.written, turn.prompted) for turn in answered]
            ),
            guessed=sum(turn.asked < turn.prompted for turn in answered),
            cpu_percent=_percent(server_s, seconds),
            unanswered=len(turns) - len(answered),
            rss_mb=round(rss_kb(self._task.server_pid) / 1024, 1),
            late=spread(self._late_ms),
            model_late=spread(report.late_ms),
            generator_percent=_percent(own_s, seconds),
            model_percent=_percent(model_s, seconds),
            foreign_percent=_percent(foreign_s, seconds),
        )
        if scenario.kind == "barge-in":
            speech_ns = int((scenario.workload.tokens - 1) / scenario.workload.rate * 1e9)
            return _with_interrupts(figures, turns, dict(report.cut), speech_ns, server_s)
        return _with_costs(figures, turns, scenario.workload.tokens, server_s)


def _with_costs(
    figures: Figures, turns: Sequence[Turn], reply_tokens: int, server_s: float
) -> Figures:
    """Add what whole replies cost; a reply that is half measured counts by its tokens."""
    per_token_ms = 1000 * server_s / figures.tokens if figures.tokens else None
    return msgspec.structs.replace(
        figures,
        cpu_ms_per_turn=per_token_ms and round(per_token_ms * reply_tokens, 2),
        cpu_ms_per_1000_tokens=per_token_ms and round(per_token_ms * 1000, 1),
        broken=sum(
            turn.first > 0 and (not turn.closed or turn.tokens != reply_tokens) for turn in turns
        ),
    )


def _with_interrupts(
    figures: Figures,
    turns: Sequence[Turn],
    cut_at: dict[int, int],
    speech_ns: int,
    server_s: float,
) -> Figures:
    """Add what came of the interrupts; one sent after the model had ended has nothing to close."""
    cut = [turn for turn in turns if turn.interrupted]
    noticed = [turn for turn in cut if turn.asked in cut_at]
    amid = [turn for turn in cut if turn.interrupted < turn.written + speech_ns]
    return msgspec.structs.replace(
        figures,
        cpu_ms_per_turn=round(1000 * server_s / len(turns), 2) if turns else None,
        interrupts=len(cut),
        in_flight=sum(turn.in_flight for turn in cut),
        tokens_after_interrupt=sum(turn.stray for turn in turns),
        upstream_closed=_spread_ns([cut_at[turn.asked] - turn.interrupted for turn in noticed]),
        never_closed=sum(turn.asked not in cut_at for turn in amid),
    )


def _percent(part_s: float, whole_s: float) -> float:
    return round(100 * part_s / whole_s, 1)


def _spread_ns(values: Sequence[int]) -> Spread:
    return spread([value / 1e6 for value in values])


async def _tell_progress(start: float, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        _tell({"done": min(1.0, max(0.0, (loop.time() - start) / seconds))})
        await asyncio.sleep(_PROGRESS_EVERY_S)


def _tell(what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


async def _generate(task: Task) -> None:
    async with aiohttp.ClientSession() as session:
        _tell(await Generator(task, session).run())


def main() -> None:
    """Run the task given as the only argument."""
    task = msgspec.json.decode(sys.argv[1], type=Task)
    gc.disable()  # an instrument must not pause
    uvloop.run(_generate(task))


if __name__ == "__main__":
    main()
