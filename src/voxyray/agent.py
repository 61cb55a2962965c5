"""What a user writes: an agent's instructions, voice, tools, keypad menu, model and policies.

In code:

    agent = Agent(instructions="You answer the phone for Ada's bike shop.", tools=[opening_hours])

or as a folder, which `voxyray.loading` reads.
"""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import jinja2
import jinja2.sandbox
import msgspec

from voxyray import tool as tools_module
from voxyray.caller import Caller
from voxyray.carriers.attributes import Value, validate_language, validate_relay_attributes
from voxyray.errors import AgentError, TwimlError
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
        keys.agent(self.name)
        try:
            known = tools_module.by_name(self.tools)
            relay = validate_relay_attributes(self.relay_attributes)
            for language in self.languages:
                validate_language(language, relay)
            zoneinfo.ZoneInfo(self.time_zone)
            self.render(Caller(), datetime.now(zoneinfo.ZoneInfo(self.time_zone)), ())
        except (TwimlError, AgentError) as error:
            raise AgentError(f"agent {self.name}: {error}") from error
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            raise AgentError(
                f"agent {self.name}: no time zone {self.time_zone!r}; write it like Europe/Paris"
            ) from error
        for key, action in self.keypad.items():
            if len(key) != 1 or key not in "0123456789*#":
                raise AgentError(f"agent {self.name}: {key!r} is no key of a phone (0-9, *, #)")
            if action.tool and action.tool not in known:
                raise AgentError(f"agent {self.name}: key {key} names no tool: {action.tool!r}")

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
        return {**RELAY_DEFAULTS, **self.relay}

    def app(self, **settings: Any) -> Any:
        """Give an ASGI application that answers this agent's calls, to mount anywhere.

        settings are `Settings` fields that win over the environment.
        """
        from voxyray.asgi import application  # the host stands above this module

        return application([self], **settings)


def _render(what: str, template: str, values: Mapping[str, Any]) -> str:
    try:
        return _environment.from_string(template).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise AgentError(f"{what}, line {error.lineno}: {error.message}") from error
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise AgentError(f"{what}: {error}") from error
