"""What a person should know of a model: its card. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from twinloop.contracts.models import QUANTILES, Measured, ModelCard
from twinloop.tritonio.server import Floats, Inference

RESAMPLED: Final = 2000
FEW: Final = 8
"""With fewer recordings than this, each is cut into blocks for its interval."""


def reference(features: Sequence[str], answers: Sequence[Inference]) -> dict[str, tuple[float, ...]]:
    """Of each feature, and of the score, its values at `QUANTILES` over all `answers`."""
    columns: dict[str, Floats] = {"score": np.concatenate([one.score for one in answers])}
    table = np.concatenate([one.features for one in answers])
    columns |= {name: table[:, n] for n, name in enumerate(features)}
    return {
        name: tuple(np.quantile(values, QUANTILES).astype(np.float64).tolist())
        for name, values in columns.items()
    }


def alarmed(flags: Sequence[NDArray[np.bool_]], what: str) -> Measured | None:
    """The share of windows that are anomalous, of healthy recordings; `None` where there is no window.

    Its 95 % interval is the wider one, at each end, of two: by resampling whole recordings (or blocks, where
    there are few), and the exact one of as many independent windows (Clopper and Pearson 1934): none of a
    few says little.
    """
    some = [one for one in flags if len(one)]
    if not some:
        return None
    if len(some) < FEW:
        some = [block for one in some for block in np.array_split(one, FEW) if len(block)]
    counts = np.array([(one.sum(), len(one)) for one in some], np.float64)
    drawn = np.random.default_rng(0).integers(0, len(counts), (RESAMPLED, len(counts)))
    summed = counts[drawn].sum(axis=1)
    low, high = np.quantile(summed[:, 0] / summed[:, 1], [0.025, 0.975])
    told, windows = counts.sum(axis=0)
    exact = binomtest(int(told), int(windows)).proportion_ci(0.95, "exact")
    low, high = min(low, exact.low), max(high, exact.high)
    return Measured(what=what, value=float(told / windows), low=float(low), high=float(high))


def in_words(card: ModelCard) -> list[str]:
    """What people are told of a model that was made, a line each."""
    return [
        *(f"  {one.what}: {one.value:.3%}{_interval(one)}" for one in card.measured),
        *(f"  limit: {one}" for one in card.limits),
    ]


def _interval(one: Measured) -> str:
    return "" if one.low is None or one.high is None else f" (95 %: {one.low:.3%} to {one.high:.3%})"
