"""Tools: schemas out of signatures, arguments out of whatever a model wrote, results as text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NewType
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.caller import Caller
from voxyray.errors import AgentError, ToolArgumentError, ToolError
from voxyray.frames import Language, Play, SendDigits
from voxyray.stores.memory import MemoryStore
from voxyray.tool import CallContext, Tool, by_name, encode_result, tool


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Floor(IntEnum):
    FIRST = 1
    SECOND = 2


class Line(msgspec.Struct, rename="camel"):
    """One line of an order.

    Attributes:
        item_name: What it is,
            from the menu.
    """

    item_name: str
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    extras: list[str] = []


@dataclass
class Address:
    street: str
    postcode: str | None = None

    def __post_init__(self) -> None:
        if self.street == "nowhere":
            raise KeyError("nobody lives there")


class Loop(msgspec.Struct):
    again: list[Loop]


Street = NewType("Street", str)


def call_context(store: MemoryStore | None = None) -> CallContext:
    return CallContext("CA1", "shop", 3, store or MemoryStore(), key="K", clock=lambda: 0.0)


def takes(annotation: Any, **options: Any) -> Tool:
    """Make a tool with one parameter `x` of a type."""

    async def taking(x: Any) -> Any:
        """Take it."""
        return x

    taking.__annotations__ = {"x": annotation}
    taking.__kwdefaults__ = None
    if "default" in options:
        taking.__defaults__ = (options["default"],)
    return tool(effect="read")(taking)


def read(annotation: Any, value: Any, **options: Any) -> Any:
    return takes(annotation, **options).parse(json.dumps({"x": value}))["x"]


def refuse(annotation: Any, value: Any) -> str:
    with pytest.raises(ToolArgumentError) as caught:
        read(annotation, value)
    return str(caught.value)


# What a tool is.


@tool(effect="write", timeout_s=3, filler="Looking at {day} ...")
async def book(
    day: date,
    party: int = 2,
    note: str | None = None,
    *,
    caller: Caller,
    call: CallContext | None,
) -> str:
    """Book a table.

    Only for the evening.

    Args:
        day: The day of
            the visit.
        party (int): How many people come
        caller: Not for the model.
    """
    assert call is not None
    return f"{day} {party} {note} {caller.first_name} {call.key}"


def test_a_tool_is_read_from_its_function() -> None:
    assert isinstance(book, Tool)
    assert (book.name, book.effect, book.timeout_s) == ("book", "write", 3)
    assert book.description == "Book a table.\n\nOnly for the evening."
    assert (book.filler, book.farewell) == ("Looking at {day} ...", None)
    assert book.spec.name == "book"
    assert book.spec.description == book.description
    assert book.spec.parameters == {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date", "description": "The day of the visit."},
            "party": {
                "type": ["integer", "null"],
                "description": "How many people come. Default: 2.",
            },
            "note": {"type": ["string", "null"]},
        },
        "required": ["day", "party", "note"],
        "additionalProperties": False,
    }


def test_a_bare_decorator_makes_a_tool_that_reads() -> None:
    @tool
    def hours() -> str:
        """Tell the opening hours."""
        return "nine to five"

    assert hours.effect == "read"
    assert hours() == "nine to five"
    assert hours.spec.parameters["properties"] == {}


def test_options_are_kept() -> None:
    @tool(effect="end", name="hang-up", farewell="Goodbye!")
    def finish() -> None:
        """End the call."""

    assert (finish.name, finish.farewell, finish.effect) == ("hang-up", "Goodbye!", "end")
    with pytest.raises(AttributeError):
        finish.name = "other"  # type: ignore[misc]


async def test_it_is_still_the_function() -> None:
    words = await book(date(2026, 5, 1), caller=Caller(first_name="Ada"), call=call_context())
    assert words == "2026-05-01 2 None Ada K"


def test_names_must_be_unique_in_an_agent() -> None:
    assert by_name([book]) == {"book": book}
    with pytest.raises(AgentError, match="two tools are named 'book'"):
        by_name([book, book])
    with pytest.raises(AgentError, match="decorate it"):
        by_name([len])  # type: ignore[list-item]


# Schemas.


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (date, {"type": "string", "format": "date"}),
        (time, {"type": "string", "description": "A time such as 14:30."}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal[1, 2], {"type": "integer", "enum": [1, 2]}),
        (Literal["a", None], {"type": ["string", "null"], "enum": ["a", None]}),
        (Size, {"type": "string", "enum": ["large", "small"]}),
        (Floor, {"type": "integer", "enum": [1, 2]}),
        (Street, {"type": "string"}),
        (str | None, {"type": ["string", "null"]}),
        (Size | None, {"type": ["string", "null"], "enum": ["large", "small", None]}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (list[int] | None, {"type": ["array", "null"], "items": {"type": "integer"}}),
        (
            Annotated[list[int], msgspec.Meta(min_length=1, max_length=3), "Some."],
            {
                "type": "array",
                "items": {"type": "integer"},
                "minItems": 1,
                "maxItems": 3,
                "description": "Some.",
            },
        ),
        (Annotated[str, "The name."], {"type": "string", "description": "The name."}),
        (Annotated[str, "A."] | None, {"type": ["string", "null"], "description": "A."}),
        (
            Annotated[int | None, msgspec.Meta(ge=0, description="Many.")],
            {"type": ["integer", "null"], "minimum": 0, "description": "Many."},
        ),
        (Annotated[str, msgspec.Meta(pattern="^a")], {"type": "string", "pattern": "^a"}),
        (
            Annotated[str, msgspec.Meta(max_length=5)],
            {"type": "string", "description": "Text, at most 5 characters."},
        ),
    ],
)
def test_schemas_of_types(annotation: Any, schema: dict[str, Any]) -> None:
    assert takes(annotation).spec.parameters["properties"]["x"] == schema


def test_structs_are_inlined_and_described() -> None:
    schema = takes(list[Line]).spec.parameters["properties"]["x"]["items"]
    assert schema == {
        "type": "object",
        "properties": {
            "itemName": {"type": "string", "description": "What it is, from the menu."},
            "count": {
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": 9,
                "description": "Default: 1.",
            },
            "extras": {"type": ["array", "null"], "items": {"type": "string"}},
        },
        "required": ["itemName", "count", "extras"],
        "additionalProperties": False,
    }


def test_an_optional_object_is_one_of_two() -> None:
    schema = takes(Annotated[Address | None, "Where to."]).spec.parameters["properties"]["x"]
    assert schema["description"] == "Where to."
    assert [each["type"] for each in schema["anyOf"]] == ["object", "null"]


def strict(schema: dict[str, Any]) -> None:
    """Hold a schema to the rules of OpenAI's strict mode."""
    allowed = (
        "type enum description properties required additionalProperties items anyOf format pattern "
        "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minItems maxItems"
    )
    assert set(schema) <= set(allowed.split())
    assert schema.get("format", "date") == "date"
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
    for inner in (
        *schema.get("properties", {}).values(),
        *schema.get("anyOf", ()),
        *([schema["items"]] if "items" in schema else ()),
    ):
        assert "type" in inner or "anyOf" in inner
        strict(inner)


