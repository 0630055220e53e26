"""Population stability: whether what a model sees still lies as what it has learnt from did. Pure.

Of B bins that hold a share p of the reference each, with the share q of what is seen now,

    PSI = sum((q - p) ln(q / p))

Source: N. Siddiqi, "Credit Risk Scorecards" (2006), which calls 0.1 a small and 0.25 a large shift. Without a
shift, of n values against a reference of m, PSI / (1/n + 1/m) is about chi-squared with B - 1 degrees of
freedom (B. Yurdakul, "Statistical Properties of Population Stability Index", 2018): what chance alone may do
is told with it. Half a value is added to every bin, so that an empty one has an index.

The bins are tenths of the reference, and two more: all that is below its least value, and all that is above
its largest.

What is seen is kept in KLL sketches (Karnin, Lang and Liberty 2016, FOCS), by epoch: the newest two count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Final

import datasketches
import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.models import Reference
from twinloop.modelops.chance import exceeded_by_chance

Floats = NDArray[np.floating]

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


@dataclass(frozen=True, slots=True, eq=False)
class _Bins:
    """Half-open from below: up to `edges` [0], up to [1], ..., above the last. The share of the reference up
    to each edge is between `least` and `most`: quantiles leave open where within them a frequent value ends.
    """

    edges: Floats
    least: Floats
    most: Floats


class Stability:
    """What is seen at one asset by one model version, against `reference`: values at evenly spaced quantiles,
    the first at 0 and the last at 1."""

    def __init__(self, reference: Reference, epoch: timedelta) -> None:
        self._bins = {name: _bins(values) for name, values in reference.quantiles.items()}
        self._windows = max(1, reference.windows)
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
                yield _shift(name, bins, seen, self._windows)


def psi(reference: Sequence[float], seen: Sequence[float]) -> float:
    """The index of two lists of shares, none of which is 0."""
    return sum((q - p) * math.log(q / p) for p, q in zip(reference, seen, strict=True))


@cache
def _limit(bins: int) -> float:
    """What the index, over 1/n + 1/m, exceeds by chance once in 1 / `_CHANCE`."""
    return exceeded_by_chance(_CHANCE, bins - 1)


def _bins(quantiles: Sequence[float]) -> _Bins:
    """Edges right below the least value, at each tenth, and at the largest; one where several are equal."""
    values = np.asarray(quantiles, np.float32)  # as a sketch keeps them
    tenths = np.round(np.arange(1, BINS + 1) * (len(values) - 1) / BINS).astype(int)
    edges = np.unique(np.append(values[tenths], np.nextafter(values[0], np.float32(-np.inf))))
    up_to = np.searchsorted(values, edges, side="right")
    several = up_to - np.searchsorted(values, edges) > 1
    least = np.maximum(up_to - 1, 0) / (len(values) - 1)
    most = np.minimum(np.where(several, up_to, up_to - 1).clip(min=0) / (len(values) - 1), 1.0)
    return _Bins(edges, least, most)


def _shift(name: str, bins: _Bins, seen: datasketches.kll_floats_sketch, learnt: int) -> Shift:
    count, spread = seen.n, len(bins.edges) + 1
    up_to = np.array(seen.get_cdf(bins.edges.tolist(), True)[:-1])
    due = _shares(np.clip(up_to, bins.least, bins.most))
    due[[0, -1]] = 1 / (learnt + 1)  # the next one may be the least, or the largest, of all
    shares = (_shares(up_to) * count + 0.5) / (count + 0.5 * spread)
    chance = _limit(spread) * (1 / count + 1 / learnt)
    return Shift(name, psi(np.maximum(due, _RARE).tolist(), shares.tolist()), chance, count)


def _shares(up_to: Floats) -> Floats:
    """Of each bin, from those up to each edge."""
    return np.diff(up_to, prepend=0.0, append=1.0)
