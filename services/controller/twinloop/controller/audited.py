"""What is written down of a decision, before it is published. Pure.

Every proposal, would-be proposal, refusal, mode change and verdict has an entry; what is said again from part
to part has one (`repeats.py`). What others wrote is in their own stores; alarms follow from what is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from twinloop.audit.chain import Act
from twinloop.contracts.changes import (
    UNIT,
    Action,
    Hold,
    Inconclusive,
    Proposed,
    RolledBack,
    SetParameter,
    Verified,
)
from twinloop.contracts.controls import ModeEntered, ModeRefused, ModeShed
from twinloop.controller.state import Found, Outcome, Refused, Station, WouldPropose

WHO = "controller"


def acts(station: Station, outcomes: Iterable[Outcome], now: datetime) -> list[Act]:
    """What is written down of `outcomes`; `station` is the one after the event."""
    return list(_acts(station, outcomes, now))


def _acts(station: Station, outcomes: Iterable[Outcome], now: datetime) -> Iterator[Act]:
    for one in outcomes:
        match one:
            case Proposed():
                yield _proposal(one, "proposed", now)
            case Refused(again=True) | WouldPropose(again=True):
                pass  # it is in the store
            case WouldPropose(proposed):
                yield _proposal(proposed, "would propose", now)
            case Found(finding):
                window = f"{finding.window_from.isoformat()} to {finding.window_to.isoformat()}"
                evidence = f"{len(finding.evidence)} anomalies, finding {finding.event_id}"
                yield _act(
                    station, "found field evidence", now, new=window, reason=finding.text, result=evidence
                )
            case Refused(guard, reason, action):
                yield _act(station, "refused", now, *_values(action), reason=f"{guard}: {reason}")
            case ModeEntered() | ModeRefused() | ModeShed():
                yield _mode(station, one, now)
            case Verified():
                figures = f"{one.before_uohm:.1f} µΩ before, {one.after_uohm:.1f} µΩ after"
                yield _act(station, "verified", now, change_id=one.change_id, result=figures)
            case Inconclusive():
                yield _act(station, "found inconclusive", now, change_id=one.change_id, reason=one.reason)
            case RolledBack():
                result = f"to be restored by {one.restored_by}"
                yield _act(
                    station, "rolled back", now, change_id=one.change_id, reason=one.reason, result=result
                )


def _act(
    station: Station,
    what: str,
    now: datetime,
    old: str = "",
    new: str = "",
    *,
    reason: str = "",
    result: str = "",
    change_id: str | None = None,
) -> Act:
    return Act(
        who=WHO,
        asset=station.asset,
        what=what,
        at=now,
        old=old,
        new=new,
        reason=reason,
        result=result,
        change_id=change_id,
    )


def _proposal(proposed: Proposed, what: str, now: datetime) -> Act:
    old, new = _values(proposed.action)
    return Act(
        who=WHO,
        asset=proposed.asset,
        what=what,
        at=now,
        old=old,
        new=new,
        reason=proposed.reason,
        result=f"{proposed.model} {proposed.model_version}, mode {proposed.mode}",
        change_id=proposed.change_id,
    )


def _mode(station: Station, event: ModeEntered | ModeRefused | ModeShed, now: datetime) -> Act:
    old = str(station.governance.actual)
    if isinstance(event, ModeEntered):
        setpoints = f"bumpless from {event.power_w:g} W and {event.focus_mm:g} mm"
        reason = f"request {event.request}"
        return _act(station, "entered mode", now, old, str(event.mode), reason=reason, result=setpoints)
    if isinstance(event, ModeRefused):
        wanted = str(station.governance.requested)
        return _act(station, "refused mode", now, old, wanted, reason=event.reason)
    return _act(station, "shed mode", now, old, str(event.mode), reason=event.reason)


def _values(action: Action | None) -> tuple[str, str]:
    if isinstance(action, SetParameter):
        unit = UNIT[action.parameter]
        name = action.parameter
        return f"{name} {action.expected:g} {unit}", f"{name} {action.value:g} {unit}"
    return ("", "hold") if isinstance(action, Hold) else ("", "")
