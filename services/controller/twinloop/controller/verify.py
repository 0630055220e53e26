"""Whether a change did what it should, measured on the parts made after it. Pure.

The test. A part's resistance is measured with a standard deviation of sigma, so the means of m parts before
the proposal and of n parts after the change differ by chance with a standard error of
sigma * sqrt(1/m + 1/n). The change is verified when the mean after it is within the limit, and exceeds the
mean before it by no more than two standard errors and an allowance for what the drift under correction adds
meanwhile. With sigma 2, m = n = 10 and an allowance of 1.5 micro-ohm the margin is 3.3: a change that did
nothing wrong is called inconclusive about once in 10 000 times, one that adds 5 micro-ohm is caught 97 times
in 100. What is not verified is `inconclusive`: one change in a noisy process does not prove its own harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean

from twinloop.contracts.changes import SetParameter
from twinloop.controller.policy import AssetPolicy, VerificationPolicy
from twinloop.controller.state import InFlight, Part

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


def judge(
    before_uohm: float, before_parts: int, after: Sequence[float], policy: VerificationPolicy
) -> Good | Unclear:
    """The test of this module, on the resistances in micro-ohm of the parts after the change."""
    mean = fmean(after)
    error = policy.sensor_sigma_uohm * math.sqrt(1 / max(before_parts, 1) + 1 / len(after))
    margin = 2 * error + policy.drift_allowance_uohm
    if mean > policy.limit_uohm:
        return Unclear(f"{mean:.1f} µΩ on {len(after)} parts, over the limit of {policy.limit_uohm:g} µΩ")
    if before_parts and mean - before_uohm > margin:
        return Unclear(
            f"{mean:.1f} µΩ on {len(after)} parts after {before_uohm:.1f} µΩ before: worse by more than "
            f"{margin:.1f} µΩ"
        )
    return Good(len(after), mean)


def measured(change: InFlight, parts: Sequence[Part], policy: AssetPolicy) -> Good | Unclear | None:
    """The verdict on an applied change, or `None` while the parts made do not suffice.

    `parts` are the last ones made, oldest first, with those before the change among them.
    """
    later = [part for part in parts if part.sequence > change.part_counter]
    if isinstance(change.action, SetParameter):
        return _setpoint(change, change.action, later, policy)
    if change.actual != HELD:
        return Unclear(f"the station is {change.actual}, not {HELD}")
    return _hold(change, later, policy)


def _setpoint(
    change: InFlight, action: SetParameter, later: Sequence[Part], policy: AssetPolicy
) -> Good | Unclear | None:
    if not isinstance(change.actual, float):
        return Unclear(f"{action.parameter} was read back as {change.actual!r}")
    rule = policy.verification
    tolerance = policy.limits(action.parameter).tolerance
    actual = change.actual
    made_with_it = [one for one in later if abs(one.setpoint(action.parameter) - actual) <= tolerance]
    if len(made_with_it) >= rule.parts:
        resistances = [one.resistance_uohm for one in made_with_it[: rule.parts]]
        return judge(change.before_uohm, change.before_parts, resistances, rule)
    if later and later[-1].sequence - change.part_counter >= rule.patience_parts:
        return Unclear(
            f"only {len(made_with_it)} of {later[-1].sequence - change.part_counter} parts were made with "
            f"{action.parameter} {actual:g}"
        )
    return None


def _hold(change: InFlight, later: Sequence[Part], policy: AssetPolicy) -> Good | Unclear | None:
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
