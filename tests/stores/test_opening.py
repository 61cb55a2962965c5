"""The setting that names a store."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxyray.aws import clients
from voxyray.errors import SettingsError, StoreError
from voxyray.stores import Put
from voxyray.stores.dynamodb import DynamoStore
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
    with pytest.raises(SettingsError, match=r"VOXYRAY_STORE.*sqlite:PATH.*dynamodb:TABLE.*memory:"):
        open_store(spec)


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    clients.forget()
    yield
    clients.forget()


async def test_a_table(no_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    store = open_store("dynamodb:voxyray-Table_1.x")
    assert isinstance(store, DynamoStore)
    await store.close()


@pytest.mark.parametrize("table", ["", "ab", "a/b", "table name", "täble", "x" * 256])
def test_no_table(table: str) -> None:
    with pytest.raises(SettingsError, match=r"VOXYRAY_STORE.*dynamodb:TABLE"):
        open_store(f"dynamodb:{table}")


def test_a_table_without_boto3(no_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(SettingsError, match=r"dynamodb:calls.*pip install 'voxyray\[aws\]'"):
        open_store("dynamodb:calls")


def test_a_table_without_a_region(no_aws: None) -> None:
    with pytest.raises(SettingsError, match="set AWS_REGION"):
        open_store("dynamodb:calls")


def test_boto3_is_imported_only_for_a_table() -> None:
    program = (
        "import sys; import voxyray.stores.opening as o; o.open_store('memory:'); "
        "print([name for name in sys.modules if name.startswith(('boto', 'voxyray.aws'))])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


def test_nobodys_home() -> None:
    with pytest.raises(SettingsError, match="write the whole path"):
        open_store("sqlite:~no-such-user-here/x.db")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(f"sqlite:{tmp_path}")
