"""What `offline.toml` may hold, read and checked so that a mistake is found when it is loaded."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from voxyray.errors import AgentError
from voxyray.models.offline import smalltalk

SlotKind: TypeAlias = Literal[
    "first_name", "last_name", "number", "digits", "yes_no", "choice", "text"
]
Texts: TypeAlias = tuple[str, ...]

_T = TypeVar("_T")


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that stands in the instructions, found by a regular expression.

    pattern: multi-line; its first group is the fact, its named groups are the fact's fields.
    many: every match counts, as a list.
    """

    pattern: str
    many: bool = False


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something a caller must say.

    ask: the question, and other wordings for when the answer was not understood. optional: a
    caller may refuse. pattern: for `text`, what it must look like (its first group is taken).
    choices: values with other words for them; fact: a list of facts to choose from instead, whose
    fields value, spoken and about are named. unasked: a caller who names one means its intent.
    """

    kind: SlotKind = "text"
    ask: Texts = ()
    optional: bool = False
    pattern: str = ""
    choices: dict[str, Texts] = {}
    fact: str = ""
    value: str = ""
    spoken: str = ""
    about: str = ""
    unasked: bool = False
    no_choice: str = "There is nothing to choose from at the moment."


class Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something a caller may want.

    examples: sentences for it; patterns: regular expressions whose named groups are slots; keys:
    what the caller may press instead. needs: slots to be filled first. confirm: a question before
    it is done. tool and arguments (texts with placeholders, or values): what is done, and success,
    waiting and failure what is said then; without a tool, reply. again: a question asked before it
    is tried again after the caller spoke and so called it off. declined: what is said when the
    caller does not want it. then: the intent to go on with.
    """

    examples: Texts = ()
    patterns: Texts = ()
    keys: Texts = ()
    needs: Texts = ()
    confirm: Texts = ()
    tool: str = ""
    arguments: dict[str, Any] = {}
    reply: Texts = ()
    success: Texts = ()
    waiting: Texts = ("That is taking a moment. I'll tell you when it is done.",)
    failure: Texts = ("I'm sorry, that didn't work.",)
    again: Texts = ()
    declined: Texts = ("That's fine.",)
    then: str = ""


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole script.

    start: intents to begin with, unless the facts have their slots already. greeting: what is said
    if the agent has no greeting of its own. fallback: what is said when nothing was understood.
    unavailable: when a tool is not there. anything_else: after a tool, when nothing is left to ask.
    small_talk: other words for `smalltalk.REPLIES`.

    Wherever there are several wordings, one with more placeholders goes before one with fewer, one
    whose placeholder has nothing to stand for is passed over, and equals take turns.
    """

    facts: dict[str, Fact] = {}
    slots: dict[str, Slot] = {}
    intents: dict[str, Intent] = {}
    start: Texts = ()
    greeting: Texts = ("Hello!",)
    fallback: Texts = (
        "I'm sorry, I didn't understand that.",
        "I'm afraid I don't follow.",
        "That's beyond me, I'm sorry.",
    )
    unavailable: Texts = ("I'm sorry, I can't do that right now.",)
    anything_else: Texts = ("Is there anything else?",)
    small_talk: dict[str, Texts] = {}


def read_definition(text: str, where: str) -> Definition:
    """Read and check a script.

    Raises:
        AgentError: naming the file (where), the table and the fix.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AgentError(f"{where}: {error}") from error
    tables: dict[str, Any] = {}
    kinds: tuple[tuple[str, type[msgspec.Struct]], ...] = (
        ("facts", Fact),
        ("slots", Slot),
        ("intents", Intent),
    )
    for name, kind in kinds:
        table = raw.pop(name, {})
        if not isinstance(table, dict):
            raise AgentError(f"{where}: {name} must hold tables such as [{name}.something]")
        tables[name] = {
            key: _convert(value, kind, f"{where}: {name}.{key}") for key, value in table.items()
        }
    if isinstance(small := raw.get("small_talk"), dict):
        raw["small_talk"] = {kind: _listed(texts) for kind, texts in small.items()}
    rest = _convert(raw, Definition, where)
    definition = msgspec.structs.replace(rest, **tables)
    _Check(definition, where).all()
    return definition


