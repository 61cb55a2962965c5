"""Speculation: the model is asked on a partial transcript, before the caller's words are final.

A *guess* is one such request. Its words are kept back until the final transcript says the same as
the partial did; then they leave as if they had just come. Otherwise the guess is dropped, and
nothing was said or done: tools never start before the turn is confirmed. `Call` asks and decides;
here is what a guess knows, when texts are the same, and how long a partial must stand still.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from voxyray import journal
from voxyray.asked import Asked
from voxyray.models import Finish, Message, TextDelta, ToolCall, Usage
from voxyray.policy import Policy

GUESS_KEPT_S: Final = 10.0  # a final transcript that comes later belongs to something else

# Before anything was learned: recognisers send partials every 0.1-0.3 s while somebody speaks, and
# the final transcript 0.35-0.55 s after the last of them.
_STOOD: Final = (*3 * ((0.25, False),), *2 * ((0.45, True),))
_WANTED: Final = 0.75  # the share of guesses that must have been right
_SHORTEST_S: Final = 0.1
_LONGEST_S: Final = 0.6
_A_THOUGHT_S: Final = 2.0  # whoever pauses for so long was thinking, not speaking
_MOST_STOOD: Final = 100
_CHARS_A_TOKEN: Final = 4  # near enough for a budget
# Only where they mean nothing: "um" is a word in German and Portuguese.
_FILLERS: Final = {
    "en": frozenset({"um", "umm", "uh", "uhh", "uhm", "er", "erm", "hm", "hmm", "mm", "ah"})
}
_MINUS: Final = re.compile(r"(?<!\S)-(?=\d)")
_MEANS: Final = frozenset("%#@&*\N{MINUS SIGN}")
_Delta: TypeAlias = TextDelta | ToolCall | Usage | Finish


def plain(text: str, lang: str = "en") -> str:
    """Give the words as they are compared: without case, punctuation, spaces and fillers.

    What stands between digits parts them, and signs that mean something stay: "5.30" is not
    "530", and "-5" is not "5".
    """
    text = _MINUS.sub("\N{MINUS SIGN}", unicodedata.normalize("NFKC", text).casefold())
    words = "".join(map(_letter, text)).split()
    fillers = _FILLERS.get(lang.lower().split("-")[0], frozenset())
    return " ".join(word for word in words if word not in fillers)


def _letter(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] in "LNM" or category in ("Sc", "Sm") or char in _MEANS:
        return char
    return "" if char in "'’" else " "


class Guess(msgspec.Struct, eq=False, omit_defaults=True):
    """A request made on a partial, and what it has given so far.

    text: the partial as the model was told it. told: a checksum of all it was told. size: of that,
    in characters. finish: None while the answer is coming. The rest is as in `Asked`.
    """

    request: int
    text: str
    told: int
    size: int
    asked_ms: float
    first_ms: float | None = None
    finish: Finish | None = None
    texts: list[tuple[float, str]] = []
    seqs: list[int] = []
    others: list[journal.Arrival] = []
    calls: list[ToolCall] = []
    usage: Usage | None = None

    def take(self, delta: _Delta, at_ms: float, seq: int) -> bool:
        """Keep a delta back; true if it is the last. seq: the journal entry that is next."""
        if self.first_ms is None and isinstance(delta, TextDelta | ToolCall):
            self.first_ms = at_ms
        if isinstance(delta, TextDelta):
            self.texts.append((at_ms, delta.text))
            self.seqs.append(seq)
        elif isinstance(delta, Finish):
            self.finish = delta
        elif isinstance(delta, ToolCall):
            self.calls.append(delta)
            self.others.append(journal.Arrival("call", at_ms, len(self.texts), seq))
        else:
            self.usage = delta
            self.others.append(journal.Arrival("usage", at_ms, len(self.texts), seq))
        return self.finish is not None

    def asked(self) -> Asked:
        """Give the request as one that was made in its turn, with all that came."""
        asked = Asked(self.request)
        asked.texts, asked.seqs, asked.others = self.texts, self.seqs, self.others
        asked.calls, asked.usage = self.calls, self.usage
        return asked

    @property
    def tokens(self) -> int:
        """What it has used; an estimate if the provider did not tell."""
        if self.usage is not None:
            return self.usage.input_tokens + self.usage.output_tokens
        written = sum(len(text) for _, text in self.texts)
        written += sum(len(call.arguments) for call in self.calls)
        return (self.size + written) // _CHARS_A_TOKEN

    def mark(self, state: journal.GuessState, why: str = "", tokens: int = 0) -> journal.Speculated:
        """Give the journal's mark of what became of it."""
        return journal.Speculated(
            self.request, state, self.told, self.asked_ms, self.first_ms, why, tokens
        )


