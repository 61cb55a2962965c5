"""What every store does alike."""

import asyncio
from typing import Any

import pytest

from voxyray.errors import ConditionFailed, StoreError
from voxyray.stores import (
    AtMost,
    Condition,
    Delete,
    Equals,
    Exists,
    Item,
    Missing,
    Put,
    Store,
    Update,
    Write,
)

from .conftest import Clock


def item(sk: str = "HEAD", **fields: Any) -> Item:
    return {"pk": "CALL#1", "sk": sk, **fields}


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


async def sks(store: Store, *args: Any, **named: Any) -> list[str]:
    return [found["sk"] for found in await store.query("CALL#1", *args, **named)]


# Reading and writing


async def test_what_was_put_is_read_back(store: Store) -> None:
    everything = item(
        text="“Grüß Gott” 🚲 \x00 \u2028", empty="", yes=True, none=None, zero=0,
        big=10**38 - 1, small=-(10**38) + 1, list=[], map={"a": [1, {"b": None}]},
    )  # fmt: skip
    await store.write(Put(everything))
    assert await store.get("CALL#1", "HEAD") == everything


async def test_types_survive(store: Store) -> None:
    await store.write(Put(item(one=1, yes=True)))
    found = await store.get("CALL#1", "HEAD")
    assert found is not None
    assert type(found["one"]) is int
    assert found["yes"] is True


async def test_a_missing_item_is_none(store: Store) -> None:
    assert await store.get("CALL#1", "HEAD") is None
    assert await store.query("CALL#1") == []


async def test_put_replaces_the_whole_item(store: Store) -> None:
    await store.write(Put(item(a=1)))
    await store.write(Put(item(b=2)))
    assert await store.get("CALL#1", "HEAD") == item(b=2)


async def test_every_write_that_returned_is_seen(store: Store) -> None:
    for n in range(50):
        await store.write(Put(item(n=n)))
        assert await store.get("CALL#1", "HEAD") == item(n=n)
        assert await store.query("CALL#1") == [item(n=n)]


async def test_delete_removes_and_a_missing_one_is_fine(store: Store) -> None:
    await store.write(Put(item()))
    await store.write(Delete("CALL#1", "HEAD"))
    await store.write(Delete("CALL#1", "HEAD"))
    assert await store.get("CALL#1", "HEAD") is None


async def test_no_writes_are_no_trouble(store: Store) -> None:
    await store.write()
    await store.append([])


async def test_nobody_can_change_what_is_stored(store: Store) -> None:
    mine: Item = item(list=[1], map={"a": 1})
    change: dict[str, Any] = {"more": [1]}
    await store.write(Put(mine))
    updated = await store.update(Update("CALL#1", "HEAD", set=change))
    first = await store.get("CALL#1", "HEAD")
    assert first is not None
    for held in (mine, updated, first, (await store.query("CALL#1"))[0]):
        held["list"].append(2)
        held["map"]["a"] = 2
    change["more"].append(2)
    assert await store.get("CALL#1", "HEAD") == item(list=[1], map={"a": 1}, more=[1])


async def test_changes_made_while_a_write_waits_have_no_effect(store: Store) -> None:
    mine: Item = item(list=[1])
    change: dict[str, Any] = {"list": [1]}
    wanted: list[Any] = []
    await store.write(Put(item("WANTED", list=[])))
    writes = [
        asyncio.ensure_future(store.write(Put(mine))),
        asyncio.ensure_future(store.append([item("A", inner=mine["list"])])),
        asyncio.ensure_future(store.write(Update("CALL#1", "U", set=change))),
        asyncio.ensure_future(
            store.write(Put(item("WANTED", ok=True), when=Equals("list", wanted)))
        ),
    ]
    await asyncio.sleep(0)
    for held in (mine["list"], change["list"], wanted):
        held.append(2)
    await asyncio.gather(*writes)
    assert await store.get("CALL#1", "HEAD") == item(list=[1])
    assert await store.get("CALL#1", "A") == item("A", inner=[1])
    assert await store.get("CALL#1", "U") == item("U", list=[1])
    assert await store.get("CALL#1", "WANTED") == item("WANTED", ok=True)


