"""What is sent to callers as text messages and e-mails; written for the eye."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

from .counter import Placed
from .order import Line, Order
from .shop import Shop
from .spoken import clock, written

_MAX_CHARS: Final = 1500  # a text message takes 1600


def confirmation(shop: Shop, placed: Placed, zone: tzinfo) -> str:
    """Give the confirmation of one order: what, how much, when and where."""
    order = placed.order
    due, at = (datetime.fromtimestamp(each, zone) for each in (placed.due, placed.at))
    day = "" if due.date() == at.date() else f"on {due:%A}, {due:%B} {due.day}, "
    head = f"Order {placed.number} at {shop.name}:"
    if order.type == "delivery":
        way = f"Delivery to {order.address} {day}at about {clock(due)}."
    else:
        way = f"Ready for pickup {day}at about {clock(due)}: {shop.address}."
    tail = [f"Total: {written(order.total)}", way]
    room = _MAX_CHARS - len("\n".join([head, *tail]))
    return "\n".join([head, *_lines(order, room), *tail])


def subject(placed: Placed) -> str:
    """Give the subject of an e-mail about an order."""
    return f"Your order {placed.number}"


def line(each: Line) -> str:
    """Give one line of an order."""
    added = f" with {', '.join(each.toppings)}" if each.toppings else ""
    note = f" ({each.note})" if each.note else ""
    return f"{each.quantity} x {each.name}{added}{note}: {written(each.total)}"


def _lines(order: Order, room: int) -> list[str]:
    """Give the lines, as many as there is room for."""
    told: list[str] = []
    for place, each in enumerate(order.lines):
        text = line(each)
        room -= len(text) + 1
        if room < 20:
            return [*told, f"and {len(order.lines) - place} more"]
        told.append(text)
    return told
