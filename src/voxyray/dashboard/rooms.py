"""Which page is where: by method, room, and whether a name follows the room in the address."""

from __future__ import annotations

from typing import Final

from voxyray.dashboard import agents, calls, entrance, following, outbox, overview, phone, talk
from voxyray.dashboard.site import Page

ROOMS: Final[dict[tuple[str, str, bool], Page]] = {
    ("GET", "", False): overview.page,
    ("GET", "calls", False): calls.page,
    ("POST", "calls", False): calls.search,
    ("GET", "calls", True): talk.page,
    ("GET", "journal", True): talk.raw,
    ("GET", "live", False): following.now,
    ("GET", "live", True): following.call,
    ("GET", "agents", False): agents.page,
    ("GET", "agents", True): agents.one,
    ("POST", "agents", True): agents.edit,
    ("GET", "outbox", False): outbox.page,
    ("GET", "phone", False): phone.page,
    ("POST", "privacy", False): entrance.privacy,
    ("GET", "login", False): entrance.login,
    ("POST", "login", False): entrance.sign_in,
    ("POST", "logout", False): entrance.sign_out,
}
