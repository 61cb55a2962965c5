"""What callers do to their order, as uses of tools. For the offline stand-in only."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from voxyray.models.offline import Option, Use, choose, normal, yes_or_no
from voxyray.models.offline.smalltalk import kind_of

from .heard import Heard, listen
from .heard import Wish as HeardWish
from .menu import Menu, words
from .order import ASK_ADDRESS, ASK_ITEM, ASK_TYPE, MAX_QUANTITY, Line, find_line
from .recall import (
    CHANGE,
    DONE,
    DROPPED,
    EMAIL,
    MORE,
    PERSON,
    PLACE,
    TAKE_OUT,
    TEXT,
    State,
    Turn,
    Wish,
)
from .shop import SHOP
from .spoken import listed
from .whereto import address_in, type_in, without_address


class Plan(msgspec.Struct):
    """What is to be done about the latest input.

    uses: tools, used at the same time. closing: the caller wants nothing more, so that what is
    missing is asked, or the order read.
    """

    uses: list[Use] = []
    say: str = ""
    closing: bool = False


_MENU: Final[Menu] = SHOP.menu
_TOO_MANY: Final = (
    f"We take at most {MAX_QUANTITY} of a kind. For more, I can put you through to a person."
)
_REMOVE: Final = re.compile(
    r"\b(?:remove|cancel|delete|drop|forget|scratch|skip|lose|take (?:off|out|away|back)|"
    r"take (?:the|that|it|my) .*\b(?:off|out|away|back)|leave (?:out|off)|get rid of|never ?mind|"
    r"do not (?:want|need)|without|hold the|no more|minus)\b"
)
_MAKE: Final = re.compile(
    r"\b(?:make|change|switch|swap|turn|replace|instead|i meant|i mean|i said|rather|should be|"
    r"upgrade)\b"
)
_ADDING: Final = re.compile(r"\b(?:also|another|more|as well|too)\b|\badd (?:a|an|one|two|three)\b")
_ALL_OF_IT: Final = re.compile(
    r"\bstart (?:over|again|from scratch)\b|\b(?:cancel|remove|delete|forget|clear|scratch|drop)\b"
    r" (?:everything|it all|all(?: of it| of that)?|"
    r"(?:my|the|that|this|our)(?: whole| entire)? order)"
)
_IT: Final = re.compile(
    r"\b(?:remove|cancel|delete|drop|forget|scratch|lose|skip|take (?:off|out|away|back)|"
    r"do not (?:want|need)) (?:it|that|this|the last(?: one)?|that (?:one|last one)|them|those)\b"
)
_ALL: Final = re.compile(
    r"\bthat (?:is|will be|would be|should be) (?:all|it|everything)\b|"
    r"\bthat (?:should|will|would) do(?: it)?\b|\b(?:i am|we are) (?:done|good|all set)\b"
)
_NOTE: Final = re.compile(
    r"\b(?:well done|(?:extra )?crispy|lightly (?:done|baked)|not too \w+|cut (?:in|into) \w+|"
    r"(?:(?:the )?\w+ )?on the side|light (?:on the )?(?:cheese|sauce)|extra sauce)\b"
)
_HALVES: Final = re.compile(r"\bhalf (?!a )(?:an? )?\w+.*\b(?:half|other)\b")
_NO_HALVES: Final = "Toppings go on the whole pizza; I can't take it in halves."
_ONE_MORE: Final = re.compile(r"\b(?:another one|one more|the same again|another of)\b")
_SO_MANY: Final = re.compile(r"\b(?:just|only) (?:one|two|three)\b|\bof (?:them|those|these)\b")
_BY_THE_WAY: Final = re.compile(
    r"(?:(?:and|also|plus|then|ok|okay) )*(?:and|also|plus|some|maybe) "
    r"(?P<what>(?!then|also|that|the|it)\w{3,}(?: \w{3,})?)(?: then| please)?"
)
_FINE: Final = re.compile(r"(?:(?:that )?(?:looks|sounds|is) )?(?:good|great|perfect|fine|right)")
_ASSENT: Final = re.compile(
    r"\b(?:order it|confirm(?:ed)?|send it|correct|"
    r"(?:looks|sounds|is) (?:good|great|perfect|fine))\b"
)
_LEAVING: Final = re.compile(
    r"\b(?:without|leave|skip|forget|never mind|plain|fine|then|nothing)\b", re.IGNORECASE
)
_ORDER_NOW: Final = re.compile(
    r"\b(?:place|submit|finish|complete|finali[sz]e|send off) (?:it|(?:the|my) order|that|this)\b|"
    r"\bcheck ?out\b|\bready to order\b|\border (?:it|that) now\b"
)
_WANTS: Final = re.compile(
    r"\b(?:i would like|i want|i will (?:have|take|get)|i am having|"
    r"(?:can|could) (?:i|we) (?:get|have|order)|may i have|give me|get me|let me (?:get|have)|"
    r"we would like|we want|i need|add)\b (?:some |a |an |the |to order |to have |to get |any )*"
    r"(?P<what>.+)"
)
_JUST_ORDER: Final = re.compile(
    r"\b(?:place an order|to order|order (?:a|some) (?:food|pizza|pizzas)|some food|order food|"
    r"make an order|an order)\b"
)


def connected(state: State) -> Plan:
    """Put the caller through to a person, who is told what they want."""
    summary = f"The order so far: {state.order.spoken_lines() or 'nothing'}."
    person = Use("transfer_to_person", reason="The caller asks for a person.", summary=summary)
    return Plan([person], say="One moment, I'll connect you with a colleague.")


def planned(turn: Turn) -> Plan | None:
    """Make of the caller's words what is to be done to the order; None if nothing is."""
    state, text = turn.before, turn.text
    plain = normal(text)
    said = without_address(text, asked=state.asked == ASK_ADDRESS)
    heard = listen(_MENU, said, state.dishes)
    return (
        _of_open_wishes(state, said, heard)
        or _changed(state, text, plain, heard)
        or _answered(state, text, plain)
        or _vague(state, plain, heard)
    )


