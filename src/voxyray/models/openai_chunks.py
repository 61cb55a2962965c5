"""Chat completions as bytes: requests encoded, answers decoded. No I/O and no clock.

The decoder takes what servers that call themselves OpenAI-compatible really send: tool calls
without index or id, ids repeated or new in every chunk, whole answers where a stream was asked
for, errors with status 200. What it cannot make sense of is a `ModelError`, never a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from voxyray.errors import ModelError
from voxyray.models import FinishReason, Message, ModelRequest, ToolCall, Usage
from voxyray.models.sse import MAX_EVENT_BYTES, SseReader

_DONE: Final = b"[DONE]"
_REASONS: Final[dict[str, FinishReason]] = {
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "content_filter": "content_filter",
}
# Asking again cannot help: the request or the account is at fault.
_FINAL_ERRORS: Final = ("invalid_request", "authentication", "permission", "not_found")
_DECODE_ERRORS: Final = (msgspec.MsgspecError, ValueError, RecursionError)


def encode_request(
    request: ModelRequest, model: str, options: Mapping[str, Any], extra: Mapping[str, Any]
) -> bytes:
    """Encode the body of a streamed chat completion.

    options: ours, such as temperature; extra: the user's, which win. None leaves a key out.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        "stream_options": {"include_usage": True},
        **options,
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in request.tools
        ]
        if request.tool_choice != "auto":
            body["tool_choice"] = _tool_choice(request.tool_choice)
    body.update(extra)
    body["stream"] = True
    return msgspec.json.encode({key: value for key, value in body.items() if value is not None})


