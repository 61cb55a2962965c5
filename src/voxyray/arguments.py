"""Read what a model wrote as a tool's arguments: JSON text in, typed Python values out.

More lenient than the schema the model was shown, because models are sloppy: numbers as text,
integers for text, empty text or null for an absent option, JSON within JSON. Whatever comes,
the only outcome besides a value is a list of problems that names every wrong argument.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from rapidfuzz import process

Problems: TypeAlias = list[str]

# Lone surrogates cannot be sent as UTF-8; C0, C1 and DEL have no place in speech or a prompt.
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DECIMAL_DIGITS: Final = 28  # what the default decimal context keeps exactly
_ISO: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ])?(\d\d:\d\d)(:\d\d(?:\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)


def harmless(text: str) -> str:
    """Replace lone surrogates by U+FFFD and control characters, but tab and newline, by spaces."""
    return _CONTROLS.sub(" ", _SURROGATES.sub("\ufffd", text))


def shown(value: object) -> str:
    """Give a JSON value as a short text for an error message."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = harmless(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 60 else f"{text[:57]}..."


def decode(text: str) -> Any:
    """Read JSON strictly: no NaN, no name given twice with two meanings.

    Raises:
        ValueError: the text is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name in given and given[name] != value:
            raise ValueError(f"{shown(name)} is given twice, with different values")
        given[name] = value
    return given


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class Node(Protocol):
    """One type: the words for it, and how a JSON value is read as it."""

    @property
    def expected(self) -> str:
        """What the model is told to give, such as `a whole number`."""
        ...

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        """Give the typed value, or add to problems what is wrong at path."""
        ...


@dataclass(frozen=True)
class Leaf:
    """A scalar that msgspec converts; kind is its annotation, base the type behind it."""

    kind: Any
    base: Any
    expected: str

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        """Give the typed value, or add to problems what is wrong at path."""
        try:
            result = msgspec.convert(_prepared(value, self.base), self.kind, strict=False)
            if _ordinary(result):
                return result
        except Exception:  # noqa: BLE001, S110 - an Enum's `_missing_` may raise anything
            pass
        problems.append(f"{path}: expected {self.expected}, got {shown(value)}")
        return None


@dataclass(frozen=True)
class Nullable:
    """A type that may also be null; an empty text counts as null."""

    inner: Node

    @property
    def expected(self) -> str:
        """What the model is told to give."""
        return self.inner.expected

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        """Give the typed value, or add to problems what is wrong at path."""
        return None if value is None or value == "" else self.inner.read(value, path, problems)


@dataclass(frozen=True)
class ListOf:
    """A list of one type; kind is an annotation that holds the limits on its length."""

    item: Node
    kind: Any
    expected: str

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        """Give the typed value, or add to problems what is wrong at path."""
        value = _from_text(value, list)
        if not isinstance(value, list):
            problems.append(f"{path}: expected {self.expected}, got {shown(value)}")
            return None
        try:
            msgspec.convert(value, self.kind)
        except msgspec.ValidationError:
            problems.append(f"{path}: expected {self.expected}, got {len(value)} items")
        return [self.item.read(item, f"{path}[{at}]", problems) for at, item in enumerate(value)]


@dataclass(frozen=True)
class Field:
    """A property of an object.

    name: in JSON; keyword: in Python; default: makes the default value, None if there is none.
    """

    name: str
    keyword: str
    node: Node
    default: Callable[[], Any] | None = None

    def read(self, given: Mapping[str, Any], path: str, problems: Problems) -> Any:
        """Give the property's value or its default; given is the whole object."""
        value = given.get(self.name)
        nullable = isinstance(self.node, Nullable)
        if self.default is not None:
            means_null = nullable and self.name in given and value is None
            if (value is None or value == "") and not means_null:
                return self.default()
        elif self.name not in given and not nullable:
            problems.append(f"{path}: missing, expected {self.node.expected}")
            return None
        return self.node.read(value, path, problems)


@dataclass(frozen=True)
class Object:
    """An object with known properties; make builds the Python value out of keywords."""

    fields: tuple[Field, ...]
    make: Callable[..., Any]
    expected: str = "an object"

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        """Give the typed value, or add to problems what is wrong at path."""
        value = _from_text(value, dict)
        if not isinstance(value, dict):
            where = f"{path}: " if path else ""
            problems.append(f"{where}expected an object, got {shown(value)}")
            return None
        before = len(problems)
        dot = f"{path}." if path else ""
        values = {f.keyword: f.read(value, dot + f.name, problems) for f in self.fields}
        names = [field.name for field in self.fields]
        problems.extend(_unknown(key, dot, names) for key in value if key not in names)
        if len(problems) > before:
            return None
        try:
            return self.make(**values)
        except Exception as error:  # noqa: BLE001 - a `__post_init__` may raise anything
            problems.append(f"{path}: {_message(error)}")
            return None


def _prepared(value: Any, base: Any) -> Any:
    if base is str:
        # A telephone or house number that the model wrote as a number.
        whole = isinstance(value, int) and not isinstance(value, bool)
        return str(value) if whole else harmless(value) if isinstance(value, str) else value
    if base in (datetime, time):
        return _iso(value)
    return value.strip() if isinstance(value, str) and base in (int, float, Decimal) else value


def _iso(value: Any) -> Any:
    """Complete `14:30` and `2026-05-31 14:30`; msgspec would take a number as an epoch."""
    match = _ISO.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return ""
    day, minutes, seconds, zone = match.groups(default="")
    return f"{day.upper().replace(' ', 'T')}{minutes}{seconds or ':00'}{zone.upper()}"


def _ordinary(value: Any) -> bool:
    """Whether a number can be stored, compared and sent on: finite and of ordinary size."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Decimal):
        small = len(value.as_tuple().digits) <= _DECIMAL_DIGITS
        return value.is_finite() and small and abs(value.adjusted()) <= _DECIMAL_DIGITS
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _from_text(value: Any, wanted: type) -> Any:
    """Undo the double encoding of some models: an object or list written as JSON text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            decoded = decode(value)
        except ValueError:
            return value
        return decoded if isinstance(decoded, wanted) else value
    return value


def _unknown(key: str, dot: str, names: list[str]) -> str:
    near = process.extractOne(key[:100], names, score_cutoff=60)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"{dot}{shown(key)[1:-1]}: unknown argument{hint}"


def _message(error: Exception) -> str:
    try:
        return harmless(str(error))[:200] or type(error).__name__
    except Exception:  # noqa: BLE001 - a broken `__str__` must not end the call
        return "not accepted"
