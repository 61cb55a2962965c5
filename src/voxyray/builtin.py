"""Tools that every agent may want."""

from __future__ import annotations

from voxyray.tool import tool


@tool(effect="end")
def hang_up() -> None:
    """End the call, after the farewell you say along with it has been played.

    Call this when the caller says goodbye, or when they have all they wanted and say so. Say a
    short farewell in the same answer. Never call it in the middle of a matter, because of a silence
    or because you are unsure: ask instead.
    """
