"""An order: its lines, what may be done to them, and what they cost. No I/O, no floats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import msgspec

from voxyray.errors import ToolError

from .menu import Dish, Menu, Size, same_word, size_in, words
from .spoken import count, dollars, listed, sentence

OrderType: TypeAlias = Literal["pickup", "delivery"]

MAX_QUANTITY: Final = 20
MAX_ITEMS: Final = 60
MAX_LINES: Final = 30
MAX_NOTE: Final = 120
MAX_ADDRESS: Final = 200
ASK_ITEM: Final = "What would you like to order?"
ASK_TYPE: Final = "Is it for pickup or delivery?"
ASK_ADDRESS: Final = "What is the address for the delivery?"
_EVERYTHING: Final = frozenset({"everything", "all", "it all", "whole order", "the whole order"})


class Line(msgspec.Struct, frozen=True):
    """So many of one thing; each is the price of one, toppings included."""

    dish: str
    each: Decimal
    quantity: int = 1
    size: Size | None = None
    toppings: tuple[str, ...] = ()
    note: str = ""
    portion: bool = False

    @property
    def total(self) -> Decimal:
        """What the line costs."""
        return self.each * self.quantity

    @property
    def name(self) -> str:
        """What one of it is called, without what was added: `large Hawaiian pizza`."""
        return f"{self.size} {self.dish}" if self.size else self.dish

    def spoken(self, quantity: int = 0) -> str:
        """Say the line as people order it: `two large Hawaiian pizzas with onion`."""
        number = quantity or self.quantity
        name = self.name
        if self.portion:
            name = f"{'order' if number == 1 else 'orders'} of {name}"
        elif number > 1:
            name = f"{name}s"
        added = f" with {listed(self.toppings)}" if self.toppings else ""
        note = f", {self.note}" if self.note else ""
        return f"{count(number)} {name}{added}{note}"


class Order(msgspec.Struct, frozen=True):
    """What a caller wants, as far as it is known."""

    lines: tuple[Line, ...] = ()
    type: OrderType | Literal[""] = ""
    address: str = ""

    @property
    def items(self) -> int:
        """How many things are in it."""
        return sum(line.quantity for line in self.lines)

    @property
    def total(self) -> Decimal:
        """What it all costs."""
        return sum((line.total for line in self.lines), Decimal(0))

    def spoken_lines(self) -> str:
        """Say what is in it."""
        return "; ".join(line.spoken() for line in self.lines)

    def spoken_way(self) -> str:
        """Say how it gets to the caller."""
        return f"for delivery to {self.address}" if self.type == "delivery" else "for pickup"

    def missing(self) -> str:
        """Say what must be asked before it can be placed; empty if nothing is missing."""
        if not self.lines:
            return f"There is nothing in the order yet. {ASK_ITEM}"
        if not self.type:
            return ASK_TYPE
        if self.type == "delivery" and not self.address:
            return ASK_ADDRESS
        return ""


class Done(msgspec.Struct, frozen=True):
    """An order after a change, the line that was changed, and words for it."""

    order: Order
    line: Line | None
    words: str


# What can be done


def add(
    order: Order,
    menu: Menu,
    item: str,
    size: Size | None = None,
    toppings: Sequence[str] = (),
    quantity: int = 1,
    note: str = "",
) -> Done:
    """Add something; what is in the order already, with nothing different, counts up.

    Raises:
        ToolError: it is not on the menu, does not come like this, or is too much.
    """
    item, _, rest = item.partition(" with ")  # as models like to write it
    toppings = [*toppings, *([rest] if rest else [])]
    size = size or size_in(item)
    dish = menu.find_dish(item, pizza=size is not None or bool(toppings))
    line = _line(menu, dish, size, _toppings(menu, toppings), _quantity(quantity), _note(note))
    changed = _with(order, line)
    return Done(changed, line, f"Added {line.spoken()}, {dollars(line.total)}")


def change(
    order: Order,
    menu: Menu,
    line: str,
    item: str = "",
    size: Size | None = None,
    add_toppings: Sequence[str] = (),
    remove_toppings: Sequence[str] = (),
    quantity: int | None = None,
    note: str | None = None,
) -> Done:
    """Change something in the order; what is not given stays.

    Raises:
        ToolError: there is no such line, or it cannot be like this.
    """
    old = find_line(order, line)
    size = size or size_in(item)
    dish = menu.find_dish(item, pizza=size is not None) if item else menu.dish(old.dish)
    toppings = list(old.toppings) if dish.sized else []
    notes = [part for part in (old.note if note is None else _note(note)).split("; ") if part]
    for text in remove_toppings:
        _remove_topping(menu, dish, text, toppings, notes)
    toppings += [name for name in _toppings(menu, add_toppings) if name not in toppings]
    notes = [each for each in notes if each.removeprefix("no ") not in toppings]
    new = _line(
        menu,
        dish,
        (size or old.size) if dish.sized else size,
        tuple(toppings),
        old.quantity if quantity is None else _quantity(quantity),
        _note("; ".join(notes)),
    )
    if new == old:
        raise ToolError(f"That changes nothing: the order has {old.spoken()} already.")
    changed = _with(_without(order, old), new, at=order.lines.index(old))
    return Done(changed, new, f"Changed to {new.spoken()}, {dollars(new.total)}")


def remove(order: Order, line: str, quantity: int | None = None) -> Done:
    """Remove something, or only some of it, or `everything`.

    Raises:
        ToolError: there is no such line.
    """
    if line.strip().casefold() in _EVERYTHING and order.lines:
        return Done(msgspec.structs.replace(order, lines=()), None, "Removed everything")
    old = find_line(order, line)
    left = 0 if quantity is None else max(0, old.quantity - _quantity(quantity))
    gone = old.spoken(old.quantity - left)
    if not left:
        return Done(_without(order, old), None, f"Removed {gone}")
    less = msgspec.structs.replace(old, quantity=left)
    lines = tuple(less if each == old else each for each in order.lines)
    changed = msgspec.structs.replace(order, lines=lines)
    return Done(changed, less, f"Removed {gone}, so that leaves {less.spoken()}")


def send_to(order: Order, type_: OrderType, address: str = "") -> Done:
    """Set how the order gets to the caller; an address once given is kept.

    Raises:
        ToolError: what is given as an address is none.
    """
    known = _address(address) if type_ == "delivery" else ""
    kept = known or order.address
    changed = msgspec.structs.replace(order, type=type_, address=kept)
    if type_ == "pickup":
        return Done(changed, None, "It is for pickup")
    if not kept:
        return Done(changed, None, f"It is for delivery. {ASK_ADDRESS}")
    return Done(changed, None, f"It is for delivery to {kept}")


def summary(order: Order) -> str:
    """Give the whole order with its total, and what must still be asked, for the caller.

    Raises:
        ToolError: there is nothing in it.
    """
    if not order.lines:
        raise ToolError(order.missing())
    way = order.missing() or sentence(order.spoken_way())
    total = f"The total is {dollars(order.total)}."
    told = (total, way) if order.missing() else (way, total)
    return " ".join([sentence(order.spoken_lines()), *told])


def find_line(order: Order, text: str) -> Line:
    """Give the line that is meant by words for it.

    Raises:
        ToolError: none or several are.
    """
    if not order.lines:
        raise ToolError(f"There is nothing in the order. {ASK_ITEM}")
    wanted, said = text.strip().casefold(), words(text)
    # The whole wording of one line may be the name alone of another.
    found = (
        [line for line in order.lines if wanted == line.spoken().casefold()]
        or [line for line in order.lines if wanted == line.spoken(1).casefold()]
        or [line for line in order.lines if _means(said, line)]
    )
    if len(found) == 1:
        return found[0]
    names = listed([line.spoken() for line in found or order.lines], "or")
    if found:
        raise ToolError(f"Which one would that be: {names}?")
    raise ToolError(f"There is no {text.strip()[:60]} in the order. There is {names}.")


def _means(said: Sequence[str], line: Line) -> bool:
    """Whether every word is one of the line's; numbers and `order of` do not tell."""
    known = words(line.spoken()) + words(line.spoken(1)) + [str(line.quantity)]
    return bool(said) and all(any(same_word(word, other) for other in known) for word in said)


