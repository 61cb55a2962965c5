"""What a tool returned, as text for the model."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from voxyray.arguments import harmless

DONE: Final = "done"


def encode_result(value: Any, limit: int = 8000) -> str:
    """Give text as it is, None as `done`, all else as JSON; never raises.

    limit: characters at most, a note that it was cut included. What cannot be encoded becomes a
    sentence that says so, since the model must hear that the tool ran.
    """
    try:
        text = DONE if value is None else _encode(value)
    except Exception:  # noqa: BLE001 - the tool ran; whatever its result is, the call goes on
        text = (
            f"The tool ran, but its result ({_type_name(value)}) cannot be put into words. "
            "Do not run it again; tell the caller that the details are not available."
        )
    return _cut(harmless(text), limit)


def _encode(value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeError, OverflowError):
        # Lone surrogates and integers of any size, which msgspec does not write.
        return json.dumps(msgspec.to_builtins(value, str_keys=True), ensure_ascii=False)


def _type_name(value: object) -> str:
    # Not `type(value).__name__`, which a metaclass may have broken.
    return str(type.__dict__["__name__"].__get__(type(value)))[:60]


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    note = f" [cut: the first part of {len(text)} characters]"
    return text[: max(0, limit - len(note))] + note[: max(0, limit)]
