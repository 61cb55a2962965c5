"""What a user writes: an agent's instructions, voice, tools, keypad menu, model and policies.

In code:

    agent = Agent(instructions="You answer the phone for Ada's bike shop.", tools=[opening_hours])

or as a folder, which `voxyray.loading` reads.
"""

from __future__ import annotations

import dataclasses
import traceback
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import jinja2
import jinja2.meta
import jinja2.nodes
import jinja2.sandbox
import msgspec
from rapidfuzz import process

from voxyray import tool as tools_module
from voxyray.caller import Caller
from voxyray.carriers.attributes import Value, validate_language, validate_relay_attributes
from voxyray.errors import AgentError, StoreError, TwimlError, VoxyrayError
from voxyray.policy import Key, Policy
from voxyray.stores import keys
from voxyray.tool import Tool

# What every call wants: what was heard, when speech really starts and stops, every key.
RELAY_DEFAULTS: Final[Mapping[str, Value]] = {
    "interruptible": "any",
    "reportInputDuringAgentSpeech": "any",
    "dtmfDetection": "true",
    "events": "speaker-events tokens-played",
    "debug": "debugging",
}

# Without partial transcripts there is nothing to speculate on.
_SPECULATING: Final[Mapping[str, Value]] = {"partialPrompts": "true"}

_environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=False
)


class Listing(msgspec.Struct, frozen=True):
    """An agent as the others see it: its name, title and description."""

    name: str
    title: str
    description: str


class Texts(msgspec.Struct, frozen=True):
    """An agent's texts as rendered for one caller."""

    instructions: str
    greeting: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agent:
    """A voice agent.

    instructions and greeting are Jinja2 templates that know `caller` (a `Caller`), `now` (an aware
    datetime in time_zone), `agent` and `agents` (the other agents' listings). An empty greeting
    lets the model speak first. relay holds attributes of <ConversationRelay> over
    `RELAY_DEFAULTS`, languages its <Language> children, keypad what single keys do. model and
    offline override the server's model and name the offline script.

    Raises:
        AgentError: anything of it that could not work in a call.
    """

    instructions: str
    name: str = "agent"
    title: str = ""
    description: str = ""
    greeting: str = "Hello! How can I help you?"
    tools: Sequence[Tool] = ()
    keypad: Mapping[str, Key] = dataclasses.field(default_factory=dict)
    relay: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    languages: Sequence[Mapping[str, Value]] = ()
    policy: Policy = dataclasses.field(default_factory=Policy)
    time_zone: str = "UTC"
    model: str = ""
    offline: Path | None = None

    def __post_init__(self) -> None:
        try:
            self._check()
        except VoxyrayError as error:
            raise AgentError(f"agent {self.name!s:.60}: {error}") from error

    def _check(self) -> None:
        """Refuse what could not work in a call; every message begins with the field's name."""
        try:
            keys.agent(self.name)
        except (StoreError, TypeError):
            raise AgentError(
                f"name {self.name!r:.60} is not lower case letters, digits, _ and -, like bike_shop"
            ) from None
        try:
            known = tools_module.by_name(self.tools)
        except AgentError as error:
            raise AgentError(f"tools: {error}") from error
        self._check_relay()
        self._check_speculation()
        self._check_keypad(known)
        zone = _time_zone(self.time_zone)
        for what, template in (("instructions", self.instructions), ("greeting", self.greeting)):
            _check_names(what, template)
        # Both branches of "do we know them" are seen before anybody calls.
        for caller, others in ((Caller(), ()), (_SOMEBODY, (self.listing,))):
            self.render(caller, datetime.now(zone), others)

    def _check_relay(self) -> None:
        where = "relay"
        try:
            relay = validate_relay_attributes(self.relay_attributes)
            for number, language in enumerate(self.languages, 1):
                where = f"languages, number {number}"
                validate_language(language, relay)
        except TwimlError as error:
            raise AgentError(f"{where}: {error}") from error

    def _check_speculation(self) -> None:
        partials = str(self.relay_attributes.get("partialPrompts")).lower()
        if self.policy.speculate and partials != "true":
            raise AgentError(
                "policy: speculate needs partial transcripts, but relay has partialPrompts = "
                f"{partials}: leave one of the two out"
            )

    def _check_keypad(self, known: Mapping[str, Tool]) -> None:
        for key, action in self.keypad.items():
            if key not in tuple("0123456789*#"):
                raise AgentError(f"keypad: {key!r:.60} is no key of a phone (0-9, *, #)")
            if not isinstance(action, Key):
                raise AgentError(f"keypad: key {key} must be a Key, such as Key(say=...)")
            if action.tool and action.tool not in known:
                hint = _nearest(action.tool, known)
                raise AgentError(f"keypad: key {key} names no tool: {action.tool!r}{hint}")

    def render(self, caller: Caller, now: datetime, agents: Sequence[Listing]) -> Texts:
        """Fill in the templates.

        Raises:
            AgentError: a template is wrong; the message tells the line.
        """
        values = {"caller": caller, "now": now, "agent": self.listing, "agents": agents}
        return Texts(
            _render("instructions", self.instructions, values).strip(),
            " ".join(_render("greeting", self.greeting, values).split()),
        )

    @property
    def listing(self) -> Listing:
        """What other agents may say about this one."""
        return Listing(self.name, self.title or self.name.replace("_", " "), self.description)

    @property
    def relay_attributes(self) -> dict[str, Value]:
        """The attributes of <ConversationRelay>, defaults included."""
        wanted = _SPECULATING if self.policy.speculate else {}
        return {**RELAY_DEFAULTS, **wanted, **self.relay}

    def app(self, **settings: Any) -> Any:
        """Give an ASGI application that answers this agent's calls, to mount anywhere.

        settings are `Settings` fields that win over the environment.
        """
        from voxyray.asgi import application  # the host stands above this module

        return application([self], **settings)


