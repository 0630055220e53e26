"""The test that a change is judged by: how often it is wrong, computed by simulation with fixed seeds."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.desk import Desk
from support.weldloop import POLICY

from twinloop.contracts.changes import Inconclusive
from twinloop.controller.verify import Good, Unclear, Worse, judge, worse

RULE = POLICY.verification


def called_worse(shift_uohm: float, changes: int, seed: int = 7) -> tuple[float, float]:
    """How often a change that adds `shift_uohm` is called worse over the parts that are measured, and after
    how many of them on average; the mean before it is measured on as many parts."""
    noise = random.Random(seed)
    after = []
    for _ in range(changes):
        before = fmean(noise.gauss(42.0, RULE.sensor_sigma_uohm) for _ in range(RULE.parts))
        parts = [noise.gauss(42.0 + shift_uohm, RULE.sensor_sigma_uohm) for _ in range(RULE.parts)]
        if worse(before, RULE.parts, parts, RULE) is not None:
            after.append(
                next(n for n in range(1, RULE.parts + 1) if worse(before, RULE.parts, parts[:n], RULE))
            )
    return len(after) / changes, fmean(after or [0])


def test_a_change_that_did_nothing_is_hardly_ever_called_worse() -> None:
    assert called_worse(0.0, 40_000)[0] < 3e-4  # 6 in 100 000 are expected


def test_a_drift_that_takes_all_of_the_allowance_is_seldom_called_worse() -> None:
    assert called_worse(RULE.drift_allowance_uohm, 8_000)[0] == pytest.approx(0.012, abs=0.004)


def test_harm_is_found_and_early() -> None:
    rate, parts = called_worse(5.0, 4_000)
    assert rate == pytest.approx(0.94, abs=0.02)
    assert parts == pytest.approx(5.5, abs=0.3)
    assert called_worse(10.0, 500) == (1.0, pytest.approx(3.0, abs=0.1))


def test_one_outlier_is_no_harm_and_two_broken_joints_are() -> None:
    good = [42.0] * 8
    assert worse(42.0, 10, [*good, 1530.0], RULE) is None
    assert isinstance(worse(42.0, 10, [1530.0, 1530.0], RULE), Worse)
    assert worse(280.0, 10, [200.0, 190.0], RULE) is None  # broken before it, and better since


def test_what_is_better_and_not_yet_good_is_unclear() -> None:
    assert isinstance(judge(65.0, 10, [58.0] * 10, RULE), Unclear)
    assert judge(52.0, 10, [48.0] * 10, RULE) == Good(10, 48.0)
    assert isinstance(judge(52.0, 10, [48.0] * 10, RULE, 46.0), Unclear)
    assert judge(52.0, 10, [48.0] * 10, RULE, 49.0) == Good(10, 48.0)


@given(st.lists(st.floats(30, 60), min_size=1, max_size=10), st.floats(40, 60))
def test_what_is_called_worse_stays_so_with_every_further_part(after: list[float], more: float) -> None:
    if worse(42.0, 10, after, RULE) is not None:
        assert worse(42.0, 10, [*after, more], RULE) is not None


def test_without_parts_before_nothing_is_called_worse() -> None:
    assert worse(0.0, 0, [1530.0] * 10, RULE) is None


def test_parts_that_were_not_heard_of_leave_it_open_and_are_told_from_those_that_speak_against_it() -> None:
    unheard, against = Desk().ready(), Desk().ready()
    unheard.changed()
    unheard.number += POLICY.verification.patience_parts - 3
    unheard.parts(3)
    against.changed()
    against.power_w = 1000.0
    against.parts(POLICY.verification.patience_parts)
    told = [desk.of(Inconclusive)[-1].reason for desk in (unheard, against)]
    assert told[0].startswith(
        "of 30 parts made since, 3 were heard of, and 3 of these say that laser_power_w was"
    )
    assert told[1].startswith(
        "of 30 parts made since, 30 were heard of, and 0 of these say that laser_power_w was"
    )
