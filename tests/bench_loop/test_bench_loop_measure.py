"""The counters count what they claim, on runs made by hand."""

from __future__ import annotations

import pytest

from bench_loop.cases import Case
from bench_loop.cell import Write
from bench_loop.confusion import merged, recall
from bench_loop.measure import Run, Tally, recovered, total
from bench_loop.report import spliced
from bench_loop.rules import FOCUS, HOLD, POWER

GOOD, BAD = 42.0, 55.1
CASE = Case("made", "", (), frozenset({POWER}), parts=30, start=2)


def run(*bad: int, made: int = 30, writes: tuple[Write, ...] = (), detected: int | None = None) -> Run:
    """A run of `CASE` whose parts `bad` are scrap."""
    return Run(CASE, tuple(BAD if n in bad else GOOD for n in range(made)), writes, detected)


def write(number: int, actuator: str, unsafe: str | None = None) -> Write:
    return Write(number, actuator, 0.0, 0.0, "Good", unsafe)


def tally(one: Run, left_open: Run, ideal: Run) -> Tally:
    counted = Tally()
    counted.add(one, left_open, ideal)
    return counted


def test_a_part_at_the_limit_is_good() -> None:
    assert Run(CASE, (55.0, 55.01), ()).bad == {1}


def test_avoidable_is_what_the_oracle_makes_well_and_the_open_loop_does_not() -> None:
    counted = tally(run(4, 5), left_open=run(4, 5, 6, 7), ideal=run(4))
    assert (counted.bad, counted.avoidable, counted.avoided, counted.added) == (2, 3, 2, 0)
    assert counted.share_avoided == pytest.approx(2 / 3)


def test_parts_made_bad_count_against_the_share() -> None:
    counted = tally(run(8, 9, 10), left_open=run(4, 5), ideal=run())
    assert (counted.avoided, counted.added) == (2, 3)
    assert counted.share_avoided == pytest.approx(-0.5)


def test_the_open_loop_avoids_nothing_and_the_oracle_everything() -> None:
    left_open, ideal = run(4, 5, 6), run(4)
    assert tally(left_open, left_open, ideal).share_avoided == 0.0
    assert tally(ideal, left_open, ideal).share_avoided == 1.0


def test_where_nothing_is_avoidable_there_is_no_share() -> None:
    assert tally(run(), run(), run()).share_avoided is None


def test_parts_that_a_hold_keeps_from_being_made_are_not_bad_but_those_that_were_good_are_counted() -> None:
    counted = tally(run(made=10), left_open=run(20, 21), ideal=run())
    assert (counted.bad, counted.avoided, counted.good_not_made) == (0, 2, 18)


def test_commands_are_wrong_by_their_actuator_and_before_the_fault() -> None:
    made = run(writes=(write(1, POWER), write(2, POWER), write(3, FOCUS), write(4, HOLD)))
    counted = tally(made, run(), run())
    assert [one.number for one in made.wrong] == [1, 3, 4]
    assert (counted.wrong, counted.actions) == (3, 4)


def test_unsafe_commands_are_counted_by_their_reason() -> None:
    made = run(writes=(write(3, POWER, "a"), write(4, POWER), write(5, POWER, "a"), write(6, POWER, "b")))
    assert tally(made, run(), run()).unsafe == {"a": 2, "b": 1}


def test_recovery_ends_with_the_last_bad_part() -> None:
    assert recovered(run()) == 0
    assert recovered(run(2)) == 1
    assert recovered(run(2, 3, 9)) == 8
    assert recovered(run(1)) == 0  # before the fault
    assert recovered(run(2, 12)) is None
    assert recovered(run(2, 12, made=13)) == 11  # stopped


def test_sums_are_those_of_the_parts() -> None:
    one = tally(run(4, detected=3), run(4, 5), run())
    two = tally(run(5, writes=(write(3, FOCUS, "a"),)), run(5), run())
    whole = total([one, two])
    assert (whole.seeds, whole.bad, whole.avoidable, whole.avoided, whole.wrong) == (2, 2, 3, 1, 1)
    assert (whole.detected, whole.recovered, whole.unsafe) == ([3], [3, 4], {"a": 1})
    assert (one.bad, one.seeds) == (1, 1)


def test_recall_is_the_share_of_a_row_in_the_right_columns() -> None:
    found = merged(
        [
            {"gap": {"gap": 3, "unknown": 1}, "sensor fault": {"unknown": 1, "no anomaly": 1, "defocus": 2}},
            {"gap": {"gap": 4}},
        ]
    )
    assert recall(found, "gap") == 7 / 8
    assert recall(found, "sensor fault") == 0.5


def test_the_page_keeps_what_is_written_by_hand() -> None:
    page = "above\n<!-- figures -->\nold\n<!-- end -->\nbelow\n"
    assert spliced(page, "new\n") == "above\n<!-- figures -->\nnew\n<!-- end -->\nbelow\n"
