"""What is asked of DynamoDB: writes, conditions and queries as its requests, without sending them.

Names and values always go by placeholder, since ours may be any text. An expired item that is
still there counts as missing: a Put or Delete can say so in its condition, an Update cannot (it
would add to what is left of the old item), so its condition fails and the store begins afresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from voxyray.errors import StoreError
from voxyray.stores import (
    AtMost,
    Condition,
    Conditions,
    Delete,
    Equals,
    Missing,
    Put,
    Update,
    Write,
)
from voxyray.stores import items as rules
from voxyray.stores import values as v
from voxyray.stores.dynamodb_values import MARK, Wire, item_to_wire, to_wire

EXPIRY: Final = "expires_at"

_LIVE: Final = "attribute_exists(pk) AND (attribute_not_exists(expires_at) OR expires_at > {now})"
_NOT_EXPIRED: Final = "(attribute_not_exists(expires_at) OR expires_at > {now})"
_GONE: Final = "(attribute_not_exists(pk) OR expires_at <= {now})"
_NEVER_THERE: Final = "attribute_not_exists(pk)"


class _Expression:
    """Collect an expression's parts and the placeholders they use."""

    def __init__(self, now_s: int) -> None:
        self._now_s = now_s
        self._names: dict[str, str] = {}
        self._values: list[Wire] = []
        self._now = ""

    def name(self, field: str) -> str:
        return self._names.setdefault(field, f"#{len(self._names)}")

    def value(self, value: Any) -> str:
        self._values.append(to_wire(value))
        return f":{len(self._values) - 1}"

    def at(self, template: str) -> str:
        self._now = self._now or self.value(self._now_s)
        return template.format(now=self._now)

    def used(self) -> dict[str, Any]:
        # DynamoDB refuses placeholders that are not used, and empty maps of them.
        used: dict[str, Any] = {}
        if self._names:
            used["ExpressionAttributeNames"] = {name: field for field, name in self._names.items()}
        if self._values:
            used["ExpressionAttributeValues"] = {
                f":{at}": value for at, value in enumerate(self._values)
            }
        return used


