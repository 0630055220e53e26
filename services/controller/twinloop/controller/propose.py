"""From findings that persist to the one action that mends them. Pure; the guards come after (`guard.py`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from twinloop.contracts.changes import Action, Diagnosis, Hold, Parameter, SetParameter
from twinloop.contracts.events import AlarmCode
from twinloop.controller import estimate
from twinloop.controller.estimate import Estimate
from twinloop.controller.focus import direction
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.rules import Limits
from twinloop.controller.state import Finding, Refused, Station


@dataclass(frozen=True, slots=True)
class Wish:
    """What would be proposed if no guard objects, and why. With a hold a person is called: by `code`, to do
    what `advice` says."""

    action: Action
    reason: str
    code: AlarmCode = AlarmCode.GAP
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """Nothing is to be done by the controller; a person must look."""

    code: AlarmCode
    text: str


@dataclass(frozen=True, slots=True)
class Saturated:
    """More is needed than the limits leave. `guard` names the one that binds."""

    parameter: Parameter
    guard: str
    text: str


def evidence(findings: Sequence[Finding], latest: Finding, policy: AssetPolicy) -> tuple[Finding, ...]:
    """The findings that say what `latest` says, when enough parts of the last ones do; else none."""
    wanted = policy.persistence.of(latest.diagnosis)
    if wanted is None:
        return ()
    same = tuple(
        one
        for one in findings
        if one.diagnosis is latest.diagnosis and latest.sequence - wanted.of < one.sequence <= latest.sequence
    )
    return same if len(same) >= wanted.parts else ()


def propose(
    station: Station, diagnosis: Diagnosis, found: Sequence[Finding], policy: AssetPolicy
) -> Wish | Saturated | Refused | Call | None:
    """The action that mends `diagnosis`, seen in `found`; `None` when there is none to take."""
    if diagnosis is Diagnosis.GAP:
        return _gap(station, found, policy)
    if diagnosis is Diagnosis.DIRTY_WINDOW:
        return _power(station, found, policy, "window warm")
    if diagnosis is Diagnosis.POWER_ERROR:
        return _power(station, found, policy, "depth and reflection off by one factor, window cold")
    if diagnosis is Diagnosis.DEFOCUS:
        return _focus(station, found, policy)
    if diagnosis is Diagnosis.SENSOR_FAULT:
        return Call(
            AlarmCode.INPUT_INVALID,
            f"the sensors contradict each other on {len(found)} parts: a depth of "
            f"{fmean(one.depth_mm for one in found):.3f} mm, a reflection of "
            f"{fmean(one.reflection for one in found):.2f} and a window temperature "
            f"{fmean(one.temperature for one in found):+.1f} deviations off are no state of the process. "
            "Nothing follows from such parts: check the sensors",
        )
    return None


def _gap(station: Station, found: Sequence[Finding], policy: AssetPolicy) -> Wish | Call:
    """Stop when the joints are bad, or are not measured yet and plasma is strong; else call a person."""
    rule, diagnosis = policy.gap, policy.diagnosis
    made = {one.sequence: one.resistance_uohm for one in station.parts}
    measured = [made[one.sequence] for one in found if one.sequence in made]
    bad = sum(uohm > rule.confirmed_uohm for uohm in measured)
    strong = sum(
        one.sequence not in made and one.plasma - diagnosis.plasma_per_depth * one.depth > rule.strong
        for one in found
    )
    seen = f"plasma is up without depth on {len(found)} parts"
    if bad + strong >= rule.parts:
        return Wish(
            Hold(reason="gap between the sheets: no setpoint closes it"),
            f"{seen}, {bad} of {len(measured)} joints are over {rule.confirmed_uohm:g} µΩ",
            AlarmCode.GAP,
            "check the clamping and the sheets",
        )
    return Call(
        AlarmCode.GAP,
        f"{seen}, and {len(measured) - bad} of {len(measured)} joints are within {rule.confirmed_uohm:g} µΩ: "
        "a small gap, or a plasma sensor that is wrong. The station goes on: check clamping and sensor",
    )


def _power(
    station: Station, found: Sequence[Finding], policy: AssetPolicy, what: str
) -> Wish | Saturated | None:
    """Run to run: towards the power at which the next part's depth is on target, one step at a time."""
    part = station.newest
    if part is None or station.intercept_mm is None:
        return None
    known = Estimate(station.intercept_mm, station.trend_mm)
    wanted_w = estimate.power_for(known, policy.target_depth_mm, policy.estimator)
    return _limited(
        Parameter.LASER_POWER_W,
        part.power_w,
        wanted_w,
        policy.laser_power_w,
        f"{what} on {len(found)} parts, depth {fmean(one.depth_mm for one in found):.3f} mm of "
        f"{policy.target_depth_mm:.3f} mm: {wanted_w:.1f} W needed, {part.power_w:.1f} W in force",
    )


