"""What callers mean, by rules: likeness of sentences, yes and no, numbers, choices.

Nothing here guesses: a sentence that resembles nothing is not understood, and says so.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final

from rapidfuzz import fuzz


def vocabulary(text: str) -> frozenset[str]:
    """Give the words of a text, for long lists of them."""
    return frozenset(text.split())


MAX_CHARS: Final = 400  # of an utterance that are looked at
THRESHOLD: Final = 0.65  # likeness from which a sentence counts as an example

_CONTRACTIONS: Final = (
    (re.compile(r"\b(?:can't|cannot)\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\b(i)'?m\b"), r"\1 am"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'d\b"), " would"),
    (re.compile(r"\b(it|that|what|who|where|how|name|here|there|he|she|this)'s\b"), r"\1 is"),
    (re.compile(r"\bthats\b"), "that is"),
    (re.compile(r"\bwhats\b"), "what is"),
    (re.compile(r"'s\b"), ""),
    (re.compile(r"\bgonna\b"), "going to"),
    (re.compile(r"\bwanna\b"), "want to"),
)
_NOT_WORDS: Final = re.compile(r"[^\w\s]|_")
_FILLERS: Final = vocabulary("um uh uhm er erm hmm hm well please kindly oh ah eh")
# Words that every other sentence has say little about what is meant.
_LIGHT: Final = vocabulary(
    "a an the i you me my your we us our it its this that these those is are am was be been "
    "do does did can could would will shall should may might to of for in on at by with about "
    "from and or but so if have has had want wanted like need get got give let some any there "
    "here ok okay just now then hi hello hey yes no again also too really very tell know"
)
_QUESTIONS: Final = vocabulary("what who where when which how why whats")
_TOKEN_LIKENESS: Final = 80.0


@functools.lru_cache(maxsize=2048)
def normal(text: str) -> str:
    """Give lower-case words without punctuation, contractions or hesitation."""
    plain = text[:MAX_CHARS].casefold().replace("’", "'")
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain)
    for pattern, instead in _CONTRACTIONS:
        plain = pattern.sub(instead, plain)
    words = [word for word in _NOT_WORDS.sub(" ", plain).split() if word not in _FILLERS]
    return " ".join(words)


def weight(word: str) -> float:
    """Tell how much a word says about what is meant, from 0.2 to 1."""
    if word in _LIGHT:
        return 0.2
    return 0.5 if word in _QUESTIONS else 1.0


def same_word(one: str, other: str) -> bool:
    """Whether two words are the same, plural, case and a slip of the ear aside."""
    if one == other:
        return True
    if min(len(one), len(other)) < 4:
        return one.rstrip("s") == other.rstrip("s") and min(len(one), len(other)) > 2
    return fuzz.ratio(one, other) >= _TOKEN_LIKENESS


@functools.lru_cache(maxsize=32768)  # a dialogue is gone through again for each answer
def likeness(text: str, example: str) -> float:
    """Tell how much a caller's sentence is like an example, from 0 to 1.

    Words count by how much they say; an example contained in a longer sentence is like it too.
    """
    said, meant = normal(text), normal(example)
    if not said or not meant:
        return 0.0
    if said == meant:
        return 1.0
    theirs, ours = said.split(), meant.split()
    left = list(theirs)
    shared = 0.0
    for word in ours:
        twin = next((other for other in left if same_word(word, other)), None)
        if twin is not None:
            left.remove(twin)
            shared += weight(word)
    our_weight = sum(map(weight, ours))
    score = 2 * shared / (our_weight + sum(map(weight, theirs)))
    if shared >= 1.4 and shared >= 0.95 * our_weight:
        score = max(score, 0.7)
    if min(len(said), len(meant)) >= 6 and (whole := fuzz.ratio(said, meant)) >= 88:
        score = max(score, whole / 100)  # words that were heard as two, or as one
    return score * 0.6 if _denies(theirs) != _denies(ours) else score


def _denies(words: list[str]) -> bool:
    return "not" in words or words[0] == "no"


def best_likeness(text: str, examples: Iterable[str]) -> float:
    """Give the likeness of the nearest example."""
    return max((likeness(text, example) for example in examples), default=0.0)


def resembles(text: str, *examples: str) -> bool:
    """Whether a sentence is like one of the examples."""
    return best_likeness(text, examples) >= THRESHOLD


_YES: Final = re.compile(
    r"(?:oh )?(?:yes|yeah|yep|yup|ya|sure|ok|okay|correct|right|exactly|absolutely|definitely|"
    r"certainly|of course|go ahead|sounds? (?:good|great|fine|right)|fine|perfect|great|good|"
    r"why not|uh huh|mm hmm|mhm|indeed|affirmative|i do|i would|do it|do that|lets do|let us do|"
    r"that (?:is|one is|was) (?:right|correct|fine|good|it|perfect)|that would be|"
    r"(?:you|it) (?:got it|is right|is correct|is))\b"
)
_NO: Final = re.compile(
    r"(?:no|nope|nah|not|never|wrong|incorrect|negative|i do not|do not|i would not|rather not|"
    r"(?:that|it) (?:is|was) (?:not|wrong|incorrect))\b"
)
_NO_YES: Final = re.compile(r"no (?:that is (?:right|fine|correct|good)|problem|i mean yes)\b")


def yes_or_no(text: str) -> bool | None:
    """Tell whether a sentence says yes or no; None if neither."""
    plain = normal(text)
    if _NO_YES.match(plain):
        return True
    if _NO.match(plain):
        return False
    if _YES.match(plain):
        return " not " not in f" {plain} "
    return None


_CORRECTING: Final = re.compile(
    r"\s*(?:(?:no|nope|nah|actually|sorry|wait|hang on|hold on|oh|um|uh|well|please|excuse me|"
    r"i (?:meant|mean|said)|rather|instead|that['’]?s (?:wrong|not right|not correct|not it)|"
    r"that is (?:wrong|not right|not correct|not it)|"
    r"you (?:misheard|got (?:it|that) wrong)(?: me)?|make (?:it|that)|change (?:it|that) to|"
    r"it['’]s|it is|it should be|should be|that should be)\b[\s,.;:!–—-]*)+",
    re.IGNORECASE,
)
_CORRECTION_MARK: Final = re.compile(
    r"\b(?:no|nope|actually|sorry|wait|meant|mean|said|rather|instead|wrong|misheard|make|change|"
    r"should|not)\b",
    re.IGNORECASE,
)
_NOT_X_BUT: Final = re.compile(
    r"\bnot\s+(?P<wrong>[^,.;]+?)(?:\s*[,.;]\s*|\s+but\s+)(?:but\s+)?(?P<right>.+)", re.IGNORECASE
)
_X_NOT: Final = re.compile(
    r"(?P<right>.+?)\s*[,.;]?\s+not\s+(?P<wrong>[^,.;]+?)[.!]?", re.IGNORECASE
)


def correction(text: str) -> str | None:
    """Give what a sentence puts in place of something; None if it corrects nothing.

    `no, Grace` gives `Grace`, `not Ada, Eda` and `Eda, not Ada` give `Eda`.
    """
    text = text.strip()[:MAX_CHARS]
    if swap := _NOT_X_BUT.search(text):
        return swap["right"]
    lead = _CORRECTING.match(text)
    rest = text[lead.end() :] if lead else text
    marked = bool(lead and _CORRECTION_MARK.search(lead[0]))
    if swap := _X_NOT.fullmatch(rest):
        return swap["right"]
    return rest if marked and rest else None
