"""The menu: what there is, what it costs, and what a caller means by a name for it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, TypeAlias, get_args

import msgspec
from rapidfuzz import fuzz

from voxyray.errors import ToolError

from .spoken import dollars, listed

Kind: TypeAlias = Literal["starter", "salad", "pizza", "calzone"]
Size: TypeAlias = Literal["small", "medium", "large"]
SIZES: Final[tuple[Size, ...]] = get_args(Size)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_SAME_WORD: Final = 84.0  # likeness of words that differ by a slip of ear or tongue
_SAME_NAME: Final = 88.0
_NEAR: Final = 75.0
_NEAR_TOPPING: Final = 75.0
_NO_NAME: Final = frozenset(
    re.findall(r"\w+", "a an the of order orders portion portions one please some with and my our")
)


class Dish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to order.

    price, or prices by size. portion: one is `an order of` it. contains: what is on it.
    """

    kind: Kind
    name: str
    price: Decimal | None = None
    prices: dict[Size, Decimal] = {}
    portion: bool = False
    contains: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.price is None) == (not self.prices):
            raise ValueError(f"{self.name} needs a price, or prices by size")
        if self.prices and list(self.prices) != list(SIZES):
            raise ValueError(f"{self.name} needs a price for each of {', '.join(SIZES)}")

    @property
    def sized(self) -> bool:
        """Whether it comes in sizes (and then takes toppings)."""
        return bool(self.prices)

    @property
    def names(self) -> tuple[str, ...]:
        """All the names it goes by."""
        return (self.name, *self.aliases)

    def price_of(self, size: Size | None) -> Decimal:
        """Give its price; size fits, for `order` has checked it."""
        if self.price is not None:
            return self.price
        return self.prices[size or "medium"]

    def spoken_price(self) -> str:
        """Say what it costs, in all its sizes."""
        if self.price is not None:
            return dollars(self.price)
        return listed([f"{dollars(price)} {size}" for size, price in self.prices.items()])

    def spoken_briefly(self) -> str:
        """Say its name and what it costs, of several sizes the first and the last."""
        if self.price is not None:
            return f"{self.name} for {dollars(self.price)}"
        small, *_, large = self.prices.values()
        return f"{self.name} from {dollars(small)} to {dollars(large)}"


class Topping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to add to a pizza."""

    name: str
    price: Decimal
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All the names it goes by."""
        return (self.name, *self.aliases)


class Menu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All there is to order."""

    dishes: tuple[Dish, ...]
    toppings: tuple[Topping, ...]

    def of_kind(self, kind: str) -> tuple[Dish, ...]:
        """Give the dishes of a kind."""
        return tuple(dish for dish in self.dishes if dish.kind == kind)

    def dish(self, name: str) -> Dish:
        """Give the dish of exactly this name."""
        return next(dish for dish in self.dishes if dish.name == name)

    def price_of_topping(self, name: str) -> Decimal:
        """Give the price of the topping of exactly this name."""
        return next(topping.price for topping in self.toppings if topping.name == name)

    def candidates(self, text: str, *, pizza: bool = False) -> list[Dish]:
        """Give the dishes that a name may mean; pizza: it has a size or toppings."""
        said = [word for word in words(text) if word not in SIZES]
        kind = "pizza" if pizza or size_in(text) else _kind_in(said)
        pool = self.of_kind(kind) if kind else self.dishes
        if kind and not [word for word in said if not same_word(word, kind)]:
            return list(pool)
        return _best(said, pool, self.toppings)

    def find_dish(self, text: str, *, pizza: bool = False) -> Dish:
        """Give the one dish that is meant.

        Raises:
            ToolError: none or several are; it says which there are, or the nearest.
        """
        # What is no pizza has no size and no toppings; that is said later, and better.
        found = self.candidates(text, pizza=pizza) or self.candidates(text)
        if len(found) == 1:
            return found[0]
        if found:
            raise ToolError(self._which(found, self._as_topping(text)))
        raise ToolError(self.refusal(text))

    def _which(self, found: Sequence[Dish], topping: list[str]) -> str:
        if len({dish.kind for dish in found}) > 1 or topping:
            names = [*(dish.name for dish in found), *topping]
            return f"Which would that be: {listed(names, 'or')}?"
        names = [dish.name.removesuffix(f" {dish.kind}") for dish in found]
        return f"Which {found[0].kind} would that be: {listed(names, 'or')}?"

    def _as_topping(self, text: str) -> list[str]:
        """Mention the topping that has the same name as dishes."""
        plain = words(text)
        topping = _named(plain, self.toppings)
        return [f"{topping.name} as a topping on a pizza"] if topping else []

    def refusal(self, text: str) -> str:
        """Say that there is no such dish, and what is nearest to it."""
        said = " ".join(text.split())[:60]
        plain = words(text)
        if not plain:
            return "What would you like to order?"
        kind = _kind_in(plain)
        bare = [word for word in plain if not kind or not same_word(word, kind)]
        if topping := _named(bare, self.toppings):
            return (
                f"{topping.name.capitalize()} is a topping for a pizza, not a dish of its own. "
                f"Would you like a cheese pizza with {topping.name}?"
            )
        if kind:
            names = listed([dish.name for dish in self.of_kind(kind)])
            return f"We don't have {said}. Our {kind}s are {names}."
        if near := _nearest(text, self.dishes, _NEAR):
            return f"We don't have {said}. The nearest we have is {near.name}."
        return f"We don't have {said}. We have {listed([f'{each}s' for each in KINDS])}."

    def topping(self, text: str) -> Topping | None:
        """Give the topping that is meant; None if there is none."""
        return _named(words(text), self.toppings)

    def find_topping(self, text: str) -> Topping:
        """Give the topping that is meant.

        Raises:
            ToolError: there is none; it says what has it, or the nearest, or all.
        """
        if topping := self.topping(text):
            return topping
        plain = words(text)
        said = " ".join(text.split())[:60]
        for dish in self.dishes:
            if any(_equal(plain, words(part)) for part in dish.contains):
                raise ToolError(
                    f"We don't have {said} as a topping, but the {dish.name} comes with it."
                )
        near = _nearest(text, self.toppings, _NEAR_TOPPING)
        names = near.name if near else listed([topping.name for topping in self.toppings])
        what = "The nearest we have is" if near else "Our toppings are"
        raise ToolError(f"We don't have {said} as a topping. {what} {names}.")

    def described(self) -> str:
        """Give the whole menu as it stands in the model's instructions."""
        lines = [
            f"{kind.capitalize()}s: {', '.join(map(_priced, self.of_kind(kind)))}."
            for kind in KINDS
        ]
        toppings = ", ".join(f"{topping.name} {topping.price}" for topping in self.toppings)
        return "\n".join([*lines, f"Toppings, for pizzas only: {toppings}."])


