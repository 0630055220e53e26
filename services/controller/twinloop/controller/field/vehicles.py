"""From a minute that the model `cells` has seen to what it says about a vehicle: judged by its own baseline.

Every group's ΔR is held against the one of its end of line. A group is conspicuous when z is above 5, and
anomalous when two minutes in a row say so; each group is told of once. About weekly a score says how far the
vehicle has come, healthy or not: without it nobody knows who could have become anomalous.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np

from twinloop.contracts.events import Anomaly
from twinloop.contracts.field import BuiltJoint, VehicleAnomaly, VehicleScore
from twinloop.contracts.ids import event_id
from twinloop.contracts.times import Instant, unix_ns
from twinloop.controller.field.policy import WEEK_NS
from twinloop.features.cells import against_baseline

CONSPICUOUS_Z = 5.0
MOST_NOISE = 1.5
"""A line that scatters more than so many healthy sensors do is none, and is not judged."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a vehicle between its minutes. A restart reads all of them again.

    `conspicuous` groups were so in the last minute; `told` are anomalous already. `scored_week` counts weeks
    since 1970; `snippets` and the worst group are those since then.
    """

    at: Instant | None = None
    conspicuous: tuple[int, ...] = ()
    told: tuple[int, ...] = ()
    scored_week: int = -1
    snippets: int = 0
    worst_cell_group: int = 0
    worst_z: float = 0.0


def watch(
    before: Watched, seen: Anomaly, joints: Sequence[BuiltJoint], built_at: datetime, now: datetime
) -> tuple[Watched, list[VehicleAnomaly | VehicleScore]]:
    """What `seen`, an answer of the model `cells`, adds to what is known of a vehicle that was built at
    `built_at` with these `joints`.

    A minute that is not later than the last one changes nothing: it is a repeat, or came too late.
    """
    if before.at is not None and seen.observed_at <= before.at:
        return before, []
    z, gained, se, judged = _against_baseline(seen, joints)
    groups = [joint.cell_group for joint in joints]
    conspicuous = {
        group for group, one, ok in zip(groups, z, judged, strict=True) if ok and one > CONSPICUOUS_Z
    }
    confirmed = sorted((conspicuous & set(before.conspicuous)) - set(before.told))
    events: list[VehicleAnomaly | VehicleScore] = []
    for group in confirmed:
        at = groups.index(group)
        events.append(_anomaly(seen, built_at, now, group, float(gained[at]), float(se[at]), float(z[at])))
    worst_group, worst_z = before.worst_cell_group, before.worst_z
    if judged.any():
        top = int(np.where(judged, z, -np.inf).argmax())
        if before.snippets == 0 or z[top] > worst_z:
            worst_group, worst_z = groups[top], float(z[top])
    week, snippets = unix_ns(seen.observed_at) // WEEK_NS, before.snippets + 1
    if week > before.scored_week:
        events.append(_score(seen, built_at, now, snippets, worst_group, worst_z))
        snippets, worst_group, worst_z = 0, 0, 0.0
    after = Watched(
        at=seen.observed_at,
        conspicuous=tuple(sorted(conspicuous)),
        told=tuple(sorted({*before.told, *confirmed})),
        scored_week=max(week, before.scored_week),
        snippets=snippets,
        worst_cell_group=worst_group,
        worst_z=worst_z,
    )
    return after, events


Row = np.ndarray[tuple[int], np.dtype[np.float64]]


def _against_baseline(
    seen: Anomaly, joints: Sequence[BuiltJoint]
) -> tuple[Row, Row, Row, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """z, gain and its standard error of each joint's group, and whether its line is one."""

    def feature(name: str) -> Row:
        return np.array([seen.features.get(f"{name}.{joint.cell_group}", np.nan) for joint in joints])

    gained, se, z = against_baseline(
        feature("delta_r_uohm"),
        feature("standard_error_uohm"),
        np.array([joint.baseline_uohm for joint in joints]),
        np.array([joint.baseline_se_uohm for joint in joints]),
    )
    judged = np.isfinite(z) & np.isfinite(se) & (feature("noise") <= MOST_NOISE)
    return np.where(judged, z, 0.0), gained, se, judged


def _anomaly(
    seen: Anomaly,
    built_at: datetime,
    now: datetime,
    group: int,
    gained_uohm: float,
    se_uohm: float,
    z: float,
) -> VehicleAnomaly:
    return VehicleAnomaly(
        event_id=event_id("vehicle_anomaly", seen.asset, group, seen.event_id, built_at.isoformat()),
        asset=seen.asset,
        at=now,
        observed_at=seen.observed_at,
        trace_id=seen.trace_id,
        caused_by=seen.event_id,
        cell_group=group,
        delta_r_uohm=gained_uohm,
        se_uohm=se_uohm,
        z=z,
        distance_km=seen.features["distance_km"],
        model=seen.model,
        model_version=seen.model_version,
        input_digest=seen.input_digest,
        built_at=built_at,
    )


def _score(
    seen: Anomaly, built_at: datetime, now: datetime, snippets: int, group: int, z: float
) -> VehicleScore:
    return VehicleScore(
        event_id=event_id("vehicle_score", seen.asset, seen.event_id, built_at.isoformat()),
        asset=seen.asset,
        at=now,
        observed_at=seen.observed_at,
        trace_id=seen.trace_id,
        caused_by=seen.event_id,
        distance_km=seen.features["distance_km"],
        snippets=snippets,
        worst_cell_group=group,
        worst_z=z,
        model=seen.model,
        model_version=seen.model_version,
        built_at=built_at,
    )
