"""The controller's side of a change: in flight once proposed, ended by others or by its own verdict. Pure.

The log of a change is the topic; what is kept here is a fold over it. So a change that is read back without
being known (the state was lost between publishing and remembering it) is simply in flight from then on.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import fmean

from msgspec.structs import replace

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Expired,
    Failed,
    Hold,
    IllegalTransition,
    Inconclusive,
    Proposed,
    Rejected,
    State,
    Verified,
    advance,
)
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.ids import event_id
from twinloop.controller import verify
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.state import CLOSED_KEPT, GaveUp, Ignored, InFlight, Outcome, Settled, Station

Step = tuple[Station, tuple[Outcome, ...]]
"""The station after an event, and what follows from it."""


def begin(station: Station, proposed: Proposed, policy: AssetPolicy) -> Station:
    """`proposed` is in flight; the last parts are what it will be measured against."""
    before = [part.resistance_uohm for part in station.parts[-policy.verification.parts :]]
    change = InFlight(
        change_id=proposed.change_id,
        state=State.PROPOSED,
        action=proposed.action,
        observed_at=proposed.observed_at,
        trace_id=proposed.trace_id,
        expires_at=proposed.expires_at,
        before_uohm=fmean(before) if before else 0.0,
        before_parts=len(before),
    )
    return replace(station, in_flight=change)


def follow(station: Station, event: AnyChange, policy: AssetPolicy, now: datetime) -> Step:
    """Fold an event read from `changes`: of others, or one of our own coming back."""
    if event.change_id in station.closed:
        return station, (Ignored("repeated"),)
    change, late = station.in_flight, station.given_up
    known = {one.change_id for one in (change, late) if one is not None}
    if isinstance(event, Proposed) and event.change_id in known:
        return station, (Ignored("repeated"),)
    if late is not None and late.change_id == event.change_id:
        if change is None:
            # Given up too early: whoever was to finish it was only slow.
            return _advance(station, late, event, policy, now)
        if isinstance(event, Applied):
            reason = f"applied after it was given up, while change {change.change_id} was in flight"
            station = replace(station, given_up=None, closed=_closed(station, late))
            return station, unclear(station.asset, late, reason, event.event_id, now)
    if change is not None and change.change_id == event.change_id:
        return _advance(station, change, event, policy, now)
    if change is None and isinstance(event, Proposed):
        return begin(station, event, policy), ()
    return station, (Ignored("foreign"),)


def _advance(
    station: Station, change: InFlight, event: AnyChange, policy: AssetPolicy, now: datetime
) -> Step:
    try:
        change = replace(change, state=advance(change.state, event))
    except IllegalTransition:
        return station, (Ignored("illegal"),)
    if station.given_up is not None and station.given_up.change_id == change.change_id:
        station = replace(station, given_up=None)
    if isinstance(event, Applied):
        return _applied(station, change, event, policy, now)
    if not change.state.final:
        return replace(station, in_flight=change), ()
    if isinstance(event, Rejected | Expired | Failed):
        station = settle(station, change, event.at)
    alarms: tuple[Outcome, ...] = ()
    if isinstance(event, Failed):
        text = f"{event.guard} refused a change: {event.reason}"
        alarms = (alarm(station.asset, change, AlarmCode.CHANGE_FAILED, text, event.event_id, now),)
    return replace(station, in_flight=None, closed=_closed(station, change)), alarms


def _applied(station: Station, change: InFlight, event: Applied, policy: AssetPolicy, now: datetime) -> Step:
    change = replace(
        change,
        actual=event.actual,
        applied_at=event.at,
        part_counter=event.part_counter,
        told_by=event.event_id,
    )
    station = replace(
        station,
        in_flight=change,
        settled=Settled(at=event.at, part_counter=event.part_counter, hold=isinstance(change.action, Hold)),
        # Parts made before it do not speak for another one.
        findings=tuple(one for one in station.findings if one.sequence > event.part_counter),
    )
    return measure(station, event.event_id, policy, now)


def settle(station: Station, change: InFlight, at: datetime) -> Station:
    """The change ended without being applied: the cooldown begins anew."""
    newest = station.newest
    counter = 0 if newest is None else newest.sequence
    return replace(
        station, settled=Settled(at=at, part_counter=counter, hold=isinstance(change.action, Hold))
    )


def measure(station: Station, cause: str, policy: AssetPolicy, now: datetime) -> Step:
    """Give our verdict on the change in flight, once the parts made since it was applied allow one."""
    change = station.in_flight
    if change is None or change.state is not State.APPLIED:
        return station, ()
    verdict = verify.measured(change, station.parts, policy)
    if verdict is None:
        return station, ()
    station = replace(station, in_flight=None, closed=_closed(station, change))
    if isinstance(verdict, verify.Good):
        return station, (verified(station.asset, change, verdict, cause, now),)
    return station, unclear(station.asset, change, verdict.reason, cause, now)


def interrupt(station: Station, reason: str, cause: str, now: datetime) -> Step:
    """End the measurement of an applied change early, because it can no longer tell anything."""
    change = station.in_flight
    if change is None or change.state is not State.APPLIED:
        return station, ()
    station = replace(station, in_flight=None, closed=_closed(station, change))
    return station, (inconclusive(station.asset, change, reason, cause, now),)


def give_up(station: Station, policy: AssetPolicy, now: datetime) -> Step:
    """Stop waiting for a change that nobody finishes. `line` alone may call it expired: this is only for
    the controller's own state, and undone when the change moves after all."""
    change = station.in_flight
    if change is None or change.state is State.APPLIED:
        return station, ()
    rule = policy.expiry
    patience_s = rule.outcome_s if change.state is State.ISSUED else rule.grace_s
    if now <= change.expires_at + timedelta(seconds=patience_s):
        return station, ()
    outcomes: tuple[Outcome, ...] = (GaveUp(change.change_id, change.state),)
    if change.state is State.ISSUED:
        text = "a change was issued and its outcome never told: compare the device with what is wanted"
        outcomes = (
            *outcomes,
            alarm(station.asset, change, AlarmCode.CHANGE_FAILED, text, change.change_id, now),
        )
    station = settle(station, change, now)
    return replace(station, in_flight=None, given_up=change), outcomes


