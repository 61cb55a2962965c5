"""Where orders are kept: one draft for each call, and what was placed, for each caller.

Every change is a conditional write on the draft's version, done again when another was first, so
that two changes at once are both kept. Placing is one transaction: the draft is marked as placed,
the order and the kitchen's ticket are written, all or nothing; a draft can be marked only once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ConditionFailed, ToolError
from voxyray.stores import Equals, Item, Missing, Put, Update, keys

from .hours import later
from .order import Done, Order, OrderType, summary
from .shop import Shop
from .spoken import clock, dollars, minutes, sentence

_DRAFT: Final = "DRAFT"
_ATTEMPTS: Final = 40  # more than tools of one call can run at once
_KEYS: Final = 50  # of runs that are remembered, against repetition
_DAY_S: Final = 86_400
_QUEUE: Final = 200  # tickets that are looked at
_TOO_LATE: Final = (
    "That order is placed already and can't be changed any more. You can order something else, or "
    "I can put you through to a person."
)


class Placed(msgspec.Struct, frozen=True):
    """An order that was placed. number: what the shop calls it.

    at, made, due: epoch seconds of placing, of leaving the kitchen, of being with the caller.
    """

    id: str
    number: str
    at: int
    made: int
    due: int
    order: Order

    def minutes_left(self, now_s: float) -> int:
        """Give the wait that is left, as one says it: in steps of five minutes."""
        return max(0, -(-int(self.due - now_s) // 300) * 5)


class Draft(msgspec.Struct, frozen=True):
    """The order that a call is about.

    index: of the order within its call, from 1. read: the version that was read to the caller, in
    the turn read_turn. runs: what tool runs have changed it. placed: what became of it.
    """

    index: int = 1
    version: int = 0
    order: Order = Order()
    read: int = -1
    read_turn: int = -1
    runs: dict[str, str] = {}
    placed: Placed | None = None


class Counter:
    """Takes the orders of one call; made for each run of a tool."""

    def __init__(self, shop: Shop, caller: Caller, call: CallContext) -> None:
        self._shop = shop
        self._caller = caller
        self._call = call
        self._draft_pk = keys.call(call.id)
        # Who withholds their number has no past orders; those of this call are in it.
        known = keys.is_caller(caller.number)
        self.orders_pk = keys.caller(caller.number) if known else self._draft_pk

    async def draft(self) -> Draft:
        """Read the order that this call is about; an empty one if there is none yet."""
        item = await self._call.store.get(self._draft_pk, _DRAFT)
        return Draft() if item is None else msgspec.convert(item["draft"], Draft)

    async def edit(self, change: Callable[[Order], Done], *, begins: bool = False) -> str:
        """Change the order, whatever else changes it at the same time, and say what was done.

        begins: after an order was placed this begins a new one. A run that is repeated does
        nothing.

        Raises:
            ToolError: of change; nothing was changed.
        """
        run = self._call.key
        for _ in range(_ATTEMPTS):
            old = await self.draft()
            if run and run in old.runs:
                return old.runs[run]
            if old.placed is None:
                done = change(old.order)
                new = msgspec.structs.replace(old, order=done.order)
            elif not begins:
                raise ToolError(_TOO_LATE)
            else:
                done = change(Order())
                done = msgspec.structs.replace(done, words=f"A new order begins. {done.words}")
                new = Draft(old.index + 1, order=done.order, runs=old.runs)
            if run:
                runs = [*new.runs.items(), (run, done.words)][-_KEYS:]
                new = msgspec.structs.replace(new, runs=dict(runs))
            if await self._written(old, new):
                return done.words
        raise ToolError("The order keeps changing. Please say that once more.")

    async def read(self) -> str:
        """Give the order with its total, and note that the caller is told it now.

        Raises:
            ToolError: there is nothing in it.
        """
        for _ in range(_ATTEMPTS):
            old = await self.draft()
            if old.placed is not None:
                return f"It is placed already. {sentence(self.spoken(old.placed))}"
            words = summary(old.order)
            if old.order.missing():
                return words
            new = msgspec.structs.replace(old, read=old.version + 1, read_turn=self._call.turn)
            if await self._written(old, new):
                return words
        raise ToolError("The order keeps changing. Please ask for it once more.")

    async def place(self) -> str:
        """Place the order, once, and say when it is ready; a second time says the same.

        Raises:
            ToolError: it is not complete, or not confirmed.
        """
        for _ in range(_ATTEMPTS):
            old = await self.draft()
            if old.placed is not None:
                return f"It is placed already, once. {self.spoken(old.placed)}"
            self._check(old)
            placed = await self._placing(old)
            new = msgspec.structs.replace(old, placed=placed)
            if await self._written(old, new, *self._records(placed)):
                return f"The order is placed. {self.spoken(placed)}"
        raise ToolError("The order keeps changing. Read it to the caller once more.")

    def _check(self, draft: Draft) -> None:
        if missing := draft.order.missing():
            raise ToolError(missing)
        if draft.read != draft.version:
            raise ToolError("Read the order to the caller first, with read_order; then ask them.")
        if draft.read_turn == self._call.turn:
            raise ToolError("The caller has not confirmed it yet. Wait for their yes.")

    async def _placing(self, draft: Draft) -> Placed:
        now, order = self._call.now(), draft.order
        queue = await self._queue()
        begin = self._begin(order.items, queue)
        kitchen, delivery = self._shop.kitchen, order.type == "delivery"
        made = later(begin, kitchen.minutes(order.items, queue))
        due = later(begin, kitchen.wait(order.items, queue, delivery=delivery))
        id_ = f"{self._call.id}#{draft.index}"
        digest = int.from_bytes(hashlib.sha256(id_.encode()).digest()[:4])
        at = int(now.timestamp())
        number = str(1000 + digest % 9000)
        return Placed(id_, number, at, int(made.timestamp()), int(due.timestamp()), order)

    def _records(self, placed: Placed) -> tuple[Put, Put]:
        """Make the order for the caller, and the ticket for the kitchen."""
        order: dict[str, Any] = {
            **_plain(placed),
            "type": placed.order.type,
            "address": placed.order.address if placed.order.type == "delivery" else "",
            "total": str(placed.order.total),
            "call": self._call.id,
        }
        kept_s = self._shop.keep_orders_days * _DAY_S
        at = datetime.fromtimestamp(placed.at, UTC)
        sk = f"ORDER#{at:%Y-%m-%dT%H:%M:%SZ}#{placed.id}"
        ticket = {
            "number": placed.number,
            "items": placed.order.items,
            "due": placed.due,
            "order_pk": self.orders_pk,
            "order_sk": sk,
        }
        return (
            Put(
                {"pk": self.orders_pk, "sk": sk, "expires_at": placed.at + kept_s, **order},
                Missing(),
            ),
            Put(
                {
                    "pk": self._kitchen_pk,
                    "sk": f"TICKET#{placed.made:011d}#{placed.id}",
                    "expires_at": placed.due + _DAY_S,
                    **ticket,
                },
                Missing(),
            ),
        )

    async def orders(self, limit: int = 5) -> list[Placed]:
        """Give the caller's orders, the latest first."""
        items = await self._call.store.query(self.orders_pk, "ORDER#", limit=limit, reverse=True)
        return [msgspec.convert(item, Placed) for item in items]

    # Time

    @property
    def _kitchen_pk(self) -> str:
        return f"KITCHEN#{self._call.agent}"

    async def _queue(self) -> int:
        """Count the items of all orders that are not ready yet, ahead of this one."""
        now = int(self._call.clock())
        closes = self._shop.hours.closing(self._call.now())
        # What is ordered ahead, for another day, keeps nobody waiting today.
        until = f"TICKET#{int(closes.timestamp()):011d}$" if closes else "TICKET#~"
        tickets = await self._call.store.query(
            self._kitchen_pk, "TICKET#", after=f"TICKET#{now:011d}$", limit=_QUEUE
        )
        return sum(int(ticket["items"]) for ticket in tickets if ticket["sk"] < until)

    def _begin(self, items: int = 1, queue: int = 0) -> datetime:
        """Give when the kitchen begins: now, or at the next opening for an order ahead.

        Raises:
            ToolError: the shop never opens.
        """
        now, hours = self._call.now(), self._shop.hours
        if self._shop.kitchen.can_finish(hours, now, items, queue):
            return now
        opens = hours.next_opening(now)
        if opens is None:
            raise ToolError("We take no orders at the moment.")
        return opens

    def ahead(self, items: int = 1, queue: int = 0) -> str:
        """Say that an order would be for the next opening, and why; empty if it is for now."""
        now, hours = self._call.now(), self._shop.hours
        if self._begin(items, queue) == now:
            return ""
        closes = hours.closing(now)
        why = (
            f"The kitchen can't finish that before we close at {clock(closes)}"
            if closes
            else ("We're closed right now")
        )
        return f"{why}, so this is ordered ahead: we open {hours.spoken_opening(now)}."

    async def waiting(self, type_: OrderType | Literal[""] = "") -> str:
        """Say how long the order would take if it were placed now."""
        draft = await self.draft()
        if draft.placed is not None:
            return f"{self._spoken_when(draft.placed)}."
        items, queue = max(1, draft.order.items), await self._queue()
        kitchen, wanted = self._shop.kitchen, type_ or draft.order.type
        begin, now = self._begin(items, queue), self._call.now()
        ways = {}
        for way in ("pickup", "delivery"):
            wait = kitchen.wait(items, queue, delivery=way == "delivery")
            at = f"in about {minutes(wait)}" if begin == now else self._moment(later(begin, wait))
            ways[way] = f"{way} {at}"
        told = [ways[wanted]] if wanted else list(ways.values())
        return sentence(f"{self.ahead(items, queue)} If it is ordered now, {', or '.join(told)}")

    # Words

    def spoken(self, placed: Placed) -> str:
        """Say what the order is called, when it is there, and what it costs."""
        total = dollars(placed.order.total)
        number = " ".join(placed.number)
        return f"The number is {number}. {self._spoken_when(placed)}. The total is {total}."

    def _spoken_when(self, placed: Placed) -> str:
        due = datetime.fromtimestamp(placed.due, self._call.zone)
        left = placed.minutes_left(self._call.clock())
        soon = due.date() == self._call.now().date()
        will, wait = ("will be", f", in about {minutes(left)}") if left else ("should be", "")
        if placed.order.type == "delivery":
            place = f"It {will} at {placed.order.address}"
        else:
            place = f"It {will} ready for pickup"
        return f"{place} {self._moment(due)}{wait if soon else ''}"

    def _moment(self, due: datetime) -> str:
        """Say a time of today, or of another day."""
        if due.date() == self._call.now().date():
            return f"at about {clock(due)}"
        return f"on {due:%A} at about {clock(due)}"

    async def _written(self, old: Draft, new: Draft, *more: Put | Update) -> bool:
        """Write a draft, unless another was written since; with it whatever belongs to it."""
        new = msgspec.structs.replace(new, version=old.version + 1)
        item: Item = {
            "pk": self._draft_pk,
            "sk": _DRAFT,
            "expires_at": int((self._call.now() + timedelta(days=1)).timestamp()),
            "version": new.version,
            "draft": _plain(new),
        }
        when = Equals("version", old.version) if old.version else Missing()
        try:
            await self._call.store.write(Put(item, when), *more)
        except ConditionFailed:
            return False
        return True


def _plain(value: Placed | Draft) -> dict[str, Any]:
    """Give JSON values; amounts become texts, which every store keeps exactly."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return plain
