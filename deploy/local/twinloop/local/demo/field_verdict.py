"""Whether the slow loop ended as it must: the right station and build window, and no other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from twinloop.contracts.changes import Approved, Parameter, Proposed, SetParameter, State, history, state_of
from twinloop.contracts.field import FieldFinding
from twinloop.contracts.modes import Mode
from twinloop.local.demo.record import Record
from twinloop.local.demo.scenarios import CLOSED, asset


class Spell(msgspec.Struct, frozen=True):
    """What the plant knows: `station`, an asset path, welded under a fault from one moment to the other."""

    station: str
    welded_from: datetime
    welded_to: datetime

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> Spell:
        """From the panel."""
        return cls(
            shown["station"],
            datetime.fromisoformat(shown["welded_from"]),
            datetime.fromisoformat(shown["welded_to"]),
        )


class Fleet(msgspec.Struct, frozen=True):
    """A fleet that was built: the truth about its faults, and the joints rejected at each station's gate."""

    spells: tuple[Spell, ...]
    rejected: dict[str, int]


class FieldReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it, counted in the topics."""

    vehicles: int
    spells: tuple[Spell, ...]
    findings: tuple[FieldFinding, ...]
    change: str
    states: tuple[State, ...]
    approver: str
    recalled: int
    rejected_before: int
    rejected_after: int
    problems: tuple[str, ...]

    @property
    def closed(self) -> bool:
        """It ended as it must."""
        return not self.problems


def judge(
    record: Record, first: Fleet, second: Fleet, recalled: frozenset[str], vehicles: int
) -> FieldReport:
    """Count, and list as `problems` what speaks against it. `recalled`: pseudonyms that the recall named."""
    proposals = [one for one in record.changes if isinstance(one, Proposed)]
    steps = history(record.changes)
    mine = steps[proposals[0].change_id] if proposals else []
    approver = next((one.approver for one in mine if isinstance(one, Approved)), "")
    return FieldReport(
        vehicles=vehicles,
        spells=first.spells,
        findings=record.findings,
        change=_what(proposals),
        states=tuple(state_of(one) for one in mine),
        approver=approver,
        recalled=len(recalled),
        rejected_before=first.rejected.get(CLOSED, 0),
        rejected_after=second.rejected.get(CLOSED, 0),
        problems=(
            *_built(record, vehicles),
            *_named(record, first),
            *_proposed(record, proposals, approver),
            *_ended(mine),
            *_recalled(record, recalled),
            *_measured(first, second),
        ),
    )


def _what(proposals: list[Proposed]) -> str:
    action = proposals[0].action if proposals else None
    if not isinstance(action, SetParameter):
        return "nothing"
    return f"end-of-line limit {action.expected:.0f} → {action.value:.1f} µΩ"


def _built(record: Record, vehicles: int) -> Iterable[str]:
    # The second fleet's vehicles come on top.
    if len({one.asset for one in record.vehicles}) < vehicles:
        yield f"only {len(record.vehicles)} of {vehicles} vehicles are in the genealogy"


def _named(record: Record, first: Fleet) -> Iterable[str]:
    stations = {one.asset for one in record.findings}
    if stations != {asset(CLOSED)}:
        yield f"named were {sorted(stations) or 'none'}, and not {asset(CLOSED)} alone"
    for one in record.findings:
        if not any(_same(one, spell) for spell in first.spells):
            yield f"the window {one.window_from:%d %b %H:%M} to {one.window_to:%d %b %H:%M} was none"


def _same(finding: FieldFinding, spell: Spell) -> bool:
    """Whether most of the window lies in the spell, and most of the spell in the window."""
    window, truth = finding.window_to - finding.window_from, spell.welded_to - spell.welded_from
    shared = min(finding.window_to, spell.welded_to) - max(finding.window_from, spell.welded_from)
    return finding.asset == spell.station and 2 * shared > max(window, truth)


def _proposed(record: Record, proposals: list[Proposed], approver: str) -> Iterable[str]:
    if len(proposals) != 1:
        yield f"{len(proposals)} changes were proposed, not one"
    told = {one for finding in record.findings for one in finding.evidence}
    for one in proposals:
        right = isinstance(one.action, SetParameter) and (
            one.action.parameter is Parameter.END_OF_LINE_LIMIT_UOHM
        )
        if not right:
            yield f"a setpoint of the process was touched: {one.action}"
        if one.mode is not Mode.SUPERVISED:
            yield f"it was proposed in {one.mode}"
        if not one.evidence or not set(one.evidence) <= told:
            yield "its evidence is not that of the findings"
    if proposals and not approver.startswith("person:"):
        yield f"it was released by {approver or 'nobody'}, and not by a person"


def _ended(mine: Iterable[Any]) -> Iterable[str]:
    states = [state_of(one) for one in mine]
    wanted = [State.PROPOSED, State.SIMULATED, State.APPROVED, State.ISSUED, State.APPLIED, State.VERIFIED]
    if states != wanted:
        yield f"the change went through {', '.join(states) or 'nothing'}"


def _recalled(record: Record, recalled: frozenset[str]) -> Iterable[str]:
    if not record.findings:
        return
    one = record.findings[0]
    affected = {
        vehicle.vehicle
        for vehicle in record.vehicles
        for joint in vehicle.joints()
        if joint.station == one.asset and one.window_from <= joint.welded_at < one.window_to
    }
    if recalled != affected:
        yield f"the recall names {len(recalled)} vehicles, the genealogy {len(affected)}"


def _measured(first: Fleet, second: Fleet) -> Iterable[str]:
    before, after = first.rejected.get(CLOSED, 0), second.rejected.get(CLOSED, 0)
    if after <= before:
        yield f"the gate stopped {after} joints of the next vehicles and {before} before: it is not tighter"
