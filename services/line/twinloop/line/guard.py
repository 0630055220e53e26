"""What must hold right before the device is commanded, in the order of the safety rules. Pure.

Decided from this service's own limits, from what the device holds now and from the ledger; the message is
believed in nothing but what it wants. Each guard returns why it refuses, or `None`; a rule to come is one
more function in `GUARDS`, at its place. The device checks a third time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from twinloop.contracts.changes import Hold, Proposed
from twinloop.line.ledger import Touched
from twinloop.line.limits import StationLimits
from twinloop.line.plc import EXECUTE, Device

_EXPECTED: Final = 1e-6
"""How far, relatively, the device may be from what the proposal expects it to hold."""


@dataclass(frozen=True, slots=True)
class Case:
    """A released change, and all that speaks for or against it."""

    proposed: Proposed
    device: Device
    touched: Touched | None
    limits: StationLimits
    now: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """The guard that objects, and why."""

    guard: str
    reason: str


Guard = Callable[[Case], str | None]


def hard_limits(case: Case) -> str | None:
    """Nothing outside the hard range, and nothing that is no number."""
    action = case.proposed.action
    if isinstance(action, Hold):
        return None
    hard = case.limits.of(action.parameter).hard
    return None if hard.holds(action.value) else f"{action.value:g} is outside {hard.low:g} to {hard.high:g}"


def operator_limits(case: Case) -> str | None:
    """Nothing outside the operator's range."""
    action = case.proposed.action
    if isinstance(action, Hold):
        return None
    own = case.limits.of(action.parameter).operator
    return None if own.holds(action.value) else f"{action.value:g} is outside {own.low:g} to {own.high:g}"


def compare_and_set(case: Case) -> str | None:
    """The device must hold what the proposal started from: an operator's change in between wins."""
    action = case.proposed.action
    if isinstance(action, Hold):
        return None
    actual = case.device.value(action.parameter)
    if not math.isclose(actual, action.expected, rel_tol=_EXPECTED, abs_tol=_EXPECTED):
        return f"the device holds {actual:g}, not {action.expected:g}"
    return None


def step(case: Case) -> str | None:
    """At most one step at a time, from what the device holds."""
    action = case.proposed.action
    if isinstance(action, Hold):
        return None
    limit = case.limits.of(action.parameter).step
    moved = abs(action.value - case.device.value(action.parameter))
    return f"a step of {moved:g} exceeds {limit:g}" if moved > limit * (1 + 1e-9) else None


def deadband(case: Case) -> str | None:
    """Too little to be worth a command."""
    action = case.proposed.action
    if isinstance(action, Hold):
        return None
    limit = case.limits.of(action.parameter).deadband
    moved = abs(action.value - case.device.value(action.parameter))
    return f"a step of {moved:g} is within the deadband of {limit:g}" if moved < limit else None


def cooldown(case: Case) -> str | None:
    """Enough parts and enough seconds since the last command. A hold waits only for the last hold."""
    last = case.touched
    if last is None or (isinstance(case.proposed.action, Hold) and not last.hold):
        return None
    parts = case.device.part_counter - last.part_counter
    seconds = (case.now - last.at).total_seconds()
    rule = case.limits.cooldown
    if parts < rule.parts or seconds < rule.seconds:
        return f"{parts} parts and {seconds:.1f} s since the last command"
    return None


def permissive(case: Case) -> str | None:
    """The station must be producing, by the recipe that the change is meant for. A hold may always be."""
    if isinstance(case.proposed.action, Hold):
        return None
    if case.device.mode != EXECUTE:
        return f"the station is in {case.device.mode}"
    if case.device.recipe != case.proposed.recipe:
        return f"the station makes {case.device.recipe!r}, the change is for {case.proposed.recipe!r}"
    return None


GUARDS: Final[tuple[tuple[str, Guard], ...]] = (
    ("hard_limits", hard_limits),
    ("operator_limits", operator_limits),
    ("compare_and_set", compare_and_set),
    ("step", step),
    ("deadband", deadband),
    ("cooldown", cooldown),
    ("permissive", permissive),
)


def refusal(case: Case) -> Refusal | None:
    """The first guard that objects, or `None` when all are content."""
    for name, guard in GUARDS:
        if (reason := guard(case)) is not None:
            return Refusal(name, reason)
    return None
