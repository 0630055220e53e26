"""One seed of one scene: what every contestant named, and whether that is so."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from bench_field.contestants import Claim, betting, counter, fisher
from bench_field.scenes import Scene, grid_of, play, table_of
from twinloop.controller.field.affected import more_affected
from twinloop.controller.field.evidence import Table
from twinloop.controller.field.policy import FieldPolicy, Grid
from twinloop.simulator.months import BASELINE_SE_UOHM, CONSPICUOUS_Z, SE_UOHM

COUNTERS = (3, 5, 8)
OURS = "both"
CONTESTANTS = (OURS, "fleet", "within", "fisher", *(f"counter-{threshold}" for threshold in COUNTERS))


@dataclass(frozen=True)
class Judged:
    """A claim against the truth. `like_truth` is the time that both windows share as a part of the time that
    either takes, 0 when the station is wrong; `right` when they share any. `waited_days` from the end of the
    spell."""

    right: bool
    like_truth: float
    vehicles: int
    anomalous_by_then: int
    day: float
    waited_days: float
    more: float = 0.0
    more_low: int = 0
    more_high: int = 0
    more_true: int = 0
    until_km: float = 0.0


def measure(name: str, seed: int) -> dict[str, list[dict[str, object]]]:
    """What each contestant claims in this scene, judged."""
    scene = play(name, seed)
    policy, grid = FieldPolicy(), grid_of(scene.fleet.spec)
    table = table_of(scene, grid)
    claims = betting(table, grid, policy)
    claims["fisher"] = fisher(table, grid, policy)
    claims |= {f"counter-{threshold}": counter(table, grid, threshold) for threshold in COUNTERS}
    return {
        which: [asdict(judge(one, scene, table, grid, policy, forecast=which == OURS)) for one in those]
        for which, those in claims.items()
    }


def judge(
    claim: Claim, scene: Scene, table: Table, grid: Grid, policy: FieldPolicy, *, forecast: bool
) -> Judged:
    """Hold `claim` against the spell of `scene`."""
    spell = scene.spell
    offset_h = (scene.fleet.spec.start - grid.origin).total_seconds() / 3600
    start_h, end_h = (grid.bin_h * at - offset_h for at in (claim.first_bin, claim.end_bin))
    day = (claim.look * 7) - offset_h / 24
    like = 0.0
    if spell is not None and spell.station == claim.station:
        shared = max(0.0, min(end_h, spell.to_h) - max(start_h, spell.from_h))
        like = shared / (max(end_h, spell.to_h) - min(start_h, spell.from_h))
    base = Judged(
        right=like > 0,
        like_truth=like,
        vehicles=len(claim.anomalies),
        anomalous_by_then=int((table.week < claim.look).sum()),
        day=day,
        waited_days=day - spell.to_h / 24 if spell is not None else 0.0,
    )
    return _forecast(base, claim, scene, table, grid, policy) if forecast and base.right else base


def _forecast(
    base: Judged, claim: Claim, scene: Scene, table: Table, grid: Grid, policy: FieldPolicy
) -> Judged:
    """Beside how many more are foreseen: how many will be, as the joints age without any noise."""
    past = before(table, claim.look)
    (window,) = np.flatnonzero((grid.windows == (claim.first_bin, claim.end_bin)).all(axis=1))
    more = more_affected(past, grid, policy, claim.station, int(window), claim.anomalies)
    fleet = scene.fleet
    offset_h = (fleet.spec.start - grid.origin).total_seconds() / 3600
    bins = np.floor((fleet.welded_h + offset_h) / grid.bin_h)
    mine = (fleet.station == claim.station) & (bins >= claim.first_bin) & (bins < claim.end_bin)
    gained = fleet.gained_uohm(np.full(fleet.spec.vehicles, more.until_km))
    will = (mine & (gained > CONSPICUOUS_Z * np.hypot(SE_UOHM, BASELINE_SE_UOHM))).any(axis=1)
    will[past.vehicle] = False
    return Judged(
        **{
            **asdict(base),
            "more": more.expected,
            "more_low": more.low,
            "more_high": more.high,
            "more_true": int(will.sum()),
            "until_km": more.until_km,
        }
    )


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