# What a line may be


def _line(
    menu: Menu, dish: Dish, size: Size | None, toppings: tuple[str, ...], quantity: int, note: str
) -> Line:
    if dish.sized and size is None:
        raise ToolError(f"Which size for the {dish.name}: small, medium or large?")
    if not dish.sized and size is not None:
        raise ToolError(f"The {dish.name} comes in one size only, for {dish.spoken_price()}.")
    if toppings and not dish.sized:
        raise ToolError(f"Toppings go on pizzas only, not on the {dish.name}.")
    each = dish.price_of(size) + sum(map(menu.price_of_topping, toppings), Decimal(0))
    return Line(dish.name, each, quantity, size, toppings, note, dish.portion)


def _with(order: Order, line: Line, at: int | None = None) -> Order:
    """Put a line in, together with one that is the same but for the quantity."""
    lines = list(order.lines)
    for place, other in enumerate(lines):
        both = other.quantity + line.quantity
        if msgspec.structs.replace(other, quantity=line.quantity) == line:
            lines[place] = msgspec.structs.replace(other, quantity=_quantity(both))
            break
    else:
        lines.insert(len(lines) if at is None else at, line)
    changed = msgspec.structs.replace(order, lines=tuple(lines))
    if changed.items > MAX_ITEMS or len(lines) > MAX_LINES:
        raise ToolError(
            f"That is more than we can take in one order ({MAX_ITEMS} items). "
            "For more, I can put you through to a person."
        )
    return changed


