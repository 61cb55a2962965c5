"""A phone call without I/O: events in, commands out.

    commands = call.receive(event, now)

No sockets, no sleeping, no clock, no randomness. Everything that is hard about a call is decided
here and only here; a host carries out the commands in order, at once, and decides nothing.

Reading order: `receive` takes an event to its handler. A caller's input starts a *turn*
(`_start_turn`), the turn asks the model (`_ask`), words leave as they come (`_say`), tools run in
*rounds* (`_start_tools`, `_after_tools`), and the reply is closed (`_close_reply`). An interrupt
or a newer input stops all of it (`_stop_turn`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeAlias

from voxyray import checksums, events, frames, journal
from voxyray.agent import Agent
from voxyray.arguments import harmless
from voxyray.asked import Asked
from voxyray.deadlines import Deadlines
from voxyray.events import Command, Event
from voxyray.floor import Floor
from voxyray.history import Carried, Cause, History, RunStatus, ToolRun, Turn
from voxyray.keypad import KEYS, Keypad
from voxyray.models import Finish, ModelRequest, TextDelta, ToolCall, Usage
from voxyray.notes import (
    CANCELLED,
    END_CANCELLED,
    END_FAILED_NOTE,
    GREET_NOTE,
    NO_OUTCOME,
    RESULT_NOTE,
    RESUME_NOTE,
    SILENCE_NOTE,
)
from voxyray.policy import Key
from voxyray.reply import SpeechKind
from voxyray.speculation import GUESS_KEPT_S, Guess, Speculation
from voxyray.tool_runs import Shares, Start, ToolRuns

MAX_INPUT_CHARS = 4000

_GREETING_STARTS_S = 0.5  # observed: agentSpeaking comes 0.25-0.7 s after setup
_FAREWELL_SLACK_S = 0.5
_FAREWELL_LATEST_S = 4.0  # beyond the estimate, when the carrier reports but does not confirm
_CUT_FOLLOWS_KEY_S = 1.0  # a key that cuts in is reported just before its interrupt
_END_FOLLOWS_S = 10.0
_NOISE_RECHECK_S = 2.0
_MAX_RESUMES = 2
_MOST_KEPT = 2000  # characters of a reply in the journal; the deltas have them all
_NEVER = -1.0  # before any time of the clock

Phase: TypeAlias = Literal["new", "open", "ending", "closed"]


class Ending:
    """An end of the call that waits for its farewell to be played.

    start: the `end` tool to run then; without one, handoff goes out as it is.
    firm: nothing the caller says cancels it.
    """

    __slots__ = ("acting", "firm", "handoff", "start")

    def __init__(
        self, start: Start | None = None, handoff: str | None = None, *, firm: bool = False
    ) -> None:
        self.start = start
        self.handoff = handoff
        self.firm = firm
        self.acting = False


class Call:
    """One phone call, from `setup` to the socket's close.

    id: the carrier's call id. instructions and greeting: the agent's texts as rendered for this
    caller. started_at: wall clock for the journal, epoch seconds. carried: from the call's session
    before this one, if there was one. speaks_first: greet, or wait for the caller's words.
    """

    def __init__(
        self,
        id_: str,
        agent: Agent,
        *,
        instructions: str,
        greeting: str = "",
        started_at: float = 0.0,
        carried: Carried | None = None,
        speaks_first: bool = True,
    ) -> None:
        self.id = id_
        self.agent = agent
        self.policy = agent.policy
        self.greeting = greeting
        self.carried = carried = carried or Carried(started_at=started_at)
        self.history = History(instructions, carried.dialogue)
        self.phase: Phase = "new"
        self.turn = Turn(carried.next_turn, "greeting", "", 0.0)
        self.speaks_first = speaks_first
        self.started_at = started_at
        self._before_s = started_at - carried.started_at  # in sessions before this one
        self._zero = 0.0
        self._now = 0.0
        self._seq = 0
        self._out: list[Command] = []
        self._deadlines = Deadlines()
        self._runs = ToolRuns(agent.tools)
        self._asked: Asked | None = None
        self._requests = 0
        self._ending: Ending | None = None
        self._floor = Floor(self.policy.characters_per_s)
        self._keypad = Keypad(self.policy.keypad_pause_s)
        self._cut_owed_until = _NEVER
        self._ends_in_space = True
        self._open_cycle = False  # the carrier holds an unclosed beginning of an older reply
        self._failures = 0
        self._retries = 0
        self._silences = 0
        self._resumes = 0
        self._fillers = 0
        self._sent_sum = 0
        self._speculation = Speculation()

    # Events

    def receive(self, event: Event, now: float) -> list[Command]:
        """Take an event and give the commands to carry out; never raises for any event.

        now: seconds of a monotonic clock, the same for all events of the call.
        """
        out: list[Command] = []
        self._out = out
        # What the journal keeps is exactly what was decided by: whole microseconds.
        self._now = max(round(now * 1e6) / 1e6, self._now)
        if type(event) is events.ModelEvent:
            self._on_delta(event)
        elif self.phase == "new":
            if isinstance(event, frames.Setup):
                self._on_setup(event)
        else:
            handler = self._HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event)
        wake = self._deadlines.next_wake()
        if wake is not None:
            out.append(events.Wake(_not_before(wake)))
        return out

    def _on_setup(self, frame: frames.Setup) -> None:
        if self.phase != "new":
            self._note(frame)
            return
        self.phase = "open"
        # Whole microseconds, too: else a replayed call may round another way.
        self._zero = round((self._now - self._before_s) * 1e6) / 1e6
        started = journal.CallStarted(
            self.started_at, self.agent.name, self.greeting, clock=self._now
        )
        self._note(started)
        self._note(frame)
        self._out.append(events.Warm())
        self._deadlines.arm("duration", self._now + self.policy.max_duration_s)
        if not self.speaks_first:
            return
        if not self.greeting:
            self._start_turn("greeting", GREET_NOTE, number=self.turn.number)
            return
        # The carrier speaks the greeting by itself; we only know it as said.
        self.turn = Turn(self.turn.number, "greeting", "", self._now)
        self.history.turns.append(self.turn)
        self._note(journal.TurnStarted("greeting", ""))
        self.turn.reply.say(self.greeting, "fixed")
        self.turn.reply.complete = True
        self._floor.speak(len(self.greeting), self._now, _GREETING_STARTS_S)
        self._await_caller()

    def _on_prompt(self, frame: frames.Prompt) -> None:
        self._note(frame)
        text = harmless(frame.voice_prompt).strip()[:MAX_INPUT_CHARS]
        if not text or not self._listening():
            return
        self._caller_acts()
        if not frame.last:
            # The caller is speaking; the final transcript is on its way.
            self._deadlines.disarm("resume")
            if "silence" in self._deadlines:
                self._deadlines.arm("silence", self._now + self.policy.silence_after_s)
            self._hear_partial(text, frame.lang)
            return
        if self._keypad.pressed:
            text = f"{self._keypad.take(self._now)} {text}"
        guess = self._speculation.end(text, frame.lang, self._now)
        self._drop_guess("other words")
        self._start_turn("speech", text, guess=guess)

    def _on_interrupt(self, frame: frames.Interrupt) -> None:
        self._note(frame)
        fragment = frame.utterance_until_interrupt
        if not self._listening():
            return
        if not self._cuts_this_turn(fragment):
            before = self._turn_before()
            if before is not None:
                self._purge(before, fragment)
            return
        self._stop_turn("interrupt", self._cut_older_too(fragment))
        self._floor.quiet_at = self._now
        if self.turn.reply.complete:
            self._await_caller()
        elif not self._keypad.pressed:
            self._deadlines.arm("resume", self._now + self._resume_after_s())

    def _cuts_this_turn(self, fragment: str) -> bool:
        """Tell whether an interrupt is of the current turn, or only of speech before it.

        A key that cuts in is reported before its interrupt: by then its own turn has begun. And
        where frames overtake each other, an interrupt may come after the prompt it belongs to:
        then it names words while the current turn has said none.
        """
        reply = self.turn.reply
        owed_until, self._cut_owed_until = self._cut_owed_until, _NEVER
        if self._now <= owed_until:
            before = self._turn_before()
            theirs = before is not None and before.reply.holds(fragment)
            return not theirs and reply.holds(fragment)
        return bool(reply.said_chars) or not fragment.strip()

    def _cut_older_too(self, fragment: str) -> str:
        """Cut an older reply that was still playing, if the fragment is of that one.

        Nothing is purged when a newer prompt comes, so two replies may have been queued. Gives
        what is left of the fragment for the current reply.
        """
        before = self._turn_before()
        if before is None or before.reply.purged or self.turn.reply.holds(fragment):
            return fragment
        if not before.reply.holds(fragment) or before.reply.all_confirmed:
            return fragment
        self._purge(before, fragment)
        return ""

    def _on_dtmf(self, frame: frames.Dtmf) -> None:
        self._note(frame)
        digit = frame.digit
        if digit not in KEYS or not self._listening():
            return
        self._caller_acts()
        if self._keypad.is_habit(digit, self._now):
            return
        self._deadlines.disarm("partial")
        self._drop_guess("keys")
        if digit == "#" and self._keypad.pressed:
            self._on_keypad_pause()
        elif digit in self.agent.keypad and not self._keypad.pressed:
            self._take_menu_key(digit, self.agent.keypad[digit])
        else:
            self._keypad.pressed += digit
            self._deadlines.disarm("silence", "resume")
            self._deadlines.arm("keypad", self._now + self.policy.keypad_pause_s)

    def _take_menu_key(self, digit: str, key: Key) -> None:
        if self._floor.is_sounding(self._now):
            self._cut_owed_until = self._now + _CUT_FOLLOWS_KEY_S
        pressed = self._keypad.take(self._now, digit)
        if key.say:
            self._say_turn("keys", pressed, key.say)
        elif key.ask:
            self._start_turn("keys", key.ask)
        else:
            self._start_turn("keys", pressed, tool=key.tool)

    def _on_keypad_pause(self) -> None:
        self._start_turn("keys", self._keypad.take(self._now))

    def _on_info(self, frame: frames.Info) -> None:
        self._note(frame)
        if frame.name == "tokensPlayed":
            self._floor.plays_reported = True
            self._confirm(frame.value)
            self._check_quiet()
        elif frame.name == "agentSpeaking":
            self._floor.agent_speaking = frame.value == "on"
            if frame.value == "on":
                self._cut_owed_until = _NEVER  # what sounds from here on is newer
            self._check_quiet()
        elif frame.name == "clientSpeaking":
            self._floor.client_speaking = frame.value == "on"
            if frame.value != "on" and "resume" in self._deadlines:
                self._deadlines.arm("resume", self._now + self._resume_after_s())

    def _confirm(self, text: str) -> None:
        """Note played text with the reply it is of: an older one is played to its end first."""
        before = self._turn_before()
        if before is None:
            self.turn.reply.played(text)
        elif before.reply.expects(text) or not self.turn.reply.played(text):
            before.reply.played(text)

    def _on_closed(self, event: events.Closed) -> None:
        if self.phase == "closed":
            return
        why = "caller" if event.code == 1000 else "dropped"
        if self.phase == "ending":
            why = "agent"
        self._stop_turn("hangup")
        self.phase = "closed"
        self._deadlines.clear()
        self._note(journal.CallEnded(event.code, why, self._sent_sum))

    @property
    def next_deadline(self) -> float | None:
        """When it has something to do of itself, by its clock; None if nothing is to come."""
        return self._deadlines.earliest

    @property
    def quiet_at(self) -> float:
        """When all that was sent will have been heard, for all we know."""
        return self._floor.quiet_at

    def under_way(self) -> tuple[Asked | None, Ending | None, ToolRuns]:
        """Give what the call is doing: its request, its end, its tool runs."""
        return self._asked, self._ending, self._runs

    def resume_work(self, runs: list[ToolRun], shares: Shares, asked: Asked | None) -> None:
        """Go on from a snapshot with these tool runs, and with the request that was under way."""
        self._runs.resume(runs, shares)
        self._asked = asked

    def resume_ending(self, ending: Ending) -> None:
        """Go on from a snapshot with an end that waits."""
        self._ending = ending

    def carry(self) -> Carried:
        """Give what the call's next session needs to go on."""
        started_at = self.started_at - self._before_s
        return Carried(self.history.dialogue(), self.turn.number + 1, started_at)

    # Turns

    def _caller_acts(self) -> None:
        self._silences = self._resumes = 0
        self._floor.caller_acts()

    def _listening(self) -> bool:
        """Whether what the caller does still counts."""
        return self.phase == "open" and not (self._ending is not None and self._ending.firm)

    def _turn_before(self) -> Turn | None:
        return self.history.turns[-2] if len(self.history.turns) > 1 else None

    def _start_turn(
        self,
        cause: Cause,
        text: str,
        *,
        tool: str = "auto",
        number: int | None = None,
        guess: Guess | None = None,
    ) -> None:
        self._open_turn(cause, text, number)
        self._deadlines.arm("filler", self._now + self.policy.filler_after_s)
        if guess is None or not self._confirm_guess(guess):
            self._ask(tool)

    def _say_turn(self, cause: Cause, text: str, words: str, ending: Ending | None = None) -> None:
        """Do a whole turn in fixed words."""
        self._open_turn(cause, text)
        self._say_fixed(words)
        self._ending = ending
        self._close_reply()

    def _open_turn(self, cause: Cause, text: str, number: int | None = None) -> None:
        self._stop_turn("newer")
        self._deadlines.disarm("silence", "resume", "keypad", "partial", "guess")
        self._retries = 0
        if number is None:
            number = self.turn.number + 1
        self.turn = Turn(number, cause, text, self._now)
        self.history.turns.append(self.turn)
        self._note(journal.TurnStarted(cause, text))

    def _stop_turn(
        self, by: Literal["interrupt", "newer", "hangup"], fragment: str | None = None
    ) -> None:
        """Stop whatever the current turn is doing; with a fragment, the carrier cut it there."""
        self._deadlines.disarm("filler", "answer", "farewell", "silence")
        self._cancel_request()
        self._drop_guess(by)
        self._cancel_ending(END_CANCELLED)
        for run in self.turn.runs():
            if run.status == "running" and run.effect == "read":
                self._out.append(events.CancelTool(run.id))
                self._settle(run, "cancelled", CANCELLED)
        reply = self.turn.reply
        was_cut = reply.cut
        if fragment is not None:
            self._purge(self.turn, fragment)
        elif not reply.complete:
            reply.stop()
            self._out.append(events.Purge())
            self._open_cycle = bool(reply.said_chars) and by == "newer" and not was_cut
            if reply.said_chars and not was_cut:
                self._note_heard(self.turn, by)

    def _purge(self, turn: Turn, fragment: str) -> None:
        turn.reply.purge(fragment)
        self._out.append(events.Purge())
        self._open_cycle = False
        if turn.reply.said_chars:
            self._note_heard(turn, "interrupt")

    def _note_heard(self, turn: Turn, by: Literal["interrupt", "newer", "hangup"]) -> None:
        reply = turn.reply
        said = reply.said[:_MOST_KEPT]
        self._note(journal.Heard(turn.number, reply.heard(), by, said, self._sent_sum))

    # The model

    def _ask(self, tool: str = "auto") -> None:
        turn = self.turn
        if turn.round >= self.policy.tool_rounds:
            tool = "none"
        self._requests += 1
        self._asked = Asked(self._requests)
        messages = self.history.messages()
        self.history.tell()
        specs = tuple(each.spec for each in self.agent.tools)
        told = checksums.of_messages(messages)
        self._note(journal.ModelRequested(self._requests, turn.round, len(messages), told))
        self._out.append(events.AskModel(self._requests, ModelRequest(messages, specs, tool)))
        self._deadlines.arm("answer", self._now + self.policy.give_up_after_s)

    def _on_delta(self, event: events.ModelEvent) -> None:
        asked = self._asked
        if asked is None or event.request != asked.id:
            self._keep_back(event)
            return  # of a guess, or of a request that was cancelled
        delta, seq = event.delta, self._seq
        if asked.is_silent and not isinstance(delta, Finish | Usage):
            self._note(journal.FirstToken(asked.id))
        self._deadlines.arm("answer", self._now + self.policy.give_up_after_s)
        if isinstance(delta, TextDelta):
            asked.texts.append((self._at_ms(), delta.text))
            asked.seqs.append(seq)
            words = asked.speech.feed(delta.text)
            if words:
                self._say(words)
        elif isinstance(delta, ToolCall):
            asked.calls.append(delta)
            asked.note("call", self._at_ms(), seq)
        elif isinstance(delta, Usage):
            asked.usage = delta
            asked.note("usage", self._at_ms(), seq)
        else:
            self._on_finish(asked, delta)

    def _on_finish(self, asked: Asked, finish: Finish) -> None:
        words = asked.speech.flush()
        if words:
            self._say(words)
        self._close_request(finish)
        if asked.calls and self.turn.round < self.policy.tool_rounds:
            self._failures = 0
            self._start_tools(asked.calls)
        elif not self.turn.reply.has_words:
            self._fail(asked.id, f"the model said nothing ({finish.reason})", retryable=True)
        else:
            self._failures = 0
            self._close_reply()

    def _close_request(self, finish: Finish | None = None) -> None:
        asked, self._asked = self._asked, None
        self._deadlines.disarm("answer")
        if asked is not None:
            self._note(asked.output(finish))

    def _cancel_request(self) -> None:
        if self._asked is not None:
            self._out.append(events.CancelModel(self._asked.id))
            self._close_request()

    def _on_model_failed(self, event: events.ModelFailed) -> None:
        if self._asked is not None and event.request == self._asked.id:
            self._close_request()
            self._fail(event.request, event.message, retryable=event.retryable)
        elif self.guessing is not None and event.request == self.guessing:
            self._drop_guess("failed")
            self._note(journal.ModelFailure(event.request, event.message, event.retryable))

    def _on_no_answer(self) -> None:
        if self._asked is not None:
            request = self._asked.id
            self._cancel_request()
            message = f"no progress for {self.policy.give_up_after_s:g} s"
            self._fail(request, message, retryable=False)

    def _fail(self, request: int, message: str, *, retryable: bool) -> None:
        """Try again, or tell the caller; the request is closed already."""
        self._note(journal.ModelFailure(request, message, retryable))
        unheard = not self.turn.reply.has_words_in(self.turn.round)
        if retryable and unheard and self._retries < self.policy.retries:
            self._retries += 1
            self._ask()
            return
        self._failures += 1
        self._end_sentence()
        if self._failures >= self.policy.failures_before_way_out:
            self._say_fixed(self.policy.way_out)
            self._ending = Ending(handoff=_reason("model-failure"))
        else:
            self._say_fixed(self.policy.apology)
        self._close_reply()

    # Speculation

    @property
    def guessing(self) -> int | None:
        """The request under way that was made on a partial transcript."""
        guess = self._speculation.guess
        return guess.request if guess is not None and guess.finish is None else None

    def _hear_partial(self, text: str, lang: str) -> None:
        speculation = self._speculation
        if self.policy.speculate and speculation.hear(text, lang, self._now):
            self._drop_guess("changed")
            stable_at = self._now + speculation.stable_after_s(self.policy)
            self._deadlines.arm("partial", stable_at)

    def _on_partial_stable(self) -> None:
        """Ask the model what it would answer if this was all, unless the agent is at work."""
        reply, speculation = self.turn.reply, self._speculation
        is_idle = self._ending is None and self._asked is None and not self._keypad.pressed
        if not (is_idle and (reply.complete or reply.cut) and speculation.may_ask(self.policy)):
            return
        self._requests += 1
        messages = self.history.messages(speculation.text)
        told = checksums.of_messages(messages)
        guess = speculation.ask(self._requests, messages, told, self._at_ms())
        self._note(guess.mark("asked"))
        specs = tuple(each.spec for each in self.agent.tools)
        tool = "auto" if self.policy.tool_rounds else "none"
        self._out.append(events.AskModel(guess.request, ModelRequest(messages, specs, tool)))
        self._deadlines.arm("guess", self._now + GUESS_KEPT_S)

    def _keep_back(self, event: events.ModelEvent) -> None:
        guess = self._speculation.guess
        if guess is not None and guess.finish is None and event.request == guess.request:
            is_whole = guess.take(event.delta, self._at_ms(), self._seq)
            if is_whole:
                self._note(guess.mark("answered"))

    def _confirm_guess(self, guess: Guess) -> bool:
        """Go on in the turn with the guess, if the model was told what it would be told now."""
        final, self.turn.text = self.turn.text, guess.text
        told = checksums.of_messages(self.history.messages())
        self.turn.text = final
        if told != guess.told:
            self._close_guess(guess, "the conversation changed")
            return False
        self._note(guess.mark("confirmed"))
        self.history.tell()
        self._asked = asked = guess.asked()
        words = "".join(asked.speech.feed(text) for _, text in asked.texts)
        self._deadlines.arm("answer", self._now + self.policy.give_up_after_s)
        if words:
            self._say(words)
        if guess.finish is not None:
            self._on_finish(asked, guess.finish)
        return True

    def _drop_guess(self, why: str) -> None:
        guess = self._speculation.drop()
        if guess is not None:
            self._close_guess(guess, why)

    def _close_guess(self, guess: Guess, why: str) -> None:
        self._deadlines.disarm("guess")
        if guess.finish is None:
            self._out.append(events.CancelModel(guess.request))
        self._speculation.tokens += guess.tokens
        self._note(guess.mark("dropped", why, guess.tokens))
        self._note(guess.asked().output(guess.finish))

    def _on_guess_stale(self) -> None:
        self._drop_guess("no final words came")

    # Speaking

    def _say(self, text: str, kind: SpeechKind = "model") -> None:
        reply = self.turn.reply
        if self._open_cycle:
            # The carrier joins tokens as they are: keep ours apart from an older reply's.
            self._open_cycle = False
            text = text if text.startswith(" ") else f" {text}"
        is_first, had_words = not reply.said_chars, reply.has_words
        reply.say(text, kind, self.turn.round)
        if reply.has_words is not had_words or (is_first and kind == "filler"):
            self._note(journal.FirstSent(kind))
        self._ends_in_space = text.endswith(" ")
        if kind == "filler":
            self._send(frames.Text(text, last=False, preemptible=True))
        else:
            self._deadlines.disarm("filler")
            firm = self._ending is not None and self._ending.firm
            self._send(frames.Text(text, last=False, interruptible=False if firm else None))
        self._floor.speak(len(text), self._now)

    def _say_fixed(self, text: str) -> None:
        self._note(journal.Said(text, "fixed"))
        self._say(text, "fixed")

    def _end_sentence(self) -> None:
        """Let the carrier speak what stands unfinished: it waits for what follows a full stop."""
        if self.turn.reply.said_chars and not self._ends_in_space:
            self._say(" ")

    def _close_reply(self) -> None:
        self.turn.reply.complete = True
        self._deadlines.disarm("filler", "answer")
        self._send(frames.CLOSE_CYCLE)
        said = self.turn.reply.said[:_MOST_KEPT]
        self._note(journal.LastSent(said, self._sent_sum))
        if self._ending is not None:
            slack = _FAREWELL_LATEST_S if self._floor.plays_reported else _FAREWELL_SLACK_S
            self._deadlines.arm("farewell", max(self._floor.quiet_at, self._now) + slack)
        elif self.history.untold():
            self._start_turn("result", RESULT_NOTE)
        else:
            self._await_caller()

    def _await_caller(self) -> None:
        quiet_at = max(self._floor.quiet_at, self._now)
        self._deadlines.arm("silence", quiet_at + self.policy.silence_after_s)

    def _check_quiet(self) -> None:
        """Act on the carrier's word that a complete reply was played to its end."""
        if not self._floor.has_played(self.turn.reply, self._now):
            return
        self._floor.quiet_at = self._now
        if self._ending is not None and "farewell" in self._deadlines:
            self._on_farewell_played()
        elif "silence" in self._deadlines:
            self._await_caller()

    def _on_filler(self) -> None:
        waiting = [run for run in self.turn.runs() if run.status == "running"]
        if self._asked is None and not waiting:
            return
        words = self._filler_of(waiting)
        self._note(journal.Said(words, "filler"))
        # A full stop and a space let the carrier speak it without closing the reply.
        self._say(f"{words} ", "filler")
        self._deadlines.arm("filler", self._floor.quiet_at + self.policy.filler_every_s)

    def _filler_of(self, waiting: list[ToolRun]) -> str:
        """Give the slow tool's own words the first time, else the next of the policy's."""
        said = self.turn.reply.said
        for run in waiting:
            if run.filler and run.filler not in said:
                return run.filler
        self._fillers += 1
        return self.policy.fillers[(self._fillers - 1) % len(self.policy.fillers)]

    def _send(self, frame: frames.OutboundFrame) -> None:
        if self.phase == "open":
            self._sent_sum = checksums.of_frame(frame, self._sent_sum)
            self._out.append(events.Send(frame))

    # Tools

    def _start_tools(self, calls: list[ToolCall]) -> None:
        turn = self.turn
        if turn.reply.has_words:
            self._end_sentence()
            self._deadlines.arm(
                "filler", max(self._floor.quiet_at, self._now) + self.policy.filler_after_s
            )
        for call in calls:
            run, start = self._runs.open(call, turn.number)
            turn.calls[-1].append(run)
            if start is not None:
                self._start_run(start)
            elif run.status != "running":
                self._note_finished(run)
        self._after_tools()

    def _start_run(self, start: Start) -> None:
        run, tool = start.run, start.tool
        if tool.effect == "end":
            if self._ending is not None:
                self._settle(run, "failed", "Error: the call is already being ended.")
            else:
                self._ending = Ending(start)
            return
        self._run_tool(start)

    def _run_tool(self, start: Start) -> None:
        run, tool = start.run, start.tool
        self._note(journal.ToolStarted(run.id, tool.name, tool.effect, run.call.arguments, run.key))
        self._out.append(events.RunTool(run.id, tool, start.values, self.turn.number, run.key))
        self._deadlines.arm(f"tool:{run.id}", self._now + tool.timeout_s)

    def _after_tools(self) -> None:
        """Go on when every tool of the round is settled."""
        runs = self.turn.calls[-1]
        ending = self._ending
        closing = ending.start.run if ending is not None and ending.start is not None else None
        if any(run.status == "running" and run is not closing for run in runs):
            return
        if closing is not None:
            if all(run.status == "done" for run in runs if run is not closing):
                self._say_farewell()
                return
            self._cancel_ending("Not done: another tool failed first.")
        self.turn.calls.append([])
        self._ask()

    def _on_tool_returned(self, event: events.ToolReturned) -> None:
        run = self._runs.get(event.run)
        if run is None or self._is_yet_to_end(run):
            return
        was_ending = self._is_ending(run)
        if not self._settle(run, "done", event.result, event):
            return
        if was_ending:
            self._end_call(event.handoff)
            return
        if run in self.turn.calls[-1] and not self.turn.reply.cut:
            for frame in event.actions:
                self._send(frame)
        self._tool_settled(run)

    def _on_tool_failed(self, event: events.ToolFailed) -> None:
        run = self._runs.get(event.run)
        if run is None or self._is_yet_to_end(run):
            return
        was_ending = self._is_ending(run)
        if not self._settle(run, "failed", f"Error: {event.message}"):
            return
        if was_ending:
            self._ending = None
            self._start_turn("result", END_FAILED_NOTE)
        else:
            self._tool_settled(run)

    def _on_tool_late(self, run: ToolRun) -> None:
        tool = self._runs.tools[run.name]
        if tool.effect != "write":
            self._out.append(events.CancelTool(run.id))
            message = f"{run.name} gave no result within {tool.timeout_s:g} s"
            self._on_tool_failed(events.ToolFailed(run.id, message))
        elif self._settle(run, "late", NO_OUTCOME.format(tool.timeout_s)):
            # A write cannot be taken back: it runs on, and its outcome is told when it comes.
            self._tool_settled(run)

    def _settle(
        self,
        run: ToolRun,
        status: RunStatus,
        result: str,
        returned: events.ToolReturned | None = None,
    ) -> bool:
        """Settle a run and those that share it; false if it was settled before."""
        settled = self._runs.settle(run, status, result)
        self._deadlines.disarm(f"tool:{run.id}")
        for each in settled:
            self._note_finished(each, returned if each is run else None)
        return bool(settled)

    def _note_finished(self, run: ToolRun, returned: events.ToolReturned | None = None) -> None:
        actions, handoff = (returned.actions, returned.handoff) if returned else ((), None)
        finished = journal.ToolFinished(run.id, run.name, run.status, run.result, actions, handoff)
        self._note(finished)

    def _tool_settled(self, run: ToolRun) -> None:
        if self.phase != "open":
            return
        reply = self.turn.reply
        waiting = self._asked is None and not reply.complete and not reply.cut
        if waiting and any(each.settles_with(run) for each in self.turn.calls[-1]):
            self._after_tools()
        elif self.history.untold() and self._idle():
            self._start_turn("result", RESULT_NOTE)

    def _idle(self) -> bool:
        return (
            self.turn.reply.complete
            and self._ending is None
            and not self._keypad.pressed
            and not self._floor.client_speaking
            and "resume" not in self._deadlines
        )

    # Ending

    def _is_ending(self, run: ToolRun) -> bool:
        ending = self._ending
        return ending is not None and ending.start is not None and ending.start.run is run

    def _is_yet_to_end(self, run: ToolRun) -> bool:
        """Whether it is an end that still waits for its farewell, so nobody runs it."""
        return self._is_ending(run) and self._ending is not None and not self._ending.acting

    def _say_farewell(self) -> None:
        if self._ending is None or self._ending.start is None:
            return
        if not self.turn.reply.has_words_in(self.turn.round):
            self._say_fixed(self._ending.start.tool.farewell or self.policy.farewell)
        self._close_reply()

    def _on_farewell_played(self) -> None:
        self._deadlines.disarm("farewell")
        ending = self._ending
        if ending is None:
            return
        if ending.start is None:
            self._end_call(ending.handoff)
        else:
            ending.acting = True
            self._run_tool(ending.start)

    def _cancel_ending(self, result: str) -> None:
        ending, self._ending = self._ending, None
        if ending is not None and ending.start is not None:
            if ending.acting:
                self._out.append(events.CancelTool(ending.start.run.id))
            self._settle(ending.start.run, "cancelled", result)

    def _end_call(self, handoff: str | None) -> None:
        self._ending = None
        self._send(frames.End(handoff))
        self.phase = "ending"
        self._deadlines.clear()
        self._deadlines.arm("end", self._now + _END_FOLLOWS_S)

    # Deadlines

    def _on_tick(self, _: events.Tick) -> None:
        self._deadlines.woken()
        while (name := self._deadlines.pop_due(self._now)) is not None:
            self._note(journal.DeadlinePassed(name))
            if name.startswith("tool:"):
                run = self._runs.get(int(name.removeprefix("tool:")))
                if run is not None:
                    self._on_tool_late(run)
            else:
                self._DEADLINES[name](self)

    def _on_silence(self) -> None:
        if self._floor.agent_speaking or self._floor.hears_caller():
            self._deadlines.arm("silence", self._now + _NOISE_RECHECK_S)
            return
        self._silences += 1
        reprompts = self.policy.reprompts
        if self._silences <= len(reprompts):
            self._say_turn("silence", SILENCE_NOTE, reprompts[self._silences - 1])
        else:
            ending = Ending(handoff=_reason("silence"))
            self._say_turn("silence", SILENCE_NOTE, self.policy.silence_goodbye, ending)

    def _on_resume(self) -> None:
        """Go on after an interruption that no words followed."""
        if self._floor.hears_caller():
            self._deadlines.arm("resume", self._now + _NOISE_RECHECK_S)
            return
        self._resumes += 1
        if self._resumes > _MAX_RESUMES:
            self._on_silence()
            return
        unanswered = not self.turn.reply.heard() and self.turn.text
        self._start_turn("resume", "" if unanswered else RESUME_NOTE)

    def _resume_after_s(self) -> float:
        if self.turn.reply.said_chars and self._floor.client_speaking is None:
            # They cut in to say something, and for all we know they still do.
            return self.policy.silence_after_s
        return self.policy.resume_after_s

    def _on_time_up(self) -> None:
        ending = Ending(handoff=_reason("time-limit"), firm=True)
        self._ending = None
        self._say_turn("limit", "", self.policy.time_up, ending)

    def _on_end_overdue(self) -> None:
        self._out.append(events.HangUp())

    # Journal

    def _at_ms(self) -> float:
        return round((self._now - self._zero) * 1e6) / 1000

    def _note(self, what: journal.What) -> None:
        entry = journal.Entry(self.turn.number, self._seq, self._at_ms(), what)
        self._seq += 1
        self._out.append(events.Record(entry))

    _HANDLERS: ClassVar[dict[type, Callable[[Call, Any], None]]] = {
        frames.Setup: _on_setup,
        frames.Prompt: _on_prompt,
        frames.Dtmf: _on_dtmf,
        frames.Interrupt: _on_interrupt,
        frames.Info: _on_info,
        frames.Error: _note,
        frames.Unknown: _note,
        frames.Malformed: _note,
        events.ModelFailed: _on_model_failed,
        events.ToolReturned: _on_tool_returned,
        events.ToolFailed: _on_tool_failed,
        events.Tick: _on_tick,
        events.Closed: _on_closed,
    }
    _DEADLINES: ClassVar[dict[str, Callable[[Call], None]]] = {
        "filler": _on_filler,
        "answer": _on_no_answer,
        "silence": _on_silence,
        "resume": _on_resume,
        "partial": _on_partial_stable,
        "guess": _on_guess_stale,
        "keypad": _on_keypad_pause,
        "farewell": _on_farewell_played,
        "duration": _on_time_up,
        "end": _on_end_overdue,
    }


def _not_before(at: float) -> float:
    """Give the first whole microsecond at which a deadline has passed."""
    whole = round(at * 1e6) / 1e6
    return whole if whole >= at else round(at * 1e6 + 1) / 1e6


def _reason(code: str) -> str:
    """Give hand-over data that the action callback understands."""
    return json.dumps({"reasonCode": code})