def test_schemas_keep_to_what_strict_mode_accepts() -> None:
    class Order(msgspec.Struct):
        lines: Annotated[list[Line], msgspec.Meta(min_length=1)]
        where: Address | None = None
        price: Decimal = Decimal("1.50")
        at: datetime | None = None

    for each in (book, takes(Order), takes(Order | None), takes(list[Order | None])):
        strict(each.spec.parameters)


def test_types_defined_in_a_function_are_found() -> None:
    class Kind(Enum):
        A = "a"

    @tool
    def one(kind: Kind) -> str:
        """Look."""
        return kind.value

    @tool(effect="read")
    def two(kind: Kind | None = None) -> str:
        """Look."""
        return str(kind)

    assert one.parse('{"kind": "a"}') == {"kind": Kind.A} == two.parse('{"kind": "a"}')


# Definitions that cannot be used.


def test_a_tool_needs_a_docstring() -> None:
    with pytest.raises(AgentError, match=r"silent.*docstring"):

        @tool
        def silent() -> None: ...

    with pytest.raises(AgentError, match="docstring"):

        @tool
        def nearly_silent(day: str) -> None:
            """
            Args:
                day: The day.
            """


def test_every_parameter_needs_an_annotation() -> None:
    with pytest.raises(AgentError, match=r"vague.*'day'.*day: str"):

        @tool
        def vague(day) -> None:  # type: ignore[no-untyped-def]
            """Do something."""


