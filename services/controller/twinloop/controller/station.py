"""What the controller makes of an event: `decide(state, event, policy, now) -> (state, outcomes)`. Pure.

    anomaly:  who speaks? -> valid? -> diagnose -> (its part known?) -> do the sensors agree? -> estimate
              -> evidence enough? -> propose -> guard -> proposed
    part:     valid? -> remember -> verify the change in flight -> anomalies that waited for it -> scrap?
    change:   follow its life cycle (`lifecycle.py`)
    control:  follow what is in force (`modes.py`)
    finding:  what vehicles tell: call a person, ask for a tighter gate once no guard objects (`asking.py`)

Folding an event twice changes nothing: anomalies and parts are recognised by their place in the station's
sequence, changes by their id and state, controls by their id; and what follows from an event has ids made
from it.
"""

from __future__ import annotations

from dataclasses import replace as replaced
from datetime import datetime

from msgspec.structs import replace

from twinloop.contracts.changes import AnyChange, Diagnosis
from twinloop.contracts.controls import AnyControl, ControlEvent
from twinloop.contracts.events import AlarmCode, Anomaly, JointWelded
from twinloop.contracts.field import FieldFinding
from twinloop.contracts.modes import Mode
from twinloop.controller import asking, calls, estimate, lifecycle, modes, repeats, scrap, validity, verdicts
from twinloop.controller.agreement import agreed
from twinloop.controller.consider import consider
from twinloop.controller.diagnose import Reading, diagnose
from twinloop.controller.estimate import Estimate
from twinloop.controller.guard import MENDED_BY_POWER
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.state import (
    FINDINGS_KEPT,
    WAITING_KEPT,
    BadInput,
    Cause,
    Diagnosed,
    Finding,
    Given,
    Ignored,
    Outcome,
    Station,
    Step,
    Trigger,
    kept,
)

StationEvent = JointWelded | Anomaly | FieldFinding | AnyChange | AnyControl


def decide(
    station: Station, event: StationEvent, policy: AssetPolicy, now: datetime, audit_away: str | None = None
) -> Step:
    """The station after `event`, and what follows from it. `event` is of the station's asset; `audit_away`
    says why nothing can be audited, if so."""
    given = Given(policy, now, audit_away)
    station, given_up = lifecycle.give_up(station, given)
    before = station
    if isinstance(event, FieldFinding):
        station, outcomes = asking.found(station, event, given)
    elif isinstance(event, JointWelded):
        station, outcomes = _part(station, event, given)
    elif isinstance(event, Anomaly):
        station, outcomes = _anomaly(station, event, given)
    elif isinstance(event, ControlEvent):
        station, outcomes = modes.follow(station, event, given)
    elif asking.concerns(station, event):
        station, outcomes = asking.follow(station, event, given)
    else:
        station, outcomes = lifecycle.follow(station, event, given)
    station, asked = asking.further(before, station, Cause.of(event), given)
    return repeats.marked(station, (*given_up, *outcomes, *asked), given)


def _part(station: Station, joint: JointWelded, given: Given) -> Step:
    newest = station.newest
    begun_anew: tuple[Outcome, ...] = ()
    if newest is not None and joint.sequence <= newest.sequence:
        if joint.observed_at <= newest.made_at or joint.sequence == newest.sequence:
            return station, (Ignored("repeated"),)
        station, begun_anew = _anew(station, joint, given)
    bad = validity.of_part(station, joint, given)
    station, shed = _held(station, bad, Cause.of(joint), given)
    station = replace(station, parts=kept(station.parts, validity.trusted(bad, joint)), recipe=joint.recipe)
    station = calls.forget(station, given.policy)
    station, measured = verdicts.measure(station, Cause.of(joint), given)
    ready = tuple(one for one in station.waiting if one.sequence == joint.sequence)
    station = replace(station, waiting=tuple(one for one in station.waiting if one.sequence > joint.sequence))
    found: tuple[Outcome, ...] = ()
    for finding in ready:
        station, outcomes = _fold(station, finding, given)
        found = (*found, *outcomes)
    station, stopped = scrap.considered(station, Cause.of(joint), given)
    return station, (*begun_anew, *bad, *shed, *measured, *found, *stopped)


def _held(station: Station, found: tuple[BadInput, ...], cause: Cause, given: Given) -> Step:
    """Bad parts hold everything up (`guard.input_validity`); so many in succession shed the asset."""
    station = validity.marked(station, *found)
    count = validity.in_succession(station, found[-1].sequence) if found else 0
    if count < given.policy.input.hold_parts:
        return station, ()
    reason = f"the input of {count} parts in succession is bad, of the last one because {found[-1].reason}"
    return modes.shed(station, reason, cause, given.now, AlarmCode.INPUT_INVALID)


