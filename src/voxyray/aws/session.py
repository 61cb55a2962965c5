"""One relay connection's item: who owns its call now, what has arrived for it, what it knows.

Every frame is an invocation of its own, and they overlap on different machines in any order. One
invocation at a time *owns* the call: it holds a lease that it must renew, and a *fence*, a number
that grows with every owner, on which all its writes depend. Whoever finds the call owned leaves
its frame in the item, from where the owner takes it with its next write. So

- a frame that finds the call at rest has it, with all it knows, after one write;
- what has arrived is in the item until the state that it led to is stored, in the same write;
- an owner that died, or was stalled past its lease, can neither write nor go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec

from voxyray import snapshot
from voxyray.errors import ConditionFailed, NotOwner
from voxyray.history import Turn
from voxyray.stores import AtMost, Equals, Exists, Item, Missing, Put, Store, Update, keys

# Beyond it an owner counts as dead. It renews the lease with every write, ten times a second.
LEASE_MS: Final = 2000
# By so much two machines' clocks may differ.
SKEW_MS: Final = 250
# A delayed message may come a little before its time; nobody else would wake the call then.
_EARLY_MS: Final = 1500

_LIVE: Final = "LIVE"
_KEPT: Final = "KEPT#"
_BINDING: Final = f"{_KEPT}BINDING"
_MAIL: Final = "in#"
_MOST_SEEN: Final = 24

# In byte order: the end of a socket comes after all its frames, whatever the clocks say.
Kind: TypeAlias = Literal["frame", "gone"]


class Mail(msgspec.Struct, frozen=True, order=True):
    """What has arrived: a frame's JSON text, or the code the socket closed with.

    at_ms: when the gateway had it, epoch milliseconds. id: the gateway's; a repetition has the
    same.
    """

    at_ms: int
    kind: Kind
    id: str
    text: str = ""

    @property
    def field(self) -> str:
        """The name it has in the item; byte order is the order of arrival."""
        return f"{_MAIL}{self.kind}#{self.at_ms:015d}#{_short(self.id)}"


class Kept(msgspec.Struct, frozen=True):
    """What is stored once: to whom the call is bound (none before `setup`), and settled turns."""

    binding: Item | None = None
    turns: list[Turn] = []


class Session:
    """A connection's item, as one invocation sees it.

    clock: epoch seconds. Once it is owned: state is the call's snapshot and caller who calls, both
    as JSON, as of the last write or look; wake_ms is when the next wake-up is due that was sent
    off, renewed_ms when the lease was renewed, turns_kept how many settled turns are stored apart.
    """

    def __init__(self, store: Store, connection: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._pk = keys.session(connection)
        self._clock = clock
        self._mail: dict[str, Mail] = {}
        self._handled: dict[str, str] = {}  # taken, but not yet in a stored state: field to id
        self._seen: list[str] = []
        self._count = 0
        self.connection = connection
        self.fence = 0
        self.state = ""
        self.caller = ""
        self.wake_ms = 0
        self.renewed_ms = 0
        self.refused = False
        self.opened_ms = 0
        self.turns_kept = 0

    @property
    def now_ms(self) -> int:
        """The time."""
        return int(self._clock() * 1000)

    # Before it is owned

    async def open(self, expires_at: int) -> None:
        """Make the item, as the connection is made; a repetition changes nothing."""
        item: Item = {"pk": self._pk, "sk": _LIVE, "expires_at": expires_at}
        try:
            await self._store.write(
                Put(
                    item
                    | {"fence": 0, "until_ms": 0, "mail": 0, "wake_ms": 0}
                    | {"opened_ms": self.now_ms},
                    Missing(),
                )
            )
        except ConditionFailed:
            return

    async def deliver(self, mail: Mail) -> bool:
        """Own the call with this mail, or leave it to the owner; whether it is owned now.

        Raises:
            ConditionFailed: there is no such connection.
            StoreError: neither worked.
        """
        fields = {mail.field: mail.text}
        if await self._claim(fields):
            return True
        left = Update(self._pk, _LIVE, set=fields, add={"mail": 1}, when=Exists())
        item = await self._store.update(left)
        # If it came to rest meanwhile: whoever claims it from now on finds the mail.
        return int(item["until_ms"]) <= self.now_ms - SKEW_MS and await self._claim({})

    async def wake(self) -> bool | None:
        """Own the call for its deadlines' sake, if nobody does; None: an owner is at work.

        False: it is at rest, and another wake-up is on its way.
        """
        item = await self._store.get(self._pk, _LIVE)
        if item is None:
            return False
        until_ms = int(item["until_ms"])
        if until_ms > self.now_ms - SKEW_MS:
            return None
        if until_ms == 0 and int(item.get("wake_ms", 0)) > self.now_ms + _EARLY_MS:
            return False
        return True if await self._claim({}) else None

    async def _claim(self, fields: dict[str, str]) -> bool:
        now_ms = self.now_ms
        claim = Update(
            self._pk,
            _LIVE,
            set={**fields, "until_ms": now_ms + LEASE_MS},
            add={"fence": 1, "mail": len(fields)},
            when=AtMost("until_ms", now_ms - SKEW_MS),
        )
        try:
            item = await self._store.update(claim)
        except ConditionFailed:
            return False
        self.fence = item["fence"]
        self._take_in(item, now_ms)
        return True

    async def kept(self) -> Kept:
        """Read what is stored once; may run along with `deliver`.

        Raises:
            JournalError: it is damaged.
        """
        items = await self._store.query(self._pk, _KEPT)
        binding = next((item for item in items if item["sk"] == _BINDING), None)
        turns = [snapshot.decode_turn(item["turn"]) for item in items if item["sk"] != _BINDING]
        return Kept(binding, turns)

    # For the owner

    @property
    def waiting(self) -> list[Mail]:
        """What has arrived and was not taken, in order."""
        return [self._mail[field] for field in sorted(self._mail)]

    def take(self) -> list[Mail]:
        """Give what has arrived and was not given before, in order."""
        mails = []
        for field in sorted(self._mail):
            mail = self._mail.pop(field)
            if mail.id not in self._seen and mail.id not in self._handled.values():
                mails.append(mail)
            self._handled[field] = mail.id
        return mails

    async def bind(self, binding: Item) -> None:
        """Store to whom the call is bound."""
        await self._store.write(Put({**binding, "pk": self._pk, "sk": _BINDING}))

    async def keep(self, turns: dict[int, str], expires_at: int) -> None:
        """Store settled turns by their place in the call; it is safe to repeat."""
        await self._store.append(
            [
                {
                    "pk": self._pk,
                    "sk": f"{_KEPT}TURN#{place:05d}",
                    "turn": text,
                    "expires_at": expires_at,
                }
                for place, text in turns.items()
            ]
        )

    async def save(self, state: str, caller: str) -> None:
        """Store the state that all that was taken has led to, and renew the lease.

        Raises:
            NotOwner: another invocation owns the call.
        """
        now_ms = self.now_ms
        update, handled = self._update(state, caller, now_ms + LEASE_MS)
        try:
            item = await self._store.update(update)
        except ConditionFailed as error:
            raise NotOwner("another invocation owns the call") from error
        self._stored(handled)
        self._take_in(item, now_ms)

    async def renew(self) -> None:
        """Renew the lease while there is no state to store yet.

        Raises:
            NotOwner: another invocation owns the call.
        """
        now_ms = self.now_ms
        until_ms, owned = now_ms + LEASE_MS, Equals("fence", self.fence)
        try:
            item = await self._store.update(
                Update(self._pk, _LIVE, set={"until_ms": until_ms}, when=owned)
            )
        except ConditionFailed as error:
            raise NotOwner("another invocation owns the call") from error
        self._take_in(item, now_ms)

    async def look(self) -> None:
        """See what has arrived, without writing.

        Raises:
            NotOwner: another invocation owns the call.
        """
        item = await self._store.get(self._pk, _LIVE)
        if item is None or item["fence"] != self.fence:
            raise NotOwner("another invocation owns the call")
        self._take_in(item, self.renewed_ms)

    async def release(self, state: str, caller: str, wake_ms: int) -> bool:
        """Store the state and let the call go; false if something has arrived meanwhile.

        wake_ms: when a wake-up is due that was sent off; 0 if none is.

        Raises:
            NotOwner: another invocation owns the call.
        """
        update, handled = self._update(state, caller, 0)
        unmoved = Equals("mail", self._count)
        update = msgspec.structs.replace(
            update,
            set={**update.set, "wake_ms": wake_ms},
            when=(Equals("fence", self.fence), unmoved),
        )
        try:
            await self._store.update(update)
        except ConditionFailed:
            await self.look()
            return False
        self._stored(handled)
        return True

    async def refuse(self) -> None:
        """Store that nothing of this connection counts."""
        await self._store.update(
            Update(
                self._pk,
                _LIVE,
                set={"refused": True, "until_ms": 0},
                remove=(*self._mail, *self._handled),
                when=Equals("fence", self.fence),
            )
        )

    async def let_go(self) -> bool:
        """Leave everything as it is to an invocation that can go on; false if more has arrived.

        Raises:
            NotOwner: another invocation owns the call.
        """
        when = (Equals("fence", self.fence), Equals("mail", self._count))
        try:
            await self._store.update(Update(self._pk, _LIVE, set={"until_ms": 0}, when=when))
        except ConditionFailed:
            await self.look()
            return False
        return True

    def _update(self, state: str, caller: str, until_ms: int) -> tuple[Update, dict[str, str]]:
        handled = dict(self._handled)
        seen = [*self._seen, *handled.values()][-_MOST_SEEN:]
        values = {"state": state, "caller": caller, "until_ms": until_ms, "seen": seen}
        values["wake_ms"] = self.wake_ms
        owned = Equals("fence", self.fence)
        return Update(self._pk, _LIVE, set=values, remove=tuple(handled), when=owned), handled

    def _stored(self, handled: dict[str, str]) -> None:
        for field in handled:
            self._handled.pop(field, None)

    def _take_in(self, item: Item, renewed_ms: int) -> None:
        self.renewed_ms = renewed_ms
        self.state = str(item.get("state", ""))
        self.caller = str(item.get("caller", ""))
        self.opened_ms = int(item.get("opened_ms", 0))
        self.refused = bool(item.get("refused", False))
        self.wake_ms = max(self.wake_ms, int(item.get("wake_ms", 0)))
        self._count = int(item["mail"])
        self._seen = list(item.get("seen", ()))
        for field, text in item.items():
            if field.startswith(_MAIL) and field not in self._handled:
                kind, at_ms, id_ = field.removeprefix(_MAIL).split("#", 2)
                known: Kind = "gone" if kind == "gone" else "frame"
                self._mail[field] = Mail(int(at_ms), known, id_, text)


def _short(id_: str) -> str:
    return hashlib.blake2b(id_.encode(errors="replace"), digest_size=6).hexdigest()