def test_open_ended_parameters_are_refused() -> None:
    with pytest.raises(AgentError, match=r"\*days"):

        @tool
        def many(*days: str) -> None:
            """Do something."""

    with pytest.raises(AgentError, match=r"\*\*options"):

        @tool
        def any_of(**options: str) -> None:
            """Do something."""

    with pytest.raises(AgentError, match="'day' is positional only"):

        @tool
        def by_place(day: str, /) -> None:
            """Do something."""


@pytest.mark.parametrize(
    "annotation",
    [
        Any,
        object,
        dict,
        dict[str, int],
        list,
        set[int],
        tuple[int, int],
        bytes,
        int | str,
        int | str | None,
        None,
        timedelta,
        Callable[[], int],
        list[Any],
        Loop,
        Loop | None,
        Annotated[str, msgspec.Meta(ge=1)],
        Literal["a", 1.5],
        Enum("Mixed", {"A": "a", "B": object()}),
        type("Thing", (), {}),
    ],
)
def test_types_a_model_cannot_be_asked_for(annotation: Any) -> None:
    with pytest.raises(AgentError, match="taking: 'x'"):
        takes(annotation)


def test_a_wrong_field_is_pointed_at() -> None:
    @dataclass
    class Basket:
        things: dict[str, int]

    with pytest.raises(AgentError, match="'x': Basket: 'things': a model cannot be asked for dict"):
        takes(Basket | None)


def test_annotations_that_cannot_be_resolved() -> None:
    with pytest.raises(AgentError, match=r"lost.*Missing"):

        @tool
        def lost(day: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821
            """Do something."""


def test_a_default_of_none_needs_a_type_that_takes_it() -> None:
    with pytest.raises(AgentError, match=r"'day' defaults to None.*\| None"):

        @tool
        def sloppy(day: str = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
            """Do something."""


def test_a_default_must_be_tellable() -> None:
    with pytest.raises(AgentError, match="default cannot be shown"):
        takes(str, default=object())


def test_a_docstring_must_fit_the_signature() -> None:
    with pytest.raises(AgentError, match="'dya', which is no parameter"):

        @tool
        def misspelt(day: str) -> None:
            """Do something.

            Args:
                dya: The day.
            """

    with pytest.raises(AgentError, match="'day' twice"):

        @tool
        def doubled(day: str) -> None:
            """Do something.

            Args:
                day: The day.
                day: The day.
            """


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "effect must be"),
        ({"effect": "delete"}, "not 'delete'"),
        ({"effect": "read", "name": ""}, "name ''"),
        ({"effect": "read", "name": "two words"}, "name"),
        ({"effect": "read", "name": "x" * 65}, "name"),
        ({"effect": "read", "name": "caf\u00e9"}, "name"),
        ({"effect": "read", "timeout_s": 0}, "timeout_s"),
        ({"effect": "read", "timeout_s": float("inf")}, "timeout_s"),
        ({"effect": "read", "timeout_s": float("nan")}, "timeout_s"),
        ({"effect": "write", "farewell": "Bye"}, "farewell"),
        ({"effect": "read", "filler": "Looking at {date}"}, "{date}.*there are day"),
        ({"effect": "read", "filler": "Looking at {day.__class__}"}, "no argument"),
        ({"effect": "read", "filler": "Looking at {day!r}"}, "no argument"),
        ({"effect": "read", "filler": "Looking at {day:>999}"}, "no argument"),
        ({"effect": "read", "filler": "Looking at {}"}, "no argument"),
        ({"effect": "read", "filler": "Looking at {day"}, "cannot be read"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], said: str) -> None:
    def look(day: str) -> None:
        """Look."""

    with pytest.raises(AgentError, match=f"look: .*{said}"):
        tool(**options)(look)


