"""Every page, on every host, as it is read without JavaScript."""

from __future__ import annotations

import logging
from urllib.parse import urljoin

import pytest

from tests.dashboard.looking import NUMBER, Desk, Talk
from voxyray.dashboard import site
from voxyray.errors import StoreError
from voxyray.models import ToolCall

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}</textarea><!--"


async def some_calls(desk: Desk) -> None:
    tool = ToolCall("c1", "look_up", '{"dish":"pizza"}')
    talk = Talk().says("Two pizzas.", "Two pizzas it is. Anything else?", heard="Two pizzas")
    talk.says("No.", "Ready at eight.", tool=tool, result='{"at":"20:00"}')
    await desk.keep("CA1", talk.ends())
    await desk.keep("v2:a/b=+~", Talk().says("Hi.", "Hello.").ends("dropped"), ago_s=700)


async def test_every_link_of_every_page_leads_somewhere(desk: Desk) -> None:
    await some_calls(await desk.open())
    seen, waiting = set[str](), [desk.root]
    while waiting:
        url = waiting.pop()
        if url in seen:
            continue
        seen.add(url)
        page = await desk.get(url.removeprefix(desk.root))
        assert page.status == 200, url
        links = [a["href"] for a in page.all("a")] + [a["href"] for a in page.all("link")]
        links += [a["src"] for a in page.all("script")]
        for link in links:
            found = urljoin(url, link).partition("#")[0]
            assert found.startswith(desk.root), (url, link)
            if not found.endswith("/phone"):  # a room of its own
                waiting.append(found)
    for room in ("calls", "calls/CA1", "journal/CA1", "agents", "agents/shop", "outbox"):
        assert f"{desk.root}{room}" in seen
    assert any("v2%3Aa%2Fb" in url for url in seen)


async def test_the_root_without_a_slash_leads_on(desk: Desk) -> None:
    await desk.open()
    desk.root = desk.root.rstrip("/")
    assert "Overview" in (await desk.get()).text


@pytest.mark.parametrize("path", ["", "calls", "nothing", "static/dashboard.js", "calls/nope"])
async def test_every_answer_is_guarded(desk: Desk, path: str) -> None:
    page = await (await desk.open()).get(path)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] in ("no-store", "no-cache")
    assert not [a for _, a in page.elements if "style" in a or any(n.startswith("on") for n in a)]


async def test_pages_can_be_heard(desk: Desk) -> None:
    """One main, one h1, labelled controls, captions: what a screen reader goes by."""
    await some_calls(await desk.open())
    for path in ("", "calls", "calls/CA1", "journal/CA1", "agents", "agents/shop", "outbox"):
        page = await desk.get(path)
        assert len(page.all("h1")) == len(page.all("main")) == 1, path
        assert page.all("html", lang="en")
        assert page.all("a", class_="skip"), path
        labels = {each.get("for") for each in page.all("label")}
        for tag in ("input", "select", "textarea"):
            for control in page.all(tag):
                kind = control.get("type")
                assert kind in ("hidden", "checkbox") or control["id"] in labels, control
        ids = [given["id"] for _, given in page.elements if "id" in given]
        assert len(ids) == len(set(ids)), path


async def test_the_overview_tells_how_it_goes(desk: Desk) -> None:
    await some_calls(await desk.open())
    page = await desk.get()
    assert "Nobody is on the phone" in page.text
    assert "Interruptions 1 in 3 turns" in page.text
    assert "Errors 1 1 call dropped" in page.text
    assert "Looked at 2 calls" in page.text
    assert len([path for path in page.all("path") if "d" in path]) > 5
    for span in ("week", "month", "nonsense"):
        assert (await desk.get(f"?span={span}")).status == 200


async def test_an_empty_dashboard_says_what_to_do(desk: Desk) -> None:
    await desk.open()
    assert "voxyray call --demo" in (await desk.get()).text
    assert "No calls yet" in (await desk.get("calls")).text
    assert "No messages yet" in (await desk.get("outbox")).text


async def test_a_call_shows_said_and_heard_tools_and_time(desk: Desk) -> None:
    await some_calls(await desk.open())
    page = await desk.get("calls/CA1")
    assert "Caller Two pizzas." in page.text
    assert "Two pizzas (not heard: it is. Anything else? )" in page.text
    assert "the caller cut in" in page.text
    assert page.html.count("<del>") == 2  # and in the sentence that says what it means
    assert "look_up" in page.text
    assert '{"dish":"pizza"}' in page.text
    assert "largest" in page.text
    assert "model, first token" in page.text
    assert "the carrier reports no speech (events are off)" in page.text  # unknown, and why
    assert "not one word was sent after it" in page.text
    assert page.all("svg")


