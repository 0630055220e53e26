"""How much what was seen speaks against a mean, whenever one looks: betting. Pure.

Somebody bets against the claim "the mean is at most m", one window after the other, and may lose no more than
is staked: after a value x, in [low, high], the capital is multiplied by 1 + λ (x - m), with λ chosen
before. If the claim holds, whatever was seen before, nobody gains by that on average, and the chance that a
capital of 1 ever reaches 1/α is at most α (Ville's inequality): one may look after every window and stop when
one likes, for ever. Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting,
J. R. Stat. Soc. B 86:1.

The capital is shared out over a grid of λ (a mixture of bettors is a bettor). So it depends on how often each
value came, and not on their order: it can be told from counts alone, also after a restart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

Counts = Mapping[float, int]
"""How often each value was seen."""

_PARTS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Of the largest λ with which nobody can lose more than the stake."""


def against_at_most(mean: float, counts: Counts, low: float) -> float:
    """The logarithm of the capital of who bets that the mean is above `mean`. No value is below `low`."""
    return _capital(1 / (mean - low), {value - mean: count for value, count in counts.items()})


def against_at_least(mean: float, counts: Counts, high: float) -> float:
    """The same of who bets that the mean is below `mean`. No value is above `high`."""
    return _capital(1 / (high - mean), {mean - value: count for value, count in counts.items()})


def enough(log_capital: float, error: float) -> bool:
    """Whether the claim may be given up, with a chance of at most `error` that it holds and is ever given
    up."""
    return log_capital >= -math.log(error)


def _capital(most: float, gains: Mapping[float, int]) -> float:
    logs = [
        sum(count * math.log1p(part * most * gain) for gain, count in gains.items() if count)
        for part in _PARTS
    ]
    highest = max(logs)
    return highest + math.log(sum(math.exp(one - highest) for one in logs) / len(logs))
