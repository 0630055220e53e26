"""What becomes of a proposed change: released by a policy, left to a person, or rejected. Pure.

A person is asked wherever the twin cannot answer for a change; what is plainly bad is rejected and nobody is
asked. The rule and its reasons: docs/decisions/0014-when-a-person-decides.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from twinloop.contracts.changes import Forecast, Hold, Parameter, Proposed, SetParameter
from twinloop.contracts.controls import Governance
from twinloop.contracts.modes import Mode, lower
from twinloop.twin.assets import ApprovalPolicy

APPROVER = "policy:auto"
ROLLBACK = "policy:rollback"


class Answer(StrEnum):
    """What becomes of a change."""

    RELEASE = "release"
    ASK = "ask"
    """A person decides."""
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, why, and the name of the policy that gives it."""

    answer: Answer
    reason: str
    by: str = APPROVER

    @property
    def approved(self) -> bool:
        """Whether it is released without a person."""
        return self.answer is Answer.RELEASE


class Hopeless(str):
    """Why there is no forecast, when nobody's agreement would mend it: the change is rejected."""

    __slots__ = ()


UNFORESEEN = frozenset({Parameter.END_OF_LINE_LIMIT_UOHM})
"""Setpoints of no process: no forecast speaks for or against them, so a person decides, whatever the mode."""

HOLD = Decision(Answer.RELEASE, "stopping a station is always allowed")


def in_force(proposed: Proposed, governance: Governance) -> Mode:
    """The mode that a change is decided under: never more than what it was proposed under, or what is now."""
    return lower(proposed.mode, governance.actual)


def forbidden(proposed: Proposed, governance: Governance) -> str | None:
    """Why nothing may be released for the asset at present, whoever asks; names the guard."""
    if governance.killed:
        return "kill_switch: the kill switch is set"
    if governance.manual:
        return "override: an operator has the asset in hand"
    if not (mode := in_force(proposed, governance)).acts:
        return f"mode: the asset is in {mode} ({governance.why})"
    return None


def outside(action: SetParameter, policy: ApprovalPolicy) -> str | None:
    """Why the value is none that the twin releases, or says anything about."""
    own = policy.range(action.parameter)
    if own.holds(action.value):
        return None
    return f"{action.value:g} is outside the twin's {own.low:g} to {own.high:g}"


def no_forecast(action: SetParameter) -> str:
    """Why a person decides about a setpoint of no process."""
    return f"{action.parameter} changes no joint, so there is no forecast: a person decides, in every mode"


def overlap(one: Forecast, other: Forecast) -> float:
    """The share of two intervals that they have in common: |A ∩ B| / |A ∪ B| (Jaccard), from 0 to 1.

    1 for equal intervals, 0 for disjoint ones. Between disjoint ones the gap counts as none of either:
    A ∪ B is then the hull, which changes nothing, as A ∩ B is empty. For two intervals of width w that lie s
    apart it is (w − s) / (w + s).
    """
    common = min(one.high_uohm, other.high_uohm) - max(one.low_uohm, other.low_uohm)
    hull = max(one.high_uohm, other.high_uohm) - min(one.low_uohm, other.low_uohm)
    if hull <= 0:
        return 1.0  # both are the same point
    return max(0.0, common) / hull


def worse(do_nothing: Forecast, do_this: Forecast, policy: ApprovalPolicy) -> str | None:
    """Why a change is forecast to be clearly worse than doing nothing."""
    if do_this.expected_uohm - do_nothing.expected_uohm <= policy.allowance_uohm:
        return None
    return f"{_told(do_nothing, do_this)}: worse by more than the allowance of {policy.allowance_uohm:g} µΩ"


def decide(action: SetParameter, do_nothing: Forecast, do_this: Forecast, policy: ApprovalPolicy) -> Decision:
    """The policy's decision on a setpoint in AUTO, given both forecasts.

    With the gain g = E[do nothing] − E[do this] and the interval [l, h] of doing it:

    - outside the twin's own range, or g < −allowance: rejected;
    - g < gain and h > limit: a person, for there is a risk and nothing to gain;
    - g > claim or h > limit: the claim must be told apart, overlap ≤ policy, else a person;
    - everything else is released: a small step whose worst case is within the limit.
    """
    refused = outside(action, policy) or worse(do_nothing, do_this, policy)
    if refused is not None:
        return Decision(Answer.REJECT, refused)
    gain, told = do_nothing.expected_uohm - do_this.expected_uohm, _told(do_nothing, do_this)
    risky = do_this.high_uohm > policy.limit_uohm
    reach = f"up to {do_this.high_uohm:.1f} µΩ, over the limit of {policy.limit_uohm:g} µΩ"
    if risky and gain < policy.gain_uohm:
        return Decision(Answer.ASK, f"{told}, {reach}, and no gain of {policy.gain_uohm:g} µΩ")
    if risky or gain > policy.claim_uohm:
        share = overlap(do_nothing, do_this)
        if not share <= policy.overlap:  # also what is no number
            why = reach if risky else f"a claim of {gain:.1f} µΩ"
            return Decision(
                Answer.ASK,
                f"{told}, {why}: the intervals overlap by {share:.0%}, {policy.overlap:.0%} are allowed",
            )
    return Decision(Answer.RELEASE, told if gain >= policy.gain_uohm else f"{told}, within the allowance")


def _told(do_nothing: Forecast, do_this: Forecast) -> str:
    return f"{do_nothing.expected_uohm:.1f} → {do_this.expected_uohm:.1f} µΩ expected"


Forecasts = tuple[Forecast, Forecast] | str | None
"""Without and with a change; why there is none; or `None` for a hold."""


def answer(
    proposed: Proposed, forecasts: Forecasts, policy: ApprovalPolicy, mode: Mode, uncalibrated: str | None
) -> Decision:
    """What becomes of a change that nothing forbids, under `mode`. `uncalibrated` says why the twin's own
    forecasts are not to be trusted, if they are not."""
    action, rollback = proposed.action, proposed.rollback_of is not None
    if isinstance(action, Hold):
        return HOLD if mode is Mode.AUTO else _supervised(mode)
    by = ROLLBACK if rollback else APPROVER
    if (refused := outside(action, policy)) is not None:
        return Decision(Answer.REJECT, refused, by)
    if action.parameter in UNFORESEEN:
        return Decision(Answer.ASK, no_forecast(action))
    if rollback:
        # The last known good value. The model spoke for what is taken back, so it is not asked.
        told = f"restores what was in force before change {proposed.rollback_of}"
        return Decision(Answer.RELEASE, told, ROLLBACK) if mode is Mode.AUTO else _supervised(mode)
    if isinstance(forecasts, Hopeless):
        return Decision(Answer.REJECT, forecasts)
    if isinstance(forecasts, tuple) and (bad := worse(*forecasts, policy)) is not None:
        return Decision(Answer.REJECT, bad)
    if mode is not Mode.AUTO:
        return _supervised(mode)
    if not isinstance(forecasts, tuple):
        return Decision(Answer.ASK, f"there is no forecast: {forecasts or 'none was made'}")
    if uncalibrated is not None:
        return Decision(Answer.ASK, f"the twin's calibration is lost: {uncalibrated}")
    return decide(action, *forecasts, policy)


def _supervised(mode: Mode) -> Decision:
    return Decision(Answer.ASK, f"in {mode} a person approves each change")
