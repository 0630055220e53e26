"""What the twin knows: the shape of `twin.toml`. Process models by name, and assets that follow one."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from twinloop.runtime.tables import Range, Table


class WeldModel(Table):
    """The constants of `process`, from trials at the nominal point. Symbols are those of its formulas."""

    nominal_power_w: PositiveFloat
    nominal_depth_mm: PositiveFloat
    depth_exponent: PositiveFloat
    focus_width_mm: PositiveFloat
    ambient_c: float
    heating_c: PositiveFloat
    reflection_focus_mm: float
    reflection_width_mm: PositiveFloat
    nominal_plasma: PositiveFloat
    plasma_slope: NonNegativeFloat
    gap_plasma: PositiveFloat
    sheet_mm: PositiveFloat
    bulk_uohm: PositiveFloat
    contact_uohm_mm: PositiveFloat
    deep_mm: PositiveFloat
    deep_uohm_mm2: NonNegativeFloat
    open_uohm: PositiveFloat
    depth_sigma_mm: PositiveFloat
    temperature_sigma_c: PositiveFloat
    reflection_sigma: PositiveFloat


class EstimatePolicy(Table):
    """From the last `parts`; `minimum` of them at least, and the newest at most `stale_s` old."""

    parts: PositiveInt
    minimum: PositiveInt
    stale_s: PositiveFloat


class Validity(Table):
    """The setpoints that the process model was fitted on. Beyond them it extrapolates."""

    power_w: Range
    focus_mm: Range


class ApprovalPolicy(Table):
    """What may be released, by whom, and for how long.

    The policy releases a change that is forecast to bring the resistance down by `gain_uohm`, or to leave it
    within `allowance_uohm` of what it is and its interval below `limit_uohm`. A change that claims more than
    `claim_uohm`, or whose interval reaches above `limit_uohm`, must also be told apart from doing nothing:
    the intervals overlap by no more than `overlap` (`approve.overlap`). `power_w` and `focus_mm` are the
    twin's own ranges, `validity` those that its model can speak of.

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
    validity: Validity
    four_eyes: bool = False
    valid_s: PositiveFloat = 5.0

    @model_validator(mode="after")
    def _nested(self) -> Self:
        for name in ("power_w", "focus_mm"):
            valid, own = getattr(self.validity, name), getattr(self, name)
            if not (own.holds(valid.low) and own.holds(valid.high)):
                raise ValueError(f"validity.{name} must lie within {name}")
        return self


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
    """One asset: the name of its process model, and what may be done."""

    model: str
    estimate: EstimatePolicy
    approval: ApprovalPolicy
    calibration: CalibrationPolicy


class TwinAssets(Table):
    """The whole file."""

    models: Annotated[dict[str, WeldModel], Field(min_length=1)]
    assets: Annotated[dict[str, Asset], Field(min_length=1)]

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = sorted({one.model for one in self.assets.values()} - set(self.models))
        if unknown:
            raise ValueError(
                f"no such model: {', '.join(unknown)}; there are {', '.join(sorted(self.models))}"
            )
        return self