def test_an_effect_is_given_by_name() -> None:
    with pytest.raises(AgentError, match="effect='write'"):
        tool("write")  # type: ignore[call-overload]


def test_a_generator_is_no_tool() -> None:
    with pytest.raises(AgentError, match="return a list"):

        @tool
        def pieces() -> Iterator[str]:
            """Give pieces."""
            yield ""


# Arguments: what is read.


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 3, 3),
        (int, "3", 3),
        (int, " 3 ", 3),
        (int, 3.0, 3),
        (float, "2.5", 2.5),
        (float, 2, 2.0),
        (bool, "true", True),
        (bool, 0, False),
        (str, 8005550100, "8005550100"),
        (str, "", ""),
        (str, "a\x00b\ud800", "a b\ufffd"),
        (Decimal, 12.5, Decimal("12.5")),
        (Decimal, "12.50", Decimal("12.50")),
        (date, "2026-05-31", date(2026, 5, 31)),
        (time, "14:30", time(14, 30)),
        (time, "14:30:15", time(14, 30, 15)),
        (datetime, "2026-05-31 14:30", datetime(2026, 5, 31, 14, 30)),
        (datetime, "2026-05-31T14:30:00Z", datetime(2026, 5, 31, 14, 30, tzinfo=UTC)),
        (Literal[1, 2], "2", 2),
        (Size, "small", Size.SMALL),
        (Floor, "2", Floor.SECOND),
        (Size | None, None, None),
        (Size | None, "", None),
        (int | None, "", None),
        (list[int], ["1", 2], [1, 2]),
        (list[int], "[1, 2]", [1, 2]),
        (Address, {"street": "a"}, Address("a")),
        (Address, {"street": "a", "postcode": ""}, Address("a")),
        (Address, '{"street": "a"}', Address("a")),
        (Line, {"itemName": "a", "count": None, "extras": None}, Line("a")),
        (Address | None, {"street": 1}, Address("1")),
    ],
)
def test_values_are_read(annotation: Any, value: Any, expected: Any) -> None:
    result = read(annotation, value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "three"),
        (int, ""),
        (int, 3.5),
        (int, True),
        (int, None),
        (int, 2**63),
        (int, "9" * 5000),
        (int, [3]),
        (float, "nan"),
        (float, "-inf"),
        (float, "1e999"),
        (float, True),
        (bool, "perhaps"),
        (bool, 2),
        (str, 1.5),
        (str, True),
        (str, None),
        (str, ["a"]),
        (str, {}),
        (Decimal, "NaN"),
        (Decimal, "sNaN"),
        (Decimal, "1e999999"),
        (Decimal, "9" * 29),
        (Decimal, "ten"),
        (date, "tomorrow"),
        (date, "2026-02-30"),
        (date, 20260531),
        (time, "25:00"),
        (time, "noon"),
        (time, 12),
        (datetime, 1750000000),
        (datetime, "1750000000"),
        (datetime, "2026-05-31"),
        (Literal["a", "b"], "c"),
        (Size, "huge"),
        (Annotated[int, msgspec.Meta(ge=1)], 0),
        (Annotated[str, msgspec.Meta(pattern="^a$")], "b"),
        (Annotated[str, msgspec.Meta(max_length=2)], "abc"),
        (Annotated[list[int], msgspec.Meta(max_length=2)], [1, 2, 3]),
        (list[int], 5),
        (list[int], "one"),
        (list[int], {"0": 1}),
        (list[int], None),
        (Address, "somewhere"),
        (Address, []),
        (Address, {"street": "nowhere"}),
    ],
)
def test_wrong_values_are_named_with_what_was_expected(annotation: Any, value: Any) -> None:
    message = refuse(annotation, value)
    assert message.startswith("taking did not run. x")
    assert len(message) < 500
    assert "expected" in message or "nobody lives there" in message


