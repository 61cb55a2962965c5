"""The deployed stacks on this machine, a model they ask, and a carrier that calls them.

async with deployed(folder, ToolsIn="function") as world:
    session = await world.place("teller")
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from tests.hosts import third_party
from tests.hosts.third_party import ACCOUNT, TOKEN
from voxyray import journal, twin
from voxyray.commands.hosting import listen
from voxyray.stores import Item, Put, keys
from voxyray.stores.dynamodb import DynamoStore
from voxyray.twin.cloud.functions import Invocation, Pool
from voxyray.twin.cloud.gateway import Manners, disorderly
from voxyray.twin.cloud.local import Cloud, Options, local_cloud
from voxyray.twin.cloud.ministack import make_client
from voxyray.twin.provider import Behaviour, Provider

ROOT: Final = Path(__file__).parents[2]
SOON_S: Final = 20.0
GREETING: Final = "Hello there."
_ENVIRONMENTS: Final = 4  # of each function; a laptop's cores bear no more
_LINE: Final = "+15550100000"
_FAST: Final = twin.Timing().scaled(1 / 20)
# Agents whose model is the simulated one; their callers are those who have chosen them.
_AGENTS: Final = {
    "teller": f'greeting = "{GREETING}"\nmodel = "openai:test"\n',
    "hurried": f'greeting = "{GREETING}"\nmodel = "openai:test"\n'
    "[policy]\nsilence_after_s = 1.5\ncharacters_per_s = 200\n"
    'reprompts = ["Are you there?"]\nsilence_goodbye = "Nobody is there."\n',
}
_TOOLS: Final = '''
"""A tool that can be seen to run."""

from voxyray import CallContext, tool
from voxyray.stores import Update


@tool(effect="write")
async def book(*, call: CallContext) -> str:
    """Book it."""
    # An addition, so that a second run would be seen.
    await call.store.update(Update(f"BOOKED#{call.id}", "COUNT", add={"times": 1}))
    return "Booked."
'''


class World:
    """A local cloud with everything around it, for the tests of a module.

    store: the table, asked past the proxy that gets in the way of the functions. seen: what the
    relay was invoked for since the last reset, such as `prompt` or `wake`, by connection.
    """

    def __init__(self, cloud: Cloud, provider: Provider, http: aiohttp.ClientSession) -> None:
        self.cloud = cloud
        self.provider = provider
        self.carrier = third_party.Carrier(http, cloud.url, str)
        dynamodb = make_client("dynamodb", cloud.environment["AWS_ENDPOINT_URL"])
        self.store = DynamoStore(dynamodb, cloud.stack.tables[0])
        self.seen: dict[str, list[str]] = {}
        self._numbers = count(15550110000)
        self.relay.fate = self._see

    @property
    def relay(self) -> Pool:
        """The relay function."""
        assert self.cloud.stack.websocket is not None
        return self.cloud.functions[self.cloud.stack.websocket.function]

    def reset(self) -> None:
        """Let everything be good again, and forget what was asked."""
        self.cloud.database.fault = None
        self.straighten()
        self.cloud.gateway.failures.clear()
        self.seen.clear()
        self.provider.script = Behaviour(text="Yes.")
        self.provider.requests.clear()
        self.provider.cancelled.clear()

    def twin(self, **settings: Any) -> twin.Carrier:
        """Give a simulated carrier with people's way to talk, much faster than life."""
        settings = {"timing": _FAST, "account_sid": ACCOUNT, **settings}
        return twin.Carrier(f"{self.cloud.url}/voice", TOKEN, **settings)

    async def somebody(self, agent: str = "", **profile: str) -> str:
        """Give the number of a new caller, who reaches this agent."""
        number = f"+{next(self._numbers)}"
        if agent:
            item = {"pk": keys.caller(number), "sk": keys.PROFILE, "agent": agent, **profile}
            await self.store.write(Put(item))
        return number

    async def place(self, agent: str, **profile: str) -> third_party.Session:
        """Place a call to an agent, and wait until it was let in."""
        session = await self.carrier.place(From=await self.somebody(agent, **profile), To=_LINE)
        await self.until(lambda: self.started(session.call_sid))
        return session

    async def started(self, call: str) -> bool:
        """Whether a call was let in, and is at rest or under way."""
        return (await self.head(call)).get("status") == "talking"

    async def head(self, call: str) -> Item:
        """Give what is stored of a call as a whole."""
        return await self.store.get(keys.call(call), keys.HEAD) or {}

    async def entries(self, call: str, kind: type[Any] | None = None) -> list[Any]:
        """Give what the journal holds of a call, all or of one kind."""
        items = await self.store.query(keys.call(call), "J#")
        whats = [journal.from_item(item).what for item in items]
        return [each for each in whats if kind is None or isinstance(each, kind)]

    async def ended(self, call: str) -> journal.CallEnded:
        """Wait until the journal of a call is complete."""
        found = await self.until(lambda: self.entries(call, journal.CallEnded))
        ended: journal.CallEnded = found[0]
        return ended

    async def until(self, look: Callable[[], Any]) -> Any:
        """Wait until a look, an async function, gives something, and give that."""
        async with asyncio.timeout(SOON_S):
            while True:
                if found := await look():
                    return found
                await asyncio.sleep(0.05)

    async def settled(self) -> None:
        """Wait until no process has a call in hand."""
        await self.until(self._is_idle)

    async def _is_idle(self) -> bool:
        return not self.relay.running

    @property
    def connection(self) -> str:
        """The connection that was opened last."""
        return list(self.cloud.gateway.connections)[-1]

    def _see(self, invocation: Invocation) -> None:
        connection, kind = _read(msgspec.json.decode(invocation.event))
        self.seen.setdefault(connection, []).append(kind)

    def disorder(self, seed: int) -> None:
        """Let frames come late and so in any order, some of them twice."""
        deliveries = disorderly(seed, up_to_ms=200, twice=0.5)
        self.cloud.gateway.manners = Manners(deliveries=deliveries)

    def straighten(self) -> None:
        """Let frames come at once and in order."""
        self.cloud.gateway.manners = Manners()


