"""Are the clocks right: signatures of AWS, tokens and waiting times are read from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from voxyray.checks import Finding, ok, warning

MOST_S: Final = 5.0

_FIX: Final = "set it by the network (on Linux: timedatectl set-ntp true); AWS refuses clocks that "
_FIX_ALL: Final = _FIX + "are 5 minutes off, and tokens live by it"


def compared(clocks: Mapping[str, float]) -> list[Finding]:
    """Compare our clock with others'; each is how many seconds it is ahead of ours."""
    off = {whose: ahead for whose, ahead in clocks.items() if abs(ahead) > MOST_S}
    if not clocks:
        return []
    if not off:
        return [ok("clock", f"agrees with {_listed(list(clocks))} to within {MOST_S:g} s")]
    if len(off) == len(clocks) and _agree(list(off.values())):
        ahead = next(iter(off.values()))
        said = f"this machine's is {_seconds(-ahead)} {_listed(list(off))}"
        return [warning("clock", said, _FIX_ALL)]
    return [
        warning("clock", f"{whose}'s is {_seconds(ahead)} this machine's", _FIX_ALL)
        for whose, ahead in off.items()
    ]


def _agree(clocks: list[float]) -> bool:
    return max(clocks) - min(clocks) <= MOST_S


def _seconds(ahead: float) -> str:
    return f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"


def _listed(names: list[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
