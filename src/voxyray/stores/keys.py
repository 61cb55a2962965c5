"""Keys of the one table. Whatever a request brings is checked here before it becomes a key."""

from __future__ import annotations

import re
import time
from typing import Final

from voxyray.errors import StoreError

# Twilio: CA + 32 hex; Telnyx: `v2:` and URL-unsafe characters. `#` separates parts of our keys.
_CALL_ID: Final = re.compile(r"[A-Za-z0-9_\-.:=+/~@]{1,200}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_\-]{0,63}")
_CONNECTION: Final = re.compile(r"[A-Za-z0-9_\-=+/]{1,128}")
# E.164, or a SIP or client identity; withheld numbers come as words and have no profile.
_CALLER: Final = re.compile(r"\+[0-9]{3,15}|(?:sip|sips|client):[A-Za-z0-9_\-.:=+@;~%]{1,200}")

_JOURNAL: Final = re.compile(r"J#([0-9]{5,9})#([0-9]{7,12})")

# What some carriers send for withheld numbers: ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN and
# UNAVAILABLE, spelled on a keypad. They are many people, so they can have no profile.
_WITHHELD: Final = frozenset({"+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"})

PROFILE: Final = "PROFILE"
HEAD: Final = "HEAD"
DEFINITION: Final = "DEFINITION"
EDIT: Final = "EDIT#"  # every version of a definition, as it was written
AGENTS: Final = "AGENTS"  # the partition that lists stored agents, by name


def call(call_id: str) -> str:
    """Give the partition of a call.

    Raises:
        StoreError: the id is empty, too long or holds characters no carrier uses.
    """
    if not _CALL_ID.fullmatch(call_id):
        raise StoreError(f"not a call id: {call_id[:60]!r}")
    return f"CALL#{call_id}"


def session(connection: str) -> str:
    """Give the partition of a relay connection; its id is API Gateway's.

    Raises:
        StoreError: the id is empty, too long or holds characters that API Gateway does not use.
    """
    if not _CONNECTION.fullmatch(connection):
        raise StoreError(f"not a connection id: {connection[:60]!r}")
    return f"SESSION#{connection}"


def is_caller(number: str) -> bool:
    """Whether this caller can have a profile (withheld numbers cannot)."""
    return number not in _WITHHELD and _CALLER.fullmatch(number) is not None


def caller(number: str) -> str:
    """Give the partition of a caller.

    Raises:
        StoreError: the number is withheld or no number at all; ask `is_caller` first.
    """
    if not is_caller(number):
        raise StoreError("not a phone number, SIP or client identity")
    return f"CALLER#{number}"


def is_agent(name: str) -> bool:
    """Whether this can be an agent's name."""
    return _NAME.fullmatch(name) is not None


def agent(name: str) -> str:
    """Give the partition of an agent.

    Raises:
        StoreError: a name that is not lower case letters, digits, `_` and `-`.
    """
    if not _NAME.fullmatch(name):
        raise StoreError(f"not an agent's name: {name[:60]!r}")
    return f"AGENT#{name}"


def edit(version: int) -> str:
    """Give the sort key of a definition's version; byte order is their order."""
    return f"{EDIT}{version:08d}"


def journal(turn: int, seq: int) -> str:
    """Give the sort key of a journal entry; byte order is the order of the call."""
    return f"J#{turn:05d}#{seq:07d}"


def journal_place(sk: str) -> tuple[int, int]:
    """Read a journal entry's turn and number from its sort key.

    Raises:
        ValueError: it is no such key.
    """
    if not (place := _JOURNAL.fullmatch(sk)):
        raise ValueError("its sk is not J#turn#seq")
    return int(place[1]), int(place[2])


def day(at_s: float) -> str:
    """Give the partition that lists the calls begun on a day (UTC); at_s is epoch seconds."""
    return f"CALLS#{time.strftime('%Y-%m-%d', time.gmtime(at_s))}"


def started(at_s: float, call_id: str) -> str:
    """Give the sort key of a call within its day; byte order is the order of beginning."""
    return f"{int(at_s * 1000):015d}#{call_id}"