# Answers


def _of_open_wishes(state: State, text: str, heard: Heard) -> Plan | None:
    """Take the words as the answer to what a tool wanted to know."""
    if not state.wishes:
        return None
    uses = []
    every = bool(re.search(r"\b(?:both|all|each|every)\b", normal(text)))
    used: list[HeardWish] = []
    for wish in state.wishes if every else state.wishes[:1]:
        if (given := _completed(wish, text, heard)) is None:
            break
        uses.append(Use(wish.tool, **given))
        used += [each for each in heard.wishes if _is_about(each, given)]
    if uses:
        more = [_add(each, "") for each in heard.wishes if each not in used]
        return Plan(uses + more + _way_uses(state, text))
    declined = yes_or_no(text) is False or kind_of(text, ("nothing",))
    if heard.wishes or not state.wishes[0].is_question:
        return None
    if declined or "never mind" in normal(text):
        return Plan(say=DROPPED, closing=kind_of(text, ("nothing",)) == "nothing")
    return Plan() if heard.kind else None  # that question is asked again


def _is_about(heard: HeardWish, given: dict[str, Any]) -> bool:
    """Whether what was named is the answer itself, and nothing else to have as well."""
    return given["item"] in heard.dishes or normal(heard.text) == normal(str(given["item"]))


def _completed(wish: Wish, text: str, heard: Heard) -> dict[str, Any] | None:
    """Give what add_item is given next for an open wish; None if the words are no answer."""
    given = dict(wish.given)
    if "as a topping" in wish.problem and "Which" not in wish.problem:
        return _other_toppings(given, text, heard)
    size = heard.size or next((each.size for each in heard.wishes if each.size), None)
    if wish.problem.startswith("Which size"):
        named = [each for each in heard.wishes if wish.item in each.dishes]
        if heard.wishes and not named and not heard.size:
            return None
        if _only_toppings(heard):
            return _topped(given, heard.toppings, wish.tool)
        more = [*heard.toppings, *heard.extras, *(each for wish in named for each in wish.toppings)]
        return _topped({**given, "size": size}, more, wish.tool) if size else None
    if "Would you like" in wish.problem or "The nearest we have is" in wish.problem:
        return _offered(given, wish, text, heard)
    names = [dish.name for dish in _MENU.candidates(wish.item)]
    chosen = _chosen(names, text, heard)
    if chosen is None:
        return _topped(given, heard.toppings, wish.tool) if _only_toppings(heard) else None
    given = _topped({**given, "item": chosen}, heard.toppings, wish.tool)
    return {**given, "size": size} if size else given


def _only_toppings(heard: Heard) -> bool:
    return bool(heard.toppings) and not (heard.wishes or heard.size or heard.targets)


def _topped(given: dict[str, Any], more: list[str], tool: str) -> dict[str, Any]:
    """Give the same with more toppings."""
    if not more:
        return given
    where = "toppings" if tool == "add_item" else "add_toppings"
    return {**given, where: [*given.get(where, ()), *more]}


