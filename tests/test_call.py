"""A call, event by event: what is said, what is heard, what the model is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.desk import Desk, make_agent
from voxyray import events, frames, journal
from voxyray.models import TextDelta
from voxyray.notes import (
    CANCELLED,
    END_CANCELLED,
    GREET_NOTE,
    RESULT_NOTE,
    RESUME_NOTE,
    STILL_RUNNING,
)
from voxyray.policy import Key, Policy

GREETING = ("assistant", "Hello there, how can I help?")


def quiet(desk: Desk, seconds: float = 30) -> None:
    desk.pass_time(seconds)


class TestTurns:
    def test_words_leave_as_they_come_and_the_reply_is_closed_once(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("Sure,")
        assert desk.sent == [frames.Text("Sure,", last=False)]
        desk.delta(" go on.")
        desk.finish()
        assert desk.sent[1:] == [frames.Text(" go on.", last=False), frames.CLOSE_CYCLE]

    def test_the_greeting_is_known_to_the_model(self) -> None:
        """original.md 35: the greeting is spoken by the carrier, unknown to the history."""
        desk = Desk()
        desk.say("hi")
        assert desk.messages() == [GREETING, ("user", "hi")]

    def test_without_a_greeting_the_model_speaks_first(self) -> None:
        desk = Desk(make_agent(greeting=""))
        assert desk.messages() == [("user", GREET_NOTE)]
        desk.answer("Welcome!")
        assert desk.spoken == "Welcome!"

    def test_nothing_counts_before_setup(self) -> None:
        desk = Desk(set_up=False)
        desk.say("hi")
        desk.interrupt("x")
        desk.press("1")
        assert not desk.asks
        assert not desk.sent
        assert not desk.entries

    def test_a_second_setup_changes_nothing(self) -> None:
        desk = Desk()
        desk.do(frames.Setup(session_id="VX2"))
        assert len(desk.noted(journal.CallStarted)) == 1

    @pytest.mark.parametrize("text", ["", "   ", "\n", "\x00"])
    def test_an_empty_prompt_is_no_turn(self, text: str) -> None:
        desk = Desk()
        desk.say(text)
        assert not desk.asks

    def test_a_huge_prompt_is_cut_to_size(self) -> None:
        desk = Desk()
        desk.say("a" * 100_000)
        assert len(desk.messages()[-1][1] or "") == 4000

    def test_partial_prompts_ask_nothing(self) -> None:
        """conversationrelay.md 9 no. 8: partials answered as finals."""
        desk = Desk()
        desk.do(frames.Prompt("I want", last=False))
        desk.do(frames.Prompt("I want to go", last=False))
        assert not desk.asks

    def test_a_newer_prompt_stops_the_older_reply(self) -> None:
        """original.md 15: two replies interleave in one stream."""
        desk = Desk()
        first = desk.say("one")
        desk.delta("Alpha", first)
        second = desk.say("two")
        assert desk.live == {second}
        desk.delta(" beta", first)
        desk.delta("Gamma", second)
        assert desk.spoken == "Alpha Gamma"  # kept apart: the carrier joins tokens as they are

    def test_two_user_turns_in_a_row_are_merged(self) -> None:
        """conversationrelay.md 9 no. 6: providers refuse two user messages in a row."""
        desk = Desk()
        desk.say("I want a pizza")
        desk.say("and a cola")
        assert desk.messages() == [GREETING, ("user", "I want a pizza\nand a cola")]

    def test_late_deltas_of_a_cancelled_request_are_dropped(self) -> None:
        desk = Desk()
        first = desk.say("one")
        desk.say("two")
        for event in (
            events.ModelEvent(first, TextDelta("late")),
            events.ModelFailed(first, "late", retryable=True),
        ):
            desk.do(event)
        assert desk.spoken == ""

    def test_markdown_split_across_deltas_is_not_spoken(self) -> None:
        """conversationrelay.md 9 no. 11: the agent reads "asterisk asterisk"."""
        desk = Desk()
        desk.say("hi")
        for part in ("The *", "*best*", "* piz", "za 🍕", "."):
            desk.delta(part)
        desk.finish()
        assert desk.spoken == "The best pizza ."


class TestInterrupts:
    def test_not_one_token_after_an_interrupt(self) -> None:
        desk = Desk()
        request = desk.say("hi")
        desk.delta("One two three")
        desk.interrupt("One two")
        assert desk.live == set()
        desk.delta(" four", request)
        desk.finish(request=request)
        assert desk.spoken == "One two three"
        assert desk.closes == 0

    def test_history_holds_what_was_heard_and_a_mark(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("One two three")
        desk.interrupt("One two")
        desk.say("wait")
        assert desk.messages() == [
            GREETING,
            ("user", "hi"),
            ("assistant", "One two—"),
            ("user", "wait"),
        ]

    def test_the_fragment_is_of_one_chunk_only(self) -> None:
        """conversationrelay.md 9 no. 5: sentence 1 vanishes from history."""
        desk = Desk()
        desk.say("hi")
        desk.delta("Sentence 1 is here. Sentence 2 of this reply.")
        desk.info("tokensPlayed", "Sentence 1 is here.")
        desk.interrupt("Sentence 2 of")
        desk.say("wait")
        assert desk.messages()[2] == ("assistant", "Sentence 1 is here. Sentence 2 of—")

    def test_what_was_played_is_not_counted_twice(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("No no no no no.")
        desk.info("tokensPlayed", "No no")
        desk.interrupt("no")
        desk.say("wait")
        assert desk.messages()[2] == ("assistant", "No no—")

    def test_an_unheard_reply_leaves_no_trace(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("One two")
        desk.interrupt("")
        desk.say("there")
        assert desk.messages() == [GREETING, ("user", "hi\nthere")]

    def test_an_unmatched_fragment_keeps_only_what_was_confirmed(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("One. Two. Three.")
        desk.info("tokensPlayed", "One.")
        desk.interrupt("something else")
        desk.say("wait")
        assert desk.messages()[2] == ("assistant", "One.—")

    def test_a_complete_reply_cut_while_playing(self) -> None:
        """conversationrelay.md 4.2: only the history changes."""
        desk = Desk()
        desk.say("hi")
        desk.answer("One two three four")
        desk.interrupt("One two")
        desk.say("wait")
        assert desk.messages()[2] == ("assistant", "One two—")
        assert desk.closes == 1

    def test_an_interrupt_after_the_last_word_cuts_nothing(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.answer("One two.")
        desk.interrupt("One two.")
        desk.say("wait")
        assert desk.messages()[2] == ("assistant", "One two.")

    def test_the_greeting_can_be_cut(self) -> None:
        desk = Desk()
        desk.interrupt("Hello there")
        desk.say("hi")
        assert desk.messages() == [("assistant", "Hello there—"), ("user", "hi")]

    def test_a_late_interrupt_of_the_reply_before_does_not_stop_this_one(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.answer("One two three")
        request = desk.say("stop")
        desk.interrupt("One")
        assert desk.live == {request}
        desk.answer("Stopped.")
        desk.say("so")
        assert ("assistant", "One—") in desk.messages()

    def test_a_key_is_reported_before_the_interrupt_it_causes(self) -> None:
        """conversationrelay.md 2.7: dtmf, tokensPlayed, interrupt - in this order."""
        desk = Desk()
        desk.say("hi")
        desk.delta("One two three")
        desk.press("2")
        request = desk.request
        desk.info("tokensPlayed", "One two")
        desk.interrupt("One two")
        assert desk.live == {request}
        desk.answer("We are here.")
        assert desk.spoken.endswith("We are here.")
        desk.say("ok")
        assert ("assistant", "One two—") in desk.messages()

    def test_what_still_plays_of_an_older_reply_is_not_taken_for_this_ones_words(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("Yes. I can help you.")
        desk.say("please")  # nothing was purged: the older reply plays on
        desk.delta("Sure. Later I can help you with that.")
        desk.info("tokensPlayed", "Yes.")
        desk.info("tokensPlayed", "I can help you.")
        desk.info("tokensPlayed", "Sure.")
        desk.interrupt("Later")
        desk.say("wait")
        assert desk.messages()[-2] == ("assistant", "Sure. Later—")

    def test_an_older_reply_that_still_plays_is_cut_too(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.answer("One two three four.")
        desk.say("and")  # nothing was purged: both replies are queued
        desk.delta("Five six seven.")
        desk.info("tokensPlayed", "One")
        desk.interrupt("two")
        desk.say("wait")
        assert desk.messages()[1:] == [
            ("user", "hi"),
            ("assistant", "One two—"),
            ("user", "and\nwait"),
        ]

    def test_a_keys_own_reply_can_be_cut_at_once(self) -> None:
        desk = Desk()
        desk.press("2")
        desk.delta("Here is where we are.")
        desk.pass_time(0.6)
        desk.info("agentSpeaking", "on")
        desk.interrupt("Here is")
        assert not desk.live

    def test_a_keys_own_reply_can_be_cut_without_reports(self) -> None:
        desk = Desk()
        desk.press("2")
        desk.delta("Here is where we are.")
        desk.pass_time(0.6)
        desk.interrupt("Here is")
        assert not desk.live

    @pytest.mark.parametrize("start", [0.0, 100.0])
    def test_the_clock_may_start_anywhere(self, start: float) -> None:
        desk = Desk(set_up=False)
        desk.now = start
        desk.do(frames.Setup(call_sid="CA1"))
        desk.say("hi")
        desk.delta("One two")
        desk.interrupt("One")
        assert not desk.live

    def test_after_a_sound_without_words_the_agent_goes_on(self) -> None:
        """complaints.md 11: resume after a false interruption."""
        desk = Desk()
        desk.say("hi")
        desk.delta("One two three")
        desk.info("clientSpeaking", "on")
        desk.interrupt("One")
        desk.info("clientSpeaking", "off")
        desk.pass_time(3.1)
        assert desk.messages()[-1] == ("user", RESUME_NOTE)

    def test_an_unanswered_question_is_asked_again_after_a_false_interruption(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.interrupt("")
        desk.pass_time(3.1)
        assert desk.live
        assert desk.messages() == [GREETING, ("user", "hi")]

    def test_a_caller_who_is_speaking_is_not_talked_over(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("One two three")
        desk.info("clientSpeaking", "on")
        desk.interrupt("One")
        before = len(desk.asks)
        desk.pass_time(8)
        assert len(desk.asks) == before

    def test_noise_does_not_put_off_the_reprompt_for_ever(self) -> None:
        """complaints.md 25: noise defers "are you there?" for ever."""
        desk = Desk()
        for _ in range(30):
            desk.info("clientSpeaking", "on")
            desk.pass_time(1.5)
        assert "Are you still there?" in desk.spoken

    def test_idle_interrupts_do_not_delete_what_was_said(self) -> None:
        """complaints.md 13: a transcript item is deleted on every interruption."""
        desk = Desk()
        desk.say("hi")
        desk.answer("One two.")
        desk.info("tokensPlayed", "One two.")
        desk.interrupt("")
        desk.say("so")
        assert desk.messages()[2] == ("assistant", "One two.")


class TestKeys:
    def test_a_menu_key_is_answered_at_once_without_a_model(self) -> None:
        desk = Desk()
        desk.press("1")
        assert desk.spoken == "We open at nine."
        assert not desk.asks
        assert desk.closes == 1

    def test_a_menu_key_may_stand_for_words(self) -> None:
        desk = Desk()
        desk.press("2")
        assert desk.messages()[-1] == ("user", "Where are you?")

    def test_a_menu_key_may_force_a_tool(self) -> None:
        """original.md 7: tools forced by keys are never forced."""
        desk = Desk(make_agent(keypad={"3": Key(tool="look_up")}))
        desk.press("3")
        assert desk.asks[1].tool_choice == "look_up"
        desk.call_tool("look_up", word="x")
        desk.finish("tool_calls")
        desk.return_tool("found")
        assert desk.asks[2].tool_choice == "auto"
        assert desk.messages()[1] == ("user", "[The caller pressed 3.]")

    def test_keys_pressed_together_are_one_input(self) -> None:
        desk = Desk()
        desk.press("45")
        desk.pass_time(1)
        desk.press("6")
        desk.pass_time(2.1)
        assert desk.messages()[-1] == ("user", "[The caller pressed 4 5 6.]")

    def test_the_hash_key_ends_the_input(self) -> None:
        desk = Desk()
        desk.press("456#")
        assert desk.messages()[-1] == ("user", "[The caller pressed 4 5 6.]")

    def test_a_habitual_hash_does_not_cut_the_reply_it_follows(self) -> None:
        """conversationrelay.md 9 no. 27: `#` cuts the reply it triggered."""
        desk = Desk()
        desk.press("2")
        request = desk.request
        desk.press("#")
        desk.pass_time(5)
        assert desk.live == {request}

    def test_an_unknown_key_is_told_to_the_model(self) -> None:
        """original.md, section 3: an unknown key throws, silence."""
        desk = Desk()
        desk.press("*")
        desk.pass_time(2.1)
        assert desk.messages()[-1] == ("user", "[The caller pressed *.]")

    def test_keys_count_before_the_caller_has_spoken(self) -> None:
        """complaints.md 24: keys ignored until the caller has spoken."""
        desk = Desk()
        desk.press("7")
        desk.pass_time(2.1)
        assert desk.live

    def test_words_after_keys_join_them(self) -> None:
        desk = Desk()
        desk.press("45")
        desk.say("is my code")
        assert desk.messages()[-1] == ("user", "[The caller pressed 4 5.] is my code")

    @pytest.mark.parametrize("digit", ["", "12", "x", "é"])
    def test_what_is_no_key_is_ignored(self, digit: str) -> None:
        desk = Desk()
        desk.do(frames.Dtmf(digit))
        desk.pass_time(3)
        assert not desk.asks


class TestTools:
    def ask_for(self, desk: Desk, name: str, **arguments: Any) -> None:
        desk.call_tool(name, **arguments)
        desk.finish("tool_calls")

    def test_a_tools_result_goes_back_and_the_reply_goes_on(self) -> None:
        """original.md 19, 20: the answer after a tool is lost, tools are not offered again."""
        desk = Desk()
        desk.say("when?")
        desk.delta("Let me see.")
        self.ask_for(desk, "look_up", word="hours")
        desk.return_tool("nine to five")
        assert desk.asks[2].tools
        desk.answer("Nine to five.")
        assert desk.spoken == "Let me see. Nine to five."
        assert desk.closes == 1
        desk.say("thanks")
        roles = [message.role for message in desk.asks[3].messages]
        assert roles == ["system", "assistant", "user", "assistant", "tool", "assistant", "user"]

    def test_parallel_tools_are_awaited_together(self) -> None:
        desk = Desk()
        desk.say("both")
        desk.call_tool("look_up", word="a")
        desk.call_tool("book", slot="b")
        desk.finish("tool_calls")
        assert len(desk.tools) == 2
        desk.return_tool("first")
        assert len(desk.asks) == 1
        desk.return_tool("second")
        assert len(desk.asks) == 2

    def test_an_unknown_tool_is_an_answer_to_the_model(self) -> None:
        """original.md 10: an unknown tool name is a TypeError."""
        desk = Desk()
        desk.say("do it")
        self.ask_for(desk, "fly")
        assert "no tool 'fly'" in (desk.messages()[-1][1] or "")
        assert desk.live

    def test_bad_arguments_are_an_answer_to_the_model(self) -> None:
        desk = Desk()
        desk.say("do it")
        self.ask_for(desk, "book", slott="x")
        assert not desk.tools
        assert "slot" in (desk.messages()[-1][1] or "")

    def test_a_failing_tool_leaves_the_call_alive(self) -> None:
        """original.md 8: one failed tool kills the call."""
        desk = Desk()
        desk.say("do it")
        self.ask_for(desk, "book", slot="x")
        desk.fail_tool("the slot is taken")
        assert desk.messages()[-1] == ("tool", "Error: the slot is taken")
        desk.answer("It is taken.")
        assert desk.spoken == "It is taken."

    def test_a_hanging_read_is_given_up_and_told(self) -> None:
        desk = Desk()
        desk.say("do it")
        self.ask_for(desk, "look_up", word="x")
        desk.pass_time(10.1)
        assert desk.cancelled_tools == [0]
        assert "no result within 10 s" in (desk.messages()[-1][1] or "")

    def test_a_hanging_write_is_not_repeated_and_its_outcome_is_told_later(self) -> None:
        desk = Desk()
        desk.say("book it")
        self.ask_for(desk, "book", slot="x")
        desk.pass_time(5.1)
        assert "No outcome within 5 s" in (desk.messages()[-1][1] or "")
        desk.answer("I don't know yet.")
        desk.return_tool("booked")
        assert desk.messages()[-1] == ("user", RESULT_NOTE)
        assert ("tool", "booked") in desk.messages()

    def test_an_interrupted_read_is_cancelled_with_a_result(self) -> None:
        """conversationrelay.md 9 no. 7: a tool call left without result."""
        desk = Desk()
        desk.say("look")
        self.ask_for(desk, "look_up", word="x")
        desk.say("never mind")
        assert desk.cancelled_tools == [0]
        assert ("tool", CANCELLED) in desk.messages()

    def test_a_write_outlives_an_interruption_and_is_told(self) -> None:
        """complaints.md 12: a confirmation that was decided must stay in context."""
        desk = Desk()
        desk.say("book it")
        self.ask_for(desk, "book", slot="x")
        desk.say("hello?")
        assert ("tool", STILL_RUNNING) in desk.messages()
        desk.return_tool("booked")
        desk.answer("One moment.")
        assert desk.messages()[-1] == ("user", RESULT_NOTE)
        desk.answer("It is booked.")
        assert desk.spoken.endswith("It is booked.")

    def test_a_reservation_is_not_made_twice(self) -> None:
        """complaints.md 18: the caller cuts in and the same booking runs again."""
        desk = Desk()
        desk.say("book it")
        self.ask_for(desk, "book", slot="x")
        desk.say("did you book it?")
        self.ask_for(desk, "book", slot="x")
        assert len(desk.tools) == 1
        desk.return_tool("booked")
        results = [content for role, content in desk.messages() if role == "tool"]
        assert results == ["booked", "booked"]

    def test_the_same_write_twice_in_a_turn_runs_once(self) -> None:
        desk = Desk()
        desk.say("book it")
        desk.call_tool("book", slot="x")
        desk.call_tool("book", slot="x")
        desk.finish("tool_calls")
        assert len(desk.tools) == 1
        desk.return_tool("booked")
        self.ask_for(desk, "book", slot="x")
        assert not desk.tools
        assert [c for r, c in desk.messages() if r == "tool"] == ["booked"] * 3

    def test_the_same_order_may_be_placed_again_later(self) -> None:
        desk = Desk()
        for run in range(2):
            desk.say("one more")
            self.ask_for(desk, "book", slot="x")
            desk.return_tool("booked", run)
            desk.answer("Done.")

    def test_rounds_of_tools_are_limited(self) -> None:
        desk = Desk(make_agent(policy=Policy(tool_rounds=2)))
        desk.say("loop")
        for run in range(2):
            self.ask_for(desk, "look_up", word="x")
            desk.return_tool("again", run)
        assert desk.asks[3].tool_choice == "none"
        self.ask_for(desk, "look_up", word="x")  # a model that does not obey
        assert not desk.tools

    def test_frames_a_tool_asks_for_are_sent(self) -> None:
        desk = Desk()
        desk.say("in Spanish, please")
        self.ask_for(desk, "look_up", word="x")
        spanish = frames.Language("es-ES", "es-ES")
        desk.return_tool("ok", actions=(spanish,))
        assert spanish in desk.sent

    def test_equal_call_ids_of_a_model_are_made_unique(self) -> None:
        desk = Desk()
        desk.say("look")
        desk.call_tool("look_up", id_="call_0", word="a")
        desk.call_tool("look_up", id_="call_0", word="b")
        desk.finish("tool_calls")
        desk.return_tool("A")
        desk.return_tool("B")
        ids = [message.tool_call_id for message in desk.asks[2].messages[-2:]]
        assert ids == ["call_0", "call_0_2"]

    def test_a_models_text_before_a_tool_ends_in_a_space(self) -> None:
        """The carrier speaks a sentence once something follows it."""
        desk = Desk()
        desk.say("look")
        desk.delta("Let me look.")
        self.ask_for(desk, "look_up", word="x")
        assert desk.spoken == "Let me look. "


class TestEnding:
    def start(self, name: str = "hang_up", **arguments: Any) -> Desk:
        desk = Desk()
        desk.say("bye")
        desk.delta("Goodbye, Ada.")
        desk.call_tool(name, **arguments)
        desk.finish("tool_calls")
        return desk

    def test_the_end_waits_for_the_farewell_to_be_played(self) -> None:
        """conversationrelay.md 9 no. 14: the goodbye is cut off."""
        desk = self.start()
        assert desk.closes == 1
        assert not desk.tools
        desk.info("agentSpeaking", "on")
        desk.info("tokensPlayed", "Goodbye, Ada.")
        desk.return_tool("done")
        assert desk.ended == [frames.End()]

    def test_a_farewell_that_is_read_out_in_other_words_is_not_waited_for(self) -> None:
        desk = Desk()
        desk.say("bye")
        desk.delta("That is $5, bye.")
        desk.call_tool("hang_up")
        desk.finish("tool_calls")
        desk.info("agentSpeaking", "on")
        desk.info("tokensPlayed", "That is five dollars, bye.")
        desk.info("agentSpeaking", "off")
        assert not desk.tools
        desk.pass_time(4)
        desk.info("agentSpeaking", "off")
        assert desk.tools

    def test_without_reports_the_farewell_is_estimated(self) -> None:
        desk = self.start()
        desk.pass_time(0.5)
        assert not desk.tools
        desk.pass_time(6)
        assert desk.tools

    def test_a_caller_who_speaks_first_cancels_the_end(self) -> None:
        """complaints.md 20: a discarded reply's end_call hangs up on the caller."""
        desk = self.start()
        desk.say("wait, one more thing")
        desk.pass_time(8)
        assert not desk.ended
        assert ("tool", END_CANCELLED) in desk.messages()

    def test_an_interrupt_cancels_the_end(self) -> None:
        desk = self.start()
        desk.interrupt("Goodbye")
        desk.pass_time(2)
        assert not desk.tools
        assert not desk.ended

    def test_a_silent_model_says_the_tools_farewell(self) -> None:
        desk = Desk()
        desk.say("a person, please")
        desk.call_tool("transfer", reason="billing")
        desk.finish("tool_calls")
        assert desk.spoken == "I'll put you through."
        desk.pass_time(8)
        desk.return_tool("ok", handoff='{"reasonCode":"live-agent-handoff"}')
        assert desk.ended == [frames.End('{"reasonCode":"live-agent-handoff"}')]

    def test_the_end_is_sent_once_and_nothing_after_it(self) -> None:
        """conversationrelay.md 9 no. 15: `end` sent twice, or sends after it."""
        desk = self.start()
        desk.pass_time(8)
        desk.return_tool("done")
        sent = len(desk.sent)
        desk.say("hello?")
        desk.press("1")
        desk.interrupt("x")
        desk.pass_time(5)
        assert len(desk.sent) == sent
        desk.pass_time(6)
        assert desk.hung_up

    def test_a_failed_transfer_is_told_and_the_call_goes_on(self) -> None:
        desk = self.start("transfer", reason="x")
        desk.pass_time(8)
        desk.fail_tool("nobody is there")
        assert desk.live
        assert ("tool", "Error: nobody is there") in desk.messages()
        desk.answer("Nobody is there, sorry.")
        assert desk.closes == 2

    def test_a_write_beside_the_end_is_done_first(self) -> None:
        desk = Desk()
        desk.say("book and bye")
        desk.delta("Booked, goodbye.")
        desk.call_tool("book", slot="x")
        desk.call_tool("hang_up")
        desk.finish("tool_calls")
        assert [each.tool.name for each in desk.tools.values()] == ["book"]
        desk.fail_tool("taken")
        assert desk.live  # the model is told; nobody hangs up on a failed booking


