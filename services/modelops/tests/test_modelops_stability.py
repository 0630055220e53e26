"""Population stability: what is called a shift, and what is not."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.models import Reference
from twinloop.modelops.stability import Shift, Stability, psi

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEVELS = np.linspace(0, 1, 21)


def reference(learnt: np.ndarray) -> Reference:
    return Reference(windows=len(learnt), quantiles={"x": tuple(np.quantile(learnt, LEVELS).tolist())})


def shift(learnt: np.ndarray, seen: np.ndarray) -> Shift:
    one = Stability(reference(learnt), HOUR)
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


@pytest.mark.parametrize("learnt", [np.full(1000, 5.0), np.maximum(np.linspace(0, 10, 1000), 5.0)])
@pytest.mark.parametrize("seen", [0.0, 4.999, 10.01, 1e6])
def test_what_was_never_learnt_from_is_a_shift_on_either_side(learnt: np.ndarray, seen: float) -> None:
    """Also below and above a value that is frequent, such as a limit at which a sensor is cut off."""
    assert shift(learnt, np.full(200, seen)).large


def test_what_quantiles_leave_open_is_no_shift() -> None:
    """That a value has between 95 and 100 % is all that twenty-one of them say."""
    learnt = np.concatenate([np.zeros(995), np.linspace(1, 2, 5)])
    assert shift(learnt, np.concatenate([np.zeros(9_990), np.ones(10)])).psi < 0.05
    assert shift(learnt, np.concatenate([np.zeros(970), np.ones(30)])).psi < 0.05
    assert shift(learnt, np.concatenate([np.zeros(500), np.ones(500)])).large


@pytest.mark.parametrize("few", [30, 60, 200])
def test_a_reference_of_few_windows_is_no_shift(few: int) -> None:
    rng = np.random.default_rng(10)
    found = [shift(rng.normal(size=few), rng.normal(size=500)) for _ in range(60)]
    assert not any(one.large for one in found)


def test_what_was_seen_two_epochs_ago_does_not_count() -> None:
    one = Stability(reference(np.arange(1000.0)), HOUR)
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
