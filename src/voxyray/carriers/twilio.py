"""Signatures of Twilio: is a request, or a handshake, really from our account.

HMAC-SHA1 over the URL as it is configured at Twilio, then every form parameter's name and value;
see twilio.com/docs/usage/webhooks/webhooks-security. The URL must come from our configuration:
one rebuilt from `Host` or proxy headers fails in production only, or lets a forger choose it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final, TypeAlias
from urllib.parse import parse_qs

Params: TypeAlias = Sequence[tuple[str, str]]

SIGNATURE_HEADER: Final = "X-Twilio-Signature"

_HTTP_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[^/?#]*?)(?P<port>:\d+)?(?P<rest>[/?#].*)?", re.DOTALL
)
_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}


def sign(token: str, url: str, params: Params = ()) -> str:
    """Give the signature Twilio sends for a URL and form parameters.

    Parameters count sorted by name; of a name that is repeated, its distinct values, sorted;
    empty values too, so parse forms with `keep_blank_values`.

    Raises:
        UnicodeEncodeError: lone surrogates, which no request can carry.
    """
    text = url + "".join(name + value for name, value in sorted(set(params)))
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")


def verify_http(
    tokens: Sequence[str],
    url: str,
    params: Params,
    signature: str | None,
    body: bytes | None = None,
) -> bool:
    """Whether a webhook was signed with one of the account's tokens; never raises.

    tokens: the primary and, while rotating, the secondary; empty ones count for nothing. url: as
    configured at Twilio, with the query as it came. params: of the form; none for GET. body: of
    a request that is no form (JSON); Twilio then puts its SHA-256 as `bodySHA256` into the URL,
    and it must be there and right.
    """
    try:
        if body is not None:
            params = ()
            if not _body_matches(url, body):
                return False
        return any(_matches(tokens, form, params, signature) for form in _with_ports(url))
    except (ValueError, TypeError, AttributeError):  # UnicodeError is a ValueError
        return False


def verify_handshake(tokens: Sequence[str], url: str, signature: str | None) -> bool:
    """Whether a WebSocket handshake was signed with one of the tokens; never raises.

    url: the `wss://` address exactly as in the TwiML; the `https://` form does not match, nor
    does one with the default port added (seen on live calls; twilio-aspnet #162).
    """
    try:
        return _matches(tokens, url, (), signature)
    except (ValueError, TypeError, AttributeError):
        return False


def _matches(tokens: Sequence[str], url: str, params: Params, signature: str | None) -> bool:
    given = (signature or "").encode("ascii")
    tokens = [tokens] if isinstance(tokens, str) else tokens
    # Every token is tried, so that the time taken tells nothing about which one fitted.
    results = [
        hmac.compare_digest(sign(token, url, params).encode("ascii"), given)
        for token in tokens
        if token  # with an empty one anybody could sign
    ]
    return any(results)


def _with_ports(url: str) -> list[str]:
    """Give the forms of a URL Twilio may have signed: as it is, without port, with port.

    Its validator tries the same two, since "sig generation on back end is inconsistent".
    """
    match = _HTTP_URL.fullmatch(url)
    if match is None:
        return [url]
    start, rest = f"{match['scheme']}://{match['host']}", match["rest"] or ""
    port = match["port"] or _DEFAULT_PORTS[match["scheme"]]
    return list(dict.fromkeys([url, start + rest, start + port + rest]))


def _body_matches(url: str, body: bytes) -> bool:
    query = url.partition("#")[0].partition("?")[2]
    claimed = parse_qs(query).get("bodySHA256", [])
    actual = hashlib.sha256(body).hexdigest()
    return len(claimed) == 1 and hmac.compare_digest(claimed[0].encode(), actual.encode())
