"""Months of a fleet's driving, in event time: when is which vehicle's joint anomalous? Pure.

Every vehicle sends one minute a day (`vehicle.drive`), from which ΔR is known to `SE_UOHM`. For a fleet over
months that is 2.5 billion voltages. As ΔR is linear in their noise, it can be drawn as what it is, a normal
value around the truth: `anomalies` does so, and a test holds it against the whole way through the voltages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twinloop.simulator.fleets.fleet import REFERENCE_KM, Fleet

Floats = NDArray[np.float64]

SE_UOHM: Final = 2.8
BASELINE_SE_UOHM: Final = 1.25
"""Of the mean over five minutes on the pack line's tester."""
CONSPICUOUS_Z: Final = 5.0
"""Two snippets in a row must be conspicuous. Of a healthy group one in 3.5 million is, as it is drawn
here with the error known; with the error estimated from 60 samples, as in a vehicle, one in 680,000."""

_SILENT_UOHM: Final = 3.0
"""Groups that never gain more are not drawn: 4 standard errors twice in a row is what they would need."""


@dataclass(frozen=True, slots=True, eq=False)
class Anomalies:
    """The first confirmed anomaly of each group that has one: aligned arrays, in the order of time.

    `at_h` since the first vehicle; `gained_uohm` is ΔR less baseline as found, `z` in standard errors.
    """

    vehicle: NDArray[np.int64]
    group: NDArray[np.int64]
    at_h: Floats
    distance_km: Floats
    gained_uohm: Floats
    z: Floats


def anomalies(fleet: Fleet, generator: np.random.Generator, until_h: float) -> Anomalies:
    """What is found until `until_h`, from one snippet a vehicle and day."""
    days = np.arange(int(until_h // 24) + 1) * 24.0
    last_km = fleet.distance_km(until_h)
    reached = np.abs(fleet.gained_uohm(last_km))
    vehicle, group = np.nonzero(reached > _SILENT_UOHM)
    km = (
        np.maximum(0.0, days[None, :] - fleet.on_road_h[vehicle, None]) / 24 * fleet.km_per_day[vehicle, None]
    )
    relative = km / REFERENCE_KM
    truth = fleet.crack_uohm[vehicle, group, None] * relative**1.5
    truth += fleet.drift_uohm[vehicle, group, None] * relative
    baseline = BASELINE_SE_UOHM * generator.standard_normal((len(vehicle), 1))
    gained = truth + SE_UOHM * generator.standard_normal(truth.shape) - baseline
    z = gained / np.hypot(SE_UOHM, BASELINE_SE_UOHM)
    conspicuous = (z > CONSPICUOUS_Z) & (km > 0)
    confirmed = conspicuous[:, 1:] & conspicuous[:, :-1]
    found = confirmed.any(axis=1)
    first = confirmed.argmax(axis=1)[found] + 1
    rows = np.flatnonzero(found)
    order = np.lexsort((group[rows], vehicle[rows], days[first]))
    rows, first = rows[order], first[order]
    return Anomalies(
        vehicle[rows], group[rows], days[first], km[rows, first], gained[rows, first], z[rows, first]
    )
