"""What a model is told, by the rules its providers insist on."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.history import Cause, History, RunStatus, ToolRun, Turn
from voxyray.models import Message, ToolCall
from voxyray.notes import STILL_RUNNING

STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)


def turn(text: str = "hi", *rounds: str, cut_at: str | None = None, complete: bool = True) -> Turn:
    """Make a turn whose rounds say these words."""
    made = Turn(1, "speech", text, 0.0)
    for round_, words in enumerate(rounds):
        if round_:
            made.calls.append([])
        if words:
            made.reply.say(words, "model", round_)
    made.reply.complete = complete
    if cut_at is not None:
        made.reply.purge(cut_at)
    return made


def run(id_: int, status: RunStatus = "done", effect: str = "write") -> ToolRun:
    made = ToolRun(id_, ToolCall(f"c{id_}", "book", "{}"), effect, f"1:book:{id_}")
    if status != "running":
        made.finish(status, f"result {id_}")
    return made


def told(*turns: Turn) -> list[tuple[str, str | None]]:
    history = History("Be kind.")
    history.turns.extend(turns)
    system, *messages = history.messages()
    assert system == Message("system", "Be kind.")
    return [(each.role, each.content) for each in messages]


class TestMessages:
    def test_without_instructions_there_is_no_system_message(self) -> None:
        assert History("").messages() == ()

    def test_turns_alternate(self) -> None:
        assert told(turn("hi", "Hello."), turn("bye", "Bye.")) == [
            ("user", "hi"),
            ("assistant", "Hello."),
            ("user", "bye"),
            ("assistant", "Bye."),
        ]

    def test_user_turns_in_a_row_are_merged(self) -> None:
        """conversationrelay.md 9 no. 6: role order."""
        unheard = turn("I want a pizza", "Sure", cut_at="")
        silent = turn("large", "  ")
        assert told(unheard, silent, turn("and a cola", "OK.")) == [
            ("user", "I want a pizza\nlarge\nand a cola"),
            ("assistant", "OK."),
        ]

    def test_a_turn_without_input_adds_no_user_message(self) -> None:
        assert told(turn("", "Hello.")) == [("assistant", "Hello.")]

    def test_filler_is_not_told(self) -> None:
        made = turn("hi")
        made.reply.say("One moment. ", "filler")
        made.reply.say("Five.", "fixed")
        assert told(made) == [("user", "hi"), ("assistant", "Five.")]

    def test_every_tool_call_is_followed_by_its_result(self) -> None:
        made = turn("book", "Let me see. ", "Done.")
        made.calls[0] = [run(1), run(2, "failed")]
        history = History("")
        history.turns.append(made)
        assert history.messages() == (
            Message("user", "book"),
            Message("assistant", "Let me see.", (made.calls[0][0].call, made.calls[0][1].call)),
            Message("tool", "result 1", tool_call_id="c1"),
            Message("tool", "result 2", tool_call_id="c2"),
            Message("assistant", "Done."),
        )

    @pytest.mark.parametrize(
        ("status", "result"), [(s, "result 1") for s in STATUSES if s != "running"]
    )
    def test_whatever_became_of_it(self, status: RunStatus, result: str) -> None:
        made = turn("book")
        made.calls[0] = [run(1, status)]
        assert told(made) == [("user", "book"), ("assistant", None), ("tool", result)]

    def test_one_that_still_runs_has_a_result_too(self) -> None:
        made = turn("book")
        made.calls[0] = [run(1, "running")]
        assert told(made, turn("and?"))[1:] == [
            ("assistant", None),
            ("tool", STILL_RUNNING),
            ("user", "and?"),
        ]


class TestCutMark:
    @pytest.mark.parametrize(
        ("rounds", "cut_at", "assistant"),
        [
            (["One two."], "One", ["One—"]),
            (["One two."], "", []),
            (["One two."], "One two.", ["One two."]),
            (["Let me see. ", "It is five."], "It is", ["Let me see.", "It is—"]),
            (["Let me see. ", "It is five."], "Let me", ["Let me—"]),
            (["Let me see. ", "It is five."], "Let me see.", ["Let me see.—"]),
            (["", "It is five."], "It", ["It—"]),
        ],
    )
    def test_it_stands_where_the_caller_stopped_hearing(
        self, rounds: list[str], cut_at: str, assistant: list[str]
    ) -> None:
        messages = told(turn("hi", *rounds, cut_at=cut_at))
        assert messages == [("user", "hi"), *(("assistant", text) for text in assistant)]

    def test_it_stands_with_the_calls_of_its_round(self) -> None:
        made = turn("hi", "Let me see. ", "It is five.", cut_at="Let")
        made.calls[0] = [run(1)]
        assert told(made) == [("user", "hi"), ("assistant", "Let—"), ("tool", "result 1")]

    def test_a_reply_that_was_never_cut_has_none(self) -> None:
        assert told(turn("hi", "One. ", "Two."))[1:] == [
            ("assistant", "One."),
            ("assistant", "Two."),
        ]

    def test_a_reply_that_a_newer_turn_stopped_has_one(self) -> None:
        stopped = turn("hi", "One two", complete=False)
        stopped.reply.stop()
        assert told(stopped, turn("wait"))[1] == ("assistant", "One two—")


class TestUntold:
    def test_finished_writes_are_untold_until_a_request_shows_them(self) -> None:
        history = History("")
        made = turn("book")
        late, done = run(1, "late"), run(2)
        made.calls[0] = [late, done, run(3, "running"), run(4, "done", "read"), run(5, "cancelled")]
        history.turns.append(made)
        assert history.untold() == [done]
        history.tell()
        assert history.untold() == []
        late.finish("done", "after all")
        assert history.untold() == [late]

    def test_one_that_finishes_after_the_request_is_untold(self) -> None:
        history = History("")
        made = turn("book")
        made.calls[0] = [run(1, "running")]
        history.turns.append(made)
        history.tell()
        made.calls[0][0].finish("failed", "no")
        assert history.untold() == made.calls[0]


TURNS = st.builds(
    lambda text, rounds, fragment, complete: (text, rounds, fragment, complete),
    st.sampled_from(["", "hi", "[note]"]),
    st.lists(
        st.tuples(st.sampled_from(["", " ", "One two. ", "Three."]), st.lists(
            st.sampled_from(STATUSES), max_size=2)),
        min_size=1, max_size=3,
    ),
    st.sampled_from([None, "", "One", "Three"]),
    st.booleans(),
)  # fmt: skip


class TestProperties:
    @given(st.lists(TURNS, max_size=5), st.sampled_from(get_args(Cause)))
    def test_no_provider_refuses_what_is_told(
        self,
        turns: list[tuple[str, list[tuple[str, list[RunStatus]]], str | None, bool]],
        cause: Cause,
    ) -> None:
        history, runs = History("Be kind."), 0
        for text, rounds, fragment, complete in turns:
            made = turn(text, *(words for words, _ in rounds), cut_at=fragment, complete=complete)
            made.cause = cause
            for calls, (_, statuses) in zip(made.calls, rounds, strict=True):
                for status in statuses:
                    runs += 1
                    calls.append(run(runs, status))
            history.turns.append(made)
        messages = list(history.messages())
        assert messages.pop(0).role == "system"
        owed: list[str] = []
        for before, message in zip([None, *messages], messages, strict=False):
            if message.role == "tool":
                assert message.tool_call_id == owed.pop(0)
                continue
            assert not owed
            assert message.content or message.tool_calls
            assert not (message.role == "user" and before and before.role == "user")
            owed = [each.id for each in message.tool_calls]
        assert not owed
