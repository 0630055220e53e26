"""What must hold before anything is proposed, in the order of the safety rules. Pure.

Each guard gets the case and returns why it refuses, or `None`. A rule to come is one more function in
`GUARDS`, at its place. `line` checks again, from its own configuration, right before writing.

A hold stops the station: limits, steps and deadbands say nothing about it, and it waits for no cooldown but
that of the last hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from twinloop.contracts.changes import Action, Diagnosis, Hold, Parameter, SetParameter
from twinloop.controller.policy import AssetPolicy, Mode
from twinloop.controller.state import Refused, Station


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be proposed, and all that speaks for or against it. `seen_at`: when the newest evidence
    was observed; `sequence`: its part."""

    action: Action
    diagnosis: Diagnosis
    station: Station
    seen_at: datetime
    sequence: int
    policy: AssetPolicy
    now: datetime


Guard = Callable[[Case], str | None]

_MENDS: Final = {
    Parameter.LASER_POWER_W: Diagnosis.DIRTY_WINDOW,
    Parameter.FOCUS_MM: Diagnosis.DEFOCUS,
}
_CLOCK_SKEW: Final = timedelta(seconds=1)


def mode(case: Case) -> str | None:
    """Only an asset in `auto` gets proposals."""
    return None if case.policy.mode is Mode.AUTO else f"the mode is {case.policy.mode}"


def input_validity(case: Case) -> str | None:
    """Evidence must be fresh: what is read again after an outage proposes nothing."""
    age_s = (case.now - case.seen_at).total_seconds()
    if age_s > case.policy.expiry.evidence_s:
        return f"the evidence is {age_s:.1f} s old"
    if case.seen_at > case.now + _CLOCK_SKEW:
        return f"the evidence is {-age_s:.1f} s in the future"
    return None


def fault_gate(case: Case) -> str | None:
    """A setpoint is changed only for what it mends, and never while parts show a gap."""
    if isinstance(case.action, Hold):
        return None
    if _MENDS[case.action.parameter] is not case.diagnosis:
        return f"{case.action.parameter} does not mend {case.diagnosis}"
    since = case.sequence - case.policy.persistence.gap.of
    gaps = [
        one.sequence
        for one in case.station.findings
        if one.diagnosis is Diagnosis.GAP and one.sequence > since
    ]
    return f"part {gaps[-1]} showed a gap" if gaps else None


def hard_limits(case: Case) -> str | None:
    """Nothing outside the hard range, and nothing that is no number."""
    if isinstance(case.action, Hold):
        return None
    limits = case.policy.limits(case.action.parameter)
    if not math.isfinite(case.action.expected) or not limits.hard.holds(case.action.value):
        return f"{case.action.value:g} is outside {limits.hard.low:g} to {limits.hard.high:g}"
    return None


def operator_limits(case: Case) -> str | None:
    """Nothing outside the operator's range; proposals are clamped to it before they come here."""
    if isinstance(case.action, Hold):
        return None
    limits = case.policy.limits(case.action.parameter)
    if not limits.operator.holds(case.action.value):
        return f"{case.action.value:g} is outside {limits.operator.low:g} to {limits.operator.high:g}"
    return None


def step(case: Case) -> str | None:
    """At most one step at a time."""
    if isinstance(case.action, Hold):
        return None
    limit = case.policy.limits(case.action.parameter).step
    moved = _moved(case.action)
    return f"a step of {moved:g} exceeds {limit:g}" if moved > limit * (1 + 1e-9) else None


def deadband(case: Case) -> str | None:
    """Too little to be worth a change."""
    if isinstance(case.action, Hold):
        return None
    limit = case.policy.limits(case.action.parameter).deadband
    moved = _moved(case.action)
    return f"a step of {moved:g} is within the deadband of {limit:g}" if moved < limit else None


def cooldown(case: Case) -> str | None:
    """Enough parts and enough seconds since the last change was applied, or ended without that."""
    last = case.station.settled
    if last is None or (isinstance(case.action, Hold) and not last.hold):
        return None
    newest = case.station.newest
    parts = 0 if newest is None else newest.sequence - last.part_counter
    seconds = (case.now - last.at).total_seconds()
    rule = case.policy.cooldown
    if parts < rule.parts or seconds < rule.seconds:
        return f"{parts} parts and {seconds:.1f} s since the last change"
    return None


def in_flight(case: Case) -> str | None:
    """One change at a time."""
    change = case.station.in_flight
    return None if change is None else f"change {change.change_id} is {change.state}"


def _moved(action: SetParameter) -> float:
    return abs(action.value - action.expected)


GUARDS: Final[tuple[tuple[str, Guard], ...]] = (
    ("mode", mode),
    ("input_validity", input_validity),
    ("fault_gate", fault_gate),
    ("hard_limits", hard_limits),
    ("operator_limits", operator_limits),
    ("step", step),
    ("deadband", deadband),
    ("cooldown", cooldown),
    ("in_flight", in_flight),
)


def refusal(case: Case) -> Refused | None:
    """The first guard that objects, or `None` when all are content."""
    for name, guard in GUARDS:
        if (reason := guard(case)) is not None:
            return Refused(name, reason)
    return None
