"""Entries of the journal: kept as they were, refused when they cannot be read."""

from __future__ import annotations

import json
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray import frames, journal
from voxyray.errors import JournalError, StoreError
from voxyray.journal import Entry, from_item, to_item
from voxyray.models import Attempt, ToolCall, Usage
from voxyray.stores import values

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
TIMES = st.integers(0, 10**10).map(lambda us: us / 1000)
NUMBERS = st.integers(0, 2**40)

FRAMES = st.sampled_from(
    [
        frames.Text("hello ", last=False, preemptible=True),
        frames.Play("https://example.com/a.mp3", loop=2),
        frames.SendDigits("12w#"),
        frames.Language("es-ES"),
        frames.End('{"reasonCode":"x"}'),
    ]
)
ARRIVALS = st.builds(journal.Arrival, st.sampled_from(["call", "usage"]), TIMES, NUMBERS, NUMBERS)

OUTCOMES = st.sampled_from(["answered", "late", "failed", "broke off"])
ATTEMPTS = st.builds(Attempt, TEXT, TIMES, OUTCOMES)


def build(kind: Any) -> st.SearchStrategy[Any]:
    """Make values of an entry type from its annotations."""
    hints = typing.get_type_hints(kind)
    hints.pop("type", None)
    made: dict[str, st.SearchStrategy[Any]] = {
        field.name: _field(hints[field.name]) for field in msgspec.structs.fields(kind)
    }
    return st.builds(kind, **made)


def _field(hint: Any) -> st.SearchStrategy[Any]:
    known: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        int: NUMBERS,
        float: TIMES,
        bool: st.booleans(),
        dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=2),
        dict[str, Any]: st.dictionaries(TEXT, TEXT | NUMBERS | st.none(), max_size=2),
        tuple[tuple[float, str], ...]: st.lists(st.tuples(TIMES, TEXT), max_size=3).map(tuple),
        tuple[ToolCall, ...]: st.lists(st.builds(ToolCall, TEXT, TEXT, TEXT)).map(tuple),
        tuple[frames.OutboundFrame, ...]: st.lists(FRAMES, max_size=2).map(tuple),
        tuple[Attempt, ...]: st.lists(ATTEMPTS, max_size=2).map(tuple),
        tuple[journal.Arrival, ...]: st.lists(ARRIVALS, max_size=2).map(tuple),
        float | None: st.none() | TIMES,
        Usage | None: st.none() | st.builds(Usage, NUMBERS, NUMBERS, NUMBERS),
    }
    return known[hint] if hint in known else st.from_type(hint)


TYPES: tuple[type[Any], ...] = typing.get_args(journal.What)
ENTRIES = st.builds(
    Entry,
    turn=st.integers(0, 99_999),
    seq=st.integers(0, 9_999_999),
    at_ms=TIMES,
    what=st.one_of([build(kind) for kind in TYPES]),
)
GOOD = to_item("CA1", Entry(2, 7, 1.5, frames.Dtmf("5")), 99)


class TestRoundTrip:
    @pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
    def test_every_type_of_entry_is_read_back_as_it_was(self, kind: type[Any]) -> None:
        @given(build(kind))
        def check(what: Any) -> None:
            entry = Entry(2, 7, 1.001, what)
            assert from_item(to_item("CA1", entry, 99)) == entry

        check()

    @given(ENTRIES)
    def test_so_are_times_and_places_and_the_item_can_be_stored(self, entry: Entry) -> None:
        item = to_item("v2:abc/=", entry, 99)
        values.check_item(item)  # no floats
        assert from_item(json.loads(json.dumps(item))) == entry

    @given(ENTRIES, ENTRIES)
    def test_keys_stand_in_the_order_of_the_call(self, one: Entry, other: Entry) -> None:
        first, second = (to_item("CA1", entry, 99)["sk"].encode() for entry in (one, other))
        assert (first < second) is ((one.turn, one.seq) < (other.turn, other.seq))

    def test_every_type_has_a_tag_of_its_own(self) -> None:
        tags = [kind.__struct_config__.tag for kind in TYPES]
        assert len(set(tags)) == len(tags)
        assert journal.kind(frames.Dtmf("5")) == "dtmf"
        assert journal.kind(journal.FirstSent("model")) == "first_sent"

    def test_what_is_written_today_can_be_read_tomorrow(self) -> None:
        """The form of version 1; if this fails, raise the version and read both."""
        assert GOOD == {
            "pk": "CALL#CA1",
            "sk": "J#00002#0000007",
            "v": 1,
            "at_us": 1500,
            "what": '{"type":"dtmf","digit":"5"}',
            "expires_at": 99,
        }

    @pytest.mark.parametrize(
        ("what", "read"),
        [
            (
                '{"type":"call_started","at":1.5,"agent":"a","greeting":"Hi"}',
                journal.CallStarted(1.5, "a", "Hi"),
            ),
            ('{"type":"last_sent"}', journal.LastSent()),
            (
                '{"type":"model_output","request":1,"deltas":[[1.5,"a"]],"finish":"stop"}',
                journal.ModelOutput(1, ((1.5, "a"),), finish="stop"),
            ),
            (
                '{"type":"tool_finished","run":1,"name":"n","status":"done","result":"r"}',
                journal.ToolFinished(1, "n", "done", "r"),
            ),
        ],
    )
    def test_journals_of_before_replay_can_be_read(self, what: str, read: journal.What) -> None:
        assert from_item({**GOOD, "what": what}).what == read


class TestRefusals:
    @pytest.mark.parametrize("version", [2, 0, None, "1", 1.5])
    def test_another_version_is_named_with_what_to_do(self, version: Any) -> None:
        with pytest.raises(JournalError, match=r"J#00002#0000007 of CALL#CA1 .* Install"):
            from_item({**GOOD, "v": version})

    @pytest.mark.parametrize("field", ["sk", "what", "at_us"])
    def test_a_missing_field(self, field: str) -> None:
        item = {name: value for name, value in GOOD.items() if name != field}
        with pytest.raises(JournalError, match=f"damaged: it has no '{field}'"):
            from_item(item)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *[("sk", sk) for sk in (None, 5, "J#1", "X#00001#0000001", "J#a#b", "HEAD")],
            *[("at_us", at) for at in (None, "x", "", "9" * 5000, float("inf"))],
            *[("what", what) for what in (None, "", "{", "{}", "[]", "\ud800")],
            ("what", '{"type":"bogus"}'),
            ("what", '{"type":"dtmf","digit":5}'),
            ("what", '{"type":"unknown","name":"x","fields":{"x":' + "[" * 50_000),
        ],
    )  # fmt: skip
    def test_a_damaged_field(self, field: str, value: Any) -> None:
        with pytest.raises(JournalError, match="is damaged"):
            from_item({**GOOD, field: value})

    def test_nothing_at_all(self) -> None:
        with pytest.raises(JournalError):
            from_item({})

    @pytest.mark.parametrize(
        "entry",
        [
            Entry(0, 0, 0.0, journal.TurnStarted("speech", "\ud800")),
            Entry(0, 0, float("nan"), journal.LastSent()),
            Entry(0, 0, float("inf"), journal.LastSent()),
            Entry(0, 0, 0.0, frames.Unknown("x", {"x": object()})),
        ],
    )
    def test_what_cannot_be_written(self, entry: Entry) -> None:
        with pytest.raises(StoreError, match="cannot be stored"):
            to_item("CA1", entry, 99)

    def test_an_id_that_is_no_key(self) -> None:
        with pytest.raises(StoreError):
            to_item("a#b", Entry(0, 0, 0.0, journal.LastSent()), 99)
