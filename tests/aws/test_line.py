"""The line of a call on Lambda: what is joined, what waits, what is never sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
import pytest
from aiohttp import web

from voxyray import frames
from voxyray.aws.line import GATHER_S, Gateway, PostLine
from voxyray.errors import ConnectionGone, PostFailed
from voxyray.twin.clock import virtual


class Posts:
    """Connections that keep what comes, and when; raises what is given, one for each post."""

    def __init__(self, takes_s: float = 0.01, *raises: Exception | None) -> None:
        self.takes_s = takes_s
        self.raises = list(raises)
        self.came: list[tuple[float, str, bool]] = []
        self.deleted = 0
        self.at_once = self.most_at_once = 0

    async def warm(self) -> None:
        pass

    async def post(self, connection: str, data: bytes) -> None:
        frame = msgspec.json.decode(data)
        now = asyncio.get_running_loop().time()
        self.came.append((round(now, 3), frame.get("token", frame["type"]), frame.get("last")))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(self.takes_s)
        self.at_once -= 1
        error = self.raises.pop(0) if self.raises else None
        if error is not None:
            raise error

    async def delete(self, connection: str) -> None:
        self.deleted += 1

    @property
    def words(self) -> list[str]:
        return [token for _, token, _ in self.came]


def a_line(posts: Posts, may_post: Callable[[], bool] = lambda: True) -> PostLine:
    return PostLine(posts, "C1=", may_post)


def say(line: PostLine, *tokens: str, last: bool = False) -> None:
    for token in tokens:
        line.send(frames.encode(frames.Text(token, last=False)))
    if last:
        line.send(frames.encode(frames.CLOSE_CYCLE))


@virtual
async def test_the_first_words_leave_at_once_and_the_rest_is_joined() -> None:
    posts = Posts()
    line = a_line(posts)
    for word in ("One", " two", " three", " four"):
        say(line, word)
        await asyncio.sleep(0.015)
    await asyncio.sleep(1)
    assert posts.came == [(0.0, "One", False), (GATHER_S, " two three four", False)]


@virtual
async def test_a_clause_leaves_at_its_end() -> None:
    posts = Posts()
    line = a_line(posts)
    say(line, "Yes")
    await asyncio.sleep(0.02)
    say(line, " of course,")
    await asyncio.sleep(0.001)
    assert posts.came == [(0.0, "Yes", False), (0.02, " of course,", False)]


@virtual
async def test_the_end_goes_with_the_last_words() -> None:
    posts = Posts()
    line = a_line(posts)
    say(line, "Yes", " of", " course", last=True)
    await asyncio.sleep(1)
    assert [each[1:] for each in posts.came] == [("Yes of course", True)]


@virtual
async def test_one_post_is_in_flight_and_order_is_kept() -> None:
    posts = Posts(0.3)
    line = a_line(posts)
    for n in range(20):
        say(line, f" {n}.")
        await asyncio.sleep(0.02)
    await asyncio.sleep(3)
    assert posts.most_at_once == 1
    assert "".join(posts.words) == "".join(f" {n}." for n in range(20))
    assert len(posts.came) < 5


@virtual
async def test_a_filler_is_joined_with_nothing() -> None:
    posts = Posts(0.1)
    line = a_line(posts)
    line.send(frames.encode(frames.Text("One moment. ", last=False, preemptible=True)))
    say(line, "Yes.", last=True)
    await asyncio.sleep(1)
    assert posts.words == ["One moment. ", "Yes."]


@virtual
async def test_purged_words_are_not_posted_and_other_frames_are() -> None:
    posts = Posts(0.1)
    line = a_line(posts)
    say(line, "One.", " two.", " three.")
    await asyncio.sleep(0.01)
    say(line, " four.")
    line.send(frames.encode(frames.SendDigits("1")))
    line.purge()
    await asyncio.sleep(1)
    assert posts.words == ["One. two. three.", "sendDigits"]


@virtual
async def test_after_a_purge_the_first_words_of_the_next_reply_leave_at_once() -> None:
    posts = Posts()
    line = a_line(posts)
    say(line, "One")
    await asyncio.sleep(0.02)
    line.purge()
    say(line, "Sure")
    await asyncio.sleep(0.001)
    assert posts.came == [(0.0, "One", False), (0.02, "Sure", False)]


@virtual
async def test_words_are_held_while_the_lease_is_in_doubt() -> None:
    """A store that is slow for longer than the lease must not end the call."""
    posts, owned = Posts(), False
    line = a_line(posts, lambda: owned)
    say(line, "Yes.", last=True)
    await asyncio.sleep(1)
    assert posts.came == []
    assert not line.gone
    assert line.sender is not None
    owned = True
    await asyncio.sleep(0.2)
    assert posts.words == ["Yes."]
    assert line.sender is None


@virtual
async def test_held_words_can_be_purged() -> None:
    posts, owned = Posts(), False
    line = a_line(posts, lambda: owned)
    say(line, "Yes.", last=True)
    await asyncio.sleep(0.1)
    line.purge()
    owned = True
    await asyncio.sleep(1)
    assert posts.came == []
    assert line.sender is None


@virtual
async def test_who_lost_the_call_posts_nothing_more() -> None:
    posts = Posts()
    line = a_line(posts, lambda: False)
    say(line, "Yes.", last=True)
    await asyncio.sleep(0.1)
    line.stop()
    say(line, "No.")
    await asyncio.sleep(1)
    assert posts.came == []
    assert line.sender is None


@virtual
async def test_11_a_connection_that_is_gone_is_posted_to_once() -> None:
    posts = Posts(0.01, ConnectionGone("410"))
    line = a_line(posts)
    say(line, "One.", last=True)
    await asyncio.sleep(0.1)
    say(line, "Two.", last=True)
    await asyncio.sleep(1)
    assert line.gone
    assert len(posts.came) == 1


@virtual
async def test_posts_that_fail_are_not_repeated_and_three_end_the_session() -> None:
    """Otherwise the carrier would wait for ever on a call that is over for us."""
    posts = Posts(0.01, *[PostFailed("503")] * 3)
    line = a_line(posts)
    for word in ("One.", "Two.", "Three."):
        say(line, word, last=True)
        await asyncio.sleep(0.2)
    assert posts.words == ["One.", "Two.", "Three."]
    assert line.gone
    assert posts.deleted == 1


@virtual
async def test_closing_waits_for_what_was_said() -> None:
    posts = Posts(0.1)
    line = a_line(posts)
    say(line, "One.", " two", last=True)
    line.close()
    say(line, "Never.")
    await asyncio.sleep(1)
    assert posts.words == ["One. two"]
    assert posts.deleted == 1
    assert line.closed_with == 1000


@virtual
async def test_a_model_that_is_far_ahead_is_held_up() -> None:
    posts = Posts(0.5)
    line = a_line(posts)
    say(line, "One.")
    await asyncio.sleep(0.001)
    await line.drain()
    assert asyncio.get_running_loop().time() < 0.1
    say(line, "x" * 5000)
    await line.drain()
    assert asyncio.get_running_loop().time() > 0.5


class Api:
    """`@connections` of API Gateway on a port of its own: answers with the given statuses."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[tuple[str, str, bytes]] = []
        self.hangs = False
        self.over = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.raw_path, await request.read()))
        if self.hangs:
            await self.over.wait()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    async def run(self, test: Callable[[Gateway], Awaitable[None]]) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        gateway = Gateway(f"http://{host}:{port}/prod", lambda *_: {"Authorization": "signed"})
        try:
            await test(gateway)
        finally:
            self.over.set()
            await gateway.close()
            await runner.cleanup()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxyray.aws.line._BUSY_PAUSES_S", (0.001, 0.001))
    monkeypatch.setattr("voxyray.aws.line._TIMEOUT", aiohttp.ClientTimeout(total=0.1))


async def test_a_full_socket_is_waited_for() -> None:
    api = Api(429, 429, 200)
    await api.run(lambda gateway: gateway.post("C1=", b"x"))
    assert api.asked == [("POST", "/prod/@connections/C1%3D", b"x")] * 3


@pytest.mark.parametrize(
    ("statuses", "error", "asked"),
    [((410,), ConnectionGone, 1), ((500,), PostFailed, 1), ((429, 429, 429), PostFailed, 3)],
)
async def test_a_post_that_is_refused(
    statuses: tuple[int, ...], error: type[Exception], asked: int
) -> None:
    async def test(gateway: Gateway) -> None:
        with pytest.raises(error):
            await gateway.post("C1=", b"x")

    api = Api(*statuses)
    await api.run(test)
    assert len(api.asked) == asked


async def test_what_may_have_arrived_is_never_sent_again() -> None:
    async def test(gateway: Gateway) -> None:
        with pytest.raises(PostFailed):
            await gateway.post("C1=", b"x")

    api = Api()
    api.hangs = True
    await api.run(test)
    assert len(api.asked) == 1
