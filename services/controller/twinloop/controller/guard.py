"""What must hold before anything is proposed, in the order of the safety rules. Pure.

Each guard gets the case and returns why it refuses, or `None`. A rule to come is one more function in
`GUARDS`, at its place. `line` checks again, from its own configuration, right before writing.

A hold stops the station: limits, steps and deadbands say nothing about it, and it waits for no cooldown but
that of the last hold. A rollback takes back exactly what was applied, and waits for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from twinloop.contracts.changes import Action, Diagnosis, Hold, Parameter, SetParameter, State
from twinloop.contracts.modes import Mode
from twinloop.controller import validity
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.rules import Limits
from twinloop.controller.state import Given, InFlight, Refused, Station
from twinloop.runtime.tables import Range


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be proposed, and all that speaks for or against it.

    `mode` is the one in force. `seen_at`: when the newest evidence was observed; `sequence`: its part.
    `model` and `model_version` spoke. `takes_back` is the change that a rollback takes back.
    """

    action: Action
    diagnosis: Diagnosis
    station: Station
    mode: Mode
    seen_at: datetime
    sequence: int
    model: str
    model_version: int
    given: Given
    takes_back: InFlight | None = None

    @property
    def policy(self) -> AssetPolicy:
        """The asset's."""
        return self.given.policy

    @property
    def limits(self) -> Limits | None:
        """Those of the parameter to be set; a hold has none."""
        return None if isinstance(self.action, Hold) else self.policy.limits(self.action.parameter)


Guard = Callable[[Case], str | None]

_MENDS: Final = {
    Parameter.LASER_POWER_W: Diagnosis.DIRTY_WINDOW,
    Parameter.FOCUS_MM: Diagnosis.DEFOCUS,
    Parameter.END_OF_LINE_LIMIT_UOHM: Diagnosis.MARGINAL_JOINTS,
}
_HOUR: Final = timedelta(hours=1)
_ROUNDING: Final = 1 + 1e-9


def mode(case: Case) -> str | None:
    """Only an asset in a mode that acts gets proposals."""
    return None if case.mode.acts else f"the mode is {case.mode}"


def input_validity(case: Case) -> str | None:
    """Evidence must be fresh and good. A hold rests on plasma alone: only its age counts."""
    if (stale := validity.age(case.seen_at, case.given)) is not None:
        return f"the evidence is no good: {stale}"
    if isinstance(case.action, Hold):
        return None
    newest = case.station.newest
    if newest is None:
        return "no part is known"
    return validity.problem(case.station, newest.sequence) or validity.problem(case.station, case.sequence)


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
    if not isinstance(case.action, Hold) and not math.isfinite(case.action.expected):
        return "the setpoint in force is no number"
    return _outside(case, None if case.limits is None else case.limits.hard)


def operator_limits(case: Case) -> str | None:
    """Nothing outside the operator's range; proposals are clamped to it before they come here."""
    return _outside(case, None if case.limits is None else case.limits.operator)


def model_validity(case: Case) -> str | None:
    """Nothing where the model's verdicts mean nothing."""
    return _outside(case, None if case.limits is None else case.limits.validity)


def _outside(case: Case, allowed: Range | None) -> str | None:
    if allowed is None or isinstance(case.action, Hold) or allowed.holds(case.action.value):
        return None
    return f"{case.action.value:g} is outside {allowed.low:g} to {allowed.high:g}"


def step(case: Case) -> str | None:
    """At most one step at a time; a rollback may take back exactly what was applied."""
    if case.limits is None:
        return None
    limit, moved = case.limits.step, _moved(case)
    if case.takes_back is not None:
        limit = _applied(case.takes_back)
    return f"a step of {moved:g} exceeds {limit:g}" if moved > limit * _ROUNDING else None


def hourly_travel(case: Case) -> str | None:
    """The sum of all moves in an hour is limited; a change leaves room for being taken back."""
    if case.limits is None or isinstance(case.action, Hold):
        return None
    since = case.given.now - _HOUR
    parameter = case.action.parameter
    moved = [one.distance for one in case.station.travels if one.parameter is parameter and one.at > since]
    wanted = _moved(case) * (1 if case.takes_back is not None else 2)
    if sum(moved) + wanted > case.limits.hourly_travel * _ROUNDING:
        return f"{sum(moved):g} of {case.limits.hourly_travel:g} were moved within the last hour"
    return None


