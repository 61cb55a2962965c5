"""Whether somebody on this machine asks: what may be shown without a token is for them alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_NAMES: Final = ("localhost", "127.0.0.1", "::1")
# A proxy or tunnel on this machine forwards what the whole world sends.
_FORWARDED: Final = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "cf-connecting-ip",
)


def is_from_here(peer: str, headers: Mapping[str, str]) -> bool:
    """Whether a request comes from this machine, and meant it by its name.

    A page elsewhere may have its own name lead here (DNS rebinding), so the Host counts, too.

    peer: the address that the connection comes from; headers by lower-case name.
    """
    return (
        _is_loopback(peer)
        and host_of(headers.get("host", "")) in _NAMES
        and not any(name in headers for name in _FORWARDED)
    )


def _is_loopback(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def host_of(header: str) -> str | None:
    """Give the name that a Host header holds, without its port; None if it holds none."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None
