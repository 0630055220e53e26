"""What is in force at the asset, and who is let into it. Pure.

The controller folds the control events of the topic in their order, as everyone does (`govern`), and writes
three of them: it enters or refuses each mode that a person requests, and it sheds.

- Nothing of our own is in force before it is read back: then all readers agree, also when something that
  forbids a mode overtook our entry into it. A shed alone counts at once (`shedding`), in the safe direction.
- Entering is bumpless: the estimator is calculated back from the setpoints in force.
- A process answers for the modes that it let assets into itself. What it finds above SHADOW when it starts,
  or is given an asset of another member, it sheds: nobody acts on behalf of a process that has died.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from msgspec.structs import replace

from twinloop.contracts.controls import (
    AnyControl,
    Governance,
    IllegalControl,
    ModeEntered,
    ModeRefused,
    ModeRequested,
    ModeShed,
    govern,
    refusal_to_enter,
)
from twinloop.contracts.events import Alarm, AlarmCode, Anomaly
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode, lower
from twinloop.controller import estimate, validity
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.state import CONTROLS_KEPT, Cause, Given, Ignored, Station, Step

SERVICE = "controller"


def effective(station: Station, policy: AssetPolicy) -> Mode:
    """The mode in force: not above the ceiling, and not above SHADOW while a shed of ours is on its way."""
    mode = lower(station.governance.actual, policy.highest_mode)
    return mode if station.shedding is None else lower(mode, Mode.SHADOW)


def above_shadow(station: Station) -> bool:
    """Whether there is something to shed, and nothing of ours on its way that sheds it."""
    return station.governance.actual.acts and station.shedding is None


def follow(station: Station, event: AnyControl, given: Given) -> Step:
    """Fold a control event read from `changes`, and answer it if it is a request."""
    if event.event_id in station.controls:
        return station, (Ignored("repeated"),)
    station = replace(station, controls=(*station.controls, event.event_id)[-CONTROLS_KEPT:])
    if station.shedding == event.event_id:
        station = replace(station, shedding=None)
    try:
        station = replace(station, governance=govern(station.governance, event))
    except IllegalControl:
        return station, (Ignored("illegal"),)
    if isinstance(event, ModeEntered):
        return _entered(station, event, given.policy), ()
    if not station.governance.actual.acts:
        station = replace(station, voice=None)
    if isinstance(event, ModeRequested) and station.governance.pending == event.event_id:
        return station, (_answer(station, event, given),)
    return station, ()


def _entered(station: Station, event: ModeEntered, policy: AssetPolicy) -> Station:
    start = estimate.anchored(event.power_w, policy.target_depth_mm, policy.estimator)
    newest = station.newest
    return replace(
        station,
        entered=event.event_id,
        voice=(event.model, event.model_version) if event.model and event.mode.acts else None,
        intercept_mm=start.intercept_mm,
        trend_mm=start.trend_mm,
        fed_sequence=0 if newest is None else newest.sequence,
        failures=0,
    )


def _answer(station: Station, request: ModeRequested, given: Given) -> ModeEntered | ModeRefused:
    reason, newest, trigger = refusal(station, given), station.newest, station.trigger
    if reason is None and newest is not None:
        return ModeEntered(
            event_id=event_id("mode_entered", request.event_id),
            asset=station.asset,
            at=given.now,
            observed_at=request.observed_at,
            trace_id=request.trace_id,
            caused_by=request.event_id,
            mode=request.mode,
            request=request.event_id,
            power_w=newest.power_w,
            focus_mm=newest.focus_mm,
            model="" if trigger is None else trigger.model,
            model_version=0 if trigger is None else trigger.model_version,
        )
    return ModeRefused(
        event_id=event_id("mode_refused", request.event_id),
        asset=station.asset,
        at=given.now,
        observed_at=request.observed_at,
        trace_id=request.trace_id,
        caused_by=request.event_id,
        request=request.event_id,
        reason=reason or "no part is known yet, so the setpoints in force are not",
    )


def refusal(station: Station, given: Given) -> str | None:
    """Why the asset is not let into the mode that was requested, or `None`."""
    if (reason := refusal_to_enter(station.governance)) is not None:
        return reason
    requested, ceiling = station.governance.requested, given.policy.highest_mode
    if requested.rank > ceiling.rank:
        return f"{requested} is above {ceiling}, the highest mode that is configured for the asset"
    if station.shedding is not None:
        return "the asset is being shed to shadow"
    newest = station.newest
    if newest is None:
        return "no part is known yet, so the setpoints in force are not"
    if (problem := validity.problem(station, newest.sequence)) is not None:
        return f"the input is bad: {problem}"
    if given.audit_away is not None:
        return f"nothing can be audited: {given.audit_away}"
    return None


def shed(
    station: Station,
    reason: str,
    cause: Cause,
    now: datetime,
    code: AlarmCode = AlarmCode.MODE_SHED,
    *,
    alarm_anyway: bool = False,
    mark: str | None = None,
) -> Step:
    """Take the asset down to SHADOW and call a person. What is not above it is left, and nobody is called
    unless `alarm_anyway`. `mark` is what the ids are made from, by default the cause and its time: a part
    counter that begins anew may repeat event ids."""
    mark = mark or f"{cause.event_id} {cause.observed_at.isoformat()}"
    call = Alarm(
        event_id=event_id("alarm", code, station.asset, mark),
        asset=station.asset,
        at=now,
        observed_at=cause.observed_at,
        trace_id=cause.trace_id,
        caused_by=cause.event_id,
        code=code,
        text=f"{reason}; the asset is in shadow until a person promotes it",
    )
    if not above_shadow(station):
        return station, (call,) if alarm_anyway else ()
    event = ModeShed(
        event_id=event_id("mode_shed", code, station.asset, mark),
        asset=station.asset,
        at=now,
        observed_at=cause.observed_at,
        trace_id=cause.trace_id,
        caused_by=cause.event_id,
        mode=Mode.SHADOW,
        by=SERVICE,
        reason=reason,
    )
    return replace(station, shedding=event.event_id), (event, call)


def take_over(station: Station, let_in: Collection[str], cause: Cause, now: datetime) -> Step:
    """Shed what this process did not let in. `let_in`: the entries that it wrote; `cause` serves where none
    is known."""
    if not above_shadow(station) or station.entered in let_in:
        return station, ()
    mark = None
    if station.entered is not None:
        cause, mark = replace(cause, event_id=station.entered), f"taken over {station.entered}"
    return shed(station, "the controller has started or taken the asset over", cause, now, mark=mark)


def unknown(asset: str) -> Station:
    """A station whose state was lost: taken for AUTO, so that it is shed and not only thought to be low."""
    governance = Governance(requested=Mode.AUTO, actual=Mode.AUTO, why="the controller's state was lost")
    return Station(asset=asset, governance=governance)


def heard(station: Station, anomaly: Anomaly, now: datetime) -> Step:
    """Who speaks. Another version's deviations do not compare with those before, and it inherits no mode."""
    voice, last = (anomaly.model, anomaly.model_version), station.trigger
    if last is not None and (last.model, last.model_version) != voice:
        station = replace(station, findings=(), waiting=(), depths=(), intercept_mm=None, trend_mm=0.0)
    if not station.governance.actual.acts:
        return station, ()
    if station.voice is None:
        return replace(station, voice=voice), ()
    if station.voice == voice:
        return station, ()
    model, version = station.voice
    reason = f"{voice[0]} {voice[1]} speaks, and the mode was entered with {model} {version}"
    return shed(station, reason, Cause.of(anomaly), now)
