"""The dashboard as a whole: which page answers a request, and under which rules.

It is host-free, as the reception is: a host gives a `Request` and sends the `Response`. A page is a
function that takes a `Visit`; `rooms` at the end of this module lists them.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
import logging
import mimetypes
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl, quote

import jinja2
import msgspec

from voxyray import __version__
from voxyray.dashboard import masking, wording
from voxyray.dashboard.access import Access, Session
from voxyray.dashboard.digests import Digests
from voxyray.errors import RequestRefused, VoxyrayError
from voxyray.reception import MAX_BODY_BYTES, MAX_FORM_FIELDS, Request, Response
from voxyray.tracebacks import traced

if TYPE_CHECKING:
    from voxyray.service import Service

_log = logging.getLogger(__name__)

ROOT: Final = "/dashboard"
HTML: Final = "text/html; charset=utf-8"
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_FOR_EVERYBODY: Final = ("login", "static")
_STREAMS: Final = 100
_SLICE_S: Final = 0.0005
_SEARCHES: Final = 200

Page: TypeAlias = Callable[["Visit"], Awaitable[Response]]
Fields: TypeAlias = Mapping[str, str]


class Visit:
    """One request of somebody who may see the page.

    name: what of the address follows the room, such as a call's id. up: leads from the page to the
    dashboard's root, wherever it is mounted. query and form: fields, the last of each name.
    """

    def __init__(self, site: Dashboard, request: Request, room: str, name: str) -> None:
        self.site = site
        self.service: Service = site.service
        self.request = request
        self.room = room
        self.name = name
        self.up = "../" if name else ""
        self._brought = site.access.session(request)
        self.session: Session = self._brought or site.access.new_session()
        self.query: Fields = _fields(request.query.encode("latin-1", "replace"))
        self.form: Fields = _fields(request.body) if request.method == "POST" else {}

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Render a whole page."""
        return Response(status, self.render(template, **values).encode(), HTML, self._cookie())

    async def long_page(self, template: str, **values: Any) -> Response:
        """Render a page that takes milliseconds, a little at a time: calls go on meanwhile."""
        pieces, since = [], time.perf_counter()
        for piece in self.site.templates.get_template(template).generate(self._known(values)):
            pieces.append(piece)
            if time.perf_counter() - since > _SLICE_S:
                await asyncio.sleep(0)
                since = time.perf_counter()
        return Response(200, "".join(pieces).encode(), HTML, self._cookie())

    def render(self, template: str, **values: Any) -> str:
        """Render a template, with what all of them know."""
        return self.site.templates.get_template(template).render(self._known(values))

    def _known(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "visit": self,
            "session": self.session,
            "up": self.up,
            "form_token": self.site.access.form_token(self.session),
            "has_token": self.site.access.has_token,
            "release": __version__,
            **values,
        }

    def redirect(self, to: str, session: Session | None = None) -> Response:
        """Send the browser to another page, given from the dashboard's root."""
        self.session = session or self.session
        return Response(303, headers={"Location": f"{self.up}{to}" or "./", **self._cookie()})

    def stream(self, pieces: AsyncGenerator[bytes, None]) -> Response:
        """Send events as they come."""
        kind = "text/event-stream; charset=utf-8"
        headers = {"X-Accel-Buffering": "no"}
        return Response(200, b"", kind, headers, self.site.counted(pieces))

    def number(self, text: str) -> str:
        """Give a caller's number, hidden unless they asked to see it."""
        return masking.number(text, shown=self.session.numbers)

    def words(self, text: str) -> str:
        """Give words, with numbers in them hidden unless they asked to see those."""
        return masking.words(text, shown=self.session.numbers)

    def _cookie(self) -> dict[str, str]:
        if self.session == self._brought:
            return {}
        return {"Set-Cookie": self.site.access.cookie(self.session, self.request)}


