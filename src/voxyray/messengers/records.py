"""What the store knows of messages: every change of state is one conditional write.

| pk | sk | what |
|---|---|---|
| `OUTBOX#2026-11-03` | `ms#id` | a message and what became of it; days (UTC) list newest first |
| `OUTBOX#PENDING` | `ms#id` | messages that were not given to a provider yet, for `recover` |
| `OUTBOX#ID#id` | `PLACE` | where a message is; its absence is what makes a key new |
| `OUTBOX#PROVIDER#id` | `PLACE` | where the message of a provider's id is, or an early callback |
| `OPTOUT#+1…` | `OPTOUT` | who wants no messages; never expires |

accepted -> sending -> sent -> delivered | undelivered | failed; sending -> accepted after a refusal
that may be tried again; sending -> unknown if nobody knows; accepted -> stored with no account.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import msgspec

from voxyray.errors import ConditionFailed, MessageRefused, StoreError
from voxyray.messengers import Kind, Message, codes, masked
from voxyray.messengers.checks import recipient
from voxyray.stores import Delete, Equals, Exists, Item, Missing, Put, Store, Update, Write

Status: TypeAlias = Literal[
    "accepted",  # stored; will be sent
    "sending",  # a provider is being asked
    "sent",  # a provider took it
    "delivered",
    "undelivered",
    "failed",  # the dead letters: code and reason say why
    "unknown",  # a provider may have taken it; sending again might send twice
    "stored",  # kept in the outbox, for there is no account
]

PENDING: Final = "OUTBOX#PENDING"
_PLACE: Final = "PLACE"
_OPTOUT: Final = "OPTOUT"
_FINAL: Final = frozenset({"delivered", "undelivered", "failed"})
# Twilio's final statuses (reference 7.5); the others say nothing new once it is sent.
_CALLBACKS: Final[dict[str, Status]] = {
    "delivered": "delivered",
    "read": "delivered",
    "undelivered": "undelivered",
    "failed": "failed",
    "canceled": "failed",
}
_PROVIDER_ID: Final = re.compile(r"[A-Za-z0-9_\-.:=+/~@<>]{1,200}")
_CODE: Final = re.compile(r"[A-Za-z0-9_\-.]{1,60}")
_EARLY_S: Final = 86_400  # callbacks of messages that are not ours are forgotten after a day
_TRIES: Final = 5


class Place(msgspec.Struct, frozen=True):
    """Where a message is in the store."""

    pk: str
    sk: str

    @property
    def id(self) -> str:
        """The message's id in the outbox."""
        return self.sk.rpartition("#")[2]


class Entry(msgspec.Struct, frozen=True):
    """A message in the outbox; times in epoch milliseconds.

    via: the messenger's name, once it was asked. attempts: how often a provider was asked. code,
    reason: of the last failure.
    """

    id: str
    status: Status
    kind: Kind
    to: str
    body: str
    subject: str = ""
    from_name: str = ""
    key: str = ""
    call: str = ""
    agent: str = ""
    via: str = ""
    provider_id: str = ""
    code: str = ""
    reason: str = ""
    attempts: int = 0
    created_at_ms: int = 0
    updated_at_ms: int = 0
    next_at_ms: int = 0

    def __repr__(self) -> str:
        return f"<Entry {self.id} {self.status} {self.kind} to {masked(self.to)}>"

    @property
    def message(self) -> Message:
        """The message as it was accepted."""
        return Message(**{name: getattr(self, name) for name in Message.__struct_fields__})


