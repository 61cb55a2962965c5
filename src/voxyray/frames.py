"""The wire: every frame of ConversationRelay, in and out.

Lenient in: unknown fields are ignored, unknown types become `Unknown`, absent, null and wrongly
typed optional fields become their defaults, and what is no frame at all becomes `Malformed`.
`decode` never raises. Strict out: a frame the carrier would answer with error 64107 cannot be
built. Field meanings: twilio.com/docs/voice/conversationrelay/websocket-messages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from voxyray.errors import FrameError

_MAX_DEPTH = 32
MAX_FRAME_BYTES = 128 * 1024  # API Gateway's message limit; Twilio documents none


class _Inbound(msgspec.Struct, frozen=True, tag_field="type", rename="camel"):
    pass


class Setup(_Inbound, frozen=True, tag="setup"):
    """Open a session; the first frame on every socket.

    call_sid is opaque (Telnyx sends `v2:...`); from_ and to are E.164 numbers, SIP or client
    identities, or text such as `anonymous`; call_status is `RINGING` on a fresh inbound call and
    `IN_PROGRESS` on outbound calls and reconnects.
    """

    session_id: str = ""
    account_sid: str = ""
    call_sid: str = ""
    parent_call_sid: str = ""
    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    forwarded_from: str = ""
    caller_name: str = ""
    call_type: str = ""
    direction: str = ""
    call_status: str = ""
    custom_parameters: dict[str, str] = {}


class Prompt(_Inbound, frozen=True, tag="prompt"):
    """What the caller said.

    A partial (last is false) holds the whole utterance so far and may be revised.
    """

    voice_prompt: str = ""
    lang: str = ""
    last: bool = True


class Dtmf(_Inbound, frozen=True, tag="dtmf"):
    """One key the caller pressed: `0`-`9`, `*` or `#`."""

    digit: str = ""


class Interrupt(_Inbound, frozen=True, tag="interrupt"):
    """The caller cut the agent's speech.

    utterance_until_interrupt covers only the chunk that was playing, not the whole reply.
    """

    utterance_until_interrupt: str = ""
    duration_until_interrupt_ms: float = 0


class Info(_Inbound, frozen=True, tag="info"):
    """An event switched on by `events` or `debug`.

    name is `agentSpeaking` or `clientSpeaking` (value `on`/`off`), `tokensPlayed` (text just
    played), or `roundTripDelayMs` (digits).
    """

    name: str = ""
    value: str = ""


class Error(_Inbound, frozen=True, tag="error"):
    """The carrier's complaint about a frame of ours; the session goes on."""

    description: str = ""


class Unknown(msgspec.Struct, frozen=True, tag_field="type", tag="unknown"):
    """A frame of a type that this version does not know."""

    name: str
    fields: dict[str, Any] = {}


class Malformed(msgspec.Struct, frozen=True, tag_field="type", tag="malformed"):
    """Something that is no frame at all; excerpt is its beginning, for the journal."""

    reason: str
    excerpt: str = ""


InboundFrame: TypeAlias = Setup | Prompt | Dtmf | Interrupt | Info | Error | Unknown | Malformed

_KNOWN: dict[str, type[_Inbound]] = {
    "setup": Setup,
    "prompt": Prompt,
    "dtmf": Dtmf,
    "interrupt": Interrupt,
    "info": Info,
    "error": Error,
}
_decode_exact: Callable[[bytes | str], InboundFrame] = msgspec.json.Decoder(
    Setup | Prompt | Dtmf | Interrupt | Info | Error
).decode
_decode_any = msgspec.json.Decoder().decode


