"""What each fault does, and only while it is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.simulator.faults import (
    ClockError,
    DataBeforeBirth,
    Defocus,
    Fault,
    Gap,
    LocalGap,
    NotANumber,
    PowerError,
    SensorBias,
    SensorDropOut,
    SensorFreeze,
    WindowDrift,
    WindowStep,
    WrongRecipe,
    clock_offset_s,
    conditions,
    disturb_signals,
    loses_its_birth,
    missing_signals,
    recipe_in_force,
)
from twinloop.simulator.process import SIGNALS, Conditions

SAMPLES = np.arange(12, dtype=np.float32).reshape(2, 6)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (WindowStep(start=5, transmission=0.8), Conditions(window_transmission=0.8)),
        (Defocus(start=5, offset_mm=-0.5), Conditions(defocus_mm=-0.5)),
        (Gap(start=5, gap_um=140), Conditions(gap_um=140)),
        (LocalGap(start=5, gap_um=140), Conditions(local_gap_um=140)),
        (PowerError(start=5, factor=1.2), Conditions(power_factor=1.2)),
    ],
)
def test_a_step_is_there_from_its_start(fault: Fault, expected: Conditions) -> None:
    assert conditions([fault], 4) == Conditions()
    assert conditions([fault], 5) == expected
    assert conditions([fault], 5000) == expected


def test_a_fault_may_end() -> None:
    fault = Gap(start=2, until=4, gap_um=140)
    assert [conditions([fault], n).gap_um for n in range(6)] == [20, 20, 140, 140, 20, 20]


def test_the_window_drifts_by_the_same_amount_each_weld() -> None:
    fault = WindowDrift(start=10)
    seen = [conditions([fault], n).window_transmission for n in (9, 10, 11, 509)]
    assert seen == pytest.approx([1, 0.9996, 0.9992, 0.8])


@given(st.integers(0, 10**6), st.floats(-1, 1))
def test_a_window_never_lets_less_than_nothing_or_more_than_all_through(number: int, per_weld: float) -> None:
    drift = WindowDrift(start=0, per_weld=per_weld)
    assert 0 <= conditions([drift], number).window_transmission <= 1


def test_faults_of_one_quantity_combine() -> None:
    faults: list[Fault] = [
        WindowStep(start=0, transmission=0.9),
        WindowStep(start=0, transmission=0.5),
        Defocus(start=0, offset_mm=0.5),
        Defocus(start=0, offset_mm=-0.2),
    ]
    combined = conditions(faults, 0)
    assert combined.window_transmission == pytest.approx(0.45)
    assert combined.defocus_mm == pytest.approx(0.3)


def test_sensor_faults_touch_their_signal_only_and_a_copy() -> None:
    before = SAMPLES.copy()
    bias = disturb_signals([SensorBias(start=0, signal="plasma", offset=0.5)], 0, SAMPLES)
    assert bias[:, 0].tolist() == [0.5, 6.5]
    freeze = disturb_signals([SensorFreeze(start=0, signal="oct_depth_mm", value=0.5)], 0, SAMPLES)
    assert freeze[:, 3].tolist() == [0.5, 0.5]
    broken = disturb_signals([NotANumber(start=0, signal="clamp_force_n")], 0, SAMPLES)
    assert np.isfinite(broken[:, 5]).tolist() == [True, False]
    infinite = disturb_signals([NotANumber(start=0, signal="clamp_force_n", infinite=True)], 0, SAMPLES)
    assert np.isinf(infinite[:, 5]).tolist() == [False, True]
    for disturbed, column in ((bias, 0), (freeze, 3), (broken, 5)):
        assert np.array_equal(np.delete(disturbed, column, 1), np.delete(before, column, 1))
    assert np.array_equal(SAMPLES, before)
    assert disturb_signals([SensorBias(start=1, signal="plasma", offset=1)], 0, SAMPLES) is SAMPLES


def test_other_faults_say_what_they_are_asked() -> None:
    faults: list[Fault] = [
        SensorDropOut(start=3, signal="plasma"),
        WrongRecipe(start=3, until=5, recipe="other"),
        ClockError(start=3, offset_s=3600),
        DataBeforeBirth(start=3),
    ]
    assert missing_signals(faults, 2) == frozenset()
    assert missing_signals(faults, 3) == {"plasma"}
    assert [recipe_in_force(faults, n, "own") for n in (2, 3, 4, 5)] == ["own", "other", "other", "own"]
    assert [clock_offset_s(faults, n) for n in (2, 3)] == [0, 3600]
    assert [loses_its_birth(faults, n) for n in (2, 3, 4)] == [False, True, False]


def test_signal_names_of_faults_are_those_of_the_process() -> None:
    for signal in SIGNALS:
        disturb_signals([SensorBias(start=0, signal=signal, offset=0)], 0, SAMPLES)  # type: ignore[arg-type]