def _without(order: Order, line: Line) -> Order:
    lines = tuple(each for each in order.lines if each != line)
    return msgspec.structs.replace(order, lines=lines)


def _quantity(quantity: int) -> int:
    if not 1 <= quantity <= MAX_QUANTITY:
        raise ToolError(
            f"We take from one to {MAX_QUANTITY} of a kind, not {quantity}. For more, I can put "
            "you through to a person."
        )
    return quantity


def _toppings(menu: Menu, given: Sequence[str]) -> tuple[str, ...]:
    """Give the names of toppings, each once: models repeat themselves, and join with `and`."""
    parts = [part for text in given for part in re.split(r",|\band\b|&", text) if part.strip()]
    return tuple(dict.fromkeys(menu.find_topping(part).name for part in parts))


def _remove_topping(
    menu: Menu, dish: Dish, text: str, toppings: list[str], notes: list[str]
) -> None:
    """Take off what was added; what comes with the dish is left out by a note."""
    said = words(text)
    for name in toppings:
        topping = next(each for each in menu.toppings if each.name == name)
        if any(said == words(known) for known in topping.names) or words(name) == said:
            toppings.remove(name)
            return
    for part in dish.contains:
        if _alike(said, words(part)):
            notes.append(f"no {part}")
            return
    raise ToolError(f"The {dish.name} has no {' '.join(text.split())[:40]} on it.")


def _alike(said: Sequence[str], part: Sequence[str]) -> bool:
    return bool(said) and all(any(same_word(word, other) for other in part) for word in said)


def _note(note: str) -> str:
    text = " ".join(note.split())
    if len(text) > MAX_NOTE:
        raise ToolError(f"A note may have {MAX_NOTE} characters; say it shorter.")
    return text


_NO_ADDRESS: Final = re.compile(
    r"(?:unknown|none|n/?a|null|undefined|pick ?up|delivery|address|home|my (?:place|house|home)|"
    r"here|tbd|same|the (?:shop|address))?\W*",
    re.IGNORECASE,
)


def _address(address: str) -> str:
    text = " ".join(address.split()).strip(" .,;")
    if not text:
        return ""
    if _NO_ADDRESS.fullmatch(text) or len(words(text)) < 2 or not re.search(r"[^\W\d_]", text):
        raise ToolError("That is no address. What are the house number and the street?")
    if len(text) > MAX_ADDRESS:
        raise ToolError("The address is too long. What are just the house number and the street?")
    return text
