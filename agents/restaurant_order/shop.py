"""The shop's facts, read once from data/menu.toml."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from voxyray.errors import AgentError

from .hours import Hours
from .kitchen import Kitchen
from .menu import Menu


class Shop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that does not change in a call."""

    name: str
    address: str
    keep_orders_days: int
    hours: Hours
    kitchen: Kitchen
    menu: Menu

    def spoken_place(self) -> str:
        """Say where the shop is; nobody wants to hear a postal code."""
        return f"We're at {self.address.rpartition(',')[0]}."


def load_shop(file: Path) -> Shop:
    """Read a shop's facts.

    Raises:
        AgentError: naming the file and what is wrong in it.
    """
    try:
        raw: Any = tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
        return msgspec.convert(raw, Shop)
    except (OSError, ValueError) as error:
        raise AgentError(f"{file}: {error}") from error


SHOP: Final = load_shop(Path(__file__).parent / "data" / "menu.toml")