def _anew(station: Station, joint: JointWelded, given: Given) -> Step:
    """The part counter began anew: numbers from before mean nothing now."""
    reason = f"the part counter began anew at {joint.sequence}"
    station, outcomes = verdicts.interrupt(station, reason, Cause.of(joint), given)
    return replace(
        station,
        parts=(),
        findings=(),
        waiting=(),
        depths=(),
        bad=(),
        intercept_mm=None,
        trend_mm=0.0,
        fed_sequence=0,
        settled=None,
        applied_after=None,
        scrap_told=None,
        heard=(),
    ), outcomes


def _anomaly(station: Station, anomaly: Anomaly, given: Given) -> Step:
    last = station.trigger
    if (
        last is not None
        and (anomaly.sequence, anomaly.row) <= (last.sequence, last.row)
        and (anomaly.observed_at <= last.observed_at or anomaly.sequence == last.sequence)
    ):
        return station, (Ignored("repeated"),)
    station, swapped = modes.heard(station, anomaly, given.now)
    station = replace(station, trigger=_trigger(anomaly))
    reading = diagnose(anomaly.features, anomaly.deviations, given.policy.diagnosis)
    told = swapped
    if all(one.sequence != anomaly.sequence for one in station.depths):
        bad = validity.of_anomaly(station, anomaly, given)
        station, shed = _held(station, () if bad is None else (bad,), Cause.of(anomaly), given)
        station = validity.remembered(station, anomaly)
        told = (*told, *(() if bad is None else (bad,)), *shed)
        if bad is not None and reading.diagnosis is not Diagnosis.GAP:
            reading = replaced(reading, diagnosis=Diagnosis.UNKNOWN, sound=False)
    finding = Finding(
        sequence=anomaly.sequence,
        observed_at=anomaly.observed_at,
        event_id=anomaly.event_id,
        diagnosis=reading.diagnosis,
        depth_mm=reading.depth_mm,
        reflection=reading.reflection,
        depth=reading.depth,
        temperature=reading.temperature,
        plasma=reading.plasma,
        sound=reading.sound,
    )
    newest = station.newest
    if newest is None or anomaly.sequence > newest.sequence:
        if finding.diagnosis is not Diagnosis.GAP:
            waiting = (*station.waiting, finding)[-WAITING_KEPT:]
            return replace(station, waiting=waiting), told
    elif station.part(anomaly.sequence) is None:
        return station, (*told, Ignored("late"))
    station, outcomes = _fold(station, finding, given)
    return station, (*told, *outcomes)


def _trigger(anomaly: Anomaly) -> Trigger:
    return Trigger(
        event_id=anomaly.event_id,
        sequence=anomaly.sequence,
        row=anomaly.row,
        observed_at=anomaly.observed_at,
        trace_id=anomaly.trace_id,
        model=anomaly.model,
        model_version=anomaly.model_version,
        input_digest=anomaly.input_digest,
    )


def _fold(station: Station, finding: Finding, given: Given) -> Step:
    """Take a finding into account. A part has one: its first, unless a later window of it shows a gap."""
    finding = _heard_together(station, finding, given.policy)
    told = (Diagnosed(finding.diagnosis),)
    earlier = next((one for one in station.findings if one.sequence == finding.sequence), None)
    if earlier is not None and (finding.diagnosis is not Diagnosis.GAP or earlier.diagnosis is Diagnosis.GAP):
        return station, told
    others = tuple(one for one in station.findings if one is not earlier)
    station = replace(station, findings=(*others, finding)[-FINDINGS_KEPT:])
    if modes.effective(station, given.policy) is Mode.OFF:
        return station, told
    if finding.diagnosis in MENDED_BY_POWER and earlier is None:
        station = _learn(station, finding, given.policy)
    station, outcomes = consider(station, finding, given)
    return station, (*told, *outcomes)


def _heard_together(station: Station, finding: Finding, policy: AssetPolicy) -> Finding:
    """The finding, once the setpoint that its part was made with is known and its sensors can be compared."""
    part = station.part(finding.sequence)
    if part is None or not part.trusted:
        return finding
    reading = Reading(
        finding.diagnosis,
        finding.depth_mm,
        finding.reflection,
        finding.depth,
        finding.temperature,
        finding.plasma,
        sound=finding.sound,
    )
    return replace(finding, diagnosis=agreed(reading, part.power_w, policy))


def _learn(station: Station, finding: Finding, policy: AssetPolicy) -> Station:
    """Feed the run-to-run controller; it starts, and starts again after a pause, at the setpoint in force.
    What is bad teaches nothing."""
    part = station.part(finding.sequence)
    if part is None or validity.problem(station, part.sequence) is not None:
        return station
    if station.recipe != policy.recipe:
        return station  # another recipe's depth has another target
    rule = policy.estimator
    if station.intercept_mm is None or part.sequence - station.fed_sequence > rule.memory_parts:
        known = estimate.anchored(part.power_w, policy.target_depth_mm, rule)
    else:
        known = Estimate(station.intercept_mm, station.trend_mm)
    known = estimate.updated(known, finding.depth_mm, part.power_w, rule)
    return replace(
        station, intercept_mm=known.intercept_mm, trend_mm=known.trend_mm, fed_sequence=part.sequence
    )
