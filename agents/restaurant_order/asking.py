"""What callers ask the shop, and which tool knows the answer. For the offline stand-in only."""

from __future__ import annotations

import re
from typing import Final

from voxyray.models.offline import Use, normal

from . import order as orders
from .heard import Heard, listen
from .menu import Kind
from .ordering import Plan
from .recall import PERSON, State, Turn
from .shop import SHOP
from .whereto import address_in, email_in

_QUESTION: Final = re.compile(
    r"^(?:(?:so|and|but|ok|okay|sorry|wait|hi|hello|hey|um|actually|yes|no|then) )*"
    r"(?:what|which|how|when|where|who|is|are|does|do|did|have you|got any|tell me|can you tell|"
    r"could you tell|until when|read|repeat|any)\b"
)
_SEND: Final = re.compile(
    r"\b(?:text|sms|e ?mail|message|mail|send)\b(?! address)|\bconfirmation\b|"
    r"\bin writing\b"
)
_PLEASE_SEND: Final = re.compile(
    r"\b(?:text|sms|email|e mail|mail|send|message) (?:me|us|it|that|the|my|them|a)\b|"
    r"\b(?:by|via|per|a|an|as) (?:text|sms|email|e mail|mail)\b|\bconfirmation\b|"
    r"^(?:yes |no |then |just |please )*(?:text|sms|email|e mail)(?: message)?(?: please)?$"
)
_HOURS: Final = re.compile(
    r"\b(?:hours|opening|open|opened|close|closed|closing)\b(?! my| the order| it\b)"
)
_PLACE: Final = re.compile(
    r"\bwhere (?:are|is|you(?! my\b)|can i find|do i (?:pick|go|come|find))\b|"
    r"\bdirections?\b|\blocated\b|\b(?:your|shop|restaurant|store) (?:address|location)\b|"
    r"\bhow do i (?:get|find)\b|\blocation\b|\bspear\b"
)
_TIME: Final = re.compile(
    r"\bhow (?:long|soon|fast|quick)\b|\bwhen (?:will|is|can|would|do|should|could) (?!you|the "
    r"(?:shop|restaurant|store))|\bwhat time (?:will|is|can|should|would)\b(?! it$)|\bhow much "
    r"(?:time|longer)\b|\bwait(?:ing)? time\b|\bready (?:by|in|at)\b"
)
_PAST: Final = re.compile(
    r"\b(?:last|previous|past|earlier|former|old) (?:time|orders?|call)\b|\bthe usual\b|"
    r"\bmy usual\b|\bsame (?:as|again|thing as)\b|\border(?:ed)? before\b|\border history\b"
)
_TOTAL: Final = re.compile(
    r"\b(?:total|so far|altogether|all together|in all|i owe|owe you|comes? to)\b|"
    r"\bhow much (?:is|will|would|does|do) (?:it|that|this|all|everything|my order|the order|i|"
    r"they)\b|\b(?:read|repeat|review|go over|tell me|say)\b.*\b(?:my|the|our) order\b|"
    r"\bread (?:it|that|everything) back\b|"
    r"\bwhat (?:do|did|have) i (?:just )?(?:have|order|get|got)|"
    r"\bwhat (?:is|was) (?:in|on) (?:my|the) order|\bwhat (?:is|was) my order\b"
)
_PRICE: Final = re.compile(r"\bhow much\b|\bprices?\b|\bcosts?\b|\bcharge\b|\bexpensive\b|\bcheap")
_HAVE: Final = re.compile(
    r"\b(?:do you (?:guys )?(?:have|sell|serve|do|make|offer|carry)|have you got|is there|are "
    r"there|got any|you (?:have|got|serve|sell))\b ?(?P<what>.*)"
)
_DELIVER: Final = re.compile(
    r"\b(?:do|can|could|would|will) you (?:guys )?(?:also |even |still )?deliver(?:y)?\??$|"
    r"\b(?:do you (?:do|have|offer)|is there) (?:a )?(?:delivery|pick ?up|take ?out)\b|"
    r"^(?:is it |for )?(?:delivery or pick ?up|pick ?up or delivery)$"
)
_DIET: Final = re.compile(
    r"\b(?:gluten|vegan|halal|kosher|dairy|lactose|allerg\w*|nuts?|keto|celiac|organic)\b"
)
_WHICH: Final = re.compile(r"\b(?:which|what) (?:ones?|kinds?|sorts?|types?|options|are they)\b")
_COMPLAINT: Final = re.compile(
    r"\b(?:not here|not (?:come|arrived)|never (?:came|arrived|got|received)|wrong order|"
    r"complain\w*|refund|(?:was|is|were|are) (?:cold|late|missing|burnt)|"
    r"food poisoning|ordered .* ago)\b"
)
_DAY: Final = re.compile(
    r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\btonight\b|\btomorrow\b"
)
_NO_PROMISE: Final = (
    "I can't promise anything about that. I can put you through to a person who knows."
)
_MENU: Final = re.compile(
    r"\bmenu\b|\bspecials?\b|\brecommend\b|\bwhat (?:do you (?:have|sell|serve|offer|do|make)|"
    r"can i|have you)\b|\bwhat is (?:there|good|popular|available|tasty)\b|\bwhat else\b"
)
_TOPPINGS: Final = re.compile(r"\btoppings?\b")
_KIND_WORDS: Final = re.compile(r"\b(pizza|calzone|salad|starter|appetizer)s?\b")
_NOTHING: Final = re.compile(
    r"\b(?:a|an|any|some|the|in|on|menu|today|there|here|too|also|for|me|us|please|good|nice|"
    r"options?|kinds?|sorts?|of|stuff|anything|something|what)\b"
)