def _message(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _tool_choice(choice: str) -> str | dict[str, Any]:
    if choice in ("none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolPart(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Words(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: list[_ToolPart] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    index: int | None = 0
    delta: _Words | None = None
    message: _Words | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | msgspec.UnsetType | None = msgspec.UNSET
    # Raw: some servers count in every chunk, and only the last count is wanted.
    usage: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


class _UsageDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _UsageDetails | None = None


_decode_chunk: Final = msgspec.json.Decoder(_Chunk).decode
_decode_usage: Final = msgspec.json.Decoder(_Usage | None).decode


class AnswerDecoder:
    """Turn the body of an answer, as it arrives, into words, tool calls and a finish.

    reason: set once the answer is complete. done: nothing more will come (`[DONE]`).
    progressed: the last `feed` carried words, reasoning or a piece of a tool call.
    failure: why the answer cannot be used; the words before it are still good.
    """

    def __init__(self) -> None:
        self.reason: FinishReason | None = None
        self.done = False
        self.progressed = False
        self.failure: ModelError | None = None
        self._events = SseReader()
        self._calls = _ToolCalls()
        self._usage = b""
        self._body: list[bytes] | None = None  # of one JSON answer instead of a stream
        self._body_bytes = 0
        self._sniffed = False

    def feed(self, data: bytes) -> str:
        """Take what arrived in one read; give all the words in it, as one text."""
        self.progressed = False
        if not self._sniffed and data.strip():
            self._sniffed = True
            # An event stream cannot begin so: some servers ignore `stream: true`.
            if data.lstrip().startswith(b"{"):
                self._body = []
        if self._body is not None:
            self._collect(self._body, data)
            return ""
        try:
            payloads = self._events.feed(data)
        except ModelError as error:
            self._fail(error)
            return ""
        return self._words(payloads)

    def end(self) -> str:
        """Take the end of the body; give the words of a server that did not stream."""
        if self._body is None:
            return ""
        body, self._body = b"".join(self._body), None
        return self._words([body])

    def tool_calls(self) -> list[ToolCall]:
        """Give the calls of a complete answer, in the order in which the model began them."""
        # Where the answer was cut, the last call may be too; half a call must not run.
        cut = self.reason in ("length", "content_filter")
        return self._calls.complete(only_whole=cut)

    def usage(self) -> Usage | None:
        """Give the tokens counted; None where the server did not say, or not so we understand."""
        try:
            usage = _decode_usage(self._usage) if self._usage else None
        except _DECODE_ERRORS:
            return None
        if usage is None:
            return None
        details = usage.prompt_tokens_details
        return Usage(
            input_tokens=usage.prompt_tokens or 0,
            output_tokens=usage.completion_tokens or 0,
            cached_tokens=(details.cached_tokens or 0) if details else 0,
        )

    def _collect(self, body: list[bytes], data: bytes) -> None:
        body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > MAX_EVENT_BYTES:
            self._fail(ModelError(f"the answer has more than {MAX_EVENT_BYTES} bytes"))

    def _fail(self, error: ModelError) -> None:
        # After the finish only the usage was still wanted.
        if self.reason is None:
            self.failure = error
            self.done = True

    def _words(self, payloads: list[bytes]) -> str:
        words: list[str] = []
        for payload in payloads:
            if payload == _DONE:
                self.done = True
            elif payload.strip():
                self._take(payload, words)
            if self.done:
                break
        return "".join(words)

    def _take(self, payload: bytes, words: list[str]) -> None:
        try:
            chunk = _decode_chunk(payload)
        except _DECODE_ERRORS:
            bad = payload in self._events.errors
            self._fail(_stream_error(payload) if bad else _unreadable(payload))
            return
        if chunk.usage:
            self._usage = bytes(chunk.usage)
        if self.reason is not None:
            return
        if chunk.error or payload in self._events.errors:
            self._fail(_stream_error(payload))
        elif chunk.choices is msgspec.UNSET:
            if not chunk.usage:
                self._fail(_unreadable(payload))
        else:
            for choice in chunk.choices or ():
                if not choice.index:
                    self._choose(choice, words)

    def _choose(self, choice: _Choice, words: list[str]) -> None:
        said = choice.delta or choice.message
        if said is not None:
            text = said.content if isinstance(said.content, str) else _plain(said.content)
            if said.refusal:
                text += said.refusal
            if text:
                words.append(text)
                self.progressed = True
            elif said.reasoning or said.reasoning_content or said.content:
                self.progressed = True
            for part in said.tool_calls or ():
                self._calls.add(part.index, part.id or "", part.function or _Function())
                self.progressed = True
            if said.function_call is not None:
                self._calls.add(0, "", said.function_call)
                self.progressed = True
        # Perplexity repeats the whole message beside every delta; alone it is a whole answer.
        if choice.finish_reason or (choice.message is not None and choice.delta is None):
            reason = _REASONS.get(choice.finish_reason or "stop", "stop")
            self._finish(reason)

    def _finish(self, reason: FinishReason) -> None:
        if self._calls.nameless:
            self._fail(ModelError("the answer holds a tool call without a name"))
            return
        # Which of the two it is follows from what came: servers confuse them.
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self._calls else "stop"
        self.reason = reason


class _Call:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def text(self) -> str:
        if len(self.arguments) > 1:
            self.arguments = ["".join(self.arguments)]
        return self.arguments[0] if self.arguments else ""

    def is_whole(self) -> bool:
        text = self.text()
        if not text.rstrip().endswith("}"):
            return False
        try:
            msgspec.json.decode(text)
        except _DECODE_ERRORS:
            return False
        return True


class _ToolCalls:
    """Calls put together from their pieces, in any of the ways in which servers cut them."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def nameless(self) -> bool:
        return any(not call.name for call in self._calls)

    def add(self, index: int | None, call_id: str, function: _Function) -> None:
        name, arguments = function.name or "", _text(function.arguments)
        call = self._find(index, call_id, name)
        if call is None or (name and _begins_another(call, index, call_id, name, arguments)):
            call = _Call()
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        call.id = call.id or call_id
        if name != call.name and not call.text():
            # Repeated as it grows, or sent in pieces.
            call.name = name if name.startswith(call.name) else call.name + name
        if name and arguments and arguments == call.text() and call.is_whole():
            return  # the whole call once more
        if arguments:
            call.arguments.append(arguments)

    def complete(self, *, only_whole: bool) -> list[ToolCall]:
        calls: list[ToolCall] = []
        ids: set[str] = set()
        for position, call in enumerate(self._calls):
            if only_whole and not call.is_whole():
                continue
            call_id = call.id if call.id and call.id not in ids else f"call_{position}"
            while call_id in ids:
                call_id += "_"
            ids.add(call_id)
            arguments = call.text()
            calls.append(ToolCall(call_id, call.name, arguments if arguments.strip() else "{}"))
        return calls

    def _find(self, index: int | None, call_id: str, name: str) -> _Call | None:
        if index is not None:
            return self._by_index.get(index)
        if call_id:
            known = next((call for call in reversed(self._calls) if call.id == call_id), None)
            if known is not None or name:
                return known
        return self._calls[-1] if self._calls else None


def _begins_another(
    call: _Call, index: int | None, call_id: str, name: str, arguments: str
) -> bool:
    # Parallel calls that all have index 0, or no index; against servers that repeat the name,
    # or make up a new id, in every chunk of one call.
    whole = call.is_whole()
    if call_id and call.id and call_id != call.id:
        return whole or name != call.name
    if whole:
        return name != call.name or bool(arguments and arguments != call.text())
    return index is None and not call_id and bool(call.name) and name != call.name


def _text(arguments: str | dict[str, Any] | None) -> str:
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""


def _plain(content: list[Any] | None) -> str:
    # Mistral's reasoning models: parts, of which only those of type text are spoken.
    return "".join(
        part["text"]
        for part in content or ()
        if isinstance(part, dict)
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
    )


def error_details(body: bytes) -> tuple[str, str]:
    """Give the message and the code of a provider's error body, in any usual shape."""
    try:
        error = msgspec.json.decode(body)
    except _DECODE_ERRORS:
        return _excerpt(body), ""
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, dict) and error.get("error"):
        error = error["error"]
    if not isinstance(error, dict):
        return _excerpt(str(error).encode(errors="replace")), ""
    message = next((error[key] for key in ("message", "detail") if error.get(key)), None)
    code = f"{error.get('type') or ''} {error.get('code') or ''}".strip()
    return _excerpt(str(message).encode(errors="replace") if message else body), code


def _stream_error(payload: bytes) -> ModelError:
    message, code = error_details(payload)
    retryable = not any(mark in code for mark in _FINAL_ERRORS)
    return ModelError(f"the stream reported an error: {message}", retryable=retryable)


def _unreadable(payload: bytes) -> ModelError:
    return ModelError(f"the stream holds something that is no chunk: {_excerpt(payload)!r}")


def _excerpt(body: bytes) -> str:
    # Not cut here: a key must be looked for in the whole before it may be cut in two.
    return " ".join(body[: 1 << 14].decode(errors="replace").split())
