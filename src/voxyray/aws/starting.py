"""What a function does when its process starts: open everything before anybody waits for it."""

from __future__ import annotations

import os
import random
from typing import Any, Protocol

from voxyray.aws import clients


class Opened(Protocol):
    """A cached function that opens what the handler needs (`functools.cache`)."""

    def __call__(self) -> Any:
        """Open it, the first time."""
        ...

    def cache_clear(self) -> None:
        """Forget what was opened."""
        ...


def open_at_start(opened: Opened) -> None:
    """Open now if this process is a Lambda function, and anew after a snapshot was restored.

    A handler's module calls this at its end, so that it happens while Lambda initialises.
    """
    if "AWS_LAMBDA_RUNTIME_API" not in os.environ:
        return
    opened()
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        _open_again_when_restored(opened)


def _open_again_when_restored(opened: Opened) -> None:
    try:
        from snapshot_restore_py import register_after_restore
    except ImportError:  # only Lambda's own runtime has it
        return

    def reopen() -> None:
        # Every restored process would make the same choices, over connections that are dead, with
        # the secrets of the day of the snapshot.
        random.seed()
        clients.forget()
        opened.cache_clear()
        opened()

    register_after_restore(reopen)
