"""The setting that names a store."""

from pathlib import Path

import pytest

from voxyray.errors import SettingsError, StoreError
from voxyray.stores import Put
from voxyray.stores.memory import MemoryStore
from voxyray.stores.opening import open_store
from voxyray.stores.sqlite import SqliteStore


async def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for spec, made in (
        (f"sqlite:{tmp_path}/a b?.db", "a b?.db"),
        ("sqlite:calls.db", "calls.db"),
        (" sqlite:data/calls.db\n", "data/calls.db"),
        ("sqlite:~/calls.db", "home/calls.db"),
    ):
        store = open_store(spec)
        assert isinstance(store, SqliteStore)
        await store.write(Put({"pk": "P", "sk": "S"}))
        await store.close()
        assert (tmp_path / made).is_file()


async def test_memory() -> None:
    store = open_store("memory:")
    assert isinstance(store, MemoryStore)
    await store.close()


@pytest.mark.parametrize(
    "spec",
    ["", "sqlite", "sqlite:", "sqlite::memory:", "sqlite:///x.db", "sqlite:a\0b", "memory",
     "memory:x", "calls.db", "postgres://host/db", "SQLite:x"],
)  # fmt: skip
def test_anything_else_is_told_the_forms(spec: str) -> None:
    with pytest.raises(SettingsError, match=r"VOXYRAY_STORE.*sqlite:PATH.*memory:"):
        open_store(spec)


def test_dynamodb_is_not_here_yet() -> None:
    with pytest.raises(SettingsError, match=r"VOXYRAY_STORE.*AWS part.*not in this version"):
        open_store("dynamodb:voxyray")


def test_nobodys_home() -> None:
    with pytest.raises(SettingsError, match="write the whole path"):
        open_store("sqlite:~no-such-user-here/x.db")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(f"sqlite:{tmp_path}")