def test_no_arguments_may_be_written_in_many_ways() -> None:
    for nothing in ("", "  \n", "{}", "null"):
        assert takes(int, default=5).parse(nothing) == {"x": 5}


def test_an_absent_option_is_its_default() -> None:
    for text in ("{}", '{"x": null}', '{"x": ""}'):
        assert takes(int, default=5).parse(text) == {"x": 5}
        assert takes(int | None, default=None).parse(text) == {"x": None}
        assert takes(str | None).parse(text) == {"x": None}
    assert takes(int | None, default=5).parse('{"x": null}') == {"x": None}


def test_a_default_is_not_shared_between_runs() -> None:
    each = takes(list[int], default=[1])
    each.parse("{}")["x"].append(2)
    assert each.parse("{}") == {"x": [1]}


def test_every_problem_is_named_at_once() -> None:
    @tool
    def order(lines: list[Line], day: date, party: int, size: Size | None = None) -> None:
        """Order."""

    with pytest.raises(ToolArgumentError) as caught:
        order.parse(
            '{"lines": [{"itemname": "a", "count": 99}, 4], "dya": "2026-05-01",'
            ' "party": "many", "size": "huge", "zzz": 1}'
        )
    assert str(caught.value) == (
        "order did not run. "
        "lines[0].itemName: missing, expected text; "
        "lines[0].count: expected a whole number, at least 1, at most 9, got 99; "
        "lines[0].itemname: unknown argument, did you mean 'itemName'?; "
        "lines[1]: expected an object, got 4; "
        "day: missing, expected a date such as 2026-05-31; "
        'party: expected a whole number, got "many"; '
        'size: expected one of large, small, got "huge"; '
        "dya: unknown argument, did you mean 'day'?; "
        "zzz: unknown argument. Correct this and call it again."
    )


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        '{"x": 1',
        '{"x": NaN}',
        '{"x": Infinity}',
        '{"x": 1, "x": 2}',
        '{"x": 1} {"x": 2}',
        "[]",
        "5",
        '"x"',
        "true",
        "[" * 60_000,
        '{"x":' * 10_000,
        '{"x": ' + "[" * 20_000 + "]" * 20_000 + "}",
        '{"x": ' + "9" * 10_000 + "}",
        '{"x": 1e999}',
        '{"x": "' + "a" * 100_000 + '"}',
        "\ud800",
        '{"\ud800": 1}',
        '{"\\ud800": 1, "x": 1}',
        '{"' + "k" * 60_000 + '": 1, "x": 1}',
        "{" + ",".join(f'"k{n}": 1' for n in range(5000)) + "}",
        "\ufeff{}",
        "\x00",
    ],
)
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(ToolArgumentError) as caught:
        takes(int).parse(text)
    assert len(str(caught.value)) < 6000
    assert str(caught.value).encode()


def test_the_same_argument_twice_with_one_meaning_is_fine() -> None:
    assert takes(int).parse('{"x": 1, "x": 1}') == {"x": 1}


def test_arguments_encoded_twice_are_read() -> None:
    assert takes(int).parse(json.dumps('{"x": 1}')) == {"x": 1}


class Trap(Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> Trap:
        raise RuntimeError("no such thing")


def test_types_that_raise_are_only_wrong_values() -> None:
    assert "expected one of a" in refuse(Trap, "b")


everything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("street"), inner),
    max_leaves=8,
)
kinds = st.sampled_from(
    [str, int, float, bool, date, time, datetime, Decimal, Size, Address, Line, list[Line], Trap]
)


