"""What only a file can do, or suffer."""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxyray.errors import ConditionFailed, StoreError
from voxyray.stores import Item, Missing, Put, Update
from voxyray.stores.sqlite import SqliteStore

from .conftest import Clock

CHILD = Path(__file__).with_name("writer_child.py")


def item(sk: str = "HEAD", text: str = "") -> Item:
    return {"pk": "P", "sk": sk, "text": text}


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process's transaction, as far as SQLite can tell."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def count(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as other:
        return int(other.execute("SELECT count(*) FROM items").fetchone()[0])


def child(*args: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, CHILD, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def started(*coroutines: object) -> list[asyncio.Task[None]]:
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]  # type: ignore[call-overload]
    await asyncio.sleep(0)
    return tasks


# Files and folders


async def test_items_outlive_the_store(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.write(Put(item(text="kept")))
    await store.close()
    store = SqliteStore.open(path)
    assert await store.get("P", "HEAD") == item(text="kept")
    await store.close()


async def test_folders_are_made(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "a" / "b" / "store.db")
    await store.close()
    assert (tmp_path / "a" / "b" / "store.db").is_file()


@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory"])
async def test_a_name_is_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore.open(name)
    await store.write(Put(item()))
    assert await store.get("P", "HEAD") == item()
    await store.close()
    assert (tmp_path / name).is_file()


async def test_a_closed_store_leaves_one_whole_file(path: Path) -> None:
    for _ in range(20):  # both connections closing at once once left the log behind
        store = SqliteStore.open(path)
        await store.write(Put(item()))
        await store.close()
        assert [found.name for found in path.parent.iterdir()] == ["store.db"]
    assert count(path) == 1


@pytest.mark.parametrize(
    "content", [b"garbage" * 1000, b"SQLite", b"SQLite format 3\0" + b"x" * 99]
)
def test_garbage_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"no SQLite database.*VOXYRAY_STORE"):
        SqliteStore.open(path)
    assert path.read_bytes() == content