def authority(case: Case) -> str | None:
    """All changes together lead only so far from the baseline."""
    if case.limits is None or isinstance(case.action, Hold):
        return None
    away = abs(case.action.value - case.limits.baseline)
    if away <= case.limits.authority * _ROUNDING:
        return None
    return f"{case.action.value:g} is {away:g} off the baseline, and the authority {case.limits.authority:g}"


def deadband(case: Case) -> str | None:
    """Too little to be worth a change."""
    if case.limits is None or case.takes_back is not None:
        return None
    limit, moved = case.limits.deadband, _moved(case)
    return f"a step of {moved:g} is within the deadband of {limit:g}" if moved < limit else None


def cooldown(case: Case) -> str | None:
    """Enough parts and enough seconds since the last change was applied, or ended without that."""
    last = case.station.settled
    if last is None or case.takes_back is not None or (isinstance(case.action, Hold) and not last.hold):
        return None
    newest = case.station.newest
    parts = 0 if newest is None else newest.sequence - last.part_counter
    seconds = (case.given.now - last.at).total_seconds()
    rule = case.policy.cooldown
    if parts < rule.parts or seconds < rule.seconds:
        return f"{parts} parts and {seconds:.1f} s since the last change"
    return None


def in_flight(case: Case) -> str | None:
    """One change at a time."""
    change, asked = case.station.in_flight, case.station.field_change
    if change is not None:
        return f"change {change.change_id} is {change.state}"
    if asked is None or isinstance(case.action, Hold):
        return None
    # What waits for a person for days, or is measured at the gate alone, is in no other kind's way.
    if case.diagnosis is not Diagnosis.MARGINAL_JOINTS and asked.state not in (State.APPROVED, State.ISSUED):
        return None
    return f"change {asked.change_id} is {asked.state}"


def override(case: Case) -> str | None:
    """What an operator has in hand is left alone."""
    return "an operator has the asset in hand" if case.station.governance.manual else None


def kill_switch(case: Case) -> str | None:
    """Nothing is commanded while the kill switch is set."""
    return "the kill switch is set" if case.station.governance.killed else None


def model_swap(case: Case) -> str | None:
    """A mode belongs to the model version that it was entered with. Vehicles are heard by another model."""
    voice = case.station.voice
    if (
        voice is None
        or case.diagnosis is Diagnosis.MARGINAL_JOINTS
        or voice == (case.model, case.model_version)
    ):
        return None
    return f"{case.model} {case.model_version} spoke, and the mode belongs to {voice[0]} {voice[1]}"


def audit(case: Case) -> str | None:
    """What cannot be written down is not done."""
    away = case.given.audit_away
    return None if away is None else f"nothing can be audited: {away}"


def _moved(case: Case) -> float:
    return abs(case.action.value - case.action.expected) if isinstance(case.action, SetParameter) else 0.0


def _applied(change: InFlight) -> float:
    if not isinstance(change.action, SetParameter) or not isinstance(change.actual, float):
        return 0.0
    return abs(change.actual - change.action.expected)


GUARDS: Final[tuple[tuple[str, Guard], ...]] = (
    ("mode", mode),
    ("input_validity", input_validity),
    ("fault_gate", fault_gate),
    ("hard_limits", hard_limits),
    ("operator_limits", operator_limits),
    ("model_validity", model_validity),
    ("step", step),
    ("hourly_travel", hourly_travel),
    ("authority", authority),
    ("deadband", deadband),
    ("cooldown", cooldown),
    ("in_flight", in_flight),
    ("override", override),
    ("kill_switch", kill_switch),
    ("model_swap", model_swap),
    ("audit", audit),
)


def refusal(case: Case) -> Refused | None:
    """The first guard that objects, or `None` when all are content.

    In SHADOW the mode objects last, so that it is known what would be proposed in a mode that acts.
    """
    order = GUARDS
    if case.mode is Mode.SHADOW:
        order = tuple(sorted(GUARDS, key=lambda one: one[1] is mode))
    for name, guard in order:
        if (reason := guard(case)) is not None:
            return Refused(name, reason, case.action)
    return None
