"""ΔR of cell groups: what the line's slope is, and what it does not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twinloop.features.cells import SNIPPET, against_baseline, slopes

GROUPS = 13


def snippets(
    seed: int, count: int, resistance_uohm: NDArray[np.float64], noise_v: float
) -> NDArray[np.float32]:
    """Windows [count, SNIPPET, 1 + GROUPS] of packs whose groups have these resistances."""
    draw = np.random.default_rng(seed)
    current = 60 + 70 * draw.standard_normal((count, SNIPPET, 1))
    common = 3.7 + 0.05 * draw.standard_normal((count, SNIPPET, 1))
    voltage = common - current * resistance_uohm * 1e-6
    voltage = voltage + noise_v * draw.standard_normal(voltage.shape)
    return np.concatenate([current, voltage], axis=2).astype(np.float32)


def test_without_noise_it_is_the_resistance_less_the_median_groups() -> None:
    resistance = 1000 + 30 * np.random.default_rng(1).standard_normal(GROUPS)
    found = slopes(snippets(2, 4, resistance, 0.0))
    assert found.delta_r_uohm == pytest.approx(
        np.broadcast_to(resistance - np.median(resistance), (4, GROUPS)), abs=0.05
    )


def test_the_standard_error_is_what_the_estimates_scatter() -> None:
    found = slopes(snippets(3, 2000, np.full(GROUPS, 1000.0), 1.5e-3))
    assert found.delta_r_uohm.std() == pytest.approx(found.se_uohm.mean(), rel=0.02)
    assert found.noise.mean() == pytest.approx(1.0, abs=0.05)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), offset=st.floats(-0.2, 0.2), order=st.permutations(range(GROUPS)))
def test_it_knows_neither_the_level_nor_the_order_of_the_groups(
    seed: int, offset: float, order: list[int]
) -> None:
    windows = snippets(seed, 2, 1000 + 30 * np.random.default_rng(seed).standard_normal(GROUPS), 1e-3)
    moved = windows.copy()
    moved[:, :, 1:] = windows[:, :, 1:][:, :, order] + np.float32(offset)
    before, after = slopes(windows), slopes(moved)
    assert after.delta_r_uohm == pytest.approx(before.delta_r_uohm[:, order], abs=0.1)
    assert after.se_uohm == pytest.approx(before.se_uohm[:, order], abs=0.1)


def test_a_minute_that_says_nothing_has_a_finite_answer_in_which_nothing_stands_out() -> None:
    still = snippets(6, 1, 1000 + 300 * np.eye(GROUPS)[3], 1e-3)
    still[:, :, 0] = 50.0
    for windows in (still, np.zeros((1, SNIPPET, 1 + GROUPS), np.float32)):
        found = slopes(windows)
        assert np.isfinite([found.delta_r_uohm, found.se_uohm, found.noise]).all()
        assert (np.abs(found.delta_r_uohm) < found.se_uohm).all()


def test_a_group_is_judged_by_its_own_past_and_not_by_its_neighbours() -> None:
    baseline = np.array([[-60.0, -20.0, 0.0, 15.0, 40.0]])
    now = baseline + np.array([[108.0, 0.0, 0.0, 0.0, 0.0]])
    gained, se, z = against_baseline(now, np.full((1, 5), 2.8), baseline, np.full((1, 5), 1.25))
    assert gained[0, 0] == pytest.approx(108.0)
    assert se[0, 0] == pytest.approx(np.hypot(2.8, 1.25))
    assert z[0, 0] > 30
    assert np.abs(z[0, 1:]).max() == 0.0


def test_what_cannot_be_compared_has_no_finite_z() -> None:
    now, se = np.array([10.0, np.nan, 10.0, 0.0]), np.array([0.0, 2.8, np.nan, 0.0])
    assert not np.isfinite(against_baseline(now, se, np.zeros(4), np.zeros(4))[2]).any()