class TestNoDeadAir:
    def test_a_slow_model_gets_a_filler(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.pass_time(1.6)
        assert desk.sent == [frames.Text("One moment, please. ", last=False, preemptible=True)]
        desk.answer("Here I am.")
        assert desk.closes == 1
        desk.say("so")
        assert ("assistant", "Here I am.") in desk.messages()  # filler is no part of it

    def test_fillers_are_never_the_same_twice_in_a_row(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.pass_time(11)
        assert desk.spoken == "One moment, please. Just a second. "

    def test_a_slow_tool_has_its_own_filler(self) -> None:
        desk = Desk()
        desk.say("look")
        desk.call_tool("look_slowly", word="hours")
        desk.finish("tool_calls")
        desk.pass_time(1.6)
        assert desk.spoken == "Let me look at hours. "

    def test_words_of_the_model_put_the_filler_off(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("Well,")
        desk.pass_time(4)
        assert desk.spoken == "Well,"

    def test_a_failing_model_is_asked_again_then_apologised_for(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.do(events.ModelFailed(1, "500", retryable=True))
        assert desk.live == {1, 2}
        desk.do(events.ModelFailed(2, "500", retryable=True))
        assert desk.spoken == desk.agent.policy.apology
        assert desk.closes == 1

    def test_a_failure_that_cannot_pass_is_not_repeated(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.do(events.ModelFailed(1, "401", retryable=False))
        assert desk.spoken == desk.agent.policy.apology

    def test_a_reply_that_breaks_off_is_apologised_for(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("The answer is")
        desk.do(events.ModelFailed(1, "truncated", retryable=True))
        assert desk.spoken == f"The answer is {desk.agent.policy.apology}"
        assert desk.closes == 1

    def test_a_hanging_model_is_given_up(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.pass_time(12.1)
        assert desk.live == set()
        assert desk.spoken.endswith(desk.agent.policy.apology)

    def test_a_model_that_says_nothing_is_a_failure(self) -> None:
        """conversationrelay.md 4.1: silence is heard as a dead line."""
        desk = Desk()
        desk.say("hi")
        desk.finish()
        assert desk.live == {2}
        desk.delta("**")
        desk.finish()
        assert desk.spoken == desk.agent.policy.apology

    def test_punctuation_is_no_answer(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.answer("…")
        assert desk.live == {2}
        desk.answer("…")
        assert desk.spoken.endswith(desk.agent.policy.apology)

    def test_a_model_that_keeps_failing_gives_way_out(self) -> None:
        """original.md 37: every failure is silence."""
        desk = Desk()
        for _ in range(3):
            request = desk.say("hi")
            desk.live.discard(request)
            desk.do(events.ModelFailed(request, "500", retryable=False))
        assert desk.spoken.endswith(desk.agent.policy.way_out)
        desk.pass_time(20)
        assert desk.ended == [frames.End('{"reasonCode": "model-failure"}')]

    def test_a_good_turn_forgives_failures(self) -> None:
        desk = Desk()
        for _ in range(4):
            request = desk.say("hi")
            desk.live.discard(request)
            desk.do(events.ModelFailed(request, "500", retryable=False))
            desk.say("again")
            desk.answer("Fine.")
        assert not desk.ended


class TestSilence:
    def test_reprompts_then_goodbye(self) -> None:
        """conversationrelay.md 9 no. 36: the carrier reports no silence."""
        desk = Desk()
        policy = desk.agent.policy
        desk.pass_time(15)
        assert desk.spoken == policy.reprompts[0]
        desk.pass_time(13)
        assert desk.spoken == "".join(policy.reprompts)
        desk.pass_time(30)
        assert desk.spoken == "".join(policy.reprompts) + policy.silence_goodbye
        assert desk.ended == [frames.End('{"reasonCode": "silence"}')]

    def test_a_caller_who_answers_starts_anew(self) -> None:
        desk = Desk()
        for _ in range(4):
            desk.pass_time(15)
            desk.say("yes")
            desk.answer("Good.")
        assert not desk.ended

    def test_silence_is_counted_from_the_end_of_the_speech(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.answer("word " * 60)  # 20 s of speech
        desk.pass_time(25)
        assert "Are you still there?" not in desk.spoken
        desk.pass_time(8)
        assert "Are you still there?" in desk.spoken

    def test_the_carriers_word_that_speech_ended_counts(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.answer("word " * 60)
        desk.info("agentSpeaking", "on")
        desk.pass_time(5)
        desk.info("agentSpeaking", "off")
        desk.pass_time(10.1)
        assert "Are you still there?" in desk.spoken

    def test_a_slow_tool_is_no_silence_of_the_caller(self) -> None:
        """complaints.md 9: the filler arms the "user away" timer mid-tool."""
        desk = Desk(make_agent(policy=Policy(silence_after_s=2)))
        desk.say("look")
        desk.call_tool("look_up", word="x")
        desk.finish("tool_calls")
        desk.pass_time(9)
        assert "Are you still there?" not in desk.spoken

    def test_the_longest_call_ends_with_a_sentence(self) -> None:
        desk = Desk(make_agent(policy=Policy(max_duration_s=5)))
        desk.say("hi")
        desk.delta("Once upon a time")
        desk.pass_time(5.1)
        assert desk.spoken.endswith(desk.agent.policy.time_up)
        desk.say("but")
        desk.pass_time(15)
        assert desk.ended == [frames.End('{"reasonCode": "time-limit"}')]


class TestTheSocket:
    def test_closing_stops_everything(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("One")
        desk.do(events.Closed(1006))
        assert not desk.live
        desk.pass_time(100)
        desk.say("more")
        assert desk.spoken == "One"

    @pytest.mark.parametrize(("code", "why"), [(1000, "caller"), (1006, "dropped")])
    def test_why_it_ended_is_recorded(self, code: int, why: str) -> None:
        desk = Desk()
        desk.do(events.Closed(code))
        desk.do(events.Closed(code))
        assert [(each.code, each.why) for each in desk.noted(journal.CallEnded)] == [(code, why)]

    def test_a_write_that_finishes_after_the_hang_up_is_recorded(self) -> None:
        desk = Desk()
        desk.say("book")
        desk.call_tool("book", slot="x")
        desk.finish("tool_calls")
        desk.do(events.Closed(1000))
        desk.return_tool("booked", 0)
        assert desk.noted(journal.ToolFinished)[-1].result == "booked"


class TestTheJournal:
    def test_a_turns_marks_are_in_order(self) -> None:
        desk = Desk()
        desk.pass_time(3)
        desk.say("hi")
        desk.pass_time(0.3)
        desk.delta("Hel")
        desk.delta("lo")
        desk.pass_time(0.1)
        desk.finish()
        marks = [(journal.kind(e.what), e.at_ms) for e in desk.entries if e.turn == 1]
        assert marks == [
            ("turn_started", 3000.0),
            ("model_requested", 3000.0),
            ("first_token", 3300.0),
            ("first_sent", 3300.0),
            ("model_output", 3400.0),
            ("last_sent", 3400.0),
        ]
        [output] = desk.noted(journal.ModelOutput)
        assert output.deltas == ((3300.0, "Hel"), (3300.0, "lo"))

    def test_an_endless_answer_still_fits_an_entry(self) -> None:
        desk = Desk()
        desk.say("hi")
        for _ in range(6000):
            desk.delta("blah blah blah blah ")
        desk.finish()
        [output] = desk.noted(journal.ModelOutput)
        assert len(output.deltas) == 1
        assert len(output.deltas[0][1]) == 80_000

    def test_sequence_numbers_have_no_gaps(self) -> None:
        desk = Desk()
        desk.say("hi")
        desk.delta("x")
        desk.interrupt("x")
        desk.pass_time(60)
        assert [entry.seq for entry in desk.entries] == list(range(len(desk.entries)))


def test_a_result_of_an_end_that_still_waits_for_its_farewell_ends_nothing() -> None:
    desk = Desk()
    desk.say("bye")
    desk.delta("Goodbye!")
    desk.call_tool("hang_up")
    desk.finish("tool_calls")
    (run,) = desk.call.turn.runs()
    desk.do(events.ToolReturned(run.id, "ended"))
    desk.do(events.ToolFailed(run.id, "failed"))
    assert desk.ended == []
    desk.interrupt("Good")
    assert desk.say("one more thing") > 0
    assert desk.ended == []