async def filled(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.append([item(f"{n:04}", "x" * 900) for n in range(200)])
    await store.close()


async def test_a_truncated_file_is_refused(path: Path) -> None:
    await filled(path)
    with path.open("r+b") as file:
        file.truncate(4096 * 10 + 17)
    with pytest.raises(StoreError, match="damaged; restore a backup"):
        SqliteStore.open(path)


def damage_page_of(path: Path, text: bytes) -> None:
    content = bytearray(path.read_bytes())
    start = content.index(text) // 4096 * 4096
    content[start : start + 4096] = b"\xff" * 4096
    path.write_bytes(content)


async def test_a_damaged_page_fails_only_what_needs_it(path: Path) -> None:
    await filled(path)
    damage_page_of(path, b'"sk":"0199"')
    store = SqliteStore.open(path)
    for ask in (
        lambda: store.get("P", "0199"),
        lambda: store.query("P"),
        lambda: store.write(Put(item("0000")), Put(item("0199"))),
    ):
        with pytest.raises(StoreError, match="damaged; restore a backup"):
            await ask()
    assert await store.get("P", "0000") == item("0000", "x" * 900)
    await store.write(Put(item("0000", "new")))
    assert await store.get("P", "0000") == item("0000", "new")
    await store.close()


async def test_an_item_damaged_by_hand(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.append([item("A"), item("B")])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE items SET body = '{' WHERE sk = 'A'")
        other.execute("UPDATE items SET body = '[]' WHERE sk = 'B'")
    for sk in ("A", "B"):
        with pytest.raises(StoreError, match="damaged"):
            await store.get("P", sk)
        with pytest.raises(StoreError, match="damaged"):
            await store.update(Update("P", sk, add={"n": 1}))
    await store.write(Put(item("A")), Put(item("B")))
    assert await store.query("P") == [item("A"), item("B")]
    await store.close()


async def test_a_newer_schema_is_refused(path: Path) -> None:
    await filled(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"newer voxyray.*schema 99.*upgrade"):
        SqliteStore.open(path)


@pytest.mark.parametrize("version", [0, 1, 99])
def test_another_programs_database_is_left_alone(path: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE items (theirs)")
        other.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"another program's.*VOXYRAY_STORE"):
        SqliteStore.open(path)
    assert path.read_bytes() == before


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore.open(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="folder cannot be made"):
        SqliteStore.open(tmp_path / "file" / "store.db")


def test_a_file_that_cannot_be_written() -> None:
    # Not tmp_path, which lies in folders that only their owner may enter.
    folder = Path(tempfile.mkdtemp())
    try:
        asyncio.run(filled(folder / "store.db"))
        (folder / "store.db").chmod(0o444)
        folder.chmod(0o555)
        said, _ = child("unwritable", folder / "store.db").communicate()
        assert "let this user write the file and its folder" in said
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_deleted_under_a_store(path: Path, replaced: bool) -> None:
    store = SqliteStore.open(path)
    asyncio.run(store.write(Put(item())))
    path.rename(path.with_name("old.db"))
    if replaced:
        path.touch()
    with pytest.raises(StoreError, match="deleted or replaced; restart"):
        asyncio.run(store.write(Put(item())))
    asyncio.run(store.close())


def test_opening_waits_for_a_process_that_makes_the_same_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            SqliteStore.open(path, busy_timeout_s=0)
        monkeypatch.setattr("time.sleep", lambda _s: other.execute("ROLLBACK"))
        asyncio.run(SqliteStore.open(path).close())


# The writer


async def test_waiting_writers_share_a_commit(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.write(Put(item()))
    before = store.commits
    with held(path):
        tasks = await started(*(store.write(Put(item(f"{n:04}"))) for n in range(500)))
        assert not any(task.done() for task in tasks)
    await asyncio.gather(*tasks)
    assert store.commits - before <= 4
    assert len(await store.query("P")) == 501
    await store.close()


async def test_a_failing_job_fails_alone(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.write(Put(item("text")))
    with held(path):
        tasks = await started(
            store.write(Put(item("first"))),
            store.write(Put(item("A")), Put(item("B"), when=Missing())),
            store.write(Put(item("C")), Put(item("B"), when=Missing())),
            store.write(Put(item("D")), Update("P", "text", add={"text": 1})),
            store.write(Put(item("last"))),
        )
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        type(None), type(None), ConditionFailed, StoreError, type(None)
    ]  # fmt: skip
    assert [found["sk"] for found in await store.query("P")] == ["A", "B", "first", "last", "text"]
    await store.close()


async def test_reads_and_the_loop_go_on_while_a_write_waits(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.write(Put(item(text="old")))
    with held(path):
        (task,) = await started(store.write(Put(item(text="new"))))
        assert await store.get("P", "HEAD") == item(text="old")
        assert not task.done()
    await task
    assert await store.get("P", "HEAD") == item(text="new")
    await store.close()


async def test_a_locked_file_fails_those_who_wait_and_nobody_else(path: Path) -> None:
    store = SqliteStore.open(path, busy_timeout_s=0.01)
    await store.purge_expired()
    with held(path):
        for ask in (store.write(Put(item())), store.update(Update("P", "S"))):
            with pytest.raises(StoreError, match="locked"):
                await ask
    await store.write(Put(item("later")))
    assert await store.query("P") == [item("later")]
    await store.close()


async def test_a_full_disk(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.write(Put(item(text="x" * 3000)))
    writer = store._writing._db
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="full; free some space"):
        await store.write(Put(item("A")), Put(item("B", "x" * 300_000)))
    assert [found["sk"] for found in await store.query("P")] == ["HEAD"]
    writer.execute(f"PRAGMA max_page_count = {pages + 1000}")
    await store.write(Put(item("B", "x" * 300_000)))
    assert [found["sk"] for found in await store.query("P")] == ["B", "HEAD"]
    await store.close()


async def test_what_a_failed_job_wrote_is_taken_back(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.purge_expired()

    def put(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO items VALUES ('P', 'A', '{}', NULL)")

    def put_and_fail(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO items VALUES ('P', 'B', '{}', NULL)")
        db.execute("INSERT INTO items VALUES ('P', 'A', '{}', NULL)")

    outcomes = store._writing.handle([put, put_and_fail])
    assert [type(outcome) for outcome in outcomes] == [type(None), StoreError]
    assert count(path) == 1
    await store.close()


async def test_a_transaction_that_cannot_end_is_undone(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.purge_expired()

    def put_and_break(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO items VALUES ('P', 'A', '{}', NULL)")
        db.execute("RELEASE job")

    assert [type(one) for one in store._writing.handle([put_and_break])] == [StoreError]
    await store.write(Put(item("later")))
    assert await store.query("P") == [item("later")]
    await store.close()


async def test_nobody_writes_between_a_condition_and_its_write(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.write(Put(item()))

    def intrude(db: sqlite3.Connection) -> None:
        db.execute("SELECT body FROM items").fetchall()
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            other.execute("DELETE FROM items")

    with pytest.raises(StoreError, match="locked"):
        await store._writes.submit(intrude)
    assert await store.get("P", "HEAD") == item()
    await store.close()


async def test_a_lost_transaction_fails_everybody_in_it(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.purge_expired()

    def put(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO items VALUES ('P', 'A', '{}', NULL)")

    def refuse(_db: sqlite3.Connection) -> None:
        raise ConditionFailed("somebody was first")

    def lose(db: sqlite3.Connection) -> None:
        db.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    before = store.commits
    outcomes = store._writing.handle([put, refuse, lose, put])
    assert [type(outcome) for outcome in outcomes] == [StoreError] * 4
    assert store.commits == before
    assert await store.get("P", "A") is None
    await store.write(Put(item("later")))
    await store.close()


async def test_a_bug_in_one_job_is_its_own(path: Path) -> None:
    store = SqliteStore.open(path)

    def fail(_db: sqlite3.Connection) -> None:
        raise KeyError("bug")

    with held(path):
        tasks = await started(store.write(Put(item("A"))))
        bug = store._writes.submit(fail)
        tasks += await started(store.write(Put(item("B"))))
    with pytest.raises(KeyError):
        await bug
    await asyncio.gather(*tasks)
    assert len(await store.query("P")) == 2
    await store.close()


async def test_who_gives_up_disturbs_nobody(path: Path) -> None:
    store = SqliteStore.open(path)
    with held(path):
        quitter, stayer = await started(store.write(Put(item("A"))), store.write(Put(item("B"))))
        quitter.cancel()
    await stayer
    assert quitter.cancelled()
    assert await store.get("P", "B") == item("B")
    await store.close()


async def test_closing_loses_nothing(path: Path) -> None:
    store = SqliteStore.open(path)
    with held(path):
        tasks = await started(*(store.write(Put(item(f"{n:04}"))) for n in range(600)))
        (closing,) = await started(store.close())
    await closing
    await asyncio.gather(*tasks)
    assert count(path) == 600


async def test_two_may_close_at_once(path: Path) -> None:
    store = SqliteStore.open(path)
    await asyncio.gather(store.close(), store.close())


# Loops, stores, processes


def test_one_store_serves_loop_after_loop(path: Path) -> None:
    store = SqliteStore.open(path)
    for n in range(3):
        asyncio.run(store.write(Put(item(str(n)))))
    assert len(asyncio.run(store.query("P"))) == 3
    asyncio.run(store.close())


def test_one_store_serves_several_loops_at_once(path: Path) -> None:
    store = SqliteStore.open(path)

    async def count_up() -> None:
        for _ in range(20):
            await store.update(Update("P", "HEAD", add={"n": 1}))

    threads = [threading.Thread(target=asyncio.run, args=[count_up()]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(store.get("P", "HEAD")) == {"pk": "P", "sk": "HEAD", "n": 80}
    asyncio.run(store.close())


def test_a_loop_that_ended_is_not_missed(path: Path) -> None:
    store = SqliteStore.open(path)

    async def leave() -> None:
        await started(store.write(Put(item("A"))))

    with held(path):
        asyncio.run(leave())
    asyncio.run(store.write(Put(item("B"))))
    assert len(asyncio.run(store.query("P"))) == 2
    asyncio.run(store.close())


async def test_two_stores_on_one_file(path: Path) -> None:
    one, other = SqliteStore.open(path), SqliteStore.open(path)
    outcomes = await asyncio.gather(
        *(store.write(Put(item(), when=Missing())) for store in (one, other) * 20),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    await asyncio.gather(
        *(store.update(Update("P", "N", add={"n": 1})) for store in (one, other) * 20)
    )
    assert await other.get("P", "N") == await one.get("P", "N") == {"pk": "P", "sk": "N", "n": 40}
    await one.close()
    await other.write(Put(item("later")))
    await other.close()


def test_processes_that_start_together_claim_each_item_once(path: Path) -> None:
    names = ("a", "b", "c")
    children = [child("claim", path, name) for name in names]
    for one in children:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in children:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    won = [one.communicate()[0].split() for one in children]
    assert [one.returncode for one in children] == [0, 0, 0]
    assert sorted(slot for slots in won for slot in slots) == sorted(str(n) for n in range(50))
    owners = {slot: name for name, slots in zip(names, won, strict=True) for slot in slots}
    store = SqliteStore.open(path)
    found = asyncio.run(store.query("P"))
    asyncio.run(store.close())
    assert {one["sk"]: one["by"] for one in found} == owners


def test_kill_9_loses_no_acknowledged_write(path: Path) -> None:
    killed = child("acknowledge", path)
    assert killed.stdout is not None
    acknowledged = [killed.stdout.readline().strip() for _ in range(300)]
    killed.kill()
    acknowledged += killed.communicate()[0].split()
    assert "" not in acknowledged
    store = SqliteStore.open(path)
    found = {one["sk"] for one in asyncio.run(store.query("P"))}
    assert set(acknowledged) <= found
    asyncio.run(store.write(Put(item("later"))))
    asyncio.run(store.close())


# Purging


async def test_expired_items_are_removed_when_asked(path: Path, clock: Clock) -> None:
    store = SqliteStore.open(path, clock)
    soon = int(clock.now) + 10
    await store.append([{**item(f"{n:04}"), "expires_at": soon} for n in range(1201)])
    await store.append([item("kept"), {**item("later"), "expires_at": soon + 1}])
    assert await store.purge_expired() == 0
    clock.now += 10
    assert await store.purge_expired() == 1201
    assert count(path) == 2
    await store.close()


async def test_expired_items_are_removed_on_opening(path: Path, clock: Clock) -> None:
    store = SqliteStore.open(path, clock)
    soon = int(clock.now) + 10
    await store.append([{**item(f"{n:04}"), "expires_at": soon} for n in range(300)])
    await store.close()
    clock.now += 10
    await SqliteStore.open(path, clock).close()
    assert count(path) == 0


async def test_writing_removes_expired_items_now_and_then(path: Path, clock: Clock) -> None:
    store = SqliteStore.open(path, clock)
    await store.append([{**item(f"{n:04}"), "expires_at": int(clock.now) + 1} for n in range(1201)])
    clock.now += 59
    await store.write(Put(item("A")))
    # A batch is answered before the next begins, so this one follows whatever was queued.
    await store.write(Put(item("A")))
    assert count(path) == 1202
    clock.now += 1
    await store.write(Put(item("A")))
    await store.close()
    assert count(path) < 1202
