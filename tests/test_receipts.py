"""What calls cost: known to the hundredth of a cent, or said to be unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.desk import Desk
from voxyray import events, journal
from voxyray.errors import SettingsError
from voxyray.journal import Entry
from voxyray.models import Finish, Usage
from voxyray.receipts import Prices, is_by_phone, load_prices, receipt
from voxyray.settings import DEFAULT_MODEL

TABLE = """
[carrier]
per_minute = 0.08
[models."openai:a"]
input = 1
cached = 0.1
output = 10.0
[models.offline]
input = 0
cached = 0
output = 0
"""


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    file = tmp_path / "prices.toml"
    file.write_text(TABLE)
    return load_prices(str(file))


def answer(desk: Desk, text: str, usage: Usage | None, model: str = "openai:a") -> None:
    request = desk.say("Hello?")
    desk.delta(text)
    if usage is not None:
        desk.do(events.ModelEvent(request, usage))
    desk.do(events.ModelEvent(request, Finish("stop", model)))


def test_tokens_and_minutes(prices: Prices) -> None:
    desk = Desk()
    answer(desk, "Hi.", Usage(1000, 100, 600))
    desk.pass_time(61)
    desk.do(events.Closed(1000))
    made = receipt(desk.entries, prices)
    # 400 fresh at $1, 600 cached at $0.1, 100 out at $10 a million.
    assert made.model_cents == pytest.approx((400 * 1 + 600 * 0.1 + 100 * 10) / 1e6 * 100)
    assert made.minutes == 2
    assert made.carrier_cents == pytest.approx(16.0)
    assert made.total_cents == pytest.approx((made.model_cents or 0) + 16.0)
    assert (made.tokens, made.wasted_tokens) == (Usage(1000, 100, 600), 0)
    assert (made.untold, made.unpriced) == (0, ())
    assert [turn.model_cents for turn in made.turns][1] == made.model_cents
    assert receipt([*desk.entries, *desk.entries], prices) == made, "stores may give entries twice"


def test_a_model_without_a_price_costs_unknown_never_nothing(prices: Prices) -> None:
    desk = Desk()
    answer(desk, "Hi.", Usage(10, 10), model="openai:new")
    answer(desk, "Hi.", Usage(10, 10))
    made = receipt(desk.entries, prices)
    assert made.unpriced == ("openai:new",)
    assert (made.model_cents, made.total_cents) == (None, None)
    assert [turn.model_cents is None for turn in made.turns] == [False, True, False]
    assert made.carrier_cents == pytest.approx(0.0)


def test_without_a_carriers_price_the_total_is_unknown() -> None:
    desk = Desk()
    desk.pass_time(1)
    desk.do(events.Closed(1000))
    made = receipt(desk.entries, Prices())
    assert (made.minutes, made.carrier_cents, made.total_cents) == (1, None, None)


def test_a_cut_request_tells_no_tokens(prices: Prices) -> None:
    desk = Desk()
    answer(desk, "Hi.", Usage(10, 10))
    desk.say("And?")
    desk.delta("Well, that is a long")
    desk.interrupt("Well")
    made = receipt(desk.entries, prices)
    assert (made.untold, made.wasted_tokens) == (1, None)
    assert made.turns[-1].untold == 1
    assert made.model_cents == made.turns[1].model_cents, "at least what is known"


def test_a_free_model_need_not_tell_its_tokens(prices: Prices) -> None:
    desk = Desk()
    answer(desk, "Hi.", None, model="offline")
    desk.say("And?")
    desk.delta("Well, that is a long")
    desk.interrupt("Well")
    made = receipt(desk.entries, prices)
    assert (made.untold, made.model_cents) == (0, 0.0)


def test_a_whole_answer_without_usage_costs_unknown(prices: Prices) -> None:
    desk = Desk()
    answer(desk, "Hi.", None)
    made = receipt(desk.entries, prices)
    assert (made.untold, made.model_cents) == (1, None)


def test_unheard_words_are_estimated_by_their_share(prices: Prices) -> None:
    desk = Desk()
    answer(desk, "One two. Three four.", Usage(10, 100))
    desk.info("agentSpeaking", "on")
    desk.interrupt("One two.")
    made = receipt(desk.entries, prices)
    assert made.wasted_tokens == 60  # 12 of 20 characters


def test_texts_have_no_minutes(prices: Prices) -> None:
    assert is_by_phone("CA1")
    assert not is_by_phone("sms:SM1")
    desk = Desk()
    desk.pass_time(60)
    desk.do(events.Closed(1000))
    made = receipt(desk.entries, prices, by_phone=False)
    assert (made.minutes, made.carrier_cents, made.total_cents) == (0, 0.0, 0.0)


def test_an_empty_journal_and_a_piece_of_one(prices: Prices) -> None:
    assert receipt([], prices).total_cents == 0.0
    piece = [Entry(3, 7, 5.0, journal.ModelOutput(1, ((1.0, "Hi"),), usage=Usage(5, 5)))]
    assert receipt(piece, prices).tokens == Usage(5, 5)


def test_our_own_table_knows_the_default_models() -> None:
    prices = load_prices()
    assert {DEFAULT_MODEL, "offline"} <= set(prices.models)
    assert prices.carrier is not None
    for name, price in prices.models.items():
        assert price.cached <= price.input <= price.output or price.is_free, name


@pytest.mark.parametrize(
    "text",
    [
        "[models.a]\ninput = 1",
        "[models.a]\ninput = 1\noutput = 1\ncached = 1\ntypo = 1",
        "[models.a]\ninput = -1\noutput = 1\ncached = 1",
        "[models.a]\ninput = nan\noutput = 1\ncached = 1",
        "not toml",
    ],
)
def test_a_wrong_table_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="VOXYRAY_PRICES"):
        load_prices(str(file))


def test_a_missing_table_is_refused() -> None:
    with pytest.raises(SettingsError, match="VOXYRAY_PRICES"):
        load_prices("/nowhere/prices.toml")
