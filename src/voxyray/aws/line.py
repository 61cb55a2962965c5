"""Frames to one caller by way of API Gateway: each is a signed POST, and their order is ours.

One POST is in flight at a time. The first words of a reply leave at once; what follows is joined
and leaves with each clause, or once some time has passed: speech is far slower than text, so this
costs the caller nothing and saves two posts in three.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from voxyray import frames
from voxyray.errors import ConnectionGone, PostFailed

_log = logging.getLogger(__name__)

GATHER_S: Final = 0.08
_CLAUSE_ENDS: Final = re.compile(r"[.!?,;:…。、！？，]\s*\Z")
_MOST_UNSENT_CHARS: Final = 4000
_BUSY_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=3, sock_connect=1)
_GONE: Final = 410
_NORMAL: Final = 1000
_TOO_MANY: Final = 429
_GIVE_UP_AFTER: Final = 3  # posts in a row that fail otherwise

_text_decoder: Final = msgspec.json.Decoder(frames.Text)
_IS_TEXT: Final = b'{"type":"text"'


class Connections(Protocol):
    """Posts to connections."""

    async def warm(self) -> None:
        """Open what the first post will need; raises nothing."""
        ...

    async def post(self, connection: str, data: bytes) -> None:
        """Send one frame.

        Raises:
            ConnectionGone: nobody is there any more.
            PostFailed: it did not leave, or nobody knows.
        """
        ...

    async def delete(self, connection: str) -> None:
        """Close the connection; raises nothing."""
        ...


class Gateway:
    """The connections of a WebSocket API, over signed requests that share warm sockets.

    url: the API's stage, where `@connections` is. sign: gives the headers for a request.
    """

    def __init__(self, url: str, sign: Callable[[str, str, bytes], dict[str, str]]) -> None:
        self._url = url.rstrip("/")
        self._sign = sign
        self._session: aiohttp.ClientSession | None = None

    async def warm(self) -> None:
        """Open the connection that the first post will need."""
        try:
            await self._request("GET", "warm", b"")
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            _log.warning("the gateway cannot be reached yet: %s", type(error).__name__)

    async def post(self, connection: str, data: bytes) -> None:
        """Send one frame; a full socket is waited for, and nothing is ever sent twice."""
        for pause_s in (*_BUSY_PAUSES_S, None):
            try:
                status = await self._request("POST", connection, data)
            except aiohttp.ClientConnectorError as error:
                raise PostFailed(f"the gateway cannot be reached: {error}") from error
            except (OSError, aiohttp.ClientError, TimeoutError) as error:
                # It may have arrived: words that are missing are better than words said twice.
                raise PostFailed(f"no answer to a post: {type(error).__name__}") from error
            if status == _GONE:
                raise ConnectionGone("the connection is gone")
            if status < 300:
                return
            if status != _TOO_MANY or pause_s is None:
                raise PostFailed(f"the gateway refused a post with {status}")
            await asyncio.sleep(pause_s)

    async def delete(self, connection: str) -> None:
        """Close the connection; raises nothing."""
        try:
            await self._request("DELETE", connection, b"")
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            _log.warning("a connection could not be closed: %s", type(error).__name__)

    async def close(self) -> None:
        """Close the sockets."""
        if self._session is not None:
            await self._session.close()

    async def _request(self, method: str, connection: str, data: bytes) -> int:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=300),
                skip_auto_headers=("User-Agent", "Content-Type"),
                timeout=_TIMEOUT,
            )
        url = f"{self._url}/@connections/{quote(connection, safe='')}"
        headers = self._sign(method, url, data)
        encoded = URL(url, encoded=True)
        async with self._session.request(method, encoded, data=data, headers=headers) as answer:
            await answer.read()
            return answer.status


class PostLine:
    """The line of one call: queues frames, joins words, posts them in order.

    may_post: asked before every post; false while the invocation may own the call no more.
    gone: the connection is, so the call is over; closed_with: the code, if it was us.
    """

    def __init__(
        self, connections: Connections, connection: str, may_post: Callable[[], bool]
    ) -> None:
        self._connections = connections
        self._connection = connection
        self._may_post = may_post
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes | frames.Text] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._posted_at = float("-inf")
        self._in_reply = False
        self._failures = 0
        self._more = asyncio.Event()
        self._closing = False
        self.gone = False
        self.closed_with: int | None = None
        self.posts = 0

    @property
    def sender(self) -> asyncio.Task[None] | None:
        """The task that posts; None if nothing waits."""
        return None if self._sender is None or self._sender.done() else self._sender

    def send(self, data: bytes) -> None:
        """Queue a frame; never raises."""
        if self.gone or self._closing:
            return
        self._queue.append(_text_decoder.decode(data) if data.startswith(_IS_TEXT) else data)
        self._more.set()
        self._start()

    def purge(self) -> None:
        """Throw away queued words; the first of the next reply leave at once."""
        self._in_reply = False
        self._queue = deque(each for each in self._queue if not isinstance(each, frames.Text))

    async def drain(self) -> None:
        """Wait while the gateway is far behind."""
        if self._sender is not None and self._unsent_chars() > _MOST_UNSENT_CHARS:
            await asyncio.wait({self._sender})

    def close(self) -> None:
        """Close the connection once everything was posted."""
        self._closing = True
        self._more.set()
        self._start()

    def stop(self) -> None:
        """Post nothing more: the call is somebody else's."""
        self._queue.clear()
        self.gone = True

    def _start(self) -> None:
        if self.sender is None:
            self._sender = self._loop.create_task(self._post_all())

    async def _post_all(self) -> None:
        while self._queue and not self.gone:
            await self._gather()
            if not self._may_post():
                # A lease that ran out may be renewed yet: the words stay here until that is known.
                await asyncio.sleep(GATHER_S)
            elif self._queue and not self.gone:
                await self._post(self._next())
        if self._closing and not self.gone:
            self.gone, self.closed_with = True, _NORMAL
            await self._connections.delete(self._connection)

    async def _gather(self) -> None:
        """Wait for more words, unless there is a reason to post what there is."""
        until = self._posted_at + GATHER_S
        while self._in_reply and not self._closing and not self._is_complete():
            self._more.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._more.wait()
            except TimeoutError:
                return

    def _is_complete(self) -> bool:
        """Whether the queue holds all of a clause, or something that is no mere words."""
        if not all(isinstance(each, frames.Text) and _joins(each) for each in self._queue):
            return True
        last = self._queue[-1] if self._queue else None
        return isinstance(last, frames.Text) and _CLAUSE_ENDS.search(last.token) is not None

    def _next(self) -> bytes:
        """Take the next frame to post, with the words joined that go together."""
        first = self._queue.popleft()
        if not isinstance(first, frames.Text):
            return first
        tokens, last = [first.token], first.last
        while self._queue and not last and _joins(first):
            more = self._queue[0]
            if not isinstance(more, frames.Text) or not (_joins(more) or _only_closes(more)):
                break
            self._queue.popleft()
            tokens.append(more.token)
            last = more.last
        self._in_reply = not last
        joined = msgspec.structs.replace(first, token="".join(tokens), last=last)
        return frames.encode(joined)

    async def _post(self, data: bytes) -> None:
        self._posted_at = self._loop.time()
        self.posts += 1
        try:
            await self._connections.post(self._connection, data)
        except ConnectionGone:
            self.gone = True
        except PostFailed as error:
            self._failures += 1
            _log.error("a frame was lost: %s", error)
            if self._failures >= _GIVE_UP_AFTER:
                # The carrier may hear nothing of us any more, but it can be told that we are gone.
                self.gone = True
                await self._connections.delete(self._connection)
        else:
            self._failures = 0

    def _unsent_chars(self) -> int:
        return sum(len(each.token) for each in self._queue if isinstance(each, frames.Text))


def _joins(text: frames.Text) -> bool:
    """Whether it is nothing but words of an open reply."""
    plain = text.lang is None and text.interruptible is None and text.preemptible is None
    return plain and not text.last


def _only_closes(text: frames.Text) -> bool:
    return text.last and text.lang is None and text.preemptible is None


def signer(service: str = "execute-api") -> Callable[[str, str, bytes], dict[str, str]]:
    """Give what signs requests with this process's AWS credentials."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.session import Session

    from voxyray.aws.clients import region

    session: Any = Session()
    credentials = session.get_credentials()
    name = region() or session.get_config_variable("region")

    def sign(method: str, url: str, data: bytes) -> dict[str, str]:
        request = AWSRequest(method=method, url=url, data=data)
        SigV4Auth(credentials.get_frozen_credentials(), service, name).add_auth(request)
        return dict(request.headers)

    return sign
