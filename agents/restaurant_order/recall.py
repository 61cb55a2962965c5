"""What the offline stand-in remembers: read off the talk again, each time.

The order is gone through with the same functions that the tools use, from what they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from voxyray import notes
from voxyray.errors import ToolError
from voxyray.models.offline import Called, Event, Keyed, Noted, Replied, Said, Talk, normal

from . import order as orders
from .order import ASK_ADDRESS, ASK_ITEM, ASK_TYPE, Done, Order
from .shop import SHOP

MORE: Final = "Anything else?"
PLACE: Final = "Shall I place the order?"
TEXT: Final = "Shall I text you a confirmation?"
DONE: Final = "Is there anything else I can do for you?"
CHANGE: Final = "What should I change?"
PERSON: Final = "Shall I put you through to a person?"
WAITING: Final = ("Of course. Take your time.", "Sure. I'll wait.")
TAKE_OUT: Final = "Which one should I take out?"
EMAIL: Final = "What is your e-mail address?"
DROPPED: Final = "All right, without it."
QUESTIONS: Final = (
    ASK_ITEM,
    MORE,
    ASK_TYPE,
    ASK_ADDRESS,
    PLACE,
    TEXT,
    DONE,
    CHANGE,
    EMAIL,
    TAKE_OUT,
    PERSON,
)

# What a model is told that its callers need not hear.
_OURS: Final = (
    notes.FAILED_UNEXPECTEDLY.partition("{")[0],
    notes.NOT_RECORDED,
    notes.OUTCOME_UNKNOWN,
    *("add_item did", "change_item did", "remove_item did", "Read the order", "The caller has not"),
)
_REPLIES: Final = 3  # in which the open question is looked for
_PATIENCE: Final = 2  # inputs after which an open wish is given up
Input: TypeAlias = Said | Keyed | Noted


class Wish(msgspec.Struct):
    """What could not be done yet: the tool, add_item or change_item, and what it answered."""

    tool: str
    given: dict[str, Any]
    problem: str
    age: int = 0

    @property
    def item(self) -> str:
        """What was wanted."""
        return str(self.given.get("item", ""))

    @property
    def is_question(self) -> bool:
        """Whether the caller was asked something; the rest of them may just not be."""
        return "?" in self.problem


class State(msgspec.Struct):
    """Where the talk stands.

    focus: the line spoken of last, in words. read: the order was read and has not changed since.
    placed, sent: an order was placed, and its confirmation sent. closed: none can be taken.
    waiting: they asked for a moment. listed: the kind of dish that was read out last. asked: the
    question that is open.
    """

    order: Order = Order()
    focus: str = ""
    wishes: list[Wish] = msgspec.field(default_factory=list)
    read: bool = False
    placed: bool = False
    sent: bool = False
    closed: bool = False
    waiting: bool = False
    listed: str = ""
    asked: str = ASK_ITEM

    @property
    def dishes(self) -> list[str]:
        """What is in the order."""
        return [line.dish for line in self.order.lines]


class Turn(msgspec.Struct):
    """The latest input, and what was done for it.

    before: how things stood when it came; now: how they stand.
    """

    text: str
    inputs: tuple[Input, ...]
    calls: tuple[Called, ...]
    before: State
    now: State


def read_turn(talk: Talk) -> Turn:
    """Go through a talk."""
    events = _since_arrival(talk.events)
    at = len(events)
    while at and isinstance(events[at - 1], Replied | Called):
        at -= 1
    since = events[at:]
    first = at
    while first and not isinstance(events[first - 1], Replied | Called):
        first -= 1
    inputs = tuple(event for event in events[first:at] if not isinstance(event, Replied | Called))
    return Turn(
        " ".join(event.text for event in inputs if isinstance(event, Said)),
        inputs,
        tuple(event for event in since if isinstance(event, Called)),
        _fold(events[:first]),
        _fold(events),
    )


def _since_arrival(events: Sequence[Event]) -> Sequence[Event]:
    """Leave out what was said to another agent before the caller was put through."""
    for at in range(len(events) - 1, -1, -1):
        event = events[at]
        if isinstance(event, Noted) and event.kind == "arrived":
            return events[at + 1 :]
    return events


def _fold(events: Sequence[Event]) -> State:
    state = State()
    for event in events:
        if isinstance(event, Called):
            _take(state, event)
        elif isinstance(event, Said):
            for wish in state.wishes:
                wish.age += 1
            state.wishes = [wish for wish in state.wishes if wish.age <= _PATIENCE]
        elif isinstance(event, Replied) and event.text.startswith(DROPPED):
            state.wishes = []
    said = [event.text for event in events if isinstance(event, Replied)]
    state.asked = _asked(said)
    state.waiting = bool(said) and said[-1] in WAITING
    return state


def _asked(said: Sequence[str]) -> str:
    """Give the question the caller heard last; one that was cut off was not asked."""
    for text in said[: -_REPLIES - 1 : -1]:
        places = [(text.rfind(question), question) for question in QUESTIONS if question in text]
        if places:
            return max(places)[1]
    return ASK_ITEM


def _take(state: State, call: Called) -> None:
    if call.name in ("add_item", "change_item"):
        _settle_wishes(state, call)
    if call.status == "failed" and "We take no orders" in call.result:
        state.closed, state.wishes = True, []
    if call.status != "done":
        return
    match call.name:
        case "add_item" | "change_item" | "remove_item" | "set_order_type":
            _apply(state, call)
        case "look_up_menu":
            state.listed = str(call.arguments.get("kind", ""))
        case "read_order":
            state.read = not state.order.missing()
        case "place_order":
            state.order, state.focus, state.read = Order(), "", False
            state.placed, state.sent = True, False
        case "send_confirmation":
            state.sent = state.sent or call.arguments.get("about") == "order"


def _apply(state: State, call: Called) -> None:
    given = dict(call.arguments)
    menu = SHOP.menu
    try:
        done: Done
        if call.name == "add_item":
            done = orders.add(state.order, menu, **given)
        elif call.name == "change_item":
            done = orders.change(state.order, menu, **given)
        elif call.name == "remove_item":
            done = orders.remove(state.order, **given)
        else:
            done = orders.send_to(state.order, given["type"], given.get("address", ""))
    except (ToolError, TypeError, KeyError):
        return  # the tool knew better; what it said was told
    state.order, state.read, state.listed = done.order, False, ""
    if done.line is not None:
        state.focus = done.line.spoken()
    elif call.name == "remove_item":
        state.focus = state.order.lines[-1].spoken() if state.order.lines else ""


def _settle_wishes(state: State, call: Called) -> None:
    """Note what could not be added; another attempt at the same takes its place."""
    item = str(call.arguments.get("item", ""))
    state.wishes = [wish for wish in state.wishes if not _same_wish(wish, item)]
    told = problem(call.result)
    if call.status == "failed" and (call.name == "add_item" or told.startswith("Which")):
        state.wishes.append(Wish(call.name, dict(call.arguments), told))


def _same_wish(wish: Wish, item: str) -> bool:
    if normal(wish.item) == normal(item):
        return True
    meant = {dish.name for dish in SHOP.menu.candidates(wish.item)}
    # After `mushroom pizza` or something near, whatever comes next is the attempt.
    return item in meant or not meant


def problem(result: str) -> str:
    """Give what a tool that failed said, for the caller."""
    text = result.removeprefix("Error:").strip()
    return "I'm sorry, that didn't work." if text.startswith(_OURS) else text
