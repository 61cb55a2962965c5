"""Arguments: whatever a model wrote is read as what was meant, or refused with all its faults."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.errors import ToolArgumentError
from voxyray.tool import Tool, tool


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
