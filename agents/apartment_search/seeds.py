"""Puts the tours of the coming week into the store: `voxyray agents seed`.

The tools do the same for the first caller of a day, so a laptop needs no extra command.
"""

from __future__ import annotations

import tomllib
import zoneinfo
from datetime import datetime
from pathlib import Path

from voxyray.stores import Store

from . import diary


async def seed(store: Store, now: datetime | float) -> int:
    """Add the slots that are missing for the next seven days, and give how many.

    Nothing is taken away: what is taken or booked stays, and what is past has expired by itself.
    now: an aware datetime, or epoch seconds; the days are those of the agent's own time zone.
    """
    zone = _zone()
    here = now.astimezone(zone) if isinstance(now, datetime) else datetime.fromtimestamp(now, zone)
    _, added = await diary.stocked(store, here)
    return added


def _zone() -> zoneinfo.ZoneInfo:
    file = Path(__file__).parent / "agent.toml"
    return zoneinfo.ZoneInfo(tomllib.loads(file.read_text(encoding="utf-8"))["time_zone"])
