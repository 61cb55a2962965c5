"""What only a store behind a network has to fear: busy tables, lost answers, pages, refusals."""

import asyncio
import itertools
import socket
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import given, settings
from hypothesis import strategies as st

from voxyray.errors import ConditionFailed, StoreError
from voxyray.stores import AtMost, Delete, Equals, Exists, Item, Missing, Put, Update, Write
from voxyray.stores.dynamodb import DynamoStore
from voxyray.stores.dynamodb_values import from_wire, to_wire

from ..support.ministack import MiniStack, make_client
from .conftest import Clock, new_table
from .faulty import (
    SECRET,
    Fault,
    Faulty,
    do_and_hang,
    hang,
    lose_answer,
    lose_answer_then,
    lose_request,
    refuse,
    take_half,
    take_none,
)

PATIENCE_S = 0.15


def item(sk: str = "HEAD", **fields: Any) -> Item:
    return {"pk": "CALL#1", "sk": sk, **fields}


class Behind(NamedTuple):
    socket: socket.socket
    client: Any


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    """A socket for the faulty endpoint and its client, made once: that takes long."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        port = listening.getsockname()[1]
        client = make_client(
            "dynamodb", f"http://127.0.0.1:{port}", max_pool_connections=32, read_timeout=1
        )
        yield Behind(listening, client)
        client.close()


@pytest.fixture
async def faulty(behind: Behind, aws: MiniStack) -> AsyncIterator[Faulty]:
    endpoint = Faulty(aws.url)
    await endpoint.start(behind.socket.dup())
    yield endpoint
    await endpoint.stop()


@pytest.fixture
def plain(dynamodb: Any, clock: Clock) -> DynamoStore:
    """The store of somebody else, on the same table, whom nothing fails."""
    return DynamoStore(dynamodb, new_table(dynamodb), clock)


@pytest.fixture
def store(behind: Behind, faulty: Faulty, plain: DynamoStore, clock: Clock) -> DynamoStore:
    return DynamoStore(behind.client, plain._table, clock, patience_s=10)


@pytest.fixture
def hasty(store: DynamoStore, behind: Behind, clock: Clock) -> DynamoStore:
    """The same store for somebody with little patience."""
    return DynamoStore(behind.client, store._table, clock, patience_s=PATIENCE_S)


ASKS: dict[str, Callable[[DynamoStore], Any]] = {
    "get": lambda store: store.get("CALL#1", "HEAD"),
    "query": lambda store: store.query("CALL#1"),
    "put": lambda store: store.write(Put(item(x=SECRET))),
    "claim": lambda store: store.write(Put(item("NEW", x=SECRET), when=Missing())),
    "delete": lambda store: store.write(Delete("CALL#1", "HEAD")),
    "update": lambda store: store.update(Update("CALL#1", "HEAD", set={"x": SECRET})),
    "two": lambda store: store.write(Put(item("A", x=SECRET)), Put(item("B"))),
    "append": lambda store: store.append([item("A", x=SECRET), item("B")]),
}
BUSY = [
    refuse("ThrottlingException"),
    refuse("ProvisionedThroughputExceededException"),
    refuse("RequestLimitExceeded"),
    refuse("InternalServerError", 500),
    refuse("ServiceUnavailable", 503),
]


async def number(store: DynamoStore) -> Any:
    found = await store.get("CALL#1", "HEAD")
    return found and found.get("n")


# One request is one round trip


async def test_each_write_is_one_request(store: DynamoStore, faulty: Faulty) -> None:
    await store.write(Put(item(n=0, expires_at=2_000_000_000), when=Missing()))
    await store.update(
        Update("CALL#1", "HEAD", set={"a": 1}, add={"n": 1}, remove=["b"], when=Equals("n", 0))
    )
    await store.write(Update("CALL#1", "HEAD", add={"n": 1}, when=[Exists(), AtMost("n", 1)]))
    await store.write(Delete("CALL#1", "HEAD", when=Exists()))
    await store.append([item("A"), item("B")])
    await store.write(Put(item("A", n=1)), Delete("CALL#1", "B"))
    await store.get("CALL#1", "A")
    await store.query("CALL#1")
    assert faulty.seen == [
        "PutItem", "UpdateItem", "UpdateItem", "DeleteItem", "BatchWriteItem",
        "TransactWriteItems", "GetItem", "Query",
    ]  # fmt: skip


async def test_a_failed_condition_needs_no_second_request(
    store: DynamoStore, faulty: Faulty
) -> None:
    with pytest.raises(ConditionFailed):
        await store.update(Update("CALL#1", "HEAD", add={"n": 1}, when=Exists()))
    await store.write(Put(item(text="x")))
    with pytest.raises(StoreError, match=r"'text'.*integer"):
        await store.update(Update("CALL#1", "HEAD", add={"text": 1}))
    assert faulty.seen == ["UpdateItem", "PutItem", "UpdateItem"]


async def test_reads_see_every_write(store: DynamoStore, faulty: Faulty) -> None:
    await store.get("CALL#1", "A")
    await store.query("CALL#1")
    assert [body["ConsistentRead"] for body in faulty.bodies] == [True, True]


# Busy


@pytest.mark.parametrize("ask", ASKS)
async def test_a_busy_table_is_asked_again(store: DynamoStore, faulty: Faulty, ask: str) -> None:
    faulty.plan.extend([refuse("ThrottlingException"), refuse("InternalServerError", 500)])
    await ASKS[ask](store)
    assert len(faulty.seen) == 3


async def test_every_way_of_being_busy_is_known(store: DynamoStore, faulty: Faulty) -> None:
    faulty.plan.extend(BUSY)
    await store.get("CALL#1", "HEAD")
    assert len(faulty.seen) == len(BUSY) + 1


@pytest.mark.parametrize("ask", ASKS)
async def test_one_that_stays_busy_is_told(hasty: DynamoStore, faulty: Faulty, ask: str) -> None:
    faulty.plan.extend(itertools.repeat(BUSY[0], 500))
    begun = time.monotonic()
    with pytest.raises(StoreError, match=r"voxyray-\d+ in eu-central-1.*busy for 0.15 s") as caught:
        await ASKS[ask](hasty)
    assert time.monotonic() - begun < PATIENCE_S + 5
    assert 1 < len(faulty.seen) < 200
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_transactions_that_meet_are_tried_again(
    store: DynamoStore, hasty: DynamoStore, faulty: Faulty
) -> None:
    reasons = [{"Code": "None"}, {"Code": "TransactionConflict", "Message": "ongoing"}]
    met = refuse("TransactionCanceledException", CancellationReasons=reasons)
    faulty.plan.extend([met, met, refuse("TransactionInProgressException")])
    await store.write(Put(item("A")), Put(item("B")))
    tokens = {body["ClientRequestToken"] for body in faulty.bodies}
    assert (len(faulty.seen), len(tokens)) == (4, 1)
    faulty.plan.extend(itertools.repeat(met, 500))
    with pytest.raises(StoreError, match="same items all the time"):
        await hasty.write(Put(item("A")), Put(item("B")))


async def test_a_write_that_meets_a_transaction_is_tried_again(
    store: DynamoStore, faulty: Faulty
) -> None:
    faulty.plan.append(refuse("TransactionConflictException"))
    assert await store.update(Update("CALL#1", "HEAD", add={"n": 1})) == item(n=1)


async def test_what_a_batch_gave_back_is_sent_again(
    store: DynamoStore, faulty: Faulty, plain: DynamoStore
) -> None:
    faulty.plan.extend([take_half, take_half, take_none, take_half, take_half])
    many = [item(f"J#{n:04}", n=n) for n in range(60)]
    await store.append(many)
    assert await plain.query("CALL#1", "J#") == many


async def test_a_batch_that_always_comes_back(hasty: DynamoStore, faulty: Faulty) -> None:
    faulty.plan.extend(itertools.repeat(take_none, 500))
    with pytest.raises(StoreError, match=r"busy for 0.15 s"):
        await hasty.append([item("A")])


async def test_batches_go_side_by_side(store: DynamoStore, faulty: Faulty) -> None:
    faulty.plan.extend([hang] * 8)
    appending = asyncio.ensure_future(store.append([item(f"{n:04}") for n in range(300)]))
    await faulty.wait_for(8)
    faulty.released.set()
    await appending
    assert len(await store.query("CALL#1")) == 300


# Lost answers

ONCE: dict[str, Write] = {
    "claim": Put(item(n=1), when=Missing()),
    "fence": Update("CALL#1", "HEAD", set={"n": 1}, when=Equals("n", None)),
    "count": Update("CALL#1", "HEAD", add={"n": 1}),
    "bounded": Update("CALL#1", "HEAD", add={"n": 1}, when=AtMost("n", 5)),
    "put": Put(item(n=1)),
    "set": Update("CALL#1", "HEAD", set={"n": 1}),
}


async def prepare(plain: DynamoStore, name: str) -> None:
    if name == "fence":
        await plain.write(Put(item()))
    if name == "bounded":
        await plain.write(Put(item(n=0)))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *itertools.product(ONCE, [lose_answer, lose_request]),
        ("claim", do_and_hang),
        ("count", do_and_hang),
    ],
)
async def test_a_write_whose_answer_was_lost_is_done_once(
    store: DynamoStore, faulty: Faulty, plain: DynamoStore, name: str, fault: Fault
) -> None:
    await prepare(plain, name)
    faulty.plan.append(fault)
    await store.write(ONCE[name])
    assert await plain.get("CALL#1", "HEAD") == item(n=1)
    assert len(faulty.seen) == 2


async def test_an_update_whose_answer_was_lost_gives_its_item(
    store: DynamoStore, faulty: Faulty
) -> None:
    faulty.plan.append(lose_answer)
    assert await store.update(Update("CALL#1", "HEAD", add={"n": 1})) == item(n=1)


@pytest.mark.parametrize("fault", [lose_answer, lose_request])
async def test_a_transaction_whose_answer_was_lost_is_done_once(
    store: DynamoStore, faulty: Faulty, plain: DynamoStore, fault: Fault
) -> None:
    faulty.plan.append(fault)
    await store.write(Put(item("CLAIM"), when=Missing()), Update("CALL#1", "HEAD", add={"n": 1}))
    assert await number(plain) == 1
    with pytest.raises(ConditionFailed):
        await store.write(
            Put(item("CLAIM"), when=Missing()), Update("CALL#1", "HEAD", add={"n": 1})
        )


@pytest.mark.parametrize("name", ["claim", "fence"])
async def test_a_win_that_was_lost_and_then_overwritten_is_not_called_a_defeat(
    store: DynamoStore, faulty: Faulty, plain: DynamoStore, name: str
) -> None:
    await prepare(plain, name)
    faulty.plan.append(lose_answer_then(lambda: plain.write(Put(item(n=7)))))
    with pytest.raises(StoreError, match=r"an answer was lost.*read the item") as caught:
        await store.write(ONCE[name])
    assert not isinstance(caught.value, ConditionFailed)
    assert await number(plain) == 7


async def test_a_lost_deletion_under_a_condition_is_in_doubt(
    store: DynamoStore, faulty: Faulty
) -> None:
    await store.write(Put(item()))
    faulty.plan.append(lose_answer)
    with pytest.raises(StoreError, match="an answer was lost") as caught:
        await store.write(Delete("CALL#1", "HEAD", when=Exists()))
    assert not isinstance(caught.value, ConditionFailed)


async def test_a_defeat_stays_a_defeat_when_the_table_was_only_busy(
    store: DynamoStore, faulty: Faulty
) -> None:
    await store.write(Put(item()))
    faulty.plan.append(refuse("ThrottlingException"))
    with pytest.raises(ConditionFailed):
        await store.write(Put(item(), when=Missing()))


async def test_a_write_that_is_never_answered_says_what_is_known(
    hasty: DynamoStore, faulty: Faulty
) -> None:
    faulty.plan.extend(itertools.repeat(lose_request, 500))
    with pytest.raises(StoreError, match=r"connection broke.*may have been done") as caught:
        await hasty.update(Update("CALL#1", "HEAD", set={"x": SECRET}))
    assert SECRET not in str(caught.value)
    with pytest.raises(StoreError) as caught:
        await hasty.get("CALL#1", "HEAD")
    assert "may have been done" not in str(caught.value)


async def test_the_mark_is_nobodys_business(
    store: DynamoStore, dynamodb: Any, plain: DynamoStore
) -> None:
    await store.write(Put(item(n=1), when=Missing()))
    assert await store.update(Update("CALL#1", "HEAD", add={"n": 1})) == item(n=2)
    assert await store.query("CALL#1") == [item(n=2)]
    key = {"pk": {"S": "CALL#1"}, "sk": {"S": "HEAD"}}
    assert "_write" in dynamodb.get_item(TableName=plain._table, Key=key)["Item"]
    for write in (
        Put(item(_write="x")),
        Update("CALL#1", "HEAD", set={"_write": "x"}),
        Update("CALL#1", "HEAD", remove=["_write"]),
    ):
        with pytest.raises(StoreError, match="'_write' is the store's own"):
            await store.write(write)
    with pytest.raises(StoreError, match="the store's own"):
        await store.append([item(_write="x")])


# Expired items that DynamoDB has not removed yet


async def test_of_many_who_revive_an_expired_item_all_count(
    plain: DynamoStore, clock: Clock
) -> None:
    await plain.write(Put(item(n=100, expires_at=int(clock.now) + 1)))
    clock.now += 1
    update = Update("CALL#1", "HEAD", add={"n": 1})
    seen = await asyncio.gather(*(plain.update(update) for _ in range(20)))
    assert sorted(one["n"] for one in seen) == list(range(1, 21))


async def test_of_many_who_claim_an_expired_item_one_wins(plain: DynamoStore, clock: Clock) -> None:
    await plain.write(Put(item(n=100, expires_at=int(clock.now) + 1)))
    clock.now += 1
    claim = Update("CALL#1", "HEAD", set={"by": "me"}, when=Missing())
    outcomes = await asyncio.gather(
        *(plain.update(claim) for _ in range(20)), return_exceptions=True
    )
    assert outcomes.count(item(by="me")) == 1
    assert sum(isinstance(outcome, ConditionFailed) for outcome in outcomes) == 19


async def test_a_transaction_revives_expired_items(
    store: DynamoStore, faulty: Faulty, clock: Clock
) -> None:
    for sk in ("A", "B"):
        await store.write(Put(item(sk, n=100, expires_at=int(clock.now) + 1)))
    clock.now += 1
    await store.write(
        Update("CALL#1", "A", add={"n": 1}),
        Update("CALL#1", "B", add={"n": 1}, when=Missing()),
        Update("CALL#1", "C", add={"n": 1}),
        Update("CALL#1", "D"),
    )
    assert await store.query("CALL#1") == [
        item("A", n=1), item("B", n=1), item("C", n=1), item("D")
    ]  # fmt: skip
    assert faulty.seen.count("TransactWriteItems") == 2


async def test_one_that_comes_back_while_it_is_revived(
    store: DynamoStore, faulty: Faulty, plain: DynamoStore, clock: Clock
) -> None:
    await plain.write(Put(item(n=100, expires_at=int(clock.now) + 1)))
    clock.now += 1

    async def first_comes_another(_: Faulty, request: Any, body: bytes) -> Any:
        await plain.write(Put(item(n=7)))
        return await faulty.forward(request, body)

    async def untouched(_: Faulty, request: Any, body: bytes) -> Any:
        return await faulty.forward(request, body)

    faulty.plan.extend([untouched, first_comes_another])
    assert await store.update(Update("CALL#1", "HEAD", add={"n": 1})) == item(n=8)


# Large things


async def test_a_query_reads_page_after_page(store: DynamoStore, faulty: Faulty) -> None:
    large = [item(f"{n:02}", x="x" * 100_000) for n in range(30)]
    await store.append(large)
    faulty.seen.clear()
    assert await store.query("CALL#1") == large
    assert faulty.seen.count("Query") >= 3
    assert await store.query("CALL#1", limit=25) == large[:25]
    assert await store.query("CALL#1", limit=12, reverse=True) == large[:17:-1]
    assert await store.query("CALL#1", after="04", limit=20) == large[5:25]


async def test_a_query_reads_on_past_expired_items(store: DynamoStore, clock: Clock) -> None:
    soon = int(clock.now) + 1
    await store.append([item(f"{n:02}", expires_at=soon) for n in range(50)])
    await store.append([item("98"), item("99")])
    clock.now += 1
    assert await store.query("CALL#1", limit=1) == [item("98")]
    assert await store.query("CALL#1", limit=5) == [item("98"), item("99")]


async def test_an_update_cannot_grow_an_item_beyond_400_kb(store: DynamoStore) -> None:
    await store.write(Put(item(x="x" * 300_000)))
    for writes in (
        [Update("CALL#1", "HEAD", set={"y": "y" * 200_000})],
        [Update("CALL#1", "HEAD", set={"y": "y" * 200_000}), Put(item("B"))],
    ):
        with pytest.raises(StoreError, match="400 KB"):
            await store.write(*writes)
    assert await store.query("CALL#1") == [item(x="x" * 300_000)]


async def test_an_item_of_400_kb_survives_updates(store: DynamoStore) -> None:
    await store.write(Put(item(x="x" * 405_000)))
    after = await store.update(Update("CALL#1", "HEAD", add={"n": 1}, when=Exists()))
    assert after == item(x="x" * 405_000, n=1)


# The event loop


async def test_the_event_loop_goes_on_while_requests_hang(
    store: DynamoStore, faulty: Faulty
) -> None:
    faulty.plan.extend([hang] * 20)
    # The endpoint itself lives in this loop: were one request to block it, none would come in.
    asking = [asyncio.ensure_future(store.get("CALL#1", "HEAD")) for _ in range(20)]
    await faulty.wait_for(20)
    assert not any(one.done() for one in asking)
    faulty.released.set()
    assert await asyncio.gather(*asking) == [None] * 20


async def test_closing_waits_for_what_was_begun(
    store: DynamoStore, faulty: Faulty, plain: DynamoStore
) -> None:
    faulty.plan.append(hang)
    writing = asyncio.ensure_future(store.write(Put(item())))
    await faulty.wait_for(1)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    faulty.released.set()
    await closing
    await writing
    assert await plain.get("CALL#1", "HEAD") == item()


# What is wrong with the table


@pytest.mark.parametrize("ask", ASKS)
async def test_a_missing_table_says_how_to_make_it(dynamodb: Any, ask: str) -> None:
    store = DynamoStore(dynamodb, "never-made")
    with pytest.raises(
        StoreError, match=r"never-made in eu-central-1.*no such table.*create-table.*never-made"
    ):
        await ASKS[ask](store)


async def test_a_table_of_another_shape(dynamodb: Any) -> None:
    dynamodb.create_table(
        TableName="other-shape",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    store = DynamoStore(dynamodb, "other-shape")
    with pytest.raises(StoreError, match="are its keys the strings pk and sk"):
        await store.write(Put(item(x=SECRET)))
    with pytest.raises(StoreError, match="are its keys the strings pk and sk"):
        await store.get("CALL#1", "HEAD")


@pytest.mark.parametrize("ask", ASKS)
async def test_what_is_not_allowed_is_named(store: DynamoStore, faulty: Faulty, ask: str) -> None:
    said = "User: arn:aws:sts::1:assumed-role/relay is not authorized to perform: dynamodb:GetItem"
    faulty.plan.append(refuse("AccessDeniedException", message=said))
    with pytest.raises(StoreError, match="perform: dynamodb:GetItem; allow this action"):
        await ASKS[ask](store)
    assert len(faulty.seen) == 1


async def test_wrong_and_expired_credentials(store: DynamoStore, faulty: Faulty) -> None:
    for code, says in (
        ("UnrecognizedClientException", "AWS knows no such credentials"),
        ("ExpiredTokenException", "session has expired.*aws sso login"),
        ("InvalidSignatureException", "this machine's clock"),
        ("SomethingNewException", r"SomethingNewException \(HTTP 400, request R3QU35T\)"),
    ):
        faulty.plan.append(refuse(code))
        with pytest.raises(StoreError, match=says):
            await store.get("CALL#1", "HEAD")


async def test_an_endpoint_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    client = make_client("dynamodb", f"http://127.0.0.1:{port}")
    store = DynamoStore(client, "calls", patience_s=PATIENCE_S)
    with pytest.raises(StoreError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
        await store.write(Put(item(), when=Missing()))


async def test_an_answer_that_is_no_json(store: DynamoStore, faulty: Faulty) -> None:
    from aiohttp import web

    async def nonsense(*_: Any) -> web.Response:
        return web.Response(text="<html>proxy</html>")

    await store.write(Put(item()))
    faulty.plan.append(nonsense)
    assert await store.get("CALL#1", "HEAD") == item()


async def test_a_table_lets_expired_items_be_removed(dynamodb: Any, plain: DynamoStore) -> None:
    described = dynamodb.describe_time_to_live(TableName=plain._table)["TimeToLiveDescription"]
    assert described == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}


# Values

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**38) + 1, 10**38 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner),
)


@given(VALUES)
@settings(max_examples=100, deadline=None, database=None)
def test_values_survive_and_are_written_as_boto3_writes_them(value: Any) -> None:
    wire = to_wire(value)
    assert repr(from_wire(wire)) == repr(value)
    assert wire == TypeSerializer().serialize(value)


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ({"N": "1E+2"}, 100),
        ({"N": "-7.00"}, -7),
        ({"N": "1.5"}, "1.5"),
        ({"L": [{"N": "0"}, {"S": ""}]}, [0, ""]),
    ],
)
def test_numbers_of_other_hands(wire: Any, value: Any) -> None:
    assert repr(from_wire(wire)) == repr(value)


@pytest.mark.parametrize("wire", [{"SS": ["a"]}, {"B": b"x"}, {"M": {"a": {"NS": ["1"]}}}])
def test_types_of_other_hands(wire: Any) -> None:
    with pytest.raises(StoreError, match="another hand"):
        from_wire(wire)