def _chosen(names: list[str], text: str, heard: Heard) -> str | None:
    """Give which of several dishes an answer means."""
    for each in heard.wishes:
        fitting = [name for name in each.dishes if name in names]
        if len(fitting) == 1:
            return fitting[0]
        if len(each.dishes) == 1:
            return None  # something else altogether
    kinds = [name for name in names if heard.kind and _MENU.dish(name).kind == heard.kind]
    if len(kinds) == 1:
        return kinds[0]
    found = choose(text, [Option(name, name) for name in names])
    return found.value if found else None


def _other_toppings(given: dict[str, Any], text: str, heard: Heard) -> dict[str, Any] | None:
    """Take other toppings for one that there is not, or none."""
    known = [each for each in given.get("toppings", ()) if _MENU.topping(each)]
    if heard.toppings:
        return {**given, "toppings": [*known, *heard.toppings]}
    if heard.wishes or (heard.size and not given.get("size")):
        return None
    if _LEAVING.search(text) or yes_or_no(text) is not None:
        return {**given, "toppings": known}
    return None


def _offered(given: dict[str, Any], wish: Wish, text: str, heard: Heard) -> dict[str, Any] | None:
    """Take what was offered in place of what there is not."""
    taken = yes_or_no(text) or re.search(r"\b(?:that|it|one) then\b", normal(text))
    if heard.wishes or wish.age or not taken or type_in(text):
        return None
    if "Would you like" in wish.problem:
        topping = wish.problem.partition(" is a topping")[0].lower()
        return {**given, "item": "cheese pizza", "toppings": [topping]}
    near = re.search(r"The nearest we have is (.+)\.", wish.problem)
    return {**given, "item": near[1]} if near else None


def _answered(state: State, text: str, plain: str) -> Plan | None:
    """Take yes, no, and that is all, as what was asked last makes of them."""
    if _ORDER_NOW.search(plain):
        return Plan([Use("place_order")]) if state.read else Plan(closing=True)
    nothing = kind_of(text, ("nothing",)) == "nothing" or bool(_ALL.search(plain))
    yes = yes_or_no(text)
    if state.asked == PERSON and yes is not None:
        return connected(state) if yes else Plan(say="All right.")
    if state.waiting and plain in ("ok", "okay", "all right", "alright"):
        return Plan()  # they are back, which is no yes
    if state.asked == PLACE:
        if yes or (nothing and yes is None) or (yes is None and _ASSENT.search(plain)):
            # An order that changed since it was read is read again.
            return Plan([Use("place_order")]) if state.read else Plan(closing=True)
        return Plan(say=CHANGE) if yes is False else None
    if nothing or yes is False:
        return _nothing_more(state)
    if state.asked == MORE and _FINE.fullmatch(plain):
        return Plan(closing=True)
    return _go_on(state) if yes else None


def _nothing_more(state: State) -> Plan:
    if state.order.lines:
        return Plan(closing=True)
    if state.asked == TEXT:
        return Plan(say=f"All right. {DONE}")
    if state.asked == DONE or state.placed:
        return Plan([Use("hang_up")], say="Thank you for calling. Goodbye.")
    return Plan(say=f"All right. {DONE}")


def _go_on(state: State) -> Plan | None:
    if state.asked == TEXT:
        return Plan([Use("send_confirmation", about="order", by="sms")])
    if state.asked in (MORE, DONE):
        return Plan(say=ASK_ITEM)
    if state.asked in (ASK_TYPE, ASK_ADDRESS, CHANGE, EMAIL):
        return Plan(say=state.asked)
    return None


# Changes


def _changed(state: State, text: str, plain: str, heard: Heard) -> Plan | None:
    """Give what the words change: items, how they get to the caller, or both."""
    way = _way_uses(state, text)
    if _ALL_OF_IT.search(plain):
        if not state.order.lines:
            return Plan(say="There is nothing in the order.")
        return Plan([Use("remove_item", line="everything")])
    if _HALVES.search(plain):
        return Plan(say=_NO_HALVES)
    uses = (
        _removals(state, plain, heard)
        or _more_of_it(state, plain, heard)
        or _alterations(state, plain, heard)
        or _noted(state, text.lower(), heard)
    )
    if not uses:
        uses = [_add(wish, text.lower()) for wish in heard.wishes]
        uses += [Use("add_item", item=name) for name in heard.unknown]
    uses += way
    if not uses:
        known = type_in(text) is not None
        return Plan(closing=state.asked == ASK_TYPE) if known else None
    if any(use.arguments.get("quantity", 1) > MAX_QUANTITY for use in uses):
        return Plan(say=_TOO_MANY)
    done = kind_of(text, ("nothing",)) == "nothing" or _ALL.search(plain)
    asked = state.asked in (ASK_TYPE, ASK_ADDRESS, PLACE, CHANGE) and bool(state.order.lines)
    return Plan(uses, closing=bool(asked or done))


