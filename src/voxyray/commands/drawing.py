"""Turns on the screen: what was said and heard, what tools did, where the time went."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import msgspec
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from voxyray.commands.terminal import milliseconds
from voxyray.models import Usage
from voxyray.transcript import ToolView
from voxyray.waterfall import Cut, Part, TurnView

LABEL_WIDTH: Final = 6
COLOURS: Final = {
    "voxyray": "green",
    "model": "blue",
    "failure": "red",
    "tools": "magenta",
    "held": "yellow",
    "carrier": "bright_black",
    "server": "blue",
}
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_LABEL_CHARS: Final = 30
_MS_CHARS: Final = 10
_MARK_CHARS: Final = 9
_NO_INPUT: Final = {
    "greeting": "the call begins",
    "silence": "the caller says nothing",
    "resume": "nothing more came; the agent goes on",
    "result": "a tool has finished; the agent tells",
    "limit": "the call has lasted long enough",
}


def line(label: str, words: RenderableType, style: str = "") -> Table:
    """Give a line of talk: who, then what, wrapped beside it."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=LABEL_WIDTH, justify="right", style=style, no_wrap=True)
    grid.add_column()
    grid.add_row(label, words)
    return grid


def no_input(cause: str, text: str = "") -> str:
    """Say what began a turn that no words began."""
    return _NO_INPUT.get(cause, text or cause)


def takes_over(agent: str) -> str:
    """Say that another session of the call begins."""
    return f"{agent or 'another agent'} takes the call"


def _begins(turn: TurnView) -> str:
    if turn.cause == "greeting" and turn.number:
        return takes_over(turn.agent)
    return no_input(turn.cause, turn.caller)


def reply(turn: TurnView, *, plain: bool = False) -> Text:
    """Give a reply, with what was said but not heard marked as such."""
    if turn.cut is None:
        return Text(turn.said)
    # The wordings may differ: then only what was heard is certain.
    rest = turn.said[len(turn.heard) :] if turn.said.startswith(turn.heard) else ""
    words = Text(turn.heard)
    words.append_text(unheard(rest, plain=plain))
    words.append(f"  ✂ {cut_short(turn.cut)}", style="red")
    return words


def unheard(text: str, *, plain: bool = False) -> Text:
    """Give words that were sent but never heard; plain: where nothing can be struck through."""
    if not text.strip():
        return Text()
    return Text(f" [not heard: {text.strip()}]") if plain else Text(text, style="dim strike")


def tool(view: ToolView) -> Text:
    """Give one tool call: arguments, result, how long it took."""
    text = Text.assemble((view.name, "bold magenta"), (f"({arguments(view.arguments)})", "magenta"))
    if view.status != "done":
        text.append(f" {view.status}", style="red" if view.status == "failed" else "yellow")
    if view.result:
        text.append(" → ", style="dim")
        text.append(shortened(view.result))
    if view.ms is not None:
        text.append(f"  {milliseconds(view.ms)}", style="dim")
    return text


def arguments(text: str) -> str:
    """Write a model's arguments as a call in code; what is no JSON object stays as it is."""
    try:
        values = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return shortened(text)
    if not isinstance(values, dict):
        return shortened(text)
    parts = [f"{key}={_value(value)}" for key, value in values.items()]
    return shortened(", ".join(parts))


def _value(value: object) -> str:
    return msgspec.json.encode(value).decode()


