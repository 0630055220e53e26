"""Scrap that nothing mends stops the station, whatever the diagnosis, or with none at all. Pure.

While changes are applied the loop is at work, and scrap is what it costs. When most of the last parts are
above the limit, or above a tighter quality gate that was in force, and nothing was changed within them,
nothing is going to be: there is no diagnosis, no room, or a device that does not obey, or a person who does
not answer. Guards are asked as for any hold.
"""

from __future__ import annotations

from msgspec.structs import replace

from twinloop.contracts.changes import Diagnosis, Hold, Proposed
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode
from twinloop.controller import modes
from twinloop.controller.consider import guarded
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.propose import Wish
from twinloop.controller.state import Cause, Finding, Given, Station, Step, Trigger, WouldPropose


def considered(station: Station, cause: Cause, given: Given) -> Step:
    """Propose to stop the station if it makes scrap that nothing mends. `cause` is its newest part."""
    newest, told = station.newest, station.scrap_told
    if newest is None or modes.effective(station, given.policy) is Mode.OFF:
        return station, ()
    if told is not None and newest.sequence - told < given.policy.scrap.parts:
        return station, ()
    wish = unmended(station, given.policy)
    change = station.in_flight
    if wish is None or (change is not None and isinstance(change.action, Hold)):
        return station, ()
    finding = Finding(newest.sequence, newest.made_at, cause.event_id, Diagnosis.UNKNOWN, 0.0, 0.0)
    after, outcomes = guarded(station, finding, (finding,), wish, _trigger(station, cause), given)
    if any(isinstance(one, Proposed | WouldPropose) for one in outcomes):
        after = replace(after, scrap_told=newest.sequence)
    shed = station.governance.requested.acts  # who keeps it in shadow, as in a trial, looks after it himself
    if shed and any(isinstance(one, WouldPropose) for one in outcomes):
        text = f"{wish.reason}. The asset is in shadow, so it is not stopped: {wish.advice}"
        outcomes = (*outcomes, _call(station, text, cause, given))
    return after, outcomes


def _call(station: Station, text: str, cause: Cause, given: Given) -> Alarm:
    """An asset was shed, and the person who was called then has not come yet."""
    return Alarm(
        event_id=event_id(
            "alarm", AlarmCode.SCRAP, station.asset, cause.event_id, cause.observed_at.isoformat()
        ),
        asset=station.asset,
        at=given.now,
        observed_at=cause.observed_at,
        trace_id=cause.trace_id,
        caused_by=cause.event_id,
        code=AlarmCode.SCRAP,
        text=text,
    )


def unmended(station: Station, policy: AssetPolicy) -> Wish | None:
    """A stop, when so many of the last parts are scrap and nothing was changed meanwhile."""
    rule, limit_uohm = policy.scrap, policy.verification.limit_uohm
    failing = station.failures >= rule.failures
    most, of = (rule.bad_then, rule.parts_then) if failing else (rule.bad, rule.parts)
    last = station.parts[-of:]
    if len(last) < of or (station.applied_after is not None and last[0].sequence <= station.applied_after):
        return None
    bad = sum(one.trusted and one.scrap(limit_uohm) for one in last)
    if bad < most:
        return None
    why = f"{station.failures} changes in a row failed" if failing else f"nothing was changed for {of} parts"
    return Wish(
        Hold(reason="the station makes scrap that nothing mends"),
        f"{bad} of the last {of} joints are over the limit, {min(limit_uohm, last[-1].limit_uohm):g} µΩ now, "
        f"and {why}",
        AlarmCode.SCRAP,
        "find the cause",
    )


def _trigger(station: Station, cause: Cause) -> Trigger:
    """The part speaks for itself; the model that spoke last is the one that the mode belongs to."""
    last = station.trigger
    return Trigger(
        event_id=cause.event_id,
        sequence=0 if last is None else last.sequence,
        row=0 if last is None else last.row,
        observed_at=cause.observed_at,
        trace_id=cause.trace_id,
        model="" if last is None else last.model,
        model_version=0 if last is None else last.model_version,
        input_digest="" if last is None else last.input_digest,
    )
