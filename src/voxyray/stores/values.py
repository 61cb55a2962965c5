"""What an item may hold: the limits of DynamoDB, kept by every store so that they all agree.

Sizes are counted by DynamoDB's rules (UTF-8 bytes of names and strings, one byte for two digits,
three and one for each element of a list or map), which are close to but not those of JSON.
Messages name fields and types, never values: values are personal.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from voxyray.errors import StoreError
from voxyray.stores import Item

MAX_PK_BYTES: Final = 2048
MAX_SK_BYTES: Final = 1024
MAX_ITEM_BYTES: Final = 400 * 1024
# DynamoDB has 32 levels; the innermost value is one of them.
MAX_DEPTH: Final = 31
MAX_DIGITS: Final = 38

LARGEST: Final = 10**MAX_DIGITS - 1
_FIX: Final = {
    float: "store an integer of a smaller unit (cents, milliseconds) or a string",
    bytes: "store base64 or hexadecimal text",
    tuple: "store a list",
    set: "store a list",
}
# The end of the year 9999: a time in milliseconds, which would never expire, is far beyond it.
LATEST_S: Final = 253_402_300_799

_encoder: Final = msgspec.json.Encoder()
_canonical: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder()


def encode(item: Item) -> bytes:
    """Turn a checked item into JSON."""
    return _encoder.encode(item)


def decode(body: bytes | str) -> Item:
    """Turn JSON back into an item.

    Raises:
        StoreError: it is not a JSON object; somebody else wrote it.
    """
    try:
        item = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise StoreError(f"a stored item is damaged: {error}") from error
    if type(item) is not dict:
        raise StoreError("a stored item is damaged: not a JSON object")
    return item


def copy(value: Any) -> Any:
    """Copy a checked value, so that its owner may go on changing it."""
    return _decoder.decode(_encoder.encode(value))


def same(one: Any, other: Any) -> bool:
    """Whether two checked values are equal as JSON: 1 is not true, the order of keys is nothing."""
    return _canonical.encode(one) == _canonical.encode(other)


def check_key(pk: Any, sk: Any) -> None:
    """Refuse a key that not every store can hold."""
    check_key_part("pk", pk, MAX_PK_BYTES)
    check_key_part("sk", sk, MAX_SK_BYTES)


def check_key_part(name: str, value: Any, most: int) -> None:
    """Refuse one part of a key; most is in bytes of UTF-8."""
    if type(value) is not str or not value:
        raise StoreError(f"{name} must be a string that is not empty, not {_kind(value)}")
    size = _text_bytes(name, value)
    if size > most:
        raise StoreError(f"{name} is {size} bytes long; at most {most} are allowed")


def check_item(item: Any) -> int:
    """Check a whole item and return its size in bytes as DynamoDB counts.

    Raises:
        StoreError: it cannot be stored; the message says which field, why and what to do.
    """
    if type(item) is not dict:
        raise StoreError(f"an item must be a dict, not {_kind(item)}")
    check_key(item.get("pk"), item.get("sk"))
    size = 0
    for name, value in item.items():
        size += check_name(name) + check_value(name, value)
        if size > MAX_ITEM_BYTES:
            raise StoreError(_too_large("the item"))
    if "expires_at" in item:
        _check_expiry(item["expires_at"])
    return size


def check_name(name: Any) -> int:
    """Check the name of a field and return its size in bytes."""
    if type(name) is not str or not name:
        raise StoreError(f"a field's name must be a string that is not empty, not {_kind(name)}")
    return _text_bytes("a field's name", name)


def check_number(field: str, value: Any) -> None:
    """Refuse what cannot be added or compared: anything but an integer of at most 38 digits."""
    if type(value) is not int:
        raise StoreError(f"field {field!r}: an integer is needed here, not {_kind(value)}")
    _int_bytes(field, value)


def check_value(field: str, value: Any) -> int:
    """Check the value of a field, all the way down, and return its size in bytes.

    It stops as soon as the size is too large, so that no value, however entangled, takes long.
    """
    size = 0
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        part, depth = pending.pop()
        kind = type(part)
        if kind is str:
            size += _text_bytes(f"field {field!r}", part)
        elif part is None or kind is bool:
            size += 1
        elif kind is int:
            size += _int_bytes(field, part)
        elif kind is list or kind is dict:
            if depth == MAX_DEPTH:
                raise StoreError(f"field {field!r} is nested more than {MAX_DEPTH} deep")
            size += 3 + len(part) + (_names_bytes(part) if kind is dict else 0)
            pending.extend((inner, depth + 1) for inner in _inner(part))
        else:
            raise StoreError(f"field {field!r}: {_kind(part)} cannot be stored; {_fix(part)}")
        if size > MAX_ITEM_BYTES:
            raise StoreError(_too_large(f"field {field!r}"))
    return size


def _inner(part: Any) -> Any:
    return part.values() if type(part) is dict else part


def _names_bytes(part: dict[Any, Any]) -> int:
    return sum(check_name(name) for name in part)


def _text_bytes(what: str, text: str) -> int:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise StoreError(
            f"{what} holds half a surrogate pair, which is not text; "
            "clean it with text.encode('utf-8', 'replace').decode()"
        ) from None


def _int_bytes(field: str, value: int) -> int:
    if not -LARGEST <= value <= LARGEST:
        raise StoreError(
            f"field {field!r}: the integer has more than {MAX_DIGITS} digits; store a string"
        )
    return len(str(value)) // 2 + 2


def _check_expiry(value: Any) -> None:
    check_number("expires_at", value)
    if not 0 <= value <= LATEST_S:
        raise StoreError("expires_at must be epoch seconds before the year 10000 (milliseconds?)")


def _too_large(what: str) -> str:
    return (
        f"{what} is larger than {MAX_ITEM_BYTES // 1024} KB; split it over several items, "
        "or store it elsewhere and keep a reference"
    )


def _kind(value: Any) -> str:
    return "an empty string" if value == "" else f"a {type(value).__name__}"


def _fix(value: Any) -> str:
    return _FIX.get(type(value), "store only str, int, bool, None, list and dict")
