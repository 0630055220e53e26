"""The guards that look at a setpoint: how far it may go, how fast, and from where. Pure.

In the parameter's unit. Each returns why it refuses, or `None`.
"""

from __future__ import annotations

import math
from typing import Final

from twinloop.contracts.changes import SetParameter
from twinloop.line.case import Case

_EXPECTED: Final = 1e-6
"""How far, relatively, the device may be from what the proposal expects it to hold."""
_ROUNDING: Final = 1 + 1e-9


def hard_limits(action: SetParameter, case: Case) -> str | None:
    """Nothing outside the hard range, and nothing that is no number."""
    hard = case.limits.of(action.parameter).hard
    return None if hard.holds(action.value) else f"{action.value:g} is outside {hard.low:g} to {hard.high:g}"


def operator_limits(action: SetParameter, case: Case) -> str | None:
    """Nothing outside the operator's range."""
    own = case.limits.of(action.parameter).operator
    return None if own.holds(action.value) else f"{action.value:g} is outside {own.low:g} to {own.high:g}"


def model_validity(action: SetParameter, case: Case) -> str | None:
    """Nothing where the models' answers are not known to hold."""
    own = case.limits.of(action.parameter).validity
    if own is None or own.holds(action.value):
        return None
    return f"{action.value:g} is outside {own.low:g} to {own.high:g}, where the models hold"


def step(action: SetParameter, case: Case) -> str | None:
    """At most one step at a time, from what the device holds. A rollback may take back exactly what was
    applied, however far the device's own rounding made that."""
    limit = case.limits.of(action.parameter).step
    moved = abs(action.value - case.device.value(action.parameter))
    if moved <= limit * _ROUNDING:
        return None
    last = case.taken_back
    if last is not None and _same(action.value, last.before) and _same(action.expected, last.after):
        return None
    return f"a step of {moved:g} exceeds {limit:g}"


def hourly_travel(action: SetParameter, case: Case) -> str | None:
    """All commands of an hour, added up whatever their direction."""
    limit = case.limits.of(action.parameter).hourly_travel
    moved = abs(action.value - case.device.value(action.parameter))
    so_far = case.standing.travelled(action.parameter, case.now)
    if so_far + moved > limit * _ROUNDING:
        return f"{so_far:g} in the last hour and {moved:g} now exceed {limit:g}"
    return None


def authority(action: SetParameter, case: Case) -> str | None:
    """So far from the baseline and no further: what needs more needs maintenance."""
    own = case.limits.of(action.parameter)
    away = abs(action.value - own.baseline)
    if away > own.authority * _ROUNDING:
        return f"{away:g} from the baseline of {own.baseline:g} exceeds {own.authority:g}"
    return None


def deadband(action: SetParameter, case: Case) -> str | None:
    """Too little to be worth a command, unless it takes back one."""
    limit = case.limits.of(action.parameter).deadband
    moved = abs(action.value - case.device.value(action.parameter))
    if moved < limit and case.taken_back is None:
        return f"a step of {moved:g} is within the deadband of {limit:g}"
    return None


def compare_and_set(action: SetParameter, case: Case) -> str | None:
    """The device must hold what the proposal started from: an operator's change in between wins."""
    actual = case.device.value(action.parameter)
    return None if _same(actual, action.expected) else f"the device holds {actual:g}, not {action.expected:g}"


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_EXPECTED, abs_tol=_EXPECTED)
