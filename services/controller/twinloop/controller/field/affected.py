"""How many more vehicles will become anomalous with a joint from a window, and how sure that is.

The product-limit estimate (Kaplan & Meier 1958) over the distance driven, of the vehicles that have joints
from the window: a vehicle leaves unharmed with the distance it has, so young ones count for what they have
shown. It reaches as far as enough vehicles have driven, and says nothing beyond: every forecast names its
distance. A vehicle with c kilometres becomes anomalous by x with the chance 1 − S(x)/S(c). The interval holds
the uncertainty of S (Greenwood 1926) and that of who will be hit; it is log-normal, as numbers cannot be
negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.controller.field.evidence import Table
from twinloop.controller.field.policy import FieldPolicy, Grid

Floats = NDArray[np.float64]

_Z = 1.96
_NONE_SEEN = 3.0
"""The 95 % upper limit of a Poisson mean of which nothing was seen."""


@dataclass(frozen=True, slots=True)
class More:
    """`expected` further vehicles by `until_km`, 95 % between `low` and `high`; `built` have such joints."""

    built: int
    expected: float
    low: int
    high: int
    until_km: float


def more_affected(
    table: Table, grid: Grid, policy: FieldPolicy, station: int, window: int, anomalies: tuple[int, ...]
) -> More:
    """Of the vehicles with a joint from the window; `anomalies` are the rows of `table` that it made."""
    first, end = grid.windows[window]
    mine = table.joints[:, station, first:end].sum(axis=1) > 0
    km = np.nan_to_num(np.fmax.reduce(table.km, axis=1, initial=0.0), nan=0.0)
    failed = np.zeros(len(mine), np.bool_)
    km[table.vehicle] = table.distance_km  # after its first anomaly a vehicle tells nothing more
    failed[table.vehicle[list(anomalies)]] = True
    gone = np.zeros(len(mine), np.bool_)
    gone[table.vehicle] = True
    return forecast(km[mine], failed[mine], gone[mine], policy.least_at_risk)


def forecast(km: Floats, failed: NDArray[np.bool_], gone: NDArray[np.bool_], least_at_risk: int) -> More:
    """Of vehicles that have driven `km`, of which some `failed`; who is `gone` will not fail any more."""
    driven = np.sort(km)[::-1]
    until = float(driven[min(least_at_risk, len(driven)) - 1]) if len(driven) else 0.0
    at = np.unique(km[failed & (km <= until)])
    risk = np.array([(km >= one).sum() for one in at], float)
    deaths = np.array([((km == one) & failed).sum() for one in at], float)
    hazard = -np.log1p(-np.minimum(deaths / np.maximum(risk, 1), 0.999))
    left = km[~gone & (km < until)]
    ahead = at[None, :] > left[:, None]
    survives = np.exp(-(ahead * hazard).sum(axis=1))
    expected = float((1 - survives).sum())
    if expected == 0.0:
        return More(len(km), 0.0, 0, math.ceil(_NONE_SEEN * len(left) / max(len(km), 1)), until)
    of_chance = float((survives * (1 - survives)).sum())
    slope = (ahead * survives[:, None]).sum(axis=0)
    of_estimate = float((slope**2 * deaths / np.maximum(risk * (risk - deaths), 1)).sum())
    spread = math.exp(_Z * math.sqrt(math.log1p((of_chance + of_estimate) / expected**2)))
    return More(
        len(km), expected, math.floor(expected / spread), min(len(left), math.ceil(expected * spread)), until
    )
