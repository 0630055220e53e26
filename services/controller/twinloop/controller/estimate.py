"""The run-to-run controller: one or two exponentially weighted moving averages of the intercept. Pure.

The process is taken to be depth y = a + b * power u. A part says x = y - b u about a. With weights w and v:

    ewma     a <- w x + (1 - w) a                                              u = (T - a) / b
    double   D <- v (x - a) + (1 - v) D,  then a <- w x + (1 - w) a            u = (T - a - D) / b

Let the true gain be r b, and the intercept drift by d a part. Then the error e = y - T settles

    ewma     at d / (w r), for 0 < w r < 2
    double   at 0,         for r (w + v - w v) < 2 and r (2 (w + v) - w v) < 4

so a single average leaves an offset that a second one, of the trend, removes. Both average what parts say and
nothing that was commanded: limits on the command do not wind them up.

Sources: E. Sachs, A. Hu, A. Ingolfsson, "Run by run process control", IEEE Transactions on Semiconductor
Manufacturing 8 (1995) 26-43; S. W. Butler, J. A. Stefani, "Supervisory run-to-run control of polysilicon gate
etch using in situ ellipsometry", the same journal 7 (1994) 193-201. The region of the double average follows
from its characteristic polynomial z^2 - (2 - r (w + v)) z + 1 - r (w + v - w v) by Jury's criterion.

Fault gate: only parts diagnosed with what power can mend are given to `updated`.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinloop.controller.rules import EstimatorPolicy


@dataclass(frozen=True, slots=True)
class Estimate:
    """`intercept_mm` is a, `trend_mm` is D: 0.0 with a single average."""

    intercept_mm: float
    trend_mm: float = 0.0


def anchored(power_w: float, target_mm: float, policy: EstimatorPolicy) -> Estimate:
    """The estimate for which the power in force is the right one: a start without a bump."""
    return Estimate(target_mm - policy.gain_mm_per_w * power_w)


def updated(estimate: Estimate, depth_mm: float, power_w: float, policy: EstimatorPolicy) -> Estimate:
    """The estimate after a part of this depth was made with this power."""
    seen = depth_mm - policy.gain_mm_per_w * power_w
    trend = 0.0
    if policy.kind == "double":
        trend = policy.trend_weight * (seen - estimate.intercept_mm)
        trend += (1.0 - policy.trend_weight) * estimate.trend_mm
    return Estimate(policy.weight * seen + (1.0 - policy.weight) * estimate.intercept_mm, trend)


def power_for(estimate: Estimate, target_mm: float, policy: EstimatorPolicy) -> float:
    """The power in W at which the next part's depth is expected on target; not limited in any way."""
    return (target_mm - estimate.intercept_mm - estimate.trend_mm) / policy.gain_mm_per_w


def stable(gain_ratio: float, policy: EstimatorPolicy) -> bool:
    """Whether the error settles when the true gain is `gain_ratio` times the policy's."""
    if gain_ratio <= 0.0:
        return False
    one, two = policy.weight, policy.trend_weight
    if policy.kind == "ewma":
        return gain_ratio * one < 2.0
    return gain_ratio * (one + two - one * two) < 2.0 and gain_ratio * (2 * (one + two) - one * two) < 4.0
