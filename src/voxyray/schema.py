"""Turn Python types and docstrings into JSON Schema, for a tool's arguments.

There are two. The full one loses nothing, so that `parameters` can read it back. The `strict` one
is what a model is shown and keeps to what OpenAI's strict function validation accepts: every
property is required, optional ones may be null, no lengths, no `default`. In both there are no
additional properties, and structs are inlined.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from voxyray.arguments import Field, Leaf, ListOf, Node, Nullable, Object
from voxyray.errors import AgentError

Schema: TypeAlias = dict[str, Any]

_KEPT: Final = ("type", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum")
_KEPT_TOO: Final = ("exclusiveMaximum", "multipleOf", "minLength", "maxLength")
# OpenAI refuses a strict function that uses lengths, defaults, most formats.
_NOT_STRICT: Final = frozenset({"minLength", "maxLength", "default", "tz"})
_FORMATS: Final[dict[Any, str]] = {
    date: "date",
    time: "time",
    datetime: "date-time",
    Decimal: "decimal",
}
_WORDS: Final[dict[Any, str]] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Decimal: 'a decimal number as text such as "12.50"',
    date: "a date such as 2026-05-31",
    time: "a time such as 14:30",
    datetime: "a date and time such as 2026-05-31T14:30",
}
_LIMITS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "pattern": "matching {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}
_ADVICE: Final = (
    "use str, int, float, bool, Literal, Enum, date, time, datetime, Decimal, list[...], "
    "a dataclass or msgspec.Struct, or one of them | None"
)


class Typed(NamedTuple):
    """What an annotation came to: how it is read, and its full schema."""

    node: Node
    schema: Schema


class Parameter(NamedTuple):
    """A property before it is one.

    name: in JSON; keyword: in Python; default: makes the default, None if there is none.
    """

    name: str
    keyword: str
    annotation: Any
    default: Callable[[], Any] | None = None


def compile_object(
    parameters: Iterable[Parameter],
    described: dict[str, str],
    make: Callable[..., Any] = dict,
    inside: tuple[Any, ...] = (),
) -> Typed:
    """Give the object with these properties; described holds texts by keyword.

    Raises:
        AgentError: a type a model cannot be asked for, or a default that cannot be shown.
    """
    fields: list[Field] = []
    properties: Schema = {}
    for name, keyword, annotation, default in parameters:
        try:
            node, schema = compile_type(annotation, inside)
            properties[name] = _property(schema, described.get(keyword, ""), default)
        except AgentError as error:
            raise AgentError(f"{keyword!r}: {error}") from None
        fields.append(Field(name, keyword, node, default))
    shape: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name, schema in properties.items() if "default" not in schema],
        "additionalProperties": False,
    }
    return Typed(Object(tuple(fields), make), shape)


def strict(schema: Schema) -> Schema:
    """Give what a model is shown of a full schema."""
    shown: Schema = {}
    for key, value in schema.items():
        match key:
            case "properties":
                shown[key] = {name: _strict_property(inner) for name, inner in value.items()}
            case "required":
                shown[key] = list(schema["properties"])
            case "items":
                shown[key] = strict(value)
            case "anyOf":
                shown[key] = [strict(inner) for inner in value]
            case "format" if value != "date":
                pass
            case _ if key not in _NOT_STRICT:
                shown[key] = value
    return shown


def _strict_property(schema: Schema) -> Schema:
    if "default" not in schema:
        return strict(schema)
    return strict(_or_null({key: value for key, value in schema.items() if key != "default"}))


def compile_type(annotation: Any, inside: tuple[Any, ...] = ()) -> Typed:
    """Give the node and schema of an annotation; inside are the classes it is nested in.

    Raises:
        AgentError: a type a model cannot be asked for; the message says what to use.
    """
    base, metas, texts = _unwrap(annotation)
    origin, arguments = typing.get_origin(base), typing.get_args(base)
    if origin in (typing.Union, types.UnionType):
        return _optional(arguments, (*texts, *metas), inside)
    if origin is Literal and None in arguments:
        chosen = tuple(value for value in arguments if value is not None)
        return _optional((Literal.__getitem__(chosen), None), (*texts, *metas), inside)
    text = " ".join([*texts, *(meta.description for meta in metas if meta.description)])
    if origin is list:
        node, shape = list_of(*compile_type(arguments[0], inside), metas)
        return Typed(node, _with_text(shape, text))
    if _is(base, msgspec.Struct) or (isinstance(base, type) and dataclasses.is_dataclass(base)):
        return _record(base, text, inside)
    if base in _WORDS or origin is Literal or _is(base, enum.Enum):
        return _leaf(base, metas, text)
    raise AgentError(f"a model cannot be asked for {_type_name(base)}; {_ADVICE}")


def default_maker(default: Any, factory: Any, missing: object) -> Callable[[], Any] | None:
    """Give what makes a default; a copy each time, so that one call cannot change another's."""
    if factory is not missing:
        return typing.cast("Callable[[], Any]", factory)
    return None if default is missing else lambda: copy.deepcopy(default)


