"""DESIGN's seven invariants of a call, under random interleavings of everything that can arrive."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any, ClassVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.desk import Desk, make_agent
from voxyray import events, frames, journal
from voxyray.models import Message, ToolCall, Usage
from voxyray.policy import Policy
from voxyray.speculation import plain

POLICY = Policy(
    filler_after_s=1.5, give_up_after_s=8, silence_after_s=6, max_duration_s=900, tool_rounds=3
)
# The longest the caller waits for anything at all: a filler, after it the next filler, or an end.
PATIENCE_S = 1.6

WORDS = st.sampled_from(
    ["one", "two", "three", "sure", "it is", "**bold**", "Okay.", "x\n- y", "é"]
)


SPECULATING = msgspec.structs.replace(
    POLICY, speculate=True, speculate_after_s=0.2, speculate_requests=15
)


class CallMachine(RuleBasedStateMachine):
    """Drives a call from outside and checks what leaves it."""

    POLICY: ClassVar[Policy] = POLICY

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(make_agent(policy=self.POLICY))
        self.stopped: set[int] = set()  # requests whose words must not come any more
        self.words = 0
        self.write_keys: Counter[str] = Counter()
        self.input_since_close = False
        self.waiting_since: float | None = None
        self._watch()

    def _watch(self) -> None:
        """Check each command at the moment it is given."""
        apply = self.desk.apply

        def checked(command: events.Command) -> None:
            match command:
                case events.Send(frames.Text() as frame):
                    self._check_text(frame)
                case events.Send(frames.End()):
                    assert not self.input_since_close, "ended though the caller spoke"
                case events.RunTool(_, tool, _, _, key) if tool.effect == "write":
                    self.write_keys[key] += 1
                case events.RunTool(_, tool) if tool.effect == "end":
                    assert self.desk.call.turn.reply.complete
                    assert not self.input_since_close, "acted though the caller spoke"
                case events.AskModel(_, ask):
                    check_messages(ask.messages)
                case events.Send() | events.RunTool():
                    assert not self._guessing(), "something was done on a guess"
                case _:
                    pass
            apply(command)

        self.desk.apply = checked  # type: ignore[method-assign]

    def _guessing(self) -> bool:
        return self.desk.call._speculation.guess is not None

    def _check_text(self, frame: frames.Text) -> None:
        for request in re.findall(r"r(\d+)w", frame.token):
            assert int(request) not in self.stopped, f"late token {frame.token!r}"
        if frame.token.strip():
            self.waiting_since = None
        if frame.last:
            self.input_since_close = False

    def _caller_acts(self, text: str = "") -> None:
        self.stopped |= set(self.desk.asks) - self._meant(text)
        self.input_since_close = True

    def _open(self) -> bool:
        return self.desk.call.phase == "open"

    def _meant(self, text: str) -> set[int]:
        """Give the guess that these final words may confirm: nothing was said of it yet."""
        guess = self.desk.call._speculation.guess
        same = guess is not None and plain(guess.text) == plain(text)
        return {guess.request} if guess is not None and same else set()

    # What can arrive

    @rule(
        text=st.sampled_from(["hello", "Hello?", "book it", "um, book it.", "stop", "  ", ""]),
        last=st.booleans(),
    )
    def prompt(self, text: str, last: bool) -> None:
        counts = bool(text.strip()) and last and self._listening()
        if counts:
            self._caller_acts(text)
            self.waiting_since = self.desk.now
        self.desk.do(frames.Prompt(text, "en-US", last))

    def _listening(self) -> bool:
        ending = self.desk.call._ending
        return self._open() and not (ending is not None and ending.firm)

    @rule(where=st.sampled_from(["", "nowhere", "start", "middle", "end"]), plays=st.booleans())
    def interrupt(self, where: str, plays: bool) -> None:
        reply = self.desk.call.turn.reply
        said = reply.said.split()
        part = {"start": said[:1], "middle": said[: len(said) // 2], "end": said}.get(where)
        fragment = " ".join(part) if part is not None else where
        if plays and fragment:
            self.desk.info("tokensPlayed", fragment)
        # A key's own interrupt belongs to the reply before; its turn goes on.
        ours = self.desk.now > self.desk.call._cut_owed_until
        ours = ours and (bool(reply.said_chars) or not fragment)
        if ours and self._listening():
            self._caller_acts()
            self.waiting_since = None
        self.desk.interrupt(fragment)

    @rule(key=st.sampled_from("0123#*"))
    def press(self, key: str) -> None:
        self.desk.press(key)
        self.waiting_since = None

    @rule(word=WORDS)
    def speak(self, word: str) -> None:
        if self.desk.live:
            request = max(self.desk.live)
            self.words += 1
            self.desk.delta(f" r{request}w{self.words} {word}", request)

    @rule(word=WORDS)
    def speak_late(self, word: str) -> None:
        """A delta of any request, cancelled ones too."""
        for request in list(self.desk.asks):
            if request not in self.desk.live:
                self.words += 1
                self.desk.delta(f" r{request}w{self.words} {word}", request)

    @rule(
        names=st.lists(
            st.sampled_from(["look_up", "look_slowly", "book", "hang_up", "transfer", "nothing"]),
            min_size=1,
            max_size=3,
        ),
        value=st.sampled_from(["a", "b"]),
        broken=st.booleans(),
        id_=st.sampled_from(["", "same"]),
    )
    def call_tools(self, names: list[str], value: str, broken: bool, id_: str) -> None:
        if not self.desk.live:
            return
        request = max(self.desk.live)
        for name in names:
            field = {"book": "slot", "transfer": "reason", "hang_up": ""}.get(name, "word")
            arguments = "{broken" if broken else (f'{{"{field}":"{value}"}}' if field else "{}")
            self.desk.do(events.ModelEvent(request, ToolCall(id_, name, arguments)))
        self.desk.finish("tool_calls", request)

    @rule(reason=st.sampled_from(["stop", "length", "content_filter"]))
    def finish(self, reason: Any) -> None:
        if self.desk.live:
            request = max(self.desk.live)
            self.desk.do(events.ModelEvent(request, Usage(3, 4)))
            self.desk.finish(reason, request)

    @rule(retryable=st.booleans())
    def fail(self, retryable: bool) -> None:
        if self.desk.live:
            request = max(self.desk.live)
            self.desk.live.discard(request)
            self.desk.do(events.ModelFailed(request, "broken", retryable))

    @rule(
        ok=st.booleans(),
        which=st.integers(0, 3),
        handoff=st.sampled_from([None, '{"reasonCode":"x"}']),
    )
    def settle_tool(self, ok: bool, which: int, handoff: str | None) -> None:
        if not self.desk.tools:
            return
        run = list(self.desk.tools)[which % len(self.desk.tools)]
        if ok:
            play = frames.Play("https://example.com/a.mp3")
            self.desk.return_tool("done", run, actions=(play,), handoff=handoff)
        else:
            self.desk.fail_tool("broken", run)

    @rule(run=st.integers(0, 20))
    def settle_any_tool(self, run: int) -> None:
        """A result that comes twice, or of a run that was cancelled or never was."""
        ending = self.desk.call._ending
        waits = ending is not None and ending.start is not None and ending.start.run.id == run
        if run not in self.desk.tools and not waits:
            self.desk.do(events.ToolReturned(run, "again"))
            self.desk.do(events.ToolFailed(run + 100, "never was"))

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 1.7, 3.0, 9.0]))
    def wait(self, seconds: float) -> None:
        self.desk.pass_time(seconds)
        if (
            self.waiting_since is not None
            and self._open()
            and self.desk.now - self.waiting_since > PATIENCE_S
        ):
            raise AssertionError(f"dead air since {self.waiting_since}")

    @rule(
        name=st.sampled_from(["agentSpeaking", "clientSpeaking"]),
        value=st.sampled_from(["on", "off"]),
    )
    def speaking(self, name: str, value: str) -> None:
        self.desk.info(name, value)

    @rule()
    def played_all(self) -> None:
        self.desk.info("tokensPlayed", self.desk.call.turn.reply.said)

    @rule(
        frame=st.sampled_from(
            [
                frames.Setup(session_id="again"),
                frames.Error("Invalid message received, code: 64107"),
                frames.Unknown("configUpdated", {"x": 1}),
                frames.Malformed("not JSON", "{"),
                frames.Info("roundTripDelayMs", "148"),
                frames.Dtmf("12"),
                frames.Dtmf(""),
            ]
        )
    )
    def oddity(self, frame: frames.InboundFrame) -> None:
        self.desk.do(frame)

    @rule()
    def tick_early(self) -> None:
        self.desk.do(events.Tick())

    @precondition(lambda self: self.words > 5)
    @rule(code=st.sampled_from([1000, 1006]))
    def close(self, code: int) -> None:
        self.desk.do(events.Closed(code))
        self.waiting_since = None
        self.stopped |= set(self.desk.asks)

    # What must always hold

    @invariant()
    def write_tools_run_once(self) -> None:
        assert not [key for key, count in self.write_keys.items() if count > 1]

    @invariant()
    def replies_are_closed_once(self) -> None:
        for turn, closes in Counter(
            entry.turn for entry in self.desk.entries if isinstance(entry.what, journal.LastSent)
        ).items():
            assert closes == 1, f"turn {turn} was closed {closes} times"
        assert self.desk.closes == len(self.desk.noted(journal.LastSent))

    @invariant()
    def only_one_request_lives(self) -> None:
        assert len(self.desk.live) <= 1

    @invariant()
    def a_quiet_call_waits_for_something(self) -> None:
        """While the call is open there is always a next step: a deadline is set."""
        if self._open():
            assert self.desk.wake is not None

    def teardown(self) -> None:
        """Whatever happened: when everything answers, the reply is closed and the call lives."""
        if not self._open():
            return
        if self._listening():
            self._caller_acts()
            self.desk.say("and now?")
            for run in list(self.desk.tools):
                self.desk.return_tool("late", run)
            self.desk.answer("All good.")
            while self.desk.live:
                self.desk.answer("All good.")
            assert self.desk.call.turn.reply.complete


def check_messages(messages: tuple[Message, ...]) -> None:
    """What every provider insists on, and that nothing unheard is told as said."""
    assert messages[0].role == "system"
    open_calls: list[str] = []
    seen: set[str] = set()
    for before, message in itertools.pairwise(messages):
        assert not (before.role == message.role == "user")
        if message.role == "tool":
            assert message.tool_call_id == open_calls.pop(0)
            assert message.content
        else:
            assert not open_calls, "a tool call stands without its result"
        if message.tool_calls:
            open_calls = [call.id for call in message.tool_calls]
            assert not seen & set(open_calls), "a tool call's id was used twice"
            assert len(set(open_calls)) == len(open_calls)
            seen |= set(open_calls)
        elif message.role == "assistant":
            assert message.content
    assert not open_calls


class SpeculatingMachine(CallMachine):
    """The invariants hold though the model is asked before the caller has finished."""

    POLICY = SPECULATING

    def __init__(self) -> None:
        super().__init__()
        receive = self.desk.call.receive

        def watched(event: events.Event, now: float) -> list[events.Command]:
            before = self._remembered()
            guess = self.desk.call._speculation.guess
            commands = receive(event, now)
            if guess is not None and self._only_drops(commands):
                assert self._remembered() == before, "a dropped guess left a trace"
            return commands

        self.desk.call.receive = watched  # type: ignore[method-assign]

    def _remembered(self) -> Any:
        """Give what a guess that comes to nothing must not change."""
        call = self.desk.call
        told = [run.told for turn in call.history.turns for run in turn.runs()]
        return (
            [(turn.number, turn.text, turn.reply.said) for turn in call.history.turns],
            call.history.messages(),
            told,
            call.turn.number,
            call._runs.shares(),
            len(call._runs._runs),
            call._sent_sum,
            call._failures,
            call._retries,
            call._open_cycle,
        )

    @staticmethod
    def _only_drops(commands: list[events.Command]) -> bool:
        """Whether all that was done about an event was to drop or keep a guess."""
        entries = [each.entry.what for each in commands if isinstance(each, events.Record)]
        dropped = any(isinstance(e, journal.Speculated) and e.state == "dropped" for e in entries)
        kinds = journal.Speculated | journal.ModelOutput | journal.ModelFailure | frames.Prompt
        kinds |= journal.DeadlinePassed
        return dropped and all(isinstance(each, kinds) for each in entries)

    @rule(
        text=st.sampled_from(["hello", "book it"]),
        change=st.sampled_from(["", ".", " please"]),
        names=st.lists(st.sampled_from(["look_up", "book", "hang_up"]), max_size=2),
        done=st.booleans(),
        after_s=st.sampled_from([0.1, 0.3]),
    )
    def utter(self, text: str, change: str, names: list[str], done: bool, after_s: float) -> None:
        """A partial, what the model makes of it, and the final words."""
        self.prompt(text, last=False)
        self.desk.pass_time(0.25)
        if self._guessing():
            self.speak("sure")
            if names:
                self.call_tools(names, "a", broken=False, id_="")
            elif done:
                self.finish("stop")
        self.wait(after_s)
        self.prompt(text + change, last=True)


TestSpeculatingInvariants = SpeculatingMachine.TestCase
TestSpeculatingInvariants.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None
)
TestCallInvariants = CallMachine.TestCase
TestCallInvariants.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
