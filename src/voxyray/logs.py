"""Logs: one line each, as text for people or as JSON for machines, with the call it is about.

Nothing personal is ever logged: no number, name or word of a caller. What the lines of a call have
in common is bound once, when its runner is made, and goes along with every task of that call.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Protocol, TextIO

from voxyray.tracebacks import traced

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Talk(Protocol):
    """A call, as far as log lines tell of it."""

    id: str

    @property
    def turn(self) -> Numbered:
        """The turn that goes on now."""
        ...


class Numbered(Protocol):
    """A turn."""

    number: int


_talk: ContextVar[Talk | None] = ContextVar("talk", default=None)


def bind(talk: Talk) -> None:
    """Have the lines of this task, and of those it starts, tell the call and its turn."""
    _talk.set(talk)


def bound() -> Mapping[str, str | int]:
    """Give the call and turn that lines tell now."""
    talk = _talk.get()
    return {} if talk is None else {"call": talk.id, "turn": talk.turn.number}


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object: time (UTC), level, logger, message, call, turn.

    An exception is told by its type and places: its message may quote a caller.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, str | int] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **bound(),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["error"] = traced(error)
        return json.dumps(line, ensure_ascii=False)


class Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at the time: a live display puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        self.stream = sys.stderr
        super().emit(record)


def formatter(form: str) -> logging.Formatter:
    """Give the formatter of `text` or `json`."""
    return JsonFormatter() if form == "json" else logging.Formatter(_TEXT)


def set_up_lambda(level: str, form: str) -> None:
    """Log from level on through the handler that Lambda's runtime has made; JSON unless `text`."""
    root = logging.getLogger()
    root.setLevel(level)
    if form != "text":
        for handler in root.handlers:
            handler.setFormatter(JsonFormatter())
