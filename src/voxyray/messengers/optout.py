"""The words by which people leave and come back, as Twilio reads them (reference 7.6)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

OptWord: TypeAlias = Literal["stop", "start", "help"]

# `YES` starts on some accounts only, and people say it to agents: it is none here.
_WORDS: Final[dict[str, OptWord]] = {
    **dict.fromkeys(
        ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"), "stop"
    ),
    **dict.fromkeys(("START", "UNSTOP"), "start"),
    **dict.fromkeys(("HELP", "INFO"), "help"),
}


def opt_word(text: str) -> OptWord | None:
    """Read an inbound text as an opt-out keyword; None if it is anything else.

    The carrier answers these itself, so an agent must not. A keyword is the whole text, in any
    case; space and the punctuation that phones add around it do not count.
    """
    return _WORDS.get(text.strip(" \t\r\n\u00a0.!,\"'").upper())
