"""Log lines that machines read, each with the call it is about."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.desk import Desk
from voxyray import logs


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    found = logging.getLogger()
    handlers, level = list(found.handlers), found.level
    formatters = [handler.formatter for handler in handlers]
    yield found
    found.handlers[:], found.level = handlers, level
    for handler, formatter in zip(handlers, formatters, strict=True):
        handler.setFormatter(formatter)


def line(message: str = "hello %s", *values: object, **more: Any) -> dict[str, Any]:
    record = logging.LogRecord("voxyray.call", logging.INFO, "f.py", 1, message, values, None)
    record.created = 1700000000.25
    for name, value in more.items():
        setattr(record, name, value)
    made = json.loads(logs.formatter("json").format(record))
    assert isinstance(made, dict)
    return made


def test_one_object_a_line() -> None:
    assert line("hello %s", "all\nof you") == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "INFO",
        "logger": "voxyray.call",
        "message": "hello all\nof you",
    }


async def test_the_call_and_its_turn_as_it_is_then() -> None:
    desk = Desk()

    async def work() -> dict[str, Any]:
        await asyncio.sleep(0)
        return line("x")

    async def carry() -> list[dict[str, Any]]:
        logs.bind(desk.call)
        task = asyncio.create_task(work())  # what is started along the way knows it, too
        desk.say("Hello?")
        return [line("x"), await task]

    told = await asyncio.create_task(carry())
    assert [(each["call"], each["turn"]) for each in told] == [("CA1", 1)] * 2
    assert "call" not in line("x"), "another task knows nothing of it"


def test_an_exception_tells_its_kind_and_place_but_not_its_words() -> None:
    try:
        raise ValueError("what Ada said")
    except ValueError as error:
        told = line("x", exc_info=(type(error), error, error.__traceback__))
    assert told["error"].startswith("ValueError\n")
    assert "test_logs.py" in told["error"]
    assert "what Ada said" not in json.dumps(told).replace('raise ValueError(\\"what Ada said', "")


def test_lambda_logs_json_through_the_runtimes_handler(root: logging.Logger) -> None:
    handler = logging.StreamHandler()
    root.handlers[:] = [handler]
    logs.set_up_lambda("WARNING", "")
    assert root.level == logging.WARNING
    assert isinstance(handler.formatter, logs.JsonFormatter)


def test_lambda_leaves_text_as_it_is(root: logging.Logger) -> None:
    handler = logging.StreamHandler()
    root.handlers[:] = [handler]
    logs.set_up_lambda("INFO", "text")
    assert handler.formatter is None
