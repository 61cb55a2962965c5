"""The leasing office without a language model: what was said is gone through, and answered.

Nothing is kept between requests. Each time, the whole conversation is gone through again, event by
event, which gives what is known, what was asked, and what is to be said or done now.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from voxyray.models.offline import (
    Action,
    Called,
    Keyed,
    Noted,
    Option,
    Replied,
    Said,
    Say,
    Talk,
    Use,
    choose,
)
from voxyray.models.offline.smalltalk import REPLIES, Kind, kind_of

from . import times
from .flats import NAMES, FlatName, office
from .hearing import Heard, hear
from .memory import FLATS, Memory, Question, offers, said, start, which
from .results import Tour
from .times import Days, When

_HELP: Final = (
    "I can tell you which apartments we have, and about pets, parking, fees and so on. "
    "I can also book, move or cancel a tour. Press one for the apartments, two for your tours."
)
_FALLBACKS: Final = (
    "I'm sorry, I didn't get that.",
    "I'm afraid I don't follow.",
    "I didn't understand that, I'm sorry.",
)
_UNKNOWN: Final = "I don't know that, I'm sorry. A colleague may: just say that you want a person."
_KEYS: Final = "Press one for the apartments, two for your tours."
_TO_RECEPTION: Final = "One moment, I'll put you through to the reception."
_PUT_THROUGH: Final = "One moment, I'll put you through to a colleague in the office."
_ANSWERED: Final[tuple[Kind, ...]] = ("no", "yes")
_COMPARED: Final = ("cheaper", "bigger", "smaller", "least", "most")
_ABOUT_TIMES: Final = ("book", "which", "when")


class Desk(Memory):
    """One conversation, gone through once."""

    def __init__(self, talk: Talk, now: datetime) -> None:
        super().__init__(now)
        self.talk = talk
        self.leaving: Use | None = None
        self._answered = False
        self._misses = 0

    def run(self) -> Action:
        """Go through all that happened, and give what comes next."""
        for event in self.talk.events:
            match event:
                case Replied():
                    self.turns += 1
                    self._answered = True
                    self.note_said(event)
                case Called():
                    self._answered = True
                    self.take(event)
                case _:
                    self._begin_turn()
                    self._react(event)
        return self._act()

    def _begin_turn(self) -> None:
        """Forget what was to be said and done before, once it has been answered."""
        if self._answered:
            self.todo, self.leaving = [], None
            # What a tool has changed is told, whatever was said meanwhile.
            self.answers = self.answers if self.untold else []
        self._answered = False

    def _act(self) -> Action:
        if self.talk.forced and not (self.todo and self.todo[0].tool == self.talk.forced):
            return Use(self.talk.forced)
        if self.todo:
            return self.todo[0].saying(" ".join(self.answers))
        if self.leaving is not None and self.talk.offers(self.leaving.tool):
            return self.leaving
        parts = [*dict.fromkeys(self.answers), self.asking()]
        return Say(" ".join(part for part in parts if part) or "What are you looking for?")

    # What the caller does

    def _react(self, event: Said | Keyed | Noted) -> None:
        match event:
            case Said(text):
                self._hear(text)
            case Keyed("1"):
                self.do("list_apartments")
            case Keyed("2"):
                self.purpose = "book"
                self.do("my_appointments")
            case Keyed():
                self.answers.append(_KEYS)
            case Noted("result"):
                self.answers, self.question = list(self.outcome[0]), self.outcome[1]
            case Noted("failed"):
                self.question = "else"
            case _:
                pass

    def _hear(self, text: str) -> None:
        asked, self.question = self.question, ""
        self.heard = heard = hear(text, self.now, asked_when=asked in _ABOUT_TIMES)
        if self.untold or self.waiting:
            if self._meanwhile(heard, asked):
                return
            asked = ""
        for understood in (self._leave, self._answer, self._wish):
            if understood(heard, asked):
                self._misses = 0
                return
        self._miss(heard, asked)

    def _meanwhile(self, heard: Heard, asked: Question) -> bool:
        """Take words that were said before the outcome of a booking or the like was told."""
        untold, self.untold = self.untold, False
        if heard.matters and not heard.has("book", "this"):
            return False
        if not untold:
            self.answers = ["I'm still on it. One moment, please."]
        elif heard.answer is False and asked == "text":
            self.question = "keep"
        else:
            self.question = asked or "else"
        return True

    def _leave(self, heard: Heard, asked: Question) -> bool:
        """Put through, or say goodbye."""
        if heard.has("person"):
            reason = " ".join(heard.text.split())[:150]
            use = Use("transfer_to_person", reason=reason, summary=self._summary(heard))
            self.leaving = use.saying(_PUT_THROUGH)
            return True
        if heard.has("reception") and self.talk.fact(r"^- (default):"):
            self.leaving = Use("transfer_to_agent", name="default").saying(_TO_RECEPTION)
            return True
        done = kind_of(heard.text, ("nothing",)) or (heard.answer is False and asked == "else")
        if kind_of(heard.text, ("goodbye",)) is None and (not done or heard.matters):
            return False
        farewell = self.vary(*REPLIES["goodbye"])
        self.answers.append(farewell)
        self.leaving = Use("hang_up").saying(farewell)
        return True

    def _summary(self, heard: Heard) -> str:
        parts = [f"The caller said: {' '.join(heard.text.split())[:300]}"]
        if self.flat:
            parts.append(f"They were asking about the {self.flat}.")
        parts += [f"They have a tour {said(tour, self.now)}." for tour in self.held]
        return " ".join(parts)

    def _miss(self, heard: Heard, asked: Question) -> None:
        kind = kind_of(heard.text) or kind_of(heard.text, _ANSWERED)
        if kind == "help":
            self.answers.append(_HELP)
        elif kind is not None:
            self.answers.append(self.vary(*REPLIES[kind]))
        else:
            self._misses += 1
            if heard.has("question") and len(heard.text.split()) > 2:
                self.answers.append(_UNKNOWN)
                self.question = asked
                return
            self.answers.append(_FALLBACKS[(self._misses - 1) % len(_FALLBACKS)])
            if self._misses > 1 or not asked:
                self.answers.append(_HELP)
        self.question = asked

    # Answers to a question

    def _answer(self, heard: Heard, asked: Question) -> bool:
        """Take a sentence as the answer to what was asked; false if it is something else."""
        if heard.unclear or heard.topics or heard.absent or heard.has("mine"):
            return False
        if heard.has("drop") and asked != "text":
            return self._drop()
        if asked in ("book", "which") and self.offered:
            return self._choose(heard)
        if asked in ("flat", "flat_to_see") and not heard.flats:
            return self._choose_flat(heard, asked)
        if asked == "text":
            return self._text_or_not(heard)
        if asked == "keep":
            return self._keep_or_not(heard)
        if asked == "see" and heard.answer is not None and not heard.flats:
            return self._see_or_not(heard)
        if asked == "which_tour":
            return self._choose_held(heard)
        return asked == "when" and not heard.when and _refuses(heard) and self._drop()

    def _choose_flat(self, heard: Heard, asked: Question) -> bool:
        """Take `the second one` of the apartments that were named."""
        options = [Option(name, name) for name in self.listed]
        chosen = choose(heard.text, options) if options else None
        if chosen is not None:
            self.flat = self.listed[[option.value for option in options].index(chosen.value)]
            if asked == "flat":
                self.do("list_apartments", type=self.flat)
            else:
                self._tour(heard)
            return True
        return _refuses(heard) and not heard.when and self._drop()

    def _drop(self) -> bool:
        """Leave a booking or a move that was begun."""
        stays = " Everything stays as it is." if self.purpose == "move" else ""
        self.answers.append(f"All right.{stays}")
        self.question, self.purpose, self.offered, self.when = "else", "book", (), When()
        return True

    def _choose(self, heard: Heard) -> bool:
        """Take an answer to an offer: one of them, something like them, or none."""
        if heard.has("cancel"):
            return self._drop()
        if heard.flat not in (None, self.flat) or heard.has("move"):
            return False
        if heard.when or heard.kind:
            return self._narrow(heard)
        chosen = self._chosen(heard)
        if chosen is not None:
            self._settle(chosen)
        elif heard.has("other") and not heard.has("this"):
            self.check(When(self._after_offered()))
        elif heard.has("neither") or heard.answer is False:
            self.question, self.offered, self.when = "when", (), When()
        elif heard.answer or heard.has("this"):
            # It is not clear which; the one that was named first, or last before a cut, is.
            self._offer_again(self.offered[:1])
        else:
            return False
        return True

    def _chosen(self, heard: Heard) -> Tour | None:
        """Give the one offer that is agreed to, or called the first, the last and so on."""
        if len(self.offered) == 1:
            agrees = heard.answer or (heard.answer is None and heard.has("this"))
            return self.offered[0] if agrees and not heard.has("other", "neither") else None
        return _picked(heard.text, self.offered, self.now)

    def _narrow(self, heard: Heard) -> bool:
        """Go on with the offers of a day, a time or a kind; look again if there is none."""
        self.kind = heard.kind or self.kind
        anew = heard.answer is False or heard.has("neither", "other")
        fitting = [
            tour
            for tour in self.offered
            if heard.kind in (None, tour.tour_type) and heard.when.takes(start(tour))
        ]
        exact = heard.when.hours is not None and heard.when.hours.exact is not None
        if len(fitting) == 1 and (exact or len(self.offered) == 1) and not anew:
            self._settle(fitting[0])
        elif fitting and not anew:
            self._offer_again(fitting)
        else:
            self.check(heard.when or self.when)
        return True

    def _offer_again(self, tours: Sequence[Tour]) -> None:
        self.answers.append(f"{offers(tours, self.now)}.")
        self.offer(tuple(tours))

    def _after_offered(self) -> Days:
        last = max(start(tour) for tour in self.offered).date()
        return Days(last + timedelta(days=1), last + timedelta(days=14))

    def _settle(self, tour: Tour) -> None:
        """Book what was chosen, or move to it."""
        if self.purpose != "move" or self.old is None:
            self.do("book_tour", **msgspec.structs.asdict(tour))
            return
        new = {"new_date": tour.date, "new_time": tour.time, "new_tour_type": tour.tour_type}
        self.do("move_tour", **new, **which(self.old))

    def _text_or_not(self, heard: Heard) -> bool:
        if heard.has("cancel", "move", "tour", "list") or heard.flats:
            return False
        if heard.when or heard.kind:
            return self._on_second_thoughts(heard)
        if heard.answer or heard.has("text"):
            self.do("send_confirmation")
        elif heard.answer is False and self.unheard:
            # They cut in on the news, not on a question they have not heard.
            self.answers.append(f"It is booked {said(self.held[-1], self.now)}.")
            self.question = "keep"
        elif heard.answer is False:
            self.answers.append("All right.")
            self.question = "else"
        else:
            return False
        return True

    def _on_second_thoughts(self, heard: Heard) -> bool:
        """Take `no, Wednesday`, said of what has just been booked, as a wish to move it."""
        if not self.held:
            return False
        self.purpose, self.old = "move", self.held[-1]
        self.flat, self.kind = self.old.apartment, heard.kind or self.old.tour_type
        day = start(self.old).date()
        self.check(When(heard.when.days or Days(day, day), heard.when.hours))
        return True

    def _keep_or_not(self, heard: Heard) -> bool:
        if heard.answer is None and not heard.has("cancel"):
            return False
        if heard.answer and not heard.has("cancel"):
            self.answers.append("Good.")
            self.question = "else"
        else:
            self.do("cancel_tour", **which(self.held[-1]))
        return True

    def _see_or_not(self, heard: Heard) -> bool:
        if heard.has("cheaper", "list", "other"):
            return False
        if heard.answer or heard.when:
            self._tour(heard)
        else:
            self.question = "else"
        return True

    def _choose_held(self, heard: Heard) -> bool:
        when = heard.before_to(self.now) or heard.when
        fitting = self.named(when, heard.flat)
        chosen = None if when or heard.flat else _picked(heard.text, self.held, self.now)
        if chosen is not None or len(fitting) == 1:
            self.change(chosen or fitting[0])
        elif heard.answer is False or heard.has("neither"):
            return self._drop()
        else:
            return False
        return True

    # Wishes

    def _wish(self, heard: Heard, asked: Question) -> bool:
        """Take what the caller wants; false if there is nothing in it."""
        touring = asked in (*_ABOUT_TIMES, "flat_to_see")
        before = self.flat
        self._note(heard, touring=touring)
        if heard.unclear:
            self.answers.append(heard.unclear)
            self.question = asked
        elif heard.has("move", "cancel"):
            self._change_tour(heard)
        elif heard.has("mine") and not heard.has("book"):
            self.purpose = "book"
            self.do("my_appointments")
        elif heard.has("text"):
            self.do("send_confirmation")
        elif heard.topics and heard.budget:
            self._list(heard, asked)
            self.topics = heard.topics
        elif heard.topics or heard.absent:
            self._inquire(heard, asked)
        elif heard.has("tour") or touring or (_dated(heard) and not heard.moving_in):
            return self._tour_wished(heard, touring=touring, before=before)
        elif heard.has("list", "at_once", *_COMPARED) or heard.flats or heard.budget or heard.when:
            self._list(heard, asked)
        else:
            return False
        return True

    def _note(self, heard: Heard, *, touring: bool) -> None:
        """Remember what was said of apartment, kind, budget and moving in."""
        self.flat = heard.flat or self.flat
        self.kind = heard.kind or self.kind
        self.budget = heard.budget or self.budget
        if heard.when.days and heard.moving_in and not touring and not heard.has("tour"):
            self.by = times.texts(heard.when)[0] or ""
        elif heard.has("at_once") and heard.moving_in and not heard.has("tour"):
            self.by = "right away"

    def _change_tour(self, heard: Heard) -> None:
        moving = heard.has("move")
        self.purpose = "move" if moving else "cancel"
        self.when = heard.after_to(self.now) if moving else heard.when
        self.old, self.kind = None, heard.kind
        self.do("my_appointments")

    def _tour_wished(self, heard: Heard, *, touring: bool, before: FlatName | None) -> bool:
        if touring and not (_dated(heard) or heard.flats or heard.has("tour", "other")):
            return False
        if not touring or heard.flat not in (None, before):
            self.purpose = "book"
        self._tour(heard)
        return True

    def _tour(self, heard: Heard) -> None:
        self.when = heard.when or self.when
        if self.flat is None or len(heard.flats) > 1:
            self.question = "flat_to_see"
        else:
            self.check(self.when)

    def _inquire(self, heard: Heard, asked: Question) -> None:
        if heard.absent:
            self.answers.append(_about_absent(heard.absent))
        flat = None if asked in ("", "flat") and not heard.flats else self.flat
        for topic in heard.topics:
            self.do("inquire", topic=topic, apartment=flat)
        # The offer is still there when the question is answered.
        self.question = asked or "else"

    def _list(self, heard: Heard, asked: Question) -> None:
        """List what fits: what was spoken of last, or, for a general question, all of them."""
        if heard.has("cheaper"):
            self.budget = office().flat(self.flat).rent - 1 if self.flat else self.budget
            self.flat = size = None
        elif size := _compared(heard, self.flat):
            self.flat, self.budget = size, None
        general = not size and (heard.has("all") or asked in ("", "flat", "else"))
        specific = heard.flats or _about_this(heard) or not general
        name = self.flat if specific and len(heard.flats) < 2 else None
        given = {"type": name, "budget": self.budget, "move_in_by": self.by}
        self.topics = ()
        self.do("list_apartments", **{key: value for key, value in given.items() if value})


def _compared(heard: Heard, flat: FlatName | None) -> FlatName | None:
    """Give what `the biggest` or `something smaller` is; they come in order of size and rent."""
    at = NAMES.index(flat) if flat else 0
    if heard.has("bigger"):
        return NAMES[min(at + 1, len(NAMES) - 1)]
    if heard.has("smaller"):
        return NAMES[max(at - 1, 0)]
    return NAMES[0] if heard.has("least") else NAMES[-1] if heard.has("most") else None


def _refuses(heard: Heard) -> bool:
    return heard.answer is False or heard.has("neither", "cancel")


def _dated(heard: Heard) -> bool:
    return bool(heard.when or heard.kind)


def _about_this(heard: Heard) -> bool:
    """Whether a question like `how much is it` is about the apartment that was spoken of."""
    words = f" {heard.text.casefold()} "
    return any(f" {word}" in words for word in ("it ", "it?", "that ", "this ", "it'"))


def _picked(text: str, tours: Sequence[Tour], now: datetime) -> Tour | None:
    options = [Option(str(at), said(tour, now)) for at, tour in enumerate(tours)]
    chosen = choose(text, options) if options else None
    return tours[int(chosen.value)] if chosen is not None else None


def _about_absent(thing: str) -> str:
    if thing[0].isdigit():
        return "We have nothing that big. The largest is the three-bedroom."
    if thing in ("house", "villa", "duplex", "penthouse", "loft"):
        return f"We have no {thing}, only apartments: {FLATS.replace(' or ', ' and ')}."
    return f"I have nothing noted about that: {thing}."
