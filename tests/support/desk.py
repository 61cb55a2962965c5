"""A host for tests: carries out a `Call`'s commands by hand, on a clock that tests move."""

from __future__ import annotations

from typing import Any

import msgspec

from voxyray import events, frames, journal
from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.events import Event
from voxyray.models import Finish, FinishReason, ModelRequest, TextDelta, ToolCall
from voxyray.policy import Key, Policy
from voxyray.tool import tool


@tool(effect="read")
def look_up(word: str) -> str:
    """Look something up."""
    return word


@tool(effect="read", filler="Let me look at {word}.")
def look_slowly(word: str) -> str:
    """Look something up, slowly."""
    return word


@tool(effect="write", timeout_s=5)
def book(slot: str) -> str:
    """Book a slot."""
    return slot


@tool(effect="end")
def hang_up() -> None:
    """End the call."""


@tool(effect="end", farewell="I'll put you through.")
def transfer(reason: str) -> str:
    """Put the caller through to a person."""
    return reason


TOOLS = (look_up, look_slowly, book, hang_up, transfer)


def make_agent(**changes: Any) -> Agent:
    values: dict[str, Any] = {
        "instructions": "Be kind.",
        "greeting": "Hello there, how can I help?",
        "tools": TOOLS,
        "policy": Policy(),
        "keypad": {"1": Key(say="We open at nine."), "2": Key(ask="Where are you?")},
    }
    return Agent(**{**values, **changes})


SETUP = frames.Setup(session_id="VX1", call_sid="CA1", from_="+15550100", to="+15550101")


class Desk:
    """Takes a call's commands and keeps what came of them."""

    def __init__(self, agent: Agent | None = None, *, set_up: bool = True) -> None:
        self.agent = agent or make_agent()
        greeting = self.agent.greeting
        self.call = Call("CA1", self.agent, instructions="Be kind.", greeting=greeting)
        self.now = 100.0
        self.wake: float | None = None
        self.sent: list[frames.OutboundFrame] = []
        self.asks: dict[int, ModelRequest] = {}
        self.live: set[int] = set()
        self.tools: dict[int, events.RunTool] = {}
        self.cancelled_tools: list[int] = []
        self.entries: list[journal.Entry] = []
        self.hung_up = False
        if set_up:
            self.do(SETUP)

    # Doing

    def do(self, event: Event) -> list[events.Command]:
        commands = self.call.receive(event, self.now)
        for command in commands:
            self.apply(command)
        return commands

    def apply(self, command: events.Command) -> None:
        match command:
            case events.Send(frame):
                self.sent.append(frame)
            case events.AskModel(request, ask):
                self.asks[request] = ask
                self.live.add(request)
            case events.CancelModel(request):
                self.live.discard(request)
            case events.RunTool():
                self.tools[command.run] = command
            case events.CancelTool(run):
                self.tools.pop(run, None)
                self.cancelled_tools.append(run)
            case events.Wake(at):
                self.wake = at
            case events.Record(entry):
                self.entries.append(entry)
            case events.HangUp():
                self.hung_up = True
            case _:
                pass

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.wake is not None and self.wake <= until:
            self.now, self.wake = max(self.now, self.wake), None
            self.do(events.Tick())
        self.now = until

    # The carrier

    def say(self, text: str) -> int:
        """The caller speaks; gives the latest request."""
        self.do(frames.Prompt(text))
        return self.request

    def interrupt(self, fragment: str = "") -> None:
        self.do(frames.Interrupt(fragment, 500))

    def info(self, name: str, value: str) -> None:
        self.do(frames.Info(name, value))

    def press(self, keys: str) -> None:
        for key in keys:
            self.do(frames.Dtmf(key))

    # The model and its tools

    def delta(self, text: str, request: int | None = None) -> None:
        self.do(events.ModelEvent(request or self.request, TextDelta(text)))

    def call_tool(
        self, name: str, request: int | None = None, id_: str = "", **arguments: Any
    ) -> None:
        text = msgspec.json.encode(arguments).decode()
        call = ToolCall(id_ or f"{name}-{len(self.entries)}", name, text)
        self.do(events.ModelEvent(request or self.request, call))

    def finish(self, reason: FinishReason = "stop", request: int | None = None) -> None:
        request = request or self.request
        self.live.discard(request)
        self.do(events.ModelEvent(request, Finish(reason)))

    def answer(self, text: str) -> None:
        self.delta(text)
        self.finish()

    def return_tool(self, result: str = "ok", run: int | None = None, **more: Any) -> None:
        run = next(iter(self.tools)) if run is None else run
        self.tools.pop(run, None)
        self.do(events.ToolReturned(run, result, **more))

    def fail_tool(self, message: str = "broken", run: int | None = None) -> None:
        run = next(iter(self.tools)) if run is None else run
        self.tools.pop(run, None)
        self.do(events.ToolFailed(run, message))

    # Looking

    @property
    def request(self) -> int:
        return max(self.asks, default=0)

    @property
    def spoken(self) -> str:
        return "".join(frame.token for frame in self.sent if isinstance(frame, frames.Text))

    @property
    def closes(self) -> int:
        return sum(isinstance(frame, frames.Text) and frame.last for frame in self.sent)

    @property
    def ended(self) -> list[frames.End]:
        return [frame for frame in self.sent if isinstance(frame, frames.End)]

    def messages(self) -> list[tuple[str, str | None]]:
        """Role and content of the latest request, without the instructions."""
        return [(each.role, each.content) for each in self.asks[self.request].messages[1:]]

    def noted(self, kind: type[Any]) -> list[Any]:
        return [entry.what for entry in self.entries if isinstance(entry.what, kind)]
