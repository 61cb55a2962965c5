"""A clock to turn by hand, and every store behind one fixture."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from voxyray.stores import Store
from voxyray.stores.dynamodb import DynamoStore, create_table
from voxyray.stores.memory import MemoryStore
from voxyray.stores.sqlite import SqliteStore

from ..support.ministack import MiniStack, make_client
from .moto import moto

_numbers = itertools.count()


class Clock:
    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def dynamodb(aws: MiniStack) -> Any:
    """A client of the local cloud's DynamoDB."""
    return aws.client("dynamodb", max_pool_connections=32)


@pytest.fixture(scope="session")
def motos_dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of moto's DynamoDB."""
    with moto(tmp_path_factory.mktemp("moto")) as url:
        yield make_client("dynamodb", url, max_pool_connections=32)


def new_table(client: Any) -> str:
    table = f"voxyray-{next(_numbers)}"
    create_table(client, table)
    return table


# Where moto does not do as AWS says it does; MiniStack does.
_MOTO_COMPARES_TYPES = (
    "moto compares values of different types, as Python would: "
    "it holds 1 for true, and breaks on text and number"
)
_MOTO_RACES = "moto's server answers in threads, and its conditions are not atomic"
MOTO_DIFFERS = {
    "test_concurrent_additions_all_count[moto]": _MOTO_RACES,
    "test_of_many_claimers_exactly_one_wins[moto-write0]": _MOTO_RACES,
    "test_of_many_claimers_exactly_one_wins[moto-write1]": _MOTO_RACES,
    "test_a_fence_moves_once_for_each_turn[moto]": _MOTO_RACES,
    "test_money_moves_only_whole[moto]": _MOTO_RACES,
    "test_the_largest_that_goes[moto]": "moto refuses items of 405 KB, AWS those of 400 KiB",
    "test_a_bad_update_changes_nothing[moto-update6-'text'.*integer]": _MOTO_COMPARES_TYPES,
    "test_a_condition_that_fails_changes_nothing[moto-Equals(field='yes', value=1)]":
        _MOTO_COMPARES_TYPES,
    "test_a_condition_that_fails_changes_nothing[moto-Equals(field='one', value=True)]":
        _MOTO_COMPARES_TYPES,
    "test_a_condition_that_fails_changes_nothing"
    "[moto-Equals(field='map', value={'a': 1, 'b': [1]})]": _MOTO_COMPARES_TYPES,
    "test_a_condition_that_fails_changes_nothing[moto-AtMost(field='text', value=9)]":
        _MOTO_COMPARES_TYPES,
    "test_a_condition_that_fails_changes_nothing[moto-AtMost(field='yes', value=9)]":
        _MOTO_COMPARES_TYPES,
    "test_a_bad_item_stops_its_companions[moto]": _MOTO_COMPARES_TYPES,
}  # fmt: skip


@pytest.fixture(params=["memory", "sqlite", "dynamodb", "moto"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Store]:
    if reason := MOTO_DIFFERS.get(request.node.name):
        pytest.skip(reason)
    opened: Store
    if request.param == "memory":
        opened = MemoryStore(clock)
    elif request.param == "sqlite":
        opened = SqliteStore.open(tmp_path / "store.db", clock)
    else:
        client = request.getfixturevalue(_CLIENTS[request.param])
        opened = DynamoStore(client, new_table(client), clock)
    yield opened
    await opened.close()


_CLIENTS = {"dynamodb": "dynamodb", "moto": "motos_dynamodb"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"
