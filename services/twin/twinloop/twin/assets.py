"""What the twin is told: the shape of `twin.toml`. Assets, and the process model that each follows."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from twinloop.contracts.changes import Parameter
from twinloop.runtime.tables import Range, Table


class EstimatePolicy(Table):
    """From the last `parts`; `minimum` of them at least, and the newest at most `stale_s` old.

    `gap_plasma`: so much plasma beyond what the energy explains is a gap between the sheets.
    """

    parts: PositiveInt
    minimum: PositiveInt
    stale_s: PositiveFloat
    gap_plasma: PositiveFloat = 0.25


class ApprovalPolicy(Table):
    """What may be released, by whom, and for how long.

    The policy releases a change that is forecast to bring the resistance down by `gain_uohm`, or to leave it
    within `allowance_uohm` of what it is and its interval below `limit_uohm`. A change that claims more than
    `claim_uohm`, or whose interval reaches above `limit_uohm`, must also be told apart from doing nothing:
    the intervals overlap by no more than `overlap` (`approve.overlap`). `power_w`, `focus_mm` and
    `end_of_line_limit_uohm` are the twin's own ranges; where its model holds, the model says.

    With `four_eyes` two persons must agree with a setpoint that a person decides about. A released command is
    valid for `valid_s`.
    """

    gain_uohm: NonNegativeFloat
    allowance_uohm: NonNegativeFloat
    limit_uohm: PositiveFloat
    claim_uohm: NonNegativeFloat
    overlap: Annotated[float, Field(ge=0, le=1)]
    power_w: Range
    focus_mm: Range
    end_of_line_limit_uohm: Range
    four_eyes: bool = False
    valid_s: PositiveFloat = 5.0

    def range(self, parameter: Parameter) -> Range:
        """The twin's own of `parameter`."""
        return {
            Parameter.LASER_POWER_W: self.power_w,
            Parameter.FOCUS_MM: self.focus_mm,
            Parameter.END_OF_LINE_LIMIT_UOHM: self.end_of_line_limit_uohm,
        }[parameter]


class CalibrationPolicy(Table):
    """What the twin's own record must be for it to release anything by itself.

    An outcome is the mean resistance of the first `parts` parts after a change, against its forecast. Of the
    last `outcomes`, once there are `minimum`, the share `coverage` must lie within the interval, and the mean
    error must be within `bias_uohm`.
    """

    parts: PositiveInt
    outcomes: PositiveInt
    minimum: PositiveInt
    coverage: Annotated[float, Field(ge=0, le=1)]
    bias_uohm: PositiveFloat

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.minimum > self.outcomes:
            raise ValueError("minimum must not exceed outcomes")
        return self


class Asset(Table):
    """One asset: the name of its process model, a folder of `TWINLOOP_TWIN_MODELS`, and what may be done."""

    process: Annotated[str, Field(pattern=r"^[^./][^/]*$")]
    estimate: EstimatePolicy
    approval: ApprovalPolicy
    calibration: CalibrationPolicy


class TwinAssets(Table):
    """The whole file."""

    assets: Annotated[dict[str, Asset], Field(min_length=1)]
