"""An order's lines: what may be done to them, and that the total is always exact."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from agents.restaurant_order import order as orders
from agents.restaurant_order.menu import SIZES
from agents.restaurant_order.order import Done, Order
from agents.restaurant_order.shop import SHOP
from hypothesis import given
from hypothesis import strategies as st

from voxyray.errors import ToolError

MENU = SHOP.menu
PIZZAS = [dish.name for dish in MENU.dishes if dish.sized]
OTHERS = [dish.name for dish in MENU.dishes if not dish.sized]
TOPPINGS = [topping.name for topping in MENU.toppings]


def made(*items: dict[str, Any]) -> Order:
    order = Order()
    for item in items:
        order = orders.add(order, MENU, **item).order
    return order


TWO = made(
    {"item": "classic pepperoni pizza", "size": "large", "toppings": ["mushroom"], "quantity": 2},
    {"item": "Caesar salad"},
)


def refusal(change: Callable[[], Done]) -> str:
    with pytest.raises(ToolError) as refused:
        change()
    return str(refused.value)


def test_adding() -> None:
    assert TWO.spoken_lines() == (
        "two large classic pepperoni pizzas with mushroom; one Caesar salad"
    )
    assert TWO.total == Decimal("53.83")
    assert TWO.items == 3


def test_the_same_again_counts_up_and_something_else_does_not() -> None:
    order = orders.add(TWO, MENU, "caesar").order
    assert [line.quantity for line in order.lines] == [2, 2]
    order = orders.add(order, MENU, "caesar", note="no croutons").order
    assert [line.quantity for line in order.lines] == [2, 2, 1]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"item": "cheese pizza"}, "Which size for the cheese pizza"),
        ({"item": "Caesar salad", "size": "large"}, "one size only"),
        ({"item": "ham calzone", "toppings": ["onion"]}, "Toppings go on pizzas only"),
        ({"item": "cheese pizza", "size": "large", "toppings": ["anchovies"]}, "as a topping"),
        ({"item": "cheese pizza", "size": "large", "quantity": 0}, "not 0"),
        ({"item": "cheese pizza", "size": "large", "quantity": 21}, "not 21"),
        ({"item": "cheese pizza", "size": "large", "quantity": -1}, "not -1"),
        ({"item": "onion rings", "note": "x" * 121}, "120 characters"),
        ({"item": "pizza", "size": "large"}, "Which pizza"),
        ({"item": "mushroom"}, "topping"),
        ({"item": "hamburger"}, "ham calzone"),
    ],
)
def test_what_cannot_be_added(given: dict[str, Any], problem: str) -> None:
    assert problem in refusal(lambda: orders.add(TWO, MENU, **given))


def test_sloppy_models_are_understood() -> None:
    line = orders.add(Order(), MENU, "Large Pepperoni Pizza with mushrooms and olives").line
    assert line is not None
    assert (line.name, line.toppings) == (
        "large classic pepperoni pizza",
        ("mushroom", "black olives"),
    )
    line = orders.add(Order(), MENU, "cheese", "small", ["onion", "Onions", "onion, basil"]).line
    assert line is not None
    assert line.toppings == ("onion", "fresh basil")


def test_an_order_has_a_most() -> None:
    order = made(*({"item": item, "quantity": 20} for item in OTHERS[:3]))
    assert "more than we can take" in refusal(lambda: orders.add(order, MENU, "cobb"))
    full = made({"item": "onion rings", "quantity": 20})
    assert "not 21" in refusal(lambda: orders.add(full, MENU, "onion rings"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"size": "small"}, "two small classic pepperoni pizzas with mushroom"),
        ({"quantity": 1}, "one large classic pepperoni pizza with mushroom"),
        ({"remove_toppings": ["mushrooms"]}, "two large classic pepperoni pizzas"),
        ({"add_toppings": ["olives"]}, "two large classic pepperoni pizzas with mushroom and bl"),
        ({"item": "hawaiian"}, "two large Hawaiian pizzas with mushroom"),
        ({"item": "ham calzone"}, "two ham calzones"),
        ({"item": "cobb"}, "two Cobb salads"),
        ({"note": "well done"}, "two large classic pepperoni pizzas with mushroom, well done"),
        ({"remove_toppings": ["cheese"]}, "with mushroom, no cheese"),
        ({"item": "small hawaiian"}, "two small Hawaiian pizzas"),
    ],
)
def test_changing(given: dict[str, Any], told: str) -> None:
    done = orders.change(TWO, MENU, "pepperoni", **given)
    assert done.line is not None
    assert told in done.line.spoken()
    assert done.order.lines[0] == done.line
    assert len(done.order.lines) == 2


@pytest.mark.parametrize(
    ("line", "given", "problem"),
    [
        ("hawaiian", {"size": "small"}, "There is no hawaiian in the order"),
        ("pepperoni", {"size": "large"}, "changes nothing"),
        ("pepperoni", {"remove_toppings": ["olives"]}, "has no olives on it"),
        ("caesar", {"size": "large"}, "one size only"),
        ("caesar", {"add_toppings": ["olives"]}, "Toppings go on pizzas only"),
        ("caesar", {"item": "cheese pizza"}, "Which size"),
        ("caesar", {"quantity": 21}, "not 21"),
        ("", {"quantity": 2}, "There is no"),
    ],
)
def test_what_cannot_be_changed(line: str, given: dict[str, Any], problem: str) -> None:
    assert problem in refusal(lambda: orders.change(TWO, MENU, line, **given))


def test_taking_something_back_on_lifts_the_note() -> None:
    works = made({"item": "the works", "size": "small", "note": "no onion"})
    done = orders.change(works, MENU, "works", add_toppings=["onion"])
    assert done.line is not None
    assert (done.line.note, done.line.toppings) == ("", ("onion",))


def test_lines_that_become_the_same_are_one() -> None:
    order = made({"item": "hawaiian", "size": "small"}, {"item": "hawaiian", "size": "large"})
    done = orders.change(order, MENU, "small hawaiian", size="large")
    assert [line.spoken() for line in done.order.lines] == ["two large Hawaiian pizzas"]


def test_removing() -> None:
    assert orders.remove(TWO, "the Caesar salad").order.lines == TWO.lines[:1]
    less = orders.remove(TWO, "large pepperoni pizza", 1)
    assert less.order.lines[0].quantity == 1
    assert orders.remove(TWO, "pepperoni", 20).order.lines == TWO.lines[1:]
    assert orders.remove(TWO, "everything").order == Order()
    assert "There is no cola" in refusal(lambda: orders.remove(TWO, "cola"))
    assert "nothing in the order" in refusal(lambda: orders.remove(Order(), "everything"))


def test_which_line_is_asked_when_it_could_be_two() -> None:
    order = made({"item": "hawaiian", "size": "small"}, {"item": "hawaiian", "size": "large"})
    asked = refusal(lambda: orders.remove(order, "Hawaiian pizza"))
    assert asked == (
        "Which one would that be: one small Hawaiian pizza or one large Hawaiian pizza?"
    )
    assert orders.remove(order, "the small one").order.items == 1
    plain = made(
        {"item": "hawaiian", "size": "small"},
        {"item": "hawaiian", "size": "small", "toppings": ["onion"]},
    )
    left = orders.remove(plain, "one small Hawaiian pizza").order
    assert left.lines[0].toppings == ("onion",)


@pytest.mark.parametrize(
    "address", ["home", "N/A", "delivery", "the shop", "94105", "unknown", "?"]
)
def test_what_is_no_address(address: str) -> None:
    assert "no address" in refusal(lambda: orders.send_to(TWO, "delivery", address))


def test_where_to() -> None:
    order = orders.send_to(TWO, "delivery").order
    assert order.missing() == orders.ASK_ADDRESS
    order = orders.send_to(order, "delivery", "  12 Main  Street. ").order
    assert (order.type, order.address, order.missing()) == ("delivery", "12 Main Street", "")
    assert orders.send_to(order, "pickup").order.spoken_way() == "for pickup"
    again = orders.send_to(orders.send_to(order, "pickup").order, "delivery").order
    assert again.address == "12 Main Street"


def test_the_summary_says_all_and_what_is_missing() -> None:
    assert orders.summary(TWO).endswith("The total is 53 dollars 83. Is it for pickup or delivery?")
    pickup = orders.send_to(TWO, "pickup").order
    assert orders.summary(pickup).endswith("For pickup. The total is 53 dollars 83.")


# Any sequence of changes costs what the menu says

_QUANTITY = st.integers(1, 4)
_PIZZA = st.fixed_dictionaries(
    {
        "item": st.sampled_from(PIZZAS),
        "size": st.sampled_from(SIZES),
        "toppings": st.lists(st.sampled_from(TOPPINGS), max_size=4),
        "quantity": _QUANTITY,
    }
)
_OTHER = st.fixed_dictionaries({"item": st.sampled_from(OTHERS), "quantity": _QUANTITY})
_ADD = st.tuples(st.just("add"), _PIZZA | _OTHER)
_CHANGE = st.tuples(
    st.just("change"),
    st.fixed_dictionaries(
        {"at": st.integers(0, 9)},
        optional={
            "item": st.sampled_from([*PIZZAS, *OTHERS]),
            "size": st.sampled_from(SIZES),
            "add_toppings": st.lists(st.sampled_from(TOPPINGS), max_size=2),
            "remove_toppings": st.lists(st.sampled_from([*TOPPINGS, "pineapple"]), max_size=2),
            "quantity": _QUANTITY,
        },
    ),
)
_REMOVE = st.tuples(
    st.just("remove"),
    st.fixed_dictionaries({"at": st.integers(0, 9)}, optional={"quantity": _QUANTITY}),
)


def _carry_out(order: Order, what: str, given: dict[str, Any]) -> Order:
    given = dict(given)
    at = given.pop("at", 0)
    try:
        if what == "add":
            return orders.add(order, MENU, **given).order
        line = order.lines[at % len(order.lines)].spoken() if order.lines else "anything"
        if what == "change":
            return orders.change(order, MENU, line, **given).order
        return orders.remove(order, line, **given).order
    except ToolError:
        return order


def _cents(order: Order) -> int:
    """Work out the total from the written facts alone, in whole cents."""
    total = 0
    for line in order.lines:
        dish = next(dish for dish in MENU.dishes if dish.name == line.dish)
        price = dish.prices[line.size] if line.size else dish.price
        extras = [topping.price for topping in MENU.toppings if topping.name in line.toppings]
        assert price is not None
        each = sum(int(str(amount).replace(".", "")) for amount in (price, *extras))
        total += each * line.quantity
    return total


@given(st.lists(_ADD | _ADD | _CHANGE | _REMOVE, max_size=12))
def test_any_sequence_of_changes_gives_the_menus_total(steps: list[tuple[str, Any]]) -> None:
    order = Order()
    for what, given_ in steps:
        order = _carry_out(order, what, given_)
        assert order.total * 100 == _cents(order)
        assert all(line.quantity >= 1 for line in order.lines)
        assert len({msgspec.structs.replace(line, quantity=1) for line in order.lines}) == len(
            order.lines
        )
        stored = msgspec.json.decode(msgspec.json.encode(order))
        assert msgspec.convert(stored, Order) == order
        assert all(type(line["each"]) is str for line in stored["lines"])


@given(st.lists(_PIZZA | _OTHER, max_size=6))
def test_added_and_removed_again_leaves_nothing(items: list[dict[str, Any]]) -> None:
    order = Order()
    expected = 0
    for item in items:
        done = orders.add(order, MENU, **item)
        order = done.order
        dish = MENU.dish(item["item"])
        tops = set(item.get("toppings", ()))
        price = dish.prices[item["size"]] if dish.prices else dish.price
        assert price is not None
        each = price + sum((MENU.price_of_topping(top) for top in tops), Decimal(0))
        expected += int(each * 100) * item["quantity"]
    assert order.total * 100 == expected
    while order.lines:
        order = orders.remove(order, order.lines[-1].spoken()).order
    assert order.total == 0