@given(kinds, everything)
def test_any_value_is_read_or_refused(kind: Any, value: Any) -> None:
    each = takes(kind | None)
    try:
        values = each.parse(json.dumps({"x": value}))
    except ToolArgumentError:
        return
    assert json.loads(each.canonical(values)).keys() == {"x"}


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ToolArgumentError):
        assert takes(int).parse(text) is not None


# Keys.


def test_equal_meaning_is_one_key() -> None:
    @tool
    def pay(amount: Decimal, at: datetime, share: float, note: str = "", n: int = 1) -> None:
        """Pay."""

    texts = [
        '{"amount": "1.50", "at": "2026-05-31T14:30:00Z", "share": 1}',
        '{"at": "2026-05-31T16:30+02:00", "share": "1.0", "amount": 1.5, "note": "", "n": null}',
        '{"n": "1", "share": 1.0, "amount": "1.5", "at": "2026-05-31 14:30:00+00:00"}',
    ]
    assert len({pay.canonical(pay.parse(text)) for text in texts}) == 1
    other = pay.parse('{"n": 2, "share": 1.0, "amount": "1.5", "at": "2026-05-31 14:30:00Z"}')
    assert pay.canonical(other) != pay.canonical(pay.parse(texts[0]))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("-0.00"), '"0"'),
        (-0.0, "0.0"),
        (Size.SMALL, '"small"'),
        (Line("a", 2), '{"count":2,"extras":[],"item_name":"a"}'),
        (Address("a"), '{"postcode":null,"street":"a"}'),
        (
            datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
            '"0001-01-01T00:00:00+14:00"',
        ),
    ],
)
def test_canonical_texts(value: Any, text: str) -> None:
    assert book.canonical({"x": value}) == f'{{"x":{text}}}'


def test_fillers_name_the_arguments() -> None:
    assert book.filler_text(book.parse('{"day": "2026-05-01"}')) == "Looking at 2026-05-01 ..."
    assert takes(str).filler_text({"x": "a"}) is None

    @tool(effect="read", filler="{{}} {name} {size}")
    def look(name: str | None, size: Size) -> None:
        """Look."""

    values = look.parse('{"size": "small", "name": null}')
    assert look.filler_text(values) == "{}  small"
    assert look.filler_text({"name": "{size}\x00", "size": Size.LARGE}) == "{} {size}  large"


# Running.


async def test_what_is_handed_in() -> None:
    values = book.parse('{"day": "2026-05-01", "note": "window"}')
    assert (
        await book.run(values, Caller(first_name="Ada"), call_context())
        == "2026-05-01 2 window Ada K"
    )


async def test_a_caller_or_none_is_handed_in_too() -> None:
    @tool
    def who(caller: Caller | None, call: Annotated[CallContext, "the call"]) -> str:
        """Tell who calls."""
        assert caller is not None
        return caller.first_name + call.id

    assert who.spec.parameters["properties"] == {}
    assert await who.run({}, Caller(first_name="Ada"), call_context()) == "AdaCA1"


async def test_a_model_cannot_write_what_is_handed_in() -> None:
    with pytest.raises(ToolArgumentError, match="caller: unknown argument"):
        book.parse('{"day": "2026-05-01", "caller": {"first_name": "Eve"}}')


async def test_a_plain_function_cannot_block_the_loop() -> None:
    reached, go_on = threading.Event(), threading.Event()

    @tool
    def slow() -> int:
        """Wait until the loop says so."""
        reached.set()
        assert go_on.wait(10)
        return threading.get_ident()

    running = asyncio.create_task(slow.run({}, Caller(), call_context()))
    assert await asyncio.to_thread(reached.wait, 10)
    go_on.set()
    assert await running != threading.get_ident()


async def test_a_plain_function_that_gives_an_awaitable_is_awaited() -> None:
    async def later() -> str:
        return "later"

    @tool
    def soon() -> Awaitable[str]:
        """Answer later."""
        return later()

    assert await soon.run({}, Caller(), call_context()) == "later"


