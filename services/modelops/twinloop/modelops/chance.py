"""The upper tail of the chi-squared distribution, for few degrees (Abramowitz & Stegun 26.4.4-5)."""

from __future__ import annotations

import math

_HALVINGS = 100


def upper_tail(x: float, freedom: int) -> float:
    """P(X > x) of a chi-squared X with `freedom` ≥ 1 degrees, x ≥ 0."""
    half = x / 2
    at = 2 - freedom % 2
    tail = math.exp(-half) if at == 2 else math.erfc(math.sqrt(half))
    while at < freedom:
        tail += half ** (at / 2) * math.exp(-half) / math.gamma(at / 2 + 1)
        at += 2
    return tail


def exceeded_by_chance(share: float, freedom: int) -> float:
    """The x that X exceeds with probability `share`, between 0 and 1."""
    low, high = 0.0, 1.0
    while upper_tail(high, freedom) > share:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if upper_tail(middle, freedom) > share:
            low = middle
        else:
            high = middle
    return high
