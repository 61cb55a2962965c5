"""What was said, heard and done in a turn, derived from the journal alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from voxyray import frames, journal
from voxyray.journal import Entry
from voxyray.models import ToolCall
from voxyray.reply import Reply, SpeechKind
from voxyray.speech import SpeechFilter

CutBy: TypeAlias = Literal["interrupt", "newer", "hangup"]

_WORD: Final = re.compile(r"\w+")


class ToolView(msgspec.Struct, frozen=True):
    """One tool call of a turn.

    run: None if the call never became a run. arguments: the model's JSON text. status: as in
    `ToolRun`, or `unfinished` or `not run`. at_ms: from the end of the caller's input; ms: how long
    it took. Both are None where the journal does not tell.
    """

    run: int | None
    name: str
    arguments: str
    status: str
    result: str = ""
    effect: str = ""
    at_ms: float | None = None
    ms: float | None = None


class Piece(msgspec.Struct, frozen=True):
    """Words that left at one moment; source tells the model's requests apart (-1: fixed words)."""

    at_ms: float
    text: str
    kind: SpeechKind
    source: int = -1


class Spoken(msgspec.Struct, frozen=True):
    """The words of a turn.

    said and heard: without fillers. complete: all that was meant to be said was sent. cut_at: the
    entry of the cut by cut_by, None if every word sent was (or will be) played.
    """

    pieces: tuple[Piece, ...]
    said: str
    heard: str
    complete: bool
    cut_at: Entry | None = None
    cut_by: CutBy = "interrupt"

    @property
    def fillers(self) -> list[Piece]:
        """The fillers among the words."""
        return [piece for piece in self.pieces if piece.kind == "filler"]


def rebuild(ordered: list[Entry], number: int) -> Spoken:
    """Put a turn's words together; ordered: all entries of the call there are."""
    own = [entry for entry in ordered if entry.turn == number]
    # Stable: words of the model come before fixed ones of the same moment, such as an apology.
    pieces = tuple(sorted(_pieces(own), key=lambda piece: piece.at_ms))
    said = _join(pieces)
    greeted = any(isinstance(e.what, journal.CallStarted) and e.what.greeting for e in own)
    complete = greeted or any(isinstance(entry.what, journal.LastSent) for entry in own)
    for entry in reversed(ordered):
        if isinstance(entry.what, journal.Heard) and entry.what.of_turn == number:
            heard = entry.what.text.strip()
            cut = not complete or _letters(heard) != _letters(said)
            return Spoken(pieces, said, heard, complete, entry if cut else None, entry.what.by)
    ended = next((e for e in own if _is_hangup(e.what)), None)
    if ended is not None and any(_played(entry) for entry in ordered):
        # They hung up while it was being played: what was confirmed is what they heard at least.
        heard = _confirmed(own, pieces)
        if _letters(heard) != _letters(said):
            return Spoken(pieces, said, heard, complete, ended, "hangup")
    return Spoken(pieces, said, said, complete)


def _pieces(own: list[Entry]) -> Iterator[Piece]:
    left_ms = _confirmed_ms(own)
    for entry in said_outputs(own):
        if isinstance(entry.what, journal.ModelOutput):
            yield from _model_pieces(entry.what, left_ms.get(entry.what.request, 0.0))
    for entry in own:
        what = entry.what
        if isinstance(what, journal.Said):
            yield Piece(entry.at_ms, what.text, what.kind)
        elif isinstance(what, journal.CallStarted) and what.greeting:
            yield Piece(entry.at_ms, what.greeting, "fixed")


def said_outputs(own: list[Entry]) -> list[Entry]:
    """Give the model's outputs of a turn, without the guesses that were dropped."""
    dropped = {
        entry.what.request
        for entry in own
        if isinstance(entry.what, journal.Speculated) and entry.what.state == "dropped"
    }
    return [
        entry
        for entry in own
        if isinstance(entry.what, journal.ModelOutput) and entry.what.request not in dropped
    ]


