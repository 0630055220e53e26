"""The figures that decisions go by: one table of `controller.toml` a rule. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from twinloop.contracts.changes import Diagnosis
from twinloop.contracts.modes import Mode
from twinloop.runtime.tables import Range, Table

PARTS_KEPT = 64
"""A station remembers this many parts; verification must be decided within them."""


class Limits(Table):
    """Of one parameter, in its unit.

    `hard` holds `operator` holds `validity`, in which the model's verdicts mean something. `baseline` is the
    nominal setpoint, `authority` how far from it everything taken together may lead, `hourly_travel`
    the sum of all moves in an hour. `tolerance`: how near a part's setpoint is to the one applied.
    """

    hard: Range
    operator: Range
    validity: Range
    step: PositiveFloat
    hourly_travel: PositiveFloat
    baseline: float
    authority: PositiveFloat
    deadband: PositiveFloat
    tolerance: PositiveFloat

    @model_validator(mode="after")
    def _nested(self) -> Self:
        if not (self.hard.holds(self.operator.low) and self.hard.holds(self.operator.high)):
            raise ValueError("the operator's range must lie within the hard range")
        if not (self.operator.holds(self.validity.low) and self.operator.holds(self.validity.high)):
            raise ValueError("the model's validity must lie within the operator's range")
        if not self.validity.holds(self.baseline):
            raise ValueError("the baseline must lie within the model's validity")
        if self.hourly_travel < 2 * self.step:
            raise ValueError("hourly_travel must leave room for a step and for taking it back")
        return self

    @property
    def reach(self) -> Range:
        """How far authority leads from the baseline."""
        return Range(low=self.baseline - self.authority, high=self.baseline + self.authority)

    @property
    def room(self) -> Range:
        """Where proposals are clamped to: the operator's range, the model's validity and our authority."""
        return Range(
            low=max(self.operator.low, self.validity.low, self.reach.low),
            high=min(self.operator.high, self.validity.high, self.reach.high),
        )


class InputPolicy(Table):
    """When a reading is good enough to be acted on.

    `period_s`: while the line runs, a part is made at least as often; nothing older than three periods is
    acted on. `depth_jump_mm`: two parts in succession do not differ by more. A value that is identical over
    `frozen_parts` parts is frozen: these measurements have noise. `hold_parts` bad parts in succession, or as
    many that were made and never told of, shed the asset.
    """

    period_s: PositiveFloat
    resistance_range_uohm: Range
    depth_jump_mm: PositiveFloat
    frozen_parts: Annotated[int, Field(ge=3, le=8)]
    hold_parts: Annotated[int, Field(ge=1, le=16)]

    @property
    def age_s(self) -> float:
        """Older than this, in seconds, nothing is acted on."""
        return 3 * self.period_s


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


class AgreementPolicy(Table):
    """What the sensors of one part must agree on, see `agreement.py`: figures of the process.

    `heating_c`: so much warmer an opaque window would be at nominal power. `temperature_sigma_c`: one
    deviation of its temperature. `coupling_exponent`: of the coupled power over the distance from focus.

    `cold`: so many deviations below the reference no window is. `power`: so far from 1 the coupling must be
    for a power error. `coupling` is how wrong the coupling may be, relative, `reflection` how wrong the
    reflection (natural logarithm). Less depth than `least_depth_mm`, or transmission than
    `least_transmission`, says nothing more.
    """

    heating_c: PositiveFloat
    temperature_sigma_c: PositiveFloat
    coupling_exponent: PositiveFloat
    cold: PositiveFloat
    power: PositiveFloat
    coupling: PositiveFloat
    reflection: PositiveFloat
    least_depth_mm: PositiveFloat
    least_transmission: Annotated[float, Field(gt=0, lt=1)]


class GapPolicy(Table):
    """When a gap stops the station: `parts` of those that show one measure above `confirmed_uohm`; or the
    plasma is `strong` (deviations above what depth tells) on as many whose joint is not measured yet.

    Everything else is a gap that makes no scrap, or a plasma sensor that is wrong: a person is called.
    """

    parts: Annotated[int, Field(ge=1)]
    confirmed_uohm: PositiveFloat
    strong: PositiveFloat


class ScrapPolicy(Table):
    """When a station that makes scrap is stopped, whatever the diagnosis: `bad` of the last `parts` parts
    measure above the limit of `verification` or did not pass the quality gate in force, and no change was
    applied to the process within these parts.

    After `failures` changes in a row that failed, no setpoint is tried any more, and `bad_then` of the last
    `parts_then` parts suffice.
    """

    bad: Annotated[int, Field(ge=1)]
    parts: Annotated[int, Field(ge=1, le=PARTS_KEPT)]
    failures: Annotated[int, Field(ge=2)]
    bad_then: Annotated[int, Field(ge=1)]
    parts_then: Annotated[int, Field(ge=1, le=PARTS_KEPT)]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.bad > self.parts or self.bad_then > self.parts_then:
            raise ValueError("so many parts cannot be bad")
        return self


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
    """By diagnosis. What is unknown is never acted on; for a sensor fault a person is called."""

    dirty_window: Persistence
    defocus: Persistence
    gap: Persistence
    power_error: Persistence
    sensor_fault: Persistence

    def of(self, diagnosis: Diagnosis) -> Persistence | None:
        """`None` for what no action follows from."""
        return {
            Diagnosis.DIRTY_WINDOW: self.dirty_window,
            Diagnosis.DEFOCUS: self.defocus,
            Diagnosis.GAP: self.gap,
            Diagnosis.POWER_ERROR: self.power_error,
            Diagnosis.SENSOR_FAULT: self.sensor_fault,
        }.get(diagnosis)


class EstimatorPolicy(Table):
    """The run-to-run controller, see `estimate.py`: one average (`ewma`) or two (`double`).

    `weight` is lambda, `gain_mm_per_w` is b, `trend_weight` the second lambda of `double`. An estimate that
    no part has fed for `memory_parts` parts is forgotten.
    """

    kind: Literal["ewma", "double"]
    weight: Annotated[float, Field(gt=0, le=1)]
    trend_weight: Annotated[float, Field(gt=0, le=1)]
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
    """On `parts` parts, which must come within `patience_parts`. See `verify.py` for the figures.

    `limit_uohm`: above it, or a tighter gate, on average, nothing is called verified. `hard_limit_uohm`:
    above it a joint is broken. `cusum_k` and `cusum_h` are in standard deviations. A hold must be quiet for
    `hold_quiet_s`.
    """

    parts: Annotated[int, Field(ge=2)]
    patience_parts: Annotated[int, Field(le=PARTS_KEPT)]
    limit_uohm: PositiveFloat
    hard_limit_uohm: PositiveFloat
    sensor_sigma_uohm: PositiveFloat
    drift_allowance_uohm: Annotated[float, Field(ge=0)]
    cusum_k: PositiveFloat
    cusum_h: PositiveFloat
    hold_quiet_s: PositiveFloat

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.patience_parts <= self.parts:
            raise ValueError("patience_parts must exceed parts")
        if self.hard_limit_uohm <= self.limit_uohm:
            raise ValueError("hard_limit_uohm must exceed limit_uohm")
        return self


class AskingPolicy(Table):
    """What vehicles tell waits for a person for `decide_within_s`, and as long for guards to be content."""

    decide_within_s: PositiveFloat = 7 * 24 * 3600.0


class ExpiryPolicy(Table):
    """Seconds. Who decides on a proposal has `supervised_s` or `auto_s` for it, by the mode it was made in.

    What nobody applied is given up `grace_s` after that, what was issued without a known outcome `outcome_s`
    after that. `grace_s` covers the time that a release made in the last moment is valid.
    """

    supervised_s: PositiveFloat
    auto_s: PositiveFloat
    grace_s: PositiveFloat
    outcome_s: PositiveFloat

    def decision_s(self, mode: Mode) -> float:
        """How long a proposal made in `mode` may be decided on."""
        return self.auto_s if mode is Mode.AUTO else self.supervised_s