def _unwrap(annotation: Any) -> tuple[Any, list[msgspec.Meta], list[str]]:
    """Take Annotated, NewType and type aliases off; give type, constraints and texts."""
    metas: list[msgspec.Meta] = []
    texts: list[str] = []
    while True:
        if typing.get_origin(annotation) is Annotated:
            metas += [extra for extra in annotation.__metadata__ if isinstance(extra, msgspec.Meta)]
            texts += [extra for extra in annotation.__metadata__ if isinstance(extra, str)]
            annotation = annotation.__origin__
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):  # a `type X = ...` of Python 3.12
            annotation = annotation.__value__
        else:
            return annotation, metas, texts


def _optional(
    arguments: tuple[Any, ...], extras: tuple[Any, ...], inside: tuple[Any, ...]
) -> Typed:
    real = [argument for argument in arguments if argument not in (None, types.NoneType)]
    if len(real) != 1 or len(real) == len(arguments):
        raise AgentError("a model cannot be asked for one of several types; use one, or one | None")
    inner: Any = Annotated[(real[0], *extras)] if extras else real[0]
    node, schema = compile_type(inner, inside)
    return Typed(Nullable(node), _or_null(schema))


def list_of(item: Node, schema: Schema, metas: Sequence[msgspec.Meta]) -> Typed:
    """Give the list of a type; schema is the type's own.

    Raises:
        AgentError: limits that a list cannot have.
    """
    kind: Any = Annotated[(list[Any], *metas)] if metas else list[Any]
    raw = _json_schema(kind)
    shape: Schema = {"type": "array", "items": schema}
    shape |= {key: raw[key] for key in ("minItems", "maxItems") if key in raw}
    return Typed(ListOf(item, kind, ", ".join(["a list", *_limits(raw)])), shape)


def _leaf(base: Any, metas: list[msgspec.Meta], text: str) -> Typed:
    kind: Any = Annotated[(base, *metas)] if metas else base
    raw = _json_schema(kind)
    schema: Schema = {key: raw[key] for key in (*_KEPT, *_KEPT_TOO) if key in raw}
    if choices := raw.get("enum"):
        schema = {"type": "string" if isinstance(choices[0], str) else "integer", **schema}
        return Typed(
            Leaf(kind, base, f"one of {', '.join(map(str, choices))}"), _with_text(schema, text)
        )
    if base in _FORMATS:
        schema["format"] = _FORMATS[base]
    for meta in metas:
        if meta.tz is not None:
            schema["tz"] = meta.tz
    expected = ", ".join([_WORDS[base], *_limits(raw)])
    # Strict mode has no lengths, no decimals and no times without a zone, so words must do.
    in_words = "minLength" in raw or "maxLength" in raw or base in (time, datetime, Decimal)
    note = f"{expected[:1].upper()}{expected[1:]}." if in_words else ""
    return Typed(Leaf(kind, base, expected), _with_text(schema, text, note))


def _record(cls: Any, text: str, inside: tuple[Any, ...]) -> Typed:
    if cls in inside:
        raise AgentError(f"{cls.__name__} contains itself, which a model cannot be asked for")
    try:
        found = _struct_fields(cls) if _is(cls, msgspec.Struct) else _dataclass_fields(cls)
    except NameError as error:
        raise AgentError(f"{cls.__name__}: {error}; define that type at module level") from error
    try:
        _, described = split_docstring(inspect.getdoc(cls) or "", "Attributes")
        node, schema = compile_object(found, described, cls, (*inside, cls))
    except AgentError as error:
        raise AgentError(f"{cls.__name__}: {error}") from None
    return Typed(node, _with_text(schema, text))


def _struct_fields(cls: Any) -> list[Parameter]:
    none = msgspec.NODEFAULT
    return [
        Parameter(f.encode_name, f.name, f.type, default_maker(f.default, f.default_factory, none))
        for f in msgspec.structs.fields(cls)
    ]


