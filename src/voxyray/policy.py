"""How an agent behaves when nobody says anything useful: the numbers and the sentences."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from voxyray.errors import AgentError


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deadlines (seconds) and fixed sentences of an agent; every default can be changed.

    filler_after_s: from the end of the caller's input to a filler, when no words came yet.
    filler_every_s: between fillers while the wait goes on.
    give_up_after_s: a model that shows no progress for so long has failed.
    retries: how often a failed request is repeated before the caller is told.
    failures_before_way_out: failed turns in a row until the call is ended with the way out.
    silence_after_s: from the end of the agent's speech to a reprompt; after all reprompts goodbye.
    resume_after_s: after an interruption that no words follow, the agent goes on.
    keypad_pause_s: keys pressed closer together than this are one input (or ended by `#`).
    max_duration_s: of the call; then the agent says time_up and ends it.
    tool_rounds: how many rounds of tools one turn may take.
    characters_per_s: the assumed pace of the voice where the carrier does not report it.
    speculate: ask the model on a partial transcript that stands still, before the final one comes.
    speculate_after_s: how long it must stand still; None: learned from the call.
    speculate_requests and speculate_tokens: what a call may spend on that.

    Raises:
        AgentError: a deadline that is not positive, or a sentence that says nothing.
    """

    filler_after_s: float = 1.5
    filler_every_s: float = 6.0
    fillers: tuple[str, ...] = ("One moment, please.", "Just a second.", "Bear with me.")
    give_up_after_s: float = 12.0
    retries: int = 1
    apology: str = "I'm sorry, I lost the thread. Could you say that again, please?"
    failures_before_way_out: int = 3
    way_out: str = (
        "I'm sorry, something isn't working on my side, and I don't want to keep you waiting. "
        "Please call again in a little while. Goodbye."
    )
    silence_after_s: float = 10.0
    reprompts: tuple[str, ...] = ("Are you still there?", "I can't hear you. Are you there?")
    silence_goodbye: str = "I can't hear anyone, so I'll hang up now. Goodbye."
    resume_after_s: float = 3.0
    keypad_pause_s: float = 2.0
    max_duration_s: float = 1800.0
    time_up: str = "I'm sorry, our time for this call is up. Please call again. Goodbye."
    farewell: str = "Goodbye."
    tool_rounds: int = 6
    characters_per_s: float = 15.0
    speculate: bool = False
    speculate_after_s: float | None = None
    speculate_requests: int = 40
    speculate_tokens: int = 100_000

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if field.default is not None:
                _check(field.name, value, field.default)
            elif value is not None:
                _check(field.name, value, 1.0)
        if not self.fillers:
            raise AgentError("policy fillers needs at least one sentence: silence is dead air")


def _check(name: str, value: Any, default: Any) -> None:
    """Refuse what would fail in a call, or leave the caller in silence."""
    if isinstance(default, bool):
        if type(value) is not bool:
            raise AgentError(f"policy {name} must be true or false, not {value!r}")
    elif isinstance(default, float):
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise AgentError(f"policy {name} must be a number above 0, not {value!r}")
    elif isinstance(default, int):
        if type(value) is not int or value < 0:
            raise AgentError(f"policy {name} must be a whole number from 0, not {value!r}")
    elif isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            raise AgentError(f"policy {name} must be a list of sentences, not {value!r}")
        for number, sentence in enumerate(value, 1):
            _check(f"{name}, sentence {number},", sentence, "")
    elif not isinstance(value, str) or not value.strip():
        raise AgentError(f"policy {name} must be a sentence, not {value!r}: silence is dead air")


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key of the agent's menu does: exactly one of the three.

    say: words spoken at once, without a model; ask: words taken as if the caller had said them;
    tool: the tool that the model must call.

    Raises:
        AgentError: none or several are given.
    """

    say: str = ""
    ask: str = ""
    tool: str = ""

    def __post_init__(self) -> None:
        if [bool(each.strip()) for each in (self.say, self.ask, self.tool)].count(True) != 1:
            raise AgentError("a key needs exactly one of: say, ask, tool")
