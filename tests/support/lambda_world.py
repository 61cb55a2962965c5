"""The Lambda host on a virtual clock, with everything around it as bad as a test draws it.

`play` runs a script of frames against several execution environments: their invocations overlap,
are killed and frozen, the store takes its time before and after each operation has its effect and
sometimes fails, frames and wake-ups come late and twice. A `World` keeps what happened, with times.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import math
import random
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlencode

import msgspec

from tests.test_call_invariants import check_messages
from voxyray.agent import Agent
from voxyray.aws.relay import Relay
from voxyray.context import CallContext
from voxyray.errors import ConnectionGone, ModelError, PostFailed, QueueError, StoreError
from voxyray.models import Delta, Finish, Model, ModelRequest, TextDelta, ToolCall
from voxyray.policy import Policy
from voxyray.reception import Request
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.stores import Equals, Item, Update, Write, keys
from voxyray.stores.memory import MemoryStore
from voxyray.tool import tool
from voxyray.twin.cloud.errors import FunctionFailed
from voxyray.twin.cloud.functions import InProcess, Invocation, Pool

CONNECTION: Final = "Lx1abcDEFg="
CALL: Final = "CA1"
EPOCH_S: Final = 1_700_000_000.0  # the same in every run: times are rounded in the same way
SILENCE_AFTER_S: Final = 8.0
POLICY: Final = Policy(
    filler_after_s=1.5, give_up_after_s=6, silence_after_s=SILENCE_AFTER_S, characters_per_s=40
)
_REDELIVERED_AFTER_S: Final = 6.0

_T = TypeVar("_T")
Kind: TypeAlias = Literal["prompt", "partial", "interrupt", "info", "hostile", "hangup"]


class Step(msgspec.Struct, frozen=True):
    """A frame of the caller's: after_s the one before it, delivered late_s later, and again.

    text: for a prompt what the model shall do.
    """

    kind: Kind
    after_s: float
    text: str = ""
    late_s: float = 0.0
    again_s: tuple[float, ...] = ()


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How bad it is.

    store_s, post_s: the most that an operation takes before its effect, and again after it.
    store_fails, posts_fail, queue_fails: how likely; half of them fail after their effect.
    kills: invocations by number, and after how long each dies. skew_s: between the clocks.
    rough_start: whether it is so from the first frame on, else from the first after `setup`.
    """

    seed: int = 0
    store_s: float = 0.01
    post_s: float = 0.02
    store_fails: float = 0.0
    posts_fail: float = 0.0
    queue_fails: float = 0.0
    late_wakes_s: float = 0.0
    wakes_twice: bool = False
    kills: dict[int, float] = {}
    skew_s: float = 0.0
    timeout_s: float = 28.0
    models_fail: bool = False
    rough_start: bool = False


class Machine:
    """An execution environment, as what happens in it sees it."""

    def __init__(self, skew_s: float) -> None:
        self.skew_s = skew_s
        self.dead = False
        self.fence: int | None = None  # of the call that it owns
        self.failing = False  # its latest look at the call failed
        self.posting = 0
        self._thawed = asyncio.Event()

    def freeze(self) -> None:
        """Let nothing more happen until the next invocation."""
        self._thawed.clear()
        self.fence = None
        self.failing = False

    def thaw(self) -> None:
        """Go on."""
        self._thawed.set()

    async def step(self) -> None:
        """Wait for ever if the machine is dead, and while it is frozen."""
        await self._thawed.wait()
        if self.dead:
            await asyncio.get_running_loop().create_future()


_machine: contextvars.ContextVar[Machine] = contextvars.ContextVar("machine")


class Asked(msgspec.Struct):
    """A model request: when it began and ended, and which prompts it knew."""

    number: int
    at: float
    knows: set[int]
    messages: tuple[Any, ...]
    ended_at: float = math.inf


class Post(msgspec.Struct):
    """A frame that reached the caller."""

    at: float
    frame: dict[str, Any]


class Arrival(msgspec.Struct):
    """An input of the caller: when the gateway had it, when the store, when the owner saw it."""

    kind: Kind
    sent_at: float
    stored_at: float = math.inf
    seen_at: float = math.inf