def _way_uses(state: State, text: str) -> list[Use]:
    """Set how the order gets to the caller, if the words say so and it is news."""
    asked = state.asked == ASK_ADDRESS
    address, way = address_in(text, asked=asked), type_in(text)
    if address and way != "pickup":
        return [Use("set_order_type", type="delivery", address=address)]
    if way and way != state.order.type:
        return [Use("set_order_type", type=way)]
    if asked and not address and _may_be_address(text):
        return [Use("set_order_type", type="delivery", address=text.strip(" .!"))]
    return []


def _may_be_address(text: str) -> bool:
    """Whether words without a number may still be meant as an address: the tool decides."""
    return (
        yes_or_no(text) is None
        and len(text.split()) in range(2, 9)
        and not text.rstrip().endswith("?")
        and not listen(_MENU, text)
        and kind_of(text) is None
        and not re.search(r"\b(?:do not|don't|wait|moment|address|what|how|know)\b", text.lower())
    )


def _add(wish: HeardWish, text: str) -> Use:
    given: dict[str, Any] = {"item": wish.dishes[0] if len(wish.dishes) == 1 else wish.text}
    if wish.toppings and re.fullmatch(r"pizzas?|pies?", wish.text):
        given["item"] = "cheese pizza"  # what people mean by a pizza with mushrooms
    if wish.size:
        given["size"] = wish.size
    if wish.toppings:
        given["toppings"] = wish.toppings
    if wish.quantity != 1:
        given["quantity"] = wish.quantity
    notes = [f"no {part}" for part in wish.left_out] + [each[0] for each in _NOTE.finditer(text)]
    if notes:
        given["note"] = "; ".join(notes)
    return Use("add_item", **given)


def _more_of_it(state: State, plain: str, heard: Heard) -> list[Use]:
    """Take one more, or so many, of what was spoken of last."""
    if not state.focus or heard.wishes or heard.toppings or heard.targets:
        return []
    line = find_line(state.order, state.focus)
    if heard.size and re.search(r"\b(?:another|one more)\b", plain):
        return [Use("add_item", item=line.dish, size=heard.size)] if line.size else []
    count = heard.count if _SO_MANY.search(plain) else None
    if _ONE_MORE.search(plain):
        count = line.quantity + 1
    if count and count != line.quantity:
        return [Use("change_item", line=state.focus, quantity=count)]
    return []


def _noted(state: State, text: str, heard: Heard) -> list[Use]:
    """Note a wish for the kitchen with what was spoken of last."""
    found = _NOTE.search(text)
    if found is None or not state.focus or heard.wishes:
        return []
    old = find_line(state.order, state.focus).note
    note = f"{old}; {found[0]}" if old else found[0]
    return [Use("change_item", line=state.focus, note=note)]


def _removals(state: State, plain: str, heard: Heard) -> list[Use]:
    """Take out lines, or what is on them."""
    lines = state.order.lines
    if not lines:
        return []
    if _REMOVE.search(plain) or state.asked == TAKE_OUT:
        named = [*heard.targets, *(name for wish in heard.wishes for name in wish.dishes)]
        found = [line for line in lines if line.dish in named and _fits(line, heard)]
        if found and not heard.left_out and not _MAKE.search(plain):
            some = {"quantity": heard.count} if _some_of(found[0], heard) else {}
            return [Use("remove_item", line=found[0].spoken(), **some)]
        line = _of_size(state, plain)
        if line and not (heard.left_out or heard.toppings or heard.wishes):
            return [Use("remove_item", line=line.spoken())]
        if _IT.search(plain) and not heard.toppings and not heard.wishes:
            return [Use("remove_item", line=state.focus or lines[-1].spoken())]
        parts = [*heard.left_out, *heard.toppings, *_parts_named(heard)]
        if not parts and heard.count and len(lines) == 1:
            return [Use("remove_item", line=lines[0].spoken(), quantity=heard.count)]
    else:
        parts = [] if heard.wishes else heard.left_out
    if not parts:
        return []
    line = _line_with(state, heard, parts)
    return [Use("change_item", line=line.spoken(), remove_toppings=parts)]


def _parts_named(heard: Heard) -> list[str]:
    return [wish.text for wish in heard.wishes if _MENU.topping(wish.text)]


def _fits(line: Line, heard: Heard) -> bool:
    sizes = [heard.size, *(wish.size for wish in heard.wishes)]
    wanted = [size for size in sizes if size]
    return not wanted or line.size in wanted


