"""What must hold right before the device is commanded, in the order of the safety rules. Pure.

Decided from the verified envelope, from this service's own limits, from what the device holds now and from
the log; a message is believed in nothing but what it wants. Each guard returns why it refuses, or `None`; a
rule to come is one more function in `GUARDS`, at its place. The device checks a third time.

A hold stops the station: limits, steps and permissives say nothing about it, it needs no Remote control, and
it waits for no cooldown but that of the last hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twinloop.contracts.changes import Hold, Parameter, SetParameter
from twinloop.contracts.modes import Mode, lower
from twinloop.line import setpoints
from twinloop.line.case import Case
from twinloop.line.plc import BY_OPERATOR, EXECUTE


@dataclass(frozen=True, slots=True)
class Refusal:
    """The guard that objects, and why."""

    guard: str
    reason: str


Guard = Callable[[Case], str | None]
Rule = Callable[[SetParameter, Case], str | None]


def envelope(case: Case) -> str | None:
    """Signed by who may release, the same as the proposal, new, in order and of the present."""
    return None if case.objection is None else case.objection.reason


def mode(case: Case) -> str | None:
    """The mode must allow it now, and no stop may have come since it was proposed.

    A policy's release needs AUTO, a person's SUPERVISED. What a machine has shed does not stop the rollback
    of what was done before: that goes by the mode it was proposed in. A person who demoted stops it, too.
    """
    mode, governance = case.effective, case.standing.governance
    if case.taken_back is not None and governance.requested.acts:
        mode = lower(case.envelope.mode, case.limits.highest_mode)
    elif case.stopped is not None:
        return f"it was stopped: {case.stopped}"
    if not mode.acts:
        return f"the mode is {mode}: {governance.why}"
    kind = case.envelope.approver.partition(":")[0]
    if kind == "policy":
        if (least := lower(mode, case.envelope.mode)) is not Mode.AUTO:
            return f"the mode is {least}: a person must release it"
    elif kind != "person":
        return f"{case.envelope.approver!r} is neither a person nor a policy"
    return None


def cooldown(case: Case) -> str | None:
    """Enough parts and enough seconds since the last command. A hold waits only for the last hold, and the
    quality gate for nothing: it changes no part, and a person has waited for it."""
    last = case.standing.touched
    if (
        last is None
        or case.taken_back is not None
        or _of_gate(case)
        or (isinstance(case.envelope.action, Hold) and not last.hold)
    ):
        return None
    parts = case.device.part_counter - last.part_counter
    seconds = (case.now - last.at).total_seconds()
    rule = case.limits.cooldown
    if parts < rule.parts or seconds < rule.seconds:
        return f"{parts} parts and {seconds:.1f} s since the last command"
    return None


def permissive(case: Case) -> str | None:
    """The station must be producing, by the recipe that was released and the change is meant for, and be ours
    to command."""
    device = case.device
    if isinstance(case.envelope.action, Hold):
        return None
    if device.mode != EXECUTE:
        return f"the station is in {device.mode}"
    if device.recipe != case.limits.recipe:
        return f"the station makes {device.recipe!r}, {case.limits.recipe!r} was released"
    if device.recipe != case.envelope.recipe:
        return f"the station makes {device.recipe!r}, the change is for {case.envelope.recipe!r}"
    if device.maintenance_lock:
        return "the maintenance lock is on"
    if device.high_alarm:
        return "a high alarm is active"
    if not device.remote:
        return f"the control source is {device.control_source} ({device.local_reason or 'no reason given'})"
    return None


def watchdog(case: Case) -> str | None:
    """Both sides must have heard each other. Stopping needs no answer before it."""
    return None if isinstance(case.envelope.action, Hold) else case.link


def override(case: Case) -> str | None:
    """An operator's hand wins, until a person gives the asset back."""
    if case.standing.governance.manual:
        return f"an operator has the asset in hand: {case.standing.governance.why}"
    return "an operator has the key" if case.device.local_reason == BY_OPERATOR else None


def kill_switch(case: Case) -> str | None:
    """Nothing is commanded while it is set: here, at once, or in the log."""
    if case.killed is not None:
        return case.killed
    return "the kill switch is set" if case.standing.governance.killed else None


def model_swap(case: Case) -> str | None:
    """Another model version than the one that the mode was entered with does not inherit the mode. What
    vehicles say of the quality gate, their own model says, and a person."""
    known, speaks = case.standing.model, (case.envelope.model, case.envelope.model_version)
    if known is None or known == speaks or case.taken_back is not None or _of_gate(case):
        return None
    return f"{speaks[0]} {speaks[1]} speaks, the mode was entered with {known[0]} {known[1]}"


def audit(case: Case) -> str | None:
    """What cannot be written down is not done."""
    return case.audit


def _of_gate(case: Case) -> bool:
    action = case.envelope.action
    return isinstance(action, SetParameter) and action.parameter is Parameter.END_OF_LINE_LIMIT_UOHM


def _of_setpoint(rule: Rule) -> Guard:
    """`rule` as a guard: a hold has no setpoint."""

    def guard(case: Case) -> str | None:
        action = case.envelope.action
        return rule(action, case) if isinstance(action, SetParameter) else None

    return guard


GUARDS: Final[tuple[tuple[str, Guard], ...]] = (
    ("envelope", envelope),
    ("mode", mode),
    ("hard_limits", _of_setpoint(setpoints.hard_limits)),
    ("operator_limits", _of_setpoint(setpoints.operator_limits)),
    ("model_validity", _of_setpoint(setpoints.model_validity)),
    ("step", _of_setpoint(setpoints.step)),
    ("hourly_travel", _of_setpoint(setpoints.hourly_travel)),
    ("authority", _of_setpoint(setpoints.authority)),
    ("deadband", _of_setpoint(setpoints.deadband)),
    ("cooldown", cooldown),
    ("permissive", permissive),
    ("compare_and_set", _of_setpoint(setpoints.compare_and_set)),
    ("watchdog", watchdog),
    ("override", override),
    ("kill_switch", kill_switch),
    ("model_swap", model_swap),
    ("audit", audit),
)
"""The envelope comes first: before it is verified, nobody knows whose command the others would judge."""

LAST_WORD: Final = ("mode", "watchdog", "override", "kill_switch")
"""Asked once more between `issued` and the call: what may have come while Kafka took its time."""


def refusal(case: Case, only: tuple[str, ...] | None = None) -> Refusal | None:
    """The first guard that objects (of those named in `only`), or `None` when all are content."""
    for name, guard in GUARDS:
        if (only is None or name in only) and (reason := guard(case)) is not None:
            return Refusal(name, reason)
    return None
