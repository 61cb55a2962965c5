"""Fills the slots of an `offline.toml` from what a caller says and from what is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from voxyray.models.offline.choices import Option, choose
from voxyray.models.offline.definition import Definition, Fact, Intent, Slot
from voxyray.models.offline.names import Name, correct_name, find_name
from voxyray.models.offline.numbers import number
from voxyray.models.offline.talk import Talk
from voxyray.models.offline.words import correction, yes_or_no

_NAMES = ("first_name", "last_name")


class Filling(msgspec.Struct, frozen=True):
    """What a slot holds; value is what a tool is given, None if the caller refused to say."""

    value: Any = None
    spoken: str = ""
    fields: Mapping[str, str] = {}

    def __hash__(self) -> int:
        return hash((str(self.value), self.spoken))


def options(definition: Definition, slot: str, talk: Talk) -> list[Option]:
    """Give what can be chosen, from the script or from the instructions."""
    of = definition.slots[slot]
    if not of.fact:
        return [
            Option(value, aliases[0] if aliases else value, aliases)
            for value, aliases in of.choices.items()
        ]
    found = talk.facts(definition.facts[of.fact].pattern)
    return [
        Option(
            fields.get(of.value, ""),
            fields.get(of.spoken or of.value, ""),
            about=fields.get(of.about, ""),
            fields=fields,
        )
        for fields in found
    ]


class Filler:
    """Finds slots in sentences; known holds what the instructions say already."""

    def __init__(self, definition: Definition, talk: Talk) -> None:
        self.of = definition
        self.talk = talk
        self.known = {
            name: Filling(value, value)
            for name in definition.slots
            if name in definition.facts and (value := self.fact(name))
        }

    def fact(self, name: str, field: str = "") -> str:
        """Give a fact, or one field of it, in words; several are joined; empty if unknown."""
        fact = self.of.facts[name]
        words = [_value(found, field) for found in self._matches(fact)]
        words = [word for word in words if word]
        if all(word.endswith((".", "!", "?")) for word in words):
            return " ".join(words)
        return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)

    def _matches(self, fact: Fact) -> list[re.Match[str]]:
        found = list(re.finditer(fact.pattern, self.talk.system, re.MULTILINE))
        return found if fact.many else found[:1]

    def asked(
        self, text: str, needs: Iterable[str], slots: Mapping[str, Filling]
    ) -> dict[str, Filling]:
        """Take a sentence as the answer to the first open question, or as a change of an answer."""
        wanted = list(needs)
        first = next((name for name in wanted if name not in slots), "")
        kind = self.of.slots[first].kind if first else ""
        if kind in _NAMES or (not first and self._named(wanted)):
            return self._names(text, wanted, slots)
        if not first:
            found = ((name, self._one(name, text)) for name in wanted)
            return {name: filling for name, filling in found if filling is not None}
        filling = self._one(first, text)
        if filling is None and self._named(wanted) and correction(text) is not None:
            return self._names(text, wanted, slots)
        return {first: filling} if filling is not None else {}

    def corrected(
        self, text: str, needs: Iterable[str], slots: Mapping[str, Filling]
    ) -> dict[str, Filling]:
        """Take a sentence as another answer to questions that were answered before."""
        wanted = list(needs)
        if self._named(wanted):
            return self._names(text, wanted, slots)
        structured = [name for name in wanted if self.of.slots[name].kind != "text"]
        found = {name: self._one(name, text) for name in structured}
        return {name: filling for name, filling in found.items() if filling is not None}

    def volunteered(self, text: str) -> dict[str, Filling]:
        """Find what says itself to be a certain slot, such as `my name is Ada`."""
        found: dict[str, Filling] = {}
        rest = correction(text) or text
        for name, slot in self.of.slots.items():
            if slot.kind == "choice" and slot.unasked:
                option = choose(rest, options(self.of, name, self.talk), asked=False)
                if option is not None:
                    found[name] = _of_option(option)
        named = find_name(text, asked=False)
        return {**found, **self._given(named, self.of.slots)}

    def captured(self, text: str, intent: Intent) -> dict[str, Filling]:
        """Take what the named groups of an intent's patterns hold."""
        captured: dict[str, Filling] = {}
        for pattern in intent.patterns:
            found = re.search(pattern, text[:400], re.IGNORECASE)
            for name, words in (found.groupdict() if found else {}).items():
                captured.update(self.asked(words, [name], {}) if words else {})
        return captured

    def _named(self, wanted: Iterable[str]) -> bool:
        return any(self.of.slots[name].kind in _NAMES for name in wanted)

    def _names(
        self, text: str, wanted: list[str], slots: Mapping[str, Filling]
    ) -> dict[str, Filling]:
        """Take a name; one word is the part that was asked for, or the part it sounds like."""
        rest = correction(text)
        name = find_name(rest or text)
        kinds = {self.of.slots[slot].kind: slot for slot in wanted}
        first, last = kinds.get("first_name", ""), kinds.get("last_name", "")
        if name.first and not name.last and last:
            if rest is not None or last in slots:
                name = correct_name(name, Name(_spoken(slots, first), _spoken(slots, last)))
            elif first in slots or not first:
                name = Name("", name.first)
        return self._given(name, wanted)

    def _given(self, name: Name, wanted: Iterable[str]) -> dict[str, Filling]:
        given: dict[str, Filling] = {}
        for slot in wanted:
            kind = self.of.slots[slot].kind
            word = {"first_name": name.first, "last_name": name.last}.get(kind, "")
            if word:
                given[slot] = Filling(word, word)
        return given

    def _one(self, name: str, text: str) -> Filling | None:
        slot = self.of.slots[name]
        if slot.kind == "choice":
            return self._choice(name, text)
        value = _read(slot, text)
        return None if value is None else Filling(value, _in_words(value))

    def _choice(self, name: str, text: str) -> Filling | None:
        open_ = options(self.of, name, self.talk)
        option = choose(correction(text) or text, open_)
        if option is None and len(open_) == 1 and yes_or_no(text):
            option = open_[0]
        return None if option is None else _of_option(option)


def _value(found: re.Match[str], field: str) -> str:
    if field:
        return (found[field] or "").strip()
    return (found[1 if found.re.groups else 0] or "").strip()


def _of_option(option: Option) -> Filling:
    return Filling(option.value, option.name, option.fields)


def _spoken(slots: Mapping[str, Filling], name: str) -> str:
    return slots[name].spoken if name in slots else ""


def _read(slot: Slot, text: str) -> Any:
    """Give the value of a slot that is no name and no choice; None if the text has none."""
    if slot.kind == "number":
        return number(text)
    if slot.kind == "yes_no":
        return yes_or_no(text)
    if slot.kind == "digits":
        return "".join(re.findall(r"\d", text)) or None
    if not slot.pattern:
        return text.strip() or None
    found = re.search(slot.pattern, text, re.IGNORECASE)
    return (found[1] if found.re.groups else found[0]) if found else None


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
