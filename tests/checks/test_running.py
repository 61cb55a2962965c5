"""All checks together: at once, in order, bounded, and discreet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.checks.support import setup
from voxyray.checks import Finding, Setup, ok, running
from voxyray.checks.running import examine

Check = Callable[[Setup], Awaitable[list[Finding]]]


async def findings(
    monkeypatch: pytest.MonkeyPatch, checks: dict[str, Check], within_s: float = 5
) -> list[Finding]:
    monkeypatch.setattr(running, "CHECKS", checks)
    examined = setup(twilio_auth_token="0123456789abcdef")
    examined.clocks["Twilio"] = 60
    return [finding async for finding in examine(examined, within_s)]


async def test_checks_run_at_once_and_are_told_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    second_ran = asyncio.Event()

    async def first(_: Setup) -> list[Finding]:
        await second_ran.wait()
        return [ok("first", "done")]

    async def second(_: Setup) -> list[Finding]:
        second_ran.set()
        return [ok("second", "done"), ok("second", "twice")]

    found = await findings(monkeypatch, {"first": first, "second": second})
    assert [each.check for each in found] == ["first", "second", "second", "clock"]


async def test_a_check_that_hangs_or_breaks_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hangs(_: Setup) -> list[Finding]:
        await asyncio.Event().wait()
        raise AssertionError

    async def breaks(_: Setup) -> list[Finding]:
        raise KeyError("secret")

    async def well(_: Setup) -> list[Finding]:
        return [ok("well", "done")]

    checks: dict[str, Check] = {"hangs": hangs, "breaks": breaks, "well": well}
    found = await findings(monkeypatch, checks, within_s=0.02)
    assert [each.level for each in found] == ["broken", "broken", "ok", "warning"]
    assert "within 0.02 s" in found[0].said
    assert "KeyError" in found[1].said
    assert "secret" not in found[1].said


async def test_secrets_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def quotes(examined: Setup) -> list[Finding]:
        token = examined.settings.twilio_auth_token
        return [ok("quotes", f"it said\n {token}", f"not {token}")]

    found = await findings(monkeypatch, {"quotes": quotes})
    assert (found[0].said, found[0].fix) == ("it said …", "not …")


async def test_whoever_stops_listening_stops_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = asyncio.Event()

    async def quick(_: Setup) -> list[Finding]:
        return [ok("quick", "done")]

    async def hangs(_: Setup) -> list[Finding]:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    monkeypatch.setattr(running, "CHECKS", {"quick": quick, "hangs": hangs})
    told = examine(setup())
    assert (await anext(told)).check == "quick"
    await told.aclose()
    assert stopped.is_set()
