"""A call's receipt on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voxyray.models import Usage
    from voxyray.receipts import Receipt


def table(receipt: Receipt) -> Table:
    """Give a line for each turn that asked a model, the carrier's minutes and the total."""
    grid = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, collapse_padding=True)
    for name in ("turn", "tokens in", "cached", "out", "unheard", "cents"):
        grid.add_column(name, justify="left" if name == "turn" else "right", no_wrap=True)
    for turn in receipt.turns:
        if turn.tokens.input_tokens or turn.tokens.output_tokens or turn.untold:
            shown = _cents(turn.model_cents, at_least=bool(turn.untold))
            grid.add_row(str(turn.number), *_counted(turn.tokens, turn.wasted_tokens), shown)
    grid.add_section()
    model = _cents(receipt.model_cents, at_least=bool(receipt.untold))
    grid.add_row("model", *_counted(receipt.tokens, receipt.wasted_tokens), model)
    if receipt.minutes:
        minutes = f"carrier, {receipt.minutes} min"
        grid.add_row(minutes, "", "", "", "", _cents(receipt.carrier_cents))
    total = _cents(receipt.total_cents, at_least=bool(receipt.untold))
    grid.add_row("total", "", "", "", "", total, style="bold")
    return grid


def notes(receipt: Receipt) -> Iterator[str]:
    """Say what is estimated, and what is not known."""
    if receipt.wasted_tokens:
        yield "unheard: an estimate, by the share of the characters that were cut off"
    if receipt.untold:
        requests = "request was" if receipt.untold == 1 else "requests were"
        yield (
            f"{receipt.untold} {requests} cut off or failed before the provider told the tokens; "
            "it may charge for them"
        )
    guessed = receipt.speculation
    if guessed.asked:
        yield (
            f"{guessed.confirmed} of {guessed.asked} answers begun early were wanted "
            f"({guessed.hit_rate or 0:.0%}): {guessed.gained_ms:,.0f} ms gained, "
            f"about {guessed.wasted_tokens:,} tokens wasted"
        )
    if receipt.unpriced:
        names = ", ".join(receipt.unpriced)
        yield f"no price is known of {names}: add it to a file of yours, see VOXYRAY_PRICES"
    if receipt.minutes and receipt.carrier_cents is None:
        yield "no price of the carrier's minutes is known: see VOXYRAY_PRICES"


def _counted(tokens: Usage, wasted: int | None) -> tuple[str, ...]:
    unheard = "unknown" if wasted is None else f"~{wasted:,}" if wasted else "0"
    counted = (tokens.input_tokens, tokens.cached_tokens, tokens.output_tokens)
    return (*(f"{each:,}" for each in counted), unheard)


def _cents(cents: float | None, *, at_least: bool = False) -> str:
    if cents is None:
        return "unknown"
    shown = f"{cents:.4f}" if 0 < cents < 1 else f"{cents:.2f}"
    return f"at least {shown}" if at_least else shown
