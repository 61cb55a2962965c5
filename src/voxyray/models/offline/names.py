"""People's names in what callers say."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from rapidfuzz import fuzz

from voxyray.models.offline.words import MAX_CHARS, vocabulary


class Name(msgspec.Struct, frozen=True):
    """A name as far as it was given; a part that was not is empty."""

    first: str = ""
    last: str = ""

    def __bool__(self) -> bool:
        return bool(self.first or self.last)


_TOKEN: Final = re.compile(r"[^\W\d_]+(?:['’\-.][^\W\d_]+)*")
_PARTICLES: Final = vocabulary(
    "van von der den de del della da di du la le bin al el ter st mac mc o"
)
# Words that end a name, or show that what follows "I'm" is none.
_NO_NAME: Final = vocabulary(
    "a an the i you me my your he she we us our they it its this that these those there here "
    "is are am was were be been being do does did can could would will shall should may might "
    "must to of for in on at by with about from and or but so if then than as not no nope yes "
    "yeah yep ok okay sure right fine good great well thanks thank please sorry hello hi hey "
    "bye goodbye what who where when which how why have has had want wanted like need get got "
    "give let call calling called looking look trying try wondering asking ask interested "
    "interest just now again also too really very tell know think guess say said saying "
    "speaking speak talking talk hear heard hearing name names first last surname family "
    "middle given spelled spell spelling correct wrong actually um uh uhm er erm hmm oh ah hm "
    "nothing none nobody anyone someone something anything everything pizza pizzas apartment "
    "apartments flat flats order ordering rent restaurant shop one two three four five six "
    "seven eight nine ten both neither either maybe perhaps later rather instead wait stop "
    "help repeat pardon excuse mean meant make change going go gonna done busy driving late "
    "back ready confused lost only still out up off down whatever whoever unknown human robot "
    "real person because new old all set cannot cant don't i'm i'd i'll i've it's that's "
    "what's let's can't won't didn't doesn't isn't you're they're we're don’t i’m it’s that’s "
    "never mind phone number listening private secret business doesn not's who's where's "
    "how's i’d i’ll"
)
_LEAD: Final = re.compile(
    r"^(?:\s*(?:um+|uh+|er+|hm+|oh|ah|well|so|ok|okay|yes|yeah|yep|sure|no|nope|nah|sorry|actually|"
    r"hi|hello|hey|good (?:morning|afternoon|evening)|please|hi there|hello there|of course|wait|"
    r"it is|it['’]s|(?:it['’]s |it is )?spelled|that is|that['’]s|"
    r"this is|i['’]?m|i am|i (?:said|meant|mean)|call me|just|"
    r"the name['’]?s?(?: is)?|(?:you can|people) call me|my name['’]?s?(?: is)?|name is|"
    r"make that|make it|name)\b[\s,.;:!–—-]*)+",
    re.IGNORECASE,
)
_VERB: Final = (
    r"(?:\s*(?:name)?\s*(?:is|['’]s|should be|was)?\s*[,:]?\s*(?:now |actually |spelled )?)"
)
_FIRST: Final = re.compile(
    rf"\b(?:first|given|christian|fore)[\s-]*name{_VERB}(?P<name>.+)", re.IGNORECASE
)
_LAST: Final = re.compile(
    rf"\b(?:(?:last|family|sur)[\s-]*name|my last(?= is))\b{_VERB}(?P<name>.+)", re.IGNORECASE
)
_OPENING: Final = re.compile(
    r"\b(?:my (?:full )?name(?:['’]s| is|(?=(?-i: [A-Z])))|the name['’]s|the name is|name['’]s|"
    r"(?:you (?:can|may) |people |please )?call me|"
    r"this is|i am called|i['’]m called|change (?:my|the) name to|"
    r"my name should be|my name to)\b[\s,:]*(?:actually |really |now )?(?P<name>.+)",
    re.IGNORECASE,
)
_I_AM: Final = re.compile(
    r"^\W*(?:(?:hi|hello|hey|yes|no|well|oh|sorry|actually)\b[\s,.!]*)*"
    r"(?:i['’]m|i am|it['’]s|it is)\s+(?P<name>.+)",
    re.IGNORECASE,
)
_SPEAKING: Final = re.compile(
    r"^(?P<name>.+?)\s*,?\s+(?:speaking|here|is my name)\W*$", re.IGNORECASE
)
_BOTH: Final = re.compile(r"first and last name", re.IGNORECASE)
_IS_PART: Final = re.compile(
    r"(?P<name>.+?)\s+is (?:my|the) (?P<part>first|last|family)(?: name)?\W*$", re.IGNORECASE
)
_SENTENCES: Final = re.compile(r"(?<=[^\W\d_]{2}[.!?])\s+")
_SPELLED: Final = re.compile(r"\b(?:[A-Za-z][\s.,-]+){2,}[A-Za-z]\b\.?")
_ARE_LETTERS: Final = re.compile(r"[\s.,-]+")


def find_name(text: str, *, asked: bool = True) -> Name:
    """Give the name in a sentence; empty if there is none.

    asked: the caller was asked for it, so that a bare `Ada Lovelace` counts; if not, only what
    says itself to be a name does (`my name is`, `my last name is`, `call me`).
    """
    name = Name()
    text = _BOTH.sub("name", _unspelled(text.strip()[:MAX_CHARS].replace("’", "'")))
    for sentence in _SENTENCES.split(text):
        found = _in_sentence(sentence, asked=asked)
        name = Name(found.first or name.first, found.last or name.last)
    return name


def _in_sentence(text: str, *, asked: bool) -> Name:
    if parts := _by_parts(text):
        return parts
    if opened := _OPENING.search(text):
        return _split(opened["name"], bare=False)
    for form in (_SPEAKING, _I_AM):
        if (found := form.match(text)) and (asked or form is _I_AM):
            name = _split(found["name"], bare=True)
            if name and (asked or (name.last and found["name"][:1].isupper())):
                return name
    if not asked:
        return Name()
    return _split(_LEAD.sub("", text), bare=True)


def correct_name(given: Name, known: Name) -> Name:
    """Tell which part of a known name a correction in one word is for: the one it sounds like."""
    if given.first and not given.last and known.last:
        like_first = fuzz.ratio(given.first.casefold(), known.first.casefold())
        like_last = fuzz.ratio(given.first.casefold(), known.last.casefold())
        if like_last > max(like_first, 50):
            return Name("", given.first)
    return given


def _by_parts(text: str) -> Name:
    """Read `my first name is Ada and my last name Lovelace`, in either order, or one of the two."""
    if whole := _IS_PART.match(_LEAD.sub("", text)):
        part = " ".join(_words(whole["name"], bare=True))
        return Name(part) if whole["part"].casefold() == "first" else Name("", part)
    first, last = _FIRST.search(text), _LAST.search(text)
    values = {}
    for key, found, other in (("first", first, last), ("last", last, first)):
        if found:
            until = other.start() if other and other.start() > found.start() else len(text)
            words = _words(text[found.start("name") : until], bare=False)
            values[key] = " ".join(words[:3])
    return Name(**values)


def _split(text: str, *, bare: bool) -> Name:
    words = _words(text, bare=bare)
    if not words or (bare and (len(words) > 4 or len({*words}) < len(words))):
        return Name()
    if len(words) == 1:
        return Name(words[0])
    # All but the first are the last name only after a particle; else the last word is.
    at = next((i for i, word in enumerate(words[1:], 1) if word.casefold() in _PARTICLES), None)
    at = at if at is not None and at < len(words) - 1 else len(words) - 1
    return Name(" ".join(words[:at]), " ".join(words[at:]))


def _words(text: str, *, bare: bool) -> list[str]:
    """Give the words of a name at the start of a text; bare: nothing else may stand there."""
    words: list[str] = []
    rest = text
    while found := _TOKEN.match(rest.lstrip(" \t")):
        word = found[0].rstrip(".")
        after = rest.lstrip(" \t")[found.end() :]
        if word.casefold() in _NO_NAME and not _is_will(word, after):
            break
        words.append(_cased(word, first=not words))
        rest = rest.lstrip(" \t")[found.end() :]
        if rest[:1] and rest[0] not in " \t":
            break
        if len(words) > 5:
            break
    left = re.sub(r"[\W_]+", " ", rest).strip()
    if (
        bare
        and left
        and not re.match(
            r"(?:and (?:i|my|last)|thanks|thank|please|speaking|here|i|but|from|not)\b",
            left,
            re.IGNORECASE,
        )
    ):
        return []
    return words


def _is_will(word: str, after: str) -> bool:
    """Whether a word that is seldom a name is one here: `Will Smith`, not `Will you`."""
    return word in ("Will", "May") and not re.match(r"[\W_]*[a-z]", after)


def _cased(word: str, *, first: bool) -> str:
    """Write a name as names are written, unless its case says something."""
    if not first and word.casefold() in _PARTICLES and len(word) > 1:
        return word.lower() if word.isupper() or word.islower() else word
    if word.islower() or (word.isupper() and len(word) > 1):
        return re.sub(r"(^|['’\-])(\w)", lambda part: part[1] + part[2].upper(), word.lower())
    return word


def _unspelled(text: str) -> str:
    """Join letters that were spelled one by one."""
    return _SPELLED.sub(lambda run: _ARE_LETTERS.sub("", run[0]).capitalize(), text)