class World:
    """What is around the host, and what was seen of it; wrong: what must not be."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self.random = random.Random(weather.seed)
        self.loop = asyncio.get_running_loop()
        self.calm = True  # until the call has begun
        self.wrong: list[str] = []
        self.asked: list[Asked] = []
        self.wire: list[Post] = []
        self.arrivals: dict[int, Arrival] = {}
        self.done: Counter[str] = Counter()  # executions of a write by key
        self.fence = 0
        self.machines: list[Machine] = []
        self.gone = False
        self.refused_posts = 0  # by a connection that is gone
        self.deleted = False
        self.killed = 0
        self.store = _Store(self, MemoryStore(self.clock))
        self.agent = _agent(self)
        self.pool = Pool(
            "relay",
            lambda: _Environment(self),
            timeout_s=weather.timeout_s,
            fate=self._fate,
            clock=self.clock,
        )
        self._tasks: set[asyncio.Future[Any]] = set()
        self._next_ids = iter(range(1, 10_000))

    @property
    def now(self) -> float:
        """The time of the loop."""
        return self.loop.time()

    def clock(self) -> float:
        """The true time."""
        return EPOCH_S + self.loop.time()

    def upto(self, most_s: float) -> float:
        """Draw a time."""
        return 0.001 if self.calm else self.random.uniform(0, most_s)

    def happens(self, chance: float) -> bool:
        """Draw whether something happens."""
        return not self.calm and self.random.random() < chance

    async def take(self, most_s: float) -> None:
        """Take a drawn time."""
        await _machine.get().step()
        await asyncio.sleep(self.upto(most_s))
        await _machine.get().step()

    def settings(self) -> Settings:
        """Unsigned: signatures have tests of their own."""
        return Settings(public_url="http://127.0.0.1:9", accept_unsigned=True, store="memory")

    def _fate(self, invocation: Invocation) -> float | None:
        after_s = None if self.calm else self.weather.kills.get(invocation.number)
        self.killed += after_s is not None
        return after_s

    # What the gateway and the queue do

    async def send(self, event: dict[str, Any]) -> None:
        """Invoke the function as the gateway does, which waits for nothing."""
        try:
            answer = await self.pool.invoke(event)
        except FunctionFailed:
            return  # killed
        if answer != {"statusCode": 200}:
            self.wrong.append(f"answered {answer}")

    def soon(self, work: Callable[[], Awaitable[Any]], after_s: float = 0.0) -> None:
        """Do it later, and along with everything else."""

        async def later() -> None:
            await asyncio.sleep(after_s)
            await work()

        task = asyncio.ensure_future(later())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wake(self, body: str, number: int) -> None:
        """Bring a wake-up, again if it failed."""
        record = {"messageId": f"M{number}", "body": body, "eventSource": "aws:sqs"}
        try:
            answer = await self.pool.invoke({"Records": [record]})
        except FunctionFailed:
            answer = {"batchItemFailures": [{}]}
        if answer["batchItemFailures"]:
            self.soon(lambda: self.wake(body, number), _REDELIVERED_AFTER_S)

    def event(self, route: str, **more: Any) -> dict[str, Any]:
        """Make an event."""
        number = next(self._next_ids)
        context = {
            "routeKey": route,
            "connectionId": CONNECTION,
            "requestTimeEpoch": int(self.clock() * 1000),
            "messageId": f"F{number}=",
            "requestId": f"R{number}=",
        }
        return {"requestContext": context, "isBase64Encoded": False, **more}

    def frame(self, **fields: Any) -> dict[str, Any]:
        """Make the event of a frame."""
        return self.event("$default", body=json.dumps(fields))

    def deliver(self, event: dict[str, Any], late_s: float = 0.0, *again_s: float) -> None:
        """Bring an event to the function, late and again."""
        for after_s in (late_s, *(late_s + each for each in again_s)):
            self.soon(lambda: self.send(event), after_s)

    # The call

    async def begin(self) -> None:
        """Place the call."""
        reception = Service(self.settings(), [self.agent], store=self.store.inner).reception
        form = {"CallSid": CALL, "From": "+15550100", "To": "+15550101", "Direction": "inbound"}
        answer = await reception.answer(Request("POST", "/voice", body=urlencode(form).encode()))
        assert answer.status == 200
        head = await self.store.inner.get(keys.call(CALL), keys.HEAD) or {}
        self.head = head
        await self.send(self.event("$connect", headers={"Host": "x"}))
        if self.weather.rough_start:
            self.calm = False
            self.deliver(self.setup(), self.upto(0.2), self.upto(0.2))
        else:
            await self.send(self.setup())
            self.calm = False

    def setup(self) -> dict[str, Any]:
        """Make the event of the call's first frame."""
        return self.frame(
            type="setup",
            sessionId="VX1",
            callSid=CALL,
            **{"from": "+15550100"},
            to="+15550101",
            customParameters={"token": self.head["token"]},
        )

    def prompt(self, number: int, text: str, **how: Any) -> None:
        """Let the caller say something that holds a number."""
        self.arrivals[number] = Arrival("prompt", self.now)
        said = f"{text} p{number}"
        frame = self.frame(type="prompt", voicePrompt=said, lang="en-US", last=True)
        self.deliver(frame, how.get("late_s", 0.0), *how.get("again_s", ()))

    def act(self, number: int, step: Step) -> None:
        """Do a step of a script."""
        how = (step.late_s, *step.again_s)
        if step.kind == "prompt":
            self.prompt(number, step.text, late_s=step.late_s, again_s=step.again_s)
        elif step.kind == "partial":
            said = f"{step.text} so far"
            self.deliver(
                self.frame(type="prompt", voicePrompt=said, lang="en-US", last=False), *how
            )
        elif step.kind == "interrupt":
            self.arrivals[number] = Arrival("interrupt", self.now)
            cut = self.frame(
                type="interrupt", utteranceUntilInterrupt="", durationUntilInterruptMs=number
            )
            self.deliver(cut, *how)
        elif step.kind == "info":
            self.deliver(self.frame(type="info", name="clientSpeaking", value="off"), *how)
        elif step.kind == "hangup":
            self.gone = True
            closed = self.event("$disconnect")
            closed["requestContext"]["disconnectStatusCode"] = 1000
            if step.text != "hang":  # it may never be told
                self.deliver(closed, *how)
        else:
            hostile = hostile_events(self)
            self.deliver(hostile[number % len(hostile)], *how)

    @property
    def over(self) -> bool:
        """Whether nothing more can be said to the caller."""
        return self.deleted or self.gone or any(p.frame["type"] == "end" for p in self.wire)

    async def close(self) -> None:
        """Stop everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pool.close()


async def play(weather: Weather, script: Sequence[Step], ending_s: float = 9.0) -> World:
    """Run a script, let the weather clear up, and have one more prompt answered."""
    world = World(weather)
    await world.begin()
    for number, step in enumerate(script):
        await asyncio.sleep(step.after_s)
        world.act(number, step)
    await asyncio.sleep(ending_s)
    world.calm = True
    await asyncio.sleep(max(weather.kills.values(), default=0) and 4.0)
    world.prompt(len(script), "tell")
    await asyncio.sleep(12.0)
    await world.close()
    return world


def hostile_events(world: World) -> list[dict[str, Any]]:
    """Give events that must have no effect."""
    frame = world.frame(type="prompt", voicePrompt="tell", last=True)
    nobody = world.frame(type="prompt", voicePrompt="tell", last=True)
    nobody["requestContext"]["connectionId"] = "nobody="
    forged = world.event("$disconnect")
    forged["requestContext"] |= {"connectionId": "nobody=", "disconnectStatusCode": 1000}
    bare = {"requestContext": {"routeKey": "$default", "connectionId": CONNECTION}, "body": "{}"}
    return [
        {},
        {"requestContext": None},
        {"requestContext": {}},
        {"requestContext": {"routeKey": "$default"}},
        bare,
        {key: value for key, value in frame.items() if key != "body"},
        {**frame, "body": None},
        nobody,
        forged,
        world.frame(type="$disconnect"),
        world.frame(type="closed", code=1000),
        world.frame(type="configUpdated"),
        world.frame(type=7),
        world.event("$default", body="x" * 140_000),
        world.event("$default", body="not JSON"),
        world.event("$default", body=""),
        world.event("$default", body="[" * 5000),
        {**world.event("$default", body="/wD/"), "isBase64Encoded": True},
        {**world.event("$default", body="!"), "isBase64Encoded": True},
        world.setup(),
        world.event("$nothing"),
    ]


class _Environment(InProcess):
    """An execution environment with its own host; frozen between its invocations."""

    def __init__(self, world: World) -> None:
        super().__init__(self._invoke)
        self._world = world
        self._machine = machine = Machine(world.upto(world.weather.skew_s))
        world.machines.append(machine)
        clock: Callable[[], float] = lambda: world.clock() + machine.skew_s  # noqa: E731
        models: dict[str, Model] = {world.agent.name: _Model(world)}
        service = Service(
            world.settings(), [world.agent], store=world.store, models=models, clock=clock
        )
        self._relay = Relay(service, _Connections(world), _Wakes(world), clock)

    async def _invoke(self, event: Any) -> Any:
        _machine.set(self._machine)
        self._machine.thaw()
        try:
            return await self._relay.invoke(event, self._world.weather.timeout_s)
        except Exception as error:
            self._world.wrong.append(f"raised {error!r}")
            raise
        finally:
            if self._machine.posting and not self._machine.dead:
                self._world.wrong.append(f"frozen amid a post at {self._world.now}")
            self._machine.freeze()

    async def stop(self) -> None:
        """Die: whatever goes on here has no effect any more."""
        self._machine.dead = True
        await super().stop()


class _Store:
    """A store whose operations take time before and after their effect, and may fail."""

    def __init__(self, world: World, inner: MemoryStore) -> None:
        self.inner = inner
        self._world = world

    async def get(self, pk: str, sk: str) -> Item | None:
        looks = sk == "LIVE" and _machine.get().fence == self._world.fence
        return await self._do(lambda: self.inner.get(pk, sk), looks=looks)

    async def query(self, pk: str, prefix: str = "", **how: Any) -> list[Item]:
        return await self._do(lambda: self.inner.query(pk, prefix, **how))

    async def write(self, *writes: Write) -> None:
        await self._do(lambda: self.inner.write(*writes))

    async def update(self, update: Update) -> Item:
        if update.sk != "LIVE" or CONNECTION not in update.pk:
            return await self._do(lambda: self.inner.update(update))
        conditions = (update.when,) if not isinstance(update.when, Sequence) else update.when
        fences = [each.value for each in conditions if isinstance(each, Equals)]
        looks = _machine.get().fence in fences and "state" in update.set

        async def effect() -> Item:
            item = await self.inner.update(update)
            self._note(update)
            if "fence" in update.add:
                self._world.fence = item["fence"]
            return item

        item = await self._do(effect, looks=looks)
        if "fence" in update.add:
            _machine.get().fence = item["fence"]
        return item

    async def append(self, items: Sequence[Item]) -> None:
        await self._do(lambda: self.inner.append(items))

    async def close(self) -> None:
        pass

    def _note(self, update: Update) -> None:
        """Note what input is in the store from now on."""
        for field, text in update.set.items():
            number = _number(str(text)) if field.startswith("in#") else None
            arrival = None if number is None else self._world.arrivals.get(number)
            if arrival is not None:
                arrival.stored_at = min(arrival.stored_at, self._world.now)

    async def _do(self, effect: Callable[[], Awaitable[_T]], *, looks: bool = False) -> _T:
        """looks: it tells the owner what has arrived."""
        world, machine = self._world, _machine.get()
        machine.failing |= looks
        await world.take(world.weather.store_s)
        fails = world.happens(world.weather.store_fails)
        if fails and world.random.random() < 0.5:
            raise StoreError("throttled")
        done_at = world.now
        try:
            result = await effect()
        finally:
            await world.take(world.weather.store_s)
        if fails:
            raise StoreError("no answer")
        if looks:
            machine.failing = False
            for arrival in world.arrivals.values():
                if arrival.stored_at <= done_at:
                    arrival.seen_at = min(arrival.seen_at, world.now)
        return result


class _Connections:
    """The caller's end: takes frames, and sees who posts when."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def post(self, connection: str, data: bytes) -> None:
        world, machine = self._world, _machine.get()
        assert connection == CONNECTION
        await machine.step()
        frame = msgspec.json.decode(data)
        self._check(machine, frame)
        machine.posting += frame.get("token") != POLICY.apology
        try:
            await world.take(world.weather.post_s)
            fails = world.happens(world.weather.posts_fail)
            if world.gone:
                world.refused_posts += 1
                raise ConnectionGone("410")
            if fails and world.random.random() < 0.5:
                raise PostFailed("503")
            world.wire.append(Post(world.now, frame))
            await world.take(world.weather.post_s)
            if fails:
                raise PostFailed("no answer")
        finally:
            machine.posting = 0

    async def warm(self) -> None:
        await self._world.take(self._world.weather.post_s)

    async def delete(self, connection: str) -> None:
        await self._world.take(self._world.weather.post_s)
        self._world.deleted = True

    def _check(self, machine: Machine, frame: dict[str, Any]) -> None:
        world = self._world
        if world.weather.store_fails and frame.get("token") == POLICY.apology:
            return  # of one that could find out nothing: better than silence
        if any(each.posting for each in world.machines if not each.dead):
            world.wrong.append(f"two posts at once at {world.now}: {frame}")
        if machine.fence != world.fence and not world.weather.store_fails:
            world.wrong.append(f"posted by one that owns nothing at {world.now}: {frame}")
        for number in _spoken(frame):
            asked = world.asked[number]
            for n, arrival in world.arrivals.items():
                self._check_old(asked, n, arrival, frame)

    def _check_old(self, asked: Asked, n: int, arrival: Arrival, frame: Any) -> None:
        """No words of a request are posted once the owner has seen what it did not know."""
        knew = n in asked.knows if arrival.kind == "prompt" else asked.at >= arrival.stored_at
        # The carrier plays a complete reply to its end, unless it is cut.
        complete = arrival.kind == "prompt" and asked.ended_at <= arrival.seen_at
        if not knew and not complete and self._world.now > arrival.seen_at:
            self._world.wrong.append(f"late at {self._world.now}: {frame}, after {n}: {arrival}")


