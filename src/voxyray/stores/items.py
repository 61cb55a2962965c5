"""What writes mean: checking them, their conditions, and what an item is afterwards.

Every store that has no such language of its own (DynamoDB does) works with this, so that there is
one meaning. `snapshot` belongs to the caller's side, `settle` to wherever the state is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from voxyray.errors import ConditionFailed, StoreError
from voxyray.stores import (
    AtMost,
    Condition,
    Conditions,
    Delete,
    Equals,
    Exists,
    Item,
    Missing,
    Put,
    Update,
    Write,
)
from voxyray.stores import values as v

MAX_WRITES: Final = 100
MAX_WRITE_BYTES: Final = 4 * 1024 * 1024

_KEY_FIELDS: Final = ("pk", "sk")
# A caller's number has five digits or more; messages end up in logs.
_PERSONAL: Final = re.compile(r"\+?\d{5,}")


class Row(msgspec.Struct, frozen=True):
    """How an item is to be from now on.

    body: the item as JSON; None deletes it.
    """

    pk: str
    sk: str
    body: bytes | None
    expires_at: int | None = None


def snapshot(writes: Sequence[Write]) -> tuple[Write, ...]:
    """Check writes and copy them, so that changes made while they wait have no effect.

    Raises:
        StoreError: too many, two to one key, or something that cannot be stored.
    """
    if len(writes) > MAX_WRITES:
        raise StoreError(
            f"{len(writes)} writes at once; at most {MAX_WRITES} can be done together, "
            "use append() for new items that need no condition"
        )
    copies = tuple(_copy(write) for write in writes)
    refuse_twice([key_of(write) for write in copies])
    return copies


def rows(items: Sequence[Item]) -> list[Row]:
    """Check new items and give their rows.

    Raises:
        StoreError: two have the same key, or one cannot be stored.
    """
    made = [row(item) for item in items]
    refuse_twice([(one.pk, one.sk) for one in made])
    return made


def row(item: Item) -> Row:
    """Check a new item and give its row."""
    v.check_item(item)
    return Row(item["pk"], item["sk"], v.encode(item), item.get("expires_at"))


def settle(writes: Sequence[Write], read: Callable[[str, str], Item | None]) -> list[Row]:
    """Decide what writes do to the present state, without doing it.

    read: gives a live item, None if it is missing or expired; the item may be changed here.

    Raises:
        ConditionFailed: a condition does not hold.
        StoreError: an item would become one that cannot be stored, or all of them are too large.
    """
    before = {key_of(write): read(*key_of(write)) for write in writes if _looks(write)}
    for write in writes:
        _require(write, before.get(key_of(write)))
    settled, total = [], 0
    for write in writes:
        if isinstance(write, Delete):
            settled.append(Row(write.pk, write.sk, None))
            continue
        item = after(write, before.get(key_of(write)))
        total += v.check_item(item)
        settled.append(Row(item["pk"], item["sk"], v.encode(item), item.get("expires_at")))
    if total > MAX_WRITE_BYTES:
        raise StoreError(f"the items of one write take {total} bytes; at most 4 MB go together")
    return settled


def after(write: Put | Update, before: Item | None) -> Item:
    """Give the item as a write leaves it; what it was before may be changed and returned."""
    if isinstance(write, Put):
        return write.item
    item: Item = {"pk": write.pk, "sk": write.sk} if before is None else before
    item.update(write.set)
    for field, amount in write.add.items():
        present = item.get(field, 0)
        v.check_number(field, present)
        item[field] = present + amount
    for field in write.remove:
        item.pop(field, None)
    return item


def key_of(write: Write) -> tuple[str, str]:
    """Give the key a write goes to."""
    if isinstance(write, Put):
        return write.item["pk"], write.item["sk"]
    return write.pk, write.sk


def check_range(pk: Any, prefix: Any, after: Any, limit: Any) -> None:
    """Refuse a query that not every store can answer."""
    v.check_key_part("pk", pk, v.MAX_PK_BYTES)
    for name, value in (("prefix", prefix), ("after", after)):
        if value != "":
            v.check_key_part(name, value, v.MAX_SK_BYTES)
    if limit is not None and (type(limit) is not int or limit < 1):
        raise StoreError("limit must be an integer of at least 1, or None for all")


def holds(condition: Condition, item: Item | None) -> bool:
    """Whether a condition holds for a live item (None: missing or expired)."""
    if isinstance(condition, Missing):
        return item is None
    if item is None:
        return False
    if isinstance(condition, Equals):
        return v.same(item.get(condition.field), condition.value)
    if isinstance(condition, AtMost):
        present = item.get(condition.field)
        return type(present) is int and present <= condition.value
    return True


def _looks(write: Write) -> bool:
    return isinstance(write, Update) or bool(write.when)


def _require(write: Write, item: Item | None) -> None:
    for condition in _conditions(write.when):
        if not holds(condition, item):
            raise ConditionFailed(
                f"{_where(write)} is in another state: {_say(condition)} does not hold; "
                "nothing was written"
            )


def _where(write: Write) -> str:
    pk, sk = (_PERSONAL.sub("…", part)[:40] for part in key_of(write))
    return f"item {pk} / {sk}"


def _say(condition: Condition) -> str:
    name = type(condition).__name__
    return f"{name}({condition.field!r})" if isinstance(condition, Equals | AtMost) else name


def _copy(write: Write) -> Write:
    if isinstance(write, Put):
        v.check_item(write.item)
        return Put(v.copy(write.item), when=_copy_conditions(write.when))
    if isinstance(write, Update):
        return _copy_update(write)
    if isinstance(write, Delete):
        v.check_key(write.pk, write.sk)
        return Delete(write.pk, write.sk, when=_copy_conditions(write.when))
    raise StoreError(f"a write is a Put, Update or Delete, not a {type(write).__name__}")


def _copy_update(write: Update) -> Update:
    v.check_key(write.pk, write.sk)
    if isinstance(write.remove, str):
        raise StoreError("remove is a list of fields' names, not one name")
    fields = [*write.set, *write.add, *write.remove]
    for field in fields:
        v.check_name(field)
        if field in _KEY_FIELDS:
            raise StoreError(f"an update cannot change {field!r}; put a new item, delete the old")
    if len(set(fields)) < len(fields):
        raise StoreError("an update names a field twice in its set, add and remove")
    for field, value in write.set.items():
        v.check_value(field, value)
    for field, amount in write.add.items():
        v.check_number(field, amount)
    return Update(
        write.pk,
        write.sk,
        set=v.copy(dict(write.set)),
        add=dict(write.add),
        remove=tuple(write.remove),
        when=_copy_conditions(write.when),
    )


def _conditions(when: Conditions) -> Sequence[Condition]:
    return (when,) if isinstance(when, Condition) else when


def _copy_conditions(when: Conditions) -> tuple[Condition, ...]:
    return tuple(_copy_condition(condition) for condition in _conditions(when))


def _copy_condition(condition: Condition) -> Condition:
    if isinstance(condition, Equals):
        v.check_name(condition.field)
        v.check_value(condition.field, condition.value)
        return Equals(condition.field, v.copy(condition.value))
    if isinstance(condition, AtMost):
        v.check_name(condition.field)
        v.check_number(condition.field, condition.value)
        return condition
    if isinstance(condition, Exists | Missing):
        return condition
    raise StoreError(
        f"a condition is Exists, Missing, Equals or AtMost, not a {type(condition).__name__}"
    )


def refuse_twice(keys: Sequence[tuple[str, str]]) -> None:
    """Refuse writes of which two go to the same item: their order would matter."""
    if len(set(keys)) < len(keys):
        raise StoreError("two writes go to the same item; join them into one")
