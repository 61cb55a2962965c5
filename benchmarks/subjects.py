"""The servers that are measured, and how each is started and spoken to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.figures import Kind

ROOT: Final = Path(__file__).parent.parent
PEERS_PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"
_EVERY_KIND: Final[tuple[Kind, ...]] = ("talk", "storm", "barge-in", "tools", "partials", "memory")


class Subject(msgspec.Struct, frozen=True):
    """A server under test.

    module: is run with python, and told the socket, the model and the scenario. voice_path: of its
    webhook, none if it has none. ready_path: any answer there means that it is up. imports: what
    it imports before it serves. packages: whose versions matter. kinds: the scenarios it can do.
    """

    name: str
    module: str
    python: str
    voice_path: str
    ready_path: str
    imports: str
    packages: tuple[str, ...]
    kinds: tuple[Kind, ...] = _EVERY_KIND
    is_floor: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can be run here."""
        return Path(self.python).exists()


VOXYRAY: Final = Subject(
    name="voxyray",
    module="benchmarks.server",
    python=sys.executable,
    voice_path="/voice",
    ready_path="/healthz",
    imports="import voxyray.server, voxyray.models.openai",
    packages=("aiohttp", "msgspec", "uvloop"),
    kinds=(*_EVERY_KIND, "events"),
)
AGENT_CONNECT: Final = Subject(
    name="twilio-agent-connect",
    module="benchmarks.peers.agent_connect",
    python=str(PEERS_PYTHON),
    voice_path="/twiml",
    ready_path="/",
    imports="import tac.server, tac.channels.voice, openai",
    packages=("twilio-agent-connect", "openai", "fastapi", "uvicorn", "uvloop"),
)
BARE_FASTAPI: Final = Subject(
    name="fastapi-openai",
    module="benchmarks.peers.bare_fastapi",
    python=str(PEERS_PYTHON),
    voice_path="/twiml",
    ready_path="/",
    imports="import fastapi, uvicorn, openai",
    packages=("fastapi", "openai", "uvicorn", "uvloop"),
)
FLOOR: Final = Subject(
    name="floor",
    module="benchmarks.peers.floor",
    python=str(PEERS_PYTHON),
    voice_path="",
    ready_path="/",
    imports="import picows, msgspec, uvloop",
    packages=("picows", "msgspec", "uvloop"),
    kinds=("talk", "storm", "barge-in", "memory"),
    is_floor=True,
)
SUBJECTS: Final = {each.name: each for each in (VOXYRAY, AGENT_CONNECT, BARE_FASTAPI, FLOOR)}