def asked_for(turn: Turn) -> Plan | None:
    """Answer a question; None if the caller's words are none."""
    state, text = turn.before, turn.text
    plain = normal(text)
    if plan := _sending(state, text, plain):
        return plan
    if _DIET.search(plain):
        return Plan(say=_NO_PROMISE)
    if _COMPLAINT.search(plain):
        return Plan(say=f"I'm sorry about that. {PERSON}")
    if state.wishes and _WHICH.search(plain):
        return Plan()  # that question is asked again
    if _DELIVER.search(plain):
        return Plan(say="Yes. We deliver, and you can pick up, too.")
    if _PAST.search(plain):
        return Plan([Use("past_orders")])
    heard = listen(SHOP.menu, text, state.dishes)
    if _TOTAL.search(plain) and not re.search(r"\b(?:cancel|place|change)\b", plain):
        return Plan([Use("read_order")])
    if not is_question(plain, text):
        return None
    return _about_shop(plain, state) or _about_menu(plain, heard, state)


def is_question(plain: str, text: str) -> bool:
    """Whether the caller wants to know something."""
    asks = text.rstrip().endswith("?") and not re.search(
        r"\b(?:can|could|may|might|would|will) (?:i|we|you)\b|\bi (?:want|would like)\b|^make\b",
        plain,
    )
    alone = re.fullmatch(
        r"(?:the |your |opening |and |about )*(?:hours|menu|location|address|toppings|prices?)"
        r"(?: please)?",
        plain,
    )
    told = re.search(r"\b(?:want|like|need) to (?:know|hear|ask)\b", plain)
    return bool(_QUESTION.search(plain) or asks or alone or told)


def _about_shop(plain: str, state: State) -> Plan | None:
    if re.search(r"\bwhere (?:is|are) (?:my|our|the) (?:order|food|pizzas?|delivery)\b", plain):
        return Plan([Use("waiting_time")]) if state.placed else Plan(say=f"I'm sorry. {PERSON}")
    if _PLACE.search(plain) or plain in ("address", "the address"):
        return Plan(say=SHOP.spoken_place())
    if _TIME.search(plain) and not re.search(r"\b(?:open|close)\b", plain):
        return Plan([Use("waiting_time")])
    if _HOURS.search(plain) or _DAY.search(plain):
        return Plan([Use("opening_hours")])
    return None


def _about_menu(plain: str, heard: Heard, state: State) -> Plan | None:
    """Look up a dish, a kind, or all there is."""
    if state.focus and re.search(r"\b(?:in|on|with|about) (?:it|that|this|them)\b", plain):
        return Plan([Use("look_up_menu", item=orders.find_line(state.order, state.focus).dish)])
    if name := _named(heard):
        return Plan([Use("look_up_menu", item=name)])
    if state.wishes and _PRICE.search(plain):
        return Plan([Use("look_up_menu", item=state.wishes[0].item)])
    if _TOPPINGS.search(plain):
        return Plan([Use("look_up_menu", kind="topping")])
    if kind := _KIND_WORDS.search(plain):
        found: Kind | str = "starter" if kind[1] == "appetizer" else kind[1]
        return Plan([Use("look_up_menu", kind=found)])
    if re.search(r"\bsizes?\b", plain):
        return Plan(say="Pizzas come in small, medium and large.")
    if have := _HAVE.search(plain):
        what = " ".join(_NOTHING.sub(" ", have["what"]).split())
        if what and not re.search(r"\bmenu\b", plain):
            return Plan([Use("look_up_menu", item=what[:60])])
    if _MENU.search(plain):
        if state.order.lines and re.search(r"\bwhat is (?:it|that|this)\b", plain):
            return Plan([Use("read_order")])
        return Plan(say="There are starters, salads, pizzas and calzones. What are you hungry for?")
    return None


def _named(heard: Heard) -> str:
    for wish in heard.wishes:
        if _KIND_WORDS.fullmatch(wish.text):
            continue
        return wish.dishes[0] if len(wish.dishes) == 1 else wish.text
    return next(iter([*heard.targets, *heard.toppings, *heard.unknown]), "")


def _sending(state: State, text: str, plain: str) -> Plan | None:
    """Send what is to be sent; an e-mail where one is asked for or an address is given."""
    address = email_in(text)
    if not address and (not _PLEASE_SEND.search(plain) or address_in(text)):
        return None
    if (
        re.search(r"\bsend (?:it|that|them)\b", plain)
        and not re.search(r"\b(?:text|sms|mail|email|phone)\b", plain)
        and not state.placed
    ):
        return None
    about = "order"
    if _HOURS.search(plain):
        about = "hours"
    elif re.search(r"\b(?:location|address|directions|where)\b", plain) and not address:
        about = "location"
    if re.search(r"\b(?:no|not|without)\b.*\b(?:text|sms|confirmation|message)\b", plain) and not (
        address or re.search(r"\bmail\b|\bemail\b", plain)
    ):
        return None
    by = "email" if address or re.search(r"\be ?mail\b|\bmail\b", plain) else "sms"
    if state.sent and (about, by) == ("order", "sms") and "again" not in plain:
        return Plan(say="The text message is on its way already.")
    given = {"about": about, "by": by, **({"email": address} if address else {})}
    return Plan([Use("send_confirmation", **given)])
