"""The messenger of those who have no account yet: keeps messages, delivers nothing."""

from __future__ import annotations

from voxyray.messengers import Message
from voxyray.messengers.checks import checked


class OutboxMessenger:
    """Take every message and deliver none; `voxyray outbox` shows what would have been sent."""

    name = "outbox"

    async def send(self, message: Message) -> str:
        """Check a message as a real one would; the empty id says that it is only kept.

        Raises:
            MessageRefused: a real messenger would refuse it too.
        """
        checked(message)
        return ""

    async def close(self) -> None:
        """Do nothing; there is nothing open."""
