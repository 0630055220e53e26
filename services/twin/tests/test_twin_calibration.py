"""Forecast against outcome: what counts as one, and when the twin's record is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.twins import ASSET, NOW, OTHER, applied, joint, power, proposed

from twinloop.contracts.changes import Forecast, Hold
from twinloop.twin.assets import CalibrationPolicy
from twinloop.twin.calibration import Joints, Outcome, calibration

POLICY = CalibrationPolicy(parts=10, outcomes=20, minimum=10, coverage=0.6, bias_uohm=4.0)
FORECAST = Forecast(expected_uohm=45.0, low_uohm=43.0, high_uohm=47.0)


def outcome(uohm: float | None, rolled_back: bool = False) -> Outcome:
    return Outcome("c", FORECAST, uohm, rolled_back)


@given(st.lists(st.floats(43, 47), max_size=40))
def test_while_outcomes_are_within_their_intervals_nothing_is_lost(values: list[float]) -> None:
    found = calibration([outcome(one) for one in values], POLICY)
    assert found.problem is None
    assert found.coverage in (None, 1.0)


@given(st.lists(st.one_of(st.none(), st.floats(0, 200)), max_size=60))
def test_only_the_last_ones_count_and_too_few_prove_nothing(values: list[float | None]) -> None:
    outcomes = [outcome(one) for one in values]
    found = calibration(outcomes, POLICY)
    assert found == calibration(outcomes[-20:], POLICY)
    assert found.outcomes == min(len(values), 20)
    if found.outcomes < 10:
        assert found.problem is None


def test_below_the_coverage_it_is_lost_and_at_it_it_is_not() -> None:
    good, bad = outcome(45.0), outcome(47.5)
    assert calibration([good] * 6 + [bad] * 4, POLICY).problem is None
    assert "50%" in (calibration([good] * 5 + [bad] * 5, POLICY).problem or "")
    # What was rolled back is a miss, even where it was within.
    assert calibration([good] * 5 + [outcome(45.0, rolled_back=True)] * 5, POLICY).problem is not None


def test_a_bias_that_wide_intervals_hide_is_found() -> None:
    wide = Forecast(expected_uohm=45.0, low_uohm=20.0, high_uohm=90.0)
    found = calibration([Outcome("c", wide, 50.0)] * 10, POLICY)
    assert found.coverage == 1.0
    assert found.bias_uohm == pytest.approx(5.0)
    assert "+5.0 µΩ" in (found.problem or "")


def made(joints: Joints, first: int, count: int, power_w: float, uohm: float, at_s: float = 0.0) -> None:
    for n in range(first, first + count):
        at = NOW + timedelta(seconds=at_s + 0.05 * n)
        joints.made(joint(n, at, uohm, power_w))


def test_the_first_parts_made_with_what_was_applied_are_measured() -> None:
    joints, one = Joints([ASSET]), proposed(action=power(1020.0))
    made(joints, 1, 10, 1000.0, 50.0)
    made(joints, 11, 1, 1000.0, 50.0)  # was under the laser
    made(joints, 12, 9, 1020.0, 45.0)
    assert joints.measured(one, applied(one, 10), 10) is None
    made(joints, 21, 1, 1020.0, 55.0)
    assert joints.measured(one, applied(one, 10), 10) == pytest.approx(46.0)
    made(joints, 22, 20, 1020.0, 99.0)
    assert joints.measured(one, applied(one, 10), 10) == pytest.approx(46.0)


def test_parts_made_much_later_or_otherwise_say_nothing_of_a_change() -> None:
    joints, one = Joints([ASSET]), proposed(action=power(1020.0))
    made(joints, 1, 40, 1000.0, 50.0)
    made(joints, 41, 40, 1020.0, 45.0)
    assert joints.measured(one, applied(one, 10), 10) is None
    hold = proposed(action=Hold(reason="gap"))
    assert joints.measured(hold, applied(one, 10), 10) is None


def test_joints_told_again_or_of_others_change_nothing_and_a_new_count_is_followed() -> None:
    joints = Joints([ASSET])
    made(joints, 1, 5, 1000.0, 50.0)
    made(joints, 1, 5, 900.0, 10.0)
    newest = joints.newest(ASSET)
    assert newest is not None
    assert (newest.sequence, newest.power_w) == (5, 1000.0)
    made(joints, 1, 1, 900.0, 50.0, at_s=10.0)
    newest = joints.newest(ASSET)
    assert newest is not None
    assert (newest.sequence, newest.power_w) == (1, 900.0)
    assert joints.newest(OTHER) is None
    assert (joints.touched(), joints.touched()) == ({ASSET}, set())
