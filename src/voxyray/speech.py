"""What a model writes, made fit to be spoken.

Models write markdown, emoji, reasoning and control marks even when told not to, and carriers read
them out ("asterisk asterisk"). `SpeechFilter` takes them out of a stream whose marks may be split
anywhere. It reads the text from left to right and decides on each mark as soon as nothing that
could follow would change the decision, so the speech is the same however the text was split, and
only the beginnings of marks are ever held back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, Final

_EMOJI: Final = (
    "\U0001f000-\U0001faff\u2190-\u21ff\u2300-\u23ff\u2500-\u27bf\u2b00-\u2bff\u3030"
    "\ufe00-\ufe0f\u200d\u20e3\U000e0020-\U000e007f\u2022\u2023\u2043"
)
# Control, bidirectional and zero-width characters, private use (some models' citation marks).
_CONTROL: Final = (
    r"\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    r"\ud800-\uf8ff\ufeff\ufff9-\uffff\U000f0000-\U0010ffff"
)
_BREAK: Final = r"\n\r\x0b\x0c\x85\u2028\u2029"
_MARKS: Final = rf"*_`#<>\[\]|~\\\t{_BREAK}{_CONTROL}{_EMOJI}"

# Text without any of these needs no work, which is nearly every token.
_SPECIAL: Final = re.compile(rf"[{_MARKS}]|  ")
_PLAIN: Final = re.compile(rf"[^{_MARKS}]+")
_BREAKS: Final = re.compile(rf"[{_BREAK}]+")
_BLANKS: Final = re.compile(r"[ \t]+")
_SPACES: Final = re.compile(r" {2,}")
_EMOJIS: Final = re.compile(rf"[{_EMOJI}]")

_ANY_CASE: Final = re.IGNORECASE | re.ASCII

# Each mark has a pattern, and one for its beginnings, which reach the end of the text. Both are
# bounded: a mark that has not closed by then is none.
_REASONING: Final = re.compile(r"(?:think|thinking|thought|reasoning|tool_call)\Z", _ANY_CASE)
_CLOSING_LENGTH: Final = 20
_INLINE: Final = re.compile(r"(?:a|b|i|u|s|em|strong|code|span|mark|small|sub|sup)\Z", _ANY_CASE)
_TAG: Final = re.compile(r"<(/?)([A-Za-z][\w:.-]{0,40})([^<>]{0,150})>")
_TAG_BEGINS: Final = re.compile(r"<(?:/?(?:[A-Za-z][\w:.-]{0,40}[^<>]{0,150})?)?\Z")
_ATTRIBUTES: Final = re.compile(r"(?:\s+[\w:.-]+\s*=[^<>]*)?\s*/?\Z")
_ASIDE: Final = re.compile(r"[\w:.-]{3,40}\s[^<>@=]{0,40}\Z")
_CONTROL_MARK: Final = re.compile(r"<[|｜][^|｜<>]{0,60}[|｜]>")
_CONTROL_MARK_BEGINS: Final = re.compile(r"<(?:[|｜][^|｜<>]{0,60}[|｜]?)?\Z")
_BRACKET: Final = re.compile(rf"\[[^\[\]{_BREAK}]{{0,150}}\]")
_BRACKET_BEGINS: Final = re.compile(rf"\[[^\[\]{_BREAK}]{{0,150}}\]?\Z")
_NOTE: Final = 42  # characters of a stage note such as [laughs]; more are taken for words
_TARGET: Final = re.compile(r"\]\([^()\n\r]{0,120}(?:\([^()\n\r]{0,40}\)[^()\n\r]{0,40})?\)")
_TARGET_BEGINS: Final = re.compile(
    r"\](?:\([^()\n\r]{0,120}(?:\([^()\n\r]{0,40}(?:\)[^()\n\r]{0,40})?)?)?\Z"
)
_LONG_TARGET: Final = re.compile(r"\]\([^\s()]{60}")
_LINE_MARK: Final = re.compile(
    rf"-{{3}}|={{3}}|##|-{{1,2}}(?=[ \t|:{_BREAK}])|\+(?=[ \t])|:(?=[-|{_BREAK} \t])"
    rf"|#(?=[ \t{_BREAK}])"
)
_LINE_MARK_BEGINS: Final = re.compile(r"(?:-{1,2}|={1,2}|\+|:|#)\Z")
_FENCE_LANGUAGE: Final = re.compile(r"[\w+#.-]{1,30}[ \t]{0,3}(?=[\r\n])")
_FENCE_LANGUAGE_BEGINS: Final = re.compile(r"[\w+#.-]{0,30}[ \t]{0,3}\Z")
_TIMES: Final = re.compile(r"\*(?= ?\d)")
_TIMES_BEGINS: Final = re.compile(r"\* ?\Z")

_WAIT: Final = -1


def speakable(text: str) -> str:
    """Clean a whole text."""
    speech = SpeechFilter()
    return speech.feed(text) + speech.flush()


class SpeechFilter:
    """Cleans the stream of one answer: feed its deltas, then flush."""

    __slots__ = (
        "_before",
        "_final",
        "_gap",
        "_hidden",
        "_is_plain",
        "_line_start",
        "_out",
        "_pending",
        "_skipped",
        "_spoken",
        "_ticks",
    )

    def __init__(self) -> None:
        self._pending = ""
        self._final = False
        self._out: list[str] = []
        self._spoken = " "  # the last two characters given
        self._before = " "  # the last character read, empty if it was an emoji
        self._gap = False  # something was taken out that kept two words apart
        self._line_start = True
        self._ticks = 0
        self._skipped: re.Pattern[str] | None = None  # the rest of a rule or a link's target
        self._hidden: re.Pattern[str] | None = None  # what ends a block of reasoning
        self._is_plain = False

    def feed(self, text: str) -> str:
        """Give what can be spoken now, perhaps nothing; leading spaces are kept."""
        if not text:
            return ""
        if self._is_plain and not _SPECIAL.search(text) and not text[0] == " " == self._spoken[-1]:
            self._spoken = (self._spoken + text)[-2:]
            self._before = text[-1]
            return text
        self._pending += text
        return self._read()

    def flush(self) -> str:
        """Give what was held back; the answer is complete."""
        self._final = True
        return self._read()

    def _read(self) -> str:
        text, at = self._pending, 0
        while at < len(text):
            end = self._step(text, at)
            if end == _WAIT:
                break
            at = end
        self._pending = text[at:]
        self._is_plain = not (
            self._pending
            or self._hidden
            or self._line_start
            or self._gap
            or self._ticks
            or self._skipped
        )
        spoken = "".join(self._out)
        self._out.clear()
        return spoken

    def _step(self, text: str, at: int) -> int:
        """Read one mark, or plain text up to the next; give its end."""
        if self._hidden:
            return self._hide(self._hidden, text, at)
        if self._skipped:
            skipped = self._skipped.match(text, at)
            if skipped is None or skipped.group()[-1] == ")":
                self._skipped = None
            if skipped:
                return skipped.end()
        if self._ticks and text[at] != "`":
            return self._after_ticks(text, at)
        if broken := _BREAKS.match(text, at):
            self._say(" ")
            self._line_start = True
            return broken.end()
        if self._line_start:
            if blank := _BLANKS.match(text, at):
                return blank.end()
            end = self._line_mark(text, at)
            if end != at:
                return end
        if plain := _PLAIN.match(text, at):
            self._say(plain.group())
            return plain.end()
        return self._MARKS.get(text[at], SpeechFilter._drop)(self, text, at)

    def _say(self, text: str) -> None:
        before = self._spoken[-1]
        self._before = text[-1]
        self._line_start = self._line_start and text == " "
        if self._gap and text[0].isalnum() and (before.isalnum() or before in ".,;:!?)…%"):
            text = f" {text}"
        self._gap = False
        text = _SPACES.sub(" ", text)
        if before == " ":
            text = text.removeprefix(" ")
        if text:
            self._spoken = (self._spoken + text)[-2:]
            self._out.append(text)

    def _begins(self, pattern: re.Pattern[str], text: str, at: int) -> bool:
        return not self._final and pattern.match(text, at) is not None

    def _hide(self, hidden: re.Pattern[str], text: str, at: int) -> int:
        if closing := hidden.search(text, at):
            self._hidden = None
            self._gap = True
            return closing.end()
        if self._final:
            return len(text)
        # The closing tag may be split: its beginning must survive.
        end = len(text) - _CLOSING_LENGTH
        return end if end > at else _WAIT

    def _after_ticks(self, text: str, at: int) -> int:
        fence = self._ticks > 2
        if fence and self._begins(_FENCE_LANGUAGE_BEGINS, text, at):
            return _WAIT
        self._ticks = 0
        language = _FENCE_LANGUAGE.match(text, at) if fence else None
        return language.end() if language else self._step(text, at)

    def _line_mark(self, text: str, at: int) -> int:
        """Read a heading's, bullet's, quotation's, table's or rule's mark."""
        if mark := _LINE_MARK.match(text, at):
            if mark.group() in _RUNS:
                self._skipped = _RUNS[mark.group()]
            return mark.end()
        if _LINE_MARK_BEGINS.match(text, at):
            return len(text) if self._final else _WAIT
        return at

    def _drop(self, text: str, at: int) -> int:
        if _EMOJIS.match(text[at]):
            if text[at] == "\u200d" and self._before not in ("", " "):
                self._say(text[at])  # some scripts join letters with it
                return at + 1
            self._before = ""
            self._gap = True
        return at + 1

    def _drop_apart(self, _: str, at: int) -> int:
        self._gap = True
        return at + 1

    def _space(self, _: str, at: int) -> int:
        self._say(" ")
        return at + 1

    def _angle(self, text: str, at: int) -> int:
        if mark := _CONTROL_MARK.match(text, at):
            return mark.end()
        tag = _TAG.match(text, at)
        if tag and self._is_tag(tag.group(2), tag.group(3)):
            name = tag.group(2)
            if not tag.group(1) and _REASONING.match(name) and not tag.group(3).endswith("/"):
                self._hidden = re.compile(rf"</{name}\s{{0,5}}>", _ANY_CASE)
            self._gap = self._gap or not _INLINE.match(name)
            return tag.end()
        if tag is None and (
            self._begins(_TAG_BEGINS, text, at) or self._begins(_CONTROL_MARK_BEGINS, text, at)
        ):
            return _WAIT
        return self._drop_apart(text, at)

    def _is_tag(self, name: str, rest: str) -> bool:
        """Tell tags and stage notes from comparisons (a<b and c>d) and addresses."""
        if _ATTRIBUTES.match(rest):
            return True
        return not self._before.isalnum() and _ASIDE.match(name + rest) is not None

    def _bracket(self, text: str, at: int) -> int:
        bracket = _BRACKET.match(text, at)
        after = text[bracket.end() : bracket.end() + 1] if bracket else ""
        if not after and self._begins(_BRACKET_BEGINS, text, at):
            return _WAIT
        self._gap = True
        if bracket and after != "(" and len(bracket.group()) <= _NOTE:
            return bracket.end()
        return at + 1  # words; if it is a link, its target goes with the closing bracket

    def _closing_bracket(self, text: str, at: int) -> int:
        if target := _TARGET.match(text, at):
            return target.end()
        if self._begins(_TARGET_BEGINS, text, at):
            return _WAIT
        if target := _LONG_TARGET.match(text, at):
            self._skipped = _ADDRESS
            return target.end()
        return self._drop_apart(text, at)

    def _tick(self, _: str, at: int) -> int:
        self._ticks += 1
        return at + 1

    def _star(self, text: str, at: int) -> int:
        """Say what stands between two numbers, spaced alike on both sides; drop all others."""
        spaced = self._before == " "
        number = self._spoken[-2:-1] if spaced else self._before
        if number.isdigit() and not self._line_start:
            if self._begins(_TIMES_BEGINS, text, at):
                return _WAIT
            if _TIMES.match(text, at) and (text[at + 1] == " ") == spaced:
                self._say("×" if spaced else " × ")
        self._before = "*"
        return at + 1

    def _underscore(self, text: str, at: int) -> int:
        """Keep those within words."""
        if not self._before.isalnum():
            return at + 1
        if text.startswith("___", at):
            self._skipped = _RUNS["___"]
            self._gap = True
            return at + 3
        end = at + 2 if text.startswith("__", at) else at + 1
        if end == len(text) and not self._final:
            return _WAIT
        if text[end : end + 1].isalnum():
            self._say(text[at:end])
        return end

    def _hash(self, text: str, at: int) -> int:
        """Keep it in C# and #1."""
        if text.startswith("##", at) and not self._before.isalnum():
            self._skipped = _RUNS["##"]
            return at + 2
        if not self._before.isalnum() and at + 1 == len(text) and not self._final:
            return _WAIT
        self._say("#")
        return at + 1

    _MARKS: ClassVar[dict[str, Callable[[SpeechFilter, str, int], int]]] = {
        "<": _angle,
        ">": _drop_apart,
        "[": _bracket,
        "]": _closing_bracket,
        "\\": _drop_apart,
        "`": _tick,
        "*": _star,
        "_": _underscore,
        "#": _hash,
        "|": _space,
        "\t": _space,
    }


_RUNS: Final = {
    "---": re.compile("-+"),
    "===": re.compile("=+"),
    "##": re.compile("#+"),
    "___": re.compile("_+"),
}
_ADDRESS: Final = re.compile(r"[^\s()]+\)?|\)")