def decode(data: bytes | str) -> InboundFrame:
    """Read one frame; anything at all gives a value, nothing raises."""
    if len(data) > MAX_FRAME_BYTES:
        return Malformed(f"{len(data)} bytes; at most {MAX_FRAME_BYTES} are read", _excerpt(data))
    try:
        return _decode_exact(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _decode_leniently(data)


def _decode_leniently(data: bytes | str) -> InboundFrame:
    try:
        raw = _decode_any(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return Malformed(f"not JSON: {error}", _excerpt(data))
    if not isinstance(raw, dict):
        return Malformed("not a JSON object", _excerpt(data))
    name = raw.pop("type", None)
    if not isinstance(name, str):
        return Malformed("no type", _excerpt(data))
    if name not in _KNOWN:
        if _is_deep(raw):
            return Malformed(f"nested more than {_MAX_DEPTH} deep", _excerpt(data))
        return Unknown(name[:100], raw)
    return _from_fields(_KNOWN[name], raw)


_Frame = TypeVar("_Frame", bound=_Inbound)


def _from_fields(kind: type[_Frame], raw: dict[str, Any]) -> InboundFrame:
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        value = raw.get(field.encode_name)
        if value is None:
            continue
        try:
            values[field.name] = _coerce(value, field.type)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue  # a wrongly typed optional field counts as absent
    return kind(**values)  # type: ignore[return-value]


def _coerce(value: Any, wanted: Any) -> Any:
    if wanted is str and isinstance(value, int | float):
        return msgspec.json.encode(value).decode()
    if isinstance(value, dict) and wanted == dict[str, str]:
        return {key: text for key, item in value.items() if (text := _text(item)) is not None}
    value = msgspec.convert(value, wanted, strict=False)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("JSON has no such number, so the journal could not keep it")
    return value


def _text(value: Any) -> str | None:
    try:
        return None if value is None else str(_coerce(value, str))
    except (msgspec.MsgspecError, ValueError):
        return None


def _is_deep(value: Any, depth: int = 0) -> bool:
    """Whether a value is nested so deep that encoding it may fail, wherever that is done."""
    if depth > _MAX_DEPTH:
        return True
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_is_deep(item, depth + 1) for item in items)


def _excerpt(data: bytes | str) -> str:
    head = data[:200]
    if isinstance(head, str):
        head = head.encode("utf-8", "replace")  # a lone surrogate could not be kept
    return bytes(head).decode("utf-8", "replace")


class _Outbound(msgspec.Struct, frozen=True, tag_field="type", rename="camel", omit_defaults=True):
    pass


def _require(kind: type, **values: Any) -> None:
    """Refuse values of another type; None leaves a field out."""
    for name, value in values.items():
        if value is not None and type(value) is not kind:
            raise FrameError(f"{name} must be {kind.__name__}, not {value!r:.60}")


class Text(_Outbound, frozen=True, tag="text"):
    """Speak a token; last closes the talk cycle.

    preemptible marks text that the next text or play may cut (filler); lang must be declared in
    the TwiML. Tokens are joined as they are, so leading spaces matter.

    Raises:
        FrameError: a value of the wrong type.
    """

    token: str
    last: bool
    lang: str | None = None
    interruptible: bool | None = None
    preemptible: bool | None = None

    def __post_init__(self) -> None:
        if type(self.token) is not str or type(self.last) is not bool:
            raise FrameError(f"text needs a token and last, not {self.token!r:.60}, {self.last!r}")
        if self.lang is not None or self.interruptible is not None or self.preemptible is not None:
            _require(str, lang=self.lang)
            _require(bool, interruptible=self.interruptible, preemptible=self.preemptible)


class Play(_Outbound, frozen=True, tag="play"):
    """Play an audio file from a public URL; loop 0 repeats it up to 1,000 times.

    Raises:
        FrameError: the source is no http(s) URL, loop is negative, or a wrong type.
    """

    source: str
    loop: int | None = None
    preemptible: bool | None = None
    interruptible: bool | None = None

    def __post_init__(self) -> None:
        if type(self.source) is not str or not self.source.startswith(("https://", "http://")):
            raise FrameError(f"play needs a public http(s) URL, not {self.source!r:.200}")
        _require(int, loop=self.loop)
        _require(bool, preemptible=self.preemptible, interruptible=self.interruptible)
        if self.loop is not None and self.loop < 0:
            raise FrameError(f"play cannot loop {self.loop} times")


class SendDigits(_Outbound, frozen=True, tag="sendDigits"):
    """Send keys to the far end: `0`-`9`, `*`, `#`, and `w` for half a second's pause.

    Raises:
        FrameError: any other character, or none at all.
    """

    digits: str

    def __post_init__(self) -> None:
        if type(self.digits) is not str or not re.fullmatch(r"[0-9w#*]+", self.digits):
            raise FrameError(f"digits may be 0-9, *, # and w, not {self.digits!r:.60}")


class Language(_Outbound, frozen=True, tag="language"):
    """Switch the spoken, the understood, or both languages (tags such as `es-ES`).

    Raises:
        FrameError: neither is given.
    """

    tts_language: str | None = None
    transcription_language: str | None = None

    def __post_init__(self) -> None:
        _require(
            str, ttsLanguage=self.tts_language, transcriptionLanguage=self.transcription_language
        )
        if not (self.tts_language or self.transcription_language):
            raise FrameError("a language switch needs ttsLanguage or transcriptionLanguage")


class End(_Outbound, frozen=True, tag="end"):
    """End the session; handoff_data reaches the action URL verbatim and must be a string.

    Raises:
        FrameError: handoff_data is not a string.
    """

    handoff_data: str | None = None

    def __post_init__(self) -> None:
        if self.handoff_data is not None and not isinstance(self.handoff_data, str):
            raise FrameError("handoffData must be a string: encode objects as JSON text first")


OutboundFrame: TypeAlias = Text | Play | SendDigits | Language | End

_LAST: Literal[b'{"type":"text","token":"","last":true}'] = (
    b'{"type":"text","token":"","last":true}'
)
CLOSE_CYCLE = Text("", last=True)

_encode = msgspec.json.Encoder().encode


def encode(frame: OutboundFrame) -> bytes:
    """Give the frame as the UTF-8 JSON of one WebSocket text frame.

    Raises:
        FrameError: it holds a lone surrogate, which no frame can.
    """
    try:
        return _LAST if frame is CLOSE_CYCLE else _encode(frame)
    except UnicodeEncodeError as error:
        raise FrameError(f"a frame cannot hold {error.object[error.start]!r}") from error
