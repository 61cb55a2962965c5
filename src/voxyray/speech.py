"""What a model writes, made fit to be spoken.

Models write markdown, emoji, reasoning and control marks even when told not to, and carriers read
them out ("asterisk asterisk"). `SpeechFilter` takes them out of a stream whose marks may be split
anywhere, and holds text back only while it cannot know whether a mark has begun.
"""

from __future__ import annotations

import re
from typing import Final

# A mark that has not closed after so many characters is taken for ordinary text.
_HOLD_LIMIT: Final = 200

_EMOJI_CLASS: Final = (
    "\U0001f000-\U0001faff\u2600-\u27bf\u2190-\u21ff\u2300-\u23ff\u2b00-\u2bff"
    "\ufe00-\ufe0f\u200d\u20e3\U000e0020-\U000e007f"
)
_CONTROL_CLASS: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\ud800-\udfff"

# Text without any of these needs no work, which is nearly every token.
_SPECIAL: Final = re.compile(rf"[*_`#<>\[\]|~\\\n\r\t{_CONTROL_CLASS}{_EMOJI_CLASS}]")
# A mark that has begun and may go on in the next delta; the alternatives end at the end of text.
_OPEN_TAIL: Final = re.compile(
    r"(?:<(?:[A-Za-z/|][^<>]*)?"  # a tag or control mark
    r"|\[[^\[\]]*(?:\](?:\([^()]*)?)?"  # a link or a stage note
    r"|`{1,2}|```\w*"
    r"|_+"
    r"|(?:^|[\n\r])[ \t\n\r]*[-+*•#>|_= \t:]*)\Z"  # the start of a line
)
_HIDDEN: Final = re.compile(r"<(think|thinking|reasoning)>", re.IGNORECASE)

_REPLACEMENTS: Final = (
    (re.compile(r"<\|[^|<>]{0,60}\|>"), ""),
    (re.compile(r"```\w*"), ""),
    (re.compile(r"\[([^\[\]]*)\]\([^()]*\)"), r"\1"),
    (re.compile(r"\[[^\[\]]{0,40}\]"), ""),  # stage notes such as [laughs]
    (re.compile(r"</?[A-Za-z][^<>]{0,150}>"), ""),
    (re.compile(r"(\n)[ \t]*\|?[ \t:|-]*--[ \t:|-]*(?=\n|\Z)"), r"\1"),  # rules, table rules
    (re.compile(r"(\n)[ \t]*(?:(?:#{1,6}|[-+*•])[ \t]+|>[ \t]?)+"), r"\1"),
    (re.compile(r"(?<!\w)_+|_+(?!\w)"), ""),
    (re.compile(r"[*`~<>\\\[\]]+"), ""),
    (re.compile(rf"[{_CONTROL_CLASS}{_EMOJI_CLASS}]+"), ""),
    (re.compile(r"[ \t]*[\n\r\t|]+[ \t]*"), " "),
    (re.compile(r" {2,}"), " "),
)


def speakable(text: str) -> str:
    """Clean a whole text."""
    speech = SpeechFilter()
    return speech.feed(text) + speech.flush()


class SpeechFilter:
    """Cleans the stream of one answer: feed its deltas, then flush."""

    __slots__ = ("_after_space", "_hidden", "_pending", "_started")

    def __init__(self) -> None:
        self._pending = ""
        self._hidden = ""  # the closing tag that ends a block of reasoning
        self._started = False
        self._after_space = True

    def feed(self, text: str) -> str:
        """Give what can be spoken now, perhaps nothing; leading spaces are kept."""
        if self._started and not self._pending and not self._hidden and not _SPECIAL.search(text):
            self._after_space = text.endswith(" ")
            return text
        self._pending += text
        spoken = self._skip_hidden()
        if self._hidden:
            return spoken
        tail = _OPEN_TAIL.search(self._pending)
        held = len(tail.group()) if tail else 0
        if held > _HOLD_LIMIT:
            held = 0
        ready = self._pending[: len(self._pending) - held]
        self._pending = self._pending[len(ready) :]
        return spoken + self._clean(ready)

    def flush(self) -> str:
        """Give what was held back; the answer is complete."""
        rest, self._pending = self._pending, ""
        if self._hidden:
            return ""
        return self._clean(rest)

    def _skip_hidden(self) -> str:
        """Take blocks of reasoning out of what is pending; give the speech before them."""
        spoken = ""
        while True:
            if self._hidden:
                end = self._pending.lower().find(self._hidden)
                if end < 0:
                    # The closing tag may be split: its beginning must survive.
                    self._pending = self._pending[-len(self._hidden) + 1 :]
                    return spoken
                self._pending = self._pending[end + len(self._hidden) :]
                self._hidden = ""
            opening = _HIDDEN.search(self._pending)
            if opening is None:
                return spoken
            spoken += self._clean(self._pending[: opening.start()])
            self._pending = self._pending[opening.end() :]
            self._hidden = f"</{opening.group(1).lower()}>"

    def _clean(self, text: str) -> str:
        if not text:
            return ""
        if _SPECIAL.search(text) or not self._started:
            # Marks of a line's start also count at the very beginning of an answer.
            start = "" if self._started else "\n"
            text = start + text
            for pattern, replacement in _REPLACEMENTS:
                text = pattern.sub(replacement, text)
        if self._after_space:
            text = text.lstrip(" ")
        if text:
            self._started = True
            self._after_space = text.endswith(" ")
        return text
