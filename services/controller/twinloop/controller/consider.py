"""From a finding to an event: is there evidence enough, what mends it, does a guard object? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from twinloop.contracts.changes import Hold, Parameter, Proposed, SetParameter
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.ids import event_id
from twinloop.controller import guard, lifecycle
from twinloop.controller.lifecycle import Step
from twinloop.controller.policy import AssetPolicy, Mode
from twinloop.controller.propose import Saturated, Wish, evidence, propose
from twinloop.controller.state import Finding, Outcome, Refused, Station, Trigger

_MAINTENANCE: Final = {
    Parameter.LASER_POWER_W: AlarmCode.WINDOW_MAINTENANCE,
    Parameter.FOCUS_MM: AlarmCode.FOCUS_MAINTENANCE,
}


def consider(station: Station, finding: Finding, policy: AssetPolicy, now: datetime) -> Step:
    """Propose what mends `finding`, if enough parts say the same and no guard objects."""
    found = evidence(station.findings, finding, policy)
    trigger = station.trigger
    if not found or trigger is None:
        return station, ()
    wish = propose(station, finding.diagnosis, found, policy)
    if wish is None:
        return station, ()
    if isinstance(wish, Refused):
        return station, (wish,)
    if isinstance(wish, Saturated):
        return _saturated(station, wish, trigger, policy, now)
    return _guarded(_relieved(station, wish, policy), finding, found, wish, trigger, policy, now)


def _guarded(
    station: Station,
    finding: Finding,
    found: Sequence[Finding],
    wish: Wish,
    trigger: Trigger,
    policy: AssetPolicy,
    now: datetime,
) -> Step:
    free = station
    interrupted: tuple[Outcome, ...] = ()
    if isinstance(wish.action, Hold):
        # A stop does not wait until the last setpoint is measured.
        reason = "a gap appeared before enough parts were measured"
        free, interrupted = lifecycle.interrupt(station, reason, trigger.event_id, now)
    case = guard.Case(
        action=wish.action,
        diagnosis=finding.diagnosis,
        station=free,
        seen_at=trigger.observed_at,
        sequence=finding.sequence,
        policy=policy,
        now=now,
    )
    if (refused := guard.refusal(case)) is not None:
        return station, (refused,)
    proposed = _proposed(free, finding, found, wish, trigger, policy, now)
    # What spoke for this change does not speak for another one.
    after = lifecycle.begin(replace(free, findings=()), proposed, policy)
    outcomes: tuple[Outcome, ...] = (*interrupted, proposed)
    if isinstance(wish.action, Hold) and after.in_flight is not None:
        text = f"{wish.reason}: the station is to be held; check the clamping and the sheets"
        cause = proposed.event_id
        gap = lifecycle.alarm(station.asset, after.in_flight, AlarmCode.GAP, text, cause, now)
        outcomes = (*outcomes, gap)
    return after, outcomes


def _proposed(
    station: Station,
    finding: Finding,
    found: Sequence[Finding],
    wish: Wish,
    trigger: Trigger,
    policy: AssetPolicy,
    now: datetime,
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
        at=now,
        observed_at=trigger.observed_at,
        trace_id=trigger.trace_id,
        caused_by=trigger.event_id,
        change_id=change_id,
        action=wish.action,
        diagnosis=finding.diagnosis,
        recipe=station.recipe,
        reason=wish.reason,
        evidence=tuple(one.event_id for one in found),
        expires_at=now + timedelta(seconds=policy.expiry.proposal_s),
        model=trigger.model,
        model_version=trigger.model_version,
        input_digest=trigger.input_digest,
    )


def _saturated(
    station: Station, wish: Saturated, trigger: Trigger, policy: AssetPolicy, now: datetime
) -> Step:
    """Nothing is left to do but to call a person: once, until there is room again."""
    refused = Refused("operator_limits", wish.text)
    if wish.parameter in station.saturated or policy.mode is not Mode.AUTO:
        return station, (refused,)
    code = _MAINTENANCE[wish.parameter]
    call = Alarm(
        event_id=event_id("alarm", code, station.asset, trigger.event_id),
        asset=station.asset,
        at=now,
        observed_at=trigger.observed_at,
        trace_id=trigger.trace_id,
        caused_by=trigger.event_id,
        code=code,
        text=f"{wish.text}; the cause must be removed",
    )
    return replace(station, saturated=(*station.saturated, wish.parameter)), (refused, call)


def _relieved(station: Station, wish: Wish, policy: AssetPolicy) -> Station:
    """Two steps of room to the operator's limit are room enough to forget an alarm about it."""
    action = wish.action
    if not isinstance(action, SetParameter) or action.parameter not in station.saturated:
        return station
    limits = policy.limits(action.parameter)
    room = min(action.value - limits.operator.low, limits.operator.high - action.value)
    if room <= 2 * limits.step:
        return station
    left = tuple(one for one in station.saturated if one is not action.parameter)
    return replace(station, saturated=left)
