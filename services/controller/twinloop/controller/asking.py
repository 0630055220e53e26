"""The station's side of the slow loop: from a finding to a question that a person decides. Pure.

A finding comes from `field-evidence`. Whatever the mode, a person is called by an alarm, once. Where a
tighter quality gate would have stopped some of the joints, it is proposed through the guards of the station,
once, and never above SUPERVISED. A guard that may be content later (the mode, a change in flight, a stop)
keeps it waiting in the state; it is tried again whenever the state changes, until the time to decide is over.

The change has a place of its own in the state, and the rules of any other (`lifecycle`, `verdicts`), which
are shown the station with this change in flight. A gate changes no joint: whatever becomes of it, nothing was
changed in the process, no cooldown of it begins, and the failures in a row are neither more nor forgotten.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from twinloop.contracts.changes import AnyChange, Diagnosis, Proposed, SetParameter
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.field import FieldFinding
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode, lower
from twinloop.controller import flight, guard, lifecycle, modes, verdicts
from twinloop.controller.state import (
    FIELD_KEPT,
    Asking,
    Cause,
    Found,
    Given,
    Ignored,
    Outcome,
    Part,
    Refused,
    Station,
    Step,
    WouldPropose,
)
from twinloop.controller.verify import GATE

_WAITING_IS_VAIN: Final = frozenset(
    {"hard_limits", "operator_limits", "model_validity", "step", "authority", "deadband"}
)
"""Guards that will say the same tomorrow."""


def found(station: Station, finding: FieldFinding, given: Given) -> Step:
    """Take up a finding: call a person, and keep what is to be proposed."""
    if finding.event_id in station.field_told:
        return station, (Ignored("repeated"),)
    station = replace(station, field_told=(*station.field_told, finding.event_id)[-FIELD_KEPT:])
    if finding.limit_uohm is not None:
        until = given.now + timedelta(seconds=given.policy.field.decide_within_s)
        station = replace(station, field_asking=(*station.field_asking, Asking(finding=finding, until=until)))
    return station, (Found(finding), _call(finding, given))


def concerns(station: Station, event: AnyChange) -> bool:
    """Whether `event` is of the change that follows from a finding."""
    mine = station.field_change
    if mine is not None and mine.change_id == event.change_id:
        return True
    return isinstance(event, Proposed) and event.diagnosis is Diagnosis.MARGINAL_JOINTS


def follow(station: Station, event: AnyChange, given: Given) -> Step:
    """Fold an event of that change."""
    after, outcomes = lifecycle.follow(_shown(station), event, given)
    return _back(station, after), outcomes


def further(before: Station, station: Station, cause: Cause, given: Given) -> Step:
    """After any event, which led from `before` to `station`: measure what was applied, ask what waits."""
    if station.field_change is None and not station.field_asking:
        return station, ()
    view = _shown(station)
    view, outcomes = lifecycle.give_up(view, given)
    if _anew(before, station):
        view, ended = verdicts.interrupt(view, "the part counter began anew", cause, given)
        outcomes = (*outcomes, *ended)
    view, measured = verdicts.measure(view, cause, given)
    station, asked = _ask(_back(station, view), given)
    return station, (*outcomes, *measured, *asked)


def _shown(station: Station) -> Station:
    """Its failures are not those of the process, and no person is called about so many in a row."""
    return replace(station, in_flight=station.field_change, given_up=None, failures=0)


def _back(station: Station, view: Station) -> Station:
    """`view`, with what is in flight at the process where it was, what spoke for that still speaking, and
    what was done to the process last as it was."""
    return replace(
        view,
        field_change=view.in_flight,
        in_flight=station.in_flight,
        given_up=station.given_up,
        findings=station.findings,
        failures=station.failures,
        applied_after=station.applied_after,
        settled=station.settled,
    )


def _anew(before: Station, after: Station) -> bool:
    if before.newest is None or after.newest is None:
        return False
    return after.newest.sequence < before.newest.sequence


def _ask(station: Station, given: Given) -> Step:
    """The oldest question first, one at a time."""
    outcomes: tuple[Outcome, ...] = ()
    for asking in station.field_asking:
        station, told = _one(station, asking, given)
        outcomes = (*outcomes, *told)
    return station, outcomes


def _one(station: Station, asking: Asking, given: Given) -> Step:
    part = station.newest
    if given.now >= asking.until:
        late = Refused("expiry", f"a guard objected ({asking.refused or 'none'}) until it was too late")
        return _without(station, asking), (late,)
    if part is None:
        return _waits(station, asking, Refused("input_validity", "no part is known"))
    action = _action(asking.finding, part, given)
    mode = modes.effective(station, given.policy)
    case = guard.Case(
        action=action,
        diagnosis=Diagnosis.MARGINAL_JOINTS,
        station=station,
        mode=mode,
        seen_at=part.made_at,  # the gate in force must be known; what vehicles tell is old, and stays true
        sequence=part.sequence,
        model=asking.finding.model,
        model_version=asking.finding.model_version,
        given=given,
    )
    already = f"the gate is at {action.expected:g} µΩ already"
    tighter = action.value < action.expected
    refused = guard.refusal(case) if tighter else Refused("deadband", already, action)
    if refused is None:
        proposed = _proposed(station, asking.finding, action, mode, given)
        begun = flight.begin(_without(station, asking), proposed, given.policy)
        return _back(station, begun), (proposed,)
    if refused.guard in _WAITING_IS_VAIN:
        return _without(station, asking), (refused,)
    if refused.guard == "mode" and mode is Mode.SHADOW:
        return _would(station, asking, _proposed(station, asking.finding, action, mode, given))
    return _waits(station, asking, refused)


def _action(finding: FieldFinding, part: Part, given: Given) -> SetParameter:
    """Towards the gate of the finding, as near as our limits and one step allow: never looser than now."""
    limits, expected = given.policy.limits(GATE), part.limit_uohm
    wanted = expected if finding.limit_uohm is None else finding.limit_uohm
    value = max(limits.room.clamp(wanted), expected - limits.step)
    return SetParameter(parameter=GATE, value=round(value, 3), expected=expected)


def _waits(station: Station, asking: Asking, refused: Refused) -> Step:
    """The refusal is told once, not at each part."""
    if asking.refused == refused.guard:
        return station, ()
    return _with(station, asking, replace(asking, refused=refused.guard)), (refused,)


def _would(station: Station, asking: Asking, proposed: Proposed) -> Step:
    outcomes: tuple[Outcome, ...] = () if asking.shadowed else (WouldPropose(proposed),)
    return _with(station, asking, replace(asking, refused="mode", shadowed=True)), outcomes


def _with(station: Station, asking: Asking, now: Asking) -> Station:
    return replace(station, field_asking=tuple(now if one is asking else one for one in station.field_asking))


def _without(station: Station, asking: Asking) -> Station:
    return replace(station, field_asking=tuple(one for one in station.field_asking if one is not asking))


def _proposed(
    station: Station, finding: FieldFinding, action: SetParameter, mode: Mode, given: Given
) -> Proposed:
    """One finding makes one change, however often it is folded."""
    change_id = event_id("field_proposal", finding.event_id)
    nearer = f"{action.value:g} µΩ is as near as the station's limits allow."
    return Proposed(
        event_id=event_id("proposed", change_id),
        asset=station.asset,
        at=given.now,
        observed_at=finding.observed_at,
        trace_id=finding.trace_id,
        caused_by=finding.event_id,
        change_id=change_id,
        action=action,
        diagnosis=Diagnosis.MARGINAL_JOINTS,
        recipe=station.recipe,
        reason=finding.text if action.value == finding.limit_uohm else f"{finding.text} {nearer}",
        evidence=finding.evidence,
        expires_at=given.now + timedelta(seconds=given.policy.field.decide_within_s),
        model=finding.model,
        model_version=finding.model_version,
        input_digest=finding.input_digest,
        mode=lower(mode, Mode.SUPERVISED),
    )


def _call(finding: FieldFinding, given: Given) -> Alarm:
    todo = ", ".join(one.replace("_", " ") for one in finding.remedies) or "inspect the station"
    return Alarm(
        event_id=event_id("alarm", AlarmCode.FIELD_EVIDENCE, finding.event_id),
        asset=finding.asset,
        at=given.now,
        observed_at=finding.observed_at,
        trace_id=finding.trace_id,
        caused_by=finding.event_id,
        code=AlarmCode.FIELD_EVIDENCE,
        text=f"A person is needed: {todo}. {finding.text}",
    )
