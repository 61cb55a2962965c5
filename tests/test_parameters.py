"""Tools whose code is elsewhere: tool -> schema -> tool takes, refuses and says the same."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.errors import AgentError, ToolArgumentError
from voxyray.loading import load_folder
from voxyray.parameters import compile_schema
from voxyray.tool import Tool, tool
from voxyray.tool_definitions import DefinedTool, ToolDefinition, build, define

Meta = msgspec.Meta


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Floor(IntEnum):
    FIRST = 1
    SECOND = 2


class Line(msgspec.Struct, rename="camel"):
    item_name: Annotated[str, Meta(min_length=2, max_length=9)]
    count: Annotated[int, Meta(ge=1, le=9)] = 1
    extras: Annotated[list[Size], Meta(max_length=2)] = []


@dataclass
class Visit:
    day: date
    line: Line | None = None
    price: Decimal = Decimal("12.50")
    tags: list[str] = field(default_factory=list)
    length: int = field(init=False, default=3)


TYPES: list[Any] = [
    str,
    int,
    float,
    bool,
    date,
    time,
    datetime,
    Decimal,
    Size,
    Floor,
    Line,
    Visit,
    Literal["a", "b"],
    Literal[1, 2],
    Literal["a", None],
    list[int],
    list[list[date]],
    list[Line],
    str | None,
    Size | None,
    Line | None,
    list[Decimal] | None,
    Annotated[str, "What.", Meta(pattern="^[0-9]+$", min_length=2)],
    Annotated[float, Meta(gt=0, lt=10)],
    Annotated[int, Meta(multiple_of=5)],
    Annotated[datetime, Meta(tz=True)],
    Annotated[time, Meta(tz=False)],
    Annotated[list[str], Meta(min_length=1, max_length=2)],
    Annotated[int | None, Meta(ge=3)],
]
DEFAULTS: list[Any] = [
    (int, 5),
    (int | None, 5),
    (int | None, None),
    (str, ""),
    (str, "abc"),
    (str | None, ""),
    (date, date(2026, 1, 2)),
    (datetime, datetime(2026, 1, 2, 3, 4)),
    (Decimal, Decimal("12.50")),
    (Annotated[int, Meta(ge=1)], 0),
    (Size, Size.SMALL),
    (Size | None, Size.LARGE),
    (Floor, Floor.FIRST),
    (list[date], [date(2026, 1, 2)]),
    (list[str], []),
    (Line, Line("ab", 2)),
    (Line | None, Line("ab")),
    (bool, False),
    (float, 0.5),
]


def takes(*annotations: Any) -> Tool:
    """Make a tool with a parameter of each type; a pair is a type and a default."""

    def taking(**values: Any) -> Any:
        return values

    import inspect

    kinds, parameters = {}, []
    for number, each in enumerate(annotations):
        annotation, default = each if isinstance(each, tuple) else (each, inspect.Parameter.empty)
        kinds[name := f"x{number}"] = annotation
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default))
    taking.__doc__ = "Take them."
    taking.__annotations__ = kinds
    taking.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return tool(effect="write")(taking)


async def nowhere(*_: Any) -> Any:
    raise AssertionError("nothing is run here")


def travelled(one: Tool) -> DefinedTool:
    """Give the tool as it is after its definition was stored as JSON."""
    text = msgspec.json.encode(define(one, "tools"))
    built = build(msgspec.json.decode(text, type=ToolDefinition), nowhere)
    assert isinstance(built, DefinedTool)
    return built


SIGNATURES = st.lists(st.sampled_from([*TYPES, *DEFAULTS]), max_size=4).map(lambda a: takes(*a))
TEXTS = st.sampled_from(
    [
        "",
        "a",
        "b",
        "12",
        "1",
        " 3 ",
        "2026-05-31",
        "14:30",
        "14:30:15.5+02:00",
        "small",
        "large",
        "2026-05-31 14:30",
        "12.50",
        "1e400",
        "NaN",
        "2026-05-31T14:30:00.123Z",
        "true",
        '{"itemName": "ab"}',
        '["a"]',
        "[1,2]",
        "{",
        "\x00�",
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | TEXTS | st.text(max_size=4)
)
LINES = st.fixed_dictionaries(
    {}, optional={"itemName": SCALARS, "count": SCALARS, "extras": SCALARS, "item_name": SCALARS}
)
VISITS = st.fixed_dictionaries(
    {"day": SCALARS}, optional={"line": LINES, "price": SCALARS, "tags": st.lists(SCALARS)}
)
VALUES = SCALARS | LINES | VISITS | st.lists(SCALARS | LINES, max_size=3)
ARGUMENTS = st.dictionaries(st.sampled_from(["x0", "x1", "x2", "x3", "y"]), VALUES, max_size=5)
JSON = ARGUMENTS.map(json.dumps) | st.text(max_size=9)


def outcome(one: Tool, text: str) -> str:
    """Give the canonical arguments, or the refusal."""
    try:
        return one.canonical(one.parse(text))
    except ToolArgumentError as refusal:
        return str(refusal)


@given(SIGNATURES, st.lists(JSON, min_size=1, max_size=8))
def test_a_tool_as_data_takes_and_refuses_the_same_with_the_same_words(
    one: Tool, texts: list[str]
) -> None:
    other = travelled(one)
    assert other.spec == one.spec
    for text in texts:
        assert outcome(other, text) == outcome(one, text)


@given(SIGNATURES, JSON)
def test_what_travels_means_the_same_to_the_code(one: Tool, text: str) -> None:
    other = travelled(one)
    with contextlib.suppress(ToolArgumentError):
        values = other.parse(text)
        sent = json.dumps(other.given(values))
        assert one.canonical(one.parse(sent)) == other.canonical(values)


@pytest.mark.parametrize("annotation", TYPES, ids=str)
@given(VALUES)
def test_every_type_by_itself(annotation: Any, value: Any) -> None:
    one = takes(annotation)
    text = json.dumps({"x0": value})
    assert outcome(travelled(one), text) == outcome(one, text)


@pytest.mark.parametrize("folder", sorted(Path("agents").glob("*/agent.toml")), ids=str)
def test_every_shipped_tool_can_run_elsewhere(folder: Path) -> None:
    for one in load_folder(folder.parent).tools:
        other = travelled(one)
        assert define(other, "tools") == define(one, "tools")
        assert other.spec == one.spec


def test_a_default_is_left_to_the_code() -> None:
    one = takes((Annotated[int, Meta(ge=1)], 0), (int | None, 5), int | None, date)
    other = travelled(one)
    values = other.parse('{"x1": null, "x3": "2026-05-31"}')
    assert values == {"x0": 0, "x1": None, "x2": None, "x3": date(2026, 5, 31)}
    assert other.given(values) == {"x1": None, "x2": None, "x3": "2026-05-31"}


def test_defaults_are_not_shared() -> None:
    other = travelled(takes((list[str], ["a"])))
    other.parse("{}")["x0"].append("b")
    assert other.parse("{}") == {"x0": ["a"]}


TEXT = {"type": "string"}


def parameters(**properties: Any) -> dict[str, Any]:
    required = [name for name, each in properties.items() if "default" not in str(each)]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def nested(depth: int) -> dict[str, Any]:
    return parameters(x=nested(depth - 1) if depth else TEXT)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (None, "parameters: must be an object, not NoneType"),
        ([], "parameters: must be an object, not list"),
        ({}, "parameters.properties: must be an object, not NoneType"),
        ({**parameters(x=TEXT), "required": []}, "required must be"),
        ({**parameters(x=TEXT), "additionalProperties": True}, "additionalProperties false"),
        ({**parameters(x=TEXT), "type": "array"}, "must have type object"),
        ({**parameters(), "$defs": {}}, "'$defs' is nothing we know"),
        (parameters(x=3), "parameters.x: must be an object, not int"),
        (parameters(x={"type": "str"}), "parameters.x: no type that a model can be asked for"),
        (parameters(x={"type": {}}), "parameters.x: no type"),
        (parameters(x={"type": "string", "format": "email"}), "'email'"),
        (parameters(x={"type": "string", "format": []}), "parameters.x: no type"),
        (parameters(x={"$ref": "#"}), "parameters.x: no type"),
        (parameters(x={"type": "string", "minimum": 3}), "parameters.x: Can only set `ge`"),
        (parameters(x={"type": "string", "const": "a"}), "'const' is nothing we know"),
        (parameters(x={"type": "string", "pattern": "("}), "parameters.x: "),
        (parameters(x={"type": "string", "pattern": 3}), "parameters.x: "),
        (parameters(x={"type": "string", "minLength": -1}), "parameters.x: "),
        (parameters(x={"type": ["string", "integer"]}), "type must be one type, or one and null"),
        (parameters(x={"type": ["null", "null"]}), "type must be one type"),
        (parameters(x={"type": []}), "type must be one type"),
        (parameters(x={"anyOf": [TEXT, {"type": "null"}]}), "parameters.x.properties: "),
        (parameters(x={"anyOf": [TEXT]}), "anyOf must be an object's schema and null"),
        (parameters(x={"type": "array"}), "parameters.x[]: must be an object"),
        (parameters(x={"type": "array", "items": TEXT, "uniqueItems": True}), "'uniqueItems'"),
        (parameters(x={"type": "string", "enum": []}), "enum must be a list"),
        (parameters(x={"type": "string", "enum": "ab"}), "enum must be a list"),
        (parameters(x={"type": "number", "enum": [1.5]}), "enum may hold texts and whole numbers"),
        (parameters(x={"type": "boolean", "enum": [True]}), "enum may hold"),
        (parameters(x={"type": "integer", "enum": ["a"]}), "type must be 'string' there"),
        (nested(99), "nested more than 20 deep"),
    ],
)
def test_what_we_do_not_make_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(AgentError) as caught:
        compile_schema(schema)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_whatever_is_no_schema_is_an_agent_error(schema: Any) -> None:
    for each in (schema, parameters(x=schema if isinstance(schema, dict) else {})):
        with contextlib.suppress(AgentError):
            compile_schema(each)


GOOD = ToolDefinition(
    name="book", description="Book.", effect="write", parameters=parameters(x=TEXT), function="f"
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "no spaces"}, "tool no spaces: its name"),
        ({"effect": "explode"}, "effect must be"),
        ({"timeout_s": 0}, "timeout_s must be"),
        ({"timeout_s": float("inf")}, "timeout_s must be"),
        ({"farewell": "Bye"}, "only a tool with effect"),
        ({"filler": "Let me see {y}"}, "placeholder {y}"),
        ({"filler": "{"}, "its filler cannot be read"),
        ({"description": ""}, "it has no description"),
        ({"function": ""}, "it names no function"),
        ({"parameters": {}}, "tool book: parameters.properties"),
    ],
)
def test_a_definition_that_cannot_work_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(AgentError) as caught:
        build(msgspec.structs.replace(GOOD, **change), nowhere)
    assert said in str(caught.value)