class _Wakes:
    """A queue with delays of whole seconds, which may bring things late and twice."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sent = 0

    async def send(self, body: str, delay_s: float = 0.0) -> None:
        world = self._world
        await world.take(world.weather.store_s)
        fails = world.happens(world.weather.queue_fails)
        if fails and world.random.random() < 0.5:
            raise QueueError("throttled")
        self._sent += 1
        for _ in range(2 if world.weather.wakes_twice and world.happens(0.5) else 1):
            after_s = math.ceil(delay_s) + world.upto(world.weather.late_wakes_s)
            world.soon(functools.partial(world.wake, body, self._sent), after_s)
        await world.take(world.weather.store_s)
        if fails:
            raise QueueError("no answer")


class _Model:
    """A model that does what the last line it was told says; its words name the request."""

    name = "scripted"

    def __init__(self, world: World) -> None:
        self._world = world

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        world = self._world
        await _machine.get().step()
        try:
            check_messages(request.messages)
        except AssertionError as error:
            world.wrong.append(f"messages: {error!r}: {request.messages}")
        told = "\n".join(each.content or "" for each in request.messages if each.role == "user")
        knows = [int(number) for number in re.findall(r"\bp(\d+)\b", told)]
        if len(set(knows)) < len(knows):
            world.wrong.append(f"told twice at {world.now}: {knows}")
        asked = Asked(len(world.asked), world.now, set(knows), request.messages)
        world.asked.append(asked)
        try:
            async for delta in self._answer(asked, request):
                await _machine.get().step()
                yield delta
        finally:
            asked.ended_at = world.now

    async def _answer(self, asked: Asked, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        world = self._world
        last = request.messages[-1]
        lines = (last.content or "").splitlines()
        verb, _, what = (lines or [""])[-1].partition(" ")
        await asyncio.sleep(world.upto(2.0 if verb == "slow" else 0.4))
        if last.role == "user" and verb in ("book", "look") and not world.calm:
            slot = what or "again"
            yield ToolCall("call", verb, json.dumps({"word": slot}))
            yield Finish("tool_calls")
            return
        if verb == "hang" and not world.calm:
            await asyncio.sleep(60)
        gap_s = world.upto(0.15)
        length = 3 if world.calm else world.random.randint(1, 14)
        for word in range(length):
            await asyncio.sleep(gap_s)
            if world.weather.models_fail and world.happens(0.06):
                raise ModelError("broken", retryable=world.happens(0.5))
            end = "." if word == length - 1 or world.happens(0.1) else ""
            yield TextDelta(f" q{asked.number}w{word}{end}")
        yield Finish("stop")

    async def warm(self) -> None:
        await _machine.get().step()

    async def close(self) -> None:
        pass


def _agent(world: World) -> Agent:
    @tool(effect="write", timeout_s=3)
    async def book(word: str, context: CallContext) -> str:
        """Book a slot."""
        await _machine.get().step()
        world.done[context.key] += 1
        await world.take(2.0)
        return f"booked {word}"

    @tool(effect="read", timeout_s=4)
    async def look(word: str) -> str:
        """Look something up."""
        await world.take(3.0)
        return f"found {word}"

    return Agent(instructions="Be kind.", greeting="Hello!", tools=(book, look), policy=POLICY)


def _number(text: str) -> int | None:
    """Give the number that a frame of the script holds."""
    found = re.search(r"\bp(\d+)\"", text) or re.search(r"InterruptMs\": (\d+)", text)
    return int(found.group(1)) if found else None


def _spoken(frame: dict[str, Any]) -> set[int]:
    """Give the requests whose words a frame holds."""
    return {int(number) for number in re.findall(r"q(\d+)w", str(frame.get("token", "")))}
