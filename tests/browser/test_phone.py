"""The browser phone in a real browser: somebody new calls the restaurant, and cuts it off."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.browser.test_dashboard import CONTRAST
from tests.hosts.hosting import serving
from voxyray import journal
from voxyray.journal import Entry
from voxyray.loading import load_agents
from voxyray.models import Delta, Model, ModelRequest
from voxyray.service import Service, choose_model
from voxyray.settings import Settings
from voxyray.stores import keys
from voxyray.stores.memory import MemoryStore

if TYPE_CHECKING:
    from playwright.async_api import Browser

playwright = pytest.importorskip(
    "playwright.async_api", reason="playwright is not installed: pip install playwright"
)

AGENTS: Final = Path(__file__).parents[2] / "agents"
SPEECH: Final = Path(__file__).with_name("speech.js").read_text(encoding="utf-8")
MUTE: Final = """
for (const name of ["SpeechRecognition", "webkitSpeechRecognition", "speechSynthesis",
                    "SpeechSynthesisUtterance"]) delete window[name];
"""
SCREENSHOTS: Final = os.environ.get("VOXYRAY_SCREENSHOTS", "")
ORDER: Final = "I'd like a large pepperoni pizza for pickup."
FAST_MS: Final = 5  # a word
WITHIN_MS: Final = 15_000


class Overheard:
    """A model that keeps what it was asked."""

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.requests: list[ModelRequest] = []
        self._model = model

    def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        return self._model.stream(request)

    async def warm(self) -> None:
        await self._model.warm()

    async def close(self) -> None:
        await self._model.close()


class Newcomer:
    """Somebody in front of a browser, and the server that they look at."""

    def __init__(self, chromium: Browser, stack: AsyncExitStack) -> None:
        self._chromium = chromium
        self._stack = stack
        self.problems: list[str] = []

    async def open(self, *scripts: str, **context: Any) -> Newcomer:
        """Open the phone; scripts are run before those of the page."""
        settings = Settings(model="offline", twilio_auth_token="t" * 20)
        agents = load_agents(None, AGENTS)
        self.models = {each.name: Overheard(choose_model(settings, each)) for each in agents}
        self.service = Service(settings, agents, store=MemoryStore(), models={**self.models})
        address = await self._stack.enter_async_context(serving("aiohttp", self.service))
        size = {"width": 1280, "height": 900}
        opened = await self._chromium.new_context(**{"viewport": size, **context})
        self._stack.push_async_callback(opened.close)
        for script in scripts:
            await opened.add_init_script(script)
        self.page = await opened.new_page()
        self.page.set_default_timeout(WITHIN_MS)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        await self.page.goto(f"http://{address}/dashboard/phone")
        return self

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    # What they do

    async def call(self, how: str, agent: str = "Pizza shop") -> None:
        await self.page.get_by_role("radio", name=re.compile(agent)).check()
        await self.page.get_by_role("button", name=how).click()

    async def type(self, text: str) -> None:
        await self.page.get_by_label("Say something to the agent").fill(text)
        await self.page.keyboard.press("Enter")

    async def stub(self, script: str) -> Any:
        return await self.page.evaluate(f"stub.{script}")

    async def shot(self, name: str) -> None:
        """Keep a picture, if somebody wants to look at it."""
        if SCREENSHOTS:
            await self.page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)

    # What they see

    def sees(self, text: str | re.Pattern[str], where: str = "#talk") -> Any:
        seen = playwright.expect(self.page.locator(where))
        return seen.to_contain_text(text, timeout=WITHIN_MS)

    async def is_asked(self) -> None:
        """Wait until the agent has finished, and it is the caller's turn."""
        await self.sees("listens", "#state")

    async def reads_all(self) -> None:
        """Let the page's clock run until all was read; each sentence comes when one is done."""
        state = self.page.locator("#state")
        for _ in range(100):
            await self.page.clock.run_for(1000)
            if "listens" in (await state.inner_text()):
                break
        await self.is_asked()

    async def can_be_read(self) -> None:
        """Everything has contrast, and nothing is wider than the screen."""
        assert await self.page.evaluate(CONTRAST) == []
        too_wide = "document.documentElement.scrollWidth - innerWidth"
        assert await self.page.evaluate(too_wide) <= 0

    def turn(self, number: int) -> Any:
        return self.page.get_by_role("article").filter(has_text=f"Turn {number} ")

    async def journal(self) -> list[Entry]:
        await self.service.recorder.flush()
        link = await self.page.locator("#page").get_attribute("href")
        items = await self.service.store.query(keys.call(str(link).removeprefix("calls/")), "J#")
        return [journal.from_item(item) for item in items]


