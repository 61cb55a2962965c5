"""What a tool returned, as text a model can be sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.tool import encode_result


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


everything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("street"), inner),
    max_leaves=8,
)


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
