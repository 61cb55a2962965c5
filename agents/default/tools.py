"""What the receptionist can do: save a name, save a choice, put callers through, hang up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from rapidfuzz import fuzz, utils

from voxyray.agent import Listing
from voxyray.builtin import hang_up, transfer_to_agent, transfer_to_person
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ToolError
from voxyray.tool import tool

__all__ = ["tools"]

# What models write when they have no name but feel they must write something.
_NO_NAMES = re.compile(
    r"unknown|undefined|none|null|nil|n/?a|anonymous|unnamed|caller|user|customer|guest|test|x+"
    r"|(?:the)?(?:caller)?(?:first|last|full|sur)?name|first|last"
)
_NAME = re.compile(r"[^\W\d_](?:[^\W\d_]|[ .'’\-])*")
_MAX_NAME = 60
_CUTOFF = 78.0
_CLEAR_LEAD = 6.0


@tool(effect="write")
async def save_name(
    first_name: Annotated[str, "Their first name, as they would write it."],
    last_name: Annotated[str, "Their last name; empty if they gave none."] = "",
    *,
    caller: Caller,
) -> str:
    """Save the caller's name, or correct it; call it again whenever they correct it."""
    changes = {"first_name": _name("first_name", first_name)}
    if last_name.strip():
        changes["last_name"] = _name("last_name", last_name)
    await caller.save(**changes)
    return f"Saved. The caller is {caller.name}."


@tool(effect="write")
async def choose_use_case(
    name: Annotated[str, "The word before the colon in your instructions."],
    *,
    caller: Caller,
    call: CallContext,
) -> str:
    """Save which use case the caller has chosen; then put them through to it.

    They reach it directly when they call again.
    """
    chosen = _chosen(name, call.agents)
    await caller.save(agent=chosen.name)
    return f"Saved: {chosen.title}. Put them through now: transfer_to_agent, name {chosen.name}."


def _name(which: str, given: str) -> str:
    text = " ".join(given.split())
    plain = text.casefold().replace("_", "").replace(" ", "")
    if _NO_NAMES.fullmatch(plain):
        raise ToolError(f"{which}: {text!r} is not a name; ask the caller for it")
    if not _NAME.fullmatch(text) or len(text) > _MAX_NAME:
        raise ToolError(f"{which}: {text[:60]!r} does not look like a name; ask the caller again")
    return text


def _chosen(name: str, agents: Sequence[Listing]) -> Listing:
    """Find what is meant: models give titles, callers' words and slips for names."""
    for each in agents:
        if each.name == name:
            return each
    ranked = sorted(((_closeness(name, each), each) for each in agents), key=lambda pair: -pair[0])
    leads = len(ranked) == 1 or (ranked and ranked[0][0] - ranked[1][0] >= _CLEAR_LEAD)
    if leads and ranked[0][0] >= _CUTOFF:
        return ranked[0][1]
    if not agents:
        raise ToolError("there is no use case to choose at the moment; tell the caller so")
    choices = "; ".join(f"{each.name} ({each.title})" for each in agents)
    raise ToolError(f"no use case is called {name[:60]!r}. There are: {choices}")


def _closeness(given: str, listing: Listing) -> float:
    plain = utils.default_process(given.replace("_", " "))
    if len(plain) < 4:
        return 0.0
    known = (listing.name.replace("_", " "), listing.title)
    return max(fuzz.WRatio(plain, utils.default_process(text)) for text in known)


tools = [save_name, choose_use_case, transfer_to_agent, transfer_to_person, hang_up]