def _dataclass_fields(cls: Any) -> list[Parameter]:
    hints = typing.get_type_hints(cls, include_extras=True)
    none = dataclasses.MISSING
    return [
        Parameter(f.name, f.name, hints[f.name], default_maker(f.default, f.default_factory, none))
        for f in dataclasses.fields(cls)
        if f.init
    ]


def _property(schema: Schema, described: str, default: Callable[[], Any] | None) -> Schema:
    """Complete a type's schema with what its place in the object adds: words and its default."""
    if default is None:
        return _with_text(schema, described, first=True)
    value = default()
    try:
        text = msgspec.json.encode(value).decode()
    except Exception as error:
        raise AgentError(f"its default cannot be shown to a model: {error}") from error
    note = "" if value is None or value in ("", []) else f"Default: {text}."
    shown = _with_text(_with_text(schema, described, first=True), note)
    return {**shown, "default": msgspec.json.decode(text)}


def _with_text(schema: Schema, *texts: str, first: bool = False) -> Schema:
    """Add to a schema's description, at its end or as the first words."""
    there = [schema.get("description", "")]
    parts = [*texts, *there] if first else [*there, *texts]
    # A parameter may be described in its annotation and, in the same words, in the docstring.
    said = list(dict.fromkeys(part.strip() for part in parts if part.strip()))
    ended = [part if part[-1] in ".!?:;" else f"{part}." for part in said[:-1]]
    text = " ".join(ended + said[-1:])
    return {**schema, "description": text} if text else schema


def _or_null(schema: Schema) -> Schema:
    """Let a schema allow null too; strict mode wants `anyOf` for an object."""
    kind = schema.get("type")
    if kind is None or isinstance(kind, list):
        return schema
    if kind == "object":
        inner = {key: value for key, value in schema.items() if key != "description"}
        outer: Schema = {"anyOf": [inner, {"type": "null"}]}
        return _with_text(outer, schema.get("description", ""))
    nullable = {**schema, "type": [kind, "null"]}
    return {**nullable, "enum": [*schema["enum"], None]} if "enum" in schema else nullable


def _limits(raw: Schema) -> list[str]:
    return [words.format(raw[key]) for key, words in _LIMITS.items() if key in raw]


def _json_schema(kind: Any) -> Schema:
    """Let msgspec write a schema; an Enum's is inlined."""
    try:
        schema = msgspec.json.schema(kind)
    except (TypeError, ValueError, AttributeError) as error:
        raise AgentError(f"{error}; {_ADVICE}") from error
    for inner in schema.get("$defs", {}).values():
        return dict(inner)
    return schema


def _is(base: Any, parent: type) -> bool:
    return isinstance(base, type) and issubclass(base, parent)


def _type_name(base: Any) -> str:
    return base.__name__ if isinstance(base, type) and not typing.get_args(base) else str(base)


_SECTION: Final = re.compile(
    r"(Args|Arguments|Attributes|Returns|Yields|Raises|Examples?|Notes?):\s*"
)
_ENTRY: Final = re.compile(r"(\*{0,2}\w+)\s*(?:\([^)]*\))?:\s*(.*)")


def split_docstring(doc: str, *sections: str) -> tuple[str, dict[str, str]]:
    """Split a cleaned Google style docstring into its prose and the entries of some sections.

    Raises:
        AgentError: the same name is described twice.
    """
    prose: list[str] = []
    wanted: list[str] = []
    target = prose
    for line in doc.splitlines():
        if line and not line[0].isspace():
            heading = _SECTION.fullmatch(line)
            target = wanted if heading and heading[1] in sections else prose
            if target is wanted:
                continue
        target.append(line)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(prose)).strip()
    return text, _entries([line for line in wanted if line.strip()])


def _entries(lines: list[str]) -> dict[str, str]:
    entries: dict[str, str] = {}
    indents = [len(line) - len(line.lstrip()) for line in lines]
    name = ""
    for line, indent in zip(lines, indents, strict=True):
        entry = _ENTRY.fullmatch(line.strip()) if indent <= min(indents) else None
        if entry is not None:
            name = entry[1].lstrip("*")
            if name in entries:
                raise AgentError(f"the docstring describes {name!r} twice")
            entries[name] = entry[2]
        elif name:
            entries[name] = f"{entries[name]} {line.strip()}"
    return entries
