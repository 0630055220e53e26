"""Population stability: whether what a model sees still lies as what it has learnt from did. Pure.

Of B bins that hold a share p of the reference each, with the share q of what is seen now,

    PSI = sum((q - p) ln(q / p))

Source: N. Siddiqi, "Credit Risk Scorecards" (2006), which calls 0.1 a small and 0.25 a large shift. Without a
shift, n times PSI is about chi-squared with B - 1 degrees of freedom when the reference is large (B.
Yurdakul, "Statistical Properties of Population Stability Index", 2018): what chance alone may do is told with
it. Half a value is added to every bin, so that an empty one has an index.

What is seen is kept in KLL sketches (Karnin, Lang and Liberty 2016, FOCS), by epoch: the newest two count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Final

import datasketches
from scipy.stats import chi2

BINS: Final = 10
LARGE: Final = 0.25
_SKETCH = 200
_RARE = 1e-3
"""The share of a bin that the reference says nothing of."""
_CHANCE = 1e-4
"""Windows overlap and follow each other: they are fewer than they are counted, so chance gets much room."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far `name` has shifted, over `count` values; by chance alone it would hardly be above `chance`."""

    name: str
    psi: float
    chance: float
    count: int

    @property
    def large(self) -> bool:
        """Whether it is large, and no chance."""
        return self.psi > max(LARGE, self.chance)


@dataclass(frozen=True, slots=True)
class _Bins:
    """Half-open from below: up to `edges` [0], up to [1], ..., above the last; each with its share of the
    reference."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]


class Stability:
    """What is seen at one asset by one model version, against `reference`: by name, values at evenly spaced
    quantiles, the first at 0 and the last at 1."""

    def __init__(self, reference: Mapping[str, Sequence[float]], epoch: timedelta) -> None:
        self._bins = {name: _bins(values) for name, values in reference.items()}
        self._epoch = epoch
        self._begun: datetime | None = None
        self._now: dict[str, datasketches.kll_floats_sketch] = {}
        self._before: dict[str, datasketches.kll_floats_sketch] = {}

    def add(self, values: Mapping[str, float], at: datetime) -> None:
        """One window's values, by name; those without a reference are left out."""
        if self._begun is None or at >= self._begun + self._epoch:
            self._before, self._now, self._begun = self._now, {}, at
        for name, value in values.items():
            if name in self._bins:
                sketch = self._now.get(name)
                if sketch is None:
                    sketch = self._now[name] = datasketches.kll_floats_sketch(_SKETCH)
                sketch.update(value)

    def shifts(self) -> Iterator[Shift]:
        """Of everything that was seen."""
        for name, bins in self._bins.items():
            seen = datasketches.kll_floats_sketch(_SKETCH)
            for sketch in (self._before.get(name), self._now.get(name)):
                if sketch is not None:
                    seen.merge(sketch)
            if seen.n:
                yield _shift(name, bins, seen)


def psi(reference: Sequence[float], seen: Sequence[float]) -> float:
    """The index of two lists of shares, none of which is 0."""
    return sum((q - p) * math.log(q / p) for p, q in zip(reference, seen, strict=True))


@cache
def _limit(bins: int) -> float:
    """What n times the index exceeds by chance once in 1 / `_CHANCE`."""
    return float(chi2.isf(_CHANCE, max(1, bins - 1)))


def _bins(quantiles: Sequence[float]) -> _Bins:
    """`BINS` of equal share; fewer where a value is so frequent that it fills several."""
    last = len(quantiles) - 1
    share_up_to: dict[float, float] = {}
    for n in range(1, BINS):
        edge = quantiles[round(n * last / BINS)]
        at_most = max(k for k, value in enumerate(quantiles) if value <= edge)
        share_up_to[edge] = at_most / last
    levels = [0.0, *share_up_to.values(), 1.0]
    return _Bins(tuple(share_up_to), tuple(max(high - low, _RARE) for low, high in pairwise(levels)))


def _shift(name: str, bins: _Bins, seen: datasketches.kll_floats_sketch) -> Shift:
    count, spread = seen.n, len(bins.shares)
    shares = [
        (share * count + 0.5) / (count + 0.5 * spread) for share in seen.get_pmf(list(bins.edges), True)
    ]
    return Shift(name, psi(bins.shares, shares), _limit(spread) / count, count)
