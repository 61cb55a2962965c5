from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.support import ASK
from voxyray.models.continuing import Joint, continued

TEXT = "We are open until six, and on Saturdays until noon. Shall I book you a slot?"


def joined(said: str, *rest: str) -> str:
    joint = Joint(said)
    return said + "".join(joint.feed(piece) for piece in rest) + joint.end()


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(places)]


_CUTS = st.lists(st.integers(0, 10_000), max_size=20)
_WORDS = st.lists(st.text("abcdefgä'ß", min_size=1, max_size=6), min_size=1, max_size=12)
_GAPS = st.sampled_from([" ", " ", " ", ", ", ". ", "\n", " – "])


@st.composite
def sentences(draw: st.DrawFn) -> str:
    """Sentences in which every word stands once, and none begins another."""
    bare: list[str] = []
    for word in draw(_WORDS):
        known = [w for w in bare if w.startswith(word) or word.startswith(w)]
        if not known and word.strip("'") == word:
            bare.append(word.replace("'", ""))
    distinct = [
        word
        for n, word in enumerate(bare)
        if not any(word.startswith(w) or w.startswith(word) for w in bare[:n])
    ] or ["yes"]
    text = distinct[0]
    for word in distinct[1:]:
        text += draw(_GAPS) + word
    return text + draw(st.sampled_from(["", ".", "!"]))


@given(sentences(), st.integers(0, 10_000), st.integers(0, 10_000), _CUTS)
def test_any_cut_and_any_repetition_give_the_text_once(
    text: str, cut: int, repeated: int, cuts: list[int]
) -> None:
    cut %= len(text) + 1
    starts = [match.start() for match in re.finditer(r"\w+", text) if match.start() < cut]
    start = starts[repeated % len(starts)] if starts else 0
    assert joined(text[:cut], *pieces(text[start:], cuts)) == text


@given(sentences(), st.integers(0, 10_000), _CUTS)
def test_at_the_end_of_a_word_nothing_need_be_repeated(
    text: str, place: int, cuts: list[int]
) -> None:
    ends = [match.end() for match in re.finditer(r"\w+", text)]
    cut = ends[place % len(ends)]
    whole = joined(text[:cut], *pieces(text[cut:], cuts))
    assert words(whole) == words(text)
    assert words(joined(text[:cut], *pieces(text[cut:].lstrip(), cuts))) == words(text)


@given(st.text("ab .,'", max_size=40), st.text("ab .,'", max_size=40), _CUTS)
def test_it_never_says_more_than_it_was_given(said: str, rest: str, cuts: list[int]) -> None:
    whole = joined(said, *pieces(rest, cuts))
    assert whole.startswith(said)
    assert len(words(whole)) <= len(words(said)) + len(words(rest))
    assert len(whole) <= len(said) + len(rest) + 1


@pytest.mark.parametrize(
    ("said", "rest", "whole"),
    [
        ("until six, and", "UNTIL SIX and on Sundays.", "until six, and on Sundays."),
        ("until six,", "six, and", "until six, and"),
        ("until six, ", "until six, and", "until six, and"),
        ("until six", "and more", "until six and more"),
        ("until six,", "and more", "until six, and more"),
        ("until six ", " and more", "until six and more"),
        ("until six", "… and more", "until six and more"),
        ("until six", "...and more", "until six and more"),
        ("on Sat", "urday", "on Sat urday"),
        ("on Sat", "Saturdays", "on Saturdays"),
        ("on Sat", "and on Saturdays", "on Sat and on Saturdays"),
        ("costs 3.", "costs 3.50 euros", "costs 3.50 euros"),
        ("he said,", 'he said, "yes"', 'he said, "yes"'),
        ("I don", "I don't know", "I don't know"),
        ("Straße", "STRASSE und", "Straße und"),
        ("all of it.", "all of it.", "all of it."),
        ("all of it.", "all of", "all of it."),
        ("all of it.", "", "all of it."),
        ("all of it", ".", "all of it."),
        ("", "Hello there", "Hello there"),
        (" ", " Hello", " Hello"),
    ],
)
def test_joints(said: str, rest: str, whole: str) -> None:
    assert joined(said, rest) == whole
    assert joined(said, *rest) == whole


def test_new_words_leave_at_once() -> None:
    joint = Joint("We are open until six")
    assert joint.feed("unt") == ""  # it may become `until`
    assert joint.feed("o") == " unto"
    assert joint.feed(" S") == " S"


def test_the_other_model_is_told_what_was_said() -> None:
    asked = continued(ASK, "We are open until si")
    assert asked.messages[:-2] == ASK.messages
    assert asked.messages[-2].content == "We are open until si"
    assert "“are open until si”" in str(asked.messages[-1].content)
    assert asked.tools == ASK.tools


def test_signs_alone_are_shown_as_they_are() -> None:
    assert "“…”" in str(continued(ASK, "…").messages[-1].content)
