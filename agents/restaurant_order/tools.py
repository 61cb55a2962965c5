"""What this agent can do: take an order, tell what the shop knows, confirm it in writing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from voxyray.builtin import hang_up, transfer_to_agent, transfer_to_person
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ToolError
from voxyray.tool import tool

from . import messages, order
from .counter import Counter, Placed
from .menu import Size
from .order import MAX_QUANTITY, OrderType
from .shop import SHOP
from .spoken import clock, dollars, listed, sentence

__all__ = ["tools"]

_Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
_Listed = Literal["starter", "salad", "pizza", "calzone", "topping"]
_LINE = "The item as the order has it, such as: large Hawaiian pizza."


@tool(effect="write")
async def add_item(
    item: Annotated[str, "Its name, such as: Hawaiian pizza, Caesar salad, ham calzone."],
    size: Annotated[Size | None, "For pizzas only. Ask for it; never choose one yourself."] = None,
    toppings: Annotated[list[str], "Extra toppings, for pizzas only, each once."] = [],  # noqa: B006
    quantity: Annotated[_Quantity, "How many of exactly this."] = 1,
    note: Annotated[str, "A wish for the kitchen, such as: no onion, well done."] = "",
    *,
    caller: Caller,
    call: CallContext,
) -> str:
    """Add one kind of item to the order. Call it for each, at once when several were named.

    Call it as soon as you know what they want, before asking for anything else. It refuses what is
    not on the menu and says what is nearest. After an order was placed this begins a new one.
    """
    counter = Counter(SHOP, caller, call)

    def added(now: order.Order) -> order.Done:
        done = order.add(now, SHOP.menu, item, size, toppings, quantity, note)
        # Told once, with the first thing: when it will be, if that is not today.
        ahead = "" if now.lines else counter.ahead()
        return msgspec.structs.replace(done, words=f"{sentence(done.words)} {ahead}".rstrip())

    return await counter.edit(added, begins=True)


@tool(effect="write")
async def change_item(
    line: Annotated[str, _LINE],
    item: Annotated[str, "What to have instead; empty if it stays the same dish."] = "",
    size: Annotated[Size | None, "The new size, for pizzas only."] = None,
    add_toppings: Annotated[list[str], "Toppings to add."] = [],  # noqa: B006
    remove_toppings: Annotated[list[str], "Toppings to leave out, its own ones too."] = [],  # noqa: B006
    quantity: Annotated[_Quantity | None, "How many there shall be in all."] = None,
    note: Annotated[str | None, "A wish for the kitchen, in place of any earlier one."] = None,
    *,
    caller: Caller,
    call: CallContext,
) -> str:
    """Change an item that is in the order already: its size, toppings, number, or dish.

    Give only what changes. Never add an item a second time to change it.
    """
    words = await Counter(SHOP, caller, call).edit(
        lambda now: order.change(
            now, SHOP.menu, line, item, size, add_toppings, remove_toppings, quantity, note
        )
    )
    return sentence(words)


@tool(effect="write")
async def remove_item(
    line: Annotated[str, f"{_LINE} Or: everything."],
    quantity: Annotated[_Quantity | None, "How many of them to take out; null for all."] = None,
    *,
    caller: Caller,
    call: CallContext,
) -> str:
    """Take an item out of the order, or `everything` when they want to start over."""
    words = await Counter(SHOP, caller, call).edit(lambda now: order.remove(now, line, quantity))
    return sentence(words)


@tool(effect="write")
async def set_order_type(
    type: Annotated[OrderType, "How they get it."],  # noqa: A002 - the word callers and models use
    address: Annotated[str, "For a delivery: house number, street, flat. Empty if not known."] = "",
    *,
    caller: Caller,
    call: CallContext,
) -> str:
    """Set whether the order is picked up or delivered, and where to; also to change either."""
    words = await Counter(SHOP, caller, call).edit(lambda now: order.send_to(now, type, address))
    return sentence(words)


@tool(effect="write")
async def read_order(*, caller: Caller, call: CallContext) -> str:
    """Give the whole order with its total, to be read to the caller word for word.

    Call it once when they want nothing more, or when they ask what they have or what it costs.
    Never add up prices yourself.
    """
    return await Counter(SHOP, caller, call).read()


@tool(effect="write", filler="I'm placing your order.")
async def place_order(*, caller: Caller, call: CallContext) -> str:
    """Place the order, after it was read with read_order and the caller has said yes to it.

    It is placed once, however often this is called. The result says when it is ready.
    """
    return await Counter(SHOP, caller, call).place()


@tool(effect="read")
async def waiting_time(
    type: Annotated[OrderType | None, "Which one they ask about; null for both."] = None,  # noqa: A002
    *,
    caller: Caller,
    call: CallContext,
) -> str:
    """Say when the order is ready or delivered; before it is placed, how long it would take."""
    return await Counter(SHOP, caller, call).waiting(type or "")


@tool(effect="read")
def look_up_menu(
    item: Annotated[str, "What they ask about; empty for a whole kind."] = "",
    kind: Annotated[_Listed | None, "Which kind to list."] = None,
) -> str:
    """Look up what there is, what it costs and what is on it."""
    if item.strip():
        return _about(item)
    if kind == "topping":
        told = [f"{each.name} for {dollars(each.price)}" for each in SHOP.menu.toppings]
        return sentence(f"Toppings for pizzas are {listed(told)}")
    if kind:
        return sentence("; ".join(dish.spoken_briefly() for dish in SHOP.menu.of_kind(kind)))
    return "There are starters, salads, pizzas and calzones."


@tool(effect="read")
def opening_hours(*, call: CallContext) -> str:
    """Say whether the shop is open now, and its hours in the week."""
    return f"{SHOP.hours.spoken_now(call.now())} {SHOP.hours.spoken_week()}"


@tool(effect="read")
async def past_orders(*, caller: Caller, call: CallContext) -> str:
    """Tell what the caller ordered before, in this call and in earlier ones, the latest first."""
    found = await Counter(SHOP, caller, call).orders(limit=3)
    if not found:
        return "There are no earlier orders from this number."
    return " ".join(_past(placed, call) for placed in found)


@tool(effect="write")
async def send_confirmation(
    about: Annotated[Literal["order", "hours", "location"], "What the message says."],
    by: Annotated[Literal["sms", "email"], "How it is sent."] = "sms",
    email: Annotated[str, "Their e-mail address, if they have just told it."] = "",
    *,
    caller: Caller,
    call: CallContext,
) -> str:
    """Send the caller a message: about the order they placed last, the opening hours or the way.

    A text message goes to the number they call from. By e-mail only if their address is known or
    they tell it. Offer it once an order is placed.
    """
    subject, text = await _message(about, caller, call)
    if by == "sms":
        if not caller.number.startswith("+"):
            raise ToolError("Your number is withheld, so I can't text you. I can send an e-mail.")
        await call.send_sms(caller.number, text)
        return f"A text message with the {about} is on its way to the number you call from."
    if email.strip():
        await caller.save(email=email.strip())  # as a form, before it is of any use
    if not caller.email:
        raise ToolError("I don't have your e-mail address. What is your e-mail address?")
    await call.send_email(caller.email, subject, text)
    return f"An e-mail with the {about} is on its way to {caller.email}."


async def _message(about: str, caller: Caller, call: CallContext) -> tuple[str, str]:
    """Give subject and text; those of the order name the one that was placed last."""
    if about == "hours":
        return "Our opening hours", SHOP.hours.spoken_week()
    if about == "location":
        return "Where we are", f"You find {SHOP.name} at {SHOP.address}."
    latest = await Counter(SHOP, caller, call).orders(limit=1)
    if not latest:
        raise ToolError("No order was placed yet, so there is nothing to confirm.")
    return messages.subject(latest[0]), messages.confirmation(SHOP, latest[0], call.zone)


def _about(item: str) -> str:
    """Say what a dish or a topping is and costs."""
    found = SHOP.menu.candidates(item)
    if not found:
        topping = SHOP.menu.topping(item)
        if topping is None:
            return SHOP.menu.refusal(item)
        return sentence(f"{topping.name} as a topping is {dollars(topping.price)}")
    told = []
    for dish in found:
        contains = f", with {listed(dish.contains)}" if dish.contains else ""
        told.append(f"The {dish.name} is {dish.spoken_price()}{contains}.")
    return " ".join(told)


def _past(placed: Placed, call: CallContext) -> str:
    at = datetime.fromtimestamp(placed.at, call.zone)
    days = (call.now().date() - at.date()).days
    day = {0: f"Today at {clock(at)}", 1: "Yesterday"}.get(days, f"On {at:%B} {at.day}")
    what = f"{placed.order.spoken_lines()}, {placed.order.spoken_way()}"
    return sentence(f"{day}: {what}, for {dollars(placed.order.total)}")


tools = [
    add_item,
    change_item,
    remove_item,
    set_order_type,
    read_order,
    place_order,
    waiting_time,
    look_up_menu,
    opening_hours,
    past_orders,
    send_confirmation,
    transfer_to_agent,
    transfer_to_person,
    hang_up,
]
