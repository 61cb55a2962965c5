"""What the leasing office says without a language model."""

from __future__ import annotations

from datetime import datetime

from voxyray.models.offline import Action, Talk

from .desk import Desk


def reply(talk: Talk) -> Action:
    """Give what is to be said or done now."""
    return Desk(talk, _now(talk)).run()


def _now(talk: Talk) -> datetime:
    """Read the date off the instructions: a script asks no clock."""
    told = talk.fact(r"^It is (\w+, \w+ \d+, \d+, \d+:\d\d [AP]M)")
    try:
        return datetime.strptime(told, "%A, %B %d, %Y, %I:%M %p")
    except ValueError:
        return datetime.now()  # the instructions were edited
