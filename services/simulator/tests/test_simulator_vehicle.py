"""What a vehicle sends, by the figures of the reference plant, and what can be found in it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from twinloop.features.cells import against_baseline, slopes
from twinloop.simulator.fleets import vehicle
from twinloop.simulator.fleets.vehicle import cells, drive, frames, measured_delta_uohm

GROUPS = 96
NOMINAL_OHM = 42e-6


def delta_r(
    generator: np.random.Generator, cell_ohm: NDArray[np.float64], joint_ohm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ΔR and its standard error, as found in one minute of each vehicle."""
    found = slopes(drive(generator, cell_ohm, joint_ohm).windows())
    return found.delta_r_uohm, found.se_uohm


def excess_temperature_k(joint_ohm: float, rms_a: float) -> float:
    """How much warmer than a nominal one a joint settles at this current."""
    return vehicle.R_TH_K_PER_W * rms_a**2 * (joint_ohm - NOMINAL_OHM)


@pytest.mark.parametrize(
    ("joint_uohm", "millivolts", "kelvins"), [(80, 9.5, 1.4), (150, 27, 3.9), (300, 65, 9.3), (800, 190, 27)]
)
def test_excess_voltage_and_temperature_are_those_of_the_reference_plant(
    joint_uohm: float, millivolts: float, kelvins: float
) -> None:
    assert 250e3 * (joint_uohm * 1e-6 - NOMINAL_OHM) == pytest.approx(millivolts, abs=0.6)
    assert excess_temperature_k(joint_uohm * 1e-6, 120.0) == pytest.approx(kelvins, rel=0.03)


def test_a_minute_shows_the_joint_in_its_group_and_the_group_is_warmer() -> None:
    draw = np.random.default_rng(1)
    joints = np.full((200, GROUPS), NOMINAL_OHM)
    joints[:, 7] = 800e-6
    snippet = drive(draw, np.full((200, GROUPS), vehicle.CELL_OHM), joints)
    found = slopes(snippet.windows())
    assert found.delta_r_uohm[:, 7].mean() == pytest.approx(758, abs=2)
    assert np.delete(found.delta_r_uohm, 7, axis=1).mean() == pytest.approx(0.0, abs=0.2)
    rms = np.sqrt(np.square(snippet.current_a).mean(axis=1))
    warmer = (snippet.temperature_c[:, :, 7] - snippet.temperature_c[:, :, 8]).mean(axis=1)
    settled = np.array([excess_temperature_k(800e-6, one) for one in rms])
    assert warmer.mean() == pytest.approx(settled.mean(), rel=0.05)


def test_voltages_come_in_steps_of_the_converter_and_stay_within_a_cells_range() -> None:
    draw = np.random.default_rng(2)
    snippet = drive(
        draw,
        cells(draw, 50, GROUPS),
        np.full((50, GROUPS), NOMINAL_OHM),
        soc_percent=draw.uniform(15, 95, 50),
        ambient_c=draw.uniform(-10, 35, 50),
    )
    steps = snippet.voltage_v / vehicle.LSB_V
    assert np.abs(steps - np.round(steps)).max() < 1e-6
    assert snippet.voltage_v.min() > 2.8
    assert snippet.voltage_v.max() < 4.3
    assert ((snippet.soc_percent > 10) & (snippet.soc_percent < 100)).all()


def test_delta_r_is_known_to_about_three_micro_ohm_after_a_minute() -> None:
    """Measured twice: the pack's median voltage is that of other groups at another current, which shifts
    all of a pack's ΔR by about 1.4 µΩ, the same each time, and so not against a baseline."""
    draw = np.random.default_rng(3)
    packs = 300
    resistance = cells(draw, packs, GROUPS)
    joints = np.full((packs, GROUPS), NOMINAL_OHM)
    once, se = delta_r(draw, resistance, joints)
    again, se_again = delta_r(draw, resistance, joints)
    assert 2.6 <= se.mean() <= 3.0
    assert 2.6 <= (once - again).std() / np.sqrt(2) <= 3.0
    assert against_baseline(again, se_again, once, se)[2].std() == pytest.approx(1.0, abs=0.03)
    truth = 1e6 * (resistance - np.median(resistance, axis=1, keepdims=True))
    away = once - truth
    assert 2.6 <= (away - away.mean(axis=1, keepdims=True)).std() <= 3.0


def test_the_spread_of_the_cells_hides_what_a_groups_own_baseline_shows() -> None:
    """+108 µΩ at z > 5: in about one of ten packs against the other cells, in all against the baseline."""
    draw = np.random.default_rng(4)
    packs = 1000
    resistance = cells(draw, packs, GROUPS)
    joints = np.full((packs, GROUPS), NOMINAL_OHM)
    baseline, baseline_se = delta_r(draw, resistance, joints)
    aged = joints.copy()
    group = draw.integers(0, GROUPS, packs)
    aged[np.arange(packs), group] += 108e-6
    now, se = delta_r(draw, resistance, aged)
    # The spread of the pack, which holds the cells' as well as the estimator's, taken robustly.
    away = now - np.median(now, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(away), axis=1)
    z_others = away[np.arange(packs), group] / spread
    z_own = against_baseline(now, se, baseline, baseline_se)[2]
    assert 0.06 <= (z_others > 5).mean() <= 0.14
    assert (z_own[np.arange(packs), group] > 5).all()
    healthy = np.ones((packs, GROUPS), bool)
    healthy[np.arange(packs), group] = False
    assert (z_own[healthy] > 5).mean() < 1e-4


@pytest.mark.parametrize("groups", [7, 96])
def test_the_tester_finds_what_the_loop_finds(groups: int) -> None:
    draw = np.random.default_rng(1)
    minutes = frames(draw, cells(draw, 20, groups) + 42e-6, np.zeros(20))
    delta, se = measured_delta_uohm(minutes)
    found = slopes(minutes[:, :, :-1])
    assert delta == pytest.approx(found.delta_r_uohm, abs=0.01)
    assert se.mean() == pytest.approx(found.se_uohm.mean(), rel=0.05)
