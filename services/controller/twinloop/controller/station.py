"""What the controller makes of an event: `decide(state, event, policy, now) -> (state, outcomes)`. Pure.

    anomaly:  diagnose -> (its part known?) -> estimate -> evidence enough? -> propose -> guard -> proposed
    part:     remember -> verify the change in flight -> anomalies that waited for it
    change:   follow its life cycle (`lifecycle.py`)

Folding an event twice changes nothing: anomalies and parts are recognised by their place in the station's
sequence, changes by their id and state; and what follows from an event has ids made from it.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from twinloop.contracts.changes import AnyChange, Diagnosis
from twinloop.contracts.events import Anomaly, JointWelded
from twinloop.controller import estimate, lifecycle
from twinloop.controller.consider import consider
from twinloop.controller.diagnose import diagnose
from twinloop.controller.lifecycle import Step
from twinloop.controller.policy import AssetPolicy, Mode
from twinloop.controller.state import (
    FINDINGS_KEPT,
    WAITING_KEPT,
    Diagnosed,
    Finding,
    Ignored,
    Outcome,
    Part,
    Station,
    Trigger,
    kept,
)

StationEvent = JointWelded | Anomaly | AnyChange


def decide(station: Station, event: StationEvent, policy: AssetPolicy, now: datetime) -> Step:
    """The station after `event`, and what follows from it. `event` is of the station's asset."""
    station, given_up = lifecycle.give_up(station, policy, now)
    if isinstance(event, JointWelded):
        station, outcomes = _part(station, event, policy, now)
    elif isinstance(event, Anomaly):
        station, outcomes = _anomaly(station, event, policy, now)
    else:
        station, outcomes = lifecycle.follow(station, event, policy, now)
    return station, (*given_up, *outcomes)


def _part(station: Station, joint: JointWelded, policy: AssetPolicy, now: datetime) -> Step:
    newest = station.newest
    begun_anew: tuple[Outcome, ...] = ()
    if newest is not None and joint.sequence <= newest.sequence:
        if joint.observed_at <= newest.made_at or joint.sequence == newest.sequence:
            return station, (Ignored("repeated"),)
        station, begun_anew = _anew(station, joint, now)
    station = replace(station, parts=kept(station.parts, Part.of(joint)), recipe=joint.recipe)
    station, measured = lifecycle.measure(station, joint.event_id, policy, now)
    ready = tuple(one for one in station.waiting if one.sequence == joint.sequence)
    station = replace(station, waiting=tuple(one for one in station.waiting if one.sequence > joint.sequence))
    found: tuple[Outcome, ...] = ()
    for finding in ready:
        station, outcomes = _fold(station, finding, policy, now)
        found = (*found, *outcomes)
    return station, (*begun_anew, *measured, *found)


def _anew(station: Station, joint: JointWelded, now: datetime) -> Step:
    """The part counter began anew: numbers from before mean nothing now."""
    reason = f"the part counter began anew at {joint.sequence}"
    station, outcomes = lifecycle.interrupt(station, reason, joint.event_id, now)
    return replace(
        station, parts=(), findings=(), waiting=(), intercept_mm=None, fed_sequence=0, settled=None
    ), outcomes


def _anomaly(station: Station, anomaly: Anomaly, policy: AssetPolicy, now: datetime) -> Step:
    last = station.trigger
    if (
        last is not None
        and (anomaly.sequence, anomaly.row) <= (last.sequence, last.row)
        and (anomaly.observed_at <= last.observed_at or anomaly.sequence == last.sequence)
    ):
        return station, (Ignored("repeated"),)
    station = replace(station, trigger=_trigger(anomaly))
    reading = diagnose(anomaly.features, anomaly.deviations, policy.diagnosis)
    finding = Finding(
        sequence=anomaly.sequence,
        observed_at=anomaly.observed_at,
        event_id=anomaly.event_id,
        diagnosis=reading.diagnosis,
        depth_mm=reading.depth_mm,
        reflection=reading.reflection,
    )
    diagnosed = Diagnosed(reading.diagnosis)
    newest = station.newest
    if newest is None or anomaly.sequence > newest.sequence:
        if finding.diagnosis is not Diagnosis.GAP:
            waiting = (*station.waiting, finding)[-WAITING_KEPT:]
            return replace(station, waiting=waiting), (diagnosed,)
    elif station.part(anomaly.sequence) is None:
        return station, (diagnosed, Ignored("late"))
    station, outcomes = _fold(station, finding, policy, now)
    return station, (diagnosed, *outcomes)


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


def _fold(station: Station, finding: Finding, policy: AssetPolicy, now: datetime) -> Step:
    """Take a finding into account. A part has one: its first, unless a later window of it shows a gap."""
    earlier = next((one for one in station.findings if one.sequence == finding.sequence), None)
    if earlier is not None and (finding.diagnosis is not Diagnosis.GAP or earlier.diagnosis is Diagnosis.GAP):
        return station, ()
    others = tuple(one for one in station.findings if one is not earlier)
    station = replace(station, findings=(*others, finding)[-FINDINGS_KEPT:])
    if policy.mode is Mode.OFF:
        return station, ()
    if finding.diagnosis is Diagnosis.DIRTY_WINDOW and earlier is None:
        station = _learn(station, finding, policy)
    return consider(station, finding, policy, now)


def _learn(station: Station, finding: Finding, policy: AssetPolicy) -> Station:
    """Feed the run-to-run controller; it starts, and starts again after a pause, at the setpoint in force."""
    part = station.part(finding.sequence)
    if part is None:
        return station
    rule = policy.estimator
    intercept = station.intercept_mm
    if intercept is None or part.sequence - station.fed_sequence > rule.memory_parts:
        intercept = estimate.anchored(part.power_w, policy.target_depth_mm, rule)
    return replace(
        station,
        intercept_mm=estimate.updated(intercept, finding.depth_mm, part.power_w, rule),
        fed_sequence=part.sequence,
    )
