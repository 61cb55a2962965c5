"""What the offline model remembers of a conversation, and what it makes of its tools' results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from voxyray import notes
from voxyray.models.offline import Called, Replied, Use

from . import results, spoken, times
from .flats import NAMES, FlatName
from .hearing import Heard
from .inquiries import Topic
from .results import Appointments, Availability, Booking, Listing, Tour
from .times import When
from .tours import Slot, TourType

Question: TypeAlias = Literal[
    "",
    "book",
    "which",
    "when",
    "flat_to_see",
    "flat",
    "see",
    "text",
    "keep",
    "which_tour",
    "else",
    "wait",
]
Purpose: TypeAlias = Literal["book", "move", "cancel"]

_T = TypeVar("_T")

FLATS: Final = "the studio, the one-bedroom, the two-bedroom or the three-bedroom"
_FAILED: Final = (notes.FAILED_UNEXPECTEDLY[:20], notes.NOT_RECORDED, notes.OUTCOME_UNKNOWN)
_CHANGING: Final = ("book_tour", "move_tour", "cancel_tour", "send_confirmation")


class Memory:
    """What is known, was offered, was asked and is to be done.

    todo: tools that are still to be used for what was said last. topics: to be
    told of what is listed. listed and offered: apartments
    and tours to choose from. unheard: the question was cut off. untold: what a tool did. waiting: a
    tool still runs. held: the caller's tours, as far as known; old: the one to be moved.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.flat: FlatName | None = None
        self.kind: TourType | None = None
        self.when = When()
        self.budget: int | None = None
        self.by = ""
        self.purpose: Purpose = "book"
        self.listed: tuple[FlatName, ...] = NAMES
        self.offered: tuple[Tour, ...] = ()
        self.held: tuple[Tour, ...] = ()
        self.old: Tour | None = None
        self.heard = Heard("")
        self.question: Question = ""
        self.todo: list[Use] = []
        self.answers: list[str] = []
        self.outcome: tuple[list[str], Question] = ([], "")
        self.turns = 0
        self.unheard = False
        self.untold = False
        self.waiting = False
        self.topics: tuple[Topic, ...] = ()

    def asking(self) -> str:
        """Give the question that is open, in words."""
        moving = self.purpose == "move"
        match self.question:
            case "book":
                return "Shall I move it there?" if moving else "Shall I book it?"
            case "which":
                return "Which one suits you?"
            case "when":
                where = "would you like to move it" if moving else "would suit you"
                return f"{'To which' if moving else 'Which'} day {where}?"
            case "flat_to_see":
                return f"Which apartment would you like to see: {FLATS}?"
            case "flat":
                return "Which one would you like to hear more about?"
            case "see":
                return "Would you like to see it?"
            case "text":
                return "Shall I text you the details?"
            case "keep":
                return "Do you want to keep it?"
            case "which_tour":
                return f"Which one shall I {self.purpose}?"
            case "else":
                return self.vary("Is there anything else?", "What else can I do for you?")
        return ""

    def vary(self, *texts: str) -> str:
        """Give one of several wordings: another one each turn."""
        return texts[self.turns % len(texts)]

    def do(self, tool: str, **arguments: object) -> None:
        """Use a tool next; one of the same name that is still to be used is replaced."""
        use = Use(tool, **arguments)
        if tool not in ("inquire", "cancel_tour"):
            self.todo = [each for each in self.todo if each.tool != tool]
        self.todo.append(use)

    def check(self, when: When) -> None:
        """Look for free tours."""
        self.when = when
        date, time = times.texts(when)
        self.do(
            "check_availability", date=date, time=time, tour_type=self.kind, apartment=self.flat
        )

    def offer(self, tours: tuple[Tour, ...]) -> None:
        """Ask about these."""
        self.offered = tours
        self.question = "which" if len(tours) > 1 else "book" if tours else "else"

    def change(self, tour: Tour) -> None:
        """Cancel a tour, or find out where to move it."""
        if self.purpose == "cancel":
            self.purpose = "book"
            self.do("cancel_tour", **which(tour))
            return
        self.old, self.flat, self.kind = tour, tour.apartment, self.kind or tour.tour_type
        if self.when:
            self.check(self.when)
        else:
            self.answers.append(f"Your tour is {said(tour, self.now)}.")
            self.question = "when"

    # What tools gave

    def note_said(self, reply: Replied) -> None:
        """Let `that one` mean the offer that was being read out when the caller cut in."""
        self.untold = False
        self.answers = []  # they were said, before a tool or at the end
        self.unheard = reply.cut and self.asking() not in reply.text
        if not reply.cut or self.question != "which":
            return
        said = [tour for tour in self.offered if _slot(tour).offered(self.now.date()) in reply.text]
        if said:
            self.offered = (*said[-1:], *[tour for tour in self.offered if tour != said[-1]])

    def take(self, called: Called) -> None:
        """Take what became of a tool."""
        used = [use for use in self.todo if use.tool == called.name]
        if used:
            self.todo.remove(used[0])
        if called.status == "cancelled":
            return
        self.waiting = called.status == "waiting"
        if self.waiting:
            self.answers.append("That is taking a moment. I'll tell you when it is done.")
            return
        if called.status == "failed":
            self._fail(called)
        else:
            self._take_result(called)
        self.untold = called.name in _CHANGING
        self.outcome = (list(self.answers), self.question)

    def _take_result(self, called: Called) -> None:
        match called.name:
            case "list_apartments":
                self._listed(_decoded(called, Listing))
            case "check_availability":
                self._available(_decoded(called, Availability))
            case "book_tour" | "move_tour":
                self._booked(_decoded(called, Booking))
            case "my_appointments":
                self._appointed(_decoded(called, Appointments))
            case "cancel_tour" | "send_confirmation" | "inquire":
                self.answers.append(called.result)
                self.question = self.question or "else"
        if called.name == "cancel_tour":
            self.held = tuple(tour for tour in self.held if which(tour) != called.arguments)

    def _fail(self, called: Called) -> None:
        words = called.result.removeprefix("Error: ")
        # What is not worded for a caller begins in lower case, or is a note for the model.
        speakable = words[:1].isupper() and not words.startswith(_FAILED)
        self.answers.append(words if speakable else "I'm sorry, that didn't work.")
        self.question = self.question or "else"

    def _listed(self, listing: Listing) -> None:
        self.answers.append(listing.say)
        self.listed = listing.apartments
        if len(listing.apartments) == 1:
            self.flat = listing.apartments[0]
        self.question = "see" if len(listing.apartments) == 1 else "flat"
        for topic in self.topics:
            for name in listing.apartments if len(listing.apartments) < 3 else (None,):
                self.do("inquire", topic=topic, apartment=name)

    def _available(self, found: Availability) -> None:
        self.answers.append(found.say)
        self.offer(found.tours)

    def _booked(self, booking: Booking) -> None:
        self.answers.append(booking.say)
        if booking.booked:
            kept = [tour for tour in self.held if tour != self.old]
            self.held, self.offered, self.old = (*kept, *booking.tours), (), None
            self.purpose, self.when, self.kind = "book", When(), None
            self.question = "else" if "withheld" in booking.say else "text"
            return
        self.offer(booking.tours)

    def _appointed(self, found: Appointments) -> None:
        self.held = found.tours
        if self.purpose == "book" or not found.tours:
            self.answers.append(found.say)
            self.question, self.purpose = "else", "book"
            return
        meant = self._meant()
        if self.purpose == "cancel" and meant and self.heard.has("every"):
            for tour in meant:
                self.do("cancel_tour", **which(tour))
            self.purpose = "book"
        elif len(meant) == 1:
            self.change(meant[0])
        else:
            lead = "" if meant else "There is no such tour. "
            self.answers.append(f"{lead}{found.say}")
            self.question = "which_tour"

    def _meant(self) -> list[Tour]:
        """Give the tours that the caller may mean by what they said."""
        heard = self.heard
        when = heard.before_to(self.now) if self.purpose == "move" else heard.when
        return self.named(when, heard.flat)

    def named(self, when: When, flat: FlatName | None) -> list[Tour]:
        """Give the caller's tours that are then, and of that apartment."""
        return [
            tour for tour in self.held if when.takes(start(tour)) and flat in (None, tour.apartment)
        ]


def _decoded(called: Called, kind: type[_T]) -> _T:
    return msgspec.json.decode(called.result, type=kind)


def _slot(tour: Tour) -> Slot:
    return Slot(start(tour), tour.apartment, tour.tour_type)


def start(tour: Tour) -> datetime:
    """Give when a tour begins."""
    return datetime.fromisoformat(f"{tour.date}T{tour.time}")


def said(tour: Tour, now: datetime) -> str:
    """Say when a tour is."""
    return _slot(tour).said(now.date())


def offers(tours: Sequence[Tour], now: datetime) -> str:
    """Offer tours."""
    return spoken.sentence(results.options([_slot(tour) for tour in tours], now.date()))


def which(tour: Tour) -> dict[str, object]:
    """Give what tells a tour from others, as tools take it."""
    return {"date": tour.date, "time": tour.time, "apartment": tour.apartment}
