"""Whether a scenario ended as it must. Pure.

Each scenario has its own pass condition, and each condition also asks that the parts were really made,
measured and scored: a loop in which nothing happened passes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final

import msgspec

from twinloop.contracts.changes import (
    Applied,
    Hold,
    Issued,
    Parameter,
    Proposed,
    SetParameter,
    State,
    history,
)
from twinloop.contracts.events import AlarmCode
from twinloop.local.demo.record import Record
from twinloop.local.demo.report import SCRAP_UOHM, Report, Since, count, unique_joints
from twinloop.local.demo.scenarios import CLOSED, OPEN, Scenario, asset

POWER_LIMITS_W: Final = (850.0, 1350.0)
COOLDOWN_PARTS: Final = 10
CLOSED_SHARE: Final = 0.05
"""The closed loop may have at most this share of the open loop's bad welds."""


def _all_made_and_scored(scenario: Scenario, report: Report) -> Iterable[str]:
    for station in scenario.stations:
        made = report.stations[station]
        if made.parts != scenario.welds:
            yield f"{station} made {made.parts} of {scenario.welds} parts"
        if made.scored != made.parts:
            yield f"{station}: {made.scored} of {made.parts} parts were scored"


def _no_dead_letters(report: Report) -> Iterable[str]:
    if report.dead_letters:
        yield f"dead letters: {report.dead_letters}"


def _proposals(record: Record) -> list[Proposed]:
    return [one for events in history(record.changes).values() for one in events if isinstance(one, Proposed)]


def _verified_on(record: Record, report: Report, parameter: Parameter) -> Iterable[str]:
    """At least one change, all of them on `parameter`, applied, and verified once parts were made."""
    proposals = _proposals(record)
    if not proposals:
        yield "no change was proposed"
    for one in proposals:
        if not (isinstance(one.action, SetParameter) and one.action.parameter is parameter):
            yield f"change {one.change_id[:8]} touches {one.action}, not {parameter}"
    if not any(change.state is State.VERIFIED for change in report.changes):
        yield "no change was verified"
    for change in report.changes:
        if change.state is not State.VERIFIED and not change.awaits_parts:
            yield f"change {change.change_id[:8]} ({change.what}) stands at {change.state}, not verified"


def _in_force(record: Record, report: Report, station: str) -> Iterable[str]:
    """Setpoints on the parts themselves: what was called applied is what later parts were made with."""
    applied = [one for one in record.changes if isinstance(one, Applied) and one.asset == asset(station)]
    proposals = {one.change_id: one for one in _proposals(record)}
    for one in applied:
        action = proposals[one.change_id].action
        if not isinstance(action, SetParameter):
            continue
        after = [
            joint
            for joint in record.joints
            if joint.asset == one.asset and one.part_counter < joint.sequence <= one.part_counter + 5
        ]
        for joint in after:
            there = {
                Parameter.LASER_POWER_W: joint.power_w,
                Parameter.FOCUS_MM: joint.focus_mm,
                Parameter.END_OF_LINE_LIMIT_UOHM: joint.limit_uohm,
            }[action.parameter]
            if abs(there - action.value) > 1e-6 * max(1.0, abs(action.value)):
                yield f"change {one.change_id[:8]} is called applied, but part {joint.sequence} has {there}"
                break
    low, high = POWER_LIMITS_W
    made = report.stations[station]
    if made.power_low_w < low or made.power_high_w > high:
        yield f"{station}: {made.power_low_w:.0f}–{made.power_high_w:.0f} W leaves {low:.0f}–{high:.0f} W"


def _window_drift(scenario: Scenario, record: Record, report: Report) -> Iterable[str]:
    yield from _all_made_and_scored(scenario, report)
    yield from _no_dead_letters(report)
    closed, opened = report.stations[CLOSED], report.stations[OPEN]
    if opened.bad < 20:
        yield f"the open loop has only {opened.bad} bad welds: the plant did not drift"
    if closed.bad > CLOSED_SHARE * opened.bad:
        yield f"the closed loop has {closed.bad} bad welds, more than 5 % of the open loop's {opened.bad}"
    if opened.power_low_w != opened.power_high_w:
        yield "somebody changed the power of the open loop"
    yield from _verified_on(record, report, Parameter.LASER_POWER_W)
    yield from _in_force(record, report, CLOSED)


