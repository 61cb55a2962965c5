"""What a tool may know of its call, and what it may have the call do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import msgspec

from voxyray.caller import is_language
from voxyray.errors import FrameError, ToolError
from voxyray.frames import Language, OutboundFrame, Play, SendDigits
from voxyray.messengers import Message
from voxyray.stores import Store

if TYPE_CHECKING:
    # These stand above this module; only their names are needed.
    from voxyray.agent import Listing
    from voxyray.messengers.delivery import Delivery


@dataclass(frozen=True, eq=False)
class CallContext:
    """The call a tool runs in; one object for each run of a tool.

    key: the idempotency key of this run, the same when it is repeated; agent: its name; agents: the
    other agents; zone: the agent's time zone; clock: gives epoch seconds. actions: frames the tool
    asked for, sent by the call after the tool returned, in order; a tool that failed sends none.
    delivery: sends messages.
    """

    id: str
    agent: str
    turn: int
    store: Store
    key: str = ""
    agents: Sequence[Listing] = ()
    zone: tzinfo = UTC
    clock: Callable[[], float] = field(default=time.time, repr=False)
    actions: list[OutboundFrame] = field(default_factory=list)
    delivery: Delivery | None = None

    def now(self) -> datetime:
        """Give the time of day where the agent is."""
        return datetime.fromtimestamp(self.clock(), self.zone)

    def play(self, source: str, *, loop: int | None = None) -> None:
        """Play an audio file from a public URL after the tool's turn of speech; see `Play`.

        Raises:
            ToolError: the source is no http(s) URL, or loop is no number from 0 up.
        """
        self._record({"type": "play", "source": source, "loop": loop}, Play)

    def send_digits(self, digits: str) -> None:
        """Press keys on the far end: `0`-`9`, `*`, `#`, and `w` for half a second's pause.

        Raises:
            ToolError: any other character, or none at all.
        """
        self._record({"type": "sendDigits", "digits": digits}, SendDigits)

    def switch_language(self, tag: str, *, transcription: str | None = None) -> None:
        """Speak and understand another language from now on, such as `es-ES`.

        transcription: what to understand, if it is another one.

        Raises:
            ToolError: what is no language tag.
        """
        understood = tag if transcription is None else transcription
        for given in (tag, understood):
            if not is_language(str(given)):
                raise ToolError(f"{given!r} is no language tag; write one such as es-ES")
        self._record(
            {"type": "language", "ttsLanguage": tag, "transcriptionLanguage": understood}, Language
        )

    async def send_sms(self, to: str, text: str, *, part: str = "") -> str:
        """Have a text message sent behind the talk, once for this run, and give its outbox id.

        part: tells several messages of one run apart.

        Raises:
            ToolError: it cannot be sent: no number, opted out, too long.
        """
        key = self._part("sms", part)
        return await self._accept(Message(kind="sms", to=to, body=text, key=key))

    async def send_email(
        self, to: str, subject: str, text: str, *, from_name: str = "", part: str = ""
    ) -> str:
        """Have an e-mail sent behind the talk, once for this run, and give its outbox id.

        Raises:
            ToolError: it cannot be sent: no address, too long.
        """
        return await self._accept(
            Message(
                kind="email",
                to=to,
                subject=subject,
                body=text,
                from_name=from_name,
                key=self._part("email", part),
            )
        )

    def _part(self, kind: str, part: str) -> str:
        return f"{self.key}/{kind}/{part}"

    async def _accept(self, message: Message) -> str:
        if self.delivery is None:
            raise ToolError("no messages can be sent from here")
        if not self.key:
            raise ToolError("only a tool with effect `write` can send messages: it runs once")
        sent = msgspec.structs.replace(message, call=self.id, agent=self.agent)
        return await self.delivery.accept(sent)

    def _record(self, fields: dict[str, Any], kind: type[OutboundFrame]) -> None:
        try:
            self.actions.append(msgspec.convert(fields, kind))
        except (FrameError, msgspec.ValidationError) as error:
            raise ToolError(f"{fields['type']}: {error}") from error
