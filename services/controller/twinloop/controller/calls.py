"""A person is called about what nothing is done about: once, until it is gone. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from twinloop.contracts.changes import Diagnosis
from twinloop.contracts.events import Alarm
from twinloop.contracts.ids import event_id
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.propose import Call
from twinloop.controller.state import Station, Step, Trigger


def call(station: Station, diagnosis: Diagnosis, what: Call, trigger: Trigger, now: datetime) -> Step:
    """Raise the alarm, unless it was raised and `diagnosis` has been there ever since."""
    if diagnosis in station.called:
        return station, ()
    alarm = Alarm(
        event_id=event_id(
            "alarm", what.code, station.asset, trigger.event_id, trigger.observed_at.isoformat()
        ),
        asset=station.asset,
        at=now,
        observed_at=trigger.observed_at,
        trace_id=trigger.trace_id,
        caused_by=trigger.event_id,
        code=what.code,
        text=what.text,
    )
    return replace(station, called=(*station.called, diagnosis)), (alarm,)


def forget(station: Station, policy: AssetPolicy) -> Station:
    """What no part has shown for twice as long as it took to be believed is gone."""
    newest = station.newest
    if newest is None or not station.called:
        return station
    still = tuple(one for one in station.called if _shown(station, one, newest.sequence, policy))
    return replace(station, called=still)


def _shown(station: Station, diagnosis: Diagnosis, newest: int, policy: AssetPolicy) -> bool:
    wanted = policy.persistence.of(diagnosis)
    last = max((one.sequence for one in station.findings if one.diagnosis is diagnosis), default=None)
    return wanted is not None and last is not None and newest - last <= 2 * wanted.of