@pytest.fixture
async def newcomer(chromium: Browser) -> AsyncIterator[Newcomer]:
    """Nothing may be wrong on the page by the end: no error, nothing that the policy forbids."""
    async with AsyncExitStack() as stack:
        made = Newcomer(chromium, stack)
        yield made
        assert not made.problems


async def test_somebody_new_orders_by_speaking_and_cuts_in(newcomer: Newcomer) -> None:
    await newcomer.open(SPEECH)
    await newcomer.sees("with the voice Clara", "#can")
    await newcomer.sees("It can listen", "#can")
    await newcomer.shot("1-dial")
    await newcomer.stub(f"flow({FAST_MS})")
    await newcomer.call("Call and talk")
    await newcomer.sees("What would you like to order?")
    await newcomer.is_asked()
    assert "".join(await newcomer.page.evaluate("stub.spoken")).startswith("Hello, this is the")

    # They order; the agent's voice waits for the test from here on.
    await newcomer.stub("flow(0)")
    await newcomer.stub('hear("I\'d like a large", false)')
    await newcomer.sees("I'd like a large", ".partial")
    await newcomer.stub(f'hear("{ORDER}", true)')
    await newcomer.page.wait_for_function("() => stub.speaking()")
    await newcomer.sees("Anything else?")  # all of it is here, and little of it was spoken
    words = (await newcomer.stub("speaking()")).split()
    await newcomer.stub("words(3)")
    heard = " ".join(words[:3])
    await newcomer.shot("2-speaks")

    # They cut in, mid-sentence.
    await newcomer.stub('hear("actually", false)')
    await newcomer.sees("you cut in")
    assert not await newcomer.stub("speaking()")
    unheard = await newcomer.page.locator("#talk del").inner_text()
    assert unheard.startswith(words[3])
    assert unheard.endswith("Anything else?")
    await newcomer.stub(f"flow({FAST_MS})")
    await newcomer.stub('hear("Actually, what are your opening hours?", true)')
    await newcomer.is_asked()
    await newcomer.sees(f"The model remembers: {heard}", "#times")
    await newcomer.shot("3-cut")

    # Where the time went has a name.
    for number in (1, 2):
        await playwright.expect(newcomer.turn(number)).to_contain_text(
            re.compile(r"(Most of it|Largest part): .+, [\d,.]+ ms of [\d,.]+ ms until")
        )
    await newcomer.page.get_by_role("button", name="Hang up").click()
    await newcomer.sees("You hung up.")
    await newcomer.shot("4-over")
    await check_what_was_remembered(newcomer, heard, unheard)


async def check_what_was_remembered(newcomer: Newcomer, heard: str, unheard: str) -> None:
    """The journal and the model know of the cut reply what was heard, and not a word more."""
    whole = await newcomer.journal()
    ends = [e.what for e in whole if isinstance(e.what, journal.Heard)]
    (cut,) = [each for each in ends if each.by == "interrupt"]
    assert cut.text.strip() == heard
    last = newcomer.models["restaurant_order"].requests[-1]
    told = [m.content or "" for m in last.messages if m.role == "assistant"]
    (remembered,) = [each for each in told if heard in each]
    assert unheard.split()[-1] not in remembered
    assert len(remembered.split()) < len(heard.split()) + len(unheard.split())


async def test_without_any_speech_people_read_and_type(newcomer: Newcomer) -> None:
    await newcomer.open(MUTE)
    await newcomer.sees("This browser cannot speak: it has no speech synthesis", "#can")
    await newcomer.sees("It cannot listen: it has no speech recognition", "#can")
    talk = newcomer.page.get_by_role("button", name="Call and talk")
    await playwright.expect(talk).to_be_disabled()
    await newcomer.shot("5-dial-mute")
    await newcomer.page.clock.install()
    await newcomer.call("Call and type")
    await newcomer.sees("Hello, this is", ".heard")
    await newcomer.reads_all()
    await newcomer.type(ORDER)
    await newcomer.sees("Anything else?")
    await newcomer.page.clock.run_for(500)
    await newcomer.sees("read along", "#state")
    await newcomer.shot("6-reading")
    await newcomer.type("What are your opening hours?")  # cuts in: the rest was not read
    await newcomer.sees("you cut in")
    await newcomer.sees("Anything else?", "#talk del")
    await newcomer.sees("The model remembers", "#times")
    await newcomer.sees("speaks", "#state")
    await newcomer.reads_all()
    await newcomer.shot("7-typed")


