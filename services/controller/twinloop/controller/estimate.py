"""The run-to-run controller: an exponentially weighted moving average of the process's intercept. Pure.

The process is taken to be depth = a + b * power. After each part a <- w (y - b u) + (1 - w) a, and the power
for the next part is u = (T - a) / b. Source: E. Sachs, A. Hu, A. Ingolfsson, "Run by run process control",
IEEE Transactions on Semiconductor Manufacturing 8 (1995) 26-43; stability for 0 < w beta / b < 2 with the
true gain beta, and the offset under drift, which a single average leaves: S. W. Butler, J. A. Stefani, the
same journal 7 (1994) 193-201.

Fault gate: only parts diagnosed with what power can mend are given to `updated`.
"""

from __future__ import annotations

from twinloop.controller.policy import EstimatorPolicy


def anchored(power_w: float, target_mm: float, policy: EstimatorPolicy) -> float:
    """The intercept in mm for which the power in force is the right one: a start without a bump."""
    return target_mm - policy.gain_mm_per_w * power_w


def updated(intercept_mm: float, depth_mm: float, power_w: float, policy: EstimatorPolicy) -> float:
    """The intercept in mm after a part of this depth was made with this power."""
    seen = depth_mm - policy.gain_mm_per_w * power_w
    return policy.weight * seen + (1.0 - policy.weight) * intercept_mm


def power_for(intercept_mm: float, target_mm: float, policy: EstimatorPolicy) -> float:
    """The power in W at which the next part's depth is expected on target; not limited in any way."""
    return (target_mm - intercept_mm) / policy.gain_mm_per_w
