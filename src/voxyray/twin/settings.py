"""How fast the twin is, and how odd: both settable, both harmless defaults."""

from __future__ import annotations

import msgspec


class Timing(msgspec.Struct, frozen=True):
    """Every delay of the simulated carrier; the defaults are what was seen on live calls.

    _cps are characters per second, all else is in milliseconds. unfinished_ms: silence after
    which a clause without its end is spoken anyway (None: only `last: true` brings it out).
    pause_second_ms: what a second of `<Pause>` takes.
    """

    speech_cps: float = 15
    speech_start_ms: float = 300
    settled_ms: float = 100
    unfinished_ms: float | None = 1000
    preempt_ms: float = 2000
    play_ms: float = 2000
    digit_ms: float = 200
    digit_pause_ms: float = 500
    digits_idle_ms: float = 2000
    caller_cps: float = 15
    partial_ms: float = 250
    final_ms: float = 450
    key_gap_ms: float = 200
    voice_to_setup_ms: float = 400
    greeting_ms: float = 250
    end_to_close_ms: float = 90
    hangup_to_action_ms: float = 500
    end_to_action_ms: float = 700
    drop_to_action_ms: float = 1200
    action_to_status_ms: float = 600
    dial_ms: float = 5000
    pause_second_ms: float = 1000
    round_trip_ms: float = 148

    def scaled(self, factor: float) -> Timing:
        """Give the same call at another speed; 0.01 is a hundred times as fast."""
        changed = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                changed[name] = value / factor if name.endswith("_cps") else value * factor
        return msgspec.structs.replace(self, **changed)


class Oddities(msgspec.Struct, frozen=True):
    """What live sockets do now and then and a robust app survives; all off by default.

    text_duration_every: every n-th `durationUntilInterruptMs` is a string, as in documentation up
    to early 2025 (0: never). garbled_partials: partials are revised later. repunctuated_final: the
    final text gains a full stop over the last partial. silent_fragment: interrupts do not tell
    what was played. idle_interrupt: an interrupt comes although nothing is playing.
    status_first: the status callback overtakes the action callback. twice: webhooks are repeated.
    """

    unknown_frames: bool = False
    extra_fields: bool = False
    omitted_fields: bool = False
    null_fields: bool = False
    duplicate_frames: bool = False
    text_duration_every: int = 0
    silent_fragment: bool = False
    idle_interrupt: bool = False
    garbled_partials: bool = False
    repunctuated_final: bool = False
    status_first: bool = False
    twice: bool = False


OBSERVED = Timing()
NO_ODDITIES = Oddities()
