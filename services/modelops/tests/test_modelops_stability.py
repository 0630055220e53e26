"""Population stability: what is called a shift, and what is not."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.modelops.stability import Shift, Stability, psi

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEVELS = np.linspace(0, 1, 21)


def shift(learnt: np.ndarray, seen: np.ndarray) -> Shift:
    one = Stability({"x": np.quantile(learnt, LEVELS).tolist()}, HOUR)
    for value in seen.tolist():
        one.add({"x": value, "unknown": 1.0}, T0)
    (found,) = one.shifts()
    return found


def test_the_index_is_that_of_the_textbook() -> None:
    """Ten equal shares against five of 5 % and five of 15 %, by hand."""
    assert psi([0.1] * 10, [0.1] * 10) == 0
    half = [0.05] * 5 + [0.15] * 5
    assert psi([0.1] * 10, half) == pytest.approx(5 * (-0.05 * math.log(0.5) + 0.05 * math.log(1.5)))


def test_without_a_shift_chance_is_told_from_it() -> None:
    """Of 200 lists of the same kind none is called shifted, however short, and few exceed chance."""
    rng = np.random.default_rng(7)
    learnt = rng.normal(size=20_000)
    for count in (20, 100, 1000):
        found = [shift(learnt, rng.normal(size=count)) for _ in range(200)]
        assert not any(one.large for one in found)
        assert sum(one.psi > one.chance for one in found) <= 2


@pytest.mark.parametrize(("mean", "sigma"), [(1.0, 1.0), (-1.0, 1.0), (0.0, 2.0), (0.0, 0.4)])
def test_a_shift_of_a_standard_deviation_or_of_spread_is_found(mean: float, sigma: float) -> None:
    rng = np.random.default_rng(8)
    assert shift(rng.normal(size=20_000), rng.normal(mean, sigma, size=500)).large


def test_a_value_that_fills_several_bins_is_one() -> None:
    rng = np.random.default_rng(9)
    learnt = rng.choice([0.0, 0.0, 0.0, 1.0, 2.0], size=5000)
    assert shift(learnt, rng.choice([0.0, 0.0, 0.0, 1.0, 2.0], size=1000)).psi < 0.02
    assert shift(learnt, rng.choice([0.0, 2.0, 2.0], size=1000)).large
    assert shift(np.ones(100), np.ones(50)).psi < 0.05
    assert shift(np.ones(100), np.zeros(50) + 2).large


def test_what_was_seen_two_epochs_ago_does_not_count() -> None:
    one = Stability({"x": np.quantile(np.arange(1000.0), LEVELS).tolist()}, HOUR)
    assert list(one.shifts()) == []
    for hour, low in ((0, 0), (1, 500), (2, 500)):
        for value in range(low, 1000):
            one.add({"x": float(value)}, T0 + hour * HOUR)
        (found,) = one.shifts()
        assert found.count == {0: 1000, 1: 1500, 2: 1000}[hour]
    assert found.large


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60))
def test_anything_finite_has_a_finite_index(seen: list[float]) -> None:
    found = shift(np.random.default_rng(1).normal(size=500), np.array(seen))
    assert found.count == len(seen)
    assert math.isfinite(found.psi)
    assert found.psi >= 0
