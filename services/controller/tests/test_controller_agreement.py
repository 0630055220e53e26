"""Sensors that tell one story are believed, and those that contradict each other are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.weldloop import POLICY, REFERENCE

from twinloop.contracts.changes import Diagnosis
from twinloop.controller.agreement import Story, agreed, distance_mm, state, story
from twinloop.controller.diagnose import Reading, diagnose

DEPTH, TEMPERATURE, REFLECTION, PLASMA = REFERENCE


def shown(
    tau: float = 1.0,
    z_mm: float = 0.0,
    factor: float = 1.0,
    power_w: float = 1000.0,
    gap: float = 0.0,
    **bias: float,
) -> Reading:
    """What the sensors of a part read, without noise; `bias` is added to a signal by its first word."""
    ratio = factor * power_w / 1000.0
    energy = tau * ratio * (1 + (z_mm / 1.2) ** 2) ** -0.75
    features = {
        DEPTH: max(0.0, 0.5 * (energy - 0.4) / 0.6),
        TEMPERATURE: 28 + 60 * (1 - tau) * ratio,
        REFLECTION: tau**2 * ratio * (1 + 1 / 9) / (1 + ((z_mm - 0.4) / 1.2) ** 2),
        PLASMA: 0.8 * energy + 0.1 + gap,
    }
    for name in features:
        features[name] += bias.get(name.partition(".")[0], 0.0)
    deviations = {name: (features[name] - mean) / sd for name, (mean, sd) in REFERENCE.items()}
    return diagnose(features, deviations, POLICY.diagnosis)


@given(st.floats(0.65, 1.0), st.floats(-1.2, 1.2), st.floats(850, 1350))
def test_a_dirty_window_and_a_defocus_in_any_mixture_are_one_story(
    tau: float, z_mm: float, power_w: float
) -> None:
    assert story(shown(tau, z_mm, power_w=power_w), power_w, POLICY) is Story.ONE


@given(st.floats(0.7, 1.0), st.floats(-0.8, 0.8), st.floats(900, 1300))
def test_the_state_is_found_again(tau: float, z_mm: float, power_w: float) -> None:
    seen = state(shown(tau, z_mm, power_w=power_w), power_w, POLICY)
    assert seen is not None
    assert seen.transmission == pytest.approx(tau, abs=1e-6)
    assert distance_mm(seen.coupling, POLICY) == pytest.approx(abs(z_mm), abs=0.03)


@given(st.one_of(st.floats(0.75, 0.92), st.floats(1.08, 1.45)), st.floats(850, 1150))
def test_what_lifts_depth_plasma_and_reflection_by_one_factor_is_a_power_error(
    factor: float, power_w: float
) -> None:
    reading = shown(factor=factor, power_w=power_w)
    assert agreed(reading, power_w, POLICY) is Diagnosis.POWER_ERROR


@pytest.mark.parametrize(
    "bias",
    [
        {"window_temperature_c": 4.5},
        {"oct_depth_mm": -0.1},
        {"oct_depth_mm": 0.1},
        {"plasma": -0.4},
        {"back_reflection": -0.2},
        {"back_reflection": 0.25},
    ],
)
@pytest.mark.parametrize("power_w", [900.0, 1000.0, 1100.0])
def test_one_sensor_that_is_wrong_is_no_fault_of_the_process(bias: dict[str, float], power_w: float) -> None:
    reading = shown(power_w=power_w, tau=min(1.0, 1000.0 / power_w), **bias)
    assert agreed(reading, power_w, POLICY) is Diagnosis.SENSOR_FAULT


def test_no_window_is_colder_than_a_clean_one() -> None:
    assert agreed(shown(window_temperature_c=-4.0), 1000.0, POLICY) is Diagnosis.SENSOR_FAULT


def test_two_things_at_once_are_not_called_one() -> None:
    assert story(shown(tau=0.85, factor=1.3), 1000.0, POLICY) is Story.SEVERAL
    assert agreed(shown(tau=0.85, factor=1.3), 1000.0, POLICY) is Diagnosis.UNKNOWN


def test_a_gap_speaks_for_itself_and_bad_input_for_nothing() -> None:
    gap = shown(gap=0.6, back_reflection=-0.3)
    assert agreed(gap, 1000.0, POLICY) is Diagnosis.GAP
    unsound = replace(shown(back_reflection=-0.3), diagnosis=Diagnosis.UNKNOWN, sound=False)
    assert agreed(unsound, 1000.0, POLICY) is Diagnosis.UNKNOWN


def test_where_hardly_anything_couples_depth_contradicts_nothing() -> None:
    reading = shown(z_mm=1.9)
    assert reading.depth_mm < POLICY.agreement.least_depth_mm
    assert agreed(reading, 1000.0, POLICY) is reading.diagnosis is Diagnosis.DEFOCUS


def test_the_power_that_the_part_was_made_with_counts() -> None:
    reading = shown(tau=0.8, power_w=1250.0)
    assert agreed(reading, 1250.0, POLICY) is Diagnosis.DIRTY_WINDOW
    assert agreed(reading, 1000.0, POLICY) is not Diagnosis.DIRTY_WINDOW
