"""What of the menu a caller names, and how: items, sizes, toppings, numbers, addresses.

For the offline stand-in only; a language model reads this off the caller's words by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from voxyray.models.offline import normal, number, numbers
from voxyray.models.offline.words import vocabulary

from .menu import KINDS, Kind, Menu, Size, same_word

PartKind: TypeAlias = Literal["name", "kind", "size", "count", "with", "without", "target", "word"]

_SIZES: Final[dict[str, Size]] = {
    "small": "small",
    "smaller": "small",
    "little": "small",
    "personal": "small",
    "medium": "medium",
    "regular": "medium",
    "large": "large",
    "larger": "large",
    "big": "large",
    "bigger": "large",
    "biggest": "large",
    "huge": "large",
}
_COUNT_WORDS: Final = {"a": 1, "an": 1, "another": 1, "couple": 2, "pair": 2, "dozen": 12}
_WITH: Final = frozenset({"with", "plus", "extra", "add", "adding", "topped", "put"})
_WITHOUT: Final = frozenset({"without", "minus", "hold", "skip", "no", "not"})
_NO_COUNT: Final = frozenset({"that", "this", "the", "which", "large", "small", "medium", "no"})
_TARGETING: Final = re.compile(
    r"\b(?:to|on|onto|from|off|for|instead of|change|make|turn|swap|switch|replace|remove|cancel|"
    r"delete|drop|forget|scratch|lose|skip|take off|take out|not want|not need) "
    r"(?:the|my|that|those|both|all the|one|two)(?: of (?:the|my))? ?$"
)
_ANSWER: Final = re.compile(r"^\W*(?:no|yes|yeah|nope|okay|ok)\s*[,.!]", re.IGNORECASE)
_KINDS: Final[dict[str, Kind]] = {
    **{kind: kind for kind in KINDS},
    **{f"{kind}s": kind for kind in KINDS},
    "appetizer": "starter",
    "appetizers": "starter",
    "pie": "pizza",
    "pies": "pizza",
    "pizzas": "pizza",
    "piza": "pizza",
    "pitza": "pizza",
    "calzoni": "calzone",
}


class Name(msgspec.Struct, frozen=True):
    """What a name on the menu may be: dishes, a topping, something on a dish."""

    dishes: tuple[str, ...] = ()
    topping: str = ""
    part: str = ""


class Part(msgspec.Struct, frozen=True):
    """A piece of a sentence."""

    kind: PartKind
    text: str
    value: Any = None


class Wish(msgspec.Struct):
    """Something a caller wants to have, as far as they have said; dishes: what it may be."""

    text: str
    dishes: tuple[str, ...] = ()
    size: Size | None = None
    quantity: int = 1
    toppings: list[str] = msgspec.field(default_factory=list)
    left_out: list[str] = msgspec.field(default_factory=list)

    @property
    def may_be_pizza(self) -> bool:
        """Whether toppings can go on it."""
        return any(dish.endswith("pizza") for dish in self.dishes)


class Heard(msgspec.Struct):
    """What was named in a sentence; sizes, toppings and counts that belong to no item are loose.

    unknown: things that are not on the menu; extras: those that would go on something. targets:
    dishes spoken of as being there already, `on the Hawaiian`.
    """

    wishes: list[Wish] = msgspec.field(default_factory=list)
    targets: list[str] = msgspec.field(default_factory=list)
    size: Size | None = None
    count: int | None = None
    toppings: list[str] = msgspec.field(default_factory=list)
    left_out: list[str] = msgspec.field(default_factory=list)
    kind: Kind | None = None
    unknown: list[str] = msgspec.field(default_factory=list)
    extras: list[str] = msgspec.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.wishes or self.size or self.count or self.toppings or self.left_out or self.targets
        )


# Pieces


def split(menu: Menu, text: str) -> list[Part]:
    """Cut a sentence into pieces, the longest names first."""
    answered = _ANSWER.sub("", text)
    tokens = re.sub(r"\bhalf (?:a )?dozen\b", "six", normal(answered)).split()
    parts: list[Part] = []
    at = 0
    while at < len(tokens):
        for length in (4, 3, 2, 1):
            phrase = tokens[at : at + length]
            if phrase == ["works"] and not (at and _announces(tokens[at - 1])):
                continue  # "that works for me"
            if len(phrase) == length and (name := _name(menu, phrase)):
                parts.append(Part("name", " ".join(phrase), name))
                at += length
                break
        else:
            length = _number_length(tokens[at:])
            if length > 1:
                said = " ".join(tokens[at : at + length])
                parts.append(Part("count", said, number(said)))
            else:
                parts.append(_single(tokens, at))
            at += max(1, length)
    return parts


def _announces(word: str) -> bool:
    """Whether a thing is named after this word."""
    return word in _SIZES or word in _COUNT_WORDS or number(word) is not None


def _number_length(tokens: Sequence[str]) -> int:
    """Count the words that are one number: `twenty five`."""
    length = 0
    while length < len(tokens) and len(numbers(" ".join(tokens[: length + 1]))) == 1:
        if numbers(tokens[length]) == [] and tokens[length] not in ("hundred", "thousand"):
            break
        length += 1
    return length


def _single(tokens: Sequence[str], at: int) -> Part:
    word = tokens[at]
    before = tokens[at - 1] if at else ""
    after = tokens[at + 1] if at + 1 < len(tokens) else ""
    if word in _SIZES:
        return Part("size", word, _SIZES[word])
    if word in _KINDS:
        return Part("kind", word, _KINDS[word])
    if word == "one" and (before in _NO_COUNT or after == "of"):
        return Part("word", word)
    if word in ("a", "an") and after in ("couple", "pair", "dozen", "lot", "bit", "moment"):
        return Part("word", word)
    value = _COUNT_WORDS.get(word) or number(word)
    if value is not None:
        return Part("count", word, value)
    if word in _WITH:
        return Part("with", word)
    if word in _WITHOUT:
        return Part("without", word)
    return Part("word", word)


def _name(menu: Menu, phrase: Sequence[str]) -> Name | None:
    """Give what a phrase names exactly, slips of the ear aside."""
    dishes = tuple(d.name for d in menu.dishes if any(_is(phrase, name) for name in d.names))
    topping = next((t.name for t in menu.toppings if any(_is(phrase, n) for n in t.names)), "")
    parts = (part for dish in menu.dishes for part in dish.contains)
    part = next((part for part in parts if _is(phrase, part)), "")
    return Name(dishes, topping, part) if dishes or topping or part else None


def _is(phrase: Sequence[str], name: str) -> bool:
    known = normal(name).split()
    return len(known) == len(phrase) and all(map(same_word, phrase, known))


# The sentence


class _Reader:
    """Goes through the pieces once, from left to right."""

    def __init__(self, menu: Menu, there: Sequence[str]) -> None:
        self.menu = menu
        self.there = there
        self.heard = Heard()
        self.item: Wish | None = None
        self.base: Wish | None = None  # what others are like, but for a topping
        self.pending: list[tuple[int, Size | None]] = []
        self.article = False
        self.before: list[str] = []  # toppings named before their pizza
        self.mode: Literal["", "with", "without"] = ""

    def read(self, parts: Sequence[Part]) -> Heard:
        """Take all pieces, and settle what is left over."""
        for at, part in enumerate(parts):
            said = " ".join(each.text for each in parts[max(0, at - 3) : at])
            match part.kind:
                case "count" if self._varies(part.value, parts[at + 1 : at + 2]):
                    continue
                case "count":
                    self._flush_toppings()
                    self.mode, self.item = "", None
                    if self.pending and not self.pending[-1][0]:
                        self.heard.size = self.pending.pop()[1]  # "large, and a Caesar salad"
                    self.article = part.text in ("a", "an")
                    self.pending.append((part.value, None))
                case "size":
                    self._take_size(part.value, parts[at + 1 :], said)
                case "name":
                    self._take_name(part, said, parts[at + 1 : at + 2])
                case "kind":
                    self._take_kind(part, said)
                case "with" | "without":
                    if self.pending and not self.pending[-1][0]:
                        self.heard.size = self.pending.pop()[1]  # "make it large with olives"
                    self.mode = part.kind
                case _:
                    self._take_word(part.text, said, parts[at + 1 :])
        self._flush_toppings()
        if self.pending:
            count, size = self.pending[-1]
            self.heard.size = self.heard.size or size
            self.heard.count = None if self.article else count or None
        self._drop_sum()
        return self.heard

    def _drop_sum(self) -> None:
        """Leave out `two pizzas` of `two pizzas, one Hawaiian and one pepperoni`."""
        self.heard.wishes = wishes = [each for each in self.heard.wishes if each.quantity]
        for wish in [each for each in wishes if each.quantity > 1 and each.text in _KINDS]:
            others = [each for each in wishes if set(each.dishes) < set(wish.dishes)]
            if others and sum(each.quantity for each in others) == wish.quantity:
                self.heard.wishes.remove(wish)

    def _varies(self, count: int, after: Sequence[Part]) -> bool:
        """Take some of what was named before, with something: `three pizzas, two with olives`."""
        base = self.base
        if not after or after[0].kind != "with" or self.pending:
            return False
        if base is None or base.quantity < count:
            return False
        base.quantity -= count
        self.item = Wish(base.text, base.dishes, base.size, count)
        self.heard.wishes.append(self.item)
        return True

    def _take_size(self, size: Size, rest: Sequence[Part], said: str) -> None:
        if re.search(r"\b(?:both|all|each|everything)\b", said) and self.heard.wishes:
            for wish in self.heard.wishes:
                wish.size = wish.size or size
            return
        leads = _leads(rest)
        pairs = self.pending and self.pending[-1][1] is None
        if pairs:
            self.pending[-1] = (self.pending[-1][0], size)
        elif self.item is not None and not leads and self.item.size is None:
            self.item.size = size
        elif leads or self.item is None:
            self.mode = ""
            self.pending.append((0, size))
        else:
            self.heard.size = size

    def _take_name(self, part: Part, said: str, after: Sequence[Part]) -> None:
        name: Name = part.value
        if self.mode == "without" and (name.topping or name.part) and not self._sized_or_counted():
            self._leave_out(part.text)
            return
        dishes = self._of_kind_after(name.dishes, after)
        if _TARGETING.search(f"{said} ") and (there := self._there(dishes)):
            self.heard.targets += there
            return
        wanted = self._sized_or_counted()
        if name.topping and (not dishes or (self.mode == "with" and not wanted)):
            self._top(name.topping)
        elif dishes:
            if self.before and all(not dish.endswith("pizza") for dish in dishes):
                self._flush_toppings()
            self._begin(part.text, dishes)
        elif self.mode == "with" or (self.item is not None and self.item.may_be_pizza):
            self._top(part.text)
        else:
            self._begin(part.text, ())

    def _of_kind_after(self, dishes: tuple[str, ...], after: Sequence[Part]) -> tuple[str, ...]:
        """Narrow down by the word behind: pepperoni `calzone`."""
        if after and after[0].kind == "kind":
            return tuple(d for d in dishes if self.menu.dish(d).kind == after[0].value)
        return dishes

    def _take_kind(self, part: Part, said: str) -> None:
        kind: Kind = part.value
        if self.item is not None and not self.pending:
            fitting = tuple(d for d in self.item.dishes if self.menu.dish(d).kind == kind)
            if fitting or said.endswith(self.item.text):
                self.item.dishes = fitting
                self.item.text = self.item.text if fitting else f"{self.item.text} {part.text}"
                return
        if self.mode == "with" and not self._sized_or_counted():
            return
        if kind == "pizza" and self.before:
            self._begin("cheese pizza", ("cheese pizza",))
        elif there := self._there_kind(kind, said):
            self.heard.targets += there
        elif self.pending or re.search(r"\b(?:some|want|like|have|get|order|take|is)$", said):
            self._begin(part.text, tuple(dish.name for dish in self.menu.of_kind(kind)))
        else:
            self.heard.kind = kind

    def _there(self, dishes: Sequence[str]) -> list[str]:
        return [dish for dish in dishes if dish in self.there]

    def _there_kind(self, kind: Kind, said: str) -> list[str]:
        """Give the one dish of a kind that is in the order, where `the salad` is spoken of."""
        found = [dish for dish in self.there if self.menu.dish(dish).kind == kind]
        spoken = re.search(r"\b(?:the|my|that|this)$", said)
        return found[:1] if spoken and len(set(found)) == 1 else []

    def _take_word(self, word: str, said: str, rest: Sequence[Part]) -> None:
        if word in ("and", "or", "also", "too", "then"):
            return
        if self.mode == "with" and self.item is not None and word not in _COMMON:
            if said.endswith(("with", "and", "extra")):
                self.item.toppings.append(word)
            return
        if self.mode == "with" and word not in _COMMON and said.endswith("with"):
            self.heard.extras.append(word)
            return
        if self.mode == "without" and word not in _COMMON and said.endswith(("no", "without")):
            self._leave_out(word)
            return
        if word not in _COMMON and self.pending and self.pending[-1][0]:
            unknown = [word]
            for part in rest:
                if part.kind != "word" or part.text in _COMMON or part.text == "and":
                    break
                unknown.append(part.text)
            if rest[: len(unknown) - 1] == rest[: len(unknown)] or not self._names_soon(rest):
                self.heard.unknown.append(" ".join(unknown))
                self.pending.clear()

    def _names_soon(self, rest: Sequence[Part]) -> bool:
        return any(part.kind in ("name", "kind", "size") for part in rest[:2])

    def _sized_or_counted(self) -> bool:
        return bool(self.pending)

    def _begin(self, text: str, dishes: tuple[str, ...]) -> None:
        self.mode = ""
        for count, size in self.pending or [(1, None)]:
            fitting = dishes
            if size and any(dish.endswith("pizza") for dish in dishes):
                fitting = tuple(dish for dish in dishes if dish.endswith("pizza"))
            self.item = self.base = Wish(text, fitting, size, count or 1)
            self.item.toppings += self.before
            self.heard.wishes.append(self.item)
        self.pending, self.before = [], []

    def _top(self, topping: str) -> None:
        if self.pending:
            self.before.append(topping)
        elif self.item is not None and self.item.may_be_pizza:
            pizzas = tuple(dish for dish in self.item.dishes if dish.endswith("pizza"))
            self.item.dishes = pizzas
            self.item.toppings.append(topping)
        elif self.item is None and self.mode != "with":
            self.before.append(topping)
        else:
            self.heard.toppings.append(topping)

    def _leave_out(self, text: str) -> None:
        into = self.heard.left_out if self.item is None else self.item.left_out
        into.append(text)

    def _flush_toppings(self) -> None:
        """What was no beginning of a `mushroom pizza` is a topping by itself."""
        self.heard.toppings += self.before
        self.before = []


def _leads(rest: Sequence[Part]) -> bool:
    """Whether a size belongs to what comes: `large mushroom and onion pizza`."""
    for at, part in enumerate(rest):
        if part.kind == "kind" or (part.kind == "name" and part.value.dishes):
            return True
        if part.kind != "name" and not (at and part.text == "and"):
            return False
    return False


_COMMON: Final = vocabulary(
    "the of them they he she my our your his her one and with an ago not "
    "i you me we us it its is are was am be been do does did can could would will should may "
    "to on at by from for in if so or but then than as not no yes want wanted like need get "
    "got give let have has had take make that this these those there here just now again too "
    "really very tell know ok okay hi hello hey thanks thank bring delivery deliver delivered "
    "pickup pick up go going today tonight dinner lunch order ordering also maybe actually "
    "instead sure right well more other another each all both any only still yet put add "
    "change remove cancel forget drop sorry wait moment second minute bit lot couple kids "
    "address name number phone question total price prices much many long confirmation text "
    "message email person pair half extra side think guess um uh what which how when where "
    "who why size sizes topping toppings thing things item items hungry good great fine "
    "large small medium one ones eat food everything anything nothing something else kind "
    "starting start first last same usual"
)


def listen(menu: Menu, text: str, there: Sequence[str] = ()) -> Heard:
    """Find what is named in a sentence; there: dishes that are in the order."""
    return _Reader(menu, there).read(split(menu, text))
