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


class ApprovalPolicy(Table):
    """What may be released without a person.

    A change must be forecast to bring the resistance down by `gain_uohm`, or to leave it within
    `allowance_uohm` of what it is and its interval below `limit_uohm`. Setpoints stay within the twin's own
    ranges.
    """

    gain_uohm: NonNegativeFloat
    allowance_uohm: NonNegativeFloat
    limit_uohm: PositiveFloat
    power_w: Range
    focus_mm: Range


class Asset(Table):
    """One asset: the name of its process model, and what may be done."""

    model: str
    estimate: EstimatePolicy
    approval: ApprovalPolicy


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
