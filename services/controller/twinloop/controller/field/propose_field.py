"""From windows that are named to findings, and from a finding to what a person is asked. Pure.

What vehicles tell is weeks old, so it never writes a setpoint: a proposal from here is for a person, whatever
the mode of the asset (`Mode.SUPERVISED` at most). A window that was named is not named again, nor is one of
the same station that overlaps it: more vehicles of the same fault are no news.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.field import FieldFinding
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.modes import Mode
from twinloop.controller.field.affected import more_affected
from twinloop.controller.field.concentrate import concentrate
from twinloop.controller.field.evidence import Evidence
from twinloop.controller.field.exact import p_fixed
from twinloop.controller.field.genealogy import Genealogy
from twinloop.controller.field.policy import FieldPolicy, Grid

_HEALTHY_KEPT = 0.999
"""A tighter limit rejects no more than one in a thousand of the station's other joints."""
_STEP_UOHM = 0.5
_ENOUGH = 20
"""Joints to say anything about their mean."""


class Remedy(StrEnum):
    """What a person is asked to do."""

    INSPECT = "inspect_station"
    CLEAN_WINDOW = "clean_window_and_check_target_depth"
    TIGHTER_LIMIT = "tighter_end_of_line_limit"


@dataclass(frozen=True, slots=True)
class FieldProposal:
    """What is put before a person. `limit_uohm` is a tighter end-of-line limit, `None` when none would help;
    it would have stopped `caught` of the joints of the window. `evidence`: event ids of the anomalies."""

    change_id: str
    station: str
    mode: Mode
    remedies: tuple[Remedy, ...]
    limit_uohm: float | None
    caught: float
    reason: str
    evidence: tuple[str, ...]


def look(
    evidence: Evidence, genealogy: Genealogy, grid: Grid, policy: FieldPolicy, now: datetime
) -> list[FieldFinding]:
    """Every finding that the evidence until `now` supports, the clearest first."""
    table = evidence.table(genealogy, grid, now)
    found = []
    for one in concentrate(table, grid, policy):
        station = table.stations[one.station]
        first, end = (int(at) for at in grid.windows[one.window])
        start, stop = (grid.origin + timedelta(hours=grid.bin_h * at) for at in (first, end))
        more = more_affected(table, grid, policy, one.station, one.window, one.anomalies)
        found.append(
            FieldFinding(
                event_id=event_id("field_finding", station, start.isoformat(), stop.isoformat()),
                asset=station,
                at=now,
                observed_at=now,
                trace_id=trace_id("field_finding", station, start.isoformat()),
                window_from=start,
                window_to=stop,
                vehicles=len(one.anomalies),
                built=more.built,
                expected=one.expected,
                p=one.p,
                p_fixed=p_fixed(table, grid, policy, one.station, one.window),
                q=one.q,
                more=more.expected,
                more_low=more.low,
                more_high=more.high,
                until_km=more.until_km,
                evidence=tuple(table.event_id[row] for row in one.anomalies),
            )
        )
    return found


def novel(found: Iterable[FieldFinding], before: Sequence[FieldFinding]) -> list[FieldFinding]:
    """Those that say something which `before` has not said."""
    return [one for one in found if not any(overlap(one, other) for other in before)]


def overlap(one: FieldFinding, other: FieldFinding) -> bool:
    """Whether both are of one station, and share some build time."""
    return (
        one.asset == other.asset and one.window_from < other.window_to and other.window_from < one.window_to
    )


def propose_field(finding: FieldFinding, genealogy: Genealogy, limit_uohm: float) -> FieldProposal:
    """What to ask of a person. `limit_uohm` is the nominal quality gate at end of line: what is not below it
    is not worth asking for. The one in force is the station's to know, which asks for no looser one."""
    within, others = _measured(finding, genealogy)
    remedies: list[Remedy] = [Remedy.INSPECT]
    tighter, caught, told = None, 0.0, ""
    if min(len(within), len(others)) >= _ENOUGH:
        shift = float(within.mean() - others.mean())
        told = (
            f" At end of line its joints measured {within.mean():.1f} µΩ, "
            f"the station's others {others.mean():.1f} µΩ."
        )
        if shift > 3 * math.hypot(
            within.std() / math.sqrt(len(within)), others.std() / math.sqrt(len(others))
        ):
            remedies.append(Remedy.CLEAN_WINDOW)
            limit = math.ceil(float(np.quantile(others, _HEALTHY_KEPT)) / _STEP_UOHM) * _STEP_UOHM
            caught = float((within > limit).mean())
            if limit < limit_uohm and caught > 0.0:
                tighter = limit
                remedies.append(Remedy.TIGHTER_LIMIT)
                told += f" A limit of {limit:.1f} µΩ would have stopped {caught:.0%} of them."
    return FieldProposal(
        change_id=event_id("field_proposal", finding.event_id),
        station=finding.asset,
        mode=Mode.SUPERVISED,
        remedies=tuple(remedies),
        limit_uohm=tighter,
        caught=caught if tighter is not None else 0.0,
        reason=(
            f"{finding.vehicles} of {finding.built} vehicles with joints that were welded there from "
            f"{finding.window_from:%Y-%m-%d %H:%M} to {finding.window_to:%Y-%m-%d %H:%M} have one whose "
            f"resistance grows; {finding.expected:.1f} would by chance (q = {finding.q:.2g}). "
            f"{finding.more:.0f} more are expected by {finding.until_km:,.0f} km "
            f"(95 %: {finding.more_low} to {finding.more_high}).{told}"
        ),
        evidence=finding.evidence,
    )


def _measured(finding: FieldFinding, genealogy: Genealogy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Four-wire resistances at end of line of the finding's joints, and of its station's others."""
    mine = [joint for _, joint in genealogy.every_joint() if joint.station == finding.asset]
    inside = np.array([finding.window_from <= joint.welded_at < finding.window_to for joint in mine], bool)
    measured = np.array([joint.resistance_uohm for joint in mine])
    return measured[inside], measured[~inside]