async def test_a_microphone_that_is_not_allowed_is_told_and_typing_goes_on(
    newcomer: Newcomer,
) -> None:
    await newcomer.open(SPEECH, "stub.deafness = 'not-allowed'")
    await newcomer.stub(f"flow({FAST_MS})")
    await newcomer.call("Call and talk")
    await newcomer.sees("the microphone was not allowed", "#trouble")
    await newcomer.is_asked()
    await newcomer.shot("8-not-allowed")
    await newcomer.type(ORDER)
    await newcomer.sees("Anything else?")


async def test_a_voice_that_fails_is_read_on(newcomer: Newcomer) -> None:
    await newcomer.open(SPEECH, "stub.failure = 'synthesis-failed'")
    await newcomer.call("Call and type")
    await newcomer.sees("its voice does not work", "#trouble")
    await newcomer.sees("Hello, this is", ".heard")


async def test_voices_that_come_late_are_used(newcomer: Newcomer) -> None:
    await newcomer.open(SPEECH, "stub.later = stub.voices; stub.voices = [];")
    await newcomer.sees("This browser cannot speak: it has no voices", "#can")
    await newcomer.stub("voices = stub.later")
    await newcomer.page.evaluate("speechSynthesis.dispatchEvent(new Event('voiceschanged'))")
    await newcomer.sees("with the voice Clara", "#can")


async def test_a_voice_that_tells_no_words_is_taken_to_speak_at_an_even_pace(
    newcomer: Newcomer,
) -> None:
    await newcomer.open(SPEECH, "stub.boundaries = false")
    await newcomer.call("Call and type")
    await newcomer.sees(re.compile("^Hello, this"), ".heard")
    await newcomer.page.keyboard.press("Escape")
    await newcomer.sees("you cut in")
    await newcomer.sees("What would you like to order?", "#talk del")


async def test_recognition_that_gets_tired_is_woken(newcomer: Newcomer) -> None:
    await newcomer.open(SPEECH)
    await newcomer.stub(f"flow({FAST_MS})")
    await newcomer.call("Call and talk")
    await newcomer.is_asked()
    await newcomer.stub("tire()")
    await newcomer.page.wait_for_function("() => stub.ears.length === 2 && stub.ears[1].running")
    await newcomer.stub(f'hear("{ORDER}", true)')
    await newcomer.sees("Anything else?")


async def test_the_agents_echo_in_the_microphone_does_not_cut_it(newcomer: Newcomer) -> None:
    await newcomer.open(SPEECH)
    await newcomer.call("Call and talk")
    await newcomer.page.wait_for_function("() => stub.speaking()")
    await newcomer.stub("words(4)")
    await newcomer.stub('hear("hello this is", false)')
    await newcomer.stub('hear("hello this is the", true)')
    await newcomer.stub("words(1)")
    assert await newcomer.stub("speaking()")
    await newcomer.page.get_by_label("I wear headphones").check()
    await newcomer.stub('hear("hello this is", false)')
    await newcomer.sees("you cut in")


ECHOES: Final = [  # heard, spoken by the agent, who is still talking: is it an echo
    ("is it for pick up", "Is it for pick-up or delivery?", True, True),
    ("is it for the pick up", "Is it for pick-up or delivery?", True, True),
    ("no wait a moment", "Is it for pick-up or delivery?", True, False),
    ("is it for pickup or delivery", "Is it for pickup or delivery?", False, True),
    ("delivery", "Is it for pickup or delivery?", False, False),
    ("pickup please", "Is it for pickup or delivery?", False, False),
    ("anything else", "It is for pickup. Anything else?", False, True),
    ("hello", "", False, False),
]


async def test_what_counts_as_an_echo(newcomer: Newcomer) -> None:
    await newcomer.open(SPEECH)
    script = """async (asked) => {
        const { isEcho } = await import("./static/phone-ear.js");
        return asked.map(([heard, spoken, talking]) => isEcho(heard, spoken, talking));
    }"""
    told = await newcomer.page.evaluate(script, [list(each) for each in ECHOES])
    assert told == [echo for *_, echo in ECHOES]


