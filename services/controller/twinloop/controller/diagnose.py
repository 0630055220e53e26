"""From the deviations of an anomalous window to what is wrong. Pure.

| diagnosis | depth | window temperature | back reflection | plasma |
|---|---|---|---|---|
| dirty window | any | up | | as depth tells |
| defocus | down, or the reflection off | normal | off, or depth down | as depth tells |
| gap | not as plasma tells | | | up |

A dirty window does not ask for a low depth: once power makes up for it depth is on target while the
temperature stays high. Such parts are what the run-to-run controller must go on learning from, and the
deadband keeps them from being acted on.

A signature looks at what is off, not at whether the rest fits: that is asked next (`agreement.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from twinloop.contracts.changes import Diagnosis
from twinloop.controller.rules import DiagnosisPolicy

DEPTH: Final = "oct_depth_mm.mean"
REFLECTION: Final = "back_reflection.mean"
TEMPERATURE: Final = "window_temperature_c.mean"
PLASMA: Final = "plasma.mean"
NEEDED: Final = (DEPTH, REFLECTION, TEMPERATURE, PLASMA)


@dataclass(frozen=True, slots=True)
class Reading:
    """A diagnosis by the signature alone, with the measurements that it, and actions, follow from.

    `depth`, `temperature` and `plasma` are deviations, in standard deviations. Not `sound`: the input was
    bad, and all of them are 0.0.
    """

    diagnosis: Diagnosis
    depth_mm: float = 0.0
    reflection: float = 0.0
    depth: float = 0.0
    temperature: float = 0.0
    plasma: float = 0.0
    sound: bool = False


def diagnose(
    features: Mapping[str, float], deviations: Mapping[str, float], policy: DiagnosisPolicy
) -> Reading:
    """What the window shows. Input that is missing, not finite or out of range is `unknown`."""
    if not _good(features, deviations, policy):
        return Reading(Diagnosis.UNKNOWN)
    return Reading(
        _signature(deviations, policy),
        features[DEPTH],
        features[REFLECTION],
        deviations[DEPTH],
        deviations[TEMPERATURE],
        deviations[PLASMA],
        sound=True,
    )


def _good(features: Mapping[str, float], deviations: Mapping[str, float], policy: DiagnosisPolicy) -> bool:
    return (
        all(math.isfinite(deviations.get(name, math.nan)) for name in NEEDED)
        and policy.depth_range_mm.holds(features.get(DEPTH, math.nan))
        and policy.reflection_range.holds(features.get(REFLECTION, math.nan))
    )


def _signature(deviations: Mapping[str, float], policy: DiagnosisPolicy) -> Diagnosis:
    depth, temperature = deviations[DEPTH], deviations[TEMPERATURE]
    excess = deviations[PLASMA] - policy.plasma_per_depth * depth
    if excess > policy.plasma + policy.plasma_slope_error * abs(depth):
        return Diagnosis.GAP
    if temperature > policy.temperature_warm:
        return Diagnosis.DIRTY_WINDOW
    if temperature > policy.temperature_normal or depth > policy.depth:
        # Neither warm nor normal; or deeper than the reference, which no distance from focus does.
        return Diagnosis.UNKNOWN
    if depth < -policy.depth or abs(deviations[REFLECTION]) > policy.reflection:
        return Diagnosis.DEFOCUS
    return Diagnosis.UNKNOWN
