"""Carries on the dialogue of an `offline.toml`.

Nothing is kept between requests: the whole conversation is gone through again, event by event,
which gives the slots, the goals that are open and the answer that is due.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from voxyray.models.offline import smalltalk
from voxyray.models.offline.definition import Definition, Intent
from voxyray.models.offline.filling import Filler, Filling, options
from voxyray.models.offline.talk import (
    Action,
    Called,
    Event,
    Keyed,
    Noted,
    Replied,
    Said,
    Say,
    Talk,
    Use,
)
from voxyray.models.offline.words import THRESHOLD, best_likeness, correction, normal, yes_or_no

_SURE: Final = 0.9  # likeness from which an intent goes before small talk
_MAX_MISSES: Final = 3
_MAX_FAILURES: Final = 2
_ANSWERED: Final[tuple[smalltalk.Kind, ...]] = ("nothing", "no", "yes")


def respond(definition: Definition, talk: Talk) -> Action:
    """Give what is to be said or done now."""
    return Dialogue(definition, talk).run()


class _Goal(msgspec.Struct):
    """Something that is being done.

    called_off: its tool was to be used, but the caller spoke before. misses: answers that were not
    understood.
    """

    name: str
    confirming: bool = False
    confirmed: bool = False
    called_off: bool = False
    misses: int = 0


class Dialogue:
    """One conversation, gone through once; goals is a stack, its last one is talked about."""

    def __init__(self, definition: Definition, talk: Talk) -> None:
        self.of = definition
        self.talk = talk
        self.filler = Filler(definition, talk)
        self.slots: dict[str, Filling] = dict(self.filler.known)
        self.goals: list[_Goal] = []
        self.done: list[str] = []
        self.failures: dict[str, int] = {}
        self.answer: list[str] = []
        self.outcome: list[str] = []
        self.leaving = ""
        self._turns = 0
        self._misunderstood = 0
        self._settled = False
        self._finished = False
        self._begin()

    def _begin(self) -> None:
        """Open what the script begins with, unless the instructions know it already."""
        for name in reversed(self.of.start):
            needs = self.of.intents[name].needs
            if needs and all(n in self.slots or self.of.slots[n].optional for n in needs):
                self.done.append(name)
            else:
                self._open(name)
        self.answer.clear()

    def run(self) -> Action:
        """Go through all that happened, and give what comes next."""
        events = _since_arrival(self.talk.events)
        for event in events:
            if isinstance(event, Replied):
                self._turns += 1
                self._settled = True
                self._note_heard()
            elif isinstance(event, Called):
                self._take_outcome(event)
            else:
                if self._settled:
                    self.answer.clear()
                    self.leaving = ""
                    self._finished = False
                self._settled = False
                self._take(event)
                self._answer_goals()
        if not events:
            self.answer = [self._say(self.of.greeting)]
        if self.talk.forced:
            self._force(self.talk.forced)
        self._answer_goals()
        return self._act()

    # What happened

    def _note_heard(self) -> None:
        """Note that a confirmation was asked for, so that the next yes is for it."""
        if self.goals and not self._missing(self.goals[-1].name):
            goal = self.goals[-1]
            goal.confirming = bool(self._question(goal))

    def _answer_goals(self) -> None:
        """Answer what needs no tool and nothing more from the caller."""
        while self.goals and not self._missing(self.goals[-1].name):
            goal = self.goals[-1]
            intent = self.of.intents[goal.name]
            if intent.tool or self._question(goal):
                return
            self.goals.pop()
            self.answer.append(self._say(intent.reply))
            self._go_on(goal.name)

    def _take(self, event: Said | Keyed | Noted) -> None:
        if isinstance(event, Said):
            self._hear(event.text)
        elif isinstance(event, Keyed):
            self._press(event.keys)
        elif event.kind == "result":
            self.answer = list(self.outcome)
        elif event.kind == "resume" and self.goals:
            self.goals[-1].called_off = False  # it was but a cough
        elif event.kind == "greet":
            self.answer = [self._say(self.of.greeting)]

    def _hear(self, text: str) -> None:
        goal = self.goals[-1] if self.goals else None
        if goal is not None and goal.confirming and self._confirm(goal, text):
            return
        if self._volunteered(text) or self._wanted(text) or self._chat(text):
            return
        if goal is not None and self._fill_asked(goal, text):
            goal.misses = 0
            return
        if self._correct(text) or self._declined(goal, text):
            return
        self._miss(goal)

    def _press(self, keys: str) -> None:
        for name, intent in self.of.intents.items():
            if keys in intent.keys:
                self._open(name)
                return
        goal = self.goals[-1] if self.goals else None
        if goal is None or not self._fill_asked(goal, keys):
            self._miss(goal)

    def _confirm(self, goal: _Goal, text: str) -> bool:
        """Take the answer to a confirmation; false if it is something else."""
        verdict = yes_or_no(text)
        rest = correction(text)
        before = dict(self.slots)
        needs = self.of.intents[goal.name].needs
        found = self.filler.asked(rest or text, needs, self.slots) if verdict is not True else {}
        if found and found.items() - before.items():
            self.slots.update(found)
            return True
        if verdict is None:
            return False
        goal.confirming = False
        if verdict:
            goal.confirmed, goal.called_off = True, False
        elif goal.called_off:
            self.goals.remove(goal)
            self.answer.append(self._say(self.of.intents[goal.name].declined))
        else:
            self._clear(needs)
        return True

    def _volunteered(self, text: str) -> bool:
        """Take what the caller says without having been asked for it, such as their name."""
        found = self.filler.volunteered(text)
        opened = []
        for name, intent in self.of.intents.items():
            mine = {slot: found.pop(slot) for slot in intent.needs if slot in found}
            if mine:
                opened.append((name, mine))
        current = self.goals[-1].name if self.goals else ""
        # Last opened is done first: what was being asked for comes before what else was said.
        for name, mine in sorted(opened, key=lambda pair: pair[0] == current):
            wanted = self._match(text)[0] if self._shares_slot(name, mine) else ""
            self.slots.update(mine)
            self._open(wanted or name, keep=True)
        return bool(opened)

    def _shares_slot(self, name: str, mine: Mapping[str, Filling]) -> bool:
        others = (each.needs for other, each in self.of.intents.items() if other != name)
        return any(set(mine) & set(needs) for needs in others)

    def _match(self, text: str) -> tuple[str, float]:
        """Give the intent that a sentence is most like, and how much; none is empty."""
        best, found = 0.0, ""
        for name, intent in self.of.intents.items():
            score = best_likeness(text, intent.examples)
            if any(re.search(p, text[:400], re.IGNORECASE) for p in intent.patterns):
                score = 1.1
            if score > best:
                best, found = score, name
        return (found, best) if best >= THRESHOLD else ("", 0.0)

    def _wanted(self, text: str) -> bool:
        name, score = self._match(text)
        if not name or (score < _SURE and smalltalk.kind_of(text) is not None):
            return False
        captured = self.filler.captured(text, self.of.intents[name])
        self.slots.update(captured)
        self._open(name, keep=bool(captured))
        return True

    def _chat(self, text: str) -> bool:
        kind = smalltalk.kind_of(text)
        if kind is None:
            return False
        words = self._say(self.of.small_talk.get(kind) or smalltalk.REPLIES[kind])
        if kind == "goodbye":
            self.leaving = words
        else:
            self.answer.append(words)
        return True

    def _fill_asked(self, goal: _Goal, text: str) -> bool:
        needs = self.of.intents[goal.name].needs
        found = self.filler.asked(text, needs, self.slots)
        self.slots.update(found)
        return bool(found)

    def _correct(self, text: str) -> bool:
        """Take `no, Grace Hopper`, about what was done before."""
        rest = correction(text)
        if rest is None:
            return False
        for name in reversed(self.done):
            needs = self.of.intents[name].needs
            found = self.filler.corrected(rest, needs, self.slots)
            if found:
                self.slots.update(found)
                self._open(name, keep=True)
                return True
        return False

    def _declined(self, goal: _Goal | None, text: str) -> bool:
        kind = smalltalk.kind_of(text, _ANSWERED)
        refuses = kind in ("nothing", "no") or _REFUSAL.search(normal(text)) is not None
        if goal is not None and refuses:
            self._give_up(goal)
        elif refuses and (kind == "nothing" or "else" in self.talk.said):
            self.leaving = self._small("nothing")
        elif goal is None and kind is not None:
            self.answer.append(self._small(kind))
        else:
            return False
        return True

    def _give_up(self, goal: _Goal) -> None:
        """Go on without a slot, or without the whole goal."""
        intent = self.of.intents[goal.name]
        for name in self._missing(goal.name):
            if self.of.slots[name].optional:
                self.slots[name] = Filling()
            else:
                self._drop(goal, intent.declined)
            return
        self._drop(goal, intent.declined)

    def _drop(self, goal: _Goal, words: Sequence[str]) -> None:
        self.goals.remove(goal)
        self.answer.append(self._say(words))
        self._go_on(goal.name)

    def _miss(self, goal: _Goal | None) -> None:
        self._misunderstood += 1
        self.answer.append(self._pick(self.of.fallback, self._misunderstood - 1))
        if goal is None:
            self.answer.append(self._small("help"))
        elif self._missing(goal.name):
            goal.misses += 1
            if goal.misses >= _MAX_MISSES:
                goal.misses = 0
                self._give_up(goal)

    def _take_outcome(self, called: Called) -> None:
        """Take what became of a tool call; it answers what was said before."""
        self.answer.clear()
        self.leaving = ""
        goal = next(
            (each for each in reversed(self.goals) if self._tool(each.name) == called.name), None
        )
        if goal is None or called.status == "cancelled":
            self.outcome = self.answer = []
            if goal is not None:
                goal.called_off = bool(self.of.intents[goal.name].again)
            return
        intent = self.of.intents[goal.name]
        if called.status == "failed":
            self._fail(goal, called.result)
        else:
            texts = intent.success if called.status == "done" else intent.waiting
            self.answer.append(self._say(texts, result=called.result))
            self._finished = called.status == "done"
            # What the same tool was also wanted for is done with it.
            same = [each for each in self.goals if self._tool(each.name) == called.name]
            self.goals = [each for each in self.goals if each not in same]
            for each in same:
                self._go_on(each.name)
        self.outcome = list(self.answer)

    def _fail(self, goal: _Goal, result: str) -> None:
        intent = self.of.intents[goal.name]
        self.answer.append(self._say(intent.failure, result=result))
        self.failures[goal.name] = self.failures.get(goal.name, 0) + 1
        goal.confirming = goal.confirmed = False
        if not intent.needs or self.failures[goal.name] >= _MAX_FAILURES:
            self.goals.remove(goal)
            self._go_on(goal.name, finished=False)
        self._clear(intent.needs)

    # Goals

    def _tool(self, name: str) -> str:
        return self.of.intents[name].tool

    def _question(self, goal: _Goal) -> Sequence[str]:
        """Give wordings of what must be asked before it is done; none if nothing."""
        intent = self.of.intents[goal.name]
        if goal.called_off:
            return intent.again
        return () if goal.confirmed else intent.confirm

    def _open(self, name: str, *, keep: bool = False) -> None:
        """Talk about this now; without keep, what was said about it before is asked anew."""
        intent = self.of.intents[name]
        was_open = any(goal.name == name for goal in self.goals)
        if not keep and not was_open:
            self._clear(slot for slot in intent.needs if name in self.done)
        self.goals = [goal for goal in self.goals if goal.name != name]
        for slot in intent.needs:
            if self.of.slots[slot].kind == "choice" and not options(self.of, slot, self.talk):
                self.answer.append(self._fill_in(self.of.slots[slot].no_choice) or "")
                return
        self.goals.append(_Goal(name))

    def _go_on(self, name: str, *, finished: bool = True) -> None:
        if finished:
            self.done = [each for each in self.done if each != name] + [name]
            self.failures.pop(name, None)
        then = self.of.intents[name].then
        for goal in self.goals:
            goal.called_off = goal.called_off and goal.name != then  # it is wanted anew
        if then and then not in self.done and all(goal.name != then for goal in self.goals):
            self._open(then)

    def _clear(self, slots: Iterable[str]) -> None:
        for slot in slots:
            self.slots.pop(slot, None)

    def _missing(self, name: str) -> list[str]:
        return [slot for slot in self.of.intents[name].needs if slot not in self.slots]

    def _force(self, tool: str) -> None:
        for name in self.of.intents:
            if self._tool(name) == tool:
                self.answer.clear()
                self._open(name, keep=True)
                return

    # What comes next

    def _act(self) -> Action:
        if self.leaving:
            return self.talk.hang_up(self.leaving)
        while self.goals:
            goal = self.goals[-1]
            intent = self.of.intents[goal.name]
            if missing := self._missing(goal.name):
                asks = self.of.slots[missing[0]].ask
                return self._reply(self._pick(asks, min(goal.misses, len(asks) - 1)))
            if question := self._question(goal):
                return self._reply(self._say(question))
            if self.talk.offers(intent.tool):
                use = Use(intent.tool, **self._arguments(intent))
                return use.saying(" ".join(self.answer))
            self.answer.append(self._say(self.of.unavailable))
            self.goals.pop()
            self._go_on(goal.name, finished=False)
            self._answer_goals()
        return self._reply(self._say(self.of.anything_else) if self._finished else "")

    def _reply(self, question: str) -> Say:
        parts = [*dict.fromkeys(self.answer), question]
        text = " ".join(part for part in parts if part)
        return Say(text or self._pick(smalltalk.REPLIES["help"], self._turns))

    def _arguments(self, intent: Intent) -> dict[str, Any]:
        """Fill in a tool's arguments; one whose slot was refused is left out."""
        given: dict[str, Any] = {}
        for name, value in intent.arguments.items():
            if not isinstance(value, str):
                given[name] = value
            elif (whole := _WHOLE.fullmatch(value)) and whole[1] in self.slots:
                if (filling := self.slots[whole[1]]).value is not None:
                    given[name] = filling.value
            elif (text := self._fill_in(value)) is not None:
                given[name] = text
        return given

    # Words

    def _small(self, kind: smalltalk.Kind) -> str:
        return self._say(self.of.small_talk.get(kind) or smalltalk.REPLIES[kind])

    def _say(self, texts: Sequence[str], *, result: str = "") -> str:
        return self._pick(texts, self._turns, result=result)

    def _pick(self, texts: Sequence[str], turn: int, *, result: str = "") -> str:
        """Give the text with the most placeholders that can be filled in; equals take turns."""
        filled = [(text.count("{"), self._fill_in(text, result)) for text in texts]
        most = max((count for count, text in filled if text is not None), default=0)
        usable = [text for count, text in filled if text is not None and count == most]
        return usable[turn % len(usable)] if usable else ""

    def _fill_in(self, text: str, result: str = "") -> str | None:
        """Fill in the placeholders; None if one has nothing to stand for."""
        parts = []
        for literal, name, _, _ in string.Formatter().parse(text):
            parts.append(literal)
            if name is not None:
                value = result if name == "result" else self._word(name)
                if not value:
                    return None
                parts.append(value)
        return "".join(parts)

    def _word(self, name: str) -> str:
        base, _, field = name.partition(".")
        filling = self.slots.get(base)
        if filling is not None:
            return filling.fields.get(field, "") if field else filling.spoken
        return "" if base in self.of.slots else self.filler.fact(base, field)


def _since_arrival(events: Sequence[Event]) -> Sequence[Event]:
    """Leave out what was said to another agent: its answers are none of this script's."""
    for at in range(len(events) - 1, -1, -1):
        if events[at] == Noted("arrived"):
            return events[at + 1 :]
    return events


_WHOLE: Final = re.compile(r"\{(\w+)\}")
_REFUSAL: Final = re.compile(
    r"\b(?:rather not|none of your|do not want to (?:say|tell|give)|not (?:tell|say|give|giving)|"
    r"never mind|forget it|skip|neither|none of (?:them|those)|not interested|no matter|private|"
    r"do not (?:have|know) (?:one|it|that|a last name)|cancel(?: that| it)?|stop it|"
    r"doesnt matter|does not matter|do not care|not now|not today|maybe later)\b"
)
