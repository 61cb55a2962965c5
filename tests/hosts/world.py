"""A host with its agent, store and model, and a carrier to call it: what a test of hosts needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from tests.hosts import third_party
from tests.hosts.gated import GatedModel, gated_model
from tests.hosts.hosting import NAME, public_url, serving
from tests.hosts.third_party import ACCOUNT, TOKEN
from tests.support.waterfalls import check_sums
from voxyray import callfile, journal, twin
from voxyray.agent import Agent
from voxyray.errors import StoreError
from voxyray.models import Model
from voxyray.replay import replay
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.stores import Store, keys
from voxyray.stores.memory import MemoryStore
from voxyray.tool import Tool
from voxyray.twin.provider import Provider, Script
from voxyray.waterfall import turns

GREETING = "Hello there, how can I help?"


class World:
    """Everything of one test; open it first."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.public = public_url(host)
        self.store: Store = MemoryStore()
        self.address = ""
        self._stack = AsyncExitStack()

    async def open(
        self,
        *agents: Agent,
        provider: Script | None = None,
        model: Model | None = None,
        store: Store | None = None,
        **settings: Any,
    ) -> World:
        """Serve; asks a gated model, unless a provider's script or a model is given."""
        agents = agents or (make_agent(),)
        base_url = ""
        if provider is not None:
            self.provider = await self._stack.enter_async_context(Provider.serve(provider))
            base_url = self.provider.base_url
        elif model is None:
            self.model: GatedModel = await self._stack.enter_async_context(gated_model())
            base_url = self.model.base_url
        self.store = store if store is not None else self.store
        self.settings = Settings(
            **{
                "public_url": self.public,
                "twilio_account_sid": ACCOUNT,
                "twilio_auth_token": TOKEN,
                "model": "openai:test",
                "openai_base_url": base_url or "http://127.0.0.1:9/v1",
                **settings,
            }
        )
        models = {agent.name: model for agent in agents} if model is not None else None
        self.service = Service(self.settings, agents, store=self.store, models=models)
        self.address = await self._stack.enter_async_context(serving(self.host, self.service))
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        session = await self._stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        self.carrier = third_party.Carrier(session, self.settings.base_url, self.resolve)
        return self

    async def close(self) -> None:
        try:
            await self._check_journals()
        finally:
            await self._stack.aclose()

    async def _check_journals(self) -> None:
        """Hold every call of every test to this: the parts of its waits sum to them, and it
        replays identically, as far as its journal goes."""
        try:
            listed = await self.store.query(keys.day(time.time()))
            for each in listed:
                items = await self.store.query(keys.call(each["call"]), "J#")
                for turn in turns(map(journal.from_item, items)):
                    check_sums(turn)
                if items and not self.service.recorder.lost:
                    replayed = replay(await callfile.load(self.store, each["call"]))
                    assert replayed.difference is None, str(replayed.difference)
        except StoreError:
            pass  # the test's store is broken on purpose

    def resolve(self, url: str) -> str:
        for scheme, real in (("wss://", "ws://"), ("https://", "http://")):
            url = url.replace(f"{scheme}{NAME}", f"{real}{self.address}")
        return url

    def twin(self, **settings: Any) -> twin.Carrier:
        voice = f"{self.settings.base_url}/voice"
        return twin.Carrier(
            voice,
            **{"auth_token": TOKEN, "account_sid": ACCOUNT, "resolve": self.resolve, **settings},
        )

    async def entries(self, call_sid: str, kind: type[Any] | None = None) -> list[Any]:
        """Give what the journal holds of a call, all or of one kind."""
        items = await self.store.query(keys.call(call_sid), "J#")
        entries = [journal.from_item(item).what for item in items]
        return [each for each in entries if kind is None or isinstance(each, kind)]

    async def place(self) -> third_party.Session:
        """Place a call and wait until it was let in."""
        session = await self.carrier.place()
        while not await self._is_talking(session.call_sid):
            await _tick()
        return session

    async def _is_talking(self, call_sid: str) -> bool:
        return call_sid in await self.talking()

    async def talking(self) -> list[str]:
        """The calls that were let in and are not over."""
        if self.host != "lambda":
            return list(self.service.runners)
        await asyncio.sleep(0.2)  # the journal is written behind
        listed = await self.store.query(keys.day(time.time()))
        begun = [each["call"] for each in listed]
        return [each for each in begun if not await self.entries(each, journal.CallEnded)]

    async def ended(self, call_sid: str) -> list[Any]:
        """Wait until a call is over; gives its journal."""
        while call_sid in self.service.runners:
            await _tick()
        while self.host == "lambda" and not await self.entries(call_sid, journal.CallEnded):
            await _tick()
        await self.service.recorder.flush()
        return await self.entries(call_sid)


async def _tick() -> None:

    await asyncio.sleep(0.01)


def make_agent(*, tools: Sequence[Tool] = (), **changes: Any) -> Agent:
    return Agent(**{"instructions": "Be kind.", "greeting": GREETING, "tools": tools, **changes})
