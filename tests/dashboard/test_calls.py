"""The list of calls: filters, search, paging, and how far they look."""

from __future__ import annotations

import pytest

from tests.dashboard.looking import Desk, Talk
from voxyray.dashboard import calls
from voxyray.models import ToolCall
from voxyray.stores import keys


async def three(desk: Desk) -> Desk:
    await desk.open()
    tool = ToolCall("c1", "look_up", "{}")
    good = Talk().says("A pizza with mushrooms.", "Of course.").ends()
    slow = Talk("night").says("Hello?", "Sorry.", gap_ms=2000).ends()
    bad = Talk().says("Hi.", "Oh.", tool=tool, status="failed", result="x").ends()
    await desk.keep("CAgood", good, number="+15550100001", ago_s=100)
    await desk.keep("CAslow", slow, number="+15550100002", agent="night", ago_s=200)
    await desk.keep("CAbad", bad, number="+15550100003", ago_s=90_000)
    return desk


def shown(page: object) -> list[str]:
    html = str(getattr(page, "html", ""))
    return [each for each in ("CAgood", "CAslow", "CAbad") if f"calls/{each}" in html]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["CAgood", "CAslow", "CAbad"]),
        ("?agent=night", ["CAslow"]),
        ("?errors=1", ["CAbad"]),
        ("?slow=1", ["CAslow"]),
        ("?slow=1&errors=1", []),
        ("?day=2020-01-01", []),
    ],
)
async def test_filters(desk: Desk, query: str, found: list[str]) -> None:
    assert shown(await (await three(desk)).get(f"calls{query}")) == found


async def test_a_day_of_calls(desk: Desk) -> None:
    await three(desk)
    items = await desk.store.query(keys.call("CAbad"), keys.HEAD)
    assert items
    for back in (0, 1, 2):
        import time

        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - back * 86_400))
        page = await desk.get(f"calls?day={day}")
        listed = {item["call"] for item in await desk.store.query(f"CALLS#{day}")}
        assert set(shown(page)) == listed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0100 002", ["CAslow"]),
        ("+15550100003", ["CAbad"]),
        ("MUSHROOMS", ["CAgood"]),
        ("with   mushrooms", ["CAgood"]),
        ("night", ["CAslow"]),
        ("cabad", ["CAbad"]),
        ("no such thing", []),
        ("<b>", []),
    ],
)
async def test_search(desk: Desk, text: str, found: list[str]) -> None:
    await three(desk)
    page = await desk.send("calls", "calls", {"text": text})
    assert shown(page) == found
    assert "Searched 3 calls" in page.text
    assert page.all("input", id="text")[0]["value"] == " ".join(text.split()).lower()


async def test_what_was_searched_for_is_in_no_address(desk: Desk) -> None:
    await three(desk)
    token = (await desk.get("calls")).form_token
    page = await desk.post(
        "calls", {"form_token": token, "text": "mushrooms", "agent": "shop"}, follow=False
    )
    location = page.headers["Location"]
    assert "mushrooms" not in location
    assert shown(await desk.get(location)) == ["CAgood"]  # also when they come back to it
    desk.session.cookie_jar.clear()
    page = await desk.get(location)  # the address alone tells nobody else
    assert "no longer known" in page.text
    assert "mushrooms" not in page.html


async def test_pages_follow_one_another_without_a_gap(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ROWS", 2)
    await desk.open()
    for number in range(7):
        ago_s = number * 20_000  # over several days
        await desk.keep(f"CA{number}", Talk().says("Hi.", "Hello.").ends(), ago_s=ago_s)
    seen: list[str] = []
    path = "calls"
    while path:
        page = await desk.get(path)
        seen += [
            a["href"].rpartition("/")[2] for a in page.all("a") if a["href"].startswith("calls/CA")
        ]
        path = next((a["href"] for a in page.all("a", rel="next")), "")
    assert seen == [f"CA{number}" for number in range(7)]


async def test_a_search_looks_a_bounded_way_back_and_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MOST_SEARCHED", 2)
    await three(desk)
    page = await desk.send("calls", "calls", {"text": "cabad"})
    assert shown(page) == []
    assert "Searched 2 calls, back to" in page.text
    further = next(a["href"] for a in page.all("a", rel="next"))
    page = await desk.get(further)
    assert shown(page) == ["CAbad"]
    assert "that is all there are" in page.text


async def test_calls_that_go_on_are_shown_on_top(desk: Desk) -> None:
    await desk.open()
    runner = desk.start("CAlive")
    await desk.service.recorder.flush()
    page = await desk.get("calls")
    assert "Calls now 1" in page.text
    assert "talking" in page.text
    page = await desk.get()
    assert page.all("a", href="calls/CAlive")
    await desk.service.end(runner)
