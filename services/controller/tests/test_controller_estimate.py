"""The run-to-run controller against a linear process that drifts: what theory says of it is what it does."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.weldloop import POLICY

from twinloop.controller.estimate import anchored, power_for, stable, updated
from twinloop.controller.rules import EstimatorPolicy

TARGET_MM = 0.5
B = POLICY.estimator.gain_mm_per_w


def policy(kind: str, weight: float = 0.2, trend_weight: float = 0.1) -> EstimatorPolicy:
    return EstimatorPolicy(
        kind=kind, weight=weight, trend_weight=trend_weight, gain_mm_per_w=B, memory_parts=50
    )


def errors(rule: EstimatorPolicy, parts: int, drift_mm: float, ratio: float = 1.0) -> list[float]:
    """The error of the depth in mm, part by part, from a start that is 10 micrometres off. The true gain is
    `ratio` times the one assumed."""
    known, found = anchored(1000.0, TARGET_MM, rule), []
    intercept_mm = TARGET_MM - ratio * B * 1000.0 + 0.01
    for _ in range(parts):
        power_w = power_for(known, TARGET_MM, rule)
        depth_mm = intercept_mm + ratio * B * power_w
        found.append(depth_mm - TARGET_MM)
        if abs(found[-1]) > 1e6:
            break
        known = updated(known, depth_mm, power_w, rule)
        intercept_mm += drift_mm
    return found


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("weight", [0.05, 0.1, 0.2, 0.4])
def test_under_drift_one_average_leaves_the_offset_that_theory_predicts(weight: float, ratio: float) -> None:
    drift_mm = -0.0002
    last = errors(policy("ewma", weight), 1500, drift_mm, ratio)[-1]
    assert last == pytest.approx(drift_mm / (weight * ratio), rel=1e-6)


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("weight", [0.05, 0.1, 0.2, 0.4])
def test_under_drift_two_averages_leave_no_offset(weight: float, ratio: float) -> None:
    last = errors(policy("double", weight, 0.05), 1500, -0.0002, ratio)[-1]
    assert last == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("kind", ["ewma", "double"])
def test_without_drift_both_settle_on_target(kind: str) -> None:
    assert errors(policy(kind), 500, 0.0)[-1] == pytest.approx(0.0, abs=1e-9)


@given(
    kind=st.sampled_from(["ewma", "double"]),
    weight=st.floats(0.05, 1.0),
    trend_weight=st.floats(0.05, 1.0),
    ratio=st.floats(0.1, 6.0),
)
@settings(max_examples=300)
def test_the_error_settles_just_where_stable_says_so(
    kind: str, weight: float, trend_weight: float, ratio: float
) -> None:
    rule = policy(kind, weight, trend_weight)
    inside, outside = stable(ratio * 1.02, rule), stable(ratio * 0.98, rule)
    assume(inside == outside)  # at the very edge it would take for ever to show
    found = errors(rule, 4000, 0.0, ratio)
    assert (abs(found[-1]) < 1e-4) is stable(ratio, rule)


def test_a_gain_of_the_wrong_sign_is_never_stable() -> None:
    assert not stable(-0.1, policy("ewma"))
    assert not stable(0.0, policy("double"))


@given(kind=st.sampled_from(["ewma", "double"]), power_w=st.floats(850, 1350))
def test_a_start_is_without_a_bump(kind: str, power_w: float) -> None:
    rule = policy(kind)
    known = anchored(power_w, TARGET_MM, rule)
    assert power_for(known, TARGET_MM, rule) == pytest.approx(power_w)
    again = updated(known, TARGET_MM, power_w, rule)  # a part on target moves nothing
    assert power_for(again, TARGET_MM, rule) == pytest.approx(power_w)


@given(kind=st.sampled_from(["ewma", "double"]), parts=st.integers(1, 300))
def test_a_command_that_is_held_back_winds_nothing_up(kind: str, parts: int) -> None:
    """The power stays where it is, whatever is asked for: the power asked for stays the one needed."""
    rule, known = policy(kind), anchored(1000.0, TARGET_MM, policy(kind))
    for _ in range(parts):
        known = updated(known, 0.42, 1000.0, rule)
    needed_w = 1000.0 + 0.08 / B
    assert 1000.0 < power_for(known, TARGET_MM, rule) < needed_w + 30.0
