"""Who may see the dashboard: this machine alone, or whoever knows the token.

Without a token three things must hold, since each alone can be faked: the peer is this machine, the
Host is one of its names (a page of another site may lead its own name here: DNS rebinding), and no
proxy or tunnel stands between. With one, a cookie proves that it was given.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

import msgspec

from voxyray.errors import RequestRefused
from voxyray.loopback import host_of, is_from_here
from voxyray.reception import Request
from voxyray.settings import Settings

LASTS_S: Final = 12 * 3600
_TRIES: Final = 10  # wrong tokens from one address
_TRIES_OF_ALL: Final = 100
_WITHIN_S: Final = 300.0
_ADDRESSES: Final = 1000
_SIGNED_OUT: Final = 10_000


class Session(msgspec.Struct, frozen=True):
    """What a browser's cookie holds.

    issued_s: epoch seconds. numbers, words: whether personal data is shown to them.
    """

    id: str
    issued_s: int
    signed_in: bool = False
    numbers: bool = False
    words: bool = False


class Access:
    """Checks requests, and signs what browsers bring back; now gives epoch seconds."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        # The same in every worker of a server, and another one once the token changes.
        secret = settings.dashboard_token or settings.twilio_auth_token or secrets.token_hex(32)
        self._key = hmac.digest(secret.encode(), b"voxyray dashboard", "sha256")
        # Cookies do not tell ports apart: two servers on one machine would sign each other out.
        self._cookie = f"voxyray_{urlsplit(settings.base_url).port or 0}"
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._signed_out: OrderedDict[str, None] = OrderedDict()

    @property
    def has_token(self) -> bool:
        """Whether a token opens the dashboard, to anybody who can reach it."""
        return bool(self._settings.dashboard_token)

    def lets_in(self, request: Request) -> bool:
        """Whether the dashboard is there at all for whoever asks."""
        return self.has_token or is_from_here(request.peer, request.headers)

    def may_see(self, request: Request) -> bool:
        """Whether they may see what is behind the login; for a WebSocket's handshake, too."""
        if not self.lets_in(request):
            return False
        if "upgrade" in request.headers and not self._is_ours(request):
            return False
        if not self.has_token:
            return True
        session = self.session(request)
        return session is not None and session.signed_in

    # Sessions

    def new_session(self, *, signed_in: bool = False) -> Session:
        """Give a session of its own to somebody who brings none."""
        return Session(secrets.token_urlsafe(16), int(self._now()), signed_in)

    def session(self, request: Request) -> Session | None:
        """Read the session of a request; None if it brings none that is ours and alive."""
        try:
            cookies = SimpleCookie(request.headers.get("cookie", ""))
        except CookieError:
            return None
        if self._cookie not in cookies:
            return None
        text, _, signature = cookies[self._cookie].value.partition(".")
        given = signature.encode("ascii", "replace")
        if not hmac.compare_digest(self._sign("cookie", text), given):
            return None
        try:
            session = msgspec.json.decode(base64.urlsafe_b64decode(text), type=Session)
        except (ValueError, msgspec.MsgspecError):
            return None
        old = session.issued_s + LASTS_S < self._now()
        return None if old or session.id in self._signed_out else session

    def cookie(self, session: Session, request: Request) -> str:
        """Give the Set-Cookie of a session."""
        text = base64.urlsafe_b64encode(msgspec.json.encode(session)).decode()
        left_s = max(0, session.issued_s + LASTS_S - int(self._now()))
        secure = "; Secure" if self._is_https(request) else ""
        value = f"{self._cookie}={text}.{self._sign('cookie', text).decode()}"
        return f"{value}; Path=/; Max-Age={left_s}; HttpOnly; SameSite=Strict{secure}"

    def _sign(self, what: str, text: str) -> bytes:
        digest = hmac.digest(self._key, f"{what} {text}".encode("utf-8", "replace"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=")

    def _is_https(self, request: Request) -> bool:
        public = urlsplit(self._settings.base_url)
        reached = host_of(request.headers.get("host", "")) == public.hostname
        forwarded = request.headers.get("x-forwarded-proto", "").lower() == "https"
        return forwarded or (reached and public.scheme == "https")

    # Signing in

    def sign_in(self, request: Request, given: str) -> Session:
        """Give a signed-in session for the right token.

        Raises:
            RequestRefused: it is the wrong one, or there were too many of those.
        """
        if self._is_guessing(request.peer):
            raise RequestRefused("Too many wrong tokens. Wait five minutes and try again.", 429)
        given_digest = hashlib.sha256(given.strip().encode("utf-8", "replace")).digest()
        token = self._settings.dashboard_token
        if not token or not hmac.compare_digest(
            given_digest, hashlib.sha256(token.encode()).digest()
        ):
            self._note_failure(request.peer)
            raise RequestRefused("This is not the token.", 403)
        # A new id: whoever planted the old one learns nothing.
        return self.new_session(signed_in=True)

    def sign_out(self, session: Session) -> None:
        """Make a session's cookie worthless, wherever it was copied to."""
        self._signed_out[session.id] = None
        while len(self._signed_out) > _SIGNED_OUT:
            self._signed_out.popitem(last=False)

    def _is_guessing(self, peer: str) -> bool:
        since = self._now() - _WITHIN_S
        recent = {
            address: sum(at > since for at in times) for address, times in self._failures.items()
        }
        return recent.get(peer, 0) >= _TRIES or sum(recent.values()) >= _TRIES_OF_ALL

    def _note_failure(self, peer: str) -> None:
        self._failures.setdefault(peer, deque(maxlen=_TRIES)).append(self._now())
        self._failures.move_to_end(peer)
        while len(self._failures) > _ADDRESSES:
            self._failures.popitem(last=False)

    # Forms

    def form_token(self, session: Session) -> str:
        """Give what every form of a session's pages brings back."""
        return self._sign("form", session.id).decode()

    def check_form(self, request: Request, session: Session, form: Mapping[str, str]) -> None:
        """Refuse a form that another site sent.

        Raises:
            RequestRefused: it does not come from a page of ours.
        """
        given = form.get("form_token", "").encode("ascii", "replace")
        if not self._is_ours(request) or not hmac.compare_digest(
            self._sign("form", session.id), given
        ):
            raise RequestRefused(
                "This form is too old, or not from this page. Go back, reload the page, try again."
            )

    def _is_ours(self, request: Request) -> bool:
        """Whether a page of ours asks, as far as the browser tells."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        origin = request.headers.get("origin", "null")
        # `null` is what our referrer policy makes of it; then the other signs must do.
        same = origin == "null" or urlsplit(origin).netloc == request.headers.get("host")
        return same and site in ("same-origin", "none")