def _confirmed_ms(own: list[Entry]) -> dict[int, float]:
    """Tell when each guess was confirmed: words that were kept back left then."""
    return {
        entry.what.request: entry.at_ms
        for entry in own
        if isinstance(entry.what, journal.Speculated) and entry.what.state == "confirmed"
    }


def _model_pieces(output: journal.ModelOutput, left_ms: float) -> Iterator[Piece]:
    """Give what could be spoken of a model's answer, as the call filtered it."""
    speech = SpeechFilter()
    at_ms = 0.0
    for at_ms, text in output.deltas:
        if words := speech.feed(text):
            yield Piece(max(at_ms, left_ms), words, "model", output.request)
    if output.finish is not None and (words := speech.flush()):
        yield Piece(max(at_ms, left_ms), words, "model", output.request)


def _join(pieces: tuple[Piece, ...]) -> str:
    said, source = "", None
    for piece in pieces:
        if piece.kind == "filler":
            continue
        if said and source != piece.source and not said.endswith(" "):
            said += " "  # the call keeps rounds apart so, too
        said += piece.text
        source = piece.source
    return said.strip()


def _letters(text: str) -> str:
    return "".join(_WORD.findall(text))


def _played(entry: Entry) -> str:
    what = entry.what
    return what.value if isinstance(what, frames.Info) and what.name == "tokensPlayed" else ""


def _is_hangup(what: journal.What) -> bool:
    return isinstance(what, journal.CallEnded) and what.why != "agent"


def _confirmed(own: list[Entry], pieces: tuple[Piece, ...]) -> str:
    reply = Reply()
    for piece in pieces:
        reply.say(piece.text, piece.kind)
    for entry in own:
        reply.played(_played(entry))
    reply.purge("")
    return reply.heard().strip()


# Tools


def tool_views(ordered: list[Entry], number: int, zero_ms: float) -> tuple[ToolView, ...]:
    """Give a turn's tool calls in the order of their runs; zero_ms: the end of the input."""
    own = [entry for entry in ordered if entry.turn == number]
    asked = [call for entry in said_outputs(own) for call in _calls(entry.what)]
    started: dict[int, Entry] = {}
    finished: dict[int, Entry] = {}
    runs: dict[int, str] = {}
    for entry in ordered:
        what = entry.what
        if isinstance(what, journal.ToolStarted) and entry.turn == number:
            started[what.run], runs[what.run] = entry, what.name
        elif isinstance(what, journal.ToolFinished) and (
            # A write outlives its turn; one that did not start belongs to where it was settled.
            what.run in started or (entry.turn == number and not _starts(ordered, what.run))
        ):
            finished[what.run], runs[what.run] = entry, what.name
    views = []
    for run in sorted(runs):
        call = next((call for call in asked if call.name == runs[run]), None)
        if call is not None:
            asked.remove(call)
        views.append(_tool_view(run, started.get(run), finished.get(run), call, zero_ms))
    left = [ToolView(None, call.name, call.arguments, "not run") for call in asked]
    return (*views, *left)


def _calls(what: journal.What) -> tuple[ToolCall, ...]:
    if isinstance(what, journal.ModelOutput) and what.finish is not None:
        return what.calls
    return ()


def _starts(ordered: list[Entry], run: int) -> bool:
    return any(isinstance(e.what, journal.ToolStarted) and e.what.run == run for e in ordered)


def _tool_view(
    run: int,
    started: Entry | None,
    finished: Entry | None,
    call: ToolCall | None,
    zero_ms: float,
) -> ToolView:
    begun = started.what if started is not None else None
    ended = finished.what if finished is not None else None
    name, arguments, effect = call.name if call else "", call.arguments if call else "", ""
    if isinstance(begun, journal.ToolStarted):
        name, arguments, effect = begun.name, begun.arguments, begun.effect
    status, result = "unfinished", ""
    if isinstance(ended, journal.ToolFinished):
        name, status, result = ended.name, ended.status, ended.result
    ms = None
    if started is not None and finished is not None:
        ms = max(0.0, round(finished.at_ms - started.at_ms, 3))
    at_ms = round(started.at_ms - zero_ms, 3) if started is not None else None
    return ToolView(run, name, arguments, status, result, effect, at_ms, ms)
