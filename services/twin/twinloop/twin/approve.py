"""Whether a change may be released without a person. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from twinloop.contracts.changes import Forecast, Parameter, SetParameter
from twinloop.twin.assets import ApprovalPolicy

APPROVER = "policy:auto"


@dataclass(frozen=True, slots=True)
class Decision:
    """Released or not, and why."""

    approved: bool
    reason: str


HOLD = Decision(True, "stopping a station is always allowed")


def outside(action: SetParameter, policy: ApprovalPolicy) -> str | None:
    """Why the value is none that the twin releases, or says anything about."""
    own = policy.power_w if action.parameter is Parameter.LASER_POWER_W else policy.focus_mm
    if own.holds(action.value):
        return None
    return f"{action.value:g} is outside the twin's {own.low:g} to {own.high:g}"


def decide(action: SetParameter, do_nothing: Forecast, do_this: Forecast, policy: ApprovalPolicy) -> Decision:
    """The policy's decision on a setpoint, given both forecasts."""
    if (refused := outside(action, policy)) is not None:
        return Decision(False, refused)
    before, after = do_nothing.expected_uohm, do_this.expected_uohm
    told = f"{before:.1f} → {after:.1f} µΩ expected"
    if before - after >= policy.gain_uohm:
        return Decision(True, told)
    if after - before <= policy.allowance_uohm and do_this.high_uohm <= policy.limit_uohm:
        return Decision(True, f"{told}, within the allowance")
    return Decision(False, f"{told}: no gain of {policy.gain_uohm:g} µΩ")
