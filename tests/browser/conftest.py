"""Real Chromium, in the test's own loop; tests are skipped, and say so, where there is none.

On Debian: apt-get install --no-install-recommends chromium; pip install playwright.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from tests.dashboard.looking import Desk

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

OpenPage: TypeAlias = Callable[..., Awaitable[Any]]

_SWITCHES: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
_WITHIN_MS: Final = 10_000


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A browser of its own for each test."""
    playwright = pytest.importorskip(
        "playwright.async_api", reason="playwright is not installed: pip install playwright"
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=path, args=list(_SWITCHES))
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(chromium: Browser) -> AsyncIterator[OpenPage]:
    """Opens pages in contexts of their own; none may complain, nor break the content policy."""
    complaints: list[str] = []
    async with AsyncExitStack() as stack:

        async def opened(url: str, **context: Any) -> Page:
            made = await chromium.new_context(**context)
            stack.push_async_callback(made.close)
            page = await made.new_page()
            page.set_default_timeout(_WITHIN_MS)
            page.on(
                "console",
                lambda said: complaints.append(said.text) if said.type == "error" else None,
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(url)
            return page

        yield opened
    assert complaints == []


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A served dashboard; open it first."""
    made = Desk("aiohttp")
    yield made
    await made.close()
