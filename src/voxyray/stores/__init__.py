"""What outlives a call: one table of items, written with conditions.

An item is a flat dictionary of JSON values with the string keys `pk` and `sk`; an optional
`expires_at` (epoch seconds) hides it from every reader from then on. Numbers are integers or
strings of decimals: no floats, since not every store keeps them exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

Item: TypeAlias = dict[str, Any]


class Exists(msgspec.Struct, frozen=True):
    """The item is there (and not expired)."""


class Missing(msgspec.Struct, frozen=True):
    """The item is not there (or expired)."""


class Equals(msgspec.Struct, frozen=True):
    """The item is there and its field has this value; None also fits an absent field."""

    field: str
    value: Any


class AtMost(msgspec.Struct, frozen=True):
    """The item is there and its field is a number no larger than this one."""

    field: str
    value: int


Condition: TypeAlias = Exists | Missing | Equals | AtMost
Conditions: TypeAlias = Condition | Sequence[Condition]


class Put(msgspec.Struct, frozen=True):
    """Write the whole item, replacing what is there."""

    item: Item
    when: Conditions = ()


class Update(msgspec.Struct, frozen=True):
    """Set, add to and remove single fields; the item is made if it is missing.

    add: integers to add to fields (absent counts as 0).
    """

    pk: str
    sk: str
    set: Mapping[str, Any] = {}
    add: Mapping[str, int] = {}
    remove: Sequence[str] = ()
    when: Conditions = ()


class Delete(msgspec.Struct, frozen=True):
    """Remove the item; a missing one is fine."""

    pk: str
    sk: str
    when: Conditions = ()


Write: TypeAlias = Put | Update | Delete


class Store(Protocol):
    """Keeps items; every method may raise `StoreError`.

    A write that returned is durable. `now` for expiry is the wall clock, epoch seconds.
    """

    async def get(self, pk: str, sk: str) -> Item | None:
        """Read one item, seeing every write that returned before; None if missing or expired."""
        ...

    async def query(
        self,
        pk: str,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Item]:
        """Read the items of a partition whose sk begins with prefix, in byte order of sk.

        after: only items beyond this sk (before it, in reverse), for paging.
        """
        ...

    async def write(self, *writes: Write) -> None:
        """Do all the writes or none of them; at most 100, each to another item.

        Raises:
            ConditionFailed: a condition did not hold; nothing was written.
            StoreError: an item, key or value that cannot be stored; nothing was written.
        """
        ...

    async def update(self, update: Update) -> Item:
        """Do one update and return the item as it is then.

        Raises:
            ConditionFailed: the condition did not hold; nothing was written.
        """
        ...

    async def append(self, items: Sequence[Item]) -> None:
        """Write any number of new items, in batches; not atomic, safe to repeat."""
        ...

    async def close(self) -> None:
        """Finish what was begun and close."""
        ...
