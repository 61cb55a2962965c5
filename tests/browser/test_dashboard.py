"""The dashboard in a real browser: live, by keyboard, in the dark, on a telephone."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenPage
from tests.dashboard.looking import TOKEN, Desk, Talk
from voxyray import frames
from voxyray.models import ToolCall

ROOMS = ("", "calls", "calls/CA1", "journal/CA1", "agents", "agents/shop", "outbox")
TELEPHONE = {"viewport": {"width": 360, "height": 740}}
HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script>"


async def with_calls(desk: Desk) -> Desk:
    await desk.open()
    tool = ToolCall("c1", "look_up", '{"dish":"' + "very long " * 30 + '"}')
    talk = Talk().says("Two pizzas.", "Two pizzas it is. Anything else?", heard="Two pizzas")
    talk.says(HOSTILE, "Ready at eight. " + "x" * 300, tool=tool, result="{}")
    await desk.keep("CA1", talk.ends())
    return desk


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_well_in_both_schemes(
    desk: Desk, open_page: OpenPage, scheme: str
) -> None:
    """No complaint in the console, no breach of the content policy: `open_page` sees to it."""
    await with_calls(desk)
    page = await open_page(desk.root, color_scheme=scheme)
    grounds = set()
    for room in ROOMS:
        await page.goto(f"{desk.root}{room}")
        grounds.add(
            await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        )
    assert len(grounds) == 1
    red, green, blue = (int(n) for n in grounds.pop().strip("rgb()").split(","))
    assert (red + green + blue < 150) == (scheme == "dark")


async def test_a_telephone_is_wide_enough(desk: Desk, open_page: OpenPage) -> None:
    await with_calls(desk)
    page = await open_page(desk.root, **TELEPHONE)
    for room in ROOMS:
        await page.goto(f"{desk.root}{room}")
        too_wide = "document.documentElement.scrollWidth - innerWidth"
        assert await page.evaluate(too_wide) <= 0, room


async def test_words_can_be_told_from_their_ground(desk: Desk, open_page: OpenPage) -> None:
    """Contrast of at least 4.5 to 1 (WCAG AA) for every word, in both schemes."""
    await with_calls(desk)
    for scheme in ("light", "dark"):
        page = await open_page(desk.root, color_scheme=scheme)
        for room in ROOMS:
            await page.goto(f"{desk.root}{room}")
            assert await page.evaluate(CONTRAST) == [], (scheme, room)


async def test_by_keyboard_alone(desk: Desk, open_page: OpenPage) -> None:
    await with_calls(desk)
    page = await open_page(f"{desk.root}calls")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.href?.endsWith('CA1')"):
            break
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert await page.evaluate(outline) == "solid"
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/calls/CA1")
    tool = page.locator("details summary", has_text="look_up")
    await tool.focus()
    await page.keyboard.press("Enter")
    assert await page.get_by_text('"dish"').is_visible()


async def test_a_call_appears_and_grows_without_a_reload(desk: Desk, open_page: OpenPage) -> None:
    await desk.open()
    page = await open_page(desk.root)
    await page.get_by_text("Nobody is on the phone").wait_for()
    runner = desk.start("CAlive")
    await page.get_by_role("link", name="CAlive").click()
    await page.wait_for_url("**/calls/CAlive")
    runner.receive(frames.Prompt(f"Two pizzas. {HOSTILE}"))
    turn = page.locator("#turn-1")
    await turn.get_by_text("Two pizzas.").wait_for()
    assert await page.locator("#turn-1 img").count() == 0
    await turn.locator(".agent .says").wait_for()
    said = page.locator("#announce")
    assert "Two pizzas" in (await said.text_content() or "")
    marks = turn.locator("summary", has_text="mark")
    await marks.click()
    runner.receive(frames.Interrupt("", 10))
    await turn.locator(".cut", has_text="the caller cut in").wait_for()
    assert await turn.locator("details.marks").get_attribute("open") is not None  # stays open
    assert "the caller cut in" in (await said.text_content() or "")
    await desk.service.end(runner)


async def test_without_javascript_everything_can_be_read(desk: Desk, open_page: OpenPage) -> None:
    await with_calls(desk)
    page = await open_page(f"{desk.root}calls/CA1", java_script_enabled=False)
    assert await page.locator("del", has_text="it is").is_visible()
    assert await page.locator(".waterfall").count() == 3
    await page.get_by_role("link", name="Calls").first.click()
    await page.get_by_label("Number, agent or words").fill("pizzas")
    await page.get_by_role("button", name="Search").click()
    assert "Searched 1 call" in await page.locator("main").inner_text()
    await page.get_by_role("button", name="Show numbers").click()
    assert "+15550100001" in await page.locator("main").inner_text()


async def test_back_from_a_call_leads_to_what_was_found(desk: Desk, open_page: OpenPage) -> None:
    await with_calls(desk)
    page = await open_page(f"{desk.root}calls")
    await page.get_by_label("Number, agent or words").fill("pizzas")
    await page.keyboard.press("Enter")
    await page.get_by_text("Searched 1 call").wait_for()
    assert "pizzas" not in page.url
    await page.locator("table a").first.click()
    await page.wait_for_url("**/calls/CA1")
    await page.go_back()
    await page.get_by_text("Searched 1 call").wait_for()


async def test_an_agent_is_edited(desk: Desk, open_page: OpenPage) -> None:
    await desk.open()
    page = await open_page(f"{desk.root}agents/shop")
    await page.get_by_label("Greeting").fill("Hello {{ caller.first_name }}, it's {{ now.year }}!")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("Saved as version 1").wait_for()
    await page.get_by_role("button", name="Restore").click()
    await page.get_by_text("Saved as version 2").wait_for()
    assert await page.get_by_label("Greeting").input_value() == "Hello!"


async def test_the_token_opens(desk: Desk, open_page: OpenPage) -> None:
    await desk.open(token=TOKEN)
    page = await open_page(f"{desk.root}calls")
    await page.get_by_label("Token").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.get_by_text("Calls now").wait_for()
    assert "voxyray" not in await page.evaluate("document.cookie")  # no script can read it
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_label("Token").wait_for()


CONTRAST = """() => {
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const colour = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const found = colour(getComputedStyle(e).backgroundColor);
      if (found[3] === 255) return found;
    }
  };
  const bad = [];
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const element = words.currentNode.parentElement;
    if (!words.currentNode.data.trim() || !element.checkVisibility()) continue;
    let [a, b] = [light(colour(getComputedStyle(element).color)), light(ground(element))];
    if (a < b) [a, b] = [b, a];
    const ratio = (a + 0.05) / (b + 0.05) ;
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${words.currentNode.data.trim().slice(0, 40)}`);
  }
  return bad;
}"""