async def test_another_agent_takes_the_call_on_the_same_page(newcomer: Newcomer) -> None:
    await newcomer.open(SPEECH)
    await newcomer.stub(f"flow({FAST_MS})")
    await newcomer.call("Call and type", "Reception")
    for words, answer in (
        ("My name is Ada Lovelace.", "Which would you like to reach"),
        ("Tell me about the pizza shop.", "Shall I put you through?"),
        ("Yes, please.", "Pizza shop takes the call"),
    ):
        await newcomer.is_asked()
        await newcomer.type(words)
        await newcomer.sees(answer)
    await newcomer.sees("Hello Ada, this is the pizza shop")
    await newcomer.sees("Pizza shop", "#who")
    await newcomer.shot("10-put-through")


async def test_the_whole_phone_by_keyboard(newcomer: Newcomer) -> None:
    await newcomer.open(SPEECH)
    press = newcomer.page.keyboard.press
    await newcomer.page.get_by_role("radio", name=re.compile("Reception")).focus()
    for _ in range(2):
        await press("ArrowDown")
    for _ in range(3):
        await press("Tab")
    await playwright.expect(
        newcomer.page.get_by_role("button", name="Call and type")
    ).to_be_focused()
    await press("Enter")
    await newcomer.page.wait_for_function("() => stub.speaking()")
    await playwright.expect(newcomer.page.get_by_label("Say something")).to_be_focused()
    await newcomer.stub("words(3)")
    await press("Escape")
    await newcomer.sees("you cut in")
    await newcomer.page.get_by_role("button", name="Keypad").focus()
    await press("Enter")
    await press("2")
    await newcomer.sees("2", ".keys")
    await newcomer.page.wait_for_function("() => stub.speaking().includes('101 Spear Street')")
    await newcomer.shot("9-keypad")
    await newcomer.page.get_by_role("button", name="Hang up").focus()
    await press("Enter")
    again = newcomer.page.get_by_role("button", name="Call again")
    await playwright.expect(again).to_be_focused()
    await press("Enter")
    await playwright.expect(
        newcomer.page.get_by_role("button", name="Call and type")
    ).to_be_focused()


async def test_what_a_screen_reader_is_told(newcomer: Newcomer) -> None:
    await newcomer.open(MUTE)
    await newcomer.call("Call and type")
    spoken = newcomer.page.locator("#announce[aria-live=polite]")
    await playwright.expect(spoken).to_contain_text("Hello, this is the pizza shop")
    await newcomer.page.keyboard.press("Escape")
    await playwright.expect(spoken).to_contain_text("The agent is cut.")
    await newcomer.sees("(not heard: ")


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("light", {}),
        ("dark", {"color_scheme": "dark"}),
        ("narrow", {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2}),
    ],
)
async def test_all_of_it_can_be_read_anywhere(
    newcomer: Newcomer, name: str, context: dict[str, Any]
) -> None:
    await newcomer.open(SPEECH, **context)
    await newcomer.sees("with the voice Clara", "#can")
    await newcomer.can_be_read()
    await newcomer.shot(f"{name}-1")
    await newcomer.stub(f"flow({FAST_MS})")
    await newcomer.call("Call and talk")
    await newcomer.is_asked()
    await newcomer.stub("flow(0)")
    await newcomer.stub(f'hear("{ORDER}", true)')
    await newcomer.page.wait_for_function("() => stub.speaking()")
    await newcomer.sees("Anything else?")
    await newcomer.stub("words(3)")
    await newcomer.can_be_read()
    await newcomer.shot(f"{name}-2")
    await newcomer.stub('hear("wait", false)')
    await newcomer.sees("you cut in")
    await newcomer.page.get_by_role("button", name="Keypad").click()
    await newcomer.can_be_read()
    await newcomer.shot(f"{name}-3")


async def test_a_server_that_goes_away_is_told(newcomer: Newcomer) -> None:
    await newcomer.open(SPEECH)

    async def hang_up(socket: Any) -> None:
        await socket.close()

    await newcomer.page.route_web_socket("**/phone/socket", hang_up)
    await newcomer.call("Call and type")
    await newcomer.sees(re.compile("connection to the server was lost|does not take the call"))
    await playwright.expect(newcomer.page.get_by_role("button", name="Call again")).to_be_visible()