class Dashboard:
    """The pages of one service; access: whom they, and the sockets behind them, let in."""

    def __init__(self, service: Service) -> None:
        from voxyray.dashboard import rooms

        self.service = service
        self.access = Access(service.settings)
        self.digests = Digests(service)
        self.closed = False
        self.searches: OrderedDict[str, Fields] = OrderedDict()
        self._open = 0
        self._told = False
        self._rooms: dict[tuple[str, str, bool], Page] = dict(rooms.ROOMS)
        self._files = _static_files()
        self._rooms["GET", "static", True] = self._static
        self.templates = jinja2.Environment(
            loader=jinja2.PackageLoader("voxyray.dashboard"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.filters.update(wording.FILTERS)
        self.templates.globals["static"] = self._static_name

    async def answer(self, request: Request) -> Response:
        """Answer a request; never raises for anything a request may hold."""
        if not self.access.lets_in(request):
            self._tell()
            return Response(404, b"not found\n")
        answer = await self._answer(request)
        return msgspec.structs.replace(answer, headers={**HEADERS, **answer.headers})

    async def _answer(self, request: Request) -> Response:
        if request.path == ROOT:
            return Response(308, headers={"Location": "dashboard/"})
        if not request.path.startswith(f"{ROOT}/"):
            return Response(404, b"not found\n")
        room, slash, name = request.path.removeprefix(f"{ROOT}/").partition("/")
        if slash and not name:
            return Response(308, headers={"Location": f"../{quote(room)}"})
        visit = Visit(self, request, room, name)
        try:
            return await self._visit(visit)
        except RequestRefused as refusal:
            return _problem(visit, refusal.status, str(refusal))
        except VoxyrayError as error:
            _log.error("the dashboard's page %s failed: %s", room, type(error).__name__)
            return _problem(visit, 503, str(error))
        except Exception as error:  # noqa: BLE001 - a broken page is an answer, not a lost socket
            _log.error("the dashboard's page %s failed: %s", room, traced(error))
            return _problem(visit, 500, "Something is wrong with this page; the log says what.")

    async def _visit(self, visit: Visit) -> Response:
        room, request = visit.room, visit.request
        if room not in _FOR_EVERYBODY and not self.access.may_see(request):
            if request.method == "GET" and room not in ("live", "journal"):
                return visit.redirect("login")
            raise RequestRefused("Sign in first.", 401)
        page = self._rooms.get((request.method, room, bool(visit.name)))
        if page is None:
            return _problem(visit, 404, "There is no such page.")
        if request.method == "POST":
            if len(request.body) > MAX_BODY_BYTES:
                raise RequestRefused("This is too long to be sent.", 413)
            self.access.check_form(request, visit.session, visit.form)
        return await page(visit)

    def close(self) -> None:
        """End all streams, so that the host can close."""
        self.closed = True

    async def counted(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Pass a stream on, unless too many are open: pages must not take a call's time."""
        if self._open >= _STREAMS:
            yield b"event: busy\ndata: {}\n\n"
            return
        self._open += 1
        try:
            async for piece in pieces:
                yield piece
        except VoxyrayError as error:
            _log.error("a live page of the dashboard failed: %s", type(error).__name__)
            yield b"event: over\ndata: {}\n\n"
        finally:
            self._open -= 1
            await pieces.aclose()

    def remember(self, key: str, search: Fields) -> None:
        """Keep what was searched for: words and numbers do not belong into addresses."""
        self.searches[key] = search
        while len(self.searches) > _SEARCHES:
            self.searches.popitem(last=False)

    async def _static(self, visit: Visit) -> Response:
        content = self._files.get(visit.name)
        if content is None:
            return Response(404, b"not found\n")
        kind = mimetypes.guess_type(visit.name)[0] or "application/octet-stream"
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"Cache-Control": "no-cache", "ETag": etag}
        if visit.request.headers.get("if-none-match") == etag:
            return Response(304, headers=headers)
        return Response(200, content, f"{kind}; charset=utf-8", headers)

    def _static_name(self, name: str) -> str:
        if name not in self._files:
            raise FileNotFoundError(name)
        return f"static/{quote(name)}"

    def _tell(self) -> None:
        """Say once why the dashboard is not there: whoever runs it may be looking for it."""
        if not self._told:
            self._told = True
            _log.warning(
                "the dashboard was asked for from elsewhere (or through a proxy) and is not there: "
                "without VOXYRAY_DASHBOARD_TOKEN it is for this machine only"
            )


def _problem(visit: Visit, status: int, message: str) -> Response:
    if visit.room in ("live", "static"):
        return Response(status, f"{message}\n".encode())
    return visit.page("problem.html", status, message=message, title="Not like this")


def _static_files() -> dict[str, bytes]:
    folder = importlib.resources.files("voxyray.dashboard") / "static"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _fields(text: bytes) -> Fields:
    try:
        return dict(
            parse_qsl(
                text[:MAX_BODY_BYTES].decode("ascii"),
                keep_blank_values=True,
                max_num_fields=MAX_FORM_FIELDS,
            )
        )
    except ValueError:
        return {}
