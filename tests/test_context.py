"""What a tool may have its call do, and what it is told of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from voxyray.errors import ToolError
from voxyray.frames import Language, Play, SendDigits
from voxyray.stores.memory import MemoryStore
from voxyray.tool import CallContext


def call_context(store: MemoryStore | None = None) -> CallContext:
    return CallContext("CA1", "shop", 3, store or MemoryStore(), key="K", clock=lambda: 0.0)


def test_actions_are_recorded_in_order() -> None:
    call = call_context()
    call.play("https://example.com/hold.mp3", loop=0)
    call.send_digits("12w#")
    call.switch_language("es-ES")
    call.switch_language("es-ES", transcription="multi")
    assert call.actions == [
        Play("https://example.com/hold.mp3", loop=0),
        SendDigits("12w#"),
        Language("es-ES", "es-ES"),
        Language("es-ES", "multi"),
    ]


@pytest.mark.parametrize(
    "act",
    [
        lambda call: call.play("hold.mp3"),
        lambda call: call.play(None),
        lambda call: call.play("https://example.com/a.mp3", loop=-1),
        lambda call: call.play("https://example.com/a.mp3", loop="often"),
        lambda call: call.send_digits(""),
        lambda call: call.send_digits("12a"),
        lambda call: call.send_digits(12),
        lambda call: call.switch_language("Spanish, please"),
        lambda call: call.switch_language(""),
        lambda call: call.switch_language(None),
        lambda call: call.switch_language("es", transcription=""),
    ],
)
def test_actions_the_carrier_would_refuse_are_told_to_the_model(
    act: Callable[[CallContext], None],
) -> None:
    call = call_context()
    with pytest.raises(ToolError):
        act(call)
    assert call.actions == []


def test_the_time_is_that_of_the_agent() -> None:
    call = CallContext(
        "CA1", "shop", 0, MemoryStore(), zone=ZoneInfo("America/New_York"), clock=lambda: 0.0
    )
    assert call.now().isoformat() == "1969-12-31T19:00:00-05:00"
    assert call_context().now() == datetime(1970, 1, 1, tzinfo=UTC)
