"""What is on this machine: Python, the agents, the store, who sends messages."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import secrets
import sys
import time
from pathlib import Path
from typing import Final

from voxyray.checks import Finding, Setup, broken, ok, warning
from voxyray.errors import AgentError, SettingsError, VoxyrayError
from voxyray.loading import load_agents
from voxyray.messengers.opening import open_messengers
from voxyray.stores import Delete, Put
from voxyray.stores.opening import open_store

_PYTHONS: Final = ((3, 11), (3, 13))
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9_.\-]+)(?:\[.*?\])?\s*(?:>=\s*([0-9][0-9.]*))?")
_PROBE_LIVES_S: Final = 300
_SLOW_STORE_MS: Final = 250.0


async def python(_: Setup) -> list[Finding]:
    """Check Python, its event loop and our dependencies."""
    version = platform.python_version()
    if not _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        tested = " to ".join(".".join(map(str, each)) for each in _PYTHONS)
        return [broken("python", f"Python {version} is not supported", f"use Python {tested}")]
    if wrong := _wrong_dependencies():
        fix = "run: pip install --upgrade voxyray"
        return [broken("python", f"Python {version}, but {', '.join(wrong)}", fix)]
    if importlib.util.find_spec("uvloop") is None:
        said = f"Python {version} without uvloop: every turn takes a little longer"
        return [warning("python", said, "run: pip install uvloop (it is not for Windows)")]
    return [ok("python", f"Python {version} with uvloop; all dependencies are there")]


def _wrong_dependencies() -> list[str]:
    """Give what is missing or too old; extras and other systems' packages do not count."""
    wrong = []
    for line in importlib.metadata.requires("voxyray") or ():
        name, _, marker = line.partition(";")
        found = _REQUIREMENT.match(name.strip())
        if found is None or "extra" in marker or found[1] == "uvloop":
            continue
        try:
            installed = importlib.metadata.version(found[1])
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{found[1]} is missing")
            continue
        if found[2] and _release(installed) < _release(found[2]):
            wrong.append(f"{found[1]} is {installed}, older than {found[2]}")
    return wrong


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


async def agents(setup: Setup) -> list[Finding]:
    """Check that the agents load."""
    try:
        names = [agent.name for agent in load_agents(setup.agent)]
    except AgentError as error:
        said = str(error).replace(f"{Path.cwd()}/", "")
        fix = (
            "see all that is wrong: voxyray agents check"
            if "no agent" not in said
            else ("run it where your agents/ are, or name what `voxyray serve` is given")
        )
        return [broken("agents", said, fix)]
    return [ok("agents", f"{', '.join(names)} can take calls")]


async def store(setup: Setup) -> list[Finding]:
    """Check that the store keeps what is written, with an item of our own that is then removed."""
    spec = setup.settings.store
    if spec.startswith("memory"):
        fix = "set VOXYRAY_STORE=sqlite:PATH or dynamodb:TABLE to keep calls and callers"
        return [warning("store", "memory: it is gone when the server stops", fix)]
    pk, value = f"DOCTOR#{secrets.token_hex(8)}", secrets.token_hex(8)
    item = {
        "pk": pk,
        "sk": "PROBE",
        "value": value,
        "expires_at": int(time.time()) + _PROBE_LIVES_S,
    }
    try:
        opened = open_store(spec)
        try:
            began = time.perf_counter()
            await opened.write(Put(item))
            got = await opened.get(pk, "PROBE")
            ms = (time.perf_counter() - began) * 1000
            await opened.write(Delete(pk, "PROBE"))
        finally:
            await opened.close()
    except VoxyrayError as error:
        return [broken("store", str(error), "check VOXYRAY_STORE")]
    if got is None or got.get("value") != value:
        fix = "check what else uses it, or choose another with VOXYRAY_STORE"
        return [broken("store", f"{spec} does not give back what was written", fix)]
    said = f"{spec}: written and read in {ms:,.0f} ms"
    if ms > _SLOW_STORE_MS:
        fix = "callers wait for it: use a disk or a table close to the server"
        return [warning("store", f"{said}, which is slow", fix, ms)]
    return [ok("store", said, ms=ms)]


async def messages(setup: Setup) -> list[Finding]:
    """Check that somebody sends what agents want to send."""
    settings = setup.settings
    try:
        messengers = open_messengers(settings)
    except SettingsError as error:
        return [broken("messages", str(error), "until then no agent can send a message")]
    for messenger in messengers.values():
        await messenger.close()
    kept = [kind for kind, messenger in messengers.items() if messenger.name == "outbox"]
    said = ", ".join(
        f"{'SMS' if kind == 'sms' else 'e-mail'} {'kept' if kind in kept else 'by ' + each.name}"
        for kind, each in messengers.items()
    )
    if "sms" in kept and settings.sms_from:
        fix = "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or VOXYRAY_SMS=outbox if it is meant"
        return [warning("messages", f"{said}; VOXYRAY_SMS_FROM is set but SMS is not sent", fix)]
    hint = "kept messages are not sent; see them with `voxyray outbox`" if kept else ""
    return [ok("messages", said, hint)]
