"""What the slow loop is told: the shape of `field.toml`. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, PositiveFloat, PositiveInt, model_validator

from twinloop.controller.field.policy import FieldPolicy, Grid
from twinloop.runtime.tables import Table


class FieldRules(Table):
    """The whole file. All but `origin` has the figures that `docs/slow-loop.md` was measured with.

    `origin`, `bin_h`, `bins` and `lengths` make the build windows that are looked at (`policy.Grid`): whoever
    changes them begins a new family of hypotheses. A look is made every `look_h` of the vehicles' time, and
    no more often than every `look_s` of ours.
    `limit_uohm` is the nominal quality gate at end of line; only a tighter one is worth asking about.
    `model` judges the minutes; none from more than `ahead_s` in the future by our clock is. It must not be
    less than what ingest lets in (`TWINLOOP_INGEST_MAX_AHEAD_S`, 60), and a little for its clock. `waiting`
    minutes of a vehicle that nobody has built yet are kept, and `waiting_in_all` of all such vehicles: one of
    a hundred cell groups takes 22 kB.
    """

    origin: AwareDatetime
    bin_h: PositiveFloat = 8.0
    bins: PositiveInt = 270
    lengths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 3, 6, 9, 12, 18, 24)
    look_h: PositiveFloat = 168.0
    look_s: PositiveFloat = 10.0
    limit_uohm: PositiveFloat = 55.0
    model: Annotated[str, Field(min_length=1)] = "cells"
    ahead_s: PositiveFloat = 65.0
    waiting: PositiveInt = 64
    waiting_in_all: PositiveInt = 4096
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.02
    ratios: Annotated[tuple[Annotated[float, Field(gt=1)], ...], Field(min_length=1)] = (5.0, 20.0, 100.0)
    least_vehicles: PositiveInt = 3
    class_km: PositiveFloat = 500.0
    class_factor: Annotated[float, Field(gt=1)] = 1.5
    fresh_weeks: PositiveInt = 4
    least_at_risk: PositiveInt = 10

    @model_validator(mode="after")
    def _within(self) -> Self:
        if max(self.lengths) > self.bins:
            raise ValueError("no length may exceed bins")
        return self

    @property
    def grid(self) -> Grid:
        """The windows."""
        return Grid(self.origin, self.bin_h, self.bins, tuple(self.lengths))

    @property
    def policy(self) -> FieldPolicy:
        """How sure it must be."""
        return FieldPolicy(
            alpha=self.alpha,
            ratios=tuple(self.ratios),
            least_vehicles=self.least_vehicles,
            class_km=self.class_km,
            class_factor=self.class_factor,
            fresh_weeks=self.fresh_weeks,
            least_at_risk=self.least_at_risk,
        )

    def look_before(self, at: datetime) -> datetime:
        """The last moment to look from that is not after `at`."""
        step = timedelta(hours=self.look_h)
        return self.origin + (at - self.origin) // step * step
