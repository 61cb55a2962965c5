"""Messages to people who called: SMS and e-mail.

A tool gives a `Message` to `delivery.Delivery`, which stores it at once and has a `Messenger` send
it behind the talk. Messengers are thin: one request to one provider, no retries, no memory.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import msgspec

Kind: TypeAlias = Literal["sms", "email"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A text for somebody.

    to: E.164 (`sms`) or an address (`email`). body: plain text. key: the same one is accepted
    once, so a tool gives `CallContext.key`, with a suffix of its own if it sends several.
    subject, from_name: of an e-mail. call, agent: where it comes from, for the outbox's list.
    """

    kind: Kind
    to: str
    body: str
    key: str
    subject: str = ""
    from_name: str = ""
    call: str = ""
    agent: str = ""

    def __repr__(self) -> str:
        # Objects end up in logs; what people are told must not.
        return f"<Message {self.kind} to {masked(str(self.to))}>"


class Messenger(Protocol):
    """Whoever delivers messages of one kind, such as an account at Twilio.

    name: what the outbox and the logs call it.
    """

    name: str

    async def send(self, message: Message) -> str:
        """Have the provider take a message, in one attempt, and give the provider's id for it.

        An empty id means that nothing is delivered: the message is only kept.

        Raises:
            MessengerError: it was not taken, or nobody knows; its attributes say what to do.
            MessageRefused: it can never be sent as it is.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...


def masked(to: str) -> str:
    """Give a number or address in a form for logs and lists: `…00`, `a…@example.com`."""
    local, at, domain = to.rpartition("@")
    return f"{local[:1]}…@{domain}" if at else f"…{to[-2:]}"