def _focus(
    station: Station, found: Sequence[Finding], policy: AssetPolicy
) -> Wish | Saturated | Refused | None:
    """As far as the depth deficit tells, to where the back reflection points, one step at a time."""
    part = station.newest
    if part is None:
        return None
    made = [station.part(one.sequence) for one in found]
    powers = [one.power_w for one in made if one is not None]
    power_ratio = fmean(powers or [part.power_w]) / policy.nominal_power_w
    deficit_mm = policy.target_depth_mm - fmean(one.depth_mm for one in found)
    reflection = fmean(one.reflection for one in found) / power_ratio
    distance_mm = math.sqrt(max(deficit_mm, 0.0) / policy.focus.deficit_mm_per_mm2)
    side = direction(distance_mm, reflection, policy.focus)
    if side is None:
        return Refused("direction", f"reflection {reflection:.3f} fits both sides of {distance_mm:.2f} mm")
    return _limited(
        Parameter.FOCUS_MM,
        part.focus_mm,
        part.focus_mm - side * distance_mm,
        policy.focus_mm,
        f"out of focus on {len(found)} parts: {deficit_mm:.3f} mm of depth missing, reflection "
        f"{reflection:.2f}, so {side * distance_mm:+.2f} mm off",
    )


def _limited(
    parameter: Parameter, current: float, wanted: float, limits: Limits, reason: str
) -> Wish | Saturated:
    """`wanted`, as near as one step, the operator's range, the model's validity and our authority allow."""
    room = limits.room
    stepped = current + min(max(wanted - current, -limits.step), limits.step)
    value = room.clamp(stepped)
    rounded = round(value, 3)
    if abs(rounded - current) <= limits.step and room.holds(rounded):
        value = rounded
    if room.holds(wanted):
        return Wish(SetParameter(parameter=parameter, value=value, expected=current), reason)
    guard, words = _binding(limits, wanted)
    if abs(value - current) < limits.deadband <= abs(wanted - current):
        return Saturated(
            parameter, guard, f"{parameter} is at {current:g}, {wanted:g} is needed, and {words}"
        )
    reason = f"{reason}; saturated: {words}"
    return Wish(SetParameter(parameter=parameter, value=value, expected=current), reason)


def _binding(limits: Limits, wanted: float) -> tuple[str, str]:
    """The name of the guard that keeps `wanted` out, and what it says: of those that do, the nearest."""
    ranges = {
        "operator_limits": (limits.operator, "the operator's range is"),
        "model_validity": (limits.validity, "the model is valid for"),
        "authority": (limits.reach, "our authority is"),
    }
    name = next(
        name
        for name, (allowed, _) in ranges.items()
        if allowed.clamp(wanted) != wanted and allowed.clamp(wanted) == limits.room.clamp(wanted)
    )
    allowed, words = ranges[name]
    return name, f"{words} {allowed.low:g} to {allowed.high:g}"
