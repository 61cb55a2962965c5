"""Receipts: what a turn and a call cost, from the tokens in the journal and a table of prices.

What is not known is None, never nothing: a model without a price, or a request that was cut off
before its provider told the tokens. Only how many tokens were wasted on words that nobody heard
is an estimate, and is called one: the share of the reply's characters that went unheard.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Sequence
from functools import reduce
from importlib import resources
from pathlib import Path

import msgspec

from voxyray import journal
from voxyray.errors import SettingsError
from voxyray.journal import Entry
from voxyray.models import Usage
from voxyray.speculation import Report, report
from voxyray.transcript import said_outputs
from voxyray.waterfall import TurnView, call_view

TEXT_CALL = "sms:"
_A_MINUTE_MS = 60_000
_MILLION = 1_000_000


class ModelPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dollars per million tokens; cached ones are part of the input."""

    input: float
    output: float
    cached: float

    def cents(self, usage: Usage) -> float:
        """Give what these tokens cost."""
        fresh = max(0, usage.input_tokens - usage.cached_tokens)
        dollars = fresh * self.input + usage.cached_tokens * self.cached
        return (dollars + usage.output_tokens * self.output) * 100 / _MILLION

    @property
    def is_free(self) -> bool:
        """Whether tokens need not even be counted."""
        return not (self.input or self.output or self.cached)


class CarrierPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dollars per minute that was begun."""

    per_minute: float


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of prices: models by the name in the journal."""

    models: dict[str, ModelPrice] = {}
    carrier: CarrierPrice | None = None


class TurnReceipt(msgspec.Struct, frozen=True):
    """What one turn cost.

    wasted_tokens: of the output, an estimate of what was never heard; None if it cannot be told.
    untold: requests of which no tokens are known, since they were cut or failed. model_cents: of
    the tokens that are known; None if a model has no price.
    """

    number: int
    tokens: Usage
    wasted_tokens: int | None
    untold: int
    model_cents: float | None


class Receipt(msgspec.Struct, frozen=True):
    """What a call cost.

    unpriced: models that the table has no price for. minutes: begun ones. total_cents: None if a
    part of it is unknown; it is the least it was if untold is not 0. speculation: what asking
    before the caller's words were final came to; its tokens are in the others where they are known.
    """

    turns: tuple[TurnReceipt, ...]
    tokens: Usage
    wasted_tokens: int | None
    untold: int
    unpriced: tuple[str, ...]
    model_cents: float | None
    minutes: int
    carrier_cents: float | None
    total_cents: float | None
    speculation: Report = Report()


def load_prices(file: str = "") -> Prices:
    """Read the table of prices: the file's, or ours without one.

    Raises:
        SettingsError: it cannot be read, or is no such table.
    """
    try:
        if file:
            text = Path(file).expanduser().read_text(encoding="utf-8")
        else:
            text = resources.files("voxyray").joinpath("prices.toml").read_text(encoding="utf-8")
        prices = msgspec.convert(tomllib.loads(text), Prices, strict=False)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SettingsError(f"VOXYRAY_PRICES={file}: {error}") from error
    amounts = [a for each in prices.models.values() for a in msgspec.structs.astuple(each)]
    amounts += [prices.carrier.per_minute] if prices.carrier else []
    if not all(math.isfinite(amount) and amount >= 0 for amount in amounts):
        raise SettingsError(f"VOXYRAY_PRICES={file}: prices must be 0 or more")
    return prices


def is_by_phone(call_id: str) -> bool:
    """Tell a phone call from a conversation by text, which has no minutes."""
    return not call_id.startswith(TEXT_CALL)


def receipt(entries: Iterable[Entry], prices: Prices, *, by_phone: bool = True) -> Receipt:
    """Give what a call cost so far; by_phone: whether a carrier counts its minutes."""
    entries = list(entries)
    view = call_view(entries)
    outputs: dict[int, dict[int, journal.ModelOutput]] = {turn.number: {} for turn in view.turns}
    for entry in entries:
        if isinstance(entry.what, journal.ModelOutput):
            outputs[entry.turn][entry.seq] = entry.what  # stores may give an entry twice
    named = {each.model for own in outputs.values() for each in own.values() if each.model}
    alone = next(iter(named)) if len(named) == 1 else ""  # whom cut requests were made to
    turns = tuple(
        _turn(turn, list(outputs[turn.number].values()), _said(entries, turn), prices, alone)
        for turn in view.turns
    )
    minutes = math.ceil(view.duration_ms / _A_MINUTE_MS) if by_phone else 0
    model_cents = _whole([turn.model_cents for turn in turns])
    carrier_cents = prices.carrier.per_minute * 100 * minutes if prices.carrier else None
    if not by_phone:
        carrier_cents = 0.0
    wasted = [turn.wasted_tokens for turn in turns]
    return Receipt(
        turns,
        _sum([turn.tokens for turn in turns]),
        None if None in wasted else sum(each or 0 for each in wasted),
        sum(turn.untold for turn in turns),
        tuple(sorted(named - prices.models.keys())),
        model_cents,
        minutes,
        carrier_cents,
        _whole([model_cents, carrier_cents]),
        report(entries),
    )


def _said(entries: Sequence[Entry], turn: TurnView) -> list[journal.ModelOutput]:
    """Give what the turn's own requests gave, without the guesses that were dropped."""
    own = [entry for entry in entries if entry.turn == turn.number]
    seqs = {entry.seq: entry.what for entry in said_outputs(own)}
    return [what for what in seqs.values() if isinstance(what, journal.ModelOutput)]


def _turn(
    turn: TurnView,
    outputs: Sequence[journal.ModelOutput],
    said: Sequence[journal.ModelOutput],
    prices: Prices,
    alone: str,
) -> TurnReceipt:
    cents: list[float | None] = []
    told: list[Usage] = []
    free = 0
    for output in outputs:
        price = prices.models.get(output.model or alone)
        if output.usage is not None:
            told.append(output.usage)
            cents.append(price.cents(output.usage) if price is not None else None)
        elif price is not None and price.is_free:
            free += 1
        elif output.model:
            cents.append(None)  # a whole answer of which its provider told no tokens
    untold = len(outputs) - len(told) - free
    tokens = _sum(told)
    return TurnReceipt(turn.number, tokens, _wasted(turn, said, free), untold, _whole(cents))


def _wasted(turn: TurnView, said: Sequence[journal.ModelOutput], free: int) -> int | None:
    if turn.cut is None:
        return 0
    told = [output.usage for output in said if output.usage is not None]
    if len(said) > len(told) + free:
        return None
    written = sum(len(text) for output in said for _, text in output.deltas)
    unheard = max(0, written - len(turn.heard)) / written if written else 0.0
    return round(_sum(told).output_tokens * unheard)


def _sum(usages: Sequence[Usage]) -> Usage:
    return reduce(_add, usages, Usage())


def _add(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cached_tokens + other.cached_tokens,
    )


def _whole(parts: Sequence[float | None]) -> float | None:
    """Give the sum, if every part of it is known."""
    return None if None in parts else sum(part or 0.0 for part in parts)