class Speculation(msgspec.Struct, eq=False, omit_defaults=True):
    """What a call knows of its caller's partials, and the guess that is made on one.

    heard and text: the last partial, as compared and as it came. stood: how long partials stood
    still, in seconds, and whether they were final then. requests: how many guesses were made;
    tokens: what those used that were dropped.
    """

    guess: Guess | None = None
    heard: str = ""
    text: str = ""
    changed_at: float = 0.0
    stood: tuple[tuple[float, bool], ...] = _STOOD
    requests: int = 0
    tokens: int = 0

    def hear(self, text: str, lang: str, now: float) -> bool:
        """Take a partial; false if it is the last one again, at most punctuated anew."""
        words = plain(text, lang)
        self.text = text
        if words == self.heard:
            return False
        self._learn(now, same=False)
        self.heard, self.changed_at = words, now
        return True

    def _learn(self, now: float, *, same: bool) -> None:
        """Remember how long the last partial stood still before the same or other words came."""
        stood_s = now - self.changed_at
        if self.heard and (same or stood_s <= _A_THOUGHT_S):
            self.stood = (*self.stood, (stood_s, same))[-_MOST_STOOD:]

    def stable_after_s(self, policy: Policy) -> float:
        """Tell how long a partial must stand still: as set, or the least that was right enough."""
        if policy.speculate_after_s is not None:
            return policy.speculate_after_s
        delays = sorted(stood_s for stood_s, final in self.stood if final)
        pauses = sorted(stood_s for stood_s, final in self.stood if not final)
        for after_s in (_SHORTEST_S, *(1.05 * pause for pause in pauses)):
            hits = len(delays) - bisect_right(delays, after_s)
            misses = len(pauses) - bisect_right(pauses, after_s)
            if after_s >= _SHORTEST_S and hits and hits >= _WANTED * (hits + misses):
                return min(after_s, _LONGEST_S)
        return _LONGEST_S

    def may_ask(self, policy: Policy) -> bool:
        """Whether there is a partial to ask on, no guess yet, and the budgets allow one."""
        return (
            bool(self.heard)
            and self.guess is None
            and self.requests < policy.speculate_requests
            and self.tokens < policy.speculate_tokens
        )

    def ask(self, request: int, messages: Iterable[Message], told: int, at_ms: float) -> Guess:
        """Make the guess that the last partial is all the caller will say."""
        size = sum(len(message.content or "") for message in messages)
        self.requests += 1
        self.guess = Guess(request, self.text, told, size, at_ms)
        return self.guess

    def end(self, text: str, lang: str, now: float) -> Guess | None:
        """Take the final transcript; gives the guess if it says the same, and forgets it then."""
        words = plain(text, lang)
        guess = self.guess
        self._learn(now, same=words == self.heard)
        self.heard = self.text = ""
        if guess is None or not words or plain(guess.text, lang) != words:
            return None
        self.guess = None
        return guess

    def drop(self) -> Guess | None:
        """Give up the guess, if there is one."""
        guess, self.guess = self.guess, None
        return guess


class Report(msgspec.Struct, frozen=True):
    """What speculation did in a call.

    gained_ms: how much sooner answers could be given, all in all. wasted_tokens: of dropped
    guesses, estimated where the provider did not tell.
    """

    asked: int = 0
    confirmed: int = 0
    dropped: int = 0
    gained_ms: float = 0.0
    wasted_tokens: int = 0

    @property
    def hit_rate(self) -> float | None:
        """The share of guesses that were confirmed; None if there were none."""
        return self.confirmed / self.asked if self.asked else None


def report(entries: Iterable[journal.Entry]) -> Report:
    """Sum up the guesses in a call's journal."""
    marks = {
        (e.turn, e.seq): (e.what, e.at_ms)
        for e in entries
        if isinstance(e.what, journal.Speculated)
    }
    states = [what.state for what, _ in marks.values()]
    gained = [gained_ms(what, at_ms) or 0.0 for what, at_ms in marks.values()]
    wasted = [what.tokens for what, _ in marks.values() if what.state == "dropped"]
    return Report(
        states.count("asked"),
        states.count("confirmed"),
        states.count("dropped"),
        round(sum(gained), 3),
        sum(wasted),
    )


def gained_ms(what: journal.Speculated, at_ms: float) -> float | None:
    """Tell how much sooner the model's words could leave; None for what is no hit.

    at_ms: when it was confirmed. Asked only then, the model would have taken as long as it did.
    """
    if what.state != "confirmed" or what.asked_ms is None:
        return None
    came_ms = at_ms if what.first_ms is None else min(what.first_ms, at_ms)
    return round(max(0.0, came_ms - what.asked_ms), 3)
