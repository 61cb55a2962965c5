"""SQLite, DynamoDB and memory agree, whatever is asked of them in whatever order."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from voxyray.errors import StoreError
from voxyray.stores import (
    AtMost,
    Delete,
    Equals,
    Exists,
    Missing,
    Put,
    Store,
    Update,
)
from voxyray.stores.dynamodb import DynamoStore
from voxyray.stores.memory import MemoryStore
from voxyray.stores.sqlite import SqliteStore

from .conftest import Clock, new_table

PKS = st.sampled_from(["P", "P#", "ä"])
SKS = st.sampled_from(["", "A", "A#1", "A#2", "A#ä", "A#\uffff", "A#😀", "A#\U0010ffff", "B"])
FIELDS = st.sampled_from(["a", "b", "c", "pk"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers(-(10**38), 10**38)
    | st.sampled_from(["", "x", "\x00", "ä", "\ud800", 0.5]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=4,
)
CONDITIONS = (
    st.just(Exists())
    | st.just(Missing())
    | st.builds(Equals, FIELDS, VALUES)
    | st.builds(AtMost, FIELDS, st.integers(-3, 3))
)
WHEN = st.just(()) | CONDITIONS | st.lists(CONDITIONS, max_size=2)
EXPIRIES = st.sampled_from([{}, {}, {"expires_at": 5}, {"expires_at": 20}, {"expires_at": "x"}])
ITEMS = st.builds(
    lambda pk, sk, fields, expiry: {**fields, "pk": pk, "sk": sk, **expiry},
    PKS, SKS, st.dictionaries(FIELDS, VALUES, max_size=3), EXPIRIES,
)  # fmt: skip
UPDATES = st.builds(
    Update, PKS, SKS,
    set=st.dictionaries(FIELDS, VALUES, max_size=2),
    add=st.dictionaries(FIELDS, st.integers(-3, 3), max_size=2),
    remove=st.lists(st.sampled_from(["a", "b", "expires_at"]), max_size=2),
    when=WHEN,
)  # fmt: skip
WRITES = st.builds(Put, ITEMS, when=WHEN) | UPDATES | st.builds(Delete, PKS, SKS, when=WHEN)

Ask = Callable[[Store], Coroutine[Any, Any, Any]]


class Agreement(RuleBasedStateMachine):
    """Ask one store and the one in memory the same."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.now = 0.0
        self.runner = asyncio.Runner()
        self.memory = MemoryStore(self.clock)
        self.other = self.open()

    def open(self) -> Store:
        raise NotImplementedError

    def teardown(self) -> None:
        self.runner.run(self.other.close())
        self.runner.close()

    def both(self, ask: Ask) -> None:
        assert self.outcome(ask, self.other) == self.outcome(ask, self.memory)

    def outcome(self, ask: Ask, store: Store) -> tuple[str, str]:
        try:
            return "ok", repr(self.runner.run(ask(store)))
        except StoreError as error:
            return type(error).__name__, str(error)

    @rule(writes=st.lists(WRITES, max_size=4))
    def write(self, writes: list[Any]) -> None:
        self.both(lambda store: store.write(*writes))

    @rule(update=UPDATES)
    def update(self, update: Update) -> None:
        self.both(lambda store: store.update(update))

    @rule(items=st.lists(ITEMS, max_size=4))
    def append(self, items: list[Any]) -> None:
        self.both(lambda store: store.append(items))

    @rule(pk=PKS, sk=SKS)
    def get(self, pk: str, sk: str) -> None:
        self.both(lambda store: store.get(pk, sk))

    @rule(
        pk=PKS,
        prefix=SKS,
        after=SKS,
        limit=st.none() | st.integers(0, 3),
        reverse=st.booleans(),
    )
    def query(self, pk: str, prefix: str, after: str, limit: int | None, reverse: bool) -> None:
        self.both(lambda store: store.query(pk, prefix, after=after, limit=limit, reverse=reverse))

    @rule(seconds=st.sampled_from([0.5, 5, 70]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def hold_the_same(self) -> None:
        for pk in ("P", "P#", "ä"):
            self.query(pk, "", "", None, False)


class SqliteAgreement(Agreement):
    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        super().__init__()

    def open(self) -> SqliteStore:
        return SqliteStore.open(Path(self.folder.name) / "store.db", self.clock)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()

    @rule()
    def purge(self) -> None:
        assert isinstance(self.other, SqliteStore)
        self.runner.run(self.other.purge_expired())

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.other.close())
        self.other = self.open()


class DynamoAgreement(Agreement):
    client: ClassVar[Any]

    def open(self) -> DynamoStore:
        return DynamoStore(self.client, new_table(self.client), self.clock)


def test_sqlite_agrees() -> None:
    run_state_machine_as_test(
        SqliteAgreement,
        settings=settings(max_examples=50, stateful_step_count=25, deadline=None, database=None),
    )


def test_dynamodb_agrees(dynamodb: Any) -> None:
    DynamoAgreement.client = dynamodb
    run_state_machine_as_test(
        DynamoAgreement,
        settings=settings(max_examples=20, stateful_step_count=25, deadline=None, database=None),
    )
