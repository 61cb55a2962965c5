"""Which call of the model becomes which run, and that no write is done twice."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.desk import TOOLS
from voxyray.history import RunStatus, ToolRun
from voxyray.models import ToolCall
from voxyray.tool_runs import Start, ToolRuns


def call(name: str = "book", id_: str = "c", arguments: str = "", **values: str) -> ToolCall:
    return ToolCall(id_, name, arguments or msgspec.json.encode(values).decode())


class Desk:
    """Opens runs as a call does, one id for each."""

    def __init__(self) -> None:
        self.runs = ToolRuns(TOOLS)
        self.opened = 0

    def open(
        self, slot: str = "9", turn: int = 1, name: str = "book"
    ) -> tuple[ToolRun, Start | None]:
        self.opened += 1
        values = {"word": slot} if name.startswith("look") else {"slot": slot}
        return self.runs.open(call(name, f"c{self.opened}", **values), turn)

    def write(self, slot: str = "9", turn: int = 1) -> ToolRun:
        run, start = self.open(slot, turn)
        assert start is not None
        return run


def shares(run: ToolRun, start: Start | None, first: ToolRun) -> bool:
    return start is None and run.key == first.key and run.settles_with(first)


class TestOpening:
    def test_a_run_is_started_with_parsed_arguments(self) -> None:
        runs = ToolRuns(TOOLS)
        run, start = runs.open(call("look_slowly", word="tea"), 1)
        assert start is not None
        assert start.run is run is runs.get(run.id)
        assert (start.tool.name, start.values) == ("look_slowly", {"word": "tea"})
        assert (run.status, run.effect, run.key) == ("running", "read", "")
        assert run.filler == "Let me look at tea."

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            (call("bokk", slot="9"), "Error: there is no tool 'bokk'. Tools: book, hang_up, look"),
            (call("x" * 999), "Error: there is no tool 'xxxx"),
            (call("book"), "Error: book did not run."),
            (call("book", arguments="{nonsense"), "Error: book did not run."),
            (call("book", arguments='{"slot":"9","seat":1}'), "Error: book did not run."),
        ],
    )
    def test_what_cannot_start_is_told_to_the_model(self, wrong: ToolCall, said: str) -> None:
        run, start = ToolRuns(TOOLS).open(wrong, 1)
        assert start is None
        assert run.status == "failed"
        assert run.result.startswith(said)
        assert len(run.result) < 400
        assert run.key == ""

    def test_without_tools_the_model_hears_that_there_are_none(self) -> None:
        run, _ = ToolRuns(()).open(call("book"), 1)
        assert run.result == "Error: there is no tool 'book'. Tools: none."

    def test_no_two_calls_have_the_same_id(self) -> None:
        """Providers refuse a history in which two tool calls have the same id."""
        runs = ToolRuns(TOOLS)
        given = ["a", "a", "a_2", "", "", "call", "a"]
        ids = [runs.open(call("look_up", id_, word="x"), 1)[0].call.id for id_ in given]
        assert ids[:1] == ["a"]
        assert len(set(ids)) == len(ids)
        assert all(ids)

    def test_an_unknown_number_is_no_run(self) -> None:
        assert ToolRuns(TOOLS).get(7) is None


class TestSharing:
    def test_the_same_write_in_its_turn_shares_the_running_one(self) -> None:
        desk = Desk()
        first = desk.write()
        run, start = desk.open()
        assert shares(run, start, first)
        assert run.status == "running"
        assert desk.runs.settle(first, "done", "ok") == [first, run]
        assert (run.status, run.result) == ("done", "ok")

    @pytest.mark.parametrize("status", ["done", "failed"])
    def test_it_shares_a_finished_one_too(self, status: RunStatus) -> None:
        desk = Desk()
        first = desk.write()
        desk.runs.settle(first, status, "that")
        first.told = True
        run, start = desk.open()
        assert shares(run, start, first)
        assert (run.status, run.result) == (status, "that")

    def test_other_arguments_are_another_write(self) -> None:
        desk = Desk()
        first, second = desk.write("9"), desk.write("10")
        assert first.key != second.key
        assert not first.settles_with(second)

    def test_arguments_are_compared_by_meaning(self) -> None:
        runs = ToolRuns(TOOLS)
        runs.open(call(arguments='{"slot":"9"}'), 1)
        _, start = runs.open(call(arguments=' { "slot" : "\\u0039" } '), 1)
        assert start is None

    def test_the_same_write_in_a_later_turn_shares_one_that_still_runs(self) -> None:
        """A caller who cuts in on "I'm booking that" must not get two bookings."""
        desk = Desk()
        first = desk.write(turn=1)
        run, start = desk.open(turn=2)
        assert shares(run, start, first)

    def test_and_one_whose_result_is_untold(self) -> None:
        desk = Desk()
        first = desk.write(turn=1)
        desk.runs.settle(first, "done", "ok")
        run, start = desk.open(turn=2)
        assert shares(run, start, first)
        assert run.result == "ok"

    def test_once_told_a_later_turn_may_do_it_again(self) -> None:
        desk = Desk()
        first = desk.write(turn=1)
        desk.runs.settle(first, "done", "ok")
        first.told = True
        assert desk.write(turn=2).key != first.key

    def test_but_never_again_in_a_turn_that_did_it(self) -> None:
        desk = Desk()
        first = desk.write(turn=1)
        desk.runs.settle(first, "done", "ok")
        first.told = True
        second = desk.write(turn=2)
        desk.runs.settle(second, "done", "again")
        second.told = True
        run, start = desk.open(turn=1)
        assert shares(run, start, first)

    def test_a_key_names_turn_tool_and_arguments(self) -> None:
        turn, name, digest = Desk().write(turn=3).key.split(":")
        assert (turn, name, len(digest)) == ("3", "book", 16)

    def test_reads_are_never_shared(self) -> None:
        desk = Desk()
        assert all(desk.open("x", name="look_up")[1] is not None for _ in range(3))


class TestSettling:
    def test_once(self) -> None:
        desk = Desk()
        run = desk.write()
        assert desk.runs.settle(run, "done", "ok") == [run]
        assert desk.runs.settle(run, "failed", "late failure") == []
        assert (run.status, run.result) == ("done", "ok")

    def test_a_late_write_may_still_finish_and_is_told_anew(self) -> None:
        desk = Desk()
        first = desk.write()
        sharing, _ = desk.open()
        assert desk.runs.settle(first, "late", "no outcome yet") == [first, sharing]
        assert desk.runs.settle(first, "late", "again") == []
        for run in (first, sharing):
            run.told = True
        later, start = desk.open(turn=2)
        assert shares(later, start, first)
        assert (later.status, later.result) == ("late", "no outcome yet")
        assert desk.runs.settle(first, "done", "ok") == [first, sharing, later]
        assert {(run.status, run.result, run.told) for run in (first, sharing, later)} == {
            ("done", "ok", False)
        }
        assert desk.runs.settle(first, "done", "twice") == []

    def test_a_cancelled_run_stays_so(self) -> None:
        desk = Desk()
        run, _ = desk.open("x", name="look_up")
        desk.runs.settle(run, "cancelled", "cut")
        assert desk.runs.settle(run, "done", "ok") == []
        assert run.result == "cut"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "settle", "tell"]),
        st.integers(0, 12),
        st.integers(1, 3),
        st.sampled_from(["done", "failed", "late"]),
    ),
    max_size=40,
)


class TestAtMostOnce:
    @given(STEPS)
    def test_a_write_starts_once_for_its_turn_and_arguments(
        self, steps: list[tuple[str, int, int, RunStatus]]
    ) -> None:
        desk = Desk()
        runs: list[ToolRun] = []
        started: list[ToolRun] = []
        asked: set[tuple[int, str]] = set()
        for step, number, turn, status in steps:
            if step == "open":
                slot = str(number % 2)
                unfinished = any(
                    run.status in ("running", "late") and f'"{slot}"' in run.call.arguments
                    for run in started
                )
                run, start = desk.open(slot, turn)
                runs.append(run)
                if start is not None:
                    assert not unfinished
                    assert (turn, slot) not in asked
                    started.append(run)
                    asked.add((turn, slot))
            elif step == "settle" and started:
                desk.runs.settle(started[number % len(started)], status, status)
            elif step == "tell" and runs:
                runs[number % len(runs)].told = True
        assert len({run.key for run in started}) == len(started)
        for run in started:
            if run.status == "running":
                desk.runs.settle(run, "done", "ok")
        assert all(run.status != "running" for run in runs)
        assert len({run.call.id for run in runs}) == len(runs)
