"""The numbers of a run, counted in what the topics hold and nowhere else. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Diagnosis,
    Expired,
    Failed,
    Hold,
    Inconclusive,
    Parameter,
    Proposed,
    Rejected,
    RolledBack,
    SetParameter,
    State,
    history,
    state_of,
)
from twinloop.contracts.events import Event, JointWelded
from twinloop.local.demo.record import Record
from twinloop.local.demo.scenarios import Scenario, asset

SCRAP_UOHM: Final = 55.0
"""A joint above this resistance is scrap."""
VERIFICATION_PARTS: Final = 10
"""The controller measures a change on this many parts."""


class StationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a station made. `bad` are parts above `SCRAP_UOHM`."""

    parts: int
    bad: int
    scored: int
    power_low_w: float
    power_high_w: float
    focus_low_mm: float
    focus_high_mm: float


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A state that a change went through, and when, in seconds after it was observed."""

    state: State
    after_s: float


class ChangeReport(msgspec.Struct, frozen=True, kw_only=True):
    """A change with every state that it went through."""

    change_id: str
    asset: str
    what: str
    hold: bool
    """It stops the station: no part is to come that could measure it."""
    diagnosis: Diagnosis | None
    steps: tuple[Step, ...]
    parts_after: int
    """Parts made since it was applied; 0 for one that was not."""
    reason: str = ""
    """Why it ended otherwise than verified."""

    @property
    def awaits_parts(self) -> bool:
        """Applied, and the line stood still before enough parts were made to measure what it did."""
        few = self.parts_after < VERIFICATION_PARTS
        return self.state is State.APPLIED and few and not self.hold

    @property
    def state(self) -> State:
        """Where it stands."""
        return self.steps[-1].state


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the end of the weld at the source; nearest-rank percentiles."""

    count: int
    p50_s: float
    p99_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a run, all counted in the topics."""

    scenario: str
    stations: dict[str, StationReport]
    changes: tuple[ChangeReport, ...]
    alarms: dict[str, int]
    dead_letters: dict[str, int]
    to_anomaly: Latency | None
    to_applied: Latency | None
    problems: tuple[str, ...]

    @property
    def closed(self) -> bool:
        """The scenario ended as it must."""
        return not self.problems


_ENDED_BADLY: Final = (Rejected, Expired, Failed, Inconclusive, RolledBack)

Since = Mapping[str, int]
"""First sequence of the scenario, by station."""


def latency(seconds: Iterable[float]) -> Latency | None:
    """Nearest-rank percentiles, `None` without a sample."""
    ordered = sorted(seconds)
    if not ordered:
        return None

    def rank(percent: float) -> float:
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

    return Latency(count=len(ordered), p50_s=rank(50), p99_s=rank(99))


def unique_joints(joints: Iterable[JointWelded], station: str, first: int) -> list[JointWelded]:
    """The station's parts from sequence `first` on, in order, each once however often it was published."""
    mine = {one.sequence: one for one in joints if one.asset == asset(station) and one.sequence >= first}
    return [mine[sequence] for sequence in sorted(mine)]


def _station(record: Record, station: str, first: int) -> StationReport:
    joints = unique_joints(record.joints, station, first)
    powers = [one.power_w for one in joints] or [0.0]
    focuses = [one.focus_mm for one in joints] or [0.0]
    return StationReport(
        parts=len(joints),
        bad=sum(one.resistance_uohm > SCRAP_UOHM for one in joints),
        scored=len(
            {one.sequence for one in record.verdicts if one.asset == asset(station) and one.sequence >= first}
        ),
        power_low_w=min(powers),
        power_high_w=max(powers),
        focus_low_mm=min(focuses),
        focus_high_mm=max(focuses),
    )


def _what(events: Sequence[AnyChange]) -> tuple[str, bool, Diagnosis | None]:
    proposal = next((one for one in events if isinstance(one, Proposed)), None)
    if proposal is None:
        return "never proposed", False, None
    match proposal.action:
        case SetParameter(parameter=parameter, value=value, expected=expected):
            match parameter:
                case Parameter.LASER_POWER_W:
                    text = f"power {expected:.0f} → {value:.0f} W"
                case Parameter.FOCUS_MM:
                    text = f"focus {expected:+.2f} → {value:+.2f} mm"
                case Parameter.END_OF_LINE_LIMIT_UOHM:
                    text = f"end-of-line limit {expected:.1f} → {value:.1f} µΩ"
        case Hold():
            text = "hold the station"
    return text, isinstance(proposal.action, Hold), proposal.diagnosis


def _change(change_id: str, events: Sequence[AnyChange], record: Record) -> ChangeReport:
    what, hold, diagnosis = _what(events)
    in_force_after = next((one.part_counter for one in events if isinstance(one, Applied)), None)
    return ChangeReport(
        change_id=change_id,
        asset=events[0].asset,
        what=what,
        hold=hold,
        diagnosis=diagnosis,
        reason=next((one.reason for one in events if isinstance(one, _ENDED_BADLY)), ""),
        steps=tuple(Step(state=state_of(one), after_s=_age_s(one)) for one in events),
        parts_after=0
        if in_force_after is None
        else len(
            {j.sequence for j in record.joints if j.asset == events[0].asset and j.sequence > in_force_after}
        ),
    )


def _age_s(event: Event) -> float:
    return (event.at - event.observed_at).total_seconds()


def count(scenario: Scenario, record: Record, since: Since) -> Report:
    """Count everything. `since`: first sequence of the scenario's parts, by station."""
    return Report(
        scenario=scenario.name,
        stations={station: _station(record, station, since[station]) for station in scenario.stations},
        changes=tuple(_change(*one, record) for one in history(record.changes).items()),
        alarms=dict(Counter(str(one.code) for one in record.alarms)),
        dead_letters=dict(Counter(str(one.reason) for one in record.dead_letters)),
        to_anomaly=latency(map(_age_s, record.anomalies)),
        to_applied=latency(_age_s(one) for one in record.changes if isinstance(one, Applied)),
        problems=(),
    )
