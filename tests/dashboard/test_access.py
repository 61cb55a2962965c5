"""Who gets in: this machine alone, or whoever knows the token."""

from __future__ import annotations

import logging

import msgspec
import pytest

from tests.dashboard.looking import TOKEN, Desk
from voxyray.dashboard.access import LASTS_S, Access
from voxyray.errors import RequestRefused, SettingsError
from voxyray.reception import Request
from voxyray.settings import Settings

HERE = {"host": "127.0.0.1:8080"}


def asked(peer: str = "127.0.0.1", **headers: str) -> Request:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", "/dashboard/", "", {**HERE, **given}, b"", peer)


class Clock:
    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


class TestLoopback:
    @pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:9"])
    def test_this_machine_gets_in(self, peer: str, host: str) -> None:
        assert Access(Settings()).lets_in(asked(peer, host=host))

    @pytest.mark.parametrize("peer", ["", "192.168.1.7", "10.0.0.1", "::ffff:8.8.8.8", "nonsense"])
    def test_other_peers_do_not(self, peer: str) -> None:
        assert not Access(Settings()).lets_in(asked(peer))

    @pytest.mark.parametrize(
        "host",
        ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "@"],
    )
    def test_other_names_of_this_machine_do_not(self, host: str) -> None:
        """DNS rebinding: a page of evil.example lets its own name lead here."""
        assert not Access(Settings()).lets_in(asked(host=host))

    @pytest.mark.parametrize(
        "header", ["x-forwarded-for", "forwarded", "x-forwarded-proto", "via", "cf-connecting-ip"]
    )
    def test_what_a_tunnel_brings_does_not(self, header: str) -> None:
        assert not Access(Settings()).lets_in(asked(**{header: "127.0.0.1"}))


class TestSessions:
    def access(self, clock: Clock, token: str = TOKEN) -> Access:
        return Access(Settings(dashboard_token=token), clock)

    def cookie(self, access: Access, given: str = TOKEN) -> str:
        session = access.sign_in(asked(), given)
        return access.cookie(session, asked()).partition(";")[0]

    def test_the_token_opens(self) -> None:
        access = self.access(Clock())
        assert not access.may_see(asked())
        assert access.may_see(asked(cookie=self.cookie(access)))

    def test_a_changed_cookie_is_none(self) -> None:
        access = self.access(Clock())
        session = msgspec.structs.replace(access.new_session(), signed_in=False)
        text = access.cookie(session, asked()).partition(";")[0]
        assert not access.may_see(asked(cookie=text))
        good = self.cookie(access)
        name, _, value = good.partition("=")
        body, _, signature = value.partition(".")
        other = text.partition("=")[2].partition(".")[0]
        for forged in (f"{other}.{signature}", f"{body}.", f"{body}x.{signature}", body, ".", ""):
            assert access.session(asked(cookie=f"{name}={forged}")) is None, forged

    def test_another_token_makes_old_cookies_worthless(self) -> None:
        good = self.cookie(self.access(Clock()))
        assert not self.access(Clock(), "another-token-of-16").may_see(asked(cookie=good))

    def test_it_expires(self) -> None:
        clock = Clock()
        access = self.access(clock)
        good = self.cookie(access)
        clock.now_s += LASTS_S - 1
        assert access.may_see(asked(cookie=good))
        clock.now_s += 2
        assert not access.may_see(asked(cookie=good))

    def test_signing_out_kills_copies(self) -> None:
        access = self.access(Clock())
        good = self.cookie(access)
        session = access.session(asked(cookie=good))
        assert session is not None
        access.sign_out(session)
        assert not access.may_see(asked(cookie=good))

    def test_guessing_is_slow(self) -> None:
        clock = Clock()
        access = self.access(clock)
        for _ in range(10):
            with pytest.raises(RequestRefused, match="not the token"):
                access.sign_in(asked("8.8.8.8"), "guess")
        with pytest.raises(RequestRefused, match="Too many") as refused:
            access.sign_in(asked("8.8.8.8"), TOKEN)
        assert refused.value.status == 429
        access.sign_in(asked("9.9.9.9"), TOKEN)  # others are not kept out
        clock.now_s += 301
        access.sign_in(asked("8.8.8.8"), TOKEN)

    def test_many_addresses_that_guess_are_slow_together(self) -> None:
        access = self.access(Clock())
        for number in range(100):
            with pytest.raises(RequestRefused):
                access.sign_in(asked(f"8.8.0.{number}"), "guess")
        with pytest.raises(RequestRefused, match="Too many"):
            access.sign_in(asked("9.9.9.9"), "guess")

    def test_cookies_are_for_this_site_only(self) -> None:
        access = self.access(Clock())
        cookie = access.cookie(access.new_session(), asked())
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Secure" not in cookie
        assert "Secure" in access.cookie(access.new_session(), asked(x_forwarded_proto="https"))
        public = Access(
            Settings(
                public_url="https://voice.example.com", dashboard_token=TOKEN, twilio_auth_token="t"
            )
        )
        reached = asked(host="voice.example.com")
        assert "Secure" in public.cookie(public.new_session(), reached)

    def test_a_socket_of_another_site_is_refused(self) -> None:
        access = Access(Settings())
        assert access.may_see(asked(upgrade="websocket", origin="http://127.0.0.1:8080"))
        assert not access.may_see(asked(upgrade="websocket", origin="http://localhost.evil"))