# Somebody of whom everything is known, to try templates with.
_SOMEBODY: Final = Caller(
    "+15550100", "Ada", "Lovelace", "ada@example.com", "agent", "en-US", {"note": "a note"}
)
_KNOWN: Final = ("agent", "agents", "caller", "now")


def _time_zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        zones = zoneinfo.available_timezones()
        missing = "" if zones else "; this machine knows none: install the package tzdata"
        raise AgentError(
            f"time_zone: there is no {name!r:.60}; write it like Europe/Paris"
            f"{missing or _nearest(str(name), sorted(zones), listed=False)}"
        ) from error


def _nearest(name: str, names: Iterable[str], *, listed: bool = True) -> str:
    names = list(names)
    near = process.extractOne(name[:100], names, processor=str.casefold, score_cutoff=60)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are {', '.join(names) or 'none'}" if listed else ""


def _check_names(what: str, template: str) -> None:
    """Find unknown variables, also where no caller has been yet."""
    try:
        tree = _environment.parse(template)
        unknown = jinja2.meta.find_undeclared_variables(tree) - {*_KNOWN, *_environment.globals}
    except jinja2.TemplateSyntaxError as error:
        raise AgentError(f"{what}, line {error.lineno}: {error.message}") from error
    except jinja2.TemplateError as error:
        raise AgentError(f"{what}: {error}") from error
    for name in tree.find_all(jinja2.nodes.Name):
        if name.name in unknown:
            hint = _nearest(name.name, _KNOWN)
            raise AgentError(f"{what}, line {name.lineno}: unknown variable {name.name!r}{hint}")


def _render(what: str, template: str, values: Mapping[str, Any]) -> str:
    try:
        return _environment.from_string(template).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise AgentError(f"{what}, line {error.lineno}: {error.message}") from error
    except (
        jinja2.TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        lines = traceback.extract_tb(error.__traceback__)
        line = next((f", line {at.lineno}" for at in lines if at.filename == "<template>"), "")
        raise AgentError(f"{what}{line}: {error}") from error
