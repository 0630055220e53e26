"""The exact test of one window, looked at once: what a statistician would check by hand.

Within an exposure class, N joints of which K are anomalous, a window with n of them has a hypergeometric
number of anomalous ones if it is like the rest. Over classes the numbers add up (the exact conditional test
of a common odds ratio of 1: Gart 1970; Mehta, Patel & Gray 1985), so their distribution is the convolution.
This p knows nothing of other windows, nor of earlier looks: `concentrate` decides, this is shown beside it.
"""

from __future__ import annotations

import numpy as np

from twinloop.controller.field.chances import hypergeometric
from twinloop.controller.field.concentrate import km_before
from twinloop.controller.field.evidence import Table
from twinloop.controller.field.policy import FieldPolicy, Grid


def p_fixed(table: Table, grid: Grid, policy: FieldPolicy, station: int, window: int) -> float:
    """The chance of so many anomalous joints in the window or more, all else being equal in each class."""
    first, end = grid.windows[window]
    km = km_before(table.km, table.km.shape[1], policy.fresh_weeks)
    classes = policy.classes(km)
    in_window = table.joints[:, station, first:end].sum(axis=1).astype(np.int64)
    hit = (table.station == station) & (table.bin >= first) & (table.bin < end)
    strata = []
    for one in np.unique(classes):
        mine = classes == one
        anomalous = mine[table.vehicle]
        strata.append(
            (
                int(table.total[mine].sum()),
                int(anomalous.sum()),
                int(in_window[mine].sum()),
                int((anomalous & hit).sum()),
            )
        )
    return stratified_tail(strata)


def stratified_tail(strata: list[tuple[int, int, int, int]]) -> float:
    """P(sum ≥ observed) of independent hypergeometric numbers. Each stratum: joints N, anomalous K, in the
    window n, and of these anomalous k."""
    density = np.ones(1)
    observed = 0
    for joints, anomalous, in_window, found in strata:
        density = np.convolve(density, hypergeometric(joints, anomalous, in_window))
        observed += found
    return float(min(1.0, density[observed:].sum()))