class TestForms:
    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://evil.example"},
            {"origin": "http://127.0.0.1:9999"},
            {"origin": "null", "sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site"},
        ],
    )
    def test_those_of_other_sites_are_refused(self, headers: dict[str, str]) -> None:
        access = Access(Settings())
        session = access.new_session()
        form = {"form_token": access.form_token(session)}
        with pytest.raises(RequestRefused):
            access.check_form(asked(**headers), session, form)

    @pytest.mark.parametrize(
        "headers", [{}, {"origin": "http://127.0.0.1:8080", "sec_fetch_site": "same-origin"}]
    )
    def test_ours_are_taken(self, headers: dict[str, str]) -> None:
        access = Access(Settings())
        session = access.new_session()
        access.check_form(asked(**headers), session, {"form_token": access.form_token(session)})

    def test_the_token_of_another_session_is_refused(self) -> None:
        access = Access(Settings())
        other = access.form_token(access.new_session())
        for given in (other, "", "é"):
            with pytest.raises(RequestRefused):
                access.check_form(asked(), access.new_session(), {"form_token": given})


def test_a_short_token_is_refused_and_none_is_printed() -> None:
    with pytest.raises(SettingsError, match="VOXYRAY_DASHBOARD_TOKEN"):
        Settings(dashboard_token="secret")
    assert TOKEN not in repr(Settings(dashboard_token=TOKEN))


class TestOnHosts:
    async def test_without_a_token_a_public_name_finds_nothing(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        await desk.open()
        with caplog.at_level(logging.WARNING):
            for path in ("", "calls", "login", "static/dashboard.css", "live"):
                assert (await desk.get(path, host="voice.example.com")).status == 404
                assert (await desk.get(path, x_forwarded_for="8.8.8.8")).status == 404
        assert caplog.text.count("VOXYRAY_DASHBOARD_TOKEN") == 1
        assert (await desk.get()).status == 200

    async def test_with_a_token_one_signs_in_and_out(self, desk: Desk) -> None:
        await desk.open(token=TOKEN)
        page = await desk.get("calls")
        assert "Sign in" in page.text
        assert not page.all("nav")
        assert (await desk.get("live")).status == 401
        assert (await desk.sign_in("wrong")).status == 403
        page = await desk.sign_in()
        assert page.status == 200
        assert "Calls now" in page.text
        assert (await desk.get("calls")).all("nav")
        page = await desk.send("calls", "logout", {})
        assert "Sign in" in page.text
        assert (await desk.get("calls", follow=False)).status == 303

    async def test_with_a_token_any_name_will_do(self, desk: Desk) -> None:
        await desk.open(token=TOKEN)
        assert (await desk.get("login", host="voice.example.com")).status == 200

    async def test_a_form_from_elsewhere_does_nothing(self, desk: Desk) -> None:
        await desk.open()
        token = (await desk.get("calls")).form_token
        for form, origin in (({}, ""), ({"form_token": token}, "http://evil.example")):
            page = await desk.post("privacy", {**form, "numbers": "show"}, origin=origin)
            assert page.status == 403
        assert "Hide numbers" not in (await desk.get("calls")).text

    async def test_redirects_stay_here(self, desk: Desk) -> None:
        await desk.open()
        token = (await desk.get("calls")).form_token
        for back in ("https://evil.example", "//evil.example", "/\\evil.example", "\r\nX: y"):
            form = {"form_token": token, "numbers": "show", "back": back}
            page = await desk.post("privacy", form, follow=False)
            assert page.status == 303
            assert not page.headers["Location"].startswith(("/", "http"))
            assert "X" not in page.headers