# Updates


async def test_update_sets_adds_and_removes(store: Store) -> None:
    await store.write(Put(item(kept=1, gone=1, turn=3)))
    update = Update("CALL#1", "HEAD", set={"new": [1]}, add={"turn": 2}, remove=["gone", "never"])
    after = item(kept=1, turn=5, new=[1])
    assert await store.update(update) == after
    assert await store.get("CALL#1", "HEAD") == after


async def test_update_makes_a_missing_item(store: Store) -> None:
    assert await store.update(Update("CALL#1", "HEAD", add={"n": -2})) == item(n=-2)
    assert await store.update(Update("CALL#1", "NEW")) == item("NEW")


async def test_concurrent_additions_all_count(store: Store) -> None:
    updates = [store.update(Update("CALL#1", "HEAD", add={"n": 1})) for _ in range(60)]
    seen = [after["n"] for after in await asyncio.gather(*updates)]
    assert sorted(seen) == list(range(1, 61))


@pytest.mark.parametrize(
    ("update", "says"),
    [
        (Update("CALL#1", "HEAD", set={"pk": "x"}), "cannot change 'pk'"),
        (Update("CALL#1", "HEAD", add={"sk": 1}), "cannot change 'sk'"),
        (Update("CALL#1", "HEAD", remove=["sk"]), "cannot change 'sk'"),
        (Update("CALL#1", "HEAD", set={"a": 1}, add={"a": 1}), "names a field twice"),
        (Update("CALL#1", "HEAD", remove=["a", "a"]), "names a field twice"),
        (Update("CALL#1", "HEAD", remove="text"), "not one name"),
        (Update("CALL#1", "HEAD", add={"text": 1}), "'text'.*integer"),
        (Update("CALL#1", "HEAD", add={"yes": 1}), "'yes'.*integer"),
        (Update("CALL#1", "HEAD", add={"n": True}), "'n'.*integer"),
        (Update("CALL#1", "HEAD", add={"n": 10**38 - 1}), "38 digits"),
        (Update("CALL#1", "HEAD", set={"": 1}), "name"),
        (Update("CALL#1", "HEAD", set={"x": "x" * 409_600}), "400 KB"),
        (Update("CALL#1", "HEAD", set={"x": "x" * 409_000, "y": "y" * 1000}), "400 KB"),
        (Update("CALL#1", "HEAD", set={"expires_at": "soon"}), "expires_at.*integer"),
        (Update("", "HEAD"), "pk must be"),
    ],
)
async def test_a_bad_update_changes_nothing(store: Store, update: Update, says: str) -> None:
    before = item(text="x", yes=True, n=1)
    await store.write(Put(before))
    with pytest.raises(StoreError, match=says):
        await store.update(update)
    assert await store.get("CALL#1", "HEAD") == before


# Conditions

HOLD = [
    Exists(), Equals("n", 3), Equals("text", "x"), Equals("absent", None), Equals("null", None),
    Equals("map", {"b": [True], "a": 1}), AtMost("n", 3), AtMost("n", 4),
]  # fmt: skip
FAIL = [
    Missing(), Equals("n", 4), Equals("n", "3"), Equals("yes", 1), Equals("one", True),
    Equals("text", None), Equals("absent", 1), Equals("map", {"a": 1, "b": [1]}),
    AtMost("n", 2), AtMost("absent", 9), AtMost("text", 9), AtMost("yes", 9), AtMost("null", 9),
]  # fmt: skip


def stated() -> Item:
    return item(n=3, text="x", null=None, yes=True, one=1, map={"a": 1, "b": [True]})


