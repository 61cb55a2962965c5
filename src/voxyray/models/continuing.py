"""Going on with an answer that broke off, in another model's words, without saying any twice.

The other model is shown what was said and asked to repeat its last words and go on: what it
repeats, be it those words or all from the beginning, shows where to join, and is taken away.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from voxyray.models import Message, ModelRequest

_TAIL_WORDS: Final = 4
# A user's message: many servers refuse a system message that is not the first.
_GO_ON: Final = (
    "[Your last message was cut off by a technical fault at {tail}, and was heard up to there. "
    "Write the rest of it: repeat exactly these words, complete the last one if it is cut, and go "
    "on to the end. Do not mention this, do not greet, apologize or begin anew.]"
)
_WORD: Final = re.compile(r"\w+")
_SPACED: Final = tuple(",.;:!?")
_ELLIPSIS: Final = re.compile(r"^\s*(?:…|\.\.\.)\s*")


def continued(request: ModelRequest, said: str) -> ModelRequest:
    """Give the request that asks for the rest of an answer of which so much was said."""
    words = list(_WORD.finditer(said))
    tail = said[words[-min(_TAIL_WORDS, len(words))].start() :] if words else said
    prefix = Message("assistant", said)
    ask = Message("user", _GO_ON.format(tail=f"“{tail.strip()}”"))
    return msgspec.structs.replace(request, messages=(*request.messages, prefix, ask))


class Joint:
    """Takes the rest of an answer as it comes, and gives what is new in it.

    Words are compared without case and punctuation. They are held back only as long as they may
    still turn out to repeat the longest run of words at the end of what was said.
    """

    def __init__(self, said: str) -> None:
        words = list(_WORD.finditer(said))
        self._said = [match.group().casefold() for match in words]
        self._last_chars = len(words[-1].group()) if words else 0
        self._tail = said[words[-1].end() :] if words else said
        # The last word may be cut: the joint is then within a word.
        self._may_be_cut = bool(words) and not self._tail
        self._held = ""
        self._matched = self._repeated = False
        self._is_open = not said

    def feed(self, text: str) -> str:
        """Give the words of this text, and of held ones, that can be said now."""
        if self._is_open:
            return text
        self._held += text
        return self._settle(at_end=False)

    def end(self) -> str:
        """Give what is left: nothing more will come."""
        return "" if self._is_open else self._settle(at_end=True)

    def _settle(self, *, at_end: bool) -> str:
        if not self._matched:
            overlap = self._overlap(at_end)
            if overlap is None:
                return ""  # it may still be a repetition
            self._matched, self._repeated = True, overlap > 0
            if overlap:
                self._held = self._held[overlap:]
            else:
                self._held = _ELLIPSIS.sub(" ", self._held)
                if self._may_be_cut and self._held[:1].isalnum():
                    self._held = f" {self._held}"
        return self._join(at_end)

    def _overlap(self, at_end: bool) -> int | None:
        """Give how many characters repeat what was said; None while more must come to tell."""
        held = self._held
        words = list(_WORD.finditer(held))
        texts = [match.group().casefold() for match in words]
        cut = bool(words) and words[-1].end() == len(held) and not at_end  # its end is to come
        if not words and self._said:
            return 0 if at_end else None
        for start in range(len(self._said)):
            verdict = self._compare(self._said[start:], texts, cut=cut)
            if verdict == "repeats":
                last = words[len(self._said) - start - 1]
                same = last.group().casefold() == self._said[-1]
                return last.end() if same else last.start() + self._last_chars
            if verdict == "may":
                return len(held) if at_end else None  # at the end: it stopped while repeating
        return 0

    def _compare(self, ours: list[str], theirs: list[str], *, cut: bool) -> str:
        """Tell whether theirs begins with ours: `repeats`, `may` or `differs`."""
        for number, word in enumerate(ours):
            if number == len(theirs):
                return "may"
            other = theirs[number]
            is_last_of_ours = number == len(ours) - 1
            is_unfinished = cut and number == len(theirs) - 1
            if is_last_of_ours and self._may_be_cut and other.startswith(word):
                return "repeats"
            if is_unfinished and word.startswith(other):
                return "may"
            if other != word:
                return "differs"
        return "repeats"

    def _join(self, at_end: bool) -> str:
        """Give what is held, with the signs and spaces between old and new only once."""
        match = _WORD.search(self._held)
        if match is None and not at_end:
            return ""  # the signs before the next word may still be repetitions
        gap_end = match.start() if match else len(self._held)
        gap, rest = self._held[:gap_end], self._held[gap_end:]
        self._held, self._is_open = "", True
        tail = self._tail
        if self._repeated and gap.startswith(tail):
            return gap[len(tail) :] + rest
        if tail.strip():
            gap = gap[-1:] if gap[-1:].isspace() else ""
        if tail[-1:].isspace():
            gap = gap.lstrip()
        elif not gap and rest and tail[-1:] in _SPACED and not self._repeated:
            gap = " "
        return gap + rest
