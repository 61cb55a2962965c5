"""A store in a DynamoDB table, for Lambda functions and for servers that share their calls.

The table has the string keys `pk` and `sk` and its TTL on `expires_at`. One write is one request;
several are a transaction. What DynamoDB asks to repeat is repeated for a bounded time. If an answer
is lost, the write may have been done: then its repetition finds the mark that it left (a random
name in the item), or, in a transaction, DynamoDB knows its token. Where neither can tell, the
error says that the outcome is unknown; it never becomes a ConditionFailed. One case is left: an
addition whose answer is lost, and whose mark another such write replaces before it is repeated, is
done twice, unless it is guarded by Missing or by Equals of a field that it changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from voxyray.aws.clients import client
from voxyray.errors import StoreError
from voxyray.stores import Delete, Item, Missing, Put, Update, Write
from voxyray.stores import dynamodb_requests as requests
from voxyray.stores import items as rules
from voxyray.stores import values as v
from voxyray.stores.dynamodb_sending import NotHeld, Refused, Sender, read_fast
from voxyray.stores.dynamodb_values import (
    MARK,
    WireItem,
    item_from_wire,
    item_to_wire,
)

_CONNECT_S: Final = 1.0
_ANSWER_S: Final = 1.0  # DynamoDB answers in milliseconds; what takes longer is lost
_PATIENCE_S: Final = 2.0
_BATCH: Final = 25  # items of one BatchWriteItem
_BATCHES_AT_ONCE: Final = 8
_CHECKED_AT_ONCE: Final = 100
# How often an item may turn from expired to live and back while one write looks at it.
_ROUNDS: Final = 5
_RESTLESS: Final = "an item expires and comes back all the time; nothing was written"
_UNKNOWN: Final = (
    "an answer was lost, and what is there now does not tell whether the write was done; "
    "read the item and decide"
)

_PutRequest: TypeAlias = dict[str, Any]


class DynamoStore:
    """Keep items in a table.

    now: the wall clock, epoch seconds. patience_s: how long a request is begun again and again
    while DynamoDB is busy or does not answer.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        now: Callable[[], float] = time.time,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        read_fast(client)
        self._client = client
        self._methods = {
            Put: client.put_item,
            Update: client.update_item,
            Delete: client.delete_item,
        }
        self._table = table
        self._now = now
        self._sender = Sender(table, client.meta.region_name, patience_s)
        self._closed = False

    @classmethod
    def open(cls, table: str) -> DynamoStore:
        """Open a table with the credentials and the region of the environment.

        It asks nothing of the network; the first request takes longer, for it connects.

        Raises:
            SettingsError: boto3 is not installed, or no region is set.
        """
        tuned = client(
            "dynamodb",
            connect_timeout_s=_CONNECT_S,
            read_timeout_s=_ANSWER_S,
            attempts=1,  # repeated here, where it is known what may be
            validate=False,
        )
        return cls(tuned, table)

    async def get(self, pk: str, sk: str) -> Item | None:
        """Read one item; None if missing or expired."""
        self._check_open()
        v.check_key(pk, sk)
        return self._live(await self._read(pk, sk))

    async def query(
        self,
        pk: str,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Item]:
        """Read the items of a partition whose sk begins with prefix, in byte order of sk."""
        self._check_open()
        rules.check_range(pk, prefix, after, limit)
        asked = requests.query(self._table, pk, prefix, after, reverse)
        found: list[Item] = []
        while asked is not None and (limit is None or len(found) < limit):
            if limit is not None:
                asked["Limit"] = limit - len(found)
            page, last = await self._sender.send(self._query_page, reading=True, asked=asked)
            found += [item for item in page if not self._expired(item)]
            asked = asked | {"ExclusiveStartKey": last} if last else None
        return found

    async def write(self, *writes: Write) -> None:
        """Do all the writes or none of them."""
        self._check_open()
        checked = rules.snapshot(writes)
        await self._check_ahead(checked)
        if len(checked) == 1:
            await self._change(checked[0])
        elif checked:
            await self._transact(checked)

    async def update(self, update: Update) -> Item:
        """Do one update and return the item as it is then."""
        self._check_open()
        checked = rules.snapshot([update])
        await self._check_ahead(checked)
        return await self._change(checked[0], returning=True)

    async def append(self, items: Sequence[Item]) -> None:
        """Write any number of new items, in batches side by side."""
        self._check_open()
        puts: list[_PutRequest] = []
        for at in range(0, len(items), _CHECKED_AT_ONCE):
            puts += _puts(items[at : at + _CHECKED_AT_ONCE])
            await asyncio.sleep(0)  # thousands of items must not hold up the calls of this loop
        rules.refuse_twice([_key_of(put) for put in puts])
        batches = [puts[at : at + _BATCH] for at in range(0, len(puts), _BATCH)]
        free = asyncio.Semaphore(_BATCHES_AT_ONCE)
        # Every batch is tried, and none is left running, before the first error is told.
        outcomes = await asyncio.gather(
            *(self._append(batch, free) for batch in batches), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def close(self) -> None:
        """Wait for what was begun; the client stays, it is the process's."""
        self._closed = True
        await self._sender.settle()

    async def _change(self, write: Write, *, returning: bool = False) -> Item:
        """Do one write; give the item as it is then, if that is wanted."""
        for _ in range(_ROUNDS):
            try:
                return await self._one(write, returning)
            except NotHeld as failed:
                self._judge([write], failed)
            except Refused:
                await self._look([write])
                raise
            # What held it back was an expired item, or has expired since.
            if isinstance(write, Update):
                fresh = Put(rules.after(write, None), when=Missing())
                with contextlib.suppress(NotHeld):  # somebody else made one: from the beginning
                    await self._one(fresh, returning)
                    return fresh.item
        raise self._sender.give_up(_RESTLESS)

    async def _one(self, write: Write, returning: bool) -> Item:
        mark = secrets.token_hex(6) if requests.needs_mark(write) else ""
        asked = requests.request(self._table, write, int(self._now()), mark)
        method = self._methods[type(write)]
        if returning and isinstance(write, Update):
            asked["ReturnValues"] = "ALL_NEW"
        try:
            answer = await self._sender.send(method, **asked)
        except NotHeld as failed:
            if not failed.in_doubt:
                raise
            left = failed.olds[0] or {}
            if mark and left.get(MARK) == {"S": mark}:
                return item_from_wire(left)
            raise self._sender.give_up(_UNKNOWN) from None
        return item_from_wire(answer.get("Attributes", {}))

    async def _transact(self, writes: Sequence[Write]) -> None:
        # By their places: updates whose item is there but expired, to be made anew.
        fresh: set[int] = set()
        for _ in range(_ROUNDS):
            asked = [
                Put(rules.after(write, None), when=Missing())
                if isinstance(write, Update) and at in fresh
                else write
                for at, write in enumerate(writes)
            ]
            try:
                await self._sender.send(self._client.transact_write_items, **self._together(asked))
            except NotHeld as failed:
                self._judge(writes, failed)
                fresh ^= {at for at in failed.olds if isinstance(writes[at], Update)}
            except Refused:
                await self._look(writes)
                raise
            else:
                return
        raise self._sender.give_up(_RESTLESS)

    def _together(self, writes: Iterable[Write]) -> dict[str, Any]:
        now_s = int(self._now())
        parts = [
            {type(write).__name__: requests.request(self._table, write, now_s)} for write in writes
        ]
        # With the same token a transaction is done once, however often it is sent.
        return {"TransactItems": parts, "ClientRequestToken": secrets.token_hex(16)}

    async def _check_ahead(self, writes: Sequence[Write]) -> None:
        # What DynamoDB would not refuse, or not say clearly. Failed conditions are told first.
        try:
            requests.check(writes)
        except StoreError:
            await self._look(writes)
            raise

    def _judge(self, writes: Sequence[Write], failed: NotHeld) -> None:
        """Raise what the contract says of writes that met these items, if it says anything."""
        met = [writes[at] for at in failed.olds]
        olds = {rules.key_of(writes[at]): old for at, old in failed.olds.items()}
        rules.settle(met, lambda pk, sk: self._live(olds[pk, sk]))

    async def _look(self, writes: Sequence[Write]) -> None:
        """Raise what the contract says of writes to the items as they are, if anything."""
        keys = [rules.key_of(write) for write in writes]
        items = await asyncio.gather(*(self._read(*key) for key in keys))
        olds = dict(zip(keys, items, strict=True))
        rules.settle(writes, lambda pk, sk: self._live(olds[pk, sk]))

    async def _read(self, pk: str, sk: str) -> WireItem | None:
        answer = await self._sender.send(
            self._client.get_item,
            reading=True,
            TableName=self._table,
            Key=requests.key(pk, sk),
            ConsistentRead=True,
        )
        found: WireItem | None = answer.get("Item")
        return found

    def _query_page(self, asked: dict[str, Any]) -> tuple[list[Item], WireItem | None]:
        # In the asking thread: a page may hold thousands of values.
        answer = self._client.query(**asked)
        return [item_from_wire(item) for item in answer["Items"]], answer.get("LastEvaluatedKey")

    async def _append(self, puts: Sequence[_PutRequest], free: asyncio.Semaphore) -> None:
        async with free:
            pauses = self._sender.pauses()
            while puts:
                answer = await self._sender.send(
                    self._client.batch_write_item, RequestItems={self._table: puts}
                )
                left = answer.get("UnprocessedItems", {}).get(self._table, [])
                if len(left) < len(puts):
                    pauses = self._sender.pauses()
                if left and not await pauses.pause():
                    raise self._sender.too_busy("UnprocessedItems")
                puts = left

    def _live(self, wire: WireItem | None) -> Item | None:
        if not wire:
            return None
        item = item_from_wire(wire)
        return None if self._expired(item) else item

    def _expired(self, item: Item) -> bool:
        at = item.get(requests.EXPIRY)
        return type(at) is int and at <= self._now()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")


def create_table(client: Any, table: str) -> None:
    """Create a table for a store, paid by use, and wait until it is there; its TTL is on."""
    names = ("pk", "sk")
    client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        KeySchema=[
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(names, ("HASH", "RANGE"), strict=True)
        ],
    )
    client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    client.update_time_to_live(
        TableName=table,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": requests.EXPIRY},
    )


def _puts(items: Sequence[Item]) -> list[_PutRequest]:
    for item in items:
        v.check_item(item)
    return [{"PutRequest": {"Item": item_to_wire(item)}} for item in items]


def _key_of(put: _PutRequest) -> tuple[str, str]:
    item = put["PutRequest"]["Item"]
    return item["pk"]["S"], item["sk"]["S"]