def _some_of(line: Line, heard: Heard) -> bool:
    return heard.count is not None and heard.count < line.quantity


def _line_with(state: State, heard: Heard, parts: list[str]) -> Line:
    """Give the line that has what is to be taken off, the one spoken of last before others."""
    candidates = _candidates(state, heard)
    for line in candidates:
        on_it = [*line.toppings, *_MENU.dish(line.dish).contains]
        if any(words(part)[:1] and _on(part, on_it) for part in parts):
            return line
    return candidates[0]


def _on(part: str, on_it: list[str]) -> bool:
    topping = _MENU.topping(part)
    return (topping is not None and topping.name in on_it) or words(part) in [
        words(each) for each in on_it
    ]


def _candidates(state: State, heard: Heard) -> list[Line]:
    """Give the lines a sentence may be about, the likeliest first."""
    lines = list(state.order.lines)[::-1]
    named = [line for line in lines if line.dish in heard.targets]
    spoken_of = [line for line in lines if line.spoken() == state.focus]
    return named or [*spoken_of, *(line for line in lines if line not in spoken_of)]


def _alterations(state: State, plain: str, heard: Heard) -> list[Use]:
    """Change a line: its size, number, toppings, or the dish."""
    if not state.order.lines or (_ADDING.search(plain) and heard.wishes):
        return []
    making = bool(_MAKE.search(plain)) or plain.startswith("actually")
    line = _of_size(state, plain) or _candidates(state, heard)[0]
    given: dict[str, Any] = {}
    if heard.wishes:
        if not making:
            return []
        wish = heard.wishes[-1]
        same = [each for each in state.order.lines if each.dish in wish.dishes]
        if same:
            line = same[-1]
        elif not (_MAKE.search(plain) or heard.targets):
            return []
        else:
            given["item"] = wish.dishes[0] if len(wish.dishes) == 1 else wish.text
        given |= _news(line, wish.size, wish.quantity if wish.quantity > 1 else None)
        given |= {"add_toppings": wish.toppings} if wish.toppings else {}
    else:
        toppings = heard.toppings
        if (toppings or heard.size) and not line.size:
            line = next((e for e in _candidates(state, heard) if e.size), line)
        if toppings and not line.size:
            return [Use("add_item", item=toppings[0])]
        given |= _news(line, heard.size, heard.count if making or heard.targets else None)
        given |= {"add_toppings": toppings} if toppings else {}
    return [Use("change_item", line=line.spoken(), **given)] if given else []


def _of_size(state: State, plain: str) -> Line | None:
    """Give the line that `the small one` is."""
    found = re.search(r"\bthe (small|medium|large)(?: (?:one|pizza|pie)\b|$)", plain)
    lines = [line for line in state.order.lines if found and line.size == found[1]]
    return lines[-1] if lines else None


def _news(line: Line, size: str | None, count: int | None) -> dict[str, Any]:
    news: dict[str, Any] = {}
    if size and size != line.size:
        news["size"] = size
    if count and count != line.quantity:
        news["quantity"] = count
    return news


def _options(kind: str) -> list[Option]:
    return [Option(dish.name, dish.name) for dish in _MENU.of_kind(kind)]


def _vague(state: State, plain: str, heard: Heard) -> Plan | None:
    """Let the tool ask which, or say that there is no such thing."""
    if re.match(r"(?:remove|cancel|delete|drop|take (?:off|out|away))\b", plain):
        names = listed([line.spoken() for line in state.order.lines], "or")
        return Plan(
            say=f"There is {names}. {TAKE_OUT}" if names else "There is nothing in the order."
        )
    if heard.kind:
        return Plan([Use("add_item", item=heard.kind)])
    if heard.toppings:
        return Plan([Use("add_item", item=heard.toppings[0])])
    if state.listed and (chosen := choose(plain, _options(state.listed))):
        return Plan([Use("add_item", item=chosen.value)])
    if other := _BY_THE_WAY.fullmatch(plain):
        return Plan([Use("add_item", item=other["what"])])
    wants = _WANTS.search(plain)
    if wants and not _JUST_ORDER.search(plain):
        what = " ".join(re.split(r"\b(?:please|for|with)\b", wants["what"])[0].split()[:4])
        if what and not re.match(r"(?:to|know|ask|speak|talk|that|it|you|help)\b", what):
            return Plan([Use("add_item", item=what)])
    if _JUST_ORDER.search(plain):
        return Plan(say=f"Sure. {ASK_ITEM}" if not state.order.lines else "")
    return None
