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


Guard = Callable[[Case], str | None]
Rule = Callable[[SetParameter, Limits, Case], str | None]

MENDED_BY_POWER: Final = frozenset({Diagnosis.DIRTY_WINDOW, Diagnosis.POWER_ERROR})
_MENDS: Final = {
    Parameter.LASER_POWER_W: MENDED_BY_POWER,
    Parameter.FOCUS_MM: frozenset({Diagnosis.DEFOCUS}),
    Parameter.END_OF_LINE_LIMIT_UOHM: frozenset({Diagnosis.MARGINAL_JOINTS}),
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
    """A setpoint is changed only for what it mends, never while parts show a gap, nor while the sensors of
    many contradict each other: then those that agree may do so by chance."""
    if isinstance(case.action, Hold):
        return None
    if case.diagnosis not in _MENDS[case.action.parameter]:
        return f"{case.action.parameter} does not mend {case.diagnosis}"
    persistence = case.policy.persistence
    if gaps := _last(case, Diagnosis.GAP, persistence.gap.of):
        return f"part {gaps[-1]} showed a gap"
    wanted = persistence.sensor_fault
    astray = _last(case, Diagnosis.SENSOR_FAULT, wanted.of)
    if len(astray) >= wanted.parts:
        return f"the sensors contradict each other on {len(astray)} of the last {wanted.of} parts"
    return None


def _last(case: Case, diagnosis: Diagnosis, parts: int) -> list[int]:
    """Those of the last so many parts that were diagnosed so."""
    since = case.sequence - parts
    return [
        one.sequence for one in case.station.findings if one.diagnosis is diagnosis and one.sequence > since
    ]


def hard_limits(action: SetParameter, limits: Limits, _: Case) -> str | None:
    """Nothing outside the hard range, and nothing that is no number."""
    if not math.isfinite(action.expected):
        return "the setpoint in force is no number"
    return _outside(action, limits.hard)


def operator_limits(action: SetParameter, limits: Limits, _: Case) -> str | None:
    """Nothing outside the operator's range; proposals are clamped to it before they come here."""
    return _outside(action, limits.operator)


def model_validity(action: SetParameter, limits: Limits, _: Case) -> str | None:
    """Nothing where the model's verdicts mean nothing."""
    return _outside(action, limits.validity)


def _outside(action: SetParameter, allowed: Range) -> str | None:
    if allowed.holds(action.value):
        return None
    return f"{action.value:g} is outside {allowed.low:g} to {allowed.high:g}"


def step(action: SetParameter, limits: Limits, case: Case) -> str | None:
    """At most one step at a time; a rollback may take back exactly what was applied."""
    limit = limits.step if case.takes_back is None else _applied(case.takes_back)
    moved = _moved(action)
    return f"a step of {moved:g} exceeds {limit:g}" if moved > limit * _ROUNDING else None


def hourly_travel(action: SetParameter, limits: Limits, case: Case) -> str | None:
    """The sum of all moves in an hour is limited; a change leaves room for being taken back."""
    since, parameter = case.given.now - _HOUR, action.parameter
    moved = [one.distance for one in case.station.travels if one.parameter is parameter and one.at > since]
    wanted = _moved(action) * (1 if case.takes_back is not None else 2)
    if sum(moved) + wanted > limits.hourly_travel * _ROUNDING:
        return f"{sum(moved):g} of {limits.hourly_travel:g} were moved within the last hour"
    return None


def authority(action: SetParameter, limits: Limits, _: Case) -> str | None:
    """All changes together lead only so far from the baseline."""
    away = abs(action.value - limits.baseline)
    if away <= limits.authority * _ROUNDING:
        return None
    return f"{action.value:g} is {away:g} off the baseline, and the authority {limits.authority:g}"


def deadband(action: SetParameter, limits: Limits, case: Case) -> str | None:
    """Too little to be worth a change, unless it takes back one."""
    limit, moved = limits.deadband, _moved(action)
    if moved < limit and case.takes_back is None:
        return f"a step of {moved:g} is within the deadband of {limit:g}"
    return None


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


def permissive(case: Case) -> str | None:
    """Setpoints are changed for the recipe that was released, and for no other."""
    if isinstance(case.action, Hold):
        return None
    made, released = case.station.recipe, case.policy.recipe
    if released is None:
        return "no recipe was released for the asset"
    return None if made == released else f"the station makes {made!r}, {released!r} was released"


def failures(case: Case) -> str | None:
    """A device that does not do what it says is left alone, until a person enters the mode anew. It can
    still be stopped."""
    count, most = case.station.failures, case.policy.scrap.failures
    if isinstance(case.action, Hold) or count < most:
        return None
    return f"{count} changes in a row failed"


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
    """A mode belongs to the model version that it was entered with. Vehicles are heard by another model, and
    what made things worse is taken back whoever speaks by then."""
    voice = case.station.voice
    if (
        voice is None
        or case.takes_back is not None
        or case.diagnosis is Diagnosis.MARGINAL_JOINTS
        or voice == (case.model, case.model_version)
    ):
        return None
    return f"{case.model} {case.model_version} spoke, and the mode belongs to {voice[0]} {voice[1]}"


def audit(case: Case) -> str | None:
    """What cannot be written down is not done."""
    away = case.given.audit_away
    return None if away is None else f"nothing can be audited: {away}"


def _moved(action: SetParameter) -> float:
    return abs(action.value - action.expected)


def _applied(change: InFlight) -> float:
    if not isinstance(change.action, SetParameter) or not isinstance(change.actual, float):
        return 0.0
    return abs(change.actual - change.action.expected)


def _of_setpoint(rule: Rule) -> Guard:
    """`rule` as a guard, with the limits of the parameter to be set: a hold sets nothing."""

    def guard(case: Case) -> str | None:
        action = case.action
        return None if isinstance(action, Hold) else rule(action, case.policy.limits(action.parameter), case)

    return guard


GUARDS: Final[tuple[tuple[str, Guard], ...]] = (
    ("mode", mode),
    ("input_validity", input_validity),
    ("fault_gate", fault_gate),
    ("hard_limits", _of_setpoint(hard_limits)),
    ("operator_limits", _of_setpoint(operator_limits)),
    ("model_validity", _of_setpoint(model_validity)),
    ("step", _of_setpoint(step)),
    ("hourly_travel", _of_setpoint(hourly_travel)),
    ("authority", _of_setpoint(authority)),
    ("deadband", _of_setpoint(deadband)),
    ("cooldown", cooldown),
    ("permissive", permissive),
    ("failures", failures),
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
