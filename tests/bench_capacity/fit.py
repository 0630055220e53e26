"""A cost that is linear in its drivers and never negative, from measured points; and how far off it is. Pure.

Weighted so that a relative error counts the same at a small and at a large load. With no negative cost, more
load never costs less, which least squares alone does not promise of noisy points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from twinloop.cli.capacity.costs import Coefficient, Cost, Driver, Range


@dataclass(frozen=True, slots=True)
class Sample:
    """Totals over `seconds`: what drove, and what it came to. `floor`: differences below it mean nothing."""

    name: str
    drivers: Mapping[Driver, float]
    value: float
    seconds: float
    floor: float = 0.0
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """A held-out sample beside the model, both a second."""

    name: str
    measured: float
    model: float

    @property
    def error(self) -> float:
        """Relative to what was measured."""
        return abs(self.model - self.measured) / self.measured if self.measured else 0.0


def fit(samples: Sequence[Sample]) -> tuple[Cost, list[Checked]]:
    """The cost of those that are not held out, and the others beside it. Raises ValueError where no sample is
    left to fit."""
    fitted = [one for one in samples if not one.held_out]
    if not fitted:
        raise ValueError("there is no point to fit: all are held out")
    drivers = [one for one in Driver if any(sample.drivers.get(one, 0.0) for sample in fitted)]
    values = _solve(fitted, drivers)
    without = [_solve([*fitted[:n], *fitted[n + 1 :]], drivers) for n in range(len(fitted))]
    left_out = [] if len(fitted) == 1 else without
    low, high = (
        (values, values) if not left_out else (np.min([values, *left_out], 0), np.max([values, *left_out], 0))
    )
    checked = [_check(one, drivers, values) for one in samples if one.held_out]
    crossed = [_check(one, drivers, by) for one, by in zip(fitted, left_out, strict=False)]
    cost = Cost(
        by={
            one: Coefficient(float(values[n]), float(low[n]), float(high[n])) for n, one in enumerate(drivers)
        },
        ranges={one: _range(fitted, one) for one in drivers},
        error=float(np.quantile([one.error for one in (*checked, *crossed)] or [0.0], 0.9)),
        points=len(fitted),
    )
    return cost, checked


def _solve(samples: Sequence[Sample], drivers: Sequence[Driver]) -> NDArray[np.float64]:
    """Costs of a unit of each driver."""
    if not samples:
        return np.zeros(len(drivers))
    table = np.array([[one.drivers.get(driver, 0.0) for driver in drivers] for one in samples])
    values = np.array([one.value for one in samples])
    weights = 1 / np.maximum(values, [max(one.floor, 1e-12) for one in samples])
    table, values = table * weights[:, None], values * weights
    scale = np.maximum(np.abs(table).max(axis=0), 1e-300)  # bytes and counts differ by many powers of ten
    solved, _ = nnls(table / scale, values)
    return np.asarray(solved / scale)


def _check(sample: Sample, drivers: Sequence[Driver], values: NDArray[np.float64]) -> Checked:
    model = sum(float(values[n]) * sample.drivers.get(one, 0.0) for n, one in enumerate(drivers))
    floor = sample.floor / sample.seconds
    return Checked(sample.name, max(sample.value / sample.seconds, floor), max(model / sample.seconds, floor))


def _range(samples: Sequence[Sample], driver: Driver) -> Range:
    """In units a second; from 0 on where a sample had none of it."""
    rates = [one.drivers.get(driver, 0.0) / one.seconds for one in samples]
    return Range(min(rates), max(rates))
