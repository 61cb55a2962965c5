"""The webhooks on Lambda: an HTTP API's event in (payload format 2.0), an answer out."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from voxyray.aws.environment import open_service
from voxyray.aws.starting import open_at_start
from voxyray.reception import Request, Response
from voxyray.service import Service
from voxyray.tracebacks import traced

_log = logging.getLogger(__name__)

_RESERVE_S: Final = 2.0
# A carrier waits 15 s for the answer to a text's webhook.
_TEXT_WITHIN_S: Final = 12.0


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer a webhook; this is what Lambda calls."""
    loop, web = _opened()
    remaining_s = context.get_remaining_time_in_millis() / 1000
    return loop.run_until_complete(web.invoke(event, remaining_s))


@functools.cache
def _opened() -> tuple[asyncio.AbstractEventLoop, Web]:
    # One loop for the life of the process: connections and locks belong to it.
    return asyncio.new_event_loop(), Web(open_service())


class Web:
    """Answers webhooks with a service that outlives them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        service.metrics.keep()
        self._prefix = urlsplit(service.settings.base_url).path

    async def invoke(self, event: Any, remaining_s: float = 28.0) -> dict[str, Any]:
        """Answer an event; never raises. remaining_s: until this invocation is killed."""
        try:
            answer = await self._service.reception.answer(self._request(event))
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("an event that is no request: %s", type(error).__name__)
            answer = Response(400, b"no request\n")
        except Exception as error:  # noqa: BLE001 - the gateway's own answer would tell less
            _log.error("a webhook failed: %s", traced(error))
            answer = Response(500, b"something went wrong here\n")
        # Nothing goes on once this has returned.
        within_s = min(_TEXT_WITHIN_S, max(0.0, remaining_s - _RESERVE_S))
        if not await self._service.texting.settle(within_s):
            _log.error("a text was not answered in time")
        await self._service.recorder.flush()
        self._service.metrics.print_emf()
        return {
            "statusCode": answer.status,
            "headers": {"content-type": answer.content_type},
            "body": answer.body.decode(),
        }

    def _request(self, event: Mapping[str, Any]) -> Request:
        path = str(event["rawPath"])
        body = str(event.get("body") or "")
        return Request(
            str(event["requestContext"]["http"]["method"]),
            path.removeprefix(self._prefix) if path.startswith(f"{self._prefix}/") else path,
            str(event.get("rawQueryString") or ""),
            {str(name).lower(): str(text) for name, text in (event.get("headers") or {}).items()},
            _decoded(body) if event.get("isBase64Encoded") else body.encode(),
        )


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError("the body is no base64") from error


open_at_start(_opened)
