"""Whether a change did what it should, measured on the parts made after it. Pure.

**Did it make things worse?** A one-sided tabular CUSUM over the parts after the change: with the mean of the
m parts before the proposal as the target and z = (resistance - target - allowance) / sigma,

    C <- max(0, C + min(z - k, h / 2));  worse as soon as C > h

Source: D. C. Montgomery, "Introduction to Statistical Quality Control", chapter 9. That one part counts h /
2 at most is ours, so that it takes three: a part that proves to have had a gap is left out by then. sigma
is that of one measurement; the allowance is what the drift under correction adds meanwhile. With the usual
k = 0.5, which is made for a shift of one sigma, h = 6 and sigma = 2 micro-ohm: over n = 10 parts, with the
target estimated from m = 10, a change that did nothing is called worse 6 times in 100 000, one during which
the drift takes all of an allowance of 1.5 about once in 80, and one that adds 5 micro-ohm is caught 94
times in 100, after 5 or 6 parts on average. Computed by simulation of a million changes; a test repeats it
with fewer.

A broken joint needs no statistics: two parts above the hard limit, which the parts before were within, are
enough. One alone may be a bad sheet.

**Is it good?** After n parts, when their mean is within the limit and the tightest quality gate that was in
force, and exceeds the mean before by no more than two standard errors, sigma * sqrt(1/m + 1/n), and the
allowance. Anything else is `inconclusive`.

**A quality gate** changes no joint. It is verified on n joints that passed it, made while it was in force
(`Part.limit_uohm`), none of which measured above it. It is never taken back by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import Final

from twinloop.contracts.changes import Parameter, SetParameter
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.rules import VerificationPolicy
from twinloop.controller.state import InFlight, Part

BROKEN_PARTS = 2
"""So many parts above the hard limit are no accident."""

GATE: Final = Parameter.END_OF_LINE_LIMIT_UOHM

HELD = "Held"
"""What the line reads back after a hold."""


@dataclass(frozen=True, slots=True)
class Good:
    """The change is verified on `parts` parts. A hold leaves none to measure: `after_uohm` is then the
    mean before it."""

    parts: int
    after_uohm: float


@dataclass(frozen=True, slots=True)
class Unclear:
    """The change cannot be called verified."""

    reason: str


@dataclass(frozen=True, slots=True)
class Worse:
    """The change made things worse: it is to be taken back."""

    reason: str


Verdict = Good | Unclear | Worse


def worse(
    before_uohm: float, before_parts: int, after: Sequence[float], policy: VerificationPolicy
) -> Worse | None:
    """Whether the resistances in micro-ohm of the parts after the change, so far, show harm."""
    if not before_parts:
        return None
    broken = [one for one in after if one > policy.hard_limit_uohm]
    if before_uohm <= policy.hard_limit_uohm and len(broken) >= BROKEN_PARTS:
        return Worse(f"{len(broken)} of {len(after)} parts are over {policy.hard_limit_uohm:g} µΩ")
    total = 0.0
    for count, one in enumerate(after, 1):
        z = (one - before_uohm - policy.drift_allowance_uohm) / policy.sensor_sigma_uohm
        total = max(0.0, total + min(z - policy.cusum_k, policy.cusum_h / 2))
        if total > policy.cusum_h:
            mean = fmean(after[:count])
            return Worse(
                f"{mean:.1f} µΩ on {count} parts after {before_uohm:.1f} µΩ before: CUSUM {total:.1f} "
                f"exceeds {policy.cusum_h:g}"
            )
    return None


def judge(
    before_uohm: float,
    before_parts: int,
    after: Sequence[float],
    policy: VerificationPolicy,
    gate_uohm: float = math.inf,
) -> Verdict:
    """Both tests of this module, on the resistances in micro-ohm of all parts after the change; `gate_uohm`
    is the tightest quality gate that was in force on them."""
    if (harm := worse(before_uohm, before_parts, after, policy)) is not None:
        return harm
    mean = fmean(after)
    error = policy.sensor_sigma_uohm * math.sqrt(1 / max(before_parts, 1) + 1 / len(after))
    margin = 2 * error + policy.drift_allowance_uohm
    if mean > (limit := min(policy.limit_uohm, gate_uohm)):
        return Unclear(f"{mean:.1f} µΩ on {len(after)} parts, over the limit of {limit:g} µΩ")
    if before_parts and mean - before_uohm > margin:
        return Unclear(
            f"{mean:.1f} µΩ on {len(after)} parts after {before_uohm:.1f} µΩ before: worse by more than "
            f"{margin:.1f} µΩ"
        )
    return Good(len(after), mean)


def measured(change: InFlight, parts: Sequence[Part], policy: AssetPolicy) -> Verdict | None:
    """The verdict on an applied change, or `None` while the parts made do not suffice.

    `parts` are the last ones made, oldest first, with those before the change among them.
    """
    later = [part for part in parts if part.sequence > change.part_counter]
    if isinstance(change.action, SetParameter) and change.action.parameter is GATE:
        return _gate(change, later, policy)
    if isinstance(change.action, SetParameter):
        return _setpoint(change, change.action, later, policy)
    if change.actual != HELD:
        return Unclear(f"the station is {change.actual}, not {HELD}")
    return _hold(change, later, policy)


def _setpoint(
    change: InFlight, action: SetParameter, later: Sequence[Part], policy: AssetPolicy
) -> Verdict | None:
    if not isinstance(change.actual, float):
        return Unclear(f"{action.parameter} was read back as {change.actual!r}")
    rule = policy.verification
    tolerance = policy.limits(action.parameter).tolerance
    actual = change.actual
    made_with_it = [
        one for one in later if one.trusted and abs(one.setpoint(action.parameter) - actual) <= tolerance
    ]
    measured_by = made_with_it[: rule.parts]
    resistances = [one.resistance_uohm for one in measured_by]
    if len(resistances) >= rule.parts:
        gate_uohm = min(one.limit_uohm for one in measured_by)
        return judge(change.before_uohm, change.before_parts, resistances, rule, gate_uohm)
    if (harm := worse(change.before_uohm, change.before_parts, resistances, rule)) is not None:
        return harm
    if later and (made := later[-1].sequence - change.part_counter) >= rule.patience_parts:
        return Unclear(
            f"of {made} parts made since, {len(later)} were heard of, and {len(made_with_it)} of these say "
            f"that {action.parameter} was {actual:g}: {rule.parts} are needed"
        )
    return None


def _gate(change: InFlight, later: Sequence[Part], policy: AssetPolicy) -> Verdict | None:
    """A quality gate makes no joint better or worse, so there is nothing to take back: it either is in force
    and lets nothing through that measures more, or it is not."""
    if not isinstance(change.actual, float):
        return Unclear(f"{GATE} was read back as {change.actual!r}")
    actual, rule, tolerance = change.actual, policy.verification, policy.limits(GATE).tolerance
    there = [one for one in later if one.trusted and abs(one.limit_uohm - actual) <= tolerance]
    accepted = [one for one in there if not one.rejected]
    through = [one for one in accepted if one.resistance_uohm > actual]
    if through:
        worst = max(one.resistance_uohm for one in through)
        return Unclear(f"a joint of {worst:.1f} µΩ passed the gate of {actual:g} µΩ")
    if len(accepted) >= rule.parts:
        return Good(rule.parts, fmean(one.resistance_uohm for one in accepted[: rule.parts]))
    if later and (made := later[-1].sequence - change.part_counter) >= rule.patience_parts:
        return Unclear(
            f"the gate of {actual:g} µΩ was in force on {len(there)} of {made} parts, and {len(accepted)} "
            f"passed it: {rule.parts} are needed"
        )
    return None


def _hold(change: InFlight, later: Sequence[Part], policy: AssetPolicy) -> Verdict | None:
    """The part under the laser when the station was held may be finished; no other may be made."""
    if change.applied_at is None:
        return None
    quiet_until = change.applied_at + timedelta(seconds=policy.verification.hold_quiet_s)
    if later and later[0].sequence == change.part_counter + 1 and later[0].made_at <= quiet_until:
        later = later[1:]
    if not later:
        return None
    if later[0].made_at <= quiet_until:
        return Unclear(f"part {later[0].sequence} was made although the station was held")
    return Good(0, change.before_uohm)
