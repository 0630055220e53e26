"""The controller's own events about a change: its verdicts, and its alarms. Pure."""

from __future__ import annotations

from datetime import datetime

from twinloop.contracts.changes import Inconclusive, Verified
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.ids import event_id
from twinloop.controller import verify
from twinloop.controller.state import InFlight


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