def guarded(when: Any) -> list[Write]:
    return [
        Put(item(new=1), when=when),
        Update("CALL#1", "HEAD", set={"new": 1}, when=when),
        Delete("CALL#1", "HEAD", when=when),
    ]


@pytest.mark.parametrize("condition", HOLD, ids=repr)
async def test_a_condition_that_holds(store: Store, condition: Condition) -> None:
    for write in guarded(condition):
        await store.write(Put(stated()))
        await store.write(write)
        assert await store.get("CALL#1", "HEAD") != stated()


@pytest.mark.parametrize("condition", FAIL, ids=repr)
async def test_a_condition_that_fails_changes_nothing(store: Store, condition: Condition) -> None:
    await store.write(Put(stated()))
    for write in guarded(condition) + guarded([Exists(), condition]):
        with pytest.raises(ConditionFailed, match=type(condition).__name__):
            await store.write(write)
    assert await store.get("CALL#1", "HEAD") == stated()


@pytest.mark.parametrize("condition", [*HOLD, Equals("absent", None)], ids=repr)
async def test_only_missing_holds_for_a_missing_item(store: Store, condition: Condition) -> None:
    for write in guarded(condition):
        with pytest.raises(ConditionFailed):
            await store.write(write)
    assert await store.get("CALL#1", "HEAD") is None
    for write in guarded(Missing()):
        await store.write(write)
        await store.write(Delete("CALL#1", "HEAD"))


async def test_update_under_a_condition(store: Store) -> None:
    claim = Update("CALL#1", "HEAD", add={"turn": 1}, when=[Exists(), AtMost("turn", 1)])
    await store.write(Put(item(turn=0)))
    assert [(await store.update(claim))["turn"] for _ in range(2)] == [1, 2]
    with pytest.raises(ConditionFailed):
        await store.update(claim)


async def test_a_failed_condition_names_no_person(store: Store) -> None:
    with pytest.raises(ConditionFailed) as caught:
        await store.write(Delete("CALLER#+15551234567", "PROFILE", when=Exists()))
    assert "15551234567" not in str(caught.value)
    assert "PROFILE" in str(caught.value)


@pytest.mark.parametrize(
    "write",
    [
        Put(item("SLOT", by="me"), when=Missing()),
        Update("CALL#1", "SLOT", set={"by": "me"}, when=Missing()),
    ],
)
async def test_of_many_claimers_exactly_one_wins(store: Store, write: Write) -> None:
    outcomes = await asyncio.gather(
        *(store.write(write) for _ in range(100)), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, ConditionFailed) for outcome in outcomes) == 99


async def test_a_fence_moves_once_for_each_turn(store: Store) -> None:
    async def take(turn: int) -> bool:
        try:
            await store.update(
                Update("CALL#1", "HEAD", set={"turn": turn + 1}, when=Equals("turn", turn))
            )
        except ConditionFailed:
            return False
        return True

    await store.write(Put(item(turn=0)))
    for turn in range(5):
        assert sum(await asyncio.gather(*(take(turn) for _ in range(20)))) == 1


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (Equals("", 1), "name"),
        (Equals("x", 1.5), "'x'.*float"),
        (AtMost("x", "3"), "'x'.*integer"),  # type: ignore[arg-type]
        ("Missing", "a condition is"),
    ],
)
async def test_a_bad_condition(store: Store, condition: Any, says: str) -> None:
    for write in guarded([condition]):
        with pytest.raises(StoreError, match=says):
            await store.write(write)


# Several at once


async def test_all_or_nothing(store: Store) -> None:
    await store.write(Put(item("A", n=1)), Put(item("B", n=1)))
    for culprit in (
        Put(item("C"), when=Exists()),
        Update("CALL#1", "C", add={"n": 1}, when=Exists()),
        Delete("CALL#1", "C", when=Exists()),
    ):
        with pytest.raises(ConditionFailed):
            await store.write(Put(item("A", n=2)), Delete("CALL#1", "B"), Put(item("D")), culprit)
    assert await store.query("CALL#1") == [item("A", n=1), item("B", n=1)]


