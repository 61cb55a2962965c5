"""The caller's side: what a caller script can do, and what it can hear."""

from __future__ import annotations

import asyncio
import contextlib

from voxyray.twin.errors import CallOver, TwinTimeout
from voxyray.twin.hearing import Utterance, press
from voxyray.twin.record import Recorder
from voxyray.twin.relay import DROPPED, HUNG_UP, Bell, Relay
from voxyray.twin.settings import Timing

PATIENCE_S = 30.0


class Phone:
    """The caller's telephone; given to a caller script, valid for one call.

    Between two relay sessions (after a drop, say) every method waits for the next one.

    Raises:
        CallOver: from every method, once the call has ended.
    """

    def __init__(self, recorder: Recorder, timing: Timing) -> None:
        self.bell = Bell()
        self.hung_up = False
        self._recorder = recorder
        self._timing = timing
        self._relay: Relay | None = None
        self._last_relay: Relay | None = None
        self._over = False
        self._mouth: asyncio.Task[None] | None = None

    # -- what a caller does -------------------------------------------------------------------

    async def say(self, text: str, *, lang: str | None = None) -> None:
        """Start to say something and go on at once; an agent who speaks is interrupted.

        Two in a row are said one after the other. lang: as the transcript will carry it.
        """
        while self._talking:
            await self.bell.wait()
        self._open_mouth(await self._session(PATIENCE_S), text, lang)

    async def cut_in(
        self,
        text: str,
        *,
        after_words: int | None = None,
        after_ms: float | None = None,
        timeout_s: float = PATIENCE_S,
    ) -> str:
        """Interrupt once the reply has been heard for so many words or so long; gives that part.

        Raises:
            TwinTimeout: the reply does not come, or is over before.
        """
        wanted = f"{after_words} words" if after_words is not None else f"{after_ms or 0:g} ms"
        relay = await self._until_heard(after_words, after_ms or 0, timeout_s, wanted)
        heard = relay.heard
        self._open_mouth(relay, text, None)
        return heard

    async def press(self, keys: str, *, gap_ms: float | None = None) -> None:
        """Press keys (`0`-`9`, `*`, `#`) one after the other."""
        gap_s = (self._timing.key_gap_ms if gap_ms is None else gap_ms) / 1000
        for index, key in enumerate(keys):
            if index:
                await asyncio.sleep(gap_s)
            press(await self._session(PATIENCE_S), key)
            self.bell.ring()

    async def listen(self, *, timeout_s: float = PATIENCE_S, quiet_ms: float = 0) -> str:
        """Wait until the agent's reply is closed by `last: true` and played; gives what was heard.

        quiet_ms: for how long nothing more may come, for agents who speak in several cycles.

        Raises:
            TwinTimeout: it was not; the message says what was seen.
        """
        deadline_s = _now_s() + timeout_s
        while True:
            relay = self._live()
            left_s = _left_s(deadline_s)
            if relay is not None and relay.reply_done and not self._talking:
                if await self._stays_done(relay, quiet_ms):
                    relay.turn_cycle = relay.done_cycle
                    return relay.heard
            elif not left_s:
                raise TwinTimeout(f"no finished reply within {timeout_s:g} s; {self._seen()}")
            else:
                await self.bell.wait(left_s)

    async def wait(self, seconds: float) -> None:
        """Let time pass; returns early when the call is over."""
        deadline_s = _now_s() + seconds
        while self.on_call and (left_s := _left_s(deadline_s)):
            await self.bell.wait(left_s)

    async def wait_for_end(self, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the other side has ended the call.

        Raises:
            TwinTimeout: it goes on.
        """
        deadline_s = _now_s() + timeout_s
        while not self._over:
            left_s = _left_s(deadline_s)
            if not left_s:
                raise TwinTimeout(f"the call goes on after {timeout_s:g} s; {self._seen()}")
            await self.bell.wait(left_s)

    def hang_up(self) -> None:
        """End the call."""
        self.hung_up = True
        if self._relay is not None:
            self._relay.finish(HUNG_UP)
        self.bell.ring()

    def drop(self) -> None:
        """Cut the relay socket without a close frame (1006); the call itself stays up."""
        if self._relay is not None:
            self._relay.finish(DROPPED)

    def raw(self, text: str) -> None:
        """Send anything to the app, as if Twilio had."""
        if self._relay is not None:
            self._relay.raw(text)

    # -- what a caller notices ----------------------------------------------------------------

    @property
    def heard(self) -> str:
        """What was played since the caller's last input, to the last whole word."""
        relay = self._relay or self._last_relay
        return relay.heard if relay is not None else ""

    @property
    def agent_speaks(self) -> bool:
        """Whether the agent is audible now."""
        return self._relay is not None and self._relay.speech.speaking

    @property
    def on_call(self) -> bool:
        """Whether the call goes on."""
        return not self._over and not self.hung_up

    @property
    def relay(self) -> Relay | None:
        """The relay session at the other end, for callers who need no script."""
        return self._relay

    @property
    def connected(self) -> bool:
        """Whether a relay session is at the other end; between two of a call there is none."""
        return self._relay is not None

    # -- for whoever carries the call ---------------------------------------------------------

    def connect(self, relay: Relay | None) -> None:
        """Put a relay session, or none, at the other end."""
        self._relay = relay
        self._last_relay = relay or self._last_relay
        self.bell.ring()

    async def end(self) -> None:
        """Note that the call is over, and close the caller's mouth.

        Raises:
            BaseException: what went wrong while they were talking.
        """
        self._over = True
        self.bell.ring()
        if self._mouth is not None:
            self._mouth.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._mouth

    async def hold(self, ms: float) -> bool:
        """Let time pass until the caller hangs up; tells whether they have."""
        deadline_s = _now_s() + ms / 1000
        while not self.hung_up and (left_s := _left_s(deadline_s)):
            await self.bell.wait(left_s)
        return self.hung_up

    # -----------------------------------------------------------------------------------------

    @property
    def _talking(self) -> bool:
        return self._mouth is not None and not self._mouth.done()

    def _live(self) -> Relay | None:
        if not self.on_call:
            raise CallOver(f"the call is over; {self._seen()}")
        return self._relay

    async def _session(self, timeout_s: float) -> Relay:
        deadline_s = _now_s() + timeout_s
        while (relay := self._live()) is None:
            left_s = _left_s(deadline_s)
            if not left_s:
                raise TwinTimeout(f"no relay session within {timeout_s:g} s")
            await self.bell.wait(left_s)
        return relay

    async def _stays_done(self, relay: Relay, quiet_ms: float) -> bool:
        cycle = relay.done_cycle
        await self.wait(quiet_ms / 1000)
        return relay.reply_done and relay.done_cycle == cycle

    def _open_mouth(self, relay: Relay, text: str, lang: str | None) -> None:
        utterance = Utterance(relay, text, lang)
        utterance.begin()
        self._mouth = asyncio.create_task(utterance.finish(), name="twin caller talks")
        self._mouth.add_done_callback(lambda _: self.bell.ring())

    async def _until_heard(
        self, words: int | None, ms: float, timeout_s: float, wanted: str
    ) -> Relay:
        deadline_s = _now_s() + timeout_s
        while True:
            relay = await self._session(timeout_s)
            if not self._talking and _reached(relay, words, ms):
                return relay
            left_s = _left_s(deadline_s)
            if not left_s or (relay.reply_done and not self._talking):
                raise TwinTimeout(f"the reply was not heard for {wanted}; {self._seen()}")
            await self.bell.wait(min(left_s, _next_look_s(relay, words, ms)))

    def _seen(self) -> str:
        """Say what there was instead, for somebody who reads a failed test."""
        relay = self._relay or self._last_relay
        if relay is None:
            return "there was no relay session"
        state = "idle" if relay.speech.idle else "still busy or not closed by last: true"
        sent = [f.text for f in self._recorder.frames if f.direction == "from_app"][-3:]
        faults = [f"{fault.code} {fault.text}" for fault in self._recorder.errors[-2:]]
        seen = f"heard {relay.heard!r}, the agent is {state}, its last frames are {sent}"
        return seen + (f", errors {faults}" if faults else "")


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _left_s(deadline_s: float) -> float:
    """Give the time left; less than a clock tick is none, or it would never pass."""
    left_s = deadline_s - _now_s()
    return left_s if left_s > 1e-9 else 0.0


def _reached(relay: Relay, words: int | None, ms: float) -> bool:
    if not relay.speech.busy:
        return False  # there is nothing left to cut
    if words is not None:
        return len(relay.heard.split()) >= words
    return relay.speech.speaking and relay.heard_ms >= ms - 1e-6


def _next_look_s(relay: Relay, words: int | None, ms: float) -> float:
    """Give the time to wait until the answer may be another, unless the bell rings before."""
    if words is not None:
        next_ms = relay.speech.next_word_ms(relay.now_ms)
        wait_ms = PATIENCE_S * 1000 if next_ms is None else next_ms - relay.now_ms
    elif relay.speech.speaking:
        wait_ms = ms - relay.heard_ms
    else:
        wait_ms = PATIENCE_S * 1000
    return max(wait_ms / 1000, 1e-6)
