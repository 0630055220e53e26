"""What may be written to each station: the shape of `line.toml`.

It is this service's own. Nothing here is ever taken from a message, and nothing is inherited: the table of a
station is complete, so that its limits can be read in one place.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, model_validator

from twinloop.contracts.changes import Parameter
from twinloop.contracts.modes import Mode
from twinloop.runtime.tables import Range, Table


class ParameterLimits(Table):
    """Of one parameter, in its unit.

    `validity`: where the models' answers hold, when that is less than the operator's range. `step` is the
    most that one command may change, `hourly_travel` the most that all commands of an hour may, added up
    whatever their direction, and `authority` how far from `baseline` they may lead in the end. `tolerance`:
    how near the device must come to the commanded value.
    """

    hard: Range
    operator: Range
    validity: Range | None = None
    baseline: float
    step: PositiveFloat
    hourly_travel: PositiveFloat
    authority: PositiveFloat
    deadband: PositiveFloat
    tolerance: PositiveFloat

    @model_validator(mode="after")
    def _nested(self) -> Self:
        if not (self.hard.holds(self.operator.low) and self.hard.holds(self.operator.high)):
            raise ValueError("the operator's range must lie within the hard range")
        if self.validity is not None and not (
            self.operator.holds(self.validity.low) and self.operator.holds(self.validity.high)
        ):
            raise ValueError("the models' validity must lie within the operator's range")
        if not self.operator.holds(self.baseline):
            raise ValueError("the baseline must lie within the operator's range")
        if not self.deadband < self.step:
            raise ValueError("the deadband must be smaller than the step")
        if not self.step <= self.hourly_travel:
            raise ValueError("the travel of an hour must allow at least one step")
        return self


class Cooldown(Table):
    """So many parts and seconds after every command, whether it was applied or failed."""

    parts: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]


class StationLimits(Table):
    """`station` is its name on the PLC; `read_back_s`: by when the device must hold a commanded value.

    `highest_mode` is the ceiling of this service's own: whatever the log says, no more than that is done.
    `beat_s` is the period of the heartbeat: the PLC's watchdog must wait for more than three of them.
    """

    station: Annotated[str, Field(min_length=1)]
    highest_mode: Mode
    beat_s: PositiveFloat
    laser_power_w: ParameterLimits
    focus_mm: ParameterLimits
    end_of_line_limit_uohm: ParameterLimits
    cooldown: Cooldown
    read_back_s: PositiveFloat

    def of(self, parameter: Parameter) -> ParameterLimits:
        """Those of `parameter`."""
        return {
            Parameter.LASER_POWER_W: self.laser_power_w,
            Parameter.FOCUS_MM: self.focus_mm,
            Parameter.END_OF_LINE_LIMIT_UOHM: self.end_of_line_limit_uohm,
        }[parameter]


class LineLimits(Table):
    """The whole file: stations by asset path. Changes of other assets are none of this service's."""

    assets: Annotated[dict[str, StationLimits], Field(min_length=1)]
