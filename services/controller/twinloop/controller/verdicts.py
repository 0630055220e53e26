"""When the controller gives its verdict on a change that was applied. Pure; the test is in `verify.py`.

Without the audit store no verdict is given; it waits, and the parts made meanwhile are measured with it.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from twinloop.contracts.changes import Diagnosis, Hold, State, Verified
from twinloop.controller import flight, rollback, tell, verify
from twinloop.controller.state import Cause, Given, Station, Step


def measure(station: Station, cause: Cause, given: Given) -> Step:
    """Give our verdict on the change in flight, once the parts made since it was applied allow one."""
    change = station.in_flight
    if change is None or change.state is not State.APPLIED:
        return station, ()
    gaps = {one.sequence for one in station.findings if one.diagnosis is Diagnosis.GAP}
    parts = [one for one in station.parts if one.sequence not in gaps]
    verdict = verify.measured(change, parts, given.policy)
    if verdict is None or given.audit_away is not None:
        return station, ()
    if isinstance(verdict, verify.Worse):
        return rollback.take_back(station, change, verdict, cause, given)
    station = replace(station, in_flight=None, closed=flight.closed(station, change))
    if isinstance(verdict, verify.Good):
        return station, (tell.verified(station.asset, change, verdict, cause.event_id, given.now),)
    return station, tell.unclear(station.asset, change, verdict.reason, cause.event_id, given.now)


def interrupt(station: Station, reason: str, cause: Cause, given: Given) -> Step:
    """End the measurement of an applied change early, because it can no longer tell anything."""
    change = station.in_flight
    if change is None or change.state is not State.APPLIED or given.audit_away is not None:
        return station, ()
    station = replace(station, in_flight=None, closed=flight.closed(station, change))
    return station, (tell.inconclusive(station.asset, change, reason, cause.event_id, given.now),)


def overdue(station: Station, given: Given) -> Verified | None:
    """The verdict that time alone gives: nothing was made since the station was held, and parts made
    before that would have been told of by now. Changes no state; it comes back through `changes`."""
    change = station.in_flight
    if change is None or change.state is not State.APPLIED or change.applied_at is None:
        return None
    if not isinstance(change.action, Hold) or change.actual != verify.HELD:
        return None
    if verify.measured(change, station.parts, given.policy) is not None:
        return None
    quiet = timedelta(seconds=given.policy.verification.hold_quiet_s + given.policy.expiry.grace_s)
    if given.now < change.applied_at + quiet:
        return None
    return tell.verified(station.asset, change, verify.Good(0, change.before_uohm), change.told_by, given.now)
