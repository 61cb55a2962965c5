"""How an agent behaves when nobody says anything useful: the numbers and the sentences."""

from __future__ import annotations

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

    Raises:
        AgentError: a deadline that is not positive.
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

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name.endswith("_s") and not value > 0:
                raise AgentError(f"policy {name} must be more than 0, not {value}")
            if isinstance(value, int) and value < 0:
                raise AgentError(f"policy {name} must not be negative, not {value}")
        if not self.fillers:
            raise AgentError("policy fillers needs at least one sentence: silence is dead air")


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
        if [bool(self.say), bool(self.ask), bool(self.tool)].count(True) != 1:
            raise AgentError("a key needs exactly one of: say, ask, tool")
