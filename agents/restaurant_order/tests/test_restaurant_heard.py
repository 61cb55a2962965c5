"""What the offline stand-in hears: items, addresses, pickup or delivery, e-mail addresses."""

from __future__ import annotations

import re

import pytest
from agents.restaurant_order.heard import Wish, listen
from agents.restaurant_order.shop import SHOP
from agents.restaurant_order.whereto import address_in, email_in, type_in, without_address
from hypothesis import given
from hypothesis import strategies as st

THERE = ["Hawaiian pizza", "Caesar salad"]


def _told(wish: Wish) -> str:
    parts = [str(wish.quantity), wish.size or "", "/".join(wish.dishes) or f"?{wish.text}"]
    parts += [f"+{topping}" for topping in wish.toppings]
    parts += [f"-{part}" for part in wish.left_out]
    return " ".join(part for part in parts if part)


@pytest.mark.parametrize(
    ("said", "wishes"),
    [
        ("two large pepperoni with mushrooms and a Caesar salad",
         ["2 large classic pepperoni pizza +mushroom", "1 Caesar salad"]),
        ("No, a large Hawaiian", ["1 large Hawaiian pizza"]),
        ("a large mushroom and onion pizza", ["1 large cheese pizza +mushroom +onion"]),
        ("a medium pepperoni and mushroom pizza", ["1 medium classic pepperoni pizza +mushroom"]),
        ("a large and a small pepperoni",
         ["1 large classic pepperoni pizza", "1 small classic pepperoni pizza"]),
        ("the works, medium, no onions", ["1 medium Works pizza -onions"]),
        ("uh a large um pepperoni", ["1 large classic pepperoni pizza"]),
        ("a pepperoni pizza large with basil", ["1 large classic pepperoni pizza +fresh basil"]),
        ("twenty five onion rings", ["25 onion rings"]),
        ("half a dozen poppers", ["6 jalapeno poppers"]),
        ("a couple of ham calzones", ["2 ham calzone"]),
        ("pepperoni", ["1 classic pepperoni pizza/pepperoni calzone"]),
        ("veggie pizza", ["1 ?veggie pizza"]),
        ("that works for me", []),
        ("change the hawaiian to a cheese pizza", ["1 cheese pizza"]),
        ("", []),
    ],
)  # fmt: skip
def test_items(said: str, wishes: list[str]) -> None:
    assert [_told(wish) for wish in listen(SHOP.menu, said, THERE).wishes] == wishes


def test_what_belongs_to_no_item_is_loose() -> None:
    heard = listen(SHOP.menu, "make that a large")
    assert (heard.size, heard.count, heard.wishes) == ("large", None, [])
    assert listen(SHOP.menu, "make it two").count == 2
    assert listen(SHOP.menu, "add mushrooms and extra cheese").toppings == [
        *("mushroom", "extra cheese"),
    ]
    assert listen(SHOP.menu, "no olives").left_out == ["olives"]
    assert listen(SHOP.menu, "the calzone").kind == "calzone"
    assert listen(SHOP.menu, "a hamburger and a coke").unknown == ["hamburger", "coke"]


def test_what_is_in_the_order_is_spoken_of() -> None:
    assert listen(SHOP.menu, "remove the salad", THERE).targets == ["Caesar salad"]
    heard = listen(SHOP.menu, "put basil on the Hawaiian", THERE)
    assert (heard.targets, heard.toppings) == (["Hawaiian pizza"], ["fresh basil"])


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("12 Main Street", "12 Main Street"),
        ("it's 12 Main Street, apartment 4, please", "12 Main Street, apartment 4"),
        ("deliver it to 500 Market and make it quick", "500 Market"),
        ("twelve main street", "twelve main street"),
        ("twenty one Oak Avenue, San Francisco", "twenty one Oak Avenue, San Francisco"),
        ("my address is 7 Rue Morgue", "7 Rue Morgue"),
        ("two large pepperoni", ""),
        ("I want one", ""),
    ],
)
def test_addresses(said: str, address: str) -> None:
    assert address_in(said) == address


def test_an_address_counts_nothing() -> None:
    left = without_address("a cobb to 12 Main Street")
    assert [wish.quantity for wish in listen(SHOP.menu, left).wishes] == [1]
    assert address_in("1500 Mission", asked=True) == "1500 Mission"
    assert address_in("1500 Mission") == ""


@pytest.mark.parametrize(
    ("said", "way"),
    [
        ("pickup", "pickup"),
        ("I'll pick it up", "pickup"),
        ("can you deliver that", "delivery"),
        ("not delivery, pickup", "pickup"),
        ("pickup, no, delivery", "delivery"),
        ("instead of pickup", "delivery"),
        ("take out", "pickup"),
        ("take out the salad", None),
        ("a large pizza", None),
    ],
)
def test_ways(said: str, way: str | None) -> None:
    assert type_in(said) == way


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        ("it's Ada at example dot com.", "ada@example.com"),
        ("ada dot lovelace at mail dot example dot org", "ada.lovelace@mail.example.org"),
        ("I'm at home", ""),
        ("meet me at noon", ""),
    ],
)
def test_emails(said: str, address: str) -> None:
    assert email_in(said) == address


_WORDS = re.findall(
    r"\w+",
    "a two large small the no with pizza pepperoni cheese onion rings and to on salad one make 5 "
    "remove caesar mushrooms half dozen hundred",
)
_SENTENCES = st.lists(st.sampled_from(_WORDS), max_size=9).map(" ".join)


@given(st.text(max_size=80) | _SENTENCES)
def test_nothing_that_is_said_breaks_it(text: str) -> None:
    heard = listen(SHOP.menu, text, THERE)
    assert all(wish.quantity >= 0 for wish in heard.wishes)
    assert isinstance(address_in(text, asked=True), str)
    assert isinstance(email_in(text), str)
    assert type_in(text) in ("pickup", "delivery", None)