def shortened(text: str, most: int = 240) -> str:
    """Make it one line of bounded length."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def transcript(turns: Sequence[TurnView], *, plain: bool = False) -> Group:
    """Give the whole talk, as it is known afterwards."""
    rows: list[RenderableType] = []
    for turn in turns:
        if turn.cause in ("speech", "keys") and turn.caller:
            rows.append(line("caller", Text(turn.caller), "bold green"))
        elif turn.number:
            rows.append(line("", Text(_begins(turn), style="dim italic")))
        rows += [
            line("filler", Text(filler.text, style="dim italic"), "dim") for filler in turn.fillers
        ]
        rows += [line("tool", tool(view), "magenta") for view in turn.tools]
        if turn.said:
            rows.append(line("agent", reply(turn, plain=plain), "bold cyan"))
        elif turn.cut is not None:
            rows.append(line("", Text(f"✂ {cut_short(turn.cut)}", style="red")))
    return Group(*rows)


def cut_short(cut: Cut) -> str:
    """Say who stopped a reply."""
    return {
        "interrupt": "the caller cut in",
        "newer": "a newer input replaced it",
        "hangup": "the call ended",
    }[cut.by]


# The waterfall


def waterfall(turns: Sequence[TurnView], console: Console) -> Group:
    """Give bars for every turn that has any part, all on one scale."""
    shown = [turn for turn in turns if turn.parts]
    longest = max((_end_ms(part) for turn in shown for part in turn.parts), default=0.0)
    width = max(10, min(console.width, 110) - _LABEL_CHARS - _MS_CHARS - _MARK_CHARS - 5)
    scale = width / longest if longest else 0.0
    plain = not (console.encoding or "").lower().startswith("utf")
    return Group(*(_turn_bars(turn, width, scale, plain=plain) for turn in shown))


def _end_ms(part: Part) -> float:
    return part.at_ms + (part.ms or 0.0)


def _turn_bars(turn: TurnView, width: int, scale: float, *, plain: bool) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_LABEL_CHARS, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=width, no_wrap=True)
    grid.add_column(width=_MS_CHARS, justify="right", no_wrap=True)
    grid.add_column(width=_MARK_CHARS, no_wrap=True, style="bold yellow")
    culprit = turn.culprit if sum(bool(part.ms) for part in turn.parts) > 1 else None
    for part in turn.parts:
        if part.kind == "held" and not part.ms and part.ms is not None:
            continue
        colour = COLOURS[part.kind]
        mark = ("◀" if not plain else "<") + " largest" if part is culprit else ""
        bar = Text(_bar(part, scale, width, plain=plain), style=colour)
        if part.ms is None:
            bar = Text(part.detail, style="dim italic", overflow="ellipsis")
        label = Text(f"  {part.label}")
        ms = Text(milliseconds(part.ms), style="dim italic" if part.ms is None else "")
        grid.add_row(label, bar, ms, mark)
    rows: list[RenderableType] = [_heading(turn), grid]
    rows += [Text(f"  {note}", style="dim") for note in _notes(turn)]
    return Group(*rows, Text())


def _heading(turn: TurnView) -> Text:
    words = turn.caller if turn.cause in ("speech", "keys") else _begins(turn)
    return Text.assemble((f"{turn.number:>2}  ", "bold"), shortened(words, 60))


def _bar(part: Part, scale: float, width: int, *, plain: bool) -> str:
    if not part.ms:
        return ""
    start = min(int(part.at_ms * scale), width - 1)
    length = max((part.at_ms + part.ms) * scale - start, 0.125)
    if plain:
        return " " * start + "#" * max(1, round(length))
    whole = int(length)
    return " " * start + "█" * whole + _EIGHTHS[int((length - whole) * 8)].rstrip()


def _notes(turn: TurnView) -> list[str]:
    notes = []
    if turn.gap_ms is not None:
        total = f"{milliseconds(turn.gap_ms)} to the first words"
        if turn.audible_ms is not None:
            total += f", {milliseconds(turn.audible_ms)} until they were heard"
        notes.append(total + _cost(turn))
    notes += [
        f"bridged after {milliseconds(filler.at_ms)}: {filler.text}" for filler in turn.fillers
    ]
    notes += [f"{part.label}: {part.detail}" for part in turn.parts if part.detail and part.ms]
    cut = turn.cut
    if cut is not None and cut.by == "interrupt" and turn.said:
        late = "not one word was sent after it"
        if cut.late_ms is not None:
            late = f"words were still sent {milliseconds(cut.late_ms)} after it"
        silent = ""
        if turn.silence_ms is not None:
            silent = f", silence after {milliseconds(turn.silence_ms)}"
        notes.append(f"cut in at {milliseconds(cut.at_ms)}: {late}{silent}")
    return notes


def _cost(turn: TurnView) -> str:
    said = []
    if turn.model:
        said.append(turn.model)
    if turn.tokens is not None:
        said.append(_tokens(turn.tokens))
    return f"  ({', '.join(said)})" if said else ""


def _tokens(usage: Usage) -> str:
    return f"{usage.input_tokens} + {usage.output_tokens} tokens"


def summary(turns: Sequence[TurnView]) -> str:
    """Say in one line how fast the agent answered."""
    gaps = {turn.number: turn.gap_ms for turn in turns if turn.gap_ms is not None and _asks(turn)}
    if not gaps:
        return "no turn was answered"
    worst = max(gaps, key=lambda number: gaps[number])
    answered = f"{len(gaps)} turn{'s' if len(gaps) > 1 else ''} answered"
    median = f"median gap {milliseconds(statistics.median(gaps.values()))}"
    said = f"{answered}, {median}, longest {milliseconds(gaps[worst])} (turn {worst})"
    silences = [turn.silence_ms for turn in turns if turn.silence_ms is not None]
    if silences:
        said += f"; barge-in to silence {milliseconds(statistics.median(silences))}"
        said += f" (median of {len(silences)})" if len(silences) > 1 else ""
    return said


def _asks(turn: TurnView) -> bool:
    return turn.cause in ("speech", "keys", "unknown")
