"""What the agent says in a turn: said (sent to the carrier) and heard (played before any cut).

The carrier tells what was played in two ways. `tokensPlayed` confirms text clause by clause.
`utteranceUntilInterrupt` names only the fragment of the chunk that was playing, so it is looked
for after the last confirmed place. Without either, nothing is known to have been heard of a cut
reply. Texts are compared by words: the carrier may change case, spacing and punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from typing import Final, Literal, TypeAlias

import msgspec

CUT_MARK: Final = "—"

SpeechKind: TypeAlias = Literal["model", "fixed", "filler"]

# Scripts without spaces between words (Thai, Lao, Burmese, Khmer, Japanese, Chinese): each
# character is a word of its own, since the carrier may cut anywhere.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_LETTER: Final = rf"[^\W{_UNSPACED}][\u0300-\u036f]*"
_WORD: Final = re.compile(rf"[{_UNSPACED}]|(?:{_LETTER})+(?:['’](?:{_LETTER})+)*")


class Span(msgspec.Struct, eq=False):
    """Text of one kind in one round of a reply."""

    kind: SpeechKind
    round: int
    parts: list[str] = []

    @property
    def text(self) -> str:
        """All of it."""
        if len(self.parts) > 1:
            self.parts = ["".join(self.parts)]
        return self.parts[0] if self.parts else ""


class Reply(msgspec.Struct, eq=False):
    """Said and heard of one turn.

    complete: all that was meant to be said was sent (and closed); cut: it was stopped before
    that, or the carrier threw away what was queued; has_words: more than filler and punctuation
    was sent.
    """

    spans: list[Span] = []
    said_chars: int = 0
    complete: bool = False
    cut: bool = False
    has_words: bool = False
    _confirmed: int = 0
    _heard: int | None = None  # None: all that was sent is, or will be, played

    def say(self, text: str, kind: SpeechKind = "model", round_: int = 0) -> None:
        """Add text that was just sent."""
        last = self.spans[-1] if self.spans else None
        if last is None or last.kind != kind or last.round != round_:
            last = Span(kind, round_)
            self.spans.append(last)
        last.parts.append(text)
        self.said_chars += len(text)
        if not self.has_words and kind != "filler":
            self.has_words = any(map(str.isalnum, text))

    @property
    def said(self) -> str:
        """Everything sent, filler included."""
        return "".join(span.text for span in self.spans)

    def has_words_in(self, round_: int) -> bool:
        """Whether more than filler and punctuation was sent in a round."""
        return any(
            span.kind != "filler" and span.round == round_ and any(map(str.isalnum, span.text))
            for span in self.spans
        )

    @property
    def all_confirmed(self) -> bool:
        """Whether the carrier has confirmed every word as played."""
        return self._confirmed > 0 and not _WORD.search(self.said, self._confirmed)

    @property
    def purged(self) -> bool:
        """Whether the carrier threw away what was queued of it."""
        return self._heard is not None

    def expects(self, text: str) -> bool:
        """Whether these are the very next words to be confirmed."""
        words = _words(text)
        coming = islice(_WORD.finditer(self.said, self._confirmed), len(words))
        same = [_plain(match.group()) for match in coming] == words
        return bool(words) and not self.purged and same

    def holds(self, fragment: str) -> bool:
        """Whether a cut fragment can be of this reply."""
        said = self.said
        return _find(said, fragment, self._confirmed) is not None or _ends_with(
            said[: self._confirmed], fragment
        )

    def played(self, text: str) -> bool:
        """Note text the carrier has played; false if it is not of this reply."""
        end = _find(self.said, text, self._confirmed)
        if end is None:
            return False
        self._confirmed = end
        if self._heard is not None and end > self._heard:
            self._heard = end  # the confirmation came after the cut
        return True

    def stop(self) -> None:
        """Stop saying more; what was sent will still be played."""
        if not self.complete:
            self.cut = True

    def purge(self, fragment: str) -> None:
        """Cut as the carrier did: it played up to the fragment and threw the rest away.

        What was thrown away cannot be cut again: further calls change nothing.
        """
        if self.purged:
            return
        said = self.said
        heard = self._confirmed
        if not _ends_with(said[:heard], fragment):
            heard = _find(said, fragment, heard) or heard
        self._heard = heard
        if not self.complete or _WORD.search(said, heard):
            self.cut = True
            self.complete = False

    def heard(self, round_: int | None = None) -> str:
        """Give the heard words of one round (or of all), without filler."""
        limit = self.said_chars if self._heard is None else self._heard
        heard, at = [], 0
        for span in self.spans:
            text = span.text
            if span.kind != "filler" and (round_ is None or span.round == round_):
                heard.append(text[: max(0, limit - at)])
            at += len(text)
        return "".join(heard)


def _words(text: str) -> list[str]:
    return [_plain(word) for word in _WORD.findall(text)]


def _plain(word: str) -> str:
    return unicodedata.normalize("NFC", word).replace("’", "'").lower()


def _ends_with(text: str, fragment: str) -> bool:
    words = _words(fragment)
    return bool(words) and _words(text)[-len(words) :] == words


def _find(text: str, fragment: str, start: int) -> int | None:
    """Give the end of the fragment's words in text from start on.

    They are most likely the very next ones, else their first occurrence counts. The fragment's
    last word may be only the beginning of a word of the text, but later on whole words are
    preferred.
    """
    *firsts, last = _words(fragment) or [""]
    if not last:
        return None
    size = len(firsts)
    coming = _WORD.finditer(text, start)
    found = list(islice(coming, size + 1))
    words = [_plain(match.group()) for match in found]
    if len(found) <= size:
        return None
    if words[:size] == firsts and words[size].startswith(last):
        return _past_punctuation(text, _end(found[size], last), fragment)
    found += coming
    words += [_plain(match.group()) for match in found[size + 1 :]]
    places = [at for at in range(size, len(found)) if words[at].startswith(last)]
    places = [at for at in places if words[at - size : at] == firsts]
    if not places:
        return None
    whole = next((at for at in places if words[at] == last), places[0])
    return _past_punctuation(text, _end(found[whole], last), fragment)


def _end(word: re.Match[str], beginning: str) -> int:
    """Give the place in the text where so much of a word ends."""
    ends = range(word.start() + 1, word.end())
    return next((e for e in ends if _plain(word.string[word.start() : e]) == beginning), word.end())


def _past_punctuation(text: str, end: int, fragment: str) -> int:
    """Take along the punctuation that the fragment ends in."""
    ending = fragment.rstrip()
    start = max((match.end() for match in _WORD.finditer(ending)), default=0)
    for mark in ending[start:]:
        if text[end : end + 1] != mark:
            break
        end += 1
    return end
