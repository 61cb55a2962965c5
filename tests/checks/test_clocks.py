"""Clocks that differ are told apart: ours from theirs."""

from __future__ import annotations

import pytest

from voxyray.checks.clocks import compared


@pytest.mark.parametrize(
    ("clocks", "said"),
    [
        ({}, []),
        ({"Twilio": 1.2, "AWS": -0.4}, ["agrees with Twilio and AWS to within 5 s"]),
        ({"Twilio": 300, "AWS": 301}, ["this machine's is 300 s behind Twilio and AWS"]),
        ({"Twilio": -90}, ["this machine's is 90 s ahead of Twilio"]),
        (
            {"Twilio": 0.5, "the server": 42, "AWS": 0},
            ["the server's is 42 s ahead of this machine's"],
        ),
        (
            {"Twilio": 60, "AWS": -60},
            ["Twilio's is 60 s ahead of this machine's", "AWS's is 60 s behind this machine's"],
        ),
    ],
)
def test_clocks(clocks: dict[str, float], said: list[str]) -> None:
    found = compared(clocks)
    assert [each.said for each in found] == said
    assert all(bool(each.fix) == (each.level == "warning") for each in found)
