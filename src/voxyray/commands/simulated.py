"""One simulated call from the command line: placed, shown while it lasts, and reported."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import click
import msgspec
from rich.text import Text

from voxyray.commands import drawing, keyboard, measured, placing, report, terminal
from voxyray.commands.callers import Patient, Typist
from voxyray.commands.live import LiveTalk
from voxyray.journal import Entry
from voxyray.settings import load_settings
from voxyray.twin import CallRecord, Event, Phone, Timing
from voxyray.waterfall import TurnView, turns

_TYPED_CPS: Final = 60.0  # a typed line was as good as spoken while it was typed
_HELP: Final = (
    "Type to speak; while the agent speaks that cuts in. "
    "/1 2 presses keys, /hangup or Ctrl-D hangs up."
)
_SPEAKING: Final = '{"type":"info","name":"clientSpeaking","value":"%s"}'


class Wanted(msgspec.Struct, frozen=True):
    """The call that the command line asked for."""

    agent: str | None
    lines: tuple[str, ...]
    url: str | None
    from_: str
    partials: bool = False
    as_json: bool = False
    pace: float = 1.0


class Simulated:
    """Places one call and shows it."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._settings = load_settings()
        self._console = terminal.stdout()
        self._typed = not wanted.lines and not wanted.as_json and sys.stdin.isatty()
        self._talk = LiveTalk(self._console, partials=wanted.partials)
        self._entries: list[Entry] = []
        self._phone: Phone | None = None

    async def run(self) -> int:
        """Place the call and give the exit code."""
        terminal.set_up_logging(self._settings, logging.WARNING)
        lines = keyboard.Lines()
        caller = self._caller(lines)
        async with self._target() as target:
            with self._status():
                record = await self._call(target, caller, lines)
        views, source = await self._turns(record)
        problems = report.problems(record, left=caller.left, trouble=caller.trouble)
        if self._wanted.as_json:
            made = report.call(record, views, source=source, problems=problems)
            click.echo(msgspec.json.encode(made).decode())
        else:
            self._show(record, views, source, problems)
        return 1 if problems else 0

    def _caller(self, lines: keyboard.Lines) -> Patient | Typist:
        wanted = self._wanted
        if self._typed:
            return Typist(lines)
        if wanted.lines:
            for line in (*wanted.lines, None):
                lines.put_nowait(line)
        else:
            keyboard.pipe(lines, sys.stdin)
        return Patient(lines, pace=wanted.pace)

    @contextlib.asynccontextmanager
    async def _target(self) -> AsyncIterator[placing.Target]:
        wanted = self._wanted
        timing = Timing(caller_cps=_TYPED_CPS) if self._typed else Timing()
        timing = timing.scaled(1 / wanted.pace)
        if wanted.url:
            yield await placing.running_server(wanted.url, self._settings, timing)
            return
        async with placing.own_service(
            wanted.agent, self._on_entry, timing, partials=wanted.partials
        ) as target:
            yield target

    def _on_entry(self, entry: Entry) -> None:
        self._entries.append(entry)
        if not self._wanted.as_json:
            self._talk.on_entry(entry)

    # The call

    async def _call(
        self, target: placing.Target, caller: Patient | Typist, lines: keyboard.Lines
    ) -> CallRecord:
        async def script(phone: Phone) -> None:
            self._phone = self._talk.phone = phone
            await caller(phone)

        with self._hanging_up_on_interrupt():
            if self._wanted.as_json:
                return await target.carrier.call(script, from_=self._wanted.from_)
            self._introduce(target)
            with self._talk, self._keyboard(lines):
                return await target.carrier.call(
                    script, from_=self._wanted.from_, on_event=self._on_event
                )

    def _on_event(self, event: Event) -> None:
        self._talk.on_event(event)

    @contextlib.contextmanager
    def _hanging_up_on_interrupt(self) -> Iterator[None]:
        """Let Ctrl-C hang up properly; a second one does not wait."""
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()

        def hang_up() -> None:
            loop.remove_signal_handler(signal.SIGINT)
            if self._phone is not None:
                self._phone.hang_up()
            elif main is not None:
                main.cancel()

        # Outside of the main thread (and on Windows) signals are not ours to handle.
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            loop.add_signal_handler(signal.SIGINT, hang_up)
        try:
            yield
        finally:
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.remove_signal_handler(signal.SIGINT)

    @contextlib.contextmanager
    def _keyboard(self, lines: keyboard.Lines) -> Iterator[None]:
        if not self._typed:
            yield
            return
        typing = keyboard.Typing(
            lines, started=self._tell_speaking("on"), stopped=self._tell_speaking("off")
        )
        self._talk.typed = lambda: typing.text
        with keyboard.keyboard(typing):
            yield
        self._talk.typed = None

    def _tell_speaking(self, value: str) -> Callable[[], None]:
        """Let the agent know that somebody is about to say something: typing takes its time."""

        def tell() -> None:
            if self._phone is not None and not self._phone.agent_speaks:
                self._phone.raw(_SPEAKING % value)

        return tell

    # What is shown

    def _introduce(self, target: placing.Target) -> None:
        console = self._console
        console.print(Text.assemble(("calling ", "dim"), (target.about, "bold")))
        if target.offline:
            console.print(
                "The offline model is a scripted stand-in, not a language model. "
                "Set OPENAI_API_KEY to talk to a real one.",
                style="yellow",
            )
        if self._typed:
            console.print(_HELP, style="dim")
        console.print()

    @contextlib.contextmanager
    def _status(self) -> Iterator[None]:
        """Show on stderr that a call goes on that is not shown."""
        console = terminal.stderr()
        if not self._wanted.as_json or not console.is_terminal:
            yield
            return
        with console.status("the call goes on ..."):
            yield

    async def _turns(self, record: CallRecord) -> tuple[list[TurnView], str]:
        entries = self._entries
        if self._wanted.url and record.sessions:
            entries = await placing.stored_journal(
                self._settings, record.call_sid, len(record.sessions)
            )
        if entries:
            return turns(entries), "journal"
        return measured.measured(record), "carrier"

    def _show(
        self, record: CallRecord, views: list[TurnView], source: str, problems: list[str]
    ) -> None:
        console = self._console
        console.print()
        if views and record.sessions:
            if self._wanted.url and source == "journal":
                for view in views:
                    for tool in view.tools:
                        console.print(drawing.line("tool", drawing.tool(tool), "magenta"))
                console.print()
            console.rule("[bold]where the time went[/]", style="dim")
            console.print()
            console.print(drawing.waterfall(views, console))
            if source == "carrier":
                console.print(
                    "Measured at the carrier: the server's journal is not in this VOXYRAY_STORE, "
                    "so tools and the model's part are not seen.",
                    style="dim",
                )
            console.print(drawing.summary(views))
        ended = report.how_it_ended(record.ending)
        length = terminal.seconds(record.duration_ms)
        console.print(f"[dim]call[/] {record.call_sid}: {ended} after {length}")
        for problem in problems:
            console.print(Text(f"not well: {problem}", style="bold red"))