@asynccontextmanager
async def deployed(folder: Path, **parameters: str) -> AsyncIterator[World]:
    """Run the stacks and all around them; parameters: of the template."""
    bundle = _bundle(folder / "bundle")
    async with AsyncExitStack() as exits:
        provider = await exits.enter_async_context(Provider.serve(Behaviour(text="Yes.")))
        options = Options(
            logs=folder / "logs",
            template=ROOT / "deploy/aws/template.yaml",
            folder=bundle,
            parameters={"OpenAiBaseUrl": provider.base_url, **parameters},
            secrets={"twilio-auth-token": TOKEN, "twilio-account-sid": ACCOUNT},
            cold=True,
            environments=_ENVIRONMENTS,
        )
        listener = exits.enter_context(listen("127.0.0.1", 0))
        cloud = await exits.enter_async_context(local_cloud(options, listener))
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        http = await exits.enter_async_context(aiohttp.ClientSession(connector=connector))
        world = World(cloud, provider, http)
        # Now, and not amid the calls: starts that share two cores take seconds.
        for number in range(1, _ENVIRONMENTS + 1):
            await world.relay.warm(number)
        yield world


def _read(event: Any) -> tuple[str, str]:
    """Tell whose an invocation is, and what it is for: a route, `wake`, or a frame's type."""
    if "Records" in event:
        (record,) = event["Records"]
        return msgspec.json.decode(record["body"])["connection"], "wake"
    context = event["requestContext"]
    kind = str(context["routeKey"])
    if kind == "$default":
        try:
            kind = str(msgspec.json.decode(event["body"])["type"])
        except (msgspec.MsgspecError, KeyError, TypeError):
            kind = "nonsense"
    return str(context["connectionId"]), kind


def _bundle(folder: Path) -> Path:
    """Write what the functions find where their code is: the shipped agents, and ours."""
    agents = folder / "agents"
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(ROOT / "agents", agents, ignore=ignored)
    for name, definition in _AGENTS.items():
        own = agents / name
        own.mkdir()
        (own / "agent.toml").write_text(definition)
        (own / "prompt.md").write_text("Be kind.")
        (own / "tools.py").write_text(_TOOLS)
    return folder
