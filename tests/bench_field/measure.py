"""One seed of one scene: what every contestant named, and whether that is so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench_field.contestants import Claim, betting, counter, fisher
from bench_field.scenes import Scene, grid_of, play, table_of
from twinloop.controller.field.affected import more_affected
from twinloop.controller.field.evidence import Table
from twinloop.controller.field.policy import FieldPolicy, Grid
from twinloop.simulator.fleets.fleet import REFERENCE_KM
from twinloop.simulator.fleets.months import BASELINE_SE_UOHM, CONSPICUOUS_Z, SE_UOHM

COUNTERS = (3, 5, 8)
OURS = "both"


@dataclass(frozen=True)
class Judged:
    """A claim against the truth. `like_truth` is the time that both windows share as a part of the time that
    either takes, 0 when the station is wrong; `right` when they share any. `waited_days` from the end of the
    spell."""

    right: bool
    like_truth: float
    vehicles: int
    waited_days: float


@dataclass(frozen=True)
class Forecast:
    """How many `more` were foreseen when it was named, and how many `more_true` followed."""

    more: float
    more_low: int
    more_high: int
    more_true: int
    until_km: float


def measure(name: str, seed: int) -> dict[str, dict[str, Any]]:
    """What each contestant claims in this scene: how many `claims`, how many of them `wrong`, and the `first`
    that is right."""
    scene = play(name, seed)
    policy, grid = FieldPolicy(), grid_of(scene.fleet.spec)
    table = table_of(scene, grid)
    claims = betting(table, grid, policy)
    claims["fisher"] = fisher(table, grid, policy)
    claims |= {f"counter-{threshold}": counter(table, grid, threshold) for threshold in COUNTERS}
    found: dict[str, dict[str, Any]] = {}
    for which, those in claims.items():
        judged = [judge(one, scene, grid) for one in those]
        right = [(one, claim) for one, claim in zip(judged, those, strict=True) if one.right]
        first = asdict(right[0][0]) if right else None
        if first is not None and which == OURS:
            first |= asdict(_forecast(right[0][1], scene, table, grid, policy))
        found[which] = {"claims": len(judged), "wrong": len(judged) - len(right), "first": first}
    return found


def judge(claim: Claim, scene: Scene, grid: Grid) -> Judged:
    """Hold `claim` against the spell of `scene`."""
    spell = scene.spell
    offset_h = (scene.fleet.spec.start - grid.origin).total_seconds() / 3600
    start_h, end_h = (grid.bin_h * at - offset_h for at in (claim.first_bin, claim.end_bin))
    day = claim.look * 7 - offset_h / 24
    like = 0.0
    if spell is not None and spell.station == claim.station:
        shared = max(0.0, min(end_h, spell.to_h) - max(start_h, spell.from_h))
        like = shared / (max(end_h, spell.to_h) - min(start_h, spell.from_h))
    waited = day - spell.to_h / 24 if spell is not None else 0.0
    return Judged(right=like > 0, like_truth=like, vehicles=len(claim.anomalies), waited_days=waited)


def _forecast(claim: Claim, scene: Scene, table: Table, grid: Grid, policy: FieldPolicy) -> Forecast:
    """How many more are foreseen at the claim's look, and how many do follow."""
    past = before(table, claim.look)
    (window,) = np.flatnonzero((grid.windows == (claim.first_bin, claim.end_bin)).all(axis=1))
    more = more_affected(past, grid, policy, claim.station, int(window), claim.anomalies)
    fleet = scene.fleet
    offset_h = (fleet.spec.start - grid.origin).total_seconds() / 3600
    bins = np.floor((fleet.welded_h + offset_h) / grid.bin_h)
    mine = (fleet.station == claim.station) & (bins >= claim.first_bin) & (bins < claim.end_bin)
    mine[past.vehicle] = False
    day = claim.look * 7 - offset_h / 24
    will = _follow(scene, mine & (fleet.crack_uohm > 0), day, more.until_km, [claim.look, claim.first_bin])
    return Forecast(
        more=more.expected,
        more_low=more.low,
        more_high=more.high,
        more_true=will,
        until_km=more.until_km,
    )


def _follow(scene: Scene, joints: NDArray[np.bool_], day: float, until_km: float, seed: list[int]) -> int:
    """Vehicles of whose cracked `joints` [V, G] one becomes anomalous after `day` and by `until_km`."""
    fleet, draw = scene.fleet, np.random.default_rng(seed)
    found = set()
    for vehicle, group in np.argwhere(joints):
        pace = fleet.km_per_day[vehicle]
        now_km = max(0.0, day - fleet.on_road_h[vehicle] / 24) * pace
        km = np.arange(now_km, until_km, pace)
        gained = fleet.crack_uohm[vehicle, group] * (km / REFERENCE_KM) ** 1.5
        gained += fleet.drift_uohm[vehicle, group] * km / REFERENCE_KM
        gained += SE_UOHM * draw.standard_normal(len(km)) - BASELINE_SE_UOHM * draw.standard_normal()
        above = gained > CONSPICUOUS_Z * np.hypot(SE_UOHM, BASELINE_SE_UOHM)
        if (above[1:] & above[:-1]).any():
            found.add(int(vehicle))
    return len(found)


def before(table: Table, week: int) -> Table:
    """The part of `table` that lies before `week`."""
    seen = int((table.week < week).sum())
    return Table(
        stations=table.stations,
        vehicles=table.vehicles,
        joints=table.joints,
        total=table.total,
        km=table.km[:, :week],
        vehicle=table.vehicle[:seen],
        station=table.station[:seen],
        bin=table.bin[:seen],
        week=table.week[:seen],
        distance_km=table.distance_km[:seen],
        event_id=table.event_id[:seen],
    )
