"""Who is speaking: what the carrier tells, and an estimate where it tells nothing."""

from __future__ import annotations

import msgspec

from voxyray.reply import Reply

_SPEECH_STARTS_S = 0.35  # observed: 300-340 ms from the first token to agentSpeaking
_NOISE_PATIENCE = 8  # looks; noise must not put off a reprompt for ever


class Floor(msgspec.Struct, eq=False):
    """The state of both sides' speech.

    quiet_at: when all that was sent will have been played, by the pace of the voice.
    client_speaking: None if the carrier does not report it; plays_reported: whether it confirms
    what was played.
    """

    _characters_per_s: float
    quiet_at: float = 0.0
    agent_speaking: bool = False
    client_speaking: bool | None = None
    plays_reported: bool = False
    _noise: int = 0

    def speak(self, chars: int, now: float, starts_s: float = _SPEECH_STARTS_S) -> None:
        """Queue text: it is spoken after what is queued already."""
        begins = max(self.quiet_at, now + starts_s)
        self.quiet_at = begins + chars / self._characters_per_s

    def is_sounding(self, now: float) -> bool:
        """Whether the agent is, for all we know, being heard."""
        return self.agent_speaking or self.quiet_at > now

    def has_played(self, reply: Reply, now: float) -> bool:
        """Whether the carrier's reports say that a complete reply was played to its end.

        Voices read out "$5" as other words than were sent, so a reply may never be confirmed
        word by word: then silence after the estimated end counts.
        """
        if not reply.complete or (self.plays_reported and reply.all_confirmed):
            return reply.complete
        return not self.agent_speaking and (not self.plays_reported or now >= self.quiet_at)

    def caller_acts(self) -> None:
        """Note words or keys: whatever sounded before was no mere noise."""
        self._noise = 0

    def hears_caller(self) -> bool:
        """Whether the caller may be speaking; sounds without words do not count for ever."""
        if not self.client_speaking:
            return False
        self._noise += 1
        return self._noise <= _NOISE_PATIENCE
