"""Answers to what callers ask about the apartments, in words for the ear."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from . import spoken
from .flats import Flat, office

Topic: TypeAlias = Literal[
    "pet policy",
    "fees",
    "parking",
    "specials",
    "income requirements",
    "utilities",
    "location",
    "features",
]

_Answer: TypeAlias = Callable[[Sequence[Flat], date], str]
_FACTORS: Final = {Decimal("2.5"): "two and a half", Decimal(2): "two", Decimal(3): "three"}


def answer(topic: Topic, name: str | None, today: date) -> str:
    """Answer for one apartment, or for all of them."""
    flats = office().apartments if name is None else (office().flat(name),)
    return _ANSWERS[topic](flats, today)


def _the(flats: Sequence[Flat]) -> str:
    return spoken.listed([f"the {flat.name}" for flat in flats])


def _grouped(flats: Sequence[Flat], field: str) -> dict[str, list[Flat]]:
    """Put together those of which the same is to be said."""
    groups: dict[str, list[Flat]] = {}
    for flat in flats:
        groups.setdefault(str(getattr(flat, field)), []).append(flat)
    return groups


def _pets(flats: Sequence[Flat], _: date) -> str:
    return " ".join(f"{flat.pets} in the {flat.name}." for flat in flats)


def _fees(flats: Sequence[Flat], _: date) -> str:
    first, *others = flats
    deposits = [f"{spoken.money(first.deposit)} for the {first.name}"]
    deposits += [f"{spoken.number(flat.deposit)} for the {flat.name}" for flat in others]
    return (
        f"The application fee is {spoken.money(office().application_fee)}. "
        f"The deposit is {spoken.listed(deposits)}."
    )


def _parking(flats: Sequence[Flat], _: date) -> str:
    said = []
    for count, those in _grouped(flats, "parking_spaces").items():
        spaces = "space comes" if count == "1" else "spaces come"
        lead = spoken.sentence(spoken.number(int(count)))
        said.append(f"{lead} reserved parking {spaces} with {_the(those)}.")
    return " ".join(said)


def _specials(flats: Sequence[Flat], today: date) -> str:
    last = today.replace(day=calendar.monthrange(today.year, today.month)[1])
    offers = [f"for the {flat.name} {flat.special}" for flat in flats]
    return f"{spoken.sentence(spoken.listed(offers))}, if you sign by {spoken.month_day(last)}."


def _income(flats: Sequence[Flat], _: date) -> str:
    if len(flats) == 1:
        (flat,) = flats
        least = spoken.money(int(flat.rent * flat.income_factor))
        factor = _FACTORS[flat.income_factor]
        return (
            f"For the {flat.name} your monthly income should be {factor} times the rent, "
            f"which is {least}."
        )
    groups = _grouped(flats, "income_factor").items()
    each = [f"{_FACTORS[Decimal(factor)]} times the rent for {_the(f)}" for factor, f in groups]
    return f"Your monthly income should be {spoken.listed(each)}."


def _utilities(flats: Sequence[Flat], _: date) -> str:
    groups = _grouped(flats, "utilities").items()
    each = [f"{text} in {_the(those)}." for text, those in groups]
    return f"{' '.join(each)} You pay for electricity yourself."


def _location(flats: Sequence[Flat], _: date) -> str:
    each = [f"the {flat.name} is at {spoken.address(flat.street)}" for flat in flats]
    return f"{spoken.sentence(spoken.listed(each))}, in {office().city}."


def _features(flats: Sequence[Flat], _: date) -> str:
    each = [
        f"The {f.name} has {spoken.number(f.square_feet)} square feet, {f.features}." for f in flats
    ]
    return " ".join(each)


_ANSWERS: Final[Mapping[Topic, _Answer]] = {
    "pet policy": _pets,
    "fees": _fees,
    "parking": _parking,
    "specials": _specials,
    "income requirements": _income,
    "utilities": _utilities,
    "location": _location,
    "features": _features,
}
