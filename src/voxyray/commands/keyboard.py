"""Lines from a person or a pipe, one by one, while a call goes on."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final, TextIO

Lines = asyncio.Queue[str | None]  # None: there are no more

_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|.)?")
_END: Final = "\x04"  # Ctrl-D
_ERASE: Final = ("\x7f", "\b")
_ERASE_WORD: Final = "\x17"  # Ctrl-W
_ERASE_LINE: Final = "\x15"  # Ctrl-U


class Typing:
    """A line being typed; whoever shows it does so, for the terminal does not echo.

    started: called when the first character of a line comes; stopped: when it is empty again.
    """

    def __init__(
        self,
        lines: Lines,
        *,
        started: Callable[[], None] = lambda: None,
        stopped: Callable[[], None] = lambda: None,
    ) -> None:
        self.text = ""
        self._lines = lines
        self._started = started
        self._stopped = stopped

    def feed(self, typed: str) -> None:
        """Take characters as the terminal gives them."""
        for character in _ESCAPE.sub("", typed):
            had = bool(self.text)
            self._take(character)
            if self.text and not had:
                self._started()
            elif had and not self.text and character not in "\r\n":
                self._stopped()

    def _take(self, character: str) -> None:
        if character in "\r\n":
            line, self.text = self.text.strip(), ""
            if line:
                self._lines.put_nowait(line)
        elif character == _END:
            self._lines.put_nowait(None)
        elif character in _ERASE:
            self.text = self.text[:-1]
        elif character == _ERASE_WORD:
            kept = self.text.rstrip()
            self.text = kept[: kept.rfind(" ") + 1]
        elif character == _ERASE_LINE:
            self.text = ""
        elif character.isprintable():
            self.text += character


@contextlib.contextmanager
def keyboard(typing: Typing, stream: TextIO | None = None) -> Iterator[None]:
    """Read the terminal key by key, without echo, while the block runs."""
    import termios
    import tty

    file = (stream or sys.stdin).fileno()
    loop = asyncio.get_running_loop()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read() -> None:
        try:
            data = os.read(file, 4096)
        except OSError:  # the terminal has gone
            data = b""
        if not data:
            loop.remove_reader(file)
            typing.feed(_END)
        typing.feed(decoder.decode(data))

    before = termios.tcgetattr(file)
    tty.setcbreak(file)
    loop.add_reader(file, read)
    try:
        yield
    finally:
        loop.remove_reader(file)
        termios.tcsetattr(file, termios.TCSADRAIN, before)


def pipe(lines: Lines, stream: TextIO) -> None:
    """Read a stream line by line in a thread of its own, to its end."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the call is over, and its loop closed
            for line in stream:
                if line.strip():
                    loop.call_soon_threadsafe(lines.put_nowait, line.strip())
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="voxyray lines", daemon=True).start()
