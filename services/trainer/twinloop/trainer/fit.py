"""Fits a model of the healthy state on its windows. Pure: the same windows give the same model.

Every model here is one quadratic form. With f the features of a window and z = (f - centre) / scale their
deviations, score = |z W|². What W is, and so what the score means, is the choice of each fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from twinloop.trainer.errors import UnfitData
from twinloop.trainer.recipes import Statistic

Floats = NDArray[np.float64]
Windows = NDArray[np.float32]

OUTLIER = 6.0
"""Robust standard deviations beyond which a window is no part of the healthy reference."""
MAX_OUTLIERS = 0.05
"""More outliers than this share, and the recording is not of a healthy asset."""
MARGIN = 1.25
"""The threshold lies at least this far above the highest healthy score: features are not quite normal."""
ONE_BY_ONE = (
    "windows are judged one by one: what is unusual only in how they follow each other is not seen",
    "it follows no drift: after a lasting change that is no fault, fit it anew",
)
"""Limits of every model here, for its card."""
EXPLAINED = 0.9
FOLDS = 5
_RELATIVE_FLOOR = 1e-4
_SMALL = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """`centre` and `scale` float64 [K], in the features' units; `weights` float64 [K, R].

    A window is anomalous when its score is above `threshold`.
    """

    statistics: tuple[Statistic, ...]
    centre: Floats
    scale: Floats
    weights: Floats
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model says of N windows: `score` [N]; `features` and `deviations` [N, K]."""

    score: Floats
    features: Floats
    deviations: Floats


def features_of(windows: Windows, statistics: Sequence[Statistic]) -> Floats:
    """float64 [N, K] of `windows` [N, window, signals]: statistic by statistic, signal by signal."""
    values = windows.astype(np.float64)
    taken = {Statistic.MEAN: lambda: values.mean(axis=1), Statistic.STD: lambda: values.std(axis=1)}
    return np.concatenate([taken[one]() for one in statistics], axis=1)


def answer(model: Model, windows: Windows) -> Answer:
    """What the model says of `windows`; the reference for what is served."""
    features = features_of(windows, model.statistics)
    deviations = (features - model.centre) / model.scale
    return Answer(np.square(deviations @ model.weights).sum(axis=1), features, deviations)


def fit_mahalanobis(windows: Windows, statistics: Sequence[Statistic], false_alarms: float) -> Model:
    """Score: squared Mahalanobis distance from the healthy windows (Hotelling's T² of one new window).

    `false_alarms` is the wanted share of healthy windows above the threshold, which is Hotelling's
    prediction limit K(n+1)(n-1)/(n(n-K)) · F(K, n-K) (Tracy, Young and Mason 1992, J. Quality Technology
    24:88), or `MARGIN` times the highest score of a window that the reference was fitted on, whichever is
    higher. Windows beyond `OUTLIER` are left out of the reference. Raises `UnfitData`.
    """
    found = mahalanobis(features_of(windows, statistics), false_alarms)
    return Model(tuple(statistics), found.centre, found.scale, found.weights, found.threshold)


@dataclass(frozen=True, slots=True, eq=False)
class Distance:
    """`centre` and `scale` [K], `weights` [K, R]: of features f [K] the squared Mahalanobis distance is
    |((f - centre) / scale) weights|². `threshold`: what it may be."""

    centre: Floats
    scale: Floats
    weights: Floats
    threshold: float


def mahalanobis(features: Floats, false_alarms: float) -> Distance:
    """See `fit_mahalanobis`: of any features [N, K]."""
    features = _sound(features)
    count, wide = features.shape
    if count < 4 * wide:
        raise UnfitData(f"{count} windows are too few for {wide} features: at least {4 * wide}")
    features = features[_inliers(features)]
    count = len(features)
    centre, scale = features.mean(axis=0), _floored(features.std(axis=0, ddof=1), features)
    z = (features - centre) / scale
    # A small ridge keeps a feature that another one determines from deciding by its rounding errors.
    covariance = z.T @ z / (count - 1) + 1e-3 * np.eye(wide)
    weights = np.linalg.cholesky(np.linalg.inv(covariance))
    limit = wide * (count + 1) * (count - 1) / (count * (count - wide))
    limit *= f_quantile(1 - false_alarms, wide, count - wide)
    highest = float(np.square(z @ weights).sum(axis=1).max())
    return Distance(centre, scale, weights, max(limit, MARGIN * highest))


