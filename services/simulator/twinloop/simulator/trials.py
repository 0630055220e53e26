"""Trials: what a person welds at the machine, setpoint by setpoint, while the loop is open. Pure.

They are how a station is commissioned: a small designed experiment over power and focus, some of it under a
test glass in the place of the protective window, before anything models the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from twinloop.simulator.plc import FOCUS, POWER, PlcState
from twinloop.simulator.process import Conditions


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`welds` parts at these setpoints; `transmission` is that of the test glass, 1 for the window itself."""

    power_w: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    focus_mm: Annotated[float, Field(allow_inf_nan=False)]
    welds: Annotated[int, Field(ge=1)]
    transmission: Annotated[float, Field(gt=0, le=1)] = 1.0

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def trial_of(trials: Sequence[Trial], number: int) -> Trial | None:
    """The trial that weld `number`, from 0 within the campaign, is part of; `None` after the last."""
    for one in trials:
        if number < one.welds:
            return one
        number -= one.welds
    return None


def ends_at(trials: Sequence[Trial], number: int) -> bool:
    """Whether weld `number` is the first one after the last trial."""
    return number > 0 and number == sum(one.welds for one in trials)


def set_at_the_machine(plc: PlcState, trial: Trial | None) -> PlcState:
    """The PLC with the trial's setpoints, or nominal ones after the last. Its own limits hold here, too."""
    wanted = {} if trial is None else {POWER: trial.power_w, FOCUS: trial.focus_mm}
    setpoints = {
        name: min(one.high, max(one.low, wanted.get(name, one.nominal))) for name, one in plc.ranges.items()
    }
    return replace(plc, setpoints=setpoints)


def under_glass(conditions: Conditions, trial: Trial | None) -> Conditions:
    """The conditions with the trial's test glass in the beam."""
    if trial is None:
        return conditions
    return replace(conditions, window_transmission=conditions.window_transmission * trial.transmission)
