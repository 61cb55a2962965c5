"""Values as DynamoDB writes them on the wire: {"S": text}, {"N": digits}, {"M": {...}}, ...

Leaner than boto3's serializer: ours are the few types an item may hold, and already checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

from voxyray.errors import StoreError
from voxyray.stores import Item

# Holds the random name of the last write whose repetition would matter; no reader sees it.
MARK: Final = "_write"

Wire: TypeAlias = dict[str, Any]
WireItem: TypeAlias = dict[str, Wire]


def to_wire(value: Any) -> Wire:
    """Write a checked value."""
    kind = type(value)
    if kind is str:
        return {"S": value}
    if kind is bool:
        return {"BOOL": value}
    if kind is int:
        return {"N": str(value)}
    if value is None:
        return {"NULL": True}
    if kind is list:
        return {"L": [to_wire(part) for part in value]}
    return {"M": {name: to_wire(part) for name, part in value.items()}}


def from_wire(wire: Mapping[str, Any]) -> Any:
    """Read a value.

    Raises:
        StoreError: a set or bytes, which voxyray never writes.
    """
    ((kind, value),) = wire.items()
    if kind == "S" or kind == "BOOL":
        return value
    if kind == "N":
        return _number(value)
    if kind == "M":
        return {name: from_wire(part) for name, part in value.items()}
    if kind == "L":
        return [from_wire(part) for part in value]
    if kind == "NULL":
        return None
    raise StoreError(f"a stored item is damaged: it holds the type {kind}, written by another hand")


def item_to_wire(item: Item) -> WireItem:
    """Write a checked item.

    Raises:
        StoreError: it has a field of the name that is ours.
    """
    if MARK in item:
        raise StoreError(f"field {MARK!r} is the store's own; give it another name")
    return {name: to_wire(value) for name, value in item.items()}


def item_from_wire(wire: Mapping[str, Mapping[str, Any]]) -> Item:
    """Read an item, without the mark."""
    return {name: from_wire(value) for name, value in wire.items() if name != MARK}


def _number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        pass
    # Ours are integers; other hands may have written 1E+2, or a fraction, which stays text.
    try:
        number = Decimal(text)
        return int(number) if number == number.to_integral_value() else text
    except InvalidOperation:
        return text
