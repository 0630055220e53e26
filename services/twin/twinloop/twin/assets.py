"""What the twin is told: the shape of `twin.toml`. Assets, and the process model that each follows."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
)

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
    """One asset: the name of its process model, a folder of `TWINLOOP_TWIN_MODELS`, and what may be done."""

    process: Annotated[str, Field(pattern=r"^[^./][^/]*$")]
    estimate: EstimatePolicy
    approval: ApprovalPolicy


class TwinAssets(Table):
    """The whole file."""

    assets: Annotated[dict[str, Asset], Field(min_length=1)]
