"""Checksums of what a call decided, so that replay can tell whether it decides the same again.

They cost next to nothing while a call lasts, and are no protection against anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from voxyray.frames import OutboundFrame, Text
from voxyray.models import Message


def of_frame(frame: OutboundFrame, before: int) -> int:
    """Give the checksum of all frames up to this one; before: that of those before it."""
    if type(frame) is Text and not frame.last and frame.interruptible is frame.preemptible is None:
        data = frame.token.encode("utf-8", "replace")  # by far the most
    else:
        data = repr(frame).encode("utf-8", "replace")
    # The length keeps frames apart: "a", "b" is not "ab".
    return crc32(data, before ^ len(data))


def of_messages(messages: Iterable[Message]) -> int:
    """Give the checksum of what the model is told, but for its instructions."""
    total = 0
    for message in messages:
        if message.role == "system":
            continue
        text = f"{message.role}\0{message.content}\0{message.tool_call_id}"
        for call in message.tool_calls:
            text += f"\0{call.id}\0{call.name}\0{call.arguments}"
        total = crc32(text.encode("utf-8", "replace"), total)
    return total
