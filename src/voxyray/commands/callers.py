"""Who places a simulated call: somebody who types, a list of lines, or the demonstration."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from typing import Final, Literal

import msgspec

from voxyray.commands.keyboard import Lines
from voxyray.twin import CallOver, Phone, TwinTimeout

CUT_AFTER_WORDS: Final = 4
DEMO: Final = (
    "My name is Ada Lovelace.",
    "Tell me about the pizza shop.",
    "!Yes, put me through, please.",
    "That's all, thank you. Goodbye.",
)
_KEYS: Final = re.compile(r"[0-9*#]+")
_A_DAY_S: Final = 86_400.0
_AGENT_MAY_END_S: Final = 1.0  # a farewell is followed by the end of the call
_SESSION_MAY_END_S: Final = 0.25  # after it was all played; the app's own time knows no pace


class Step(msgspec.Struct, frozen=True):
    """One thing a caller does."""

    act: Literal["say", "cut_in", "press", "hang_up"]
    text: str = ""


def parse(line: str, *, typed: bool = False) -> Step:
    """Read a line: `!words` cut in, `#12` presses keys, all else is said.

    typed: `/hangup`, and keys alone or after `/`, count as well.
    """
    line = line.strip()
    if line.startswith("#"):
        keys = line[1:].replace(" ", "") or "#"
        if _KEYS.fullmatch(keys):
            return Step("press", keys)
    if typed and line.lower() == "/hangup":
        return Step("hang_up")
    if typed:
        keys = line.removeprefix("/").replace(" ", "")
        if _KEYS.fullmatch(keys):
            return Step("press", keys)
    if line.startswith("!") and line[1:].strip():
        return Step("cut_in", line[1:].strip())
    return Step("say", line)


class Patient:
    """Says its lines one after the other, each when the agent has finished.

    left: lines that were not said because the call was over; trouble: why it gave up.
    """

    def __init__(self, lines: Lines, *, pace: float = 1.0) -> None:
        self.trouble = ""
        self.left = 0
        self._lines = lines
        self._pace = pace

    async def __call__(self, phone: Phone) -> None:
        """Be the caller, to the end of the lines."""
        try:
            async with contextlib.aclosing(_until_over(self._lines, phone)) as lines:
                async for line in lines:
                    await self._do(phone, parse(line))
            await self._listen(phone)
            await phone.wait(_AGENT_MAY_END_S / self._pace)
        except TwinTimeout as error:
            self.trouble = str(error)
        finally:
            self.left += sum(line is not None for line in _rest(self._lines))

    async def _do(self, phone: Phone, step: Step) -> None:
        try:
            if step.act == "cut_in":
                with contextlib.suppress(TwinTimeout):  # too short to cut: said after it
                    await phone.cut_in(step.text, after_words=CUT_AFTER_WORDS)
                    return
            await self._listen(phone)
            if step.act == "press":
                await phone.press(step.text)
            else:
                await phone.say(step.text)
        except CallOver:
            self.left += 1
            raise

    async def _listen(self, phone: Phone) -> None:
        """Hear the agent out, and those whom the caller is put through to."""
        await phone.listen()
        await phone.wait(_SESSION_MAY_END_S)
        while not phone.connected:
            await phone.listen()
            await phone.wait(_SESSION_MAY_END_S)


class Typist:
    """Does what is typed at once: words spoken over the agent cut it."""

    trouble = ""
    left = 0

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def __call__(self, phone: Phone) -> None:
        """Be the caller until they hang up."""
        async with contextlib.aclosing(_until_over(self._lines, phone)) as lines:
            async for line in lines:
                step = parse(line, typed=True)
                if step.act == "hang_up":
                    return
                if step.act == "press":
                    await phone.press(step.text)
                else:
                    await phone.say(step.text)


async def _until_over(lines: Lines, phone: Phone) -> AsyncGenerator[str, None]:
    """Give lines as they come, until there are no more or the call is over."""
    over = asyncio.ensure_future(phone.wait_for_end(timeout_s=_A_DAY_S))
    try:
        while phone.on_call:
            coming = asyncio.ensure_future(lines.get())
            await asyncio.wait((over, coming), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                return
            line = coming.result()
            if line is None:
                return
            yield line
    finally:
        over.cancel()


def _rest(lines: Lines) -> list[str | None]:
    rest = []
    while not lines.empty():
        rest.append(lines.get_nowait())
    return rest
