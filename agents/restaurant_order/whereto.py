"""Where an order goes to, in what callers say: addresses, pickup or delivery, e-mail addresses.

For the offline stand-in only, like `heard`.
"""

from __future__ import annotations

import re
from typing import Final

from .order import OrderType

_STREET: Final = (
    r"(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|way|court|ct|place|pl|"
    r"square|terrace|highway|hwy|broadway|alley|parkway|plaza|row)"
)
_NUMBER: Final = (
    r"(?:\d+[a-z]?|(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|"
    r"fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|"
    r"seventy|eighty|ninety|hundred|oh)(?:[\s-](?:one|two|three|four|five|six|seven|eight|nine|"
    r"ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred))*)"
)
_AFTER: Final = (
    r"(?:\s*,?\s*(?:(?:apartment|apt|unit|suite|flat|floor|number|#)\.?\s*\w+|"
    r"san francisco|california|ca\b|\d{5}))*"
)
_NO_PREPOSITION: Final = r"(?!(?:on|with|of|in|at|to|for|and|or|small|medium|large)\b)"
_FULL: Final = re.compile(
    rf"\b(?P<address>{_NUMBER}\s+(?:{_NO_PREPOSITION}[\w'.-]+\s+){{0,3}}?{_STREET}\b\.?{_AFTER})",
    re.IGNORECASE,
)
_SAID: Final = re.compile(
    rf"\b(?:(?:deliver(?:y|ed)?|send|bring|ship)(?:\s+(?:it|that|this|them|the order))?"
    rf"(?:\s+please)?\s+(?:to|at)|(?:my|the) (?:new )?address is(?: now)?|i live at|"
    rf"i(?:'m| am) at|address:|change (?:the|my) address to)\s+(?P<address>{_NUMBER}\s+[^.!?]+)",
    re.IGNORECASE,
)
_END: Final = re.compile(
    r"(?:,\s*)?\b(?:please|thanks|thank you|and (?:i|a|an|also|can|could|make|one|two|add|then)\b|"
    r"with (?:a|an|one|two)\b|i'?d like|i want|can i).*$|[\s,.!?]+$",
    re.IGNORECASE,
)
_PICKUP: Final = re.compile(
    r"\b(?:pick(?:ing|ed)?[ -]?(?:it |that |them )?up|collect(?:ing)?|carry ?-?out|"
    r"take-?\s?(?:away|out)\b(?! (?:one|two|the|that|my|a|it)\b)|"
    r"come (?:by|and get|and pick|get it|over)|to go\b|fetch)",
    re.IGNORECASE,
)
_DELIVERY: Final = re.compile(
    r"\b(?:deliver(?:y|ed|ing)?|bring (?:it|that|them)|send (?:it|that) (?:to|over))\b",
    re.IGNORECASE,
)
_NOT_THIS: Final = re.compile(
    r"\b(?:not|instead of|rather than|no longer|do(?:n't| not) want(?: it)?)\s+(?:for |a |it )?"
    r"(?P<what>pick(?:ed)?[ -]?up|deliver(?:y|ed))",
    re.IGNORECASE,
)


def address_in(text: str, *, asked: bool = False) -> str:
    """Give the address in a sentence; asked: any words with a number may be one."""
    if found := _FULL.search(text):
        return found["address"].strip(" ,.")
    if found := _SAID.search(text):
        return _END.sub("", found["address"]).strip(" ,.")
    if asked and re.search(rf"^\W*(?:\w+\W+){{0,4}}?{_NUMBER}\s+\w", text, re.IGNORECASE):
        rest = re.sub(r"^.*?(?=\b" + _NUMBER + r"\s+\w)", "", text, count=1, flags=re.IGNORECASE)
        return _END.sub("", rest).strip(" ,.")
    return ""


def without_address(text: str, *, asked: bool = False) -> str:
    """Leave an address out, so that its number counts nothing."""
    address = address_in(text, asked=asked)
    return text.replace(address, " ") if address else text


def type_in(text: str) -> OrderType | None:
    """Give how the caller wants to get the order, if they say so; the last word counts."""
    kept = _NOT_THIS.sub(" ", text)
    found: list[tuple[int, OrderType]] = [
        *((each.start(), "pickup") for each in _PICKUP.finditer(kept)),
        *((each.start(), "delivery") for each in _DELIVERY.finditer(kept)),
    ]
    if found:
        return max(found)[1]
    if denied := _NOT_THIS.search(text):
        return "delivery" if denied["what"].startswith("pick") else "pickup"
    return None


_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


def email_in(text: str) -> str:
    """Give the e-mail address in a sentence, also where it was spoken: `ada at example dot com`."""
    if found := _EMAIL.search(text):
        return found[0].strip(".").lower()
    plain = re.sub(r"\s+(?:dot|period|point)\s+", ".", text.strip(" ."), flags=re.IGNORECASE)
    plain = re.sub(r"\s+(?:underscore)\s+", "_", plain, flags=re.IGNORECASE)
    plain = re.sub(r"\s+(?:dash|hyphen|minus)\s+", "-", plain, flags=re.IGNORECASE)
    spoken = re.sub(r"\s+at\s+(?=[\w-]+\.)", "@", plain, count=1, flags=re.IGNORECASE)
    found = _EMAIL.search(spoken)
    return found[0].strip(".").lower() if found else ""
