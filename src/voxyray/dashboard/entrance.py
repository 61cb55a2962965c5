"""The door: signing in and out, and what of people's data a session shows."""

from __future__ import annotations

from typing import Final

import msgspec

from voxyray.dashboard.site import Visit
from voxyray.errors import RequestRefused
from voxyray.reception import Response

_SETTINGS: Final = ("numbers", "words")


async def login(visit: Visit) -> Response:
    """Show the form for the token, or go in where none is needed."""
    if visit.site.access.may_see(visit.request):
        return visit.redirect("")
    return visit.page("login.html", problem="")


async def sign_in(visit: Visit) -> Response:
    """Check the token."""
    try:
        session = visit.site.access.sign_in(visit.request, visit.form.get("token", ""))
    except RequestRefused as refusal:
        return visit.page("login.html", refusal.status, problem=str(refusal))
    return visit.redirect("", session)


async def sign_out(visit: Visit) -> Response:
    """Forget the session."""
    access = visit.site.access
    access.sign_out(visit.session)
    return visit.redirect("login", access.new_session())


async def privacy(visit: Visit) -> Response:
    """Show or hide numbers or words from now on, and go back to the page."""
    changes = {name: visit.form[name] == "show" for name in _SETTINGS if name in visit.form}
    back = visit.form.get("back", "")
    if ":" in back.partition("/")[0] or "//" in back or "\\" in back or not back.isascii():
        back = ""  # an address of another site
    back = "".join(each for each in back if each.isprintable()).lstrip("/.")
    return visit.redirect(back, msgspec.structs.replace(visit.session, **changes))
