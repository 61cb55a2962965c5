"""Somebody with a browser that knows no JavaScript, and calls for them to look at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from html.parser import HTMLParser
from typing import Any, Final

import aiohttp

from tests.hosts.hosting import PREFIX, serving
from voxyray import frames, journal
from voxyray.agent import Agent
from voxyray.caller import Caller
from voxyray.journal import Entry, What
from voxyray.models import ToolCall, Usage
from voxyray.models.offline import OfflineModel
from voxyray.reception import Admission
from voxyray.runner import Runner
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.stores import Store, keys
from voxyray.stores.memory import MemoryStore

HOSTS: Final = ("aiohttp", "asgi", "mounted")
TOKEN: Final = "correct-horse-battery"
NUMBER: Final = "+15550100001"


class Page(HTMLParser):
    """What a reader finds in a page: its text, elements and forms."""

    def __init__(self, status: int, html: str, headers: Any) -> None:
        super().__init__()
        self.status, self.html, self.headers = status, html, headers
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._quiet = 0
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Give the attributes of all such elements."""
        return [
            given
            for name, given in self.elements
            if name == tag and all(given.get(a.rstrip("_")) == v for a, v in attributes.items())
        ]

    @property
    def form_token(self) -> str:
        return self.all("input", name="form_token")[0]["value"]


class Desk:
    """A served dashboard; open it first."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.store: Store = MemoryStore()
        self.headers: dict[str, str] = {}
        self._stack = AsyncExitStack()

    async def open(self, *agents: Agent, token: str = "", **settings: Any) -> Desk:
        prefix = PREFIX if self.host == "mounted" else ""
        agents = agents or (Agent(name="shop", instructions="Be kind.", greeting="Hello!"),)
        self.settings = Settings(
            **{
                "public_url": f"http://127.0.0.1:8080{prefix}",
                "dashboard_token": token,
                "twilio_auth_token": "t" * 20,
                "model": "offline",
                **settings,
            }
        )
        models: Any = {agent.name: OfflineModel(None) for agent in agents}
        self.service = Service(self.settings, agents, store=self.store, models=models)
        address = await self._stack.enter_async_context(serving(self.host, self.service))
        self.root = f"http://{address}{prefix}/dashboard/"
        jar = aiohttp.CookieJar(unsafe=True)  # of an address without a name, too
        self.session = await self._stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))
        return self

    async def close(self) -> None:
        await self._stack.aclose()

    async def get(self, path: str = "", *, follow: bool = True, **headers: str) -> Page:
        sent = {**self.headers, **{n.replace("_", "-"): v for n, v in headers.items()}}
        async with self.session.get(
            f"{self.root}{path}", headers=sent, allow_redirects=follow
        ) as answer:
            return Page(answer.status, await answer.text(), answer.headers)

    async def post(
        self, path: str, form: dict[str, str], *, follow: bool = True, origin: str = ""
    ) -> Page:
        sent = {**self.headers, **({"Origin": origin} if origin else {})}
        async with self.session.post(
            f"{self.root}{path}", data=form, headers=sent, allow_redirects=follow
        ) as answer:
            return Page(answer.status, await answer.text(), answer.headers)

    async def send(self, page: str, path: str, form: dict[str, str]) -> Page:
        """Fill in a form of a page and send it."""
        return await self.post(path, {"form_token": (await self.get(page)).form_token, **form})

    async def sign_in(self, token: str = TOKEN) -> Page:
        return await self.send("login", "login", {"token": token})

    # Calls

    async def keep(
        self,
        call_id: str,
        entries: Sequence[Entry],
        *,
        number: str = NUMBER,
        agent: str = "shop",
        ago_s: float = 600.0,
    ) -> None:
        """Store a call as hosts do."""
        at = time.time() - ago_s
        until = int(at) + 86_400 * 30
        place = {"pk": keys.day(at), "sk": keys.started(at, call_id)}
        listed = {"call": call_id, "agent": agent, "caller": number, "expires_at": until}
        head = {"pk": keys.call(call_id), "sk": keys.HEAD, "agent": agent, "caller": number}
        items = [journal.to_item(call_id, entry, until) for entry in entries]
        await self.store.append(
            [{**place, **listed, "started_at_ms": int(at * 1000)}, head, *items]
        )

    def start(self, call_id: str, number: str = NUMBER) -> Runner:
        """Begin a call that lasts; its carrier hears nothing."""
        setup = frames.Setup(call_sid=call_id, from_=number)
        admission = Admission(self.service.agents[0], Caller(number), "Be kind.", "Hello!", setup)
        return self.service.start(admission, Deaf())


class Deaf:
    """A line to nobody."""

    def send(self, data: bytes) -> None: ...

    def purge(self) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


class Talk:
    """Writes the journal of a call."""

    def __init__(self, agent: str = "shop", greeting: str = "Hello!", at: float = 0.0) -> None:
        self.entries: list[Entry] = []
        self.turn, self.ms = 0, 0.0
        self.add(journal.CallStarted(at or time.time() - 600, agent, greeting))
        self.add(journal.TurnStarted("greeting", ""))

    def add(self, what: What, after_ms: float = 0.0) -> Talk:
        self.ms += after_ms
        self.entries.append(Entry(self.turn, len(self.entries), self.ms, what))
        return self

    def says(
        self,
        words: str,
        answer: str,
        *,
        gap_ms: float = 400.0,
        heard: str | None = None,
        tool: ToolCall | None = None,
        status: str = "done",
        result: str = "",
    ) -> Talk:
        """Have the caller say something, and the agent answer."""
        self.turn += 1
        self.add(frames.Prompt(words), 1000).add(journal.TurnStarted("speech", words))
        if tool is not None:
            output = journal.ModelOutput(1, (), (tool,), Usage(5, 2), "tool_calls", "tiny")
            self.add(journal.ModelRequested(1, 0, 2), 0.1).add(output, 50)
            self.add(journal.ToolStarted(self.turn, tool.name, "read", tool.arguments, ""))
            self.add(journal.ToolFinished(self.turn, tool.name, status, result), 30)
        self.add(journal.ModelRequested(2, 0, 2), 0.1)
        self.add(journal.FirstToken(2), gap_ms)
        self.add(journal.FirstSent("model"), 0.2)
        deltas = ((self.ms, answer),)
        self.add(journal.ModelOutput(2, deltas, (), Usage(10, 5), "stop", "tiny"), 10)
        self.add(journal.LastSent())
        if heard is not None:
            self.add(frames.Interrupt(heard, 300), 300)
            self.add(journal.Heard(self.turn, heard, "interrupt"))
        return self

    def ends(self, why: str = "caller") -> list[Entry]:
        return self.add(journal.CallEnded(1000, why), 500).entries