class Records:
    """Messages in a store; now gives epoch seconds. Every method may raise `StoreError`."""

    def __init__(self, store: Store, now: Callable[[], float], retention_days: int) -> None:
        self._store = store
        self._now = now
        self._days = retention_days
        self._last_ms = 0

    # Accepting

    async def keep(self, message: Message) -> tuple[Place, bool]:
        """Store a checked message; say where, and whether it is new.

        Raises:
            MessageRefused: its key belongs to another message.
        """
        made_ms = self._ms()
        # Of two in one millisecond the later one is still the newer one in the list.
        self._last_ms = order_ms = max(made_ms, self._last_ms + 1)
        place = Place(day(order_ms / 1000), f"{order_ms:015d}#{message_id(message.key)}")
        fields = msgspec.structs.asdict(message)
        state = {"status": "accepted", "created_at_ms": made_ms, "updated_at_ms": made_ms}
        marker = {"kind": message.kind, "to": message.to}
        try:
            await self._store.write(
                Put({**self._item(_by_id(place.id), _PLACE, place), **marker}, Missing()),
                Put({**self._item(place.pk, place.sk), "id": place.id, **fields, **state}),
                Put(self._item(PENDING, place.sk, place)),
            )
        except ConditionFailed:
            first = await self._store.get(_by_id(place.id), _PLACE) or {}
            if any(first.get(name) != value for name, value in marker.items()):
                raise MessageRefused(
                    "this key belongs to a message to somebody else; give each its own key", "key"
                ) from None
            return _place(first), False
        return place, True

    # Sending

    async def claim(self, place: Place, token: str, via: str) -> Entry | None:
        """Go from accepted to sending; None if somebody else has it, or it is gone."""
        try:
            item = await self._store.update(
                Update(
                    place.pk,
                    place.sk,
                    set=self._state("sending", claim=token, via=via),
                    add={"attempts": 1},
                    when=Equals("status", "accepted"),
                )
            )
        except ConditionFailed:
            item = await self._store.get(place.pk, place.sk) or {}
            # Ours already: the write was done though the store failed to say so.
            if item.get("status") != "sending" or item.get("claim") != token:
                return None
        return _entry(item)

    async def put_back(self, place: Place, token: str, code: str, reason: str, due_ms: int) -> None:
        """Go back to accepted, to be tried again at due_ms."""
        state = self._state("accepted", code=code, reason=reason, next_at_ms=due_ms)
        await self._settle(place, token, state, Put(self._item(PENDING, place.sk, place)))

    async def end(
        self, place: Place, token: str, status: Status, code: str = "", reason: str = ""
    ) -> None:
        """Go to a status from which nothing is sent any more."""
        state = self._state(status, code=code, reason=reason)
        await self._settle(place, token, state, Delete(PENDING, place.sk))

    async def sent(self, place: Place, token: str, provider_id: str) -> str:
        """Go to sent, or to what a callback has said already, and give that callback's code."""
        usable = _PROVIDER_ID.fullmatch(provider_id) is not None
        for _ in range(_TRIES):
            early = await self._store.get(_by_provider(provider_id), _PLACE) if usable else None
            if early is not None and "place_pk" in early:
                if _place(early) == place:
                    return ""  # written already, though the store failed to say so
                early, usable = None, False  # a provider that gives an id twice
            state = self._state("sent", provider_id=provider_id, code="", reason="")
            more: list[Write] = [Delete(PENDING, place.sk)]
            if early is not None:
                state |= {name: early[name] for name in ("status", "code", "reason")}
            if usable:
                mark = self._item(_by_provider(provider_id), _PLACE, place)
                # An early callback stays as it is: the first final status is the last.
                more.append(Put(mark, Missing() if early is None else Exists()))
            if await self._settle(place, token, state, *more):
                return str(state["code"])
        raise StoreError("a message kept changing while it was stored that it was sent")

    async def _settle(self, place: Place, token: str, state: Item, *more: Write) -> bool:
        """Write a state, if the claim is still ours; false if some other condition failed."""
        update = Update(place.pk, place.sk, set=state, when=Equals("claim", token))
        try:
            await self._store.write(update, *more)
        except ConditionFailed:
            item = await self._store.get(place.pk, place.sk)
            return item is None or item.get("claim") != token
        return True

    # Callbacks

    async def apply(self, provider_id: str, status: str, code: str) -> Entry | None:
        """Apply a provider's callback; give the message as it is then, None if nothing changed."""
        news = _CALLBACKS.get(status)
        if news is None or not _PROVIDER_ID.fullmatch(provider_id):
            return None
        code = code if _CODE.fullmatch(code) else ""
        # The reason of an earlier attempt is none of a delivery.
        told = {"code": code, "reason": codes.meaning(code)}
        for _ in range(_TRIES):
            known = await self._store.get(_by_provider(provider_id), _PLACE)
            try:
                if known is None:
                    # It has overtaken the answer to our own request.
                    early = {**self._item(_by_provider(provider_id), _PLACE), "status": news}
                    early["expires_at"] = int(self._now()) + _EARLY_S
                    await self._store.write(Put({**early, **told}, Missing()))
                    return None
                if "place_pk" not in known:
                    return None
                return await self._conclude(_place(known), self._state(news, **told))
            except ConditionFailed:
                continue
        raise StoreError("a message kept changing while its status was stored")

    async def _conclude(self, place: Place, state: Item) -> Entry | None:
        item = await self._store.get(place.pk, place.sk)
        if item is None or item.get("status") in _FINAL:
            return None
        when = Equals("status", item.get("status"))
        return _entry(await self._store.update(Update(place.pk, place.sk, set=state, when=when)))

    # Recovering

    async def pending(self, after: str, limit: int) -> list[Place]:
        """Give messages that were not sent, oldest first, from beyond a sort key."""
        items = await self._store.query(PENDING, after=after, limit=limit)
        return [_place(item) for item in items]

    async def give_up_sending(self, place: Place) -> bool:
        """Mark as unknown what was being sent; false if it is not any more."""
        try:
            await self._store.write(
                Update(
                    place.pk,
                    place.sk,
                    set=self._state("unknown", reason="stopped while a provider was asked"),
                    when=Equals("status", "sending"),
                ),
                Delete(PENDING, place.sk),
            )
        except ConditionFailed:
            return False
        return True

    async def postpone(self, place: Place) -> None:
        """Have an accepted message be due from now on; one that was begun stays as it is."""
        due = Update(
            place.pk, place.sk, set={"next_at_ms": self._ms()}, when=Equals("status", "accepted")
        )
        with contextlib.suppress(ConditionFailed):
            await self._store.update(due)

    async def forget_pending(self, place: Place) -> None:
        """Take a message that is gone, or done, from the list of those to be sent."""
        await self._store.write(Delete(PENDING, place.sk))

    # Reading

    async def get(self, message_id: str) -> Entry | None:
        """Read a message by its id in the outbox."""
        known = await self._store.get(_by_id(message_id), _PLACE)
        return None if known is None else await self.at(_place(known))

    async def at(self, place: Place) -> Entry | None:
        """Read the message at a place."""
        item = await self._store.get(place.pk, place.sk)
        return None if item is None else _entry(item)

    async def latest(self, limit: int) -> list[Entry]:
        """List messages, newest first, as far back as they are kept."""
        found: list[Item] = []
        for back in range(self._days + 1):
            pk = day(self._now() - back * 86_400)
            found += await self._store.query(pk, limit=limit - len(found), reverse=True)
            if len(found) >= limit:
                break
        return [_entry(item) for item in found]

    # Opting out

    async def opt_out(self, to: str) -> None:
        """Remember that a number or address wants no messages."""
        pk = f"{_OPTOUT}#{recipient(to)}"
        await self._store.write(Put({"pk": pk, "sk": _OPTOUT, "since_ms": self._ms()}))

    async def opt_in(self, to: str) -> None:
        """Forget that a number or address wanted no messages."""
        await self._store.write(Delete(f"{_OPTOUT}#{recipient(to)}", _OPTOUT))

    async def is_opted_out(self, to: str) -> bool:
        """Whether a number or address wants no messages."""
        return await self._store.get(f"{_OPTOUT}#{recipient(to)}", _OPTOUT) is not None

    def _item(self, pk: str, sk: str, place: Place | None = None) -> Item:
        item: Item = {"pk": pk, "sk": sk, "expires_at": int(self._now()) + self._days * 86_400}
        return item if place is None else {**item, "place_pk": place.pk, "place_sk": place.sk}

    def _state(self, status: Status, **more: Any) -> Item:
        return {"status": status, "updated_at_ms": self._ms(), **more}

    def _ms(self) -> int:
        return int(self._now() * 1000)


def message_id(key: str) -> str:
    """Give the outbox id of a key: the same for the same key, and it tells nothing of it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def day(at_s: float) -> str:
    """Give the partition of a day's messages (UTC); at_s is epoch seconds."""
    return f"OUTBOX#{time.strftime('%Y-%m-%d', time.gmtime(at_s))}"


def _by_id(message_id: str) -> str:
    return f"OUTBOX#ID#{message_id}"


def _by_provider(provider_id: str) -> str:
    return f"OUTBOX#PROVIDER#{provider_id}"


def _place(item: Item) -> Place:
    return Place(str(item.get("place_pk", "")), str(item.get("place_sk", "")))


def _entry(item: Item) -> Entry:
    try:
        return msgspec.convert(item, Entry)
    except msgspec.ValidationError as error:
        raise StoreError(f"a message in the outbox is damaged: {error}") from error
