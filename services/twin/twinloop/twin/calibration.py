"""Whether the twin's forecasts come true: forecast against outcome, for every change that was applied. Pure.

An outcome is the mean resistance, as measured at end of line, of the first n parts that were made with a
changed setpoint. It is held against the forecast that the change was released on:

- coverage: the share of outcomes within the 95 % interval. The interval is that of single parts, so a mean
  lies within it more often than 95 times in 100 while the model is right;
- bias: the mean of outcome − expected value, in micro-ohm.

A change that had to be rolled back is a miss, whatever was measured by then: the forecast spoke for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from twinloop.contracts.changes import Applied, Forecast, Parameter, Proposed, SetParameter
from twinloop.contracts.events import JointWelded
from twinloop.twin.assets import CalibrationPolicy

_JOINTS_KEPT = 128
_PATIENCE = 3
"""So many times the parts that are measured may be made until enough were made with the setpoint."""
_SAME = {
    Parameter.LASER_POWER_W: 0.5,
    Parameter.FOCUS_MM: 0.005,
    Parameter.END_OF_LINE_LIMIT_UOHM: 0.05,
}
"""Setpoints so near each other are the same, in their unit: what is read back is rounded."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a forecast. `measured_uohm` is `None` where a change was rolled back unmeasured."""

    change_id: str
    forecast: Forecast
    measured_uohm: float | None
    rolled_back: bool = False

    @property
    def covered(self) -> bool:
        """Whether the interval held what was measured."""
        if self.measured_uohm is None or self.rolled_back:
            return False
        return self.forecast.low_uohm <= self.measured_uohm <= self.forecast.high_uohm

    @property
    def error_uohm(self) -> float | None:
        """Measured less expected."""
        return None if self.measured_uohm is None else self.measured_uohm - self.forecast.expected_uohm


@dataclass(frozen=True, slots=True)
class Calibration:
    """The record of the last outcomes. `problem` says why it is lost; with too few it is not."""

    outcomes: int
    coverage: float | None
    bias_uohm: float | None
    problem: str | None


def calibration(outcomes: Sequence[Outcome], policy: CalibrationPolicy) -> Calibration:
    """Of `outcomes`, oldest first, the last ones that the policy asks for."""
    last = list(outcomes)[-policy.outcomes :]
    if not last:
        return Calibration(0, None, None, None)
    coverage = fmean(one.covered for one in last)
    errors = [error for one in last if (error := one.error_uohm) is not None]
    bias = fmean(errors) if errors else None
    problem = None
    if len(last) >= policy.minimum:
        if coverage < policy.coverage:
            problem = (
                f"{coverage:.0%} of the last {len(last)} outcomes were within their interval, "
                f"{policy.coverage:.0%} are asked for"
            )
        elif bias is not None and abs(bias) > policy.bias_uohm:
            problem = (
                f"the last {len(last)} outcomes were {bias:+.1f} µΩ off on average, "
                f"{policy.bias_uohm:g} µΩ are allowed"
            )
    return Calibration(len(last), coverage, bias, problem)


class Joints:
    """The newest joints of each of `assets`; others are ignored."""

    def __init__(self, assets: Sequence[str]) -> None:
        self._joints: dict[str, deque[JointWelded]] = {one: deque(maxlen=_JOINTS_KEPT) for one in assets}
        self._touched: set[str] = set()

    def made(self, joint: JointWelded) -> None:
        """Take a joint. What is late or told again changes nothing; a new count is followed."""
        joints = self._joints.get(joint.asset)
        if joints is None:
            return
        if joints and joint.sequence <= joints[-1].sequence:
            if joint.observed_at <= joints[-1].observed_at:
                return
            joints.clear()
        joints.append(joint)
        self._touched.add(joint.asset)

    def newest(self, asset: str) -> JointWelded | None:
        """The last one made."""
        joints = self._joints.get(asset)
        return joints[-1] if joints else None

    def touched(self) -> set[str]:
        """Assets with joints since this was last asked."""
        touched, self._touched = self._touched, set()
        return touched

    def measured(self, proposed: Proposed, applied: Applied, parts: int) -> float | None:
        """The mean resistance in micro-ohm of the first `parts` parts made with what was applied; `None`
        while there are not so many, and for a hold."""
        action, actual = proposed.action, applied.actual
        if not isinstance(action, SetParameter) or not isinstance(actual, int | float):
            return None
        since, until = applied.part_counter, applied.part_counter + _PATIENCE * parts
        made = [
            one.resistance_uohm
            for one in self._joints.get(proposed.asset, ())
            if since < one.sequence <= until
            and abs(setpoint(one, action.parameter) - actual) <= _SAME[action.parameter]
        ]
        return fmean(made[:parts]) if len(made) >= parts else None


def setpoint(joint: JointWelded, parameter: Parameter) -> float:
    """What was in force while a joint was made."""
    return {
        Parameter.LASER_POWER_W: joint.power_w,
        Parameter.FOCUS_MM: joint.focus_mm,
        Parameter.END_OF_LINE_LIMIT_UOHM: joint.limit_uohm,
    }[parameter]
