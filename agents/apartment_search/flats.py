"""The apartments: what `data/apartments.toml` says of them, and which fit a wish."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from . import spoken

FlatName: TypeAlias = Literal["studio", "one-bedroom", "two-bedroom", "three-bedroom"]
NAMES: Final[tuple[FlatName, ...]] = ("studio", "one-bedroom", "two-bedroom", "three-bedroom")


class Flat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One type of apartment; the data file says what the fields mean."""

    name: FlatName
    square_feet: int
    rent: int
    street: str
    move_in_months: int
    deposit: int
    income_factor: Decimal
    pets: str
    parking_spaces: int
    utilities: str
    special: str
    features: str

    def move_in(self, today: date) -> date:
        """Give the first day it is free; always ahead, however old the data file is."""
        if self.move_in_months == 0:
            return today
        months = today.year * 12 + today.month - 1 + self.move_in_months
        return date(months // 12, months % 12 + 1, 1)

    def free_from(self, today: date) -> str:
        """Say when it is free."""
        day = self.move_in(today)
        return "free right away" if day <= today else f"free from {spoken.month_day(day)}"

    def said(self, today: date) -> str:
        """Say what counts first: size, rent, street and when it is free."""
        _, _, street = self.street.partition(" ")
        return (
            f"The {self.name} has {spoken.number(self.square_feet)} square feet, on {street}. "
            f"It is {spoken.money(self.rent)} a month and {self.free_from(today)}."
        )


class Office(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of the data file."""

    city: str
    zip_code: str
    application_fee: int
    apartments: tuple[Flat, ...]

    def flat(self, name: str) -> Flat:
        """Give one by its name."""
        return next(flat for flat in self.apartments if flat.name == name)


@functools.cache
def office() -> Office:
    """Read the data file, once."""
    file = Path(__file__).parent / "data" / "apartments.toml"
    return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Office)


class Wish(msgspec.Struct, frozen=True):
    """What a caller looks for; what is None does not matter to them."""

    name: FlatName | None = None
    budget: int | None = None
    by: date | None = None

    def takes(self, flat: Flat, today: date) -> bool:
        """Whether an apartment is all of it."""
        return not self.obstacles(flat, today)

    def obstacles(self, flat: Flat, today: date) -> list[str]:
        """Give what speaks against an apartment, in words."""
        against = []
        if self.name is not None and flat.name != self.name:
            against.append("of another size")
        if self.budget is not None and flat.rent > self.budget:
            against.append("above that budget")
        if self.by is not None and flat.move_in(today) > self.by:
            against.append("free later than that")
        return against


def search(wish: Wish, today: date) -> tuple[str, list[Flat]]:
    """Give what fits, or else the nearest, in words for the ear, and the apartments named."""
    flats = office().apartments
    fitting = [flat for flat in flats if wish.takes(flat, today)]
    if len(fitting) == 1:
        return fitting[0].said(today), fitting
    if fitting:
        return _several(fitting, today, all_=len(fitting) == len(flats)), fitting
    nearest = _nearest(wish, today)
    return _none(nearest, wish, today), [nearest]


def _several(fitting: Sequence[Flat], today: date, *, all_: bool) -> str:
    lead = "We have" if all_ else "These fit:"
    each = [
        f"the {flat.name} for {spoken.money(flat.rent)} a month, {flat.free_from(today)}"
        for flat in fitting
    ]
    return f"{lead} {'; '.join(each[:-1])}; and {each[-1]}."


def _nearest(wish: Wish, today: date) -> Flat:
    """Give what has least against it: the size counts most, then how far the rent is off."""

    def distance(flat: Flat) -> tuple[int, int, int, int]:
        over = max(0, flat.rent - wish.budget) if wish.budget is not None else 0
        late = max(0, (flat.move_in(today) - wish.by).days) if wish.by is not None else 0
        return (wish.name not in (None, flat.name), len(wish.obstacles(flat, today)), over, late)

    return min(office().apartments, key=distance)


def _none(nearest: Flat, wish: Wish, today: date) -> str:
    against = spoken.listed(wish.obstacles(nearest, today))
    return f"Nothing fits all of that. The nearest is {against}. {nearest.said(today)}"
