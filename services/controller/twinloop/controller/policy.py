"""What may be done to an asset, and by which figures: the shape of `controller.toml`.

`[defaults]` is complete; a table under `[assets]` overrides it field by field. An asset that is not listed
has the defaults.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveFloat, model_validator

from twinloop.contracts.changes import Parameter
from twinloop.contracts.modes import Mode
from twinloop.controller.rules import (
    AskingPolicy,
    CooldownPolicy,
    DiagnosisPolicy,
    EstimatorPolicy,
    ExpiryPolicy,
    FocusPolicy,
    InputPolicy,
    Limits,
    PersistencePolicy,
    VerificationPolicy,
)
from twinloop.runtime.tables import Table


class AssetPolicy(Table):
    """Everything about one asset. `highest_mode` is a ceiling: a request beyond it is refused."""

    highest_mode: Mode
    target_depth_mm: PositiveFloat
    nominal_power_w: PositiveFloat
    input: InputPolicy
    diagnosis: DiagnosisPolicy
    persistence: PersistencePolicy
    laser_power_w: Limits
    focus_mm: Limits
    end_of_line_limit_uohm: Limits
    estimator: EstimatorPolicy
    focus: FocusPolicy
    cooldown: CooldownPolicy
    verification: VerificationPolicy
    expiry: ExpiryPolicy
    field: AskingPolicy = AskingPolicy()

    def limits(self, parameter: Parameter) -> Limits:
        """Those of `parameter`."""
        return {
            Parameter.LASER_POWER_W: self.laser_power_w,
            Parameter.FOCUS_MM: self.focus_mm,
            Parameter.END_OF_LINE_LIMIT_UOHM: self.end_of_line_limit_uohm,
        }[parameter]


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