async def test_a_bad_item_stops_its_companions(store: Store) -> None:
    with pytest.raises(StoreError, match="float"):
        await store.write(Put(item("A")), Put(item("B", x=0.5)))
    await store.write(Put(item("C", n="text")))
    with pytest.raises(StoreError, match="integer"):
        await store.write(Put(item("A")), Update("CALL#1", "C", add={"n": 1}))
    assert await sks(store) == ["C"]


async def test_money_moves_only_whole(store: Store) -> None:
    async def move(amount: int) -> None:
        await store.write(
            Update("CALL#1", "A", add={"n": -amount}, when=AtMost("n", 100)),
            Update("CALL#1", "B", add={"n": amount}, when=AtMost("n", 60)),
        )

    await store.write(Put(item("A", n=100)), Put(item("B", n=0)))
    await asyncio.gather(*(move(7) for _ in range(40)), return_exceptions=True)
    a, b = await store.query("CALL#1")
    assert (a["n"], b["n"]) == (37, 63)


async def test_a_hundred_writes_go_and_one_more_does_not(store: Store) -> None:
    await store.write(*(Put(item(f"{n:03}")) for n in range(100)))
    with pytest.raises(StoreError, match=r"101 writes.*append"):
        await store.write(*(Put(item(f"new{n:03}")) for n in range(101)))
    assert len(await store.query("CALL#1")) == 100


async def test_one_write_takes_four_megabytes(store: Store) -> None:
    with pytest.raises(StoreError, match="4 MB"):
        await store.write(*(Put(item(str(n), x="x" * 400_000)) for n in range(11)))
    assert await store.query("CALL#1") == []


@pytest.mark.parametrize(
    "twin", [Put(item()), Update("CALL#1", "HEAD"), Delete("CALL#1", "HEAD")], ids=repr
)
async def test_two_writes_to_one_item_are_refused(store: Store, twin: Write) -> None:
    with pytest.raises(StoreError, match="same item"):
        await store.write(Put(item(a=1)), twin)
    assert await store.get("CALL#1", "HEAD") is None


async def test_append_takes_any_number_and_may_be_repeated(store: Store) -> None:
    many = [item(f"J#{n:04}", n=n) for n in range(730)]
    await store.append(many)
    await store.append(many)
    assert await store.query("CALL#1", "J#") == many


async def test_append_of_something_bad_writes_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="float"):
        await store.append([item("A"), item("B", x=1.0)])
    with pytest.raises(StoreError, match="same item"):
        await store.append([item("A"), item("A")])
    assert await store.query("CALL#1") == []


# Queries

# By bytes of UTF-8; U+FFxx comes before what takes four bytes, unlike in UTF-16.
ORDERED = ["A", "J#1", "J#10", "J#2", "J#~", "J#\x7f", "J#ä", "J#日", "J#\uffff", "J#😀",
           "J#\U0010ffff", "J#\U0010ffff\U0010ffff", "J$", "Z", "a", "é"]  # fmt: skip


async def test_query_is_in_byte_order(store: Store) -> None:
    assert sorted(ORDERED, key=str.encode) == ORDERED
    await store.append([item(sk) for sk in reversed(ORDERED)])
    await store.append([{"pk": "CALL#", "sk": "J#1"}, {"pk": "CALL#10", "sk": "J#1"}])
    assert await sks(store) == ORDERED
    assert await sks(store, reverse=True) == ORDERED[::-1]
    assert await sks(store, "J#") == ORDERED[1:12]
    assert await sks(store, "J#", reverse=True) == ORDERED[1:12][::-1]
    assert await sks(store, "J#\U0010ffff") == ORDERED[10:12]
    assert await sks(store, "J#_") == []
    assert await sks(store, "j") == []


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("prefix", ["", "J#"])
@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_pages_join_to_the_whole(
    store: Store, prefix: str, limit: int, reverse: bool
) -> None:
    await store.append([item(sk) for sk in ORDERED])
    pages: list[str] = []
    while page := await sks(
        store, prefix, after=pages[-1] if pages else "", limit=limit, reverse=reverse
    ):
        assert len(page) <= limit
        pages += page
    assert pages == await sks(store, prefix, reverse=reverse)


