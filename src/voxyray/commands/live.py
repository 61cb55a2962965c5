"""Shows a simulated call as it happens.

Lines that are complete are printed for good. On a terminal a few lines below them are alive: the
sentence that is being played, word by word, tools that run, the wait for the model, the input.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from voxyray import journal
from voxyray.commands import drawing
from voxyray.commands.terminal import milliseconds
from voxyray.transcript import ToolView
from voxyray.twin import Event, Phone, record

_FRAMES_PER_S: Final = 15


class LiveTalk:
    """Takes the carrier's events and the journal's entries, and prints the talk.

    phone: to look at what is being played. typed: gives the line that is being typed.
    """

    def __init__(self, console: Console, *, partials: bool = False) -> None:
        self.phone: Phone | None = None
        self.typed: Callable[[], str] | None = None
        self._console = console
        self._partials = partials
        self._paragraph = Text()  # what was played of the reply, not yet printed
        self._played = ""  # the same, as the phone tells it since the caller's last input
        self._pending = ""  # sent by the app, not yet played
        self._fillers: set[str] = set()
        self._running: dict[int, tuple[ToolView, float]] = {}
        self._waiting_since: float | None = None
        self._partial = ""
        self._keys = ""
        self._last_label = ""
        self._sessions = 0
        self._journaled = False
        self._cut = False
        self._live = Live(
            console=console,
            get_renderable=self._alive,
            refresh_per_second=_FRAMES_PER_S,
            transient=True,
        )

    def __enter__(self) -> LiveTalk:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish_paragraph()
        self._finish_keys()
        self._live.stop()

    # What the carrier sees

    def on_event(self, event: Event) -> None:
        """Take an event of the simulated carrier."""
        if not isinstance(event, record.KeyPressed | record.ClausePlayed | record.Interrupted):
            self._finish_keys()
        match event:
            case record.SessionOpened():
                self._open_session()
            case record.AgentToken():
                self._pending += event.text
            case record.ClausePlayed():
                self._play(event)
            case record.Interrupted():
                self._interrupt()
            case record.CallerSaid():
                self._caller(event)
            case record.KeyPressed():
                self._keys += event.digit
                self._played = ""
            case record.VerbRun(verb="Dial"):
                self._note(f"the carrier dials {event.detail}")
            case record.Complained(code=0):
                self._note(f"the carrier warns: {event.text}", "yellow")
            case record.Complained():
                self._note(f"the carrier's error {event.code}: {event.text}", "red")
            case record.Closed():
                self._close()

    def _play(self, event: record.ClausePlayed) -> None:
        self._waiting_since = None
        self._take_pending(event.text)
        if self._paragraph and not self._paragraph.plain.endswith(" "):
            self._paragraph.append(" ")
        filler = event.text.strip() in self._fillers
        self._paragraph.append(event.heard.lstrip(), style="dim italic" if filler else "")
        self._played += event.heard
        self._cut = event.fate == "interrupted"
        if self._cut:
            rest = event.text[len(event.heard) :].rstrip()
            self._pending = f"{rest} {self._pending.lstrip()}"
        else:
            self._strike(event.text[len(event.heard) :])
            if not self._live.is_started:
                self._finish_paragraph()

    def _open_session(self) -> None:
        self._sessions += 1
        self._pending = self._played = ""
        if self._sessions > 1 and not self._journaled:
            self._note(drawing.takes_over(""))

    def _close(self) -> None:
        self._waiting_since = None
        if self._cut:  # hung up amid a sentence
            self._strike(self._pending.rstrip())
        self._finish_paragraph()

    def _take_pending(self, text: str) -> None:
        at = self._pending.find(text.strip())
        if at >= 0:
            self._pending = self._pending[at + len(text.strip()) :]

    def _interrupt(self) -> None:
        self._strike(self._pending.rstrip())
        self._pending = self._played = ""
        if self._paragraph.plain.strip():
            self._paragraph.append("  ✂", style="bold red")
        self._finish_paragraph()

    def _strike(self, text: str) -> None:
        plain = not self._console.is_terminal
        words = drawing.unheard(text, plain=plain)
        if not self._paragraph.plain.strip():
            words = words[len(words.plain) - len(words.plain.lstrip()) :]
        self._paragraph.append_text(words)

    def _caller(self, event: record.CallerSaid) -> None:
        if not event.last:
            self._partial = event.text if self._partials else ""
            if self._partials and not self._live.is_started:
                self._print("caller", Text(f"{event.text} …", style="dim"), "green")
            return
        self._finish_paragraph()
        self._partial = self._played = ""
        self._print("caller", Text(event.text), "bold green")
        self._waiting_since = time.monotonic()

    # What only the journal tells

    def on_entry(self, entry: journal.Entry) -> None:
        """Take an entry of the call's journal, as it is written."""
        self._journaled = True
        match entry.what:
            case journal.CallStarted() as begun if entry.turn:
                self._running.clear()
                self._note(drawing.takes_over(begun.agent))
            case journal.Said(kind="filler") as said:
                self._fillers.add(said.text.strip())
            case journal.ToolStarted() as started:
                view = ToolView(started.run, started.name, started.arguments, "running")
                self._running[started.run] = (view, entry.at_ms)
            case journal.ToolFinished() as finished:
                self._finish_tool(finished, entry.at_ms)
            case journal.ModelFailure() as failure:
                self._note(f"the model failed: {failure.message}", "red")
            case journal.TurnStarted() as turn if turn.cause in ("silence", "resume", "limit"):
                self._note(drawing.no_input(turn.cause))
            case _:
                pass

    def _finish_tool(self, what: journal.ToolFinished, at_ms: float) -> None:
        view, since_ms = self._running.pop(
            what.run, (ToolView(what.run, what.name, "", "running"), at_ms)
        )
        done = ToolView(
            what.run, what.name, view.arguments, what.status, what.result, ms=at_ms - since_ms
        )
        self._finish_paragraph()
        self._print("tool", drawing.tool(done), "magenta")

    # Printing

    def _finish_paragraph(self) -> None:
        words, self._paragraph = self._paragraph, Text()
        words.rstrip()
        if words:
            self._print("" if self._last_label == "agent" else "agent", words, "bold cyan")
            self._last_label = "agent"

    def _finish_keys(self) -> None:
        keys, self._keys = self._keys, ""
        if keys:
            self._print("caller", Text(f"presses {' '.join(keys)}", style="italic"), "bold green")
            self._waiting_since = time.monotonic()

    def _note(self, text: str, style: str = "dim italic") -> None:
        self._finish_paragraph()
        self._print("", Text(text, style=style))

    def _print(self, label: str, words: RenderableType, style: str = "") -> None:
        if self._live.is_started:
            self._live.refresh()  # or what is printed would stand there twice for a moment
        self._console.print(drawing.line(label, words, style))
        self._last_label = label

    # What is alive

    def _alive(self) -> RenderableType:
        rows: list[RenderableType] = []
        words = self._paragraph.copy()
        if now := self._being_played():
            words.append(" " if words and not words.plain.endswith(" ") else "")
            words.append(now)
        if words.plain.strip():
            rows.append(drawing.line("agent", words, "bold cyan"))
        rows += [
            drawing.line("tool", Text(f"{view.name} is running …", style="dim"), "magenta")
            for view, _ in self._running.values()
        ]
        if self._keys:
            rows.append(drawing.line("caller", Text(" ".join(self._keys)), "bold green"))
        if self._partial:
            rows.append(drawing.line("caller", Text(f"{self._partial} …", style="dim"), "green"))
        if self._waiting_since is not None and not now:
            waited_ms = (time.monotonic() - self._waiting_since) * 1000
            rows.append(drawing.line("", Text(f"… {milliseconds(waited_ms)}", style="dim")))
        if self.typed is not None:
            rows.append(drawing.line("you", Text(f"{self.typed()}▏"), "bold green"))
        return Group(*rows)

    def _being_played(self) -> str:
        """Give the words of the piece that is playing, up to the last one heard."""
        heard = self.phone.heard if self.phone is not None else ""
        if not heard.startswith(self._played):
            return ""
        return heard[len(self._played) :].lstrip()
