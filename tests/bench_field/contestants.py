"""Ways to name a station and build window from the same evidence, each at every weekly look.

What somebody has named stays named: a second window counts only when it does not overlap one of the same
station. A contestant sees what lies before a look, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, hypergeom

from twinloop.controller.field.concentrate import Bets, bets, named, q_values
from twinloop.controller.field.evidence import Table
from twinloop.controller.field.policy import FieldPolicy, Grid

Floats = NDArray[np.float64]

COUNTER_BINS = 21
"""A naive counter's window: a calendar week of shifts."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What was named, at which look (a week), from how many anomalies of distinct vehicles."""

    look: int
    station: int
    first_bin: int
    end_bin: int
    anomalies: tuple[int, ...]


def looks(table: Table) -> Iterator[tuple[int, int]]:
    """Every week, and how many anomalies lie before it."""
    for week in range(1, table.km.shape[1] + 1):
        yield week, int((table.week < week).sum())


def betting(table: Table, grid: Grid, policy: FieldPolicy) -> dict[str, list[Claim]]:
    """The method of `twinloop.controller.field`, `both`; and `fleet` or `within` alone."""
    if len(table.vehicle) == 0:
        return {"both": [], "fleet": [], "within": []}
    run = bets(table, grid, policy)
    fleet, within = run.p()
    each = {"both": np.maximum(fleet, within), "fleet": fleet, "within": within}
    return {which: _bet(table, grid, policy, run, p) for which, p in each.items()}


def _bet(table: Table, grid: Grid, policy: FieldPolicy, run: Bets, p: Floats) -> list[Claim]:
    claims: list[Claim] = []
    for week, seen in looks(table):
        if seen == 0 or p[seen - 1].min() > policy.alpha:
            continue
        past = Bets(run.fleet[:seen], run.within[:seen], run.hit[:seen], run.share[:seen])
        for one in named(past, p[seen - 1], q_values(p[seen - 1]), grid, policy):
            first, end = grid.windows[one.window]
            _claim(claims, Claim(week, one.station, int(first), int(end), one.anomalies))
    return claims


def fisher(table: Table, grid: Grid, policy: FieldPolicy) -> list[Claim]:
    """Fisher's exact test of joints in all windows at once, whatever their exposure; Benjamini and Yekutieli;
    an equal part of alpha spent on each look."""
    windows = grid.windows
    in_window = _window_sums(table.joints.sum(axis=0, dtype=np.int64), windows)
    hit = _hits(table, windows)
    all_looks = list(looks(table))
    claims: list[Claim] = []
    for week, seen in all_looks:
        found = hit[:seen].sum(axis=0)
        if found.max(initial=0) < policy.least_vehicles:
            continue
        p = hypergeom.sf(found - 1, int(table.total.sum()), seen, in_window)
        q = false_discovery_control(np.minimum(p, 1.0).ravel(), method="by").reshape(p.shape)
        stations, which = np.nonzero((q <= policy.alpha / len(all_looks)) & (found >= policy.least_vehicles))
        for at in np.argsort(p[stations, which], kind="stable"):
            station, window = int(stations[at]), int(which[at])
            rows = tuple(int(row) for row in np.flatnonzero(hit[:seen, station, window]))
            _claim(claims, Claim(week, station, int(windows[window, 0]), int(windows[window, 1]), rows))
    return claims


def counter(table: Table, grid: Grid, threshold: int) -> list[Claim]:
    """A station and calendar week with so many anomalous vehicles."""
    claims: list[Claim] = []
    for week, seen in looks(table):
        for station in range(len(table.stations)):
            for first in range(0, grid.bins, COUNTER_BINS):
                rows = np.flatnonzero(
                    (table.station[:seen] == station)
                    & (table.bin[:seen] >= first)
                    & (table.bin[:seen] < first + COUNTER_BINS)
                )
                if len(rows) >= threshold:
                    one = Claim(week, station, first, first + COUNTER_BINS, tuple(int(row) for row in rows))
                    _claim(claims, one)
    return claims


def _claim(claims: list[Claim], one: Claim) -> None:
    if not any(
        one.station == other.station and one.first_bin < other.end_bin and other.first_bin < one.end_bin
        for other in claims
    ):
        claims.append(one)


def _hits(table: Table, windows: NDArray[np.int64]) -> NDArray[np.bool_]:
    inside = (table.bin[:, None] >= windows[:, 0]) & (table.bin[:, None] < windows[:, 1])
    mine = table.station[:, None] == np.arange(len(table.stations))
    return np.asarray(mine[:, :, None] & inside[:, None, :])


def _window_sums(by_bin: NDArray[np.int64], windows: NDArray[np.int64]) -> NDArray[np.int64]:
    summed = np.concatenate([np.zeros((len(by_bin), 1), np.int64), np.cumsum(by_bin, axis=1)], axis=1)
    return np.asarray(summed[:, windows[:, 1]] - summed[:, windows[:, 0]])