async def test_after_need_not_exist_nor_have_the_prefix(store: Store) -> None:
    await store.append([item(sk) for sk in ("A", "J#1", "J#3", "Z")])
    assert await sks(store, "J#", after="J#2") == ["J#3"]
    assert await sks(store, "J#", after="J#2", reverse=True) == ["J#1"]
    assert await sks(store, "J#", after="A") == ["J#1", "J#3"]
    assert await sks(store, "J#", after="A", reverse=True) == []


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": True}, "limit"),
        ({"prefix": "x" * 1025}, "prefix is 1025 bytes"),
        ({"prefix": b"J"}, "prefix"),
        ({"after": "\ud800"}, "surrogate"),
        ({"pk": ""}, "pk"),
    ],
)
async def test_a_bad_query(store: Store, named: dict[str, Any], says: str) -> None:
    with pytest.raises(StoreError, match=says):
        await store.query(**{"pk": "CALL#1", **named})


# Expiry


async def test_an_expired_item_is_invisible(store: Store, clock: Clock) -> None:
    at = int(clock.now) + 10
    await store.append([item("A", expires_at=at), item("B", expires_at=at + 1), item("C")])
    clock.now = at - 0.001
    assert await sks(store) == ["A", "B", "C"]
    clock.now = float(at)
    assert await store.get("CALL#1", "A") is None
    assert await sks(store) == ["B", "C"]
    assert await sks(store, limit=1) == ["B"]
    assert await sks(store, limit=2, reverse=True) == ["C", "B"]


async def test_conditions_do_not_see_an_expired_item(store: Store, clock: Clock) -> None:
    await store.write(Put(item(turn=1, expires_at=int(clock.now) + 10)))
    with pytest.raises(ConditionFailed):
        await store.write(Put(item(), when=Missing()))
    clock.now += 10
    for condition in (Exists(), Equals("turn", 1), Equals("absent", None), AtMost("turn", 9)):
        with pytest.raises(ConditionFailed):
            await store.write(Delete("CALL#1", "HEAD", when=condition))
    await store.write(Put(item(new=1), when=Missing()))
    assert await store.get("CALL#1", "HEAD") == item(new=1)


async def test_update_of_an_expired_item_starts_fresh(store: Store, clock: Clock) -> None:
    await store.write(Put(item(turn=5, old=1, expires_at=int(clock.now) + 10)))
    clock.now += 10
    assert await store.update(Update("CALL#1", "HEAD", add={"turn": 1})) == item(turn=1)
    clock.now += 10_000
    assert await store.get("CALL#1", "HEAD") == item(turn=1)


async def test_expiry_can_be_moved_and_removed(store: Store, clock: Clock) -> None:
    await store.write(Put(item(expires_at=int(clock.now) + 10)))
    await store.update(Update("CALL#1", "HEAD", add={"expires_at": 10}))
    clock.now += 15
    await store.update(Update("CALL#1", "HEAD", remove=["expires_at"], when=Exists()))
    clock.now += 10_000
    assert await store.get("CALL#1", "HEAD") == item()


# Bad items

LAUGHS: Any = "ha"
for _ in range(30):
    LAUGHS = [LAUGHS] * 10
