"""What is fitted: thresholds that hold what they promise, references that a few faults do not move."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twinloop.trainer.errors import UnfitData
from twinloop.trainer.fit import MARGIN, answer, f_quantile, features_of, fit_mahalanobis, fit_pca
from twinloop.trainer.recipes import RECIPES, Statistic

BOTH = (Statistic.MEAN, Statistic.STD)
MEAN = (Statistic.MEAN,)


def healthy(seed: int, count: int, signals: int = 3, rows: int = 20) -> NDArray[np.float32]:
    """Windows whose level varies from window to window, alike in all signals, under noise."""
    draw = np.random.default_rng(seed)
    level = draw.standard_normal((count, 1, 1)) + 0.5 * draw.standard_normal((count, 1, signals))
    return np.asarray(100 + level + draw.standard_normal((count, rows, signals)), np.float32)


@pytest.mark.parametrize(
    ("p", "a", "b", "known"),
    [(0.95, 5, 10, 3.326), (0.99, 10, 20, 3.368), (0.95, 12, 60, 1.917), (0.99, 12, 120, 2.336)],
)
def test_the_quantiles_of_f_are_those_of_the_tables(p: float, a: float, b: float, known: float) -> None:
    assert f_quantile(p, a, b) == pytest.approx(known, rel=0.005)


def test_far_out_the_quantile_of_f_is_what_ratios_of_chi_squares_give() -> None:
    draw = np.random.default_rng(1)
    ratios = (draw.chisquare(12, 2_000_000) / 12) / (draw.chisquare(388, 2_000_000) / 388)
    assert f_quantile(1 - 1e-4, 12, 388) == pytest.approx(np.quantile(ratios, 1 - 1e-4), rel=0.03)


def test_features_are_named_in_the_order_of_their_columns() -> None:
    windows = np.arange(2 * 4 * 2, dtype=np.float32).reshape(2, 4, 2)
    assert features_of(windows, BOTH).tolist() == [
        [3.0, 4.0, np.sqrt(5.0), np.sqrt(5.0)],
        [11.0, 12.0, np.sqrt(5.0), np.sqrt(5.0)],
    ]
    assert RECIPES["weld.v1"].features[5:7] == ("clamp_force_n.mean", "plasma.std")
    assert len(RECIPES["weld.v1"].features) == 12


@pytest.mark.parametrize("wanted", [1e-2, 1e-3])
def test_of_fresh_healthy_windows_about_the_wanted_share_is_above_the_threshold(wanted: float) -> None:
    model = fit_mahalanobis(healthy(1, 400), BOTH, wanted)
    above = (answer(model, healthy(2, 20_000)).score > model.threshold).mean()
    assert above <= 2 * wanted


def test_the_threshold_is_above_every_window_that_was_learnt_from() -> None:
    windows = healthy(1, 400)
    model = fit_mahalanobis(windows, BOTH, 0.4)
    assert model.threshold == pytest.approx(MARGIN * answer(model, windows).score.max())


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    factors=st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
)
def test_units_do_not_matter(seed: int, factors: list[float]) -> None:
    """The score of a window is the same whichever unit each signal comes in."""
    windows, fresh = healthy(seed, 200), healthy(seed + 1, 50)
    other = np.array(factors, np.float32)
    plain = fit_mahalanobis(windows, BOTH, 1e-3)
    scaled = fit_mahalanobis(windows * other, BOTH, 1e-3)
    assert np.allclose(answer(plain, fresh).score, answer(scaled, fresh * other).score, rtol=1e-2, atol=1e-2)
    assert scaled.threshold == pytest.approx(plain.threshold, rel=1e-2)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), signal=st.integers(0, 2), shift=st.sampled_from([-30.0, 30.0]))
def test_a_shift_of_one_signal_is_anomalous_and_its_deviation_says_which_way(
    seed: int, signal: int, shift: float
) -> None:
    model = fit_mahalanobis(healthy(seed, 200), BOTH, 1e-5)
    faulty = healthy(seed + 1, 20)
    faulty[:, :, signal] += shift
    said = answer(model, faulty)
    assert (said.score > model.threshold).all()
    assert (np.sign(said.deviations[:, signal]) == np.sign(shift)).all()
    others = np.delete(said.deviations[:, :3], signal, axis=1)
    assert np.abs(others).max() < np.abs(said.deviations[:, signal]).min()


def test_a_few_faulty_windows_do_not_move_the_reference_and_many_are_refused() -> None:
    windows = healthy(1, 400)
    clean = fit_mahalanobis(windows, BOTH, 1e-5)
    windows[:12] += 500
    soiled = fit_mahalanobis(windows, BOTH, 1e-5)
    assert np.allclose(soiled.centre, clean.centre, rtol=0.01)
    assert np.allclose(soiled.scale, clean.scale, rtol=0.1)
    windows[:40] += 500
    with pytest.raises(UnfitData, match="40 of 400 windows are unlike the others"):
        fit_mahalanobis(windows, BOTH, 1e-5)


def test_what_no_model_can_be_made_of_is_refused() -> None:
    with pytest.raises(UnfitData, match="too few"):
        fit_mahalanobis(healthy(1, 10), BOTH, 1e-5)
    with pytest.raises(UnfitData, match="too few"):
        fit_pca(healthy(1, 30), MEAN)
    broken = healthy(1, 400)
    broken[7, 3, 1] = np.nan
    for fit in (lambda: fit_mahalanobis(broken, BOTH, 1e-5), lambda: fit_pca(broken, MEAN)):
        with pytest.raises(UnfitData, match="finite"):
            fit()


def test_a_signal_that_stands_still_gives_finite_answers() -> None:
    windows = healthy(1, 400)
    windows[:, :, 1] = 32.0
    for model in (fit_mahalanobis(windows, BOTH, 1e-5), fit_pca(windows, MEAN)):
        assert np.isfinite(answer(model, windows).score).all()
        assert np.isfinite(answer(model, np.zeros_like(windows)).score).all()
        assert np.isfinite(model.threshold)


def test_the_combined_index_is_t_squared_and_q_over_their_limits() -> None:
    windows = healthy(1, 300)
    features = features_of(windows, MEAN)
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    variance = singular**2 / len(z)
    kept = int(np.searchsorted(np.cumsum(variance) / variance.sum(), 0.9)) + 1
    assert kept == 2
    t2 = np.square(z @ axes[:kept].T / np.sqrt(variance[:kept])).sum(axis=1)
    q = np.square(z - z @ axes[:kept].T @ axes[:kept]).sum(axis=1)
    expected = t2 / np.quantile(t2, 0.99) + q / np.quantile(q, 0.99)
    assert np.allclose(answer(fit_pca(windows, MEAN), windows).score, expected)


def test_the_threshold_allows_for_the_drift_of_the_recording_itself() -> None:
    still, drifting = healthy(1, 400), healthy(1, 400)
    drifting += np.linspace(0, 20, 400, dtype=np.float32)[:, None, None]
    assert fit_pca(drifting, MEAN).threshold > 1.5 * fit_pca(still, MEAN).threshold
