"""What callers say in every conversation, whatever it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from voxyray.models.offline.words import THRESHOLD, best_likeness, normal, yes_or_no

Kind: TypeAlias = Literal[
    "goodbye", "help", "person", "wait", "thanks", "hello", "how_are_you", "nothing", "no", "yes"
]

HONEST: Final = (
    "I'm a scripted stand-in: not a person, and not a language model either. "
    "I follow rules that somebody wrote down."
)

_EXAMPLES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "goodbye": (
        "goodbye",
        "bye",
        "bye bye",
        "thanks bye",
        "thank you goodbye",
        "okay bye then",
        "see you later",
        "have a nice day",
        "talk to you later",
        "please hang up",
        "you can hang up now",
        "end the call",
        "i have to go now",
        "i've got to go",
    ),
    "nothing": (
        "that's all",
        "that is all thank you",
        "that's it",
        "that's everything",
        "nothing else",
        "no thanks that's all",
        "no that's all thank you",
        "i'm good",
        "i am done",
        "we're done",
        "nothing",
    ),
    "help": (
        "help",
        "what can you do",
        "what can you do for me",
        "what do you do",
        "what can i do here",
        "what can i ask you",
        "how does this work",
        "what are my options",
        "what are the options",
        "what is this",
        "what number is this",
        "i don't understand",
        "i need help",
    ),
    "person": (
        "can i talk to a person",
        "can i speak to a human",
        "i want to talk to a real person",
        "i'd like to speak to someone",
        "put me through to somebody",
        "give me a human",
        "operator",
        "representative",
        "let me speak to the manager",
    ),
    "wait": (
        "wait",
        "wait a moment",
        "one moment",
        "just a moment please",
        "hold on",
        "hang on",
        "hold on a second",
        "give me a second",
        "give me a minute",
        "just a second",
        "let me think",
    ),
    "thanks": ("thanks", "thank you", "thank you very much", "thanks a lot", "great thanks"),
    "hello": ("hello", "hi", "hey", "hi there", "hello there", "good morning", "good evening"),
    "how_are_you": ("how are you", "how are you doing", "how is it going", "how do you do"),
}
REPLIES: Final[Mapping[str, tuple[str, ...]]] = {
    "goodbye": ("Goodbye, and thank you for calling.", "Thank you for calling. Goodbye."),
    "nothing": ("All right. Thank you for calling, and goodbye.",),
    "help": ("Tell me in your own words what you need.",),
    "person": ("I'm sorry, I can't put you through to anybody.",),
    "wait": ("Of course. Take your time.", "Sure. I'll wait."),
    "thanks": ("You're welcome.", "My pleasure."),
    "hello": ("Hello!", "Hello. I'm listening."),
    "how_are_you": ("All is well here, thank you.",),
    "no": ("All right.",),
    "yes": ("Good. Go ahead.",),
}
# Kinds that mean the same whatever was asked before.
UNASKED: Final[tuple[Kind, ...]] = (
    "goodbye",
    "help",
    "person",
    "wait",
    "thanks",
    "hello",
    "how_are_you",
)


# However a short sentence begins, `bye` at its end is what counts.
_PARTING: Final = re.compile(r"^(?!.*\bnot\b)(?:\w+ ){0,8}(?:good ?)?bye(?: bye)?(?: now| then)?$")


def kind_of(text: str, kinds: Iterable[Kind] = UNASKED) -> Kind | None:
    """Tell what kind of small talk a sentence is; None if it is none of these kinds."""
    wanted = tuple(kinds)
    if "goodbye" in wanted and _PARTING.search(normal(text)) is not None:
        return "goodbye"
    best, found = THRESHOLD, None
    for kind in wanted:
        score = best_likeness(text, _EXAMPLES.get(kind, ()))
        if score > best or (score == best and found is None):
            best, found = score, kind
    if found is not None:
        return found
    answer = yes_or_no(text)
    if answer is None or len(normal(text).split()) > 5:
        return None
    kind = "yes" if answer else "no"
    return kind if kind in wanted else None


_MACHINE: Final = (
    r"(?:chat ?)?(?:ro)?bots?|ais?|a\.i\.?|machine|computer|program|software|recording|recorded|"
    r"chat ?gpt|gpt|language model|llm|artificial|automated|automatic|virtual|voice assistant|"
    r"human|humans|real person|person|real human|answering machine|tape|alive"
)
_IDENTITY: Final = re.compile(
    rf"\b(?:are you|aren't you|you are|you're|is this|is it|am i (?:talking|speaking) (?:to|with)|"
    rf"(?:talking|speaking) (?:to|with))\b[^.?!]{{0,30}}\b(?:{_MACHINE})\b"
    r"|\bare you (?:even |really |actually )?real\b|\bwhat (?:kind of \w+ )?are you\W*$|"
    r"\bwho (?:or what )?are you\W*$|"
    r"\bwho (?:or what )?(?:am i|i am|i'm) (?:talking|speaking) (?:to|with)|"
    r"\bwhat (?:am i|i am|i'm) (?:talking|speaking) (?:to|with)|"
    r"\bwhich (?:language )?model\b|\bwhat (?:language )?model are you|\bwho is (?:this|that)\W*$|"
    r"\bwho's (?:this|that)\W*$",
    re.IGNORECASE,
)
_WISH: Final = re.compile(
    r"\b(?:can|could|may|let|want|like|wish|would|need|rather)\b", re.IGNORECASE
)
_SENTENCES: Final = re.compile(r"(?<=[.?!])\s+")


def split_identity(text: str) -> tuple[bool, str]:
    """Tell whether the caller asks what they are talking to, and give what else they said."""
    text = text.replace("’", "'").strip()
    sentences = _SENTENCES.split(text)
    rest = [s for s in sentences if not (_IDENTITY.search(s[:400]) and not _WISH.search(s[:400]))]
    if len(rest) == len(sentences):
        return False, text
    # "Okay, but are you a robot?" leaves nothing of weight to answer besides.
    left = " ".join(rest)
    return True, left if len(normal(left).split()) > 1 or rest[1:] else ""


_REPEAT: Final = re.compile(
    r"(?:(?:sorry|i'm sorry|excuse me|oh|hm+|what|wait|no)[\s,.?!]+)*(?:pardon(?: me)?|what|"
    r"excuse me|sorry|come again|say (?:that|it) again|"
    r"(?:please )?repeat(?: (?:that|it|yourself|please))*|"
    r"(?:can|could|would|will) you (?:please )?(?:repeat|say)(?: (?:that|it|this|what you said))?"
    r"(?: (?:again|please|one more time|once more))*|what did you (?:just )?say|what was that|"
    r"i (?:did not|didn't|couldn't|could not|can't|cannot) (?:catch|hear|get|understand)"
    r"(?: (?:that|you|it|what you said))?|once more(?: please)?|one more time(?: please)?|"
    r"again please|say again|huh)(?:[\s,]+(?:please|again))?[\s,.?!]*",
    re.IGNORECASE,
)


def asks_to_repeat(text: str) -> bool:
    """Whether the caller wants to hear the last words again."""
    return _REPEAT.fullmatch(text.strip()[:200].replace("’", "'")) is not None
