"""What Twilio makes of the caller: transcripts of speech, keys, and the cuts they cause.

Order of frames: 2.7. Which input cuts and which is delivered: 4.3. Partials: 2.2.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial

from voxyray.twin.record import KeyPressed
from voxyray.twin.relay import Relay, allows
from voxyray.twin.settings import Timing

BACKCHANNELS = {"uh-huh", "uh huh", "mm-hmm", "mhm", "yeah", "yes", "ok", "okay", "right", "sure"}
_GARBLE = ("three", "the", "and", "for", "there")


class Utterance:
    """Something the caller says: `begin` opens their mouth, `finish` takes as long as they talk."""

    def __init__(self, relay: Relay, text: str, lang: str | None = None) -> None:
        self._relay = relay
        self._text = text
        self._own_lang = lang
        self._cuts = bool(text.strip()) and not is_backchannel(relay, text)
        self._delivered = True
        self._steps = partials(text, relay.timing)

    def begin(self) -> None:
        """Start to talk; if the agent may be cut, it is cut before this returns."""
        relay = self._relay
        setting = relay.attributes.report_input_during_agent_speech
        if relay.speech.busy and not allows(setting, "speech"):
            self._delivered = False
            relay.recorder.warn(
                f"reportInputDuringAgentSpeech is {setting!r}: words spoken over the agent are lost"
            )
        if self._text.strip():
            relay.client_speaking("on")
        first = self._text.split(" ")[0]
        # The burst of a cut holds the first word; without a cut it comes 250 ms later.
        then = partial(self._partial, first) if relay.speech.busy else None
        cut = self._cuts and relay.barge_in("speech", then)
        if not cut and self._delivered:
            relay.new_turn()

    async def finish(self) -> None:
        """Go on talking to the end of the utterance and wait for its final transcript."""
        relay = self._relay
        passed_ms = 0.0
        for at_ms, words in self._steps:
            await asyncio.sleep((at_ms - passed_ms) / 1000)
            passed_ms = at_ms
            if relay.over:
                return
            self._step(words, whole=words == self._text)
        if self._text.strip():
            relay.client_speaking("off")
        await asyncio.sleep(relay.timing.final_ms / 1000)
        if self._delivered and not relay.over:
            relay.prompt(self._final(), last=True, lang=self._lang)

    def _step(self, words: str, *, whole: bool) -> None:
        """Let a partial out; an agent that starts to speak meanwhile is cut by it."""
        relay = self._relay
        if not whole and relay.oddities.garbled_partials and relay.rng.random() < 0.5:
            words = " ".join([*words.split(" ")[:-1], relay.rng.choice(_GARBLE)])
        if self._cuts and relay.speech.busy:
            relay.barge_in("speech", partial(self._partial, words))
        else:
            self._partial(words)

    @property
    def _lang(self) -> str:
        return self._own_lang or heard_language(self._relay)

    def _partial(self, words: str) -> None:
        """Send a partial transcript if the app wants them."""
        if self._delivered and self._relay.attributes.partial_prompts and words:
            self._relay.prompt(words, last=False, lang=self._lang)

    def _final(self) -> str:
        text = self._text
        if self._relay.oddities.repunctuated_final and text and text[-1].isalnum():
            return text + "."
        return text


def partials(text: str, timing: Timing) -> list[tuple[float, str]]:
    """Give the times and the cumulative texts of the partials; the last holds all of it."""
    length_ms = 1000 * len(text) / timing.caller_cps
    steps: list[tuple[float, str]] = []
    count = int(length_ms / timing.partial_ms)
    for step in range(1, count + 1):
        at_ms = step * timing.partial_ms
        spoken = text[: int(at_ms / 1000 * timing.caller_cps)]
        words = spoken if len(spoken) == len(text) else spoken[: spoken.rfind(" ") + 1].rstrip()
        if words and words != text and (not steps or steps[-1][1] != words):
            steps.append((at_ms, words))
    return [*steps, (length_ms, text)]


def press(relay: Relay, digit: str) -> None:
    """Press one key: `dtmf` goes out before the interrupt that it causes (2.7)."""
    relay.recorder.tell(KeyPressed(relay.now_ms, digit))
    if not relay.attributes.dtmf_detection:
        relay.recorder.warn("dtmfDetection is off: keys are not seen")
        return
    setting = relay.attributes.report_input_during_agent_speech
    delivered = not relay.speech.busy or allows(setting, "dtmf")
    if delivered:
        relay.dtmf(digit)
    else:
        relay.recorder.warn(
            f"reportInputDuringAgentSpeech is {setting!r}: keys pressed over the agent are lost"
        )
    if not relay.barge_in("dtmf") and delivered:
        relay.new_turn()


def heard_language(relay: Relay) -> str:
    """Give the tag as prompts carry it: flux and `multi` send the primary tag only (2.2)."""
    language = relay.transcription_language
    if language == "multi":
        return "en"
    return language.split("-")[0] if relay.attributes.speech_model == "flux" else language


def is_backchannel(relay: Relay, text: str) -> bool:
    """Tell whether words only show that the caller listens, and the app wants none of those."""
    plain = re.sub(r"[^\w\s-]", "", text).strip().lower()
    return relay.attributes.ignore_backchannel and plain in BACKCHANNELS
