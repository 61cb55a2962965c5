"""Text messages: the same agents answer by SMS, with the same caller profile.

An inbound text is a turn of a `Call` like any other; its line collects the words instead of having
them spoken. The carrier is answered at once, the agent's answer goes through the outbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from voxyray import frames
from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.errors import ConditionFailed, MessageRefused, StoreError
from voxyray.events import Closed
from voxyray.history import Carried
from voxyray.messengers import Message
from voxyray.messengers.delivery import Delivery
from voxyray.messengers.optout import opt_word
from voxyray.models import Message as Spoken
from voxyray.runner import Line, Runner
from voxyray.stores import Missing, Put, Store, keys
from voxyray.tracebacks import traced

_log = logging.getLogger(__name__)

# A thread that rests for so long begins anew; a carrier's retry comes within minutes.
_THREAD_LIVES_S: Final = 86_400
_ANSWER_WITHIN_S: Final = 60.0
_MOST_CARRIED: Final = 30
_MOST_CHARS: Final = 1600  # of one message, by Twilio's Messages API
_NOTE: Final = (
    "[This is a conversation by text message. Answer in one or two short sentences; you cannot put "
    "the person through, but they can call.]"
)

StartRunner = Callable[[Call, Line, Caller], Runner]


class TextLine:
    """Collects the words of one reply."""

    def __init__(self) -> None:
        self.words = ""
        self.closed = asyncio.Event()

    def send(self, data: bytes) -> None:
        """Take a frame; filler is for the ear only."""
        frame = msgspec.json.decode(data)
        if frame["type"] == "text":
            self.words += "" if frame.get("preemptible") else frame["token"]
            if frame["last"]:
                self.closed.set()

    def purge(self) -> None:
        """Nothing is queued."""

    async def drain(self) -> None:
        """Nothing is queued."""

    def close(self) -> None:
        """End it, as far as the words go."""
        self.closed.set()


class Texting:
    """Answers inbound text messages.

    bind: gives the agent and its rendered instructions for a caller. start: makes the runner.
    """

    def __init__(
        self,
        store: Store,
        delivery: Delivery,
        bind: Callable[[Caller], Awaitable[tuple[Agent, str]]],
        start: StartRunner,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._bind = bind
        self._start = start
        self._now = now
        self._answering: set[asyncio.Task[None]] = set()

    async def take(self, form: Mapping[str, str]) -> None:
        """Take an inbound message; the answer follows behind.

        STOP and START are respected and not answered: the carrier does that itself.

        Raises:
            StoreError: it could not be taken; the carrier should send it again.
        """
        number, text = form.get("From", ""), form.get("Body", "").strip()
        if not keys.is_caller(number) or not await self._is_new(form.get("MessageSid", "")):
            return
        word = form.get("OptOutType", "").lower() or opt_word(text)
        try:
            if word == "stop":
                await self._delivery.opt_out(number)
            elif word == "start":
                await self._delivery.opt_in(number)
        except MessageRefused as refusal:
            _log.warning("an opt-out could not be noted: %s", refusal)
        if not word and text:
            self._spawn(self._answer(number, text, form.get("MessageSid", "")))

    async def settle(self, within_s: float) -> bool:
        """Wait until the answers under way are in the outbox; false if that takes longer.

        For hosts that stand still between requests: what is not done by then may never be.
        """
        if self._answering:
            await asyncio.wait(self._answering, timeout=within_s)
        return not self._answering

    async def close(self) -> None:
        """Wait for the answers under way."""
        await self.settle(_ANSWER_WITHIN_S)

    async def _is_new(self, sid: str) -> bool:
        """Whether this message has not been taken before: carriers repeat their webhooks."""
        item = {"pk": keys.call(f"sms:{sid}"), "sk": keys.HEAD, "expires_at": self._until()}
        try:
            await self._store.write(Put(item, Missing()))
        except ConditionFailed:
            return False
        return True

    async def _answer(self, number: str, text: str, sid: str) -> None:
        try:
            answer = await self._ask(number, text[:_MOST_CHARS], sid)
            if answer:
                message = Message(kind="sms", to=number, body=answer, key=f"sms-answer:{sid}")
                await self._delivery.accept(message)
        except MessageRefused as refusal:
            _log.warning("text %s is not answered: %s", sid, refusal)
        except Exception as error:  # noqa: BLE001 - one text must not stop the others
            _log.error("text %s is not answered: %s", sid, traced(error))

    async def _ask(self, number: str, text: str, sid: str) -> str:
        caller = await Caller.load(self._store, number)
        agent, instructions = await self._bind(caller)
        line = TextLine()
        dialogue = await self._thread(number)
        call = Call(
            f"sms:{sid}",
            agent,
            instructions=instructions,
            started_at=self._now(),
            carried=Carried((Spoken("user", _NOTE), *dialogue), 0, self._now()),
            speaks_first=False,
        )
        runner = self._start(call, line, caller)
        runner.receive(frames.Setup(session_id=sid, call_sid=call.id, from_=number))
        runner.receive(frames.Prompt(text))
        try:
            await asyncio.wait_for(line.closed.wait(), _ANSWER_WITHIN_S)
        finally:
            runner.receive(Closed(1000))
            await runner.finish()
        await self._keep_thread(number, call.history.dialogue()[1:])
        return line.words.strip()[:_MOST_CHARS]

    async def _thread(self, number: str) -> tuple[Spoken, ...]:
        item = await self._store.get(keys.caller(number), "SMS") or {}
        try:
            return msgspec.json.decode(str(item.get("dialogue", "[]")), type=tuple[Spoken, ...])
        except msgspec.MsgspecError:
            return ()

    async def _keep_thread(self, number: str, dialogue: tuple[Spoken, ...]) -> None:
        text = msgspec.json.encode(dialogue[-_MOST_CARRIED:]).decode()
        item = {"pk": keys.caller(number), "sk": "SMS", "dialogue": text}
        try:
            await self._store.write(Put(item | {"expires_at": self._until()}))
        except StoreError as error:
            _log.error("a text thread could not be kept: %s", error)

    def _until(self) -> int:
        return int(self._now()) + _THREAD_LIVES_S

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
