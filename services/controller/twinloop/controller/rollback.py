"""A change that made things worse is taken back. Pure.

The last known good value is proposed as a new change through the same guards, which ask neither for cooldown
nor for a deadband. When that cannot be proposed the verdict is `inconclusive`. Either way a person is called
and the asset ends in SHADOW: something is not as the controller took it to be. A rollback is measured like
any change, and never taken back itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from twinloop.contracts.changes import Proposed, RolledBack, SetParameter
from twinloop.contracts.events import AlarmCode
from twinloop.contracts.ids import event_id
from twinloop.controller import flight, guard, modes, tell, verify
from twinloop.controller.state import Cause, Given, InFlight, Station, Step

_WAITING_HELPS: Final = frozenset({"input_validity", "fault_gate", "permissive", "in_flight", "audit"})
"""Guards that may be content with the next parts: what is in flight is a quality gate on its way."""


def take_back(station: Station, change: InFlight, verdict: verify.Worse, cause: Cause, given: Given) -> Step:
    """The verdict on a change that made things worse, and what restores the value before it."""
    free = replace(station, in_flight=None, closed=flight.closed(station, change))
    if not isinstance(change.action, SetParameter) or change.rollback_of is not None:
        return free, tell.unclear(station.asset, change, verdict.reason, cause.event_id, given.now)
    proposed = _restoring(free, change, change.action, verdict, cause, given)
    case = guard.Case(
        action=proposed.action,
        diagnosis=proposed.diagnosis,
        station=free,
        mode=proposed.mode,
        seen_at=cause.observed_at,
        sequence=0 if free.newest is None else free.newest.sequence,
        model=proposed.model,
        model_version=proposed.model_version,
        given=given,
        takes_back=change,
    )
    refused = guard.refusal(case)
    if refused is None:
        rolled_back = RolledBack(
            event_id=event_id("rolled_back", change.change_id),
            asset=station.asset,
            at=given.now,
            observed_at=change.observed_at,
            trace_id=change.trace_id,
            caused_by=cause.event_id,
            change_id=change.change_id,
            restored_by=proposed.change_id,
            reason=verdict.reason,
        )
        return flight.begin(replace(free, findings=()), proposed, given.policy), (rolled_back, proposed)
    if refused.guard in _WAITING_HELPS:
        return station, (refused,)
    reason = f"{verdict.reason}; it cannot be taken back: {refused.guard}, {refused.reason}"
    called = tell.unclear(station.asset, change, reason, cause.event_id, given.now)
    free, shed = modes.shed(free, f"change {change.change_id}: {reason}", cause, given.now)
    return free, (refused, *called, *shed)


def _restoring(
    station: Station,
    change: InFlight,
    action: SetParameter,
    verdict: verify.Worse,
    cause: Cause,
    given: Given,
) -> Proposed:
    mode = modes.effective(station, given.policy)
    change_id = event_id("change", "rollback", change.change_id)
    in_force = change.actual if isinstance(change.actual, float) else action.value
    return Proposed(
        event_id=event_id("proposed", change_id),
        asset=station.asset,
        at=given.now,
        observed_at=cause.observed_at,
        trace_id=change.trace_id,
        caused_by=cause.event_id,
        change_id=change_id,
        action=SetParameter(parameter=action.parameter, value=action.expected, expected=in_force),
        diagnosis=change.diagnosis,
        recipe=station.recipe,
        reason=f"change {change.change_id} made it worse: {verdict.reason}",
        evidence=(),
        expires_at=given.now + timedelta(seconds=given.policy.expiry.decision_s(mode)),
        model=change.model,
        model_version=change.model_version,
        input_digest=change.input_digest,
        mode=mode,
        rollback_of=change.change_id,
    )


def ended(station: Station, change: InFlight, how: str, cause: Cause, now: datetime) -> Step:
    """Whatever became of a rollback: the asset goes to SHADOW, and a person is called."""
    if change.rollback_of is None:
        return station, ()
    reason = f"change {change.rollback_of} made it worse and was to be taken back: {how}"
    return modes.shed(station, reason, cause, now, AlarmCode.ROLLED_BACK, alarm_anyway=True)
