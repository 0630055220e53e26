"""What the back reflection tells of the distance from focus. Pure."""

from __future__ import annotations

import math

from twinloop.controller.rules import FocusPolicy


def reflected(distance_mm: float, policy: FocusPolicy) -> float:
    """Back reflection at this distance from focus as a part of the one in focus (a Lorentzian, whose
    maximum lies in the keyhole and not at the focus, so that the two sides differ)."""
    offset = policy.reflection_focus_mm / policy.rayleigh_mm
    away = (distance_mm - policy.reflection_focus_mm) / policy.rayleigh_mm
    return (1.0 + offset**2) / (1.0 + away**2)


def direction(distance_mm: float, reflection: float, policy: FocusPolicy) -> float | None:
    """+1.0 when the focus setpoint must go down by the distance, -1.0 when up, `None` when both fit.

    The sign of the reflection's deviation alone would mislead: at 0.8 mm it is back where it is in focus.
    """
    if reflection <= 0.0:
        return None
    positive = abs(math.log(reflection / reflected(distance_mm, policy)))
    negative = abs(math.log(reflection / reflected(-distance_mm, policy)))
    if abs(positive - negative) < policy.reflection_margin:
        return None
    return 1.0 if positive < negative else -1.0
