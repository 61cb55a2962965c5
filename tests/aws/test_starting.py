"""Functions open what they need while Lambda initialises, and anew after a snapshot."""

from __future__ import annotations

import functools

import pytest
import snapshot_restore_py

from voxyray.aws.starting import open_at_start


@pytest.fixture
def opened() -> list[int]:
    return []


def _open(opened: list[int]) -> functools._lru_cache_wrapper[int]:
    @functools.cache
    def open_() -> int:
        opened.append(len(opened))
        return len(opened)

    return open_


def test_elsewhere_nothing_is_opened_by_an_import(opened: list[int]) -> None:
    open_at_start(_open(opened))
    assert opened == []


def test_on_lambda_it_is_opened_at_once(opened: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
    open_ = _open(opened)
    open_at_start(open_)
    open_()
    assert opened == [0]
    assert snapshot_restore_py.get_after_restore() == []


def test_a_restored_process_opens_everything_anew(
    opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """aws-serverless.md 10 no. 19: stale sockets, secrets and random numbers."""
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    open_at_start(_open(opened))
    for hook, args, kwargs in snapshot_restore_py.get_after_restore():
        hook(*args, **kwargs)
    snapshot_restore_py._after_restore_registry.clear()
    assert opened == [0, 1]
