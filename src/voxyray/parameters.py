"""Read a tool's parameters back from their full JSON Schema: the inverse of `schema`.

Whatever we generate is read as what it was generated from, so that arguments are checked with the
same words where only the schema is at hand. Whatever else JSON Schema knows is refused.
"""

from __future__ import annotations

import copy
import re
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec

from voxyray.arguments import Field, Node, Nullable, Object, Problems
from voxyray.errors import AgentError
from voxyray.schema import Schema, Typed, compile_type, list_of

_MAX_DEPTH: Final = 20
_SCALARS: Final[dict[Any, Any]] = {
    ("string", None): str,
    ("string", "date"): date,
    ("string", "time"): time,
    ("string", "date-time"): datetime,
    ("string", "decimal"): Decimal,
    ("integer", None): int,
    ("number", None): float,
    ("boolean", None): bool,
}
_LIMITS: Final = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "pattern": "pattern",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "tz": "tz",
}
_WORDS: Final = frozenset({"description", "default"})


def compile_schema(schema: object) -> Object:
    """Give what reads a tool's arguments as its full schema says.

    Raises:
        AgentError: it is not of the kind that `schema` makes; the message names the place.
    """
    return _object(_mapping(schema, "parameters"), "parameters", 0)


def _node(schema: object, path: str, depth: int) -> Node:
    schema = _mapping(schema, path)
    if depth > _MAX_DEPTH:
        raise AgentError(f"{path[:60]}: nested more than {_MAX_DEPTH} deep")
    if "anyOf" in schema:
        match schema["anyOf"]:
            case [inner, {"type": "null"}]:
                _only(schema, {"anyOf"}, path)
                return Nullable(_object(_mapping(inner, path), path, depth))
        raise AgentError(f"{path}: anyOf must be an object's schema and null, in this order")
    kind = schema.get("type")
    if isinstance(kind, list):
        if len(kind) != 2 or kind[1] != "null" or kind[0] in ("object", "null"):
            raise AgentError(f"{path}: type must be one type, or one and null, not {kind!r:.60}")
        return Nullable(_node(_without_null(schema), path, depth))
    if kind == "object":
        return _object(schema, path, depth)
    return (_list if kind == "array" else _leaf)(schema, path, depth)


def _object(schema: Schema, path: str, depth: int) -> Object:
    _only(schema, {"type", "properties", "required", "additionalProperties"}, path)
    properties = _mapping(schema.get("properties"), f"{path}.properties")
    fields = tuple(_field(name, each, path, depth) for name, each in properties.items())
    if schema.get("type") != "object" or schema.get("additionalProperties") is not False:
        raise AgentError(f"{path}: must have type object, and additionalProperties false")
    required = [field.name for field in fields if field.default is None]
    if schema.get("required") != required:
        raise AgentError(f"{path}: required must be the properties without a default: {required}")
    return Object(fields, dict)


def _field(name: str, schema: object, path: str, depth: int) -> Field:
    path = f"{path}.{name}"
    node, schema = _node(schema, path, depth + 1), _mapping(schema, path)
    if "default" not in schema:
        return Field(name, name, node)
    value = _typed(node, schema["default"])
    return Field(name, name, node, lambda: copy.deepcopy(value))


def _typed(node: Node, default: Any) -> Any:
    """Give a default as it was before it became JSON: a date is one again."""
    problems: Problems = []
    value = default if default in (None, "") else node.read(default, "", problems)
    # A default need not keep to the limits that it spares others.
    return default if problems else value


def _list(schema: Schema, path: str, depth: int) -> Node:
    item = _node(schema.get("items"), f"{path}[]", depth + 1)
    metas = _metas(schema, path)
    return _kept(list_of(item, _mapping(schema["items"], path), metas), schema, path)


def _leaf(schema: Schema, path: str, depth: int) -> Node:
    del depth
    base: Any
    if "enum" in schema:
        choices = schema["enum"]
        if not isinstance(choices, list) or not choices:
            raise AgentError(f"{path}: enum must be a list of what is allowed")
        if any(type(choice) not in (str, int) for choice in choices):
            raise AgentError(f"{path}: enum may hold texts and whole numbers only")
        base = Literal.__getitem__(tuple(choices))
    else:
        what = schema.get("type"), schema.get("format")
        base = _SCALARS.get(what) if all(isinstance(each, str | None) for each in what) else None
    if base is None:
        raise AgentError(f"{path}: no type that a model can be asked for: {what!r:.100}")
    metas = _metas(schema, path)
    kind = Annotated[(base, *metas)] if metas else base
    return _kept(_compiled(kind, path), schema, path)


def _metas(schema: Schema, path: str) -> list[msgspec.Meta]:
    limits = {_LIMITS[key]: value for key, value in schema.items() if key in _LIMITS}
    try:
        if "pattern" in limits:
            re.compile(limits["pattern"])
        return [msgspec.Meta(**limits)] if limits else []
    except (TypeError, ValueError, re.error) as error:
        raise AgentError(f"{path}: {error}") from error


def _compiled(kind: Any, path: str) -> Typed:
    try:
        return compile_type(kind)
    except AgentError as error:
        raise AgentError(f"{path}: {error}") from error


def _kept(typed: Typed, schema: Schema, path: str) -> Node:
    """Give the node, if its own schema is the given one: nothing was overlooked."""
    given = {key: value for key, value in schema.items() if key not in _WORDS}
    made = {key: value for key, value in typed.schema.items() if key not in _WORDS}
    _only(given, set(made), path)
    if given != made:
        wrong = next(key for key in made if given.get(key) != made[key])
        raise AgentError(f"{path}: {wrong} must be {made[wrong]!r:.60} there")
    return typed.node


def _without_null(schema: Schema) -> Schema:
    inner = {**schema, "type": schema["type"][0]}
    if isinstance(choices := schema.get("enum"), list):
        inner["enum"] = [choice for choice in choices if choice is not None]
    return inner


def _mapping(schema: object, path: str) -> Schema:
    if not isinstance(schema, dict):
        raise AgentError(f"{path}: must be an object, not {type(schema).__name__}")
    return schema


def _only(schema: Schema, known: set[str], path: str) -> None:
    if unknown := [key for key in schema if key not in known | _WORDS]:
        raise AgentError(
            f"{path}: {unknown[0][:60]!r} is nothing we know; there are {', '.join(sorted(known))}"
        )
