"""What the slow loop looks for, and how sure it must be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.times import unix_ns

HOUR_NS = 3_600_000_000_000
WEEK_NS = 7 * 24 * HOUR_NS


@dataclass(frozen=True)
class Grid:
    """The build windows that are looked at: fixed before the first of them is.

    Build time from `origin` is cut into `bins` bins (shifts) of `bin_h` hours; a window is a run of bins as
    long as one of `lengths`. A programme's next quarter gets a grid of its own, and with it an error rate
    of its own.
    """

    origin: datetime
    bin_h: float = 8.0
    bins: int = 270
    lengths: tuple[int, ...] = (1, 2, 3, 6, 9, 12, 18, 24)

    @cached_property
    def windows(self) -> NDArray[np.int64]:
        """First bin and the one after the last of every window, [W, 2]."""
        return np.array(
            [(first, first + long) for long in self.lengths for first in range(self.bins - long + 1)],
            np.int64,
        )

    @cached_property
    def end(self) -> datetime:
        """When the last bin ends."""
        return self.origin + timedelta(hours=self.bin_h * self.bins)

    def holds(self, at: datetime) -> bool:
        """Whether a joint welded at `at` is in a bin: of others nothing is ever said."""
        return 0 <= self.bin_of(at) < self.bins

    def bin_of(self, at: datetime) -> int:
        """The bin that a joint welded at `at` is in; below 0 or from `bins` on when outside."""
        return int((unix_ns(at) - unix_ns(self.origin)) // int(self.bin_h * HOUR_NS))


@dataclass(frozen=True, kw_only=True)
class FieldPolicy:
    """`alpha`: of all that is ever named, so much may be wrong on average. `ratios`: how many times as often
    as others a station's joints may fail; all are bet on alike. `least_vehicles` must point at a window.

    Vehicles are compared with those of their exposure class: distances from `class_km` on, each class
    reaching `class_factor` times as far as the one before. A vehicle unheard of for `fresh_weeks` is not
    under observation.
    """

    alpha: float = 0.02
    ratios: tuple[float, ...] = (5.0, 20.0, 100.0)
    least_vehicles: int = 3
    class_km: float = 500.0
    class_factor: float = 1.5
    fresh_weeks: int = 4
    least_at_risk: int = 10

    def classes(self, km: NDArray[np.float64]) -> NDArray[np.int64]:
        """Exposure classes of distances, from 0; −1 where there is none (NaN)."""
        known = np.where(np.isnan(km), 0.0, km)
        above = np.log(np.maximum(known, self.class_km) / self.class_km) / np.log(self.class_factor)
        return np.where(np.isnan(km), -1, 1 + np.floor(above) - (known < self.class_km)).astype(np.int64)
