"""The exceptions voxyray raises.

VoxyrayError
├── SettingsError        a setting is missing or wrong
├── AgentError           an agent's definition cannot be used
├── FrameError           we were about to send a frame the carrier would refuse
├── TwimlError           a TwiML attribute or verb the carrier would ignore or refuse
├── RequestRefused       a webhook, handshake or setup that must have no effect
├── ModelError           a language model gave no usable answer
│   └── ModelTimeout     ... within its deadline
├── ToolError            a tool's failure, worded for the model
│   ├── ToolArgumentError
│   └── MessageRefused   a message that will not be sent: its recipient, its text, an opt-out
├── MessengerError       a message was not taken by whoever delivers it
├── ConnectionGone       the carrier's connection is gone
├── PostFailed           a frame did not reach it, or nobody knows
├── NotOwner             another invocation owns the call by now
├── QueueError           a queue did not take what is to be done elsewhere, or later
├── CarrierError         the carrier's API refused something, or could not be asked
├── StoreError           the store could not do what was asked
│   └── ConditionFailed  ... because somebody else was first
└── JournalError         a saved call cannot be read
"""

from __future__ import annotations


class VoxyrayError(Exception):
    """Anything voxyray raises on purpose; the message says what to do next."""


class SettingsError(VoxyrayError):
    """A setting is missing or wrong; the message names it and the fix."""


class AgentError(VoxyrayError):
    """An agent's definition cannot be used; the message points at the place."""


class FrameError(VoxyrayError):
    """A frame of ours would be refused by the carrier (64107); it was not sent."""


class TwimlError(VoxyrayError):
    """TwiML of ours would be refused or silently ignored by the carrier."""


class RequestRefused(VoxyrayError):
    """A request that is refused and must have no effect.

    status: the HTTP status to answer with (a WebSocket is closed with 1008 instead).
    """

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


class ModelError(VoxyrayError):
    """A language model gave no usable answer.

    retryable: another attempt, or another model, may do better (false for a bad key
    or a request that the provider refuses). loggable: the message without the provider's own
    words, which may quote what a caller said; the kind of error if it is not given.
    """

    def __init__(self, message: str, *, retryable: bool = True, loggable: str = "") -> None:
        super().__init__(message)
        self.retryable = retryable
        self.loggable = loggable or type(self).__name__


class ModelTimeout(ModelError):
    """A language model missed one of its deadlines (connect, first token, stall)."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable, loggable=message)


class ToolError(VoxyrayError):
    """A tool's failure, worded for the model: it is told the message and can act on it."""


class ToolArgumentError(ToolError):
    """Arguments of a tool call do not fit its signature; the tool did not run."""


class MessageRefused(ToolError):
    """A message that was not accepted, worded for the model; it will not be sent.

    reason: `recipient`, `body`, `subject`, `key`, `opted_out`, `not_allowed` or `closed`.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class MessengerError(VoxyrayError):
    """A message was not taken by whoever delivers it.

    retryable: it was refused for now; another attempt may do better and cannot send it twice.
    maybe_sent: nobody knows whether it was taken; another attempt might send it twice.
    opted_out: the recipient wants no messages from us. code: the provider's, as text, or empty.
    retry_after_s: how long the provider asks us to wait, if it does.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        code: str = "",
        opted_out: bool = False,
        maybe_sent: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.code = code
        self.opted_out = opted_out
        self.maybe_sent = maybe_sent
        self.retry_after_s = retry_after_s


class ConnectionGone(VoxyrayError):
    """The carrier's connection is gone, so the call is over; nothing is to be tried again."""


class PostFailed(VoxyrayError):
    """A frame did not reach the carrier's connection, or nobody knows whether it did."""


class NotOwner(VoxyrayError):
    """Another invocation owns the call by now; this one must not act for it any more."""


class QueueError(VoxyrayError):
    """A queue did not take what is to be done elsewhere, or later; the message says why."""


class CarrierError(VoxyrayError):
    """The carrier's API refused something, or could not be asked.

    status: of its answer, 0 if there was none. code: the carrier's own, as text, or empty.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class StoreError(VoxyrayError):
    """The store could not do what was asked."""


class ConditionFailed(StoreError):
    """A conditional write found the item in another state; nothing was written."""


class JournalError(VoxyrayError):
    """A saved call cannot be read."""