def words(text: str) -> list[str]:
    """Give the words that name something: lower case, no accents, no articles."""
    bare = unicodedata.normalize("NFKD", text[:200].casefold())
    plain = "".join(char for char in bare if not unicodedata.combining(char))
    return [word for word in re.findall(r"[^\W_]+", plain) if word not in _NO_NAME]


def size_in(text: str) -> Size | None:
    """Give the one size that is named; None if none or several are."""
    found = [size for size in SIZES if size in words(text)]
    return found[0] if len(found) == 1 else None


def same_word(one: str, other: str) -> bool:
    """Whether two words are the same, plural and a slip of the ear aside."""
    if one.rstrip("s") == other.rstrip("s"):
        return True
    shorter = min(len(one), len(other))
    return shorter >= 4 and fuzz.ratio(one, other) >= (_SAME_WORD if shorter > 4 else _SAME_NAME)


def _equal(said: Sequence[str], name: Sequence[str]) -> bool:
    return len(said) == len(name) and _inside(name, said)


def _inside(name: Sequence[str], said: Sequence[str]) -> bool:
    """Whether all words of a name were said."""
    return bool(name) and all(any(same_word(word, other) for other in said) for word in name)


def _is_all_of(said: Sequence[str], name: Sequence[str], others: Sequence[str]) -> bool:
    """Whether a name was said, and besides it only toppings: no `Caesar wrap` is a salad."""
    known = [*name, *others, *KINDS]
    return _inside(name, said) and _inside(said, known)


def _kind_in(said: Iterable[str]) -> str:
    for word in said:
        for kind in KINDS:
            if same_word(word, kind):
                return kind
        if same_word(word, "appetizer"):
            return "starter"
    return ""


def _best(said: Sequence[str], pool: Sequence[Dish], toppings: Sequence[Topping]) -> list[Dish]:
    """Give the dishes whose name was said, else those whose name is in it, else near ones."""
    if not said:
        return []
    named = [dish for dish in pool if any(_equal(said, words(name)) for name in dish.names)]
    if named:
        return named
    others = [word for topping in toppings for name in topping.names for word in words(name)]
    lengths: dict[str, int] = {}
    for dish in pool:
        inside = [len(words(name)) for name in dish.names if _is_all_of(said, words(name), others)]
        if inside:
            lengths[dish.name] = max(inside)
    if lengths:
        longest = max(lengths.values())
        return [dish for dish in pool if lengths.get(dish.name) == longest]
    joined = _without_kind(said)
    close = {
        dish.name: max(fuzz.ratio(joined, _without_kind(words(name))) for name in dish.names)
        for dish in pool
    }
    best = max(close.values(), default=0.0)
    return [dish for dish in pool if best >= _SAME_NAME and close[dish.name] == best]


def _without_kind(name: Iterable[str]) -> str:
    # `salad` would make a Greek salad nearly a green one; words may be heard as two, or as one.
    return "".join(word for word in name if not _kind_in([word]))


def _named(said: Sequence[str], toppings: Iterable[Topping]) -> Topping | None:
    for topping in toppings:
        if any(_equal(said, words(name)) for name in topping.names):
            return topping
    return None


def _nearest(
    text: str, choices: Sequence[Dish] | Sequence[Topping], cutoff: float
) -> Dish | Topping | None:
    """Give what a name is most like, if it is like anything at all."""
    said = " ".join(words(text))
    scored = [
        (max(fuzz.WRatio(said, name.casefold()) for name in each.names), each) for each in choices
    ]
    best, near = max(scored, key=lambda pair: pair[0])
    return near if best >= cutoff else None


def _priced(dish: Dish) -> str:
    prices: Mapping[Size, Decimal] = dish.prices
    told = ", ".join(f"{size} {price}" for size, price in prices.items()) or str(dish.price)
    contains = f" (with {', '.join(dish.contains)})" if dish.contains else ""
    return f"{dish.name}{contains} {told}"