async def test_failures_come_out() -> None:
    @tool
    async def fail() -> None:
        """Fail."""
        raise ToolError("no table is free")

    @tool
    def exhausted() -> None:
        """Ask an empty iterator."""
        next(iter(()))

    with pytest.raises(ToolError, match="no table"):
        await fail.run({}, Caller(), call_context())
    # A future cannot hold StopIteration: unguarded, the caller would hear nothing for ever.
    with pytest.raises(RuntimeError, match="iterator"):
        await asyncio.wait_for(exhausted.run({}, Caller(), call_context()), 5)


# What a tool may have the call do.


def test_actions_are_recorded_in_order() -> None:
    call = call_context()
    call.play("https://example.com/hold.mp3", loop=0)
    call.send_digits("12w#")
    call.switch_language("es-ES")
    call.switch_language("es-ES", transcription="multi")
    assert call.actions == [
        Play("https://example.com/hold.mp3", loop=0),
        SendDigits("12w#"),
        Language("es-ES", "es-ES"),
        Language("es-ES", "multi"),
    ]


@pytest.mark.parametrize(
    "act",
    [
        lambda call: call.play("hold.mp3"),
        lambda call: call.play(None),
        lambda call: call.play("https://example.com/a.mp3", loop=-1),
        lambda call: call.play("https://example.com/a.mp3", loop="often"),
        lambda call: call.send_digits(""),
        lambda call: call.send_digits("12a"),
        lambda call: call.send_digits(12),
        lambda call: call.switch_language("Spanish, please"),
        lambda call: call.switch_language(""),
        lambda call: call.switch_language(None),
        lambda call: call.switch_language("es", transcription=""),
    ],
)
def test_actions_the_carrier_would_refuse_are_told_to_the_model(
    act: Callable[[CallContext], None],
) -> None:
    call = call_context()
    with pytest.raises(ToolError):
        act(call)
    assert call.actions == []


def test_the_time_is_that_of_the_agent() -> None:
    call = CallContext(
        "CA1", "shop", 0, MemoryStore(), zone=ZoneInfo("America/New_York"), clock=lambda: 0.0
    )
    assert call.now().isoformat() == "1969-12-31T19:00:00-05:00"
    assert call_context().now() == datetime(1970, 1, 1, tzinfo=UTC)


# Results.


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class Voice(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no")


cycle: list[Any] = []
cycle.append(cycle)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (None, "done"),
        (True, "true"),
        (5, "5"),
        (2**200, str(2**200)),
        (float("nan"), "null"),
        (Decimal("1.50"), '"1.50"'),
        (date(2026, 5, 31), '"2026-05-31"'),
        (Size.SMALL, '"small"'),
        ([Line("a")], '[{"itemName":"a","count":1,"extras":[]}]'),
        (Address("a"), '{"street":"a","postcode":null}'),
        ({"a": (1, None)}, '{"a":[1,null]}'),
        ("a\x00b\x1bc\ud800\n", "a b c\ufffd\n"),
        ({"a": "\ud800"}, '{"a": "\ufffd"}'),
        (Voice("hello"), "hello"),
    ],
)
def test_results_as_text(value: Any, text: str) -> None:
    assert encode_result(value) == text


@pytest.mark.parametrize(
    "value", [object(), Broken(), {"a": Broken()}, cycle, {(1, 2): 3}, lambda: 1, ValueError("x")]
)
def test_results_that_cannot_be_told_are_said_to_be_so(value: Any) -> None:
    assert "cannot be put into words" in encode_result(value)


def test_a_long_result_is_cut_with_a_note() -> None:
    text = encode_result("x" * 10_000, limit=200)
    assert len(text) == 200
    assert text.endswith("xx [cut: the first part of 10000 characters]")
    assert len(encode_result(["y" * 9000])) == 8000
    assert encode_result("long", limit=0) == ""


@given(everything | st.binary() | st.sets(st.integers()))
def test_any_result_is_text_that_can_be_sent(value: Any) -> None:
    text = encode_result(value, limit=100)
    assert len(text) <= 100
    text.encode()
    assert not any(character < " " and character not in "\t\n" for character in text)
