"""Tools that every agent may want."""

from __future__ import annotations

from typing import Annotated

from voxyray.context import CallContext
from voxyray.errors import ToolError
from voxyray.tool import tool


@tool(effect="end")
def hang_up() -> None:
    """End the call, after the farewell you say along with it has been played.

    Call this when the caller says goodbye, or when they have all they wanted and say so. Say a
    short farewell in the same answer. Never call it in the middle of a matter, because of a silence
    or because you are unsure: ask instead.
    """


@tool(effect="end", farewell="One moment, I'll put you through.")
def transfer_to_agent(
    name: Annotated[str, "The agent's name, the word before the colon in your instructions."],
    *,
    call: CallContext,
) -> dict[str, str]:
    """Put the caller through to another of the agents, in this call.

    Say one short sentence in the same answer, such as that you are putting them through. The other
    agent knows what was said so far.
    """
    if name not in [other.name for other in call.agents]:
        names = ", ".join(other.name for other in call.agents) or "none"
        raise ToolError(f"there is no agent {name[:60]!r}; there are: {names}")
    return {"reasonCode": "agent-transfer", "agent": name}


@tool(effect="end", farewell="One moment, I'll connect you with a colleague.")
def transfer_to_person(
    reason: Annotated[str, "Why a person is needed, in a few words."],
    summary: Annotated[str, "What the person must know: who calls, what they want, what was done."],
) -> dict[str, str]:
    """Put the caller through to a person.

    Call this when they ask for one, or for what you may not decide. Say one short sentence in the
    same answer, such as that you are connecting them.
    """
    return {
        "reasonCode": "live-agent-handoff",
        "reason": reason[:200],
        "summary": summary[:1000],
    }
