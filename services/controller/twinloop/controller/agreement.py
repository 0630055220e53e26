"""Whether the sensors of a weld tell one story. Pure.

Two of them fix the state: the window's temperature its transmission, and the depth, once that is known, how
much of the power couples. What couples less is out of focus, by a distance on either side; what couples
more has more power than was set. The third, the back reflection, must then read what that state reflects, and
plasma must not be weaker than the depth tells.

| | coupling | back reflection |
|---|---|---|
| one fault, or a dirty window and a defocus | 1 or less | as at one of the two distances |
| power error | off 1, with a cold window | off by the same factor |
| sensor fault | | anything else |

With the transmission tau, the power ratio p, the coupling c and the distance z from focus:

    temperature excess = heating * (1 - tau) * p
    depth - target     = slope * (tau * p * c - 1)             slope: that of the run-to-run controller
    c                  = (1 + (z / rayleigh)^2)^-exponent
    back reflection    = tau^2 * p * lorentzian(z)             see `propose.reflected`

A gap is no matter of this: its plasma speaks for it (`diagnose.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from twinloop.contracts.changes import Diagnosis
from twinloop.controller.diagnose import Reading
from twinloop.controller.focus import reflected
from twinloop.controller.policy import AssetPolicy

_DISTANCES: Final = 9
"""So many distances are tried between the nearest and the farthest that the depth allows, on each side."""


class Story(StrEnum):
    """What the sensors say together."""

    ONE = "one"
    """They agree, or say too little to disagree."""
    POWER = "power"
    """They agree that another power is delivered than was set."""
    SEVERAL = "several"
    """They may agree, but on more than one thing at once."""
    NONE = "none"
    """No state of the process shows all of them."""


@dataclass(frozen=True, slots=True)
class State:
    """What temperature and depth fix, and the reflection through a clean window at nominal power."""

    transmission: float
    coupling: float
    reflection: float


def state(reading: Reading, power_w: float, policy: AssetPolicy) -> State | None:
    """What `reading` says of a part made with this power; `None` when depth says nothing."""
    rule, ratio = policy.agreement, power_w / policy.nominal_power_w
    if reading.depth_mm < rule.least_depth_mm or ratio <= 0.0:
        return None
    excess_c = max(reading.temperature, 0.0) * rule.temperature_sigma_c
    transmission = 1.0 - excess_c / (rule.heating_c * ratio)
    if transmission <= rule.least_transmission:
        return None
    slope_mm = policy.estimator.gain_mm_per_w * policy.nominal_power_w
    energy = 1.0 + (reading.depth_mm - policy.target_depth_mm) / slope_mm
    return State(
        transmission, energy / (transmission * ratio), reading.reflection / (transmission**2 * ratio)
    )


def story(reading: Reading, power_w: float, policy: AssetPolicy) -> Story:
    """What the sensors say together of a part made with this power."""
    rule = policy.agreement
    if reading.temperature < -rule.cold or _plasma_missing(reading, policy):
        return Story.NONE  # nothing cools a window, or takes plasma away and leaves the depth
    seen = state(reading, power_w, policy)
    if seen is None:
        return Story.ONE
    if seen.reflection <= 0.0:
        return Story.NONE
    as_power = abs(math.log(seen.reflection / seen.coupling)) < rule.reflection
    if seen.coupling <= 1.0 + rule.power and _misfit(seen, policy) < rule.reflection:
        return Story.ONE
    if as_power and abs(seen.coupling - 1.0) > rule.power:
        cold = reading.temperature < policy.diagnosis.temperature_normal
        return Story.POWER if cold else Story.SEVERAL
    return Story.NONE


def agreed(reading: Reading, power_w: float, policy: AssetPolicy) -> Diagnosis:
    """The diagnosis of `reading`, once its sensors were heard together."""
    if not reading.sound or reading.diagnosis is Diagnosis.GAP:
        return reading.diagnosis
    told = story(reading, power_w, policy)
    if told is Story.ONE:
        return reading.diagnosis
    return {Story.POWER: Diagnosis.POWER_ERROR, Story.SEVERAL: Diagnosis.UNKNOWN}.get(
        told, Diagnosis.SENSOR_FAULT
    )


def distance_mm(coupling: float, policy: AssetPolicy) -> float:
    """How far from focus so much of the power couples; 0.0 for all of it, or more."""
    spread = min(coupling, 1.0) ** (-1.0 / policy.agreement.coupling_exponent) - 1.0
    return policy.focus.rayleigh_mm * math.sqrt(max(spread, 0.0))


def _misfit(seen: State, policy: AssetPolicy) -> float:
    """How far, as a natural logarithm, the reflection is from the nearest that the coupling allows."""
    error = policy.agreement.coupling
    nearest = distance_mm(seen.coupling * (1.0 + error), policy)
    farthest = distance_mm(seen.coupling / (1.0 + error), policy)
    between = [nearest + (farthest - nearest) * n / (_DISTANCES - 1) for n in range(_DISTANCES)]
    return min(
        abs(math.log(seen.reflection / reflected(side * one, policy.focus)))
        for one in between
        for side in (1.0, -1.0)
    )


def _plasma_missing(reading: Reading, policy: AssetPolicy) -> bool:
    rule = policy.diagnosis
    excess = reading.plasma - rule.plasma_per_depth * reading.depth
    return excess < -(rule.plasma + rule.plasma_slope_error * abs(reading.depth))