def overdue(station: Station, policy: AssetPolicy, now: datetime) -> Verified | None:
    """The verdict that time alone gives: nothing was made since the station was held, and parts made
    before that would have been told of by now. Changes no state; it comes back through `changes`."""
    change = station.in_flight
    if change is None or change.state is not State.APPLIED or change.applied_at is None:
        return None
    if not isinstance(change.action, Hold) or change.actual != verify.HELD:
        return None
    if verify.measured(change, station.parts, policy) is not None:
        return None
    quiet = timedelta(seconds=policy.verification.hold_quiet_s + policy.expiry.grace_s)
    if now < change.applied_at + quiet:
        return None
    return verified(station.asset, change, verify.Good(0, change.before_uohm), change.told_by, now)


def _closed(station: Station, change: InFlight) -> tuple[str, ...]:
    return (*station.closed, change.change_id)[-CLOSED_KEPT:]


def verified(asset: str, change: InFlight, verdict: verify.Good, cause: str, now: datetime) -> Verified:
    """Our good verdict, as an event."""
    return Verified(
        event_id=event_id("verified", change.change_id),
        asset=asset,
        at=now,
        observed_at=change.observed_at,
        trace_id=change.trace_id,
        caused_by=cause,
        change_id=change.change_id,
        parts=verdict.parts,
        before_uohm=change.before_uohm,
        after_uohm=verdict.after_uohm,
    )


def inconclusive(asset: str, change: InFlight, reason: str, cause: str, now: datetime) -> Inconclusive:
    """Our other verdict, as an event."""
    return Inconclusive(
        event_id=event_id("inconclusive", change.change_id),
        asset=asset,
        at=now,
        observed_at=change.observed_at,
        trace_id=change.trace_id,
        caused_by=cause,
        change_id=change.change_id,
        reason=reason,
    )


def unclear(
    asset: str, change: InFlight, reason: str, cause: str, now: datetime
) -> tuple[Inconclusive, Alarm]:
    """The change shows no effect that could be called good: the verdict, and a call for a person."""
    verdict = inconclusive(asset, change, reason, cause, now)
    return verdict, alarm(asset, change, AlarmCode.NO_EFFECT, reason, verdict.event_id, now)


def alarm(asset: str, change: InFlight, code: AlarmCode, text: str, cause: str, now: datetime) -> Alarm:
    """An alarm about a change; one of each code a change."""
    return Alarm(
        event_id=event_id("alarm", code, change.change_id),
        asset=asset,
        at=now,
        observed_at=change.observed_at,
        trace_id=change.trace_id,
        caused_by=cause,
        code=code,
        text=text,
    )
