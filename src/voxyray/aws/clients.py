"""Clients of AWS services: made once, tuned for a caller who is waiting, asked off the event loop.

They are botocore's own, which are what boto3 hands out; boto3 itself would only cost import time.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from voxyray import __version__
from voxyray.errors import SettingsError

# Requests in flight at once, and the connections kept for them.
_AT_ONCE: Final = 32
_FIXES: Final = {
    "NoCredentialsError": "no AWS credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY, or run `aws sso login`",
    "PartialCredentialsError": "the AWS credentials are incomplete; set both AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY",
    "UnrecognizedClientException": "AWS knows no such credentials; check AWS_ACCESS_KEY_ID "
    "and AWS_REGION",
    "InvalidClientTokenId": "AWS knows no such credentials; check AWS_ACCESS_KEY_ID",
    "InvalidSignatureException": "the signature is wrong; check AWS_SECRET_ACCESS_KEY "
    "and this machine's clock",
    "ExpiredTokenException": "the AWS session has expired; run `aws sso login`, "
    "or get new credentials",
    "ExpiredToken": "the AWS session has expired; run `aws sso login`, or get new credentials",
    "EndpointConnectionError": "the endpoint cannot be reached; check the network, AWS_REGION "
    "and AWS_ENDPOINT_URL",
    "ConnectTimeoutError": "the endpoint did not answer in time; check the network, AWS_REGION "
    "and AWS_ENDPOINT_URL",
    "ReadTimeoutError": "no answer came in time; try again",
    "ConnectionClosedError": "the connection broke before the answer; try again",
    "SSLError": "no secure connection could be made; check proxies, certificates "
    "and AWS_ENDPOINT_URL",
}

_pool: Final = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="aws")
_clients: Final[dict[tuple[Any, ...], Any]] = {}
_sessions: Final[list[Any]] = []
_making: Final = threading.Lock()


def client(
    service: str,
    *,
    connect_timeout_s: float = 1.0,
    read_timeout_s: float = 2.0,
    attempts: int = 3,
    validate: bool = True,
) -> Any:
    """Give the process's client of a service, made when first asked for (that takes ~100 ms).

    A local cloud comes by botocore's AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_<SERVICE>.

    attempts: how often a request is sent at most; 1 where a repetition might do harm.
    validate: whether arguments are checked here; off where they are known to be right, for speed.

    Raises:
        SettingsError: boto3 is not installed, or no region is set.
    """
    key = (service, connect_timeout_s, read_timeout_s, attempts, validate)
    with _making:
        if key not in _clients:
            _clients[key] = _make(*key)
        return _clients[key]


async def ask(method: Callable[..., Any], **arguments: Any) -> Any:
    """Call a client's method in a thread of our own and wait for its answer.

    A caller who is cancelled no longer waits; the request itself goes on.
    """
    return await asyncio.get_running_loop().run_in_executor(_pool, partial(method, **arguments))


def forget() -> None:
    """Close every client; the next ones see the environment as it is then (for tests)."""
    with _making:
        for made in _clients.values():
            made.close()
        _clients.clear()
        _sessions.clear()


def answer_of(error: BaseException) -> dict[str, Any]:
    """Give the service's refusal as botocore read it; empty if no service answered."""
    # botocore's errors of the network have the field, too, and None in it.
    return getattr(error, "response", None) or {}


def code_of(error: BaseException) -> str:
    """Name what botocore raised: the service's error code, or the class of its own error."""
    return str(answer_of(error).get("Error", {}).get("Code") or type(error).__name__)


def explain(error: BaseException) -> str:
    """Say what to do about what botocore raised.

    Only refusals of permission are quoted: other messages may repeat what was to be stored.
    """
    code = code_of(error)
    if code.startswith("AccessDenied"):
        return f"access was denied: {_message(error)}; allow this action in the role's policy"
    if fix := _FIXES.get(code):
        return f"{fix} ({code})"
    return f"the service answered {code}{_request(error)}"


def region() -> str | None:
    """Give the region that the environment names, or None: a profile may still name one."""
    # botocore reads only the second; Lambda, other SDKs and people set the first.
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def _make(
    service: str, connect_timeout_s: float, read_timeout_s: float, attempts: int, validate: bool
) -> Any:
    try:
        from botocore.config import Config
        from botocore.exceptions import NoRegionError
        from botocore.session import Session
    except ImportError as error:
        raise SettingsError(
            f"boto3, which {service} needs, is not installed; run: pip install 'voxyray[aws]'"
        ) from error
    config = Config(
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        max_pool_connections=_AT_ONCE,
        tcp_keepalive=True,
        parameter_validation=validate,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        user_agent=f"voxyray/{__version__}",  # botocore's own is put together for each request
    )
    if not _sessions:
        _sessions.append(Session())
    try:
        return _sessions[0].create_client(service, region_name=region(), config=config)
    except NoRegionError as error:
        raise SettingsError(
            f"no AWS region is set, which {service} needs; set AWS_REGION, such as eu-central-1"
        ) from error


def _message(error: BaseException) -> str:
    return str(answer_of(error).get("Error", {}).get("Message", "")).rstrip(".")


def _request(error: BaseException) -> str:
    about = answer_of(error).get("ResponseMetadata", {})
    status, request = about.get("HTTPStatusCode"), about.get("RequestId")
    return f" (HTTP {status}, request {request})" if status else ""