def _convert(value: Any, kind: type[_T], place: str) -> _T:
    """Convert; a single text stands for a list of one."""
    if isinstance(value, dict):
        hints = {name for name in kind.__annotations__ if kind.__annotations__[name] == "Texts"}
        value = {key: _listed(item) if key in hints else item for key, item in value.items()}
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise AgentError(f"{place}: {error}") from None


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class _Check:
    """Finds what could not work in a call."""

    def __init__(self, definition: Definition, where: str) -> None:
        self.of = definition
        self.where = where

    def all(self) -> None:
        """Check everything.

        Raises:
            AgentError: the first mistake.
        """
        for name, fact in self.of.facts.items():
            self._pattern(f"facts.{name}.pattern", fact.pattern)
        for name, slot in self.of.slots.items():
            self._slot(f"slots.{name}", slot)
        for name, intent in self.of.intents.items():
            self._intent(name, intent)
        self._known("start", self.of.start, self.of.intents, "intent")
        self._known("small_talk", self.of.small_talk, smalltalk.REPLIES, "kind of small talk")
        for place, texts in self._texts():
            self._filled(place, texts)

    def _texts(self) -> Iterable[tuple[str, Texts]]:
        yield "greeting", self.of.greeting
        yield "fallback", self.of.fallback
        yield "unavailable", self.of.unavailable
        yield "anything_else", self.of.anything_else
        for kind, texts in self.of.small_talk.items():
            yield f"small_talk.{kind}", texts

    def _filled(self, place: str, texts: Texts) -> None:
        self._some(place, texts)
        self._placeholders(place, texts)

    def _some(self, place: str, texts: Texts) -> None:
        if not any(text.strip() for text in texts):
            self._refuse(place, "needs at least one sentence: silence is dead air")

    def _refuse(self, place: str, problem: str) -> None:
        raise AgentError(f"{self.where}: {place}: {problem}")

    def _pattern(self, place: str, pattern: str) -> re.Pattern[str]:
        try:
            return re.compile(pattern, re.IGNORECASE | re.MULTILINE)
        except re.error as error:
            raise AgentError(f"{self.where}: {place}: {error} in {pattern!r}") from None

    def _known(self, place: str, names: Iterable[str], known: Iterable[str], what: str) -> None:
        there = list(known)
        for name in names:
            if name not in there:
                listed = ", ".join(there) or "none"
                self._refuse(place, f"there is no {what} {name!r}; there are: {listed}")

    def _slot(self, place: str, slot: Slot) -> None:
        self._filled(f"{place}.ask", slot.ask)
        self._placeholders(f"{place}.no_choice", (slot.no_choice,))
        if slot.pattern:
            self._pattern(f"{place}.pattern", slot.pattern)
        if (slot.kind == "choice") != bool(slot.choices or slot.fact):
            self._refuse(place, 'kind = "choice" goes with choices = {...} or fact = "..."')
        if not slot.fact:
            return
        self._known(f"{place}.fact", [slot.fact], self.of.facts, "fact")
        fact = self.of.facts[slot.fact]
        fields = re.compile(fact.pattern, re.MULTILINE).groupindex
        if not fact.many or not slot.value:
            self._refuse(place, f"facts.{slot.fact} must be many, and value name one of its groups")
        for which in ("value", "spoken", "about"):
            if name := getattr(slot, which):
                self._known(f"{place}.{which}", [name], fields, f"group of facts.{slot.fact}")

    def _intent(self, name: str, intent: Intent) -> None:
        place = f"intents.{name}"
        self._known(f"{place}.needs", intent.needs, self.of.slots, "slot")
        if intent.then:
            self._known(f"{place}.then", [intent.then], self.of.intents, "intent")
        for at, pattern in enumerate(intent.patterns):
            groups = self._pattern(f"{place}.patterns[{at}]", pattern).groupindex
            self._known(f"{place}.patterns[{at}]", groups, intent.needs, "slot in needs named")
        if bool(intent.tool) == bool(intent.reply):
            self._refuse(place, "needs either a tool (and success), or a reply")
        if intent.arguments and not intent.tool:
            self._refuse(place, "has arguments but no tool")
        if intent.tool:
            self._some(f"{place}.success", intent.success)
        for which in ("reply", "success", "waiting", "failure", "declined", "confirm", "again"):
            told = which in ("success", "waiting", "failure")
            self._placeholders(f"{place}.{which}", getattr(intent, which), result=told)
        texts = [value for value in intent.arguments.values() if isinstance(value, str)]
        self._placeholders(f"{place}.arguments", texts)

    def _placeholders(self, place: str, texts: Iterable[str], *, result: bool = False) -> None:
        for text in texts:
            for name in self._names(place, text):
                if not (result and name == "result"):
                    self._source(place, name)

    def _names(self, place: str, text: str) -> list[str]:
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise AgentError(f"{self.where}: {place}: {error} in {text!r}") from None
        if any(layout or conversion for _, _, layout, conversion in parts):
            self._refuse(place, f"placeholders are names only: {text!r}")
        return [name for _, name, _, _ in parts if name is not None]

    def _source(self, place: str, name: str) -> None:
        base, _, field = name.partition(".")
        fields: Iterable[str] = ()
        if slot := self.of.slots.get(base):
            if slot.fact in self.of.facts:
                fields = re.compile(self.of.facts[slot.fact].pattern).groupindex
        elif fact := self.of.facts.get(base):
            fields = re.compile(fact.pattern, re.MULTILINE).groupindex
        else:
            self._known(place, [base], [*self.of.slots, *self.of.facts], "slot or fact")
        if field:
            self._known(place, [field], fields, f"field of {base}")
