"""Where a simulated call goes to: a service started for it, or a server that runs already."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from voxyray import __version__
from voxyray.agent import Agent
from voxyray.commands import hosting
from voxyray.commands.lookup import existing_store, read_journal
from voxyray.commands.naming import reference
from voxyray.errors import SettingsError, VoxyrayError
from voxyray.journal import Entry
from voxyray.loading import load_agents
from voxyray.recorder import Recorder
from voxyray.service import Service
from voxyray.settings import Settings, load_settings, with_development_token
from voxyray.stores import Store
from voxyray.twin import Carrier, Timing

OnEntry = Callable[[Entry], None]

_ACCOUNT: Final = "AC00000000000000000000000000000000"
_ANSWERS_WITHIN_S: Final = 5.0


class Target(msgspec.Struct, frozen=True):
    """Somebody who answers: a carrier that knows the way, and what is known of them."""

    carrier: Carrier
    about: str
    offline: bool = False


class _Tap(Recorder):
    """A recorder that lets somebody watch what it records."""

    def __init__(self, store: Store, on_entry: OnEntry) -> None:
        super().__init__(store)
        self._on_entry = on_entry

    def record(self, call_id: str, entry: Entry, expires_at: int) -> None:
        """Take a journal entry to be written soon, and show it."""
        super().record(call_id, entry, expires_at)
        self._on_entry(entry)


@contextlib.asynccontextmanager
async def own_service(
    agent: str | None, on_entry: OnEntry, timing: Timing, *, partials: bool = False
) -> AsyncIterator[Target]:
    """Start a service on a free port of this machine, for as long as the block runs.

    agent: a name in agents/, a folder or module:attribute; None is all of agents/. on_entry: is
    given the journal of every call as it is written.

    Raises:
        VoxyrayError: agents, settings or store cannot be used.
    """
    with hosting.listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = with_development_token(load_settings(public_url=url))
        agents = [_asked_for(each, partials) for each in load_agents(reference(agent))]
        service = Service(settings, agents, clock=time.perf_counter)
        service.recorder = _Tap(service.store, on_entry)
        models = dict.fromkeys(model.name for model in service.models.values())
        named = agents[0].name if len(agents) == 1 else f"{len(agents)} agents"
        async with hosting.hosted(service, listener):
            yield Target(
                _carrier(settings, url, url, timing),
                f"voxyray {__version__}, {named}, {', '.join(models)}",
                "offline" in models,
            )


def _asked_for(agent: Agent, partials: bool) -> Agent:
    if not partials:
        return agent
    return dataclasses.replace(agent, relay={**agent.relay, "partialPrompts": True})


def _carrier(settings: Settings, public_url: str, url: str, timing: Timing) -> Carrier:
    return Carrier(
        f"{public_url}/voice",
        next(iter(settings.auth_tokens), ""),
        account_sid=settings.twilio_account_sid or _ACCOUNT,
        resolve=lambda asked: _resolved(asked, public_url, url),
        timing=timing,
    )


def _resolved(asked: str, public_url: str, url: str) -> str:
    """Lead a public URL, of http or WebSocket, to where the server listens."""
    for scheme in ("http", "ws"):
        public = scheme + public_url.removeprefix("http")
        if asked.startswith(public):
            return scheme + url.removeprefix("http") + asked[len(public) :]
    return asked


async def running_server(url: str, settings: Settings, timing: Timing) -> Target:
    """Give the way to a server that runs already; it is taken to have our settings.

    Raises:
        SettingsError: nobody answers there.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"--url {url!r} is no URL; write one such as http://127.0.0.1:8080")
    url = url.rstrip("/")
    settings = with_development_token(settings)
    await _check_answers(url)
    # What is signed is the public URL as the server knows it, wherever it listens.
    public_url = settings.base_url
    if settings.is_local:
        public_url = url.replace("//localhost", "//127.0.0.1")
    return Target(_carrier(settings, public_url, url, timing), url)


async def _check_answers(url: str) -> None:
    timeout = aiohttp.ClientTimeout(total=_ANSWERS_WITHIN_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/healthz") as answer,
        ):
            if answer.status == 200:
                return
            trouble = f"answers {answer.status} at /healthz: it is no voxyray"
    except (aiohttp.ClientError, TimeoutError):
        trouble = "does not answer"
    raise SettingsError(
        f"{url} {trouble}; start a server with `voxyray serve`, or leave --url out to start one "
        "for this call"
    )


async def stored_journal(settings: Settings, call_id: str, sessions: int) -> list[Entry]:
    """Read a finished call's journal, if the server's store is the one of our settings."""
    try:
        store = existing_store(settings)
        if store is None:
            return []
        try:
            return await read_journal(store, call_id, ended=sessions)
        finally:
            await store.close()
    except VoxyrayError:
        return []
