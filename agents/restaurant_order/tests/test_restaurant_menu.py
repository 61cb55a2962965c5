"""The menu: the facts, what names mean, and what is refused."""

from __future__ import annotations

import tomllib
from datetime import time
from decimal import Decimal
from pathlib import Path

import pytest
from agents.restaurant_order.menu import Dish, Menu
from agents.restaurant_order.shop import SHOP, load_shop
from agents.restaurant_order.tests.support import FOLDER

from voxyray.errors import AgentError, ToolError

MENU = SHOP.menu
FACTS = {
    "mozzarella sticks": "7.75",
    "onion rings": "7.75",
    "popcorn shrimp": "9.95",
    "jalapeno poppers": "8.50",
    "Caesar salad": "9.95",
    "mixed greens salad": "10.95",
    "Cobb salad": "12.95",
    "cheese pizza": "10.95 13.95 16.95",
    "classic pepperoni pizza": "12.95 15.95 19.95",
    "Hawaiian pizza": "12.95 15.95 19.95",
    "Works pizza": "15.95 18.95 23.95",
    "cheese calzone": "11.75",
    "pepperoni calzone": "15.75",
    "veggie stromboli": "13.75",
    "ham calzone": "15.75",
}
TOPPINGS = {
    **dict.fromkeys(("pepperoni", "sausage"), "2.99"),
    **dict.fromkeys(("mushroom", "extra cheese", "onion", "black olives", "green pepper"), "1.99"),
    **dict.fromkeys(("fresh garlic", "fresh basil", "tomato"), "1.99"),
}


def _prices(dish: Dish) -> str:
    return " ".join(str(price) for price in dish.prices.values()) or str(dish.price)


def test_the_menu_is_the_shops() -> None:
    assert {dish.name: _prices(dish) for dish in MENU.dishes} == FACTS
    assert {topping.name: str(topping.price) for topping in MENU.toppings} == TOPPINGS
    assert MENU.dish("Works pizza").contains == (
        *("sausage", "meatball", "pepperoni", "mushroom", "onion", "tomatoes", "peppers"),
    )


def test_prices_are_exact() -> None:
    prices = [price for dish in MENU.dishes for price in (dish.price, *dish.prices.values())]
    assert all(type(price) is Decimal for price in prices if price is not None)
    assert all(type(topping.price) is Decimal for topping in MENU.toppings)


def test_the_model_is_told_the_same() -> None:
    prompt = (FOLDER / "prompt.md").read_text()
    for line in MENU.described().splitlines():
        assert line in prompt
    assert SHOP.hours.spoken_week() in prompt
    assert SHOP.address in prompt
    keypad = tomllib.loads((FOLDER / "agent.toml").read_text())["keypad"]
    assert SHOP.address.rpartition(" ")[0] in keypad["2"]["say"]


def test_hours_are_the_shops() -> None:
    week = [(span.opens, span.closes) if span else None for span in SHOP.hours.week]
    short, long = (time(11), time(21)), (time(11), time(23))
    assert week == [None, short, short, short, long, long, None]


@pytest.mark.parametrize(
    ("said", "dish"),
    [
        ("Hawaiian", "Hawaiian pizza"),
        ("a hawaian pizza", "Hawaiian pizza"),
        ("large pepperoni", "classic pepperoni pizza"),
        ("peperoni piza", "classic pepperoni pizza"),
        ("pepperoni calzone", "pepperoni calzone"),
        ("The Works", "Works pizza"),
        ("caesar", "Caesar salad"),
        ("Caesar Salads", "Caesar salad"),
        ("green salad", "mixed greens salad"),
        ("veggie calzone", "veggie stromboli"),
        ("ham and cheese calzone", "ham calzone"),
        ("jalapeño poppers", "jalapeno poppers"),
        ("mozarella sticks", "mozzarella sticks"),
        ("an order of onion rings", "onion rings"),
        ("small cheese", "cheese pizza"),
    ],
)
def test_names_people_use(said: str, dish: str) -> None:
    assert MENU.find_dish(said).name == dish


@pytest.mark.parametrize(
    ("said", "choices"),
    [
        ("pizza", ["cheese", "classic pepperoni", "Hawaiian", "Works"]),
        ("pepperoni", ["classic pepperoni pizza", "pepperoni calzone", "topping"]),
        ("cheese", ["cheese pizza", "cheese calzone", "topping"]),
        ("salad", ["Caesar", "mixed greens", "Cobb"]),
    ],
)
def test_names_of_several_things_are_asked_about(said: str, choices: list[str]) -> None:
    with pytest.raises(ToolError, match="Which") as refused:
        MENU.find_dish(said)
    assert str(refused.value).endswith("?")
    assert all(choice in str(refused.value) for choice in choices)


@pytest.mark.parametrize(
    ("said", "offered"),
    [
        ("mozzarella balls", "mozzarella sticks"),
        ("wings", "onion rings"),
        ("greek salad", "Our salads are Caesar salad, mixed greens salad and Cobb salad"),
        ("vegan pizza", "Our pizzas are"),
        ("mushrooms", "Would you like a cheese pizza with mushroom"),
        ("sushi", "We have starters, salads, pizzas and calzones"),
        ("", "What would you like"),
        ("'; DROP TABLE", "We don't have"),
        ("x" * 5000, "We don't have"),
    ],
)
def test_what_there_is_not_is_refused_with_the_nearest(said: str, offered: str) -> None:
    with pytest.raises(ToolError) as refused:
        MENU.find_dish(said)
    assert offered in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("said", "topping"),
    [
        ("olives", "black olives"),
        ("Mushrooms", "mushroom"),
        ("cheese", "extra cheese"),
        ("garlic", "fresh garlic"),
        ("bell peppers", "green pepper"),
        ("tomatoes", "tomato"),
    ],
)
def test_toppings_people_name(said: str, topping: str) -> None:
    assert MENU.find_topping(said).name == topping


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("pineapple", "the Hawaiian pizza comes with it"),
        ("basel", "nearest we have is fresh basil"),
        ("anchovies", "Our toppings are pepperoni, sausage"),
    ],
)
def test_toppings_there_are_not(said: str, told: str) -> None:
    with pytest.raises(ToolError, match="as a topping") as refused:
        MENU.find_topping(said)
    assert told in str(refused.value)


def test_every_dish_and_topping_is_found_by_each_of_its_names() -> None:
    for dish in MENU.dishes:
        assert MENU.find_dish(dish.name) == dish
        for alias in dish.aliases:
            assert dish in MENU.candidates(alias), alias
    for topping in MENU.toppings:
        assert all(MENU.find_topping(name) == topping for name in topping.names)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("price = 7.75", "prise = 7.75", "prise"),
        ("price = 7.75", "", "needs a price"),
        ("small = 10.95, ", "", "price for each of"),
        ("closes = 21:00:00", "closes = 10:00:00", "closes at"),
        ("[hours]", "[hours", "line"),
    ],
)
def test_mistakes_in_the_data_name_the_file(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    file = tmp_path / "menu.toml"
    file.write_text((FOLDER / "data/menu.toml").read_text().replace(old, new))
    with pytest.raises(AgentError, match=problem) as refused:
        load_shop(file)
    assert str(file) in str(refused.value)


def test_a_menu_without_anything_near_still_answers() -> None:
    with pytest.raises(ToolError, match="We don't have"):
        Menu(MENU.dishes[:1], MENU.toppings).find_dish("lasagna")
