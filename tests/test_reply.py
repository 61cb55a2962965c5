"""Said and heard: what the caller heard of a reply, by what the carrier tells."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.reply import Reply, SpeechKind

WORDS = ["no", "No", "nobody", "one", "it's", "İstanbul", "你好", "5", "€", "—", ""]
TEXTS = st.lists(st.sampled_from([*WORDS, " ", ". ", ", ", "\n"]), max_size=8).map("".join)
KINDS: list[SpeechKind] = ["model", "fixed", "filler"]


def reply(*texts: str, complete: bool = False) -> Reply:
    made = Reply()
    for text in texts:
        made.say(text)
    made.complete = complete
    return made


def cut(said: str, *played: str, at: str) -> str:
    """What was heard of a reply that was cut."""
    made = reply(said)
    for text in played:
        made.played(text)
    made.purge(at)
    return made.heard()


class TestHeard:
    def test_what_was_sent_counts_as_heard_until_it_is_cut(self) -> None:
        made = reply("One", " two", " three.")
        assert made.said == made.heard() == "One two three."

    @pytest.mark.parametrize(
        ("said", "played", "fragment", "heard"),
        [
            # only the fragment is known
            ("One two three.", [], "One two", "One two"),
            ("One two three.", [], "", ""),
            ("One two three.", [], "   ", ""),
            ("One two three.", [], "?!", ""),
            ("One two three.", [], "something else", ""),
            ("One two three.", [], "One two three. Four", ""),
            ("One. Two. Three.", [], "Two.", "One. Two."),
            # the fragment is of the chunk that was playing, after the last confirmed place
            ("Sentence 1 is here. Sentence 2 of it.", ["Sentence 1 is here."], "Sentence 2 of",
             "Sentence 1 is here. Sentence 2 of"),
            ("Yes one. Yes two. Yes three.", ["Yes one."], "Yes", "Yes one. Yes"),
            ("One. Two. Three.", ["One.", "Two."], "", "One. Two."),
            ("One. Two. Three.", ["One.", "Two."], "unmatched", "One. Two."),
            # observed: tokensPlayed with the fragment comes just before the interrupt
            ("One. Two three. One.", ["One.", "Two"], "Two", "One. Two"),
            ("No no no no no.", ["No no"], "no", "No no"),
            # repeated words: the earliest place, so that nothing counts as heard that was not
            ("No no no.", [], "no", "No"),
            ("a b a b c", [], "a b c", "a b a b c"),
            # comparing forgivingly
            ("Well, it’s 5 — OK?", [], "well it's 5 ok", "Well, it’s 5 — OK"),
            ("Don't go, please.", [], "don’t GO,", "Don't go,"),
            ("One  two\nthree", [], "one two", "One  two"),
            ("Ein Café, bitte.", [], "ein Cafe\u0301", "Ein Café"),
            ("İstanbul is big.", [], "İstanbul", "İstanbul"),
            # in the middle of a word
            ("Sentence two", [], "Sent", "Sent"),
            ("Tomorrow I go to town", [], "To", "To"),
            ("Go tomorrow, or to town", [], "to", "Go tomorrow, or to"),
            ("Hello there", [], "ello", ""),
            ("İstanbul is big.", [], "İst", "İst"),
            # scripts without spaces
            ("你好世界，今天天气很好。", [], "今天", "你好世界，今天"),
            ("你好世界今天天气很好。", ["你好世界"], "今天天", "你好世界今天天"),
            ("สวัสดีครับ ยินดี", [], "สวัส", "สวัส"),
            ("OK好的", [], "ok好", "OK好"),
        ],
    )  # fmt: skip
    def test_of_a_cut_reply(self, said: str, played: list[str], fragment: str, heard: str) -> None:
        assert cut(said, *played, at=fragment) == heard

    @pytest.mark.parametrize(
        ("fragment", "heard"),
        [("One.", "One."), ("One", "One"), ("One . ", "One"), ("One.)", "One."), ("One!", "One")],
    )
    def test_the_punctuation_it_ends_in_is_taken_along(self, fragment: str, heard: str) -> None:
        assert cut("One. Two.", at=fragment) == heard

    def test_filler_is_said_but_never_heard(self) -> None:
        made = reply("One. ")
        made.say("Just a second. ", "filler")
        made.say("Two. Three.")
        assert made.said == "One. Just a second. Two. Three."
        assert made.heard() == "One. Two. Three."
        made.played("One.")
        made.played("Just a second.")
        made.purge("Two.")
        assert made.heard() == "One. Two."

    def test_a_cut_in_the_filler_leaves_what_was_before(self) -> None:
        made = reply("One. ")
        made.say("Just a second. ", "filler")
        made.say("Two.")
        made.purge("Just a")
        assert made.heard() == "One. "

    def test_rounds_are_told_apart(self) -> None:
        made = Reply()
        made.say("Let me see. ", round_=0)
        made.say("Hold on. ", "filler", round_=0)
        made.say("It is five.", round_=1)
        assert (made.heard(0), made.heard(1), made.heard(2)) == ("Let me see. ", "It is five.", "")
        made.purge("It is")
        assert (made.heard(0), made.heard(1)) == ("Let me see. ", "It is")

    def test_only_filler_is_not_words(self) -> None:
        made = Reply()
        made.say("Just a second.", "filler")
        assert not made.has_words
        made.say("Five.")
        assert made.has_words


class TestPlayed:
    def test_text_of_another_reply_is_not_ours(self) -> None:
        made = reply("One two.")
        assert not made.played("three")
        assert not made.played("")
        assert not made.played("One two. three")
        assert made.played("one")

    def test_the_same_words_count_once_for_each_time(self) -> None:
        made = reply("Yes. Yes. Yes.")
        assert [made.played("Yes.") for _ in range(4)] == [True, True, True, False]

    def test_all_confirmed(self) -> None:
        made = reply("One. Two…")
        assert not made.all_confirmed
        made.played("One.")
        assert not made.all_confirmed
        made.played("Tw")
        assert not made.all_confirmed
        made = reply("One. Two… (!)")
        made.played("One. Two")
        assert made.all_confirmed

    def test_words_that_are_to_come_next_are_expected(self) -> None:
        made = reply("Yes. No, no.")
        assert made.expects("yes")
        assert made.expects("Yes no")
        assert not made.expects("no")
        assert not made.expects("")
        assert not made.expects("Yes no no yes")
        made.played("Yes.")
        assert made.expects("no")
        made.purge("")
        assert not made.expects("no")

    def test_a_confirmation_may_come_after_the_cut(self) -> None:
        made = reply("One. Two. Three.")
        made.purge("unmatched")
        made.played("One.")
        assert made.heard() == "One."
        made.played("Two.")
        assert made.heard() == "One. Two."

    def test_a_late_confirmation_takes_nothing_back(self) -> None:
        made = reply("One. Two. Three.")
        made.purge("One. Two")
        made.played("One.")
        assert made.heard() == "One. Two"


class TestCut:
    def test_stopping_cuts_what_is_not_complete(self) -> None:
        made = reply("One")
        made.stop()
        assert (made.cut, made.heard(), made.purged) == (True, "One", False)

    def test_stopping_a_complete_reply_cuts_nothing(self) -> None:
        made = reply("One", complete=True)
        made.stop()
        assert not made.cut

    @pytest.mark.parametrize(
        ("complete", "fragment", "is_cut"),
        [
            (True, "One two.", False),
            (True, "One", True),
            (True, "", True),
            (False, "One two", True),
        ],
    )
    def test_a_cut_after_the_last_word_of_a_complete_reply_is_none(
        self, complete: bool, fragment: str, is_cut: bool
    ) -> None:
        made = reply("One two. …", complete=complete)
        made.purge(fragment)
        assert made.cut is is_cut
        assert made.complete is not is_cut

    @pytest.mark.parametrize("again", ["", "Two", "One two", "unmatched"])
    def test_what_was_thrown_away_cannot_be_cut_again(self, again: str) -> None:
        made = reply("One two. One two three.")
        made.purge("One two.")
        made.purge(again)
        assert made.heard() == "One two."


class TestProperties:
    @given(
        st.lists(st.tuples(TEXTS, st.sampled_from(KINDS), st.integers(0, 2)), max_size=6),
        st.lists(st.tuples(st.sampled_from(["played", "purge", "stop", "say"]), TEXTS), max_size=6),
    )
    def test_heard_is_the_beginning_of_said_without_filler(
        self, spans: list[tuple[str, SpeechKind, int]], events: list[tuple[str, str]]
    ) -> None:
        made = Reply()
        for text, kind, round_ in sorted(spans, key=lambda span: span[2]):
            made.say(text, kind, round_)
        known = 0
        for event, text in events:
            match event:
                case "played":
                    made.played(text)
                case "purge":
                    made.purge(text)
                case "stop":
                    made.stop()
                case _:
                    made.say(text, "model", 2)
            words = "".join(span.text for span in made.spans if span.kind != "filler")
            assert words.startswith(made.heard())
            assert made.heard() == "".join(made.heard(round_) for round_ in range(3))
            if made.purged:
                assert len(made.heard()) >= known  # nothing that was heard is unheard again
                known = len(made.heard())

    @given(TEXTS, TEXTS)
    def test_what_was_cut_ends_in_the_fragment(self, said: str, fragment: str) -> None:
        heard = cut(said, at=fragment)
        words = [each for each in fragment.lower().split() if each.isalnum()]
        letters = "".join(filter(str.isalnum, heard.lower()))
        assert not heard or all(word in letters for word in words)

    @pytest.mark.parametrize(
        "fragment",
        ["no " * 3000 + "x", "word" + " " * 60_000 + "x", "!" * 60_000 + "x", "不" * 9000],
    )
    def test_a_long_fragment_takes_no_time(self, fragment: str) -> None:
        made = reply("no " * 7000, "不" * 9000)
        began = time.process_time()
        made.purge(fragment)
        assert time.process_time() - began < 1  # it was a minute

    def test_many_confirmations_of_a_long_reply_take_no_time(self) -> None:
        words = [f"word{n}, " for n in range(2500)]
        made = reply(*words)
        began = time.process_time()
        for n in range(0, len(words), 5):
            assert made.expects("".join(words[n : n + 5]))
            assert made.played("".join(words[n : n + 5]))
            assert made.all_confirmed is (n + 5 == len(words))
        assert time.process_time() - began < 1
