"""Tools: what is read from a function, what is refused, and how it is run."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NewType

import msgspec
import pytest

from voxyray.caller import Caller
from voxyray.errors import AgentError, ToolArgumentError, ToolError
from voxyray.stores.memory import MemoryStore
from voxyray.tool import CallContext, Tool, by_name, tool


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
        (Line("a", 2), '{"count":2,"extras":[],"itemName":"a"}'),
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