def key(pk: str, sk: str) -> Wire:
    """Give an item's key."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def check(writes: Sequence[Write]) -> None:
    """Refuse what DynamoDB would take, or refuse less clearly.

    Raises:
        StoreError: a bad time of expiry, a field with the name that is ours, or too much at once.
    """
    for write in writes:
        if isinstance(write, Update):
            _check_update(write)
    if len(writes) > 1:
        total = sum(_bytes(write) for write in writes)
        if total > rules.MAX_WRITE_BYTES:
            raise StoreError("the items of one write take more than 4 MB")


def needs_mark(write: Write) -> bool:
    """Whether doing a write twice is not the same as doing it once."""
    return bool(write.when) or (isinstance(write, Update) and bool(write.add))


def request(table: str, write: Write, now_s: int, mark: str = "") -> dict[str, Any]:
    """Ask for one write, alone or as a part of a transaction.

    now_s: whole epoch seconds. mark: left in the item, by which the write is known again.

    Raises:
        StoreError: a field has the name that is ours.
    """
    expression = _Expression(now_s)
    asked: dict[str, Any] = {"TableName": table}
    if isinstance(write, Put):
        asked["Item"] = item_to_wire(write.item)
        if mark:
            asked["Item"][MARK] = {"S": mark}
        clauses = _clauses(expression, write.when, missing=_GONE)
    elif isinstance(write, Delete):
        asked["Key"] = key(write.pk, write.sk)
        clauses = _clauses(expression, write.when, missing=_GONE)
    else:
        asked["Key"] = key(write.pk, write.sk)
        asked["UpdateExpression"] = _changes(expression, write, mark)
        clauses = _update_clauses(expression, write, mark)
    if clauses:
        asked["ConditionExpression"] = " AND ".join(clauses)
        asked["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return asked | expression.used()


def query(table: str, pk: str, prefix: str, after: str, reverse: bool) -> dict[str, Any] | None:
    """Ask for a range of a partition; None if nothing can be in it."""
    asked: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk" + (" AND begins_with(sk, :prefix)" if prefix else ""),
        "ExpressionAttributeValues": {":pk": {"S": pk}},
        "ScanIndexForward": not reverse,
        "ConsistentRead": True,
    }
    if prefix:
        asked["ExpressionAttributeValues"][":prefix"] = {"S": prefix}
    if not after:
        return asked
    if after.startswith(prefix):
        return asked | {"ExclusiveStartKey": key(pk, after)}
    # DynamoDB refuses to start outside of the range: all of it lies beyond, or nothing.
    before_range = after.encode() < prefix.encode()
    return asked if before_range is not reverse else None


def _check_update(write: Update) -> None:
    if MARK in write.set or MARK in write.add or MARK in write.remove:
        raise StoreError(f"field {MARK!r} is the store's own; give it another name")
    if EXPIRY in write.set:
        v.check_item({"pk": write.pk, "sk": write.sk, EXPIRY: write.set[EXPIRY]})


def _bytes(write: Write) -> int:
    if isinstance(write, Put):
        return v.check_item(write.item)
    if isinstance(write, Update):
        return v.check_item({"pk": write.pk, "sk": write.sk, **write.set})
    return 0


def _changes(expression: _Expression, write: Update, mark: str) -> str:
    name, value = expression.name, expression.value
    sets = [f"{name(field)} = {value(content)}" for field, content in write.set.items()]
    if mark:
        sets.append(f"{name(MARK)} = {value(mark)}")
    adds = [f"{name(field)} {value(amount)}" for field, amount in write.add.items()]
    removes = [name(field) for field in write.remove]
    if not (sets or adds or removes):
        # A transaction wants some change; the mark is not ours any more.
        removes = [name(MARK)]
    verbs = (("SET", sets), ("ADD", adds), ("REMOVE", removes))
    return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in verbs if parts)


def _update_clauses(expression: _Expression, write: Update, mark: str) -> list[str]:
    clauses = _clauses(expression, write.when, missing=_NEVER_THERE)
    if not write.when:
        clauses.append(expression.at(_NOT_EXPIRED))
    clauses += [_addable(expression, field, amount) for field, amount in write.add.items()]
    if mark and write.add:
        # A repetition must not add again.
        name = expression.name(MARK)
        clauses.append(f"(attribute_not_exists({name}) OR {name} <> {expression.value(mark)})")
    return clauses


def _clauses(expression: _Expression, when: Conditions, missing: str) -> list[str]:
    conditions: Sequence[Condition] = (when,) if isinstance(when, Condition) else when
    clauses = []
    if any(not isinstance(condition, Missing) for condition in conditions):
        clauses.append(expression.at(_LIVE))
    for condition in conditions:
        if isinstance(condition, Missing):
            clauses.append(missing if missing == _NEVER_THERE else expression.at(missing))
        elif isinstance(condition, Equals):
            clauses.append(_equal(expression, condition))
        elif isinstance(condition, AtMost):
            # Values of different types are not comparable: then this does not hold.
            limit = expression.value(condition.value)
            clauses.append(f"{expression.name(condition.field)} <= {limit}")
    return clauses


def _equal(expression: _Expression, condition: Equals) -> str:
    field, value = expression.name(condition.field), expression.value(condition.value)
    if condition.value is None:
        return f"(attribute_not_exists({field}) OR {field} = {value})"
    return f"{field} = {value}"


def _addable(expression: _Expression, field: str, amount: int) -> str:
    # ADD itself takes more digits than we promise; what is no number is not comparable.
    lowest, highest = (0, v.LATEST_S) if field == EXPIRY else (-v.LARGEST, v.LARGEST)
    name = expression.name(field)
    if amount >= 0:
        fits = f"{name} <= {expression.value(highest - amount)}"
    else:
        fits = f"{name} >= {expression.value(lowest - amount)}"
    return f"(attribute_not_exists({name}) OR {fits})" if lowest <= amount <= highest else fits
