"""What the twin raises; all of it is VoxyrayError.

TwinError
├── Deadlock       nothing is scheduled any more and the call is not over
├── TwinRefused    what the app gave would be refused by Twilio; carries Twilio's error code
├── TwinTimeout    the caller waited in vain; the message says what was seen instead
└── CallOver       the caller acted after the call had ended
"""

from __future__ import annotations

from voxyray.errors import VoxyrayError


class TwinError(VoxyrayError):
    """Anything the simulated carrier raises on purpose."""


class Deadlock(TwinError):
    """Nothing is scheduled any more on the virtual clock and the main task is not done."""


class TwinRefused(TwinError):
    """Twilio would refuse this.

    code: its error code as in twilio.com/docs/api/errors, such as 64101 or 12100.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class TwinTimeout(TwinError):
    """The caller waited in vain; the message says what was seen instead."""


class CallOver(TwinError):
    """The caller acted after the call had ended."""
