"""What may become a key of the table, and in which order keys stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray.errors import StoreError
from voxyray.stores import keys

BAD = ["", " ", "a b", "a#b", "a\n", "a\x00", "ä", "a" * 400]


class TestCalls:
    @pytest.mark.parametrize(
        "call_id",
        ["CA" + "0" * 32, "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BorherQ/=", "~a.b@c"],
    )
    def test_a_carriers_id_is_taken_as_it_is(self, call_id: str) -> None:
        assert keys.call(call_id) == f"CALL#{call_id}"

    @pytest.mark.parametrize("call_id", BAD)
    def test_nothing_else_becomes_a_key(self, call_id: str) -> None:
        with pytest.raises(StoreError, match="not a call id"):
            keys.call(call_id)


class TestCallers:
    @pytest.mark.parametrize(
        "number", ["+15550100", "+123", "sip:ada@example.com;x=1", "client:ada", "sips:a@b"]
    )
    def test_numbers_and_identities_have_a_profile(self, number: str) -> None:
        assert keys.is_caller(number)
        assert keys.caller(number) == f"CALLER#{number}"

    @pytest.mark.parametrize(
        "number", [*BAD, "anonymous", "Restricted", "+", "+1", "15550100", "+1555x", "+1" * 16,
                   "sip:", "tel:+15550100", "+15550100\n", "+١٢٣٤"]
    )  # fmt: skip
    def test_withheld_and_odd_ones_have_none(self, number: str) -> None:
        assert not keys.is_caller(number)
        with pytest.raises(StoreError) as error:
            keys.caller(number)
        assert len(number) < 5 or number not in str(error.value)  # it ends up in logs


class TestAgents:
    @pytest.mark.parametrize("name", ["shop", "real_estate", "a-1", "0", "a" * 64])
    def test_plain_names(self, name: str) -> None:
        assert keys.agent(name) == f"AGENT#{name}"

    @pytest.mark.parametrize("name", [*BAD, "Shop", "_a", "-a", "../a", "a.b", "a" * 65])
    def test_no_others(self, name: str) -> None:
        with pytest.raises(StoreError, match="not an agent's name"):
            keys.agent(name)


PLACES = st.tuples(st.integers(0, 99_999), st.integers(0, 9_999_999))


class TestOrder:
    @given(PLACES, PLACES)
    def test_journal_keys_stand_in_the_order_of_the_call(
        self, one: tuple[int, int], other: tuple[int, int]
    ) -> None:
        first, second = keys.journal(*one).encode(), keys.journal(*other).encode()
        assert (first < second) is (one < other)
        assert (first == second) is (one == other)

    @given(PLACES)
    def test_their_place_is_read_back(self, place: tuple[int, int]) -> None:
        assert keys.journal_place(keys.journal(*place)) == place

    @pytest.mark.parametrize(
        "sk", ["", "HEAD", "J#1", "J#00001#x", "X#00001#0000001", "J#-0001#0000001"]
    )
    def test_other_keys_have_no_place_in_a_journal(self, sk: str) -> None:
        with pytest.raises(ValueError, match="sk"):
            keys.journal_place(sk)

    @given(st.floats(0, 4e9), st.floats(0, 4e9))
    def test_calls_stand_in_the_order_they_began(self, one: float, other: float) -> None:
        first, second = keys.started(one, "CA1"), keys.started(other, "CA1")
        if int(one * 1000) < int(other * 1000):
            assert first.encode() < second.encode()

    def test_a_day_is_of_utc(self) -> None:
        assert keys.day(0) == "CALLS#1970-01-01"
        assert keys.day(86_399.9) == "CALLS#1970-01-01"
        assert keys.day(1_795_305_600) == "CALLS#2026-11-22"


@pytest.mark.parametrize("word", ["ANONYMOUS", "RESTRICTED", "BLOCKED", "UNKNOWN", "UNAVAILABLE"])
def test_withheld_numbers_that_look_like_numbers_are_nobodys(word: str) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    spelled = word.translate(str.maketrans(letters, "22233344455566677778889999"))
    assert not keys.is_caller(f"+{spelled}")