def _defocus(scenario: Scenario, record: Record, report: Report) -> Iterable[str]:
    yield from _all_made_and_scored(scenario, report)
    yield from _no_dead_letters(report)
    made = report.stations[CLOSED]
    if made.power_low_w != made.power_high_w:
        yield f"the power was changed: {made.power_low_w:.0f} to {made.power_high_w:.0f} W"
    yield from _verified_on(record, report, Parameter.FOCUS_MM)
    yield from _in_force(record, report, CLOSED)
    last = max((joint.sequence for joint in record.joints if joint.asset == asset(CLOSED)), default=0)
    late = unique_joints(record.joints, CLOSED, last - 49)
    if made.bad == 0:
        yield "no weld was bad: the plant was not out of focus"
    if bad := sum(one.resistance_uohm > SCRAP_UOHM for one in late):
        yield f"{bad} of the last {len(late)} welds are bad: the focus was not found"


def _gap(scenario: Scenario, record: Record, report: Report) -> Iterable[str]:
    yield from _no_dead_letters(report)
    proposals = _proposals(record)
    for one in proposals:
        if not isinstance(one.action, Hold):
            yield f"a setpoint was touched: {one.action}"
    holds = [change for change in report.changes if change.hold]
    if not any(change.state is State.VERIFIED for change in holds):
        yield "the station was not stopped and seen to stand still"
    if not report.alarms.get(AlarmCode.GAP):
        yield "no alarm was raised"
    made = report.stations[CLOSED]
    if made.power_low_w != made.power_high_w or made.focus_low_mm != made.focus_high_mm:
        yield "a setpoint changed"
    if made.bad == 0:
        yield "no weld was bad: there was no gap"
    if made.parts >= scenario.welds:
        yield f"the station went on to weld all {made.parts} parts"


def _healthy(scenario: Scenario, record: Record, report: Report) -> Iterable[str]:
    yield from _all_made_and_scored(scenario, report)
    yield from _no_dead_letters(report)
    if report.changes:
        yield f"{len(report.changes)} changes were proposed to a healthy process"
    if report.alarms:
        yield f"alarms were raised at a healthy process: {report.alarms}"


def _plc_refuses(scenario: Scenario, record: Record, report: Report) -> Iterable[str]:
    yield from _all_made_and_scored(scenario, report)
    yield from _no_dead_letters(report)
    made = report.stations[CLOSED]
    if made.power_low_w != made.power_high_w or made.focus_low_mm != made.focus_high_mm:
        yield "a setpoint changed although the PLC refuses"
    for change in report.changes:
        states = {step.state for step in change.steps}
        if State.APPLIED in states:
            yield f"change {change.change_id[:8]} was called applied although the PLC refused it"
        elif change.state is not State.FAILED:
            yield f"change {change.change_id[:8]} stands at {change.state}, not failed"
    issued = [one for one in record.changes if isinstance(one, Issued)]
    if len(issued) < 2:
        yield f"{len(issued)} commands were issued: a second one was due"
    for before, after in pairwise(sorted(issued, key=lambda one: one.part_counter)):
        parts = after.part_counter - before.part_counter
        if parts < COOLDOWN_PARTS:
            yield f"change {after.change_id[:8]} was issued {parts} parts after the last: no cooldown"


_CONDITIONS: Final[dict[str, Callable[[Scenario, Record, Report], Iterable[str]]]] = {
    "window-drift": _window_drift,
    "line-off": _window_drift,
    "defocus": _defocus,
    "gap": _gap,
    "healthy": _healthy,
    "plc-refuses": _plc_refuses,
}


def judge(scenario: Scenario, record: Record, since: Since) -> Report:
    """Count, and list as `problems` what speaks against the scenario's pass condition."""
    numbers = count(scenario, record, since)
    problems = tuple(_CONDITIONS[scenario.name](scenario, record, numbers))
    return msgspec.structs.replace(numbers, problems=problems)


def settled(scenario: Scenario, record: Record, since: Since, *, station_held: bool) -> bool:
    """Whether everything that is still to come has come: all parts scored, no change half way."""
    numbers = count(scenario, record, since)
    for made in numbers.stations.values():
        if made.scored != made.parts or (not station_held and made.parts != scenario.welds):
            return False
    return all(change.state.final or change.awaits_parts for change in numbers.changes)
