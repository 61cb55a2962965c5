"""Checksums of frames and messages: whatever differs makes another one."""

from __future__ import annotations

import itertools

from voxyray.checksums import of_frame, of_messages
from voxyray.frames import CLOSE_CYCLE, End, Language, OutboundFrame, Play, SendDigits, Text
from voxyray.models import Message, ToolCall

FRAMES: list[tuple[OutboundFrame, ...]] = [
    (),
    (Text("ab", last=False),),
    (Text("a", last=False), Text("b", last=False)),
    (Text("b", last=False), Text("a", last=False)),
    (Text("ab", last=True),),
    (Text("ab", last=False, preemptible=True),),
    (Text("ab", last=False, interruptible=False),),
    (Text("ab", last=False, lang="es-ES"),),
    (Text("ab", last=False), CLOSE_CYCLE),
    (Play("https://example.com/a.mp3"),),
    (Play("https://example.com/a.mp3", loop=2),),
    (SendDigits("12"),),
    (Language("es-ES"),),
    (End(),),
    (End("{}"),),
]
MESSAGES = [
    (),
    (Message("user", "hi"),),
    (Message("assistant", "hi"),),
    (Message("user", "h"), Message("assistant", "i")),
    (Message("assistant", "h"), Message("user", "i")),
    (Message("assistant", None, (ToolCall("1", "a", "{}"),)),),
    (Message("assistant", None, (ToolCall("2", "a", "{}"),)),),
    (Message("assistant", None, (ToolCall("1", "b", "{}"),)),),
    (Message("assistant", None, (ToolCall("1", "a", '{"x":1}'),)),),
    (Message("assistant", "x", (ToolCall("1", "a", "{}"),)), Message("tool", "y")),
]


def test_other_frames_have_another_sum() -> None:
    sums = []
    for frames in FRAMES:
        total = 0
        for frame in frames:
            total = of_frame(frame, total)
        sums.append(total)
    assert all(one != other for one, other in itertools.combinations(sums, 2))


def test_other_messages_have_another_sum() -> None:
    sums = [of_messages(messages) for messages in MESSAGES]
    assert all(one != other for one, other in itertools.combinations(sums, 2))


def test_instructions_do_not_count() -> None:
    told = Message("user", "hi")
    assert of_messages((Message("system", "x"), told)) == of_messages((told,))


def test_what_cannot_be_encoded_is_no_error() -> None:
    assert of_frame(Text("\ud800", last=False), 0)
    assert of_messages((Message("user", "\ud800"),))
