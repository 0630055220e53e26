"""Two textbook tools: the hypergeometric distribution, and Benjamini and Yekutieli's adjustment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def hypergeometric(joints: int, anomalous: int, drawn: int) -> Floats:
    """The chance of 0, 1, ..., min(anomalous, drawn) anomalous ones among `drawn` of `joints`."""
    most, least = min(anomalous, drawn), max(0, drawn - (joints - anomalous))
    found = np.arange(least, most, dtype=np.float64)
    # Neighbours by their ratio, from the least on: factorials of large numbers would cancel each other.
    ratios = (anomalous - found) * (drawn - found) / ((found + 1) * (joints - anomalous - drawn + found + 1))
    logarithms = np.concatenate(([0.0], np.cumsum(np.log(ratios))))
    shares = np.exp(logarithms - logarithms.max())
    return np.concatenate((np.zeros(least), shares / shares.sum()))


def adjusted(p: Floats) -> Floats:
    """The p of one dimension, so that the expected share of wrong ones among those up to a limit is no larger
    than the limit, however they depend on each other (Benjamini & Yekutieli 2001)."""
    count = len(p)
    if not count:
        return p
    order = np.argsort(p)
    ranks = np.arange(1, count + 1)
    steps = p[order] * count / ranks * np.sum(1.0 / ranks)
    found = np.empty(count)
    found[order] = np.minimum.accumulate(steps[::-1])[::-1].clip(max=1.0)
    return found
