"""Server-sent events, read without I/O: bytes in, the data of whole events out."""

from __future__ import annotations

from typing import Final

from voxyray.errors import ModelError

MAX_EVENT_BYTES: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"


class SseReader:
    r"""Cut a byte stream into the data payloads of its events, wherever it was split.

    An event counts from its blank line on; what stands unfinished at the end of the stream is
    no event, as the specification says.

    errors: payloads of events named `error`; they are also among those that `feed` returns.
    """

    __slots__ = ("_at_start", "_limit", "_parts", "_size", "_skip_lf", "errors")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.errors: list[bytes] = []
        self._limit = max_event_bytes
        self._parts: list[bytes] = []  # of an event whose end has not come
        self._size = 0
        self._skip_lf = False
        self._at_start = True

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; give the payloads of the events it completed.

        Raises:
            ModelError: an event is larger than the bound.
        """
        if self._at_start:
            data = self._past_bom(data)
        if self._skip_lf or b"\r" in data:
            data = self._with_lf(data)
        if b"\n" not in data:
            # No event can end here, so a huge one is not copied for every piece of it.
            self._keep(data)
            return []
        if self._parts:
            data = b"".join((*self._parts, data))
            self._parts.clear()
            self._size = 0
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        payloads: list[bytes] = []
        for block in blocks:
            if len(block) > self._limit:
                raise self._too_large()
            if block.startswith(b"data: ") and b"\n" not in block:
                payloads.append(block[6:])
            else:
                payload = self._payload(block)
                if payload is not None:
                    payloads.append(payload)
        self._keep(rest)
        return payloads

    def _keep(self, rest: bytes) -> None:
        if not rest:
            return
        self._parts.append(rest)
        self._size += len(rest)
        # The first of the two line ends that close an event may be in here already.
        if self._size > self._limit + 1:
            raise self._too_large()

    def _too_large(self) -> ModelError:
        return ModelError(f"the stream holds an event of more than {self._limit} bytes")

    def _past_bom(self, data: bytes) -> bytes:
        data = b"".join((*self._parts, data))
        self._parts.clear()
        self._size = 0
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._keep(data)
            return b""
        self._at_start = False
        return data.removeprefix(_BOM)

    def _with_lf(self, data: bytes) -> bytes:
        if not data:
            return data
        # The CR before was a line end already; its LF only came in a later read.
        if self._skip_lf and data.startswith(b"\n"):
            data = data[1:]
        self._skip_lf = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _payload(self, block: bytes) -> bytes | None:
        lines: list[bytes] = []
        name = b""
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if field == b"data":
                lines.append(value.removeprefix(b" "))
            elif field == b"event":
                name = value.removeprefix(b" ")
        if not lines:
            return None
        payload = b"\n".join(lines)
        if name == b"error":
            self.errors.append(payload)
        return payload
