"""The guards, one by one and as a whole: what passes them keeps every limit of this service's own file."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.changes import Action, Diagnosis, Hold, Parameter, Proposed, SetParameter
from twinloop.line.guard import Case, refusal
from twinloop.line.ledger import Touched
from twinloop.line.limits import Cooldown, ParameterLimits, Range, StationLimits
from twinloop.line.plc import EXECUTE, HELD, Device

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LIMITS = StationLimits(
    station="weld1",
    laser_power_w=ParameterLimits(
        hard=Range(low=800, high=1400),
        operator=Range(low=850, high=1350),
        step=30,
        deadband=5,
        tolerance=0.5,
    ),
    focus_mm=ParameterLimits(
        hard=Range(low=-2, high=2),
        operator=Range(low=-1.5, high=1.5),
        step=0.25,
        deadband=0.05,
        tolerance=0.005,
    ),
    cooldown=Cooldown(parts=10, seconds=0.3),
    read_back_s=0.05,
)


def case(
    action: Action,
    *,
    power_w: float = 1000.0,
    focus_mm: float = 0.0,
    mode: str = EXECUTE,
    recipe: str = "r",
    parts: int = 100,
    touched: Touched | None = None,
) -> Case:
    proposed = Proposed(
        event_id="e",
        asset="a",
        at=NOW,
        observed_at=NOW,
        trace_id="",
        change_id="c",
        action=action,
        diagnosis=Diagnosis.DIRTY_WINDOW,
        recipe="r",
        reason="",
        evidence=(),
        expires_at=NOW + timedelta(seconds=5),
        model="m",
        model_version=1,
        input_digest="",
    )
    return Case(proposed, Device(power_w, focus_mm, parts, mode, recipe, 0, ""), touched, LIMITS, NOW)


def power(value: float, expected: float = 1000.0) -> SetParameter:
    return SetParameter(parameter=Parameter.LASER_POWER_W, value=value, expected=expected)


def focus(value: float, expected: float = 0.0) -> SetParameter:
    return SetParameter(parameter=Parameter.FOCUS_MM, value=value, expected=expected)


def guard(one: Case) -> str | None:
    refused = refusal(one)
    return None if refused is None else refused.guard


@pytest.mark.parametrize(
    ("one", "objects"),
    [
        (case(power(1400.0, 1380.0), power_w=1380.0), "operator_limits"),
        (case(power(1400.1, 1380.0), power_w=1380.0), "hard_limits"),
        (case(power(799.9, 810.0), power_w=810.0), "hard_limits"),
        (case(power(math.nan)), "hard_limits"),
        (case(power(math.inf)), "hard_limits"),
        (case(power(1350.0, 1330.0), power_w=1330.0), None),
        (case(power(1350.1, 1330.0), power_w=1330.0), "operator_limits"),
        (case(power(850.0, 870.0), power_w=870.0), None),
        (case(power(1030.0)), None),
        (case(power(1030.1)), "step"),
        (case(power(1005.0)), None),
        (case(power(1004.9)), "deadband"),
        (case(power(1020.0), power_w=1000.1), "compare_and_set"),
        (case(power(1020.0), power_w=1000.0001), None),
        (case(power(1020.0, math.nan)), "compare_and_set"),
        (case(power(1020.0), power_w=math.nan), "compare_and_set"),
        (case(focus(0.25)), None),
        (case(focus(-0.26)), "step"),
        (case(focus(0.04)), "deadband"),
        (case(focus(1.6, 1.4), focus_mm=1.4), "operator_limits"),
        (case(focus(2.1, 1.9), focus_mm=1.9), "hard_limits"),
        (case(power(1020.0), mode=HELD), "permissive"),
        (case(power(1020.0), recipe="other"), "permissive"),
        (case(Hold(reason="gap"), mode=HELD, recipe="other", power_w=math.nan), None),
    ],
)
def test_each_limit_holds_to_the_last_digit(one: Case, objects: str | None) -> None:
    assert guard(one) == objects


@pytest.mark.parametrize(
    ("action", "last_was_hold", "parts", "seconds", "objects"),
    [
        (power(1020.0), False, 10, 0.3, None),
        (power(1020.0), False, 9, 3600.0, "cooldown"),
        (power(1020.0), False, 1000, 0.29, "cooldown"),
        (focus(0.25), False, 9, 3600.0, "cooldown"),
        (power(1020.0), True, 9, 3600.0, "cooldown"),
        (Hold(reason="gap"), False, 0, 0.0, None),
        (Hold(reason="gap"), True, 9, 3600.0, "cooldown"),
        (Hold(reason="gap"), True, 10, 0.3, None),
    ],
)
def test_the_cooldown_is_counted_in_parts_and_in_seconds(
    action: Action, last_was_hold: bool, parts: int, seconds: float, objects: str | None
) -> None:
    touched = Touched(NOW - timedelta(seconds=seconds), 100, last_was_hold)
    assert guard(case(action, parts=100 + parts, touched=touched)) == objects


numbers = st.one_of(st.floats(), st.floats(700, 1500), st.floats(-3, 3))


@given(
    st.sampled_from(Parameter),
    numbers,
    st.one_of(numbers, st.floats(-40, 40)),
    st.one_of(st.none(), numbers),
    st.sampled_from([EXECUTE, EXECUTE, HELD, ""]),
    st.sampled_from(["r", "r", "other"]),
    st.integers(5, 30),
    st.floats(0, 2),
)
def test_what_passes_is_within_every_limit_and_what_is_within_passes(
    parameter: Parameter,
    actual: float,
    moved: float,
    expected: float | None,
    mode: str,
    recipe: str,
    parts: int,
    seconds: float,
) -> None:
    value, expected = actual + moved, actual if expected is None else expected
    touched = Touched(NOW - timedelta(seconds=seconds), 100, hold=False)
    one = case(
        SetParameter(parameter=parameter, value=value, expected=expected),
        power_w=actual,
        focus_mm=actual,
        mode=mode,
        recipe=recipe,
        parts=100 + parts,
        touched=touched,
    )
    limits = LIMITS.of(parameter)
    allowed = (
        limits.operator.low <= value <= limits.operator.high
        and math.isclose(expected, actual, rel_tol=1e-6, abs_tol=1e-6)
        and limits.deadband <= abs(value - actual) <= limits.step * (1 + 1e-9)
        and mode == EXECUTE
        and recipe == "r"
        and parts >= 10
        and NOW - touched.at >= timedelta(seconds=0.3)
    )
    assert (refusal(one) is None) == allowed