def judged_apart(windows: Windows, reach: int, fit: Callable[[Windows], Model]) -> list[NDArray[np.bool_]]:
    """Of each `FOLDS`th of the recording, in order of time, whether its windows are anomalous by a `fit` on
    the other windows. Windows of which one begins `reach` after the other share no rows: those that share
    some with what is judged are not learnt from. Raises `UnfitData`.
    """
    index = np.arange(len(windows))
    found = []
    for block in np.array_split(index, FOLDS):
        apart = (index <= block[0] - reach) | (index >= block[-1] + reach)
        model = fit(windows[apart])
        found.append(answer(model, windows[block]).score > model.threshold)
    return found


def fit_pca(windows: Windows, statistics: Sequence[Statistic]) -> Model:
    """Score: T²/T²₉₉ + Q/Q₉₉, the combined index of principal component analysis (Yue and Qin 2001, Ind. Eng.
    Chem. Res. 40:4403), with the components that explain `EXPLAINED` of the variance and empirical limits.

    For windows of one slowly drifting recording, in order of time. The threshold is the highest score of any
    window, each scored by a reference that was fitted without its fifth of the recording and without the
    windows that share rows with it: so it allows for as much drift as the recording itself shows.
    Raises `UnfitData`.
    """
    features = _sound(features_of(windows, statistics))
    count, rows = len(features), windows.shape[1]
    index = np.arange(count)
    highest = 0.0
    for block in np.array_split(index, FOLDS):
        apart = (index <= block[0] - rows) | (index >= block[-1] + rows)
        if apart.sum() < 3 * features.shape[1]:
            raise UnfitData(f"{count} windows are too few for {features.shape[1]} features")
        highest = max(highest, float(_pca(features[apart]).score(features[block]).max()))
    whole = _pca(features)
    return Model(tuple(statistics), whole.centre, whole.scale, whole.weights, highest)


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    centre: Floats
    scale: Floats
    weights: Floats

    def score(self, features: Floats) -> Floats:
        score: Floats = np.square((features - self.centre) / self.scale @ self.weights).sum(axis=1)
        return score


def _pca(features: Floats) -> _Reference:
    """The combined index as one quadratic form: both parts are sums of squares of projections."""
    centre, scale = features.mean(axis=0), _floored(features.std(axis=0), features)
    z = (features - centre) / scale
    variance, axes = np.linalg.eigh(z.T @ z / len(z))
    variance, axes = np.maximum(variance[::-1], _SMALL), axes[:, ::-1]
    kept = int(np.searchsorted(np.cumsum(variance) / variance.sum(), EXPLAINED)) + 1
    kept = min(kept, len(variance) - 1)
    model, residual = axes[:, :kept] / np.sqrt(variance[:kept]), axes[:, kept:]
    limits = [
        max(float(np.quantile(np.square(z @ one).sum(axis=1), 0.99)), _SMALL) for one in (model, residual)
    ]
    weights = np.concatenate([model / math.sqrt(limits[0]), residual / math.sqrt(limits[1])], axis=1)
    return _Reference(centre, scale, weights)


def f_quantile(p: float, a: float, b: float) -> float:
    """Quantile of Fisher's F with `a` and `b` degrees of freedom, for p >= 1/2 and b >= 5.

    Paulson's approximation (1942, Ann. Math. Statist. 13:233): the cube root of F made normal.
    """
    z = NormalDist().inv_cdf(p)
    u, v = 2 / (9 * a), 2 / (9 * b)
    # ((1-v)x - (1-u)) / sqrt(v x² + u) = z, squared, is quadratic in x = F^(1/3); z >= 0: the larger root.
    square, middle, rest = (1 - v) ** 2 - z * z * v, (1 - v) * (1 - u), (1 - u) ** 2 - z * z * u
    if square <= 0:
        raise UnfitData(f"too few windows for a share of {1 - p:g} false alarms")
    return float((middle + math.sqrt(middle**2 - square * rest)) / square) ** 3


def _sound(features: Floats) -> Floats:
    if not np.isfinite(features).all():
        raise UnfitData("the windows hold values that are no finite numbers")
    return features


def _inliers(features: Floats) -> NDArray[np.bool_]:
    """Which windows are near the median in every feature, by its median absolute deviation."""
    median = np.median(features, axis=0)
    spread = 1.4826 * np.median(np.abs(features - median), axis=0)
    near: NDArray[np.bool_] = np.all(
        np.abs(features - median) <= OUTLIER * _floored(spread, features), axis=1
    )
    outliers = int(len(near) - near.sum())
    if outliers > MAX_OUTLIERS * len(near):
        raise UnfitData(f"{outliers} of {len(near)} windows are unlike the others: is the asset healthy?")
    return near


def _floored(spread: Floats, features: Floats) -> Floats:
    """A signal that hardly moved must not make a deviation of the slightest move, nor a division by zero."""
    floored: Floats = np.maximum(spread, np.maximum(_RELATIVE_FLOOR * np.abs(features).mean(axis=0), 1e-9))
    return floored
