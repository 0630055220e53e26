"""The controller's side of a change: in flight after `proposed`, ended by others or by its own verdict. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import fmean

import msgspec
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


def begin(station: Station, proposed: Proposed, policy: AssetPolicy) -> Station:
    """`proposed` is in flight, with the last parts as what it will be measured against."""
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
    return msgspec.structs.replace(station, in_flight=change)


def follow(station: Station, event: AnyChange, policy: AssetPolicy, now: datetime) -> Step:
    """Fold an event read from `changes`: of others, or one of our own coming back."""
    if event.change_id in station.closed:
        return station, (Ignored("repeated"),)
    change = station.in_flight
    if change is None and (late := station.given_up) is not None and late.change_id == event.change_id:
        # Given up too early: whoever was to finish it was only slow.
        change = late
        station = msgspec.structs.replace(station, in_flight=late, given_up=None)
    if change is None or change.change_id != event.change_id:
        return _foreign(station, event, policy, now)
    if isinstance(event, Proposed):
        return station, (Ignored("repeated"),)
    try:
        state = advance(change.state, event)
    except IllegalTransition:
        return station, (Ignored("illegal"),)
    if isinstance(event, Applied):
        return _applied(station, msgspec.structs.replace(change, state=state), event, policy, now)
    if state.final:
        return _ended(station, change, event, now)
    return msgspec.structs.replace(station, in_flight=msgspec.structs.replace(change, state=state)), ()


def _foreign(station: Station, event: AnyChange, policy: AssetPolicy, now: datetime) -> Step:
    late = station.given_up
    if isinstance(event, Applied) and late is not None and late.change_id == event.change_id:
        outcomes = _unclear(late, event, "applied after it was given up for another change", now)
        station = msgspec.structs.replace(station, given_up=None, closed=_closed(station, late))
        return station, outcomes
    if isinstance(event, Proposed) and station.in_flight is None:
        # Ours, proposed right before a crash that lost the state with it in flight.
        return begin(station, event, policy), ()
    return station, (Ignored("foreign"),)


def _applied(station: Station, change: InFlight, event: Applied, policy: AssetPolicy, now: datetime) -> Step:
    change = msgspec.structs.replace(
        change, actual=event.actual, applied_at=event.at, part_counter=event.part_counter
    )
    station = msgspec.structs.replace(
        station,
        in_flight=change,
        settled=Settled(at=event.at, part_counter=event.part_counter, hold=isinstance(change.action, Hold)),
        findings=tuple(one for one in station.findings if one.sequence > event.part_counter),
    )
    return measure(station, event.event_id, policy, now)


def _ended(station: Station, change: InFlight, event: AnyChange, now: datetime) -> Step:
    """Rejected, expired, failed; or our own verdict, read back, that was given on time alone."""
    outcomes: tuple[Outcome, ...] = ()
    if isinstance(event, Failed):
        outcomes = (
            _alarm(
                change,
                event.asset,
                AlarmCode.CHANGE_FAILED,
                f"{event.guard} refused a change: {event.reason}",
                event.event_id,
                now,
            ),
        )
    if isinstance(event, Rejected | Expired | Failed):
        station = settle(station, change, event.at)
    return msgspec.structs.replace(station, in_flight=None, closed=_closed(station, change)), outcomes


def measure(station: Station, cause: str, policy: AssetPolicy, now: datetime) -> Step:
    """Give the verdict on the change in flight once the parts made allow one."""
    change = station.in_flight
    if change is None or change.state is not State.APPLIED:
        return station, ()
    verdict = verify.measured(change, station.parts, policy)
    if verdict is None:
        return station, ()
    return close(station, change, verdict, cause, now)


def close(station: Station, change: InFlight, verdict: verify.Good | verify.Unclear, cause: str, now: datetime) -> Step:
    """End the change in flight with our own verdict."""
    asset = station.asset
    done = msgspec.structs.replace(station, in_flight=None, closed=_closed(station, change))
    if isinstance(verdict, verify.Good):
        return done, (verified(asset, change, verdict, cause, now),)
    return done, _unclear_outcomes(asset, change, verdict.reason, cause, now)
