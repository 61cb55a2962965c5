"""A tool's arguments with placeholders, which it takes or refuses as it did the real ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from voxyray.arguments import decode
from voxyray.errors import JournalError, ToolArgumentError
from voxyray.masking import Mask
from voxyray.tool import Tool

_NEAR: Final = 60  # how far off another number that a tool takes is looked for
_REFUSED: Final = "{"  # what no tool can read


def masked_arguments(mask: Mask, tool: Tool | None, arguments: str) -> str:
    """Give arguments as a model could have written them.

    Raises:
        JournalError: the tool takes nothing else that we know of.
    """
    if tool is None or not arguments.strip():
        return mask.text(arguments)
    try:
        value = decode(arguments)
    except ValueError:
        return _REFUSED + mask.text(arguments)
    if not _takes(tool, value):
        refused = json.dumps(mask.value(value), ensure_ascii=False)
        return _REFUSED + refused if _takes(tool, decode(refused)) else refused
    if isinstance(value, dict):
        box = {"": value}
        _mask_all(mask, tool, box, value, box)
        value = box[""]
    return json.dumps(value, ensure_ascii=False)


def _mask_all(mask: Mask, tool: Tool, box: dict[str, Any], root: Any, inside: Any) -> None:
    """Replace the values inside one by one, as long as the tool takes the whole."""
    for name, value in list(_items(inside)):
        if isinstance(value, dict | list):
            _mask_all(mask, tool, box, root, value)
        elif value is not None and not isinstance(value, bool) and value != "":
            inside[name] = _masked(mask, tool, root, inside, name)


def _masked(mask: Mask, tool: Tool, root: Any, inside: Any, name: Any) -> Any:
    value = inside[name]
    for candidate in _candidates(mask, value):
        inside[name] = candidate
        if candidate != value and _takes(tool, root):
            return candidate
    inside[name] = value
    if str(value) in _own_words(tool.parameters) or not isinstance(value, str):
        return value  # one of few that the agent itself names
    raise JournalError(
        f"argument {name} of tool {tool.name} cannot be redacted: the tool takes no placeholder"
    )


def _candidates(mask: Mask, value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        yield mask.text(value)
        yield from _moments(mask, value)
        with contextlib.suppress(ValueError):
            yield from (str(near) for near in _numbers(mask, int(value)))
    elif isinstance(value, int):
        yield from _numbers(mask, value)
    else:
        text = repr(value)
        if "e" not in text and "n" not in text:
            yield float(mask.text(text))
        yield from (value + near for near in range(1, _NEAR))


def _numbers(mask: Mask, value: int) -> Iterator[int]:
    """Give other numbers, first those that are as long."""
    masked = int(mask.text(str(value)))
    near = [value + sign * off for off in range(1, _NEAR) for sign in (1, -1)]
    yield from sorted((masked, *near), key=lambda each: len(str(each)) != len(str(value)))


def _moments(mask: Mask, value: str) -> Iterator[str]:
    """Give another date and time in the same form."""
    digest = hashlib.blake2b(mask.text(value).encode() + value.encode()).digest()
    days, minutes = 1 + digest[0], 1 + int.from_bytes(digest[1:3], "big") % 1439
    with contextlib.suppress(ValueError, OverflowError):
        yield (date.fromisoformat(value) + timedelta(days)).isoformat()
    with contextlib.suppress(ValueError, OverflowError):
        at = datetime.combine(date.min, time.fromisoformat(value)) + timedelta(minutes=minutes)
        yield at.time().isoformat()[: len(value)]
    with contextlib.suppress(ValueError, OverflowError):
        moved = datetime.fromisoformat(value) + timedelta(days, minutes=minutes)
        yield moved.isoformat(value[10:11] or "T")[: len(value)]


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)


def _takes(tool: Tool, value: Any) -> bool:
    try:
        tool.parse(json.dumps(value))
    except ToolArgumentError:
        return False
    return True


def _own_words(schema: Any) -> set[str]:
    """Give the values that a schema lists."""
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= {str(each) for each in (*schema.get("enum", ()), schema.get("const", ""))}
        for each in schema.values():
            found |= _own_words(each)
    elif isinstance(schema, list):
        for each in schema:
            found |= _own_words(each)
    return found
