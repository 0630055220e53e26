"""What may be done to an asset, and by which figures: the shape of `controller.toml`.

`[defaults]` is complete; a table under `[assets]` overrides it field by field. An asset that is not listed
has the defaults.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, PositiveFloat, model_validator

from twinloop.contracts.changes import Diagnosis, Parameter
from twinloop.runtime.tables import Range, Table

PARTS_KEPT = 64
"""A station remembers this many parts; verification must be decided within them."""


class Mode(StrEnum):
    """How far the controller may go. Only a person promotes, one step at a time."""

    OFF = "off"
    SHADOW = "shadow"
    SUPERVISED = "supervised"
    AUTO = "auto"


class Limits(Table):
    """Of one parameter, in its unit. `tolerance`: how near a part's setpoint is to the one applied."""

    hard: Range
    operator: Range
    step: PositiveFloat
    deadband: PositiveFloat
    tolerance: PositiveFloat

    @model_validator(mode="after")
    def _nested(self) -> Self:
        if not (self.hard.holds(self.operator.low) and self.hard.holds(self.operator.high)):
            raise ValueError("the operator's range must lie within the hard range")
        return self


class DiagnosisPolicy(Table):
    """Where signatures begin, in standard deviations from the model's reference.

    A window temperature above `temperature_warm` is that of a dirty window, below `temperature_normal`
    that of a clean one, between them nobody knows. Plasma follows depth with `plasma_per_depth`
    (deviations a deviation); the band around it is `plasma` wide and grows with `plasma_slope_error`.
    """

    temperature_warm: PositiveFloat
    temperature_normal: PositiveFloat
    depth: PositiveFloat
    reflection: PositiveFloat
    plasma: PositiveFloat
    plasma_per_depth: float
    plasma_slope_error: Annotated[float, Field(ge=0)]
    depth_range_mm: Range
    reflection_range: Range


class Persistence(Table):
    """So many `parts` of the last `of` must tell the same before anything is proposed."""

    parts: Annotated[int, Field(ge=1)]
    of: Annotated[int, Field(ge=1, le=32)]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.parts > self.of:
            raise ValueError("parts cannot exceed of")
        return self


class PersistencePolicy(Table):
    """By diagnosis. What is unknown is never acted on."""

    dirty_window: Persistence
    defocus: Persistence
    gap: Persistence

    def of(self, diagnosis: Diagnosis) -> Persistence | None:
        """`None` for what no action follows from."""
        return {
            Diagnosis.DIRTY_WINDOW: self.dirty_window,
            Diagnosis.DEFOCUS: self.defocus,
            Diagnosis.GAP: self.gap,
        }.get(diagnosis)


class EstimatorPolicy(Table):
    """EWMA: `weight` is its lambda, `gain_mm_per_w` its b. An estimate that no part has fed for
    `memory_parts` parts is forgotten."""

    weight: Annotated[float, Field(gt=0, le=1)]
    gain_mm_per_w: PositiveFloat
    memory_parts: Annotated[int, Field(ge=1)]


class FocusPolicy(Table):
    """How depth and back reflection depend on the distance from focus.

    The depth deficit is `deficit_mm_per_mm2` times the square of the distance. The reflection is largest
    `reflection_focus_mm` from focus, on its positive side, and falls off with `rayleigh_mm` around that. A
    direction is taken when it fits the reflection better than the other by `reflection_margin` (natural
    logarithm).
    """

    deficit_mm_per_mm2: PositiveFloat
    reflection_focus_mm: PositiveFloat
    rayleigh_mm: PositiveFloat
    reflection_margin: PositiveFloat


class CooldownPolicy(Table):
    """Since a change was applied or failed: both must have passed."""

    parts: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]


class VerificationPolicy(Table):
    """On `parts` parts, which must come within `patience_parts`. See `verify.judge`.

    A hold must be quiet for `hold_quiet_s`.
    """

    parts: Annotated[int, Field(ge=2)]
    patience_parts: Annotated[int, Field(le=PARTS_KEPT)]
    limit_uohm: PositiveFloat
    sensor_sigma_uohm: PositiveFloat
    drift_allowance_uohm: Annotated[float, Field(ge=0)]
    hold_quiet_s: PositiveFloat

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.patience_parts <= self.parts:
            raise ValueError("patience_parts must exceed parts")
        return self


class ExpiryPolicy(Table):
    """Seconds. A proposal is valid for `proposal_s`; what nobody applied is given up `grace_s` later, what
    was issued without a known outcome `outcome_s` later. Evidence older than `evidence_s` proposes nothing.
    """

    proposal_s: PositiveFloat
    grace_s: PositiveFloat
    outcome_s: PositiveFloat
    evidence_s: PositiveFloat


class AssetPolicy(Table):
    """Everything about one asset."""

    mode: Mode
    target_depth_mm: PositiveFloat
    nominal_power_w: PositiveFloat
    diagnosis: DiagnosisPolicy
    persistence: PersistencePolicy
    laser_power_w: Limits
    focus_mm: Limits
    estimator: EstimatorPolicy
    focus: FocusPolicy
    cooldown: CooldownPolicy
    verification: VerificationPolicy
    expiry: ExpiryPolicy

    def limits(self, parameter: Parameter) -> Limits:
        """Those of `parameter`."""
        return self.laser_power_w if parameter is Parameter.LASER_POWER_W else self.focus_mm


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for name, value in above.items():
        under = both.get(name)
        both[name] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return both


class ControllerPolicy(Table):
    """The whole file."""

    defaults: AssetPolicy
    assets: dict[str, AssetPolicy] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("defaults"), dict):
            assets = data.get("assets", {})
            if isinstance(assets, dict):
                merged = {
                    name: _merged(data["defaults"], own) if isinstance(own, dict) else own
                    for name, own in assets.items()
                }
                return {**data, "assets": merged}
        return data

    def of(self, asset: str) -> AssetPolicy:
        """The asset's own, or the defaults."""
        return self.assets.get(asset, self.defaults)
