"""OpenAI's chat completions, and the many servers that speak them, over aiohttp.

All words that arrive in one read leave as one `TextDelta`, and none waits for another. A stream
that is closed or cancelled is cut off at once, so that the provider stops generating; one that
was read to its end gives its connection back to the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from yarl import URL

from voxyray.errors import ModelError, ModelTimeout, SettingsError
from voxyray.models import Delta, Finish, ModelRequest, TextDelta
from voxyray.models.openai_chunks import AnswerDecoder, encode_request, error_details

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
# Usage and the end of the body follow the finish within a few ms, or are not worth waiting for.
GRACE_S: Final = 0.3
# Longer than the pauses of a conversation; the nearest middlebox forgets after 350 s.
KEEPALIVE_S: Final = 120.0
MESSAGE_CHARS: Final = 400  # of an error's message
_ERROR_BODY_BYTES: Final = 1 << 16
_RETRYABLE: Final = frozenset({408, 409, 429})
_FIXES: Final = {
    400: "the provider refuses the request: check the model's name and options",
    401: "check OPENAI_API_KEY",
    403: "OPENAI_API_KEY may not use this model: check its project and permissions",
    404: "check the model's name in VOXYRAY_MODEL, and OPENAI_BASE_URL",
    422: "the provider refuses the request: check the model's name and options",
    429: "over the rate limit or out of credit: check the account's limits and billing",
}
_NETWORK_ERRORS: Final = (aiohttp.ClientError, OSError, RuntimeError)


class OpenAIModel:
    """Ask a model through an OpenAI-compatible chat completions endpoint.

    connect_timeout_s: for name look-up, TCP and TLS. first_token_timeout_s: from the request to
    the first words, tool call or reasoning; nothing else that arrives counts. stall_timeout_s:
    between two such. max_tokens: of the answer. extra: further keys of the request body, such as
    `{"service_tier": "priority"}`; None leaves out one of ours (`{"stream_options": None}`).

    Raises:
        SettingsError: the base URL is none.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None,
        base_url: str = DEFAULT_BASE_URL,
        connect_timeout_s: float = 3,
        first_token_timeout_s: float = 8,
        stall_timeout_s: float = 5,
        temperature: float | None = None,
        max_tokens: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = f"openai:{model}"
        self._model = model
        self._base = _base_url(base_url)
        self._url = (self._base / "chat/completions").with_query(self._base.query)
        self._key = (api_key or "").strip()
        self._connect_s = connect_timeout_s
        self._first_token_s = first_token_timeout_s
        self._stall_s = stall_timeout_s
        # OpenAI's newer models refuse `max_tokens`; most other servers know nothing else.
        own = self._base.host == URL(DEFAULT_BASE_URL).host
        limit = "max_completion_tokens" if own else "max_tokens"
        self._options = {"temperature": temperature, limit: max_tokens}
        self._extra = dict(extra or {})
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}

    def __repr__(self) -> str:
        return f"<OpenAIModel {self.name} at {self._base.host}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        """Ask, and yield deltas: texts, tool calls once they are whole, usage, `Finish`.

        Raises:
            ModelTimeout: a deadline passed.
            ModelError: the request failed, or the stream was cut or made no sense.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._first_token_s
        waiting_for = f"no first token within {self._first_token_s:g} s"
        response = await self._ask(request, deadline)
        answer = AnswerDecoder()
        finished = at_end = False
        try:
            if response.status != 200:
                raise await self._refusal(response, deadline)
            while not (answer.done or at_end):
                data = await self._read(response, deadline, waiting_for, finished=finished)
                at_end = not data
                text = answer.feed(data) if data else answer.end()
                if text:
                    yield TextDelta(text)
                if answer.failure:
                    raise self._named(answer.failure)
                if answer.reason and not finished:
                    finished = True
                    deadline = loop.time() + GRACE_S
                    for call in answer.tool_calls():
                        yield call
                elif answer.progressed and not finished:
                    # Counted from here, not from the read: a slow consumer is no stall.
                    deadline = loop.time() + self._stall_s
                    waiting_for = f"the stream stalled for {self._stall_s:g} s"
            if not answer.reason:
                raise self._error("the stream ended without a finish_reason (truncated)")
            usage = answer.usage()
            if usage:
                yield usage
            yield Finish(answer.reason, self.name)
        finally:
            await _settle(response, whole=answer.done and finished)

    async def warm(self) -> None:
        """Open a connection, so that the first request finds it pooled; failing is silent."""
        url = (self._base / "models").with_query(self._base.query)
        try:
            session = await self._session()
            async with asyncio.timeout(self._connect_s):
                async with session.get(
                    url, allow_redirects=False, trace_request_ctx=SimpleNamespace()
                ) as response:
                    await response.read()
        except (*_NETWORK_ERRORS, ValueError):
            return

    async def close(self) -> None:
        """Close the connections of this event loop, and of those that are closed."""
        loop = asyncio.get_running_loop()
        for known in [known for known in self._sessions if known is loop or known.is_closed()]:
            await self._sessions.pop(known).close()

    async def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is not None and not session.closed:
            return session
        for known in [known for known in self._sessions if known.is_closed()]:
            await self._sessions.pop(known).close()
        reused = aiohttp.TraceConfig()
        reused.on_connection_reuseconn.append(_note_reuse)
        # No await from here on: two first requests must not make two sessions.
        session = self._sessions[loop] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=300
            ),
            # Without the threshold aiohttp rounds longer deadlines up to whole seconds.
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._connect_s, ceil_threshold=float("inf")
            ),
            headers=self._headers(),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[reused],
        )
        return session

    def _headers(self) -> dict[str, str]:
        headers = {
            "Accept": "text/event-stream, application/json",
            # A compressor holds tokens back until it has a block.
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers

    async def _ask(self, request: ModelRequest, deadline: float) -> aiohttp.ClientResponse:
        body = encode_request(request, self._model, self._options, self._extra)
        while True:
            session = await self._session()
            attempt = SimpleNamespace(reused=False)
            try:
                async with asyncio.timeout_at(deadline):
                    return await session.post(
                        self._url, data=body, allow_redirects=False, trace_request_ctx=attempt
                    )
            except aiohttp.ConnectionTimeoutError:
                problem: ModelError = ModelTimeout(
                    f"{self.name}: no connection to {self._base.host} within {self._connect_s:g} s"
                )
            except TimeoutError:
                problem = ModelTimeout(
                    f"{self.name}: no first token within {self._first_token_s:g} s"
                )
            except (*_NETWORK_ERRORS, ValueError) as error:
                if attempt.reused and _is_stale(error):
                    # The server had closed it while idle. Each such failure leaves one stale
                    # connection fewer, so this comes to a fresh one.
                    continue
                problem = self._unreachable(error)
            # Raised out here, for aiohttp's exceptions carry the request's headers: the key.
            raise problem

    async def _read(
        self, response: aiohttp.ClientResponse, deadline: float, waiting_for: str, *, finished: bool
    ) -> bytes:
        problem: ModelError
        try:
            async with asyncio.timeout_at(deadline):
                return await response.content.readany()
        except TimeoutError:
            problem = ModelTimeout(f"{self.name}: {waiting_for}")
        except _NETWORK_ERRORS as error:
            problem = self._error(f"the stream broke off ({_reason(error)})")
        if finished:
            return b""
        raise problem

    async def _refusal(self, response: aiohttp.ClientResponse, deadline: float) -> ModelError:
        body = b""
        try:
            async with asyncio.timeout_at(deadline):
                while len(body) < _ERROR_BODY_BYTES and (data := await response.content.readany()):
                    body += data
        except _NETWORK_ERRORS:
            pass  # the status alone must do
        status = response.status
        if 300 <= status < 400:
            return self._error(
                f"HTTP {status}: redirects are not followed, for the key's sake; "
                "set OPENAI_BASE_URL to the final address",
                retryable=False,
            )
        message, _ = error_details(body)
        retryable = status in _RETRYABLE or status >= 500
        fix = _FIXES.get(status, "the provider has trouble: try again" if retryable else "")
        return self._error(
            f"HTTP {status}" + (f" ({fix})" if fix else ""), message, retryable=retryable
        )

    def _unreachable(self, error: Exception) -> ModelError:
        if isinstance(error, aiohttp.ClientConnectorError):
            return self._error(
                f"cannot connect to {self._base.host}: check the network and OPENAI_BASE_URL",
                _reason(error.os_error),
            )
        return self._error(f"the request failed before an answer ({_reason(error)})")

    def _named(self, error: ModelError) -> ModelError:
        return self._error("the answer cannot be used", str(error), retryable=error.retryable)

    def _error(self, what: str, excerpt: str = "", *, retryable: bool = True) -> ModelError:
        message = f"{what}: {excerpt}" if excerpt else what
        if self._key:  # providers quote it back
            message = message.replace(self._key, "[key]")
        if len(message) > MESSAGE_CHARS:
            message = message[:MESSAGE_CHARS] + "…"
        loggable = f"{self.name}: {what}"
        return ModelError(f"{self.name}: {message}", retryable=retryable, loggable=loggable)


def _base_url(text: str) -> URL:
    try:
        url = URL(text.strip())
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
        # Not quoted: it may hold a password.
        raise SettingsError(
            "OPENAI_BASE_URL must be an http(s) address without user and password, "
            f"such as {DEFAULT_BASE_URL}"
        )
    return url


async def _note_reuse(
    _session: aiohttp.ClientSession, attempt: SimpleNamespace, _params: object
) -> None:
    attempt.trace_request_ctx.reused = True


def _is_stale(error: Exception) -> bool:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else part of an answer had come
    return isinstance(error, ConnectionError)


def _reason(error: BaseException) -> str:
    # Only kinds and the system's words: aiohttp's messages quote requests and answers.
    words = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


async def _settle(response: aiohttp.ClientResponse, *, whole: bool) -> None:
    """Give the connection back when all was read; else cut it, so that the server notices."""
    try:
        if whole and response.connection is not None:
            # The end of the body often comes just after `[DONE]`; without it no reuse.
            async with asyncio.timeout(GRACE_S):
                while await response.content.readany():
                    pass
    except _NETWORK_ERRORS:
        pass  # closed below
    finally:
        connection = response.connection
        if connection is not None and connection.transport is not None:
            # Not close(): over TLS that says goodbye first and waits to hear it.
            connection.transport.abort()
        response.close()
