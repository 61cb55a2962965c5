"""Exceptions as logs may hold them."""

from __future__ import annotations

import traceback


def traced(error: BaseException) -> str:
    """Give an exception's type and where it came from.

    Not its message: whoever raised it may quote what a caller said, and logs hold nothing personal.
    """
    places = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}\n{places}".rstrip()
