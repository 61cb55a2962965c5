"""Named points in time, and which of them the host is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voxyray.deadlines import Deadlines


def armed(**at: float) -> Deadlines:
    deadlines = Deadlines()
    for name, time in at.items():
        deadlines.arm(name, time)
    return deadlines


def due(deadlines: Deadlines, now: float) -> list[str]:
    names = []
    while (name := deadlines.pop_due(now)) is not None:
        names.append(name)
    return names


class TestDue:
    def test_the_earliest_comes_first_and_each_comes_once(self) -> None:
        deadlines = armed(late=3, early=1, later=5)
        assert due(deadlines, 4) == ["early", "late"]
        assert due(deadlines, 4) == []
        assert due(deadlines, 5) == ["later"]

    def test_the_very_moment_counts(self) -> None:
        assert due(armed(a=2), 1.999) == []
        assert due(armed(a=2), 2) == ["a"]

    def test_a_moved_one_comes_at_its_new_time_only(self) -> None:
        deadlines = armed(a=1)
        deadlines.arm("a", 5)
        assert due(deadlines, 4) == []
        assert due(deadlines, 5) == ["a"]

    def test_forgotten_ones_never_come(self) -> None:
        deadlines = armed(a=1, b=1, c=1)
        deadlines.disarm("a", "b", "unknown")
        assert ("a" in deadlines, "c" in deadlines) == (False, True)
        assert due(deadlines, 9) == ["c"]
        deadlines = armed(a=1)
        deadlines.clear()
        assert due(deadlines, 9) == []

    def test_at_the_same_time_the_first_armed_comes_first(self) -> None:
        assert due(armed(b=1, a=1), 1) == ["b", "a"]


class TestWakes:
    def test_only_an_earlier_wake_is_asked_for(self) -> None:
        deadlines = armed(a=5)
        assert deadlines.next_wake() == 5
        assert deadlines.next_wake() is None
        deadlines.arm("b", 7)
        assert deadlines.next_wake() is None
        deadlines.arm("c", 3)
        assert deadlines.next_wake() == 3

    def test_a_deadline_that_moved_later_is_asked_for_after_the_early_wake(self) -> None:
        deadlines = armed(a=5)
        deadlines.next_wake()
        deadlines.arm("a", 8)
        assert deadlines.next_wake() is None
        deadlines.woken()
        assert due(deadlines, 5) == []
        assert deadlines.next_wake() == 8

    def test_without_deadlines_nobody_is_woken(self) -> None:
        assert Deadlines().next_wake() is None
        deadlines = armed(a=5)
        deadlines.next_wake()
        deadlines.clear()
        deadlines.woken()
        assert deadlines.next_wake() is None

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["arm", "disarm", "wait", "tick"]),
                st.sampled_from("abc"),
                st.integers(0, 9),
            )
        )
    )
    def test_a_host_that_wakes_when_told_misses_no_deadline(
        self, steps: list[tuple[str, str, int]]
    ) -> None:
        deadlines, now, wake = Deadlines(), 0.0, None
        expected: dict[str, float] = {}
        for step, name, after in steps:
            if step == "arm":
                deadlines.arm(name, now + after)
                expected[name] = now + after
            elif step == "disarm":
                deadlines.disarm(name)
                expected.pop(name, None)
            elif step == "wait":
                now = max(now, min(now + after, wake if wake is not None else now + after))
            if step == "tick" or (wake is not None and wake <= now):
                wake = None
                deadlines.woken()
                for each in due(deadlines, now):
                    assert expected.pop(each) <= now
                assert all(at > now for at in expected.values())
            asked = deadlines.next_wake()
            wake = asked if asked is not None else wake
            assert not expected or (wake is not None and wake <= min(expected.values()))
