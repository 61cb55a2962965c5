"""Checksums of what a call decided, so that replay can tell whether it decides the same again.

They cost next to nothing while a call lasts, and are no protection against anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from zlib import crc32

from voxyray.frames import OutboundFrame, Text
from voxyray.models import Message


def of_frame(frame: OutboundFrame, before: int) -> int:
    """Give the checksum of all frames up to this one; before: that of those before it."""
    if type(frame) is Text and not frame.last and _is_plain(frame):
        data = frame.token.encode("utf-8", "replace")  # by far the most
    else:
        data = repr(frame).encode("utf-8", "replace")
    # The length keeps frames apart: "a", "b" is not "ab".
    return crc32(data, before ^ len(data))


def _is_plain(frame: Text) -> bool:
    return frame.interruptible is None and frame.preemptible is None and frame.lang is None


def of_messages(messages: Iterable[Message]) -> int:
    """Give the checksum of what the model is told, but for its instructions."""
    total = 0
    for message in messages:
        if message.role == "system":
            continue
        text = message.content or ""
        for call in message.tool_calls:
            text += f"\0{call.id}\0{call.name}\0{call.arguments}"
        total = crc32(text.encode("utf-8", "replace"), total ^ _ROLES[message.role])
    return total


# Keeps messages apart, and who said them.
_ROLES: Final = {"user": 1, "assistant": 2, "tool": 3}
