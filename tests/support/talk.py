"""A conversation for tests: the real `Call`, model, tools and store, on a clock that tests move.

    talk = await Conversation.open(agent, others)
    assert "last name" in await talk.say("It's Ada.")

What came of it is in `talk.used` and `talk.profile()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from voxyray import events, frames
from voxyray.agent import Agent, Listing
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import ToolError
from voxyray.events import Event
from voxyray.history import Turn
from voxyray.models import Finish, Model, ModelRequest
from voxyray.models.offline import OfflineModel, load_script
from voxyray.results import encode_result
from voxyray.stores import Item, Store, keys
from voxyray.stores.memory import MemoryStore

NUMBER = "+15550100"


class Conversation:
    """One call; `say` and the like return what the agent answered.

    asked: every model request; used: every tool that ran, with its arguments and its result.
    """

    def __init__(self, call: Call, caller: Caller, store: Store, model: Model) -> None:
        self.call = call
        self.caller = caller
        self.store = store
        self.model = model
        self.others: Sequence[Listing] = ()
        self.now = 100.0
        self.wake: float | None = None
        self.sent: list[frames.OutboundFrame] = []
        self.asked: list[ModelRequest] = []
        self.used: list[tuple[str, dict[str, Any], str]] = []
        self._cancelled: set[int] = set()

    @classmethod
    async def open(
        cls,
        agent: Agent,
        others: Sequence[Agent] = (),
        *,
        number: str = NUMBER,
        store: Store | None = None,
        model: Model | None = None,
    ) -> Conversation:
        """Begin a call; the greeting counts as said."""
        store = store or MemoryStore()
        caller = await Caller.load(store, number)
        listings = [other.listing for other in others]
        texts = agent.render(caller, CallContext("CA1", agent.name, 0, store).now(), listings)
        call = Call("CA1", agent, instructions=texts.instructions, greeting=texts.greeting)
        if model is None:
            script = load_script(agent.offline) if agent.offline else None
            model = OfflineModel(script, first_token_s=0, words_per_s=0)
        talk = cls(call, caller, store, model)
        talk.others = listings
        await talk.do(frames.Setup(session_id="VX1", call_sid="CA1", from_=number, to="+15550101"))
        return talk

    async def say(self, text: str) -> str:
        """The caller speaks, after all was played."""
        self.now += 30.0
        return await self._answer_to(frames.Prompt(text))

    async def press(self, keys_: str) -> str:
        """The caller presses keys and waits."""
        at = len(self.sent)
        for key in keys_:
            await self.do(frames.Dtmf(key))
        await self.pass_time(5.0)
        return self.spoken(at)

    async def interrupt(self, heard: str) -> None:
        """The caller cuts the reply after these words."""
        await self.do(frames.Interrupt(heard, 500))

    async def pass_time(self, seconds: float) -> str:
        """Nobody says anything for so long."""
        at = len(self.sent)
        until = self.now + seconds
        while self.wake is not None and self.wake <= until:
            self.now, self.wake = max(self.now, self.wake), None
            await self.do(events.Tick())
        self.now = until
        return self.spoken(at)

    async def profile(self) -> Item:
        """Give what is stored of the caller, without keys."""
        item = await self.store.get(keys.caller(self.caller.number), keys.PROFILE) or {}
        return {name: value for name, value in item.items() if name not in ("pk", "sk")}

    def spoken(self, since: int = 0) -> str:
        """Give the words sent since that frame."""
        texts = [each.token for each in self.sent[since:] if isinstance(each, frames.Text)]
        return "".join(texts).strip()

    @property
    def ended(self) -> bool:
        """Whether the agent ended the call."""
        return any(isinstance(frame, frames.End) for frame in self.sent)

    @property
    def turns(self) -> list[Turn]:
        """All turns so far."""
        return self.call.history.turns

    async def _answer_to(self, event: Event) -> str:
        at = len(self.sent)
        await self.do(event)
        return self.spoken(at)

    async def do(self, event: Event) -> None:
        """Give an event to the call and carry out what comes of it."""
        for command in self.call.receive(event, self.now):
            match command:
                case events.Send(frame):
                    self.sent.append(frame)
                case events.Wake(at):
                    self.wake = at
                case events.CancelModel(request):
                    self._cancelled.add(request)
                case events.AskModel():
                    await self._ask(command)
                case events.RunTool():
                    await self._run(command)
                case _:
                    pass

    async def _ask(self, command: events.AskModel) -> None:
        self.asked.append(command.ask)
        async for delta in self.model.stream(command.ask):
            if command.request in self._cancelled:
                break
            await self.do(events.ModelEvent(command.request, delta))
            if isinstance(delta, Finish):
                break

    async def _run(self, command: events.RunTool) -> None:
        agent = self.call.agent.name
        context = CallContext("CA1", agent, command.turn, self.store, agents=self.others)
        try:
            value = await command.tool.run(command.values, self.caller, context)
        except ToolError as error:
            self.used.append((command.tool.name, command.values, f"Error: {error}"))
            await self.do(events.ToolFailed(command.run, str(error)))
            return
        result = encode_result(value)
        self.used.append((command.tool.name, command.values, result))
        handoff = result if command.tool.effect == "end" and value is not None else None
        await self.do(events.ToolReturned(command.run, result, tuple(context.actions), handoff))
