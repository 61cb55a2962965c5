"""The browser phone: its page, its socket, and whole calls of a page that is played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.dashboard.looking import TOKEN, Desk
from voxyray import frames, journal
from voxyray.agent import Agent
from voxyray.context import CallContext
from voxyray.dashboard import phone
from voxyray.dashboard.exchange import HouseCarrier
from voxyray.errors import StoreError
from voxyray.loading import load_agents
from voxyray.models import Delta, Finish, ModelRequest, TextDelta, ToolCall
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.stores import keys
from voxyray.stores.memory import MemoryStore
from voxyray.tool import tool
from voxyray.twin import TwinRefused, virtual

AGENTS = Path(__file__).parents[2] / "agents"
GREETING = "Hello, how can I help?"
REPLY = "One two three four five six. Seven eight."


class Echoing:
    """A model that always says the same, at once, and keeps what it was told."""

    name = "same"

    def __init__(self, reply: str = REPLY) -> None:
        self.reply = reply
        self.requests: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        yield TextDelta(self.reply)
        yield Finish("stop")

    async def warm(self) -> None: ...

    async def close(self) -> None: ...


class Browser:
    """A page, as the server sees it: a line to it, and what it says.

    talks: whether pieces are spoken to their end at once. told: all that it was told. journal: of
    its call, once that is over.
    """

    def __init__(self, *, talks: bool = True) -> None:
        self.talks = talks
        self.told: list[dict[str, Any]] = []
        self.closed = False
        self.journal: list[journal.What] = []
        self._says: asyncio.Queue[str | None] = asyncio.Queue()
        self._changed = asyncio.Event()

    # The server's side

    def send(self, data: bytes) -> None:
        message = msgspec.json.decode(data)
        self.told.append(message)
        if message["do"] == "speak" and self.talks:
            self.speaks(message["piece"], len(message["text"]), end=True)
        self._changed.set()

    def purge(self) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    async def receive(self) -> str | None:
        return await self._says.get()

    # The page's

    def says(self, do: str, **fields: Any) -> None:
        self._says.put_nowait(msgspec.json.encode({"do": do, **fields}).decode())

    def raw(self, text: str) -> None:
        self._says.put_nowait(text)

    def leaves(self) -> None:
        self._says.put_nowait(None)

    def speaks(self, piece: int, chars: int, *, end: bool = False) -> None:
        self.says("started", piece=piece)
        self.says("reached", piece=piece, chars=chars)
        if end:
            self.says("ended", piece=piece)

    def all(self, do: str) -> list[dict[str, Any]]:
        return [each for each in self.told if each["do"] == do]

    async def until(self, do: str, count: int = 1, within_s: float = 30.0, **fields: Any) -> Any:
        """Wait until it was told something so often; gives the last of it."""
        async with asyncio.timeout(within_s):
            while True:
                fitting = [e for e in self.all(do) if fields.items() <= e.items()]
                if len(fitting) >= count:
                    return fitting[count - 1]
                self._changed.clear()
                await self._changed.wait()


def make_service(*agents: Agent, model: Any = None, **settings: Any) -> Service:
    agents = agents or (Agent(name="shop", instructions="Be kind.", greeting=GREETING),)
    chosen = Settings(**{"model": "offline", "twilio_auth_token": "t" * 20, **settings})
    models = {agent.name: model for agent in agents} if model is not None else None
    loop = asyncio.get_running_loop()
    return Service(chosen, agents, store=MemoryStore(), models=models, clock=loop.time)


@asynccontextmanager
async def calling(
    service: Service, browser: Browser, **dial: Any
) -> AsyncGenerator[asyncio.Task[None], None]:
    """Place a call; it is over when the block is."""
    talking = asyncio.create_task(phone.talk(service, browser, browser.receive))
    browser.says("dial", **dial)
    try:
        yield talking
        browser.says("hang_up")
        await talking
        await service.recorder.flush()
        for ringing in browser.all("ringing"):
            items = await service.store.query(keys.call(ringing["call"]), "J#")
            browser.journal = [journal.from_item(item).what for item in items]
    finally:
        talking.cancel()
        await service.close()


# Whole calls


@virtual
async def test_a_call_of_a_page_is_a_call_like_any_other() -> None:
    service, browser = make_service(model=Echoing()), Browser()
    async with calling(service, browser, number="+15550100007"):
        answered = await browser.until("answered")
        assert (answered["agent"], answered["lang"], answered["again"]) == ("shop", "en-US", False)
        await browser.until("speak", text=GREETING)
        browser.says("words", text="  Hi   there ", last=True)
        turn = await browser.until("turn", number=1, heard=REPLY, cut="")
        assert turn["caller"] == "Hi there"
        assert list(service.runners) == [browser.all("ringing")[0]["call"]]
        (runner,) = service.runners.values()
        assert runner.caller.number == "+15550100007"
    assert browser.told[-1] == {"do": "over", "why": "You hung up.", "grave": False}
    assert browser.closed
    assert [e["text"] for e in browser.all("caller")] == ["Hi there"]
    whole = browser.journal
    assert isinstance(whole[-1], journal.CallEnded)
    assert whole[-1].why == "caller"
    infos = [e.name for e in whole if isinstance(e, frames.Info)]
    assert {"agentSpeaking", "tokensPlayed", "clientSpeaking"} <= set(infos)


@virtual
async def test_a_cut_is_where_the_browsers_voice_was_and_the_model_remembers_no_more() -> None:
    model = Echoing()
    service, browser = make_service(model=model), Browser()
    async with calling(service, browser):
        await browser.until("speak", text=GREETING)
        browser.talks = False
        browser.says("words", text="Count", last=True)
        piece = await browser.until("speak", 2)
        browser.speaks(piece["piece"], len("One two three "))
        browser.says("words", text="stop", last=False)
        stop = await browser.until("stop")
        assert (stop["heard"], stop["fate"]) == ("One two three", "interrupted")
        assert await browser.until("interrupted") == {"do": "interrupted", "by": "speech"}
        browser.talks = True
        browser.says("words", text="stop it", last=True)
        turn = await browser.until("turn", number=1, cut_by="interrupt")
        assert (turn["said"], turn["heard"]) == (REPLY, "One two three")
        await browser.until("turn", number=2, heard=REPLY)
    whole = browser.journal
    (heard,) = [e for e in whole if isinstance(e, journal.Heard)]
    assert heard.text.strip() == "One two three"
    (cut,) = [e for e in whole if isinstance(e, frames.Interrupt)]
    assert cut.utterance_until_interrupt == "One two three"
    told = [m.content or "" for m in model.requests[1].messages if m.role == "assistant"]
    assert told[0] == GREETING
    assert told[1].startswith("One two three")
    assert "four" not in told[1]


@virtual
async def test_the_frames_of_a_cut_come_in_the_carriers_order() -> None:
    shop = Agent(name="shop", instructions="x", greeting=GREETING, relay={"partialPrompts": True})
    service, browser = make_service(shop, model=Echoing()), Browser(talks=False)
    async with calling(service, browser):
        piece = await browser.until("speak")
        browser.speaks(piece["piece"], len("Hello, "))
        browser.says("words", text="wait", last=False)
        await browser.until("interrupted")
        browser.says("words", text="wait a moment", last=True)
        await browser.until("caller", text="wait a moment")
    whole = browser.journal
    seen = [_frame(e) for e in whole]
    seen = [each for each in seen if each and "roundTrip" not in each]
    assert seen[: seen.index("prompt") + 1] == [
        *("agentSpeaking on", "clientSpeaking on", "tokensPlayed Hello,", "interrupt"),
        *("partial", "agentSpeaking off", "clientSpeaking off", "prompt"),
    ]


def _frame(what: journal.What) -> str:
    match what:
        case frames.Info():
            return f"{what.name} {what.value}"
        case frames.Interrupt():
            return "interrupt"
        case frames.Prompt():
            return "prompt" if what.last else "partial"
    return ""


@virtual
async def test_cutting_in_without_a_word_silences_the_agent() -> None:
    service, browser = make_service(model=Echoing()), Browser(talks=False)
    async with calling(service, browser):
        piece = await browser.until("speak")
        browser.speaks(piece["piece"], len("Hello, how "))
        browser.says("cut_in")
        assert (await browser.until("stop"))["heard"] == "Hello, how"
        browser.says("cut_in")
        assert "nothing to cut in on" in (await browser.until("note"))["text"]


@virtual
async def test_keys_reach_the_agent_and_cut_it() -> None:
    service, browser = make_service(model=Echoing()), Browser(talks=False)
    async with calling(service, browser):
        await browser.until("speak")
        browser.says("key", key="7")
        browser.says("key", key="not a key")
        assert await browser.until("interrupted") == {"do": "interrupted", "by": "dtmf"}
        assert await browser.until("pressed") == {"do": "pressed", "key": "7"}
    whole = browser.journal
    assert [e.digit for e in whole if isinstance(e, frames.Dtmf)] == ["7"]


@virtual
async def test_an_agent_that_may_not_be_cut_is_not() -> None:
    shop = Agent(
        name="shop",
        instructions="x",
        greeting=GREETING,
        relay={"welcomeGreetingInterruptible": "none"},
    )
    service, browser = make_service(shop, model=Echoing()), Browser(talks=False)
    async with calling(service, browser):
        piece = (await browser.until("speak"))["piece"]
        browser.says("words", text="Hello?", last=True)
        await browser.until("caller", text="Hello?")
        assert not browser.all("stop")
        browser.speaks(piece, 100, end=True)


@virtual
async def test_a_voice_that_never_reports_does_not_hold_the_call_up() -> None:
    service, browser = make_service(model=Echoing()), Browser(talks=False)
    async with calling(service, browser):
        await browser.until("speak")
        browser.says("started", piece=1)
        browser.says("words", text="Hi", last=True)
        await browser.until("interrupted")
        first = await browser.until("speak", 2, within_s=60)
        second = await browser.until("speak", 3, within_s=60)
        assert first["text"] + second["text"] == REPLY


@virtual
async def test_the_caller_is_put_through_to_another_agent_on_the_same_page() -> None:
    agents = load_agents(None, AGENTS)
    service, browser = make_service(*agents), Browser()
    async with calling(service, browser, agent="default", number="+15550100009"):
        for words in ("My name is Ada Lovelace.", "Tell me about the pizza shop.", "Yes, please."):
            await asyncio.sleep(5)  # to hear the agent out
            browser.says("words", text=words, last=True)
        answered = await browser.until("answered", 2, within_s=60)
        assert (answered["agent"], answered["again"]) == ("restaurant_order", True)
        await asyncio.sleep(5)
        assert "Hello Ada" in " ".join(e["text"] for e in browser.all("speak"))
    assert browser.told[-1]["why"] == "You hung up."
    numbers = [e["piece"] for e in browser.all("speak")]
    assert numbers == sorted(set(numbers))


@virtual
async def test_the_page_listens_in_the_language_that_the_agent_switches_to() -> None:
    @tool(effect="read")
    async def speak_spanish(context: CallContext) -> str:
        """Speak Spanish."""
        context.switch_language("es-ES")
        return "done"

    class Switching(Echoing):
        async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
            if request.messages[-1].role == "user":
                yield ToolCall("c1", "speak_spanish", "{}")
                yield Finish("tool_calls")
            else:
                yield TextDelta("Claro.")
                yield Finish("stop")

    shop = Agent(
        name="shop",
        instructions="x",
        greeting=GREETING,
        tools=[speak_spanish],
        languages=[{"code": "es-ES"}],
    )
    service, browser = make_service(shop, model=Switching()), Browser()
    async with calling(service, browser):
        await browser.until("speak")
        browser.says("words", text="Hola", last=True)
        assert (await browser.until("language"))["lang"] == "es-ES"
        assert (await browser.until("speak", text="Claro."))["lang"] == "es-ES"


@virtual
async def test_a_chosen_agent_takes_the_call_and_the_number_keeps_its_own() -> None:
    agents = load_agents(None, AGENTS)
    service, browser = make_service(*agents), Browser()
    async with calling(service, browser, agent="restaurant_order", number="+15550100009"):
        assert (await browser.until("answered"))["agent"] == "restaurant_order"
        assert await service.store.get(keys.caller("+15550100009"), keys.PROFILE) is None


PUBLIC = "https://voice.example.com/phone"


@pytest.mark.parametrize(
    "settings",
    [
        {"public_url": PUBLIC},
        {"public_url": PUBLIC, "socket_url": "wss://relay.example.com/prod"},
        {"twilio_account_sid": "AC" + "1" * 32, "twilio_secondary_auth_token": "s" * 20},
        {"accept_unsigned": True, "twilio_auth_token": ""},
    ],
    ids=["public", "relay elsewhere", "account", "unsigned"],
)
def test_it_needs_no_network_however_the_server_is_reached(settings: dict[str, Any]) -> None:
    @virtual
    async def call() -> None:
        service, browser = make_service(model=Echoing(), **settings), Browser()
        async with calling(service, browser):
            await browser.until("speak", text=GREETING)
            browser.says("words", text="Hi", last=True)
            await browser.until("turn", number=1, heard=REPLY)
        assert not [e for e in browser.all("note") if e["grave"]]

    call()


@virtual
async def test_the_carrier_in_the_house_goes_nowhere_else() -> None:
    service = make_service(model=Echoing())
    carrier = HouseCarrier(service)
    with pytest.raises(TwinRefused, match="not this voxyray's"):
        await carrier.dial("wss://elsewhere.example.com/relay")
    carrier.voice_url = "https://elsewhere.example.com/voice"
    record = await carrier.call(lambda phone: phone.wait_for_end())
    assert [(error.code, "not below" in error.text) for error in record.errors] == [(11200, True)]
    carrier = HouseCarrier(service)
    carrier.auth_token = "not ours"
    record = await carrier.call(lambda phone: phone.wait_for_end())
    assert "answered 403" in record.errors[0].text
    with pytest.raises(TwinRefused, match="signature"):
        await carrier.dial(service.settings.relay_url)
    await service.close()


# What can go wrong


@virtual
async def test_a_page_that_leaves_has_hung_up() -> None:
    service, browser = make_service(model=Echoing()), Browser()
    async with calling(service, browser) as talking:
        await browser.until("answered")
        browser.leaves()
        await talking
        assert not service.runners
    assert isinstance(browser.journal[-1], journal.CallEnded)


@virtual
async def test_nonsense_ends_no_call() -> None:
    service, browser = make_service(model=Echoing()), Browser()
    async with calling(service, browser):
        await browser.until("speak")
        for text in ("", "{", "[]", '{"do":"fly"}', '{"do":"words"}', "[" * 5000, '"\\ud800"'):
            browser.raw(text)
        browser.says("dial", agent="shop")
        browser.says("started", piece=99)
        browser.says("reached", piece=1, chars=-5)
        browser.says("reached", piece=1, chars=10**12)
        browser.says("ended", piece=-1)
        browser.says("words", text="   ", last=True)
        browser.says("words", text="a" * 9000, last=True)
        said = await browser.until("caller")
        assert said["text"] == "a" * 2000


@virtual
async def test_a_wrong_number_is_told_and_not_called_from() -> None:
    service, browser = make_service(model=Echoing()), Browser()
    async with calling(service, browser, number="12"):
        pass
    assert [each["do"] for each in browser.told] == ["over"]
    assert "begins with +" in browser.told[0]["why"]


@virtual
async def test_a_page_that_says_nothing_is_let_go() -> None:
    service, browser = make_service(model=Echoing()), Browser()
    await phone.talk(service, browser, browser.receive)
    assert browser.closed
    await service.close()


@virtual
async def test_a_store_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    service, browser = make_service(model=Echoing()), Browser()

    async def fails(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(service.store, "get", fails)
    async with calling(service, browser, agent="shop", number="+15550100007"):
        over = await browser.until("over")
        assert over == {"do": "over", "why": "the disk is full", "grave": True}


# On real hosts: who may, and over a real socket


@asynccontextmanager
async def page_socket(
    desk: Desk, **headers: str
) -> AsyncGenerator[aiohttp.ClientWebSocketResponse, None]:
    sent = {**desk.headers, **{n.replace("_", "-"): v for n, v in headers.items()}}
    async with desk.session.ws_connect(f"{desk.root}phone/socket", headers=sent) as socket:
        yield socket


async def test_the_page_offers_every_agent_and_says_what_it_needs(desk: Desk) -> None:
    page = await (await desk.open()).get("phone")
    assert page.status == 200
    assert "The phone needs JavaScript" in page.text
    assert [e["value"] for e in page.all("input", name="agent")] == ["shop", ""]
    assert page.all("input", type="tel")
    csp = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in csp
    assert "unsafe" not in csp
    for script in page.all("script"):
        assert (await desk.get(script["src"])).status == 200


async def test_a_call_over_a_socket(desk: Desk) -> None:
    await desk.open()
    async with page_socket(desk) as socket:
        await socket.send_json({"do": "dial", "agent": "shop"})
        seen = []
        while "answered" not in seen:
            seen.append((await socket.receive_json(timeout=10))["do"])
        await socket.send_json({"do": "hang_up"})
        while seen[-1] != "over":
            seen.append((await socket.receive_json(timeout=10))["do"])
        assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
    assert not desk.service.runners


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_pages_of_others_cannot_call(desk: Desk, headers: dict[str, str]) -> None:
    await desk.open()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with page_socket(desk, **headers):
            pass


async def test_with_a_token_only_who_signed_in_can_call(desk: Desk) -> None:
    await desk.open(token=TOKEN)
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with page_socket(desk):
            pass
    await desk.sign_in()
    async with page_socket(desk) as socket:
        await socket.send_json({"do": "dial", "number": "12"})
        assert (await socket.receive_json(timeout=10))["do"] == "over"


async def test_a_host_that_stops_ends_the_calls_of_pages(desk: Desk) -> None:
    await desk.open()
    async with page_socket(desk) as socket:
        await socket.send_json({"do": "dial", "agent": "shop"})
        while (await socket.receive_json(timeout=10))["do"] != "answered":
            pass
        closing = asyncio.create_task(desk.close())
        while (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
            pass
    await asyncio.wait_for(closing, 10)