async def test_hostile_words_stay_words(desk: Desk) -> None:
    tool = ToolCall("c1", HOSTILE, HOSTILE)
    talk = Talk("shop", HOSTILE).says(HOSTILE, HOSTILE * 2, heard=HOSTILE)
    talk.says(HOSTILE, HOSTILE, tool=tool, status="failed", result=HOSTILE)
    await desk.open()
    await desk.keep("CA1", talk.ends(), number=HOSTILE)
    for path in ("", "calls", "calls/CA1", "journal/CA1"):
        page = await desk.get(path)
        assert page.status == 200
        assert len(page.all("script")) == 1
        assert not page.all("img")
        assert not any("onerror" in given for _, given in page.elements)
        assert "49" not in page.text.partition("alert(1)")[2][:60]
    assert "<script>alert(1)</script>" in (await desk.get("calls/CA1")).text


async def test_numbers_are_hidden_until_asked_for(desk: Desk) -> None:
    words = "Call me at +1 (555) 010-0001 or write to ada@example.com."
    await desk.open()
    await desk.keep("CA1", Talk().says(words, words).ends())
    pages = ("calls", "calls/CA1", "journal/CA1")
    for path in pages:
        page = await desk.get(path)
        for secret in (NUMBER, "010-0001", "ada@example.com"):
            assert secret not in page.html, path
    assert "+1••••••0001" in (await desk.get("calls")).text
    assert "Call me at ••••••" in (await desk.get("calls/CA1")).text
    page = await desk.send("calls/CA1", "privacy", {"numbers": "show", "back": "calls/CA1"})
    assert NUMBER in page.html
    assert "010-0001" in page.html
    assert "Hide numbers" in page.text
    page = await desk.send("calls/CA1", "privacy", {"numbers": "hide", "back": "calls/CA1"})
    assert NUMBER not in page.html


@pytest.mark.parametrize(
    "path",
    [
        "calls/nope", "calls/%23", "calls/" + "x" * 300, "journal/..%2F", "agents/nobody",
        "static/..%2Fsite.py", "static/nope.js", "what/ever", "nothing/", "live/%20",
    ],
)  # fmt: skip
async def test_what_is_not_there_is_404(desk: Desk, path: str) -> None:
    assert (await (await desk.open()).get(path)).status == 404


@pytest.mark.parametrize(
    "query",
    ["?from=x", "?from=2026-13-45+x", "?day=nonsense", "?search=gone", "?agent=%00",
     "?" + "a=1&" * 500, "?from=2026-01-01+%00%ff", "?span=%ff"],
)  # fmt: skip
async def test_nonsense_in_an_address_is_no_error(desk: Desk, query: str) -> None:
    await desk.open()
    for room in ("", "calls"):
        assert (await desk.get(f"{room}{query}")).status == 200


async def test_wrong_methods_and_large_bodies_are_refused(desk: Desk) -> None:
    await desk.open()
    assert (await desk.post("outbox", {})).status == 404
    assert (await desk.post("calls", {"text": "x" * 100_000})).status in (403, 413)


async def test_a_damaged_journal_is_said_to_be(desk: Desk) -> None:
    await some_calls(await desk.open())
    await desk.store.append([{"pk": "CALL#CA1", "sk": "J#00009#0000099", "v": 99, "at_us": 1}])
    assert "cannot be read" in (await desk.get("calls")).text
    page = await desk.get("calls/CA1")
    assert page.status == 503
    assert "version 99" in page.text
    assert "version 99" in (await desk.get("journal/CA1")).text  # the rest can still be read


async def test_a_store_that_is_away_is_told_of(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.open()

    async def fail(*_: object, **__: object) -> None:
        raise StoreError("the disk is full; free some space")

    monkeypatch.setattr(desk.store, "query", fail)
    with caplog.at_level(logging.ERROR):
        page = await desk.get("calls")
    assert page.status == 503
    assert "free some space" in page.text


async def test_static_files_are_asked_for_once(desk: Desk) -> None:
    await desk.open()
    first = await desk.get("static/dashboard.css")
    assert first.headers["Content-Type"].startswith("text/css")
    again = await desk.get("static/dashboard.css", If_None_Match=first.headers["ETag"])
    assert again.status == 304


async def test_no_more_streams_than_the_talk_can_bear(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "_STREAMS", 0)
    assert "event: busy" in (await (await desk.open()).get("live")).html
