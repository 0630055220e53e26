"""A change in flight: how it begins, moves a setpoint, settles, and ends. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import fmean

from msgspec.structs import replace

from twinloop.contracts.changes import Applied, Hold, Proposed, SetParameter, State
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.state import CLOSED_KEPT, TRAVELS_KEPT, InFlight, Settled, Station, Travel

_HOUR = timedelta(hours=1)


def begin(station: Station, proposed: Proposed, policy: AssetPolicy) -> Station:
    """`proposed` is in flight; the last parts are what it will be measured against."""
    spoke = [one.sequence for one in station.findings if one.event_id in proposed.evidence]
    since = min(spoke, default=0)
    before = _before(station, since, None, policy)
    change = InFlight(
        change_id=proposed.change_id,
        state=State.PROPOSED,
        action=proposed.action,
        observed_at=proposed.observed_at,
        trace_id=proposed.trace_id,
        expires_at=proposed.expires_at,
        before_uohm=fmean(before) if before else 0.0,
        before_parts=len(before),
        since=since,
        diagnosis=proposed.diagnosis,
        recipe=proposed.recipe,
        model=proposed.model,
        model_version=proposed.model_version,
        input_digest=proposed.input_digest,
        rollback_of=proposed.rollback_of,
    )
    return replace(station, in_flight=change)


def _before(station: Station, since: int, until: int | None, policy: AssetPolicy) -> list[float]:
    """Resistances of the last parts, from `since` on, that a change is measured against."""
    good = [
        one.resistance_uohm
        for one in station.parts
        if one.trusted and one.sequence >= since and (until is None or one.sequence <= until)
    ]
    return good[-policy.verification.parts :]


def compared(station: Station, change: InFlight, policy: AssetPolicy) -> InFlight:
    """Once it is applied: parts made while it was on its way tell what it found, too. After a fault that came
    at once, those from before the fault would make any change look like the harm that the fault does."""
    before = _before(station, change.since, change.part_counter, policy)
    if len(before) < change.before_parts:
        return change
    return replace(change, before_uohm=fmean(before), before_parts=len(before)) if before else change


def overtaken(station: Station) -> Station:
    """A stop does not wait for a change that nobody has released yet. Should it be released all the same, the
    line refuses it: a station that is held gets no setpoint."""
    change = station.in_flight
    if change is None or isinstance(change.action, Hold):
        return station
    if change.state not in (State.PROPOSED, State.SIMULATED):
        return station
    return replace(station, in_flight=None, given_up=change)


def settle(station: Station, change: InFlight, at: datetime) -> Station:
    """The change ended without being applied: the cooldown begins anew."""
    newest = station.newest
    counter = 0 if newest is None else newest.sequence
    return replace(
        station, settled=Settled(at=at, part_counter=counter, hold=isinstance(change.action, Hold))
    )


def moved(station: Station, change: InFlight, event: Applied) -> Station:
    """The setpoint moved. Of too many moves the oldest two count as one, made when the later was; one that is
    more than an hour older than the last is dropped instead."""
    action = change.action
    if not isinstance(action, SetParameter) or not isinstance(event.actual, float):
        return station
    distance = abs(event.actual - action.expected)
    travels = (*station.travels, Travel(event.at, action.parameter, distance))
    if len(travels) > TRAVELS_KEPT:
        same = [one for one in travels if one.parameter is action.parameter]
        first, second = same[:2] if len(same) > 1 else travels[:2]
        rest = tuple(one for one in travels if one is not first and one is not second)
        joined = replace(second, distance=first.distance + second.distance)
        kept = second if first.at < event.at - _HOUR or first.parameter is not second.parameter else joined
        travels = (kept, *rest)
    return replace(station, travels=travels)


def closed(station: Station, change: InFlight) -> tuple[str, ...]:
    """The ids of the changes that ended last, with this one."""
    return (*station.closed, change.change_id)[-CLOSED_KEPT:]
