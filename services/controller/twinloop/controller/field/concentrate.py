"""Do anomalous joints concentrate on one station and build window? A bet against chance, at every look.

Given that some vehicle's joint became anomalous, chance alone would have picked it evenly from all joints
that could have been it, so a window gets the share p of them that it welded. A bet that it is θ times as
likely pays θ / (1 + p(θ−1)) on a hit and 1 / (1 + p(θ−1)) on a miss: on average 1 when chance is all there
is. What a unit of money has become is therefore a test martingale, and the chance that it *ever* exceeds 1/a
is at most a (Ville 1939): one may look daily and stop at will. With a risk set of equal exposure this is the
anytime-valid log-rank test (ter Schure, Pérez-Ortiz, Ly & Grünwald 2024), here with ratios θ bet on alike.

Two comparisons are made, and a window is named only when both speak, by the larger of their p:

- *fleet*: with the joints of all vehicles of equal exposure under observation then. Tells when;
- *within*: with the other joints of the same vehicle. Its driver, climate, age and cells are those of all
  its joints, so nothing about vehicles can be mistaken for a station's fault. Tells where.

Windows overlap, so their p depend on each other in no simple way: Benjamini & Yekutieli (2001) holds for any
dependence. As p is the smallest that a look has seen, what has been named stays named, and the bound holds
for all that is ever named. (e-BH would not give that for running maxima: Tavyrikov, Goeman & de Heide 2025.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.controller.field.chances import adjusted
from twinloop.controller.field.evidence import Table
from twinloop.controller.field.policy import FieldPolicy, Grid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """What each anomaly did to each window's bets: E anomalies, S stations, W windows.

    `fleet` and `within` [E, S, W] are logarithms of the capital after each anomaly; `hit` says whether the
    anomaly's joint is of that window, `share` [E, S, W] is the fleet's p of it.
    """

    fleet: Floats
    within: Floats
    hit: NDArray[np.bool_]
    share: Floats

    def p(self) -> tuple[Floats, Floats]:
        """Anytime-valid p after each anomaly, of fleet and within, each [E, S, W]: never rises."""
        return _p(self.fleet), _p(self.within)


@dataclass(frozen=True, slots=True)
class Named:
    """A window that more anomalies come from than chance explains; indices into the table's stations and the
    grid's windows. `vehicles`: rows of the anomalies that it is charged with."""

    station: int
    window: int
    p: float
    q: float
    expected: float
    anomalies: tuple[int, ...]


def bets(table: Table, grid: Grid, policy: FieldPolicy) -> Bets:
    """Run the bets through all anomalies of `table`, in the order of time."""
    events, (_, stations, bins) = len(table.vehicle), table.joints.shape
    windows = grid.windows
    hit = (table.station[:, None, None] == np.arange(stations)[:, None]) & (
        (table.bin[:, None, None] >= windows[:, 0]) & (table.bin[:, None, None] < windows[:, 1])
    )
    risk = at_risk(table, policy)
    flat = table.joints.reshape(len(table.total), stations * bins).astype(np.float32)
    everyone = (risk.astype(np.float32) @ flat).astype(np.float64) / (risk @ table.total)[:, None]
    share = _by_window(everyone.reshape(events, stations, bins), windows)
    mine = table.joints[table.vehicle] / table.total[table.vehicle][:, None, None]
    return Bets(
        _capital(hit, share, policy.ratios),
        _capital(hit, _by_window(mine, windows), policy.ratios),
        hit,
        share,
    )


def at_risk(table: Table, policy: FieldPolicy) -> NDArray[np.bool_]:
    """Which vehicles could have been each anomaly's, [E, V]: of its exposure class in the week before, and
    not anomalous yet. It always is itself."""
    vehicles = np.arange(len(table.total))
    risk = np.zeros((len(table.vehicle), len(vehicles)), bool)
    gone = np.zeros(len(vehicles), bool)
    classes: dict[int, Ints] = {}
    for event, (mine, week) in enumerate(zip(table.vehicle, table.week, strict=True)):
        if week not in classes:
            classes = {int(week): policy.classes(km_before(table.km, int(week), policy.fresh_weeks))}
        now = classes[int(week)]
        if now[mine] >= 0:
            risk[event] = (now == now[mine]) & ~gone
        risk[event, mine] = True
        gone[mine] = True
    return risk


def km_before(km: Floats, week: int, fresh: int) -> Floats:
    """The newest distance of each vehicle from the `fresh` weeks before `week`, NaN where there is none."""
    recent = km[:, max(0, week - fresh) : max(0, week)]
    if recent.shape[1] == 0:
        return np.full(len(km), np.nan)
    known = ~np.isnan(recent)
    newest = recent.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    return np.where(known.any(axis=1), recent[np.arange(len(km)), newest], np.nan)


def q_values(p: Floats) -> Floats:
    """Benjamini and Yekutieli's adjusted p over all stations and windows, in the shape of `p`."""
    return adjusted(p.ravel()).reshape(p.shape)


def concentrate(table: Table, grid: Grid, policy: FieldPolicy) -> list[Named]:
    """The windows to name now, the clearest first; of each station's overlapping ones, the best."""
    if len(table.vehicle) == 0:
        return []
    run = bets(table, grid, policy)
    fleet, within = run.p()
    p = np.maximum(fleet[-1], within[-1])
    return named(run, p, q_values(p), grid, policy)


def named(run: Bets, p: Floats, q: Floats, grid: Grid, policy: FieldPolicy) -> list[Named]:
    """What `p` and `q` [S, W] name after the anomalies of `run`. The best window has won the most."""
    charged = run.hit.sum(axis=0)
    stations, windows = np.nonzero((q <= policy.alpha) & (charged >= policy.least_vehicles))
    won = run.fleet[-1][stations, windows]
    kept: list[Named] = []
    for at in np.lexsort((windows, stations, -won)):
        station, window = int(stations[at]), int(windows[at])
        first, end = grid.windows[window]
        if any(
            one.station == station
            and first < grid.windows[one.window][1]
            and grid.windows[one.window][0] < end
            for one in kept
        ):
            continue
        kept.append(
            Named(
                station=station,
                window=window,
                p=float(p[station, window]),
                q=float(q[station, window]),
                expected=float(run.share[:, station, window].sum()),
                anomalies=tuple(int(row) for row in np.flatnonzero(run.hit[:, station, window])),
            )
        )
    return kept


def _by_window(by_bin: Floats, windows: Ints) -> Floats:
    """Sums over bins [E, S, B] of every window, [E, S, W]."""
    summed = np.concatenate([np.zeros((*by_bin.shape[:2], 1)), np.cumsum(by_bin, axis=2)], axis=2)
    return np.asarray(summed[:, :, windows[:, 1]] - summed[:, :, windows[:, 0]])


def _capital(hit: NDArray[np.bool_], share: Floats, ratios: tuple[float, ...]) -> Floats:
    """Logarithm of the capital after each anomaly, the mean of the bets on each ratio."""
    share = np.clip(share, 0.0, 1.0)
    each = [
        np.cumsum(np.where(hit, np.log(ratio), 0.0) - np.log1p(share * (ratio - 1)), axis=0)
        for ratio in ratios
    ]
    return np.asarray(np.logaddexp.reduce(each, axis=0) - np.log(len(ratios)))


def _p(log_capital: Floats) -> Floats:
    return np.exp(-np.maximum(0.0, np.maximum.accumulate(log_capital, axis=0)))
