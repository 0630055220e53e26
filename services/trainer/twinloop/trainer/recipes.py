"""What is fitted on which signal set: signals, windows and features. Pure.

The signals are the columns of a frame, in order; they never change under one name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from twinloop.features.windows import WindowSpec


class Statistic(StrEnum):
    """What is taken of each signal over a window."""

    MEAN = "mean"
    STD = "std"
    """Population standard deviation."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How windows of a signal set are cut, and which statistics of every signal are features."""

    signal_set: str
    spec: WindowSpec
    statistics: tuple[Statistic, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the K features in the order of a model's columns: statistic by statistic."""
        return tuple(f"{signal}.{statistic}" for statistic in self.statistics for signal in self.spec.signals)


WELD: Final = Recipe(
    "weld.v1",
    WindowSpec(
        window=300,
        hop=300,
        signals=(
            "plasma",
            "window_temperature_c",
            "back_reflection",
            "oct_depth_mm",
            "gas_flow_l_min",
            "clamp_force_n",
        ),
    ),
    (Statistic.MEAN, Statistic.STD),
)
"""A window is a weld."""

SKAB: Final = Recipe(
    "skab.v1",
    WindowSpec(
        window=10,
        hop=1,
        signals=(
            "Accelerometer1RMS",
            "Accelerometer2RMS",
            "Current",
            "Pressure",
            "Temperature",
            "Thermocouple",
            "Voltage",
            "Volume Flow RateRMS",
        ),
    ),
    (Statistic.MEAN,),
)
"""A window ends with every row: about ten seconds of the water circuit."""

RECIPES: Final = {one.signal_set: one for one in (WELD, SKAB)}
