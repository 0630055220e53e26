"""What the TOML files of services are made of. Pure."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator


class Table(BaseModel):
    """A table of a file: an unknown name in it is an error, not a typing mistake that goes unseen."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(Table):
    """From `low` to `high`, both allowed."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        return self

    def clamp(self, value: float) -> float:
        """The nearest value inside."""
        return min(max(value, self.low), self.high)

    def holds(self, value: float) -> bool:
        """Whether `value` is inside. Not a number never is."""
        return self.low <= value <= self.high
