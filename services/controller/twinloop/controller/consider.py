"""From a finding to an event: is there evidence enough, what mends it, does a guard object? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from twinloop.contracts.changes import Diagnosis, Hold, Proposed, SetParameter
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode
from twinloop.controller import calls, flight, guard, modes, tell, verdicts
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.propose import Call, Saturated, Wish, evidence, propose
from twinloop.controller.state import (
    Cause,
    Finding,
    Given,
    Outcome,
    Refused,
    Station,
    Step,
    Trigger,
    WouldPropose,
)

_MAINTENANCE: Final = {
    Diagnosis.DIRTY_WINDOW: AlarmCode.WINDOW_MAINTENANCE,
    Diagnosis.DEFOCUS: AlarmCode.FOCUS_MAINTENANCE,
}


def consider(station: Station, finding: Finding, given: Given) -> Step:
    """Propose what mends `finding`, if enough parts say the same and no guard objects. In SHADOW it is only
    told what would be proposed."""
    found = evidence(station.findings, finding, given.policy)
    trigger = station.trigger
    if not found or trigger is None:
        return station, ()
    wish = propose(station, finding.diagnosis, found, given.policy)
    if wish is None:
        return station, ()
    if isinstance(wish, Refused):
        return station, (wish,)
    if isinstance(wish, Call):
        return calls.call(station, finding.diagnosis, wish, trigger, given.now)
    if isinstance(wish, Saturated):
        code = _MAINTENANCE.get(finding.diagnosis, AlarmCode.PERSON_NEEDED)
        return _saturated(station, wish, code, trigger, given)
    return guarded(_relieved(station, wish, given.policy), finding, found, wish, trigger, given)


def guarded(
    station: Station, finding: Finding, found: Sequence[Finding], wish: Wish, trigger: Trigger, given: Given
) -> Step:
    """Propose `wish` if no guard objects. `finding` is the newest of those that speak for it."""
    mode = modes.effective(station, given.policy)
    free = station
    interrupted: tuple[Outcome, ...] = ()
    if isinstance(wish.action, Hold):
        # A stop does not wait until the last setpoint is measured.
        cause = Cause(trigger.event_id, trigger.observed_at, trigger.trace_id)
        reason = f"{wish.action.reason}, before enough parts were measured"
        free, interrupted = verdicts.interrupt(station, reason, cause, given)
        if mode is Mode.AUTO:
            free = flight.overtaken(free)
    case = guard.Case(
        action=wish.action,
        diagnosis=finding.diagnosis,
        station=free,
        mode=mode,
        seen_at=trigger.observed_at,
        sequence=finding.sequence,
        model=trigger.model,
        model_version=trigger.model_version,
        given=given,
    )
    refused = guard.refusal(case)
    if refused is None:
        proposed = _proposed(free, finding, found, wish, trigger, mode, given)
        return _begun(free, proposed, wish, interrupted, given)
    if refused.guard == "mode" and mode is Mode.SHADOW:
        proposed = _proposed(station, finding, found, wish, trigger, mode, given)
        return replace(station, findings=()), (WouldPropose(proposed),)
    if refused.guard == "in_flight" and isinstance(wish.action, Hold):
        return _in_the_way(station, wish, trigger, refused, given)
    return station, (refused,)


def _begun(
    station: Station, proposed: Proposed, wish: Wish, interrupted: tuple[Outcome, ...], given: Given
) -> Step:
    # What spoke for this change does not speak for another one.
    after = replace(flight.begin(station, proposed, given.policy), findings=())
    outcomes: tuple[Outcome, ...] = (*interrupted, proposed)
    if isinstance(proposed.action, Hold) and after.in_flight is not None:
        text = f"{proposed.reason}: the station is to be held; {wish.advice}"
        call = tell.alarm(station.asset, after.in_flight, wish.code, text, proposed.event_id, given.now)
        outcomes = (*outcomes, call)
    return after, outcomes


def _in_the_way(station: Station, wish: Wish, trigger: Trigger, refused: Refused, given: Given) -> Step:
    """A change that waits for somebody keeps the station from being held: then a person must hear of it at
    once, and once."""
    change = station.in_flight
    if change is None or change.hold_told or isinstance(change.action, Hold):
        return station, (refused,)
    text = f"{wish.reason}, and change {change.change_id} is in the way of a hold: stop the station"
    call = tell.alarm(station.asset, change, wish.code, text, trigger.event_id, given.now)
    return replace(station, in_flight=replace(change, hold_told=True)), (refused, call)


def _proposed(
    station: Station,
    finding: Finding,
    found: Sequence[Finding],
    wish: Wish,
    trigger: Trigger,
    mode: Mode,
    given: Given,
) -> Proposed:
    """The same evidence makes the same change id, however often it is folded. The time is in it because a
    part counter that begins anew may repeat event ids."""
    first = found[0]
    change_id = event_id(
        "change", station.asset, finding.diagnosis, first.event_id, first.observed_at.isoformat()
    )
    return Proposed(
        event_id=event_id("proposed", change_id),
        asset=station.asset,
        at=given.now,
        observed_at=trigger.observed_at,
        trace_id=trigger.trace_id,
        caused_by=trigger.event_id,
        change_id=change_id,
        action=wish.action,
        diagnosis=finding.diagnosis,
        recipe=station.recipe,
        reason=wish.reason,
        evidence=tuple(one.event_id for one in found),
        expires_at=given.now + timedelta(seconds=given.policy.expiry.decision_s(mode)),
        model=trigger.model,
        model_version=trigger.model_version,
        input_digest=trigger.input_digest,
        mode=mode,
    )


def _saturated(station: Station, wish: Saturated, code: AlarmCode, trigger: Trigger, given: Given) -> Step:
    """Nothing is left to do but to call a person: once, until there is room again."""
    refused = Refused(wish.guard, wish.text)
    if wish.parameter in station.saturated or not modes.effective(station, given.policy).acts:
        return station, (refused,)
    call = Alarm(
        event_id=event_id("alarm", code, station.asset, trigger.event_id, trigger.observed_at.isoformat()),
        asset=station.asset,
        at=given.now,
        observed_at=trigger.observed_at,
        trace_id=trigger.trace_id,
        caused_by=trigger.event_id,
        code=code,
        text=f"{wish.text}; the cause must be removed",
    )
    return replace(station, saturated=(*station.saturated, wish.parameter)), (refused, call)


def _relieved(station: Station, wish: Wish, policy: AssetPolicy) -> Station:
    """Two steps of room to the nearest limit are room enough to forget an alarm about it."""
    action = wish.action
    if not isinstance(action, SetParameter) or action.parameter not in station.saturated:
        return station
    limits = policy.limits(action.parameter)
    left_over = min(action.value - limits.room.low, limits.room.high - action.value)
    if left_over <= 2 * limits.step:
        return station
    left = tuple(one for one in station.saturated if one is not action.parameter)
    return replace(station, saturated=left)