RING: Any = []
RING.append(RING)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("text", "an item must be a dict, not a str"),
        ({"sk": "x"}, "pk must be a string.*not a NoneType"),
        ({"pk": "x"}, "sk must be a string"),
        ({"pk": "", "sk": "x"}, "pk must be.*not an empty string"),
        ({"pk": "x", "sk": 7}, "sk must be.*not a int"),
        ({"pk": "ä" * 1025, "sk": "x"}, "pk is 2050 bytes long; at most 2048"),
        ({"pk": "x", "sk": "ä" * 513}, "sk is 1026 bytes long; at most 1024"),
        ({"pk": "\ud800", "sk": "x"}, "pk holds half a surrogate"),
        (item(x=0.5), "'x': a float cannot be stored; store an integer of a smaller unit"),
        (item(x=[{"y": 1.0}]), "'x': a float"),
        (item(x=float("nan")), "'x': a float"),
        (item(x=b"raw"), "'x': a bytes cannot be stored; store base64"),
        (item(x=(1, 2)), "'x': a tuple cannot be stored; store a list"),
        (item(x={1, 2}), "'x': a set cannot"),
        (item(x=object()), "'x': a object cannot be stored; store only"),
        (item(x="\udcff"), "'x' holds half a surrogate"),
        (item(x={"\udcff": 1}), "surrogate"),
        (item(x={1: 2}), "name must be a string"),
        (item(x={"": 2}), "name must be a string"),
        ({**item(), "": 1}, "name must be a string"),
        ({"pk": "x", "sk": "x", 5: 1}, "name must be a string"),
        (item(x=10**38), "'x'.*38 digits"),
        (item(x=-(10**38)), "'x'.*38 digits"),
        (item(x=10**5000), "'x'.*38 digits"),
        (item(x=nested(32)), "'x' is nested more than 31"),
        (item(x=RING), "'x' is nested more than 31"),
        (item(x=LAUGHS), "'x' is (larger than 400 KB|nested)"),
        (item(x="x" * 409_600), "400 KB"),
        (item(x="ä" * 204_800), "400 KB"),
        (item(x=[0] * 200_000), "400 KB"),
        (item(x="x" * 300_000, y="y" * 300_000), "the item is larger than 400 KB"),
        (item(expires_at="soon"), "expires_at"),
        (item(expires_at=None), "expires_at"),
        (item(expires_at=True), "expires_at"),
        (item(expires_at=-1), "expires_at"),
        (item(expires_at=1_750_000_000_000), "milliseconds"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "item",
)
async def test_a_bad_item_is_refused(store: Store, bad: Any, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        await store.write(Put(bad))
    with pytest.raises(StoreError, match=says):
        await store.append([bad])
    assert await store.query("CALL#1") == []


async def test_the_largest_that_goes(store: Store) -> None:
    for good in (
        {"pk": "ä" * 1024, "sk": "ä" * 512, "x": nested(31)},
        item("B", x="x" * 409_000),
        item("C", x="\n" * 409_000),
    ):
        await store.write(Put(good))
        assert await store.get(good["pk"], good["sk"]) == good


async def test_no_value_is_repeated_in_an_error(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        await store.write(Put(item(x=[1234.5])))
    assert "1234" not in str(caught.value)


@pytest.mark.parametrize("key", [("", "x"), ("x", ""), (None, "x"), ("x", "\ud800")])
async def test_a_bad_key(store: Store, key: Any) -> None:
    with pytest.raises(StoreError, match=r"pk|sk"):
        await store.get(*key)
    with pytest.raises(StoreError, match=r"pk|sk"):
        await store.write(Delete(*key))


async def test_something_else_is_no_write(store: Store) -> None:
    with pytest.raises(StoreError, match="Put, Update or Delete, not a dict"):
        await store.write(item())  # type: ignore[arg-type]


# Closing


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.close()
    await store.close()
    for ask in (
        lambda: store.get("CALL#1", "HEAD"),
        lambda: store.query("CALL#1"),
        lambda: store.write(Put(item())),
        lambda: store.write(),
        lambda: store.update(Update("CALL#1", "HEAD")),
        lambda: store.append([item()]),
    ):
        with pytest.raises(StoreError, match="closed"):
            await ask()
