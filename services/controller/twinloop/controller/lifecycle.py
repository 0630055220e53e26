"""The controller's side of a change: in flight once proposed, ended by others or by its own verdict. Pure.

The log of a change is the topic; what is kept here is a fold over it. So a change that is read back without
being known (the state was lost between publishing and remembering it) is simply in flight from then on.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Expired,
    Failed,
    Hold,
    IllegalTransition,
    Proposed,
    Rejected,
    State,
    advance,
    state_of,
)
from twinloop.contracts.events import AlarmCode
from twinloop.controller import flight, rollback, tell, verdicts
from twinloop.controller.state import Cause, GaveUp, Given, Ignored, InFlight, Outcome, Settled, Station, Step


def follow(station: Station, event: AnyChange, given: Given) -> Step:
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
            return _advance(station, late, event, given)
        if isinstance(event, Applied):
            return _too_late(station, change, late, event, given)
    if change is not None and change.change_id == event.change_id:
        return _advance(station, change, event, given)
    if change is None and isinstance(event, Proposed):
        return flight.begin(station, event, given.policy), ()
    return station, (Ignored("foreign"),)


def _too_late(station: Station, change: InFlight, late: InFlight, event: Applied, given: Given) -> Step:
    """The setpoint has moved under the feet of the change in flight: none of its parts tells of this one."""
    reason = f"applied after it was given up, while change {change.change_id} was in flight"
    station = flight.moved(station, late, event)
    station = replace(station, given_up=None, closed=flight.closed(station, late))
    return station, tell.unclear(station.asset, late, reason, event.event_id, given.now)


def _advance(station: Station, change: InFlight, event: AnyChange, given: Given) -> Step:
    try:
        change = replace(change, state=advance(change.state, event))
    except IllegalTransition:
        return station, (Ignored("illegal"),)
    if station.given_up is not None and station.given_up.change_id == change.change_id:
        # It moves after all: it is waited for anew.
        station = replace(station, given_up=None)
        change = replace(change, expires_at=max(change.expires_at, given.now))
    if isinstance(event, Applied):
        return _applied(station, change, event, given)
    if not change.state.final:
        return replace(station, in_flight=change), ()
    alarms: tuple[Outcome, ...] = ()
    if isinstance(event, Failed):
        text = f"{event.guard} refused a change: {event.reason}"
        call = tell.alarm(station.asset, change, AlarmCode.CHANGE_FAILED, text, event.event_id, given.now)
        station, given_up = _failed(station, change, text, event.event_id, given)
        alarms = (call, *given_up)
    station = replace(station, in_flight=None, closed=flight.closed(station, change))
    if not isinstance(event, Rejected | Expired | Failed):
        return station, alarms
    station = flight.settle(station, change, event.at)
    how = f"{state_of(event)}, {event.reason}"
    station, ended = rollback.ended(station, change, how, Cause.of(event), given.now)
    return station, (*alarms, *ended)


def _failed(station: Station, change: InFlight, why: str, cause: str, given: Given) -> Step:
    """One more in a row. After too many no setpoint is tried any more (`guard.failures`), and a person is
    called: once."""
    station = replace(station, failures=station.failures + 1)
    if station.failures != given.policy.scrap.failures:
        return station, ()
    text = (
        f"{station.failures} changes in a row failed, the last one because {why}. No setpoint is tried any "
        "more; the station can still be stopped. Check the device, then take the asset to shadow and promote "
        "it anew"
    )
    return station, (tell.alarm(station.asset, change, AlarmCode.PERSON_NEEDED, text, cause, given.now),)


def _applied(station: Station, change: InFlight, event: Applied, given: Given) -> Step:
    change = replace(
        change,
        actual=event.actual,
        applied_at=event.at,
        part_counter=event.part_counter,
        told_by=event.event_id,
    )
    station = replace(
        flight.moved(station, change, event),
        in_flight=flight.compared(station, change, given.policy),
        failures=0,
        applied_after=event.part_counter,
        settled=Settled(at=event.at, part_counter=event.part_counter, hold=isinstance(change.action, Hold)),
        # Parts made before it do not speak for another one.
        findings=tuple(one for one in station.findings if one.sequence > event.part_counter),
    )
    station, ended = rollback.ended(station, change, "it was", Cause.of(event), given.now)
    station, measured = verdicts.measure(station, Cause.of(event), given)
    return station, (*ended, *measured)


def give_up(station: Station, given: Given) -> Step:
    """Stop waiting for a change that nobody finishes. `line` alone may call it expired: this is only for
    the controller's own state, and undone when the change moves after all."""
    change = station.in_flight
    if change is None or change.state is State.APPLIED:
        return station, ()
    rule = given.policy.expiry
    patience_s = rule.outcome_s if change.state is State.ISSUED else rule.grace_s
    if given.now <= change.expires_at + timedelta(seconds=patience_s):
        return station, ()
    outcomes: tuple[Outcome, ...] = (GaveUp(change.change_id, change.state),)
    if change.state is State.ISSUED:
        text = "a change was issued and its outcome never told: compare the device with what is wanted"
        call = tell.alarm(station.asset, change, AlarmCode.CHANGE_FAILED, text, change.change_id, given.now)
        station, given_up = _failed(station, change, text, change.change_id, given)
        outcomes = (*outcomes, call, *given_up)
    station = replace(flight.settle(station, change, given.now), in_flight=None, given_up=change)
    cause = Cause(change.change_id, change.observed_at, change.trace_id)
    how = "nobody finished that"
    station, ended = rollback.ended(station, change, how, cause, given.now)
    return station, (*outcomes, *ended)
