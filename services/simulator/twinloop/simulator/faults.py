"""What can be wrong with a station, as plain values: each from weld `start` on, up to (not with) `until`.

Welds are counted from 0 within a campaign. Three kinds: what the process does (`conditions`), what the
sensors say of it (`disturb_signals`), and how the edge node publishes it (see `publisher`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from twinloop.simulator.process import SAMPLES, SIGNALS, Conditions

Signal: TypeAlias = Literal[
    "plasma", "window_temperature_c", "back_reflection", "oct_depth_mm", "gas_flow_l_min", "clamp_force_n"
]

Count: TypeAlias = Annotated[int, Field(ge=0)]
Every: TypeAlias = Annotated[int, Field(ge=1)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Positive: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class _Fault:
    start: Count
    until: Count | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def active(self, number: int) -> bool:
        """True while the fault is there at weld `number`."""
        return self.start <= number and (self.until is None or number < self.until)


@dataclass(frozen=True, kw_only=True)
class WindowDrift(_Fault):
    """The protective window gets dirtier with every weld: its transmission changes by `per_weld`."""

    kind: Literal["window_drift"] = "window_drift"
    per_weld: Finite = -0.0004


@dataclass(frozen=True, kw_only=True)
class WindowStep(_Fault):
    """The protective window is dirty at once: it lets `transmission` of the light through."""

    transmission: Fraction
    kind: Literal["window_step"] = "window_step"


@dataclass(frozen=True, kw_only=True)
class Defocus(_Fault):
    """The focus is `offset_mm` away from where the setpoint says."""

    offset_mm: Finite
    kind: Literal["defocus"] = "defocus"


@dataclass(frozen=True, kw_only=True)
class Gap(_Fault):
    """The clamp leaves a mean gap of `gap_um` between the sheets."""

    gap_um: Positive
    kind: Literal["gap"] = "gap"


@dataclass(frozen=True, kw_only=True)
class LocalGap(_Fault):
    """A gap of `gap_um` in the middle third of the seam."""

    gap_um: Positive
    kind: Literal["local_gap"] = "local_gap"


@dataclass(frozen=True, kw_only=True)
class PowerError(_Fault):
    """The laser delivers `factor` times its setpoint."""

    factor: Positive
    kind: Literal["power_error"] = "power_error"


@dataclass(frozen=True, kw_only=True)
class SensorBias(_Fault):
    """`signal` reads `offset` too much."""

    signal: Signal
    offset: Finite
    kind: Literal["sensor_bias"] = "sensor_bias"


@dataclass(frozen=True, kw_only=True)
class SensorFreeze(_Fault):
    """`signal` repeats `value` for ever: the sensor froze."""

    signal: Signal
    value: Finite
    kind: Literal["sensor_freeze"] = "sensor_freeze"


@dataclass(frozen=True, kw_only=True)
class NotANumber(_Fault):
    """The last `samples` samples of `signal` are no numbers: NaN, or infinite."""

    signal: Signal
    samples: Annotated[int, Field(ge=1, le=SAMPLES)] = 1
    infinite: bool = False
    kind: Literal["not_a_number"] = "not_a_number"


@dataclass(frozen=True, kw_only=True)
class SensorDropOut(_Fault):
    """`signal` is missing from the message."""

    signal: Signal
    kind: Literal["sensor_drop_out"] = "sensor_drop_out"


@dataclass(frozen=True, kw_only=True)
class WrongRecipe(_Fault):
    """The PLC runs `recipe` instead of its own."""

    recipe: Annotated[str, Field(min_length=1)]
    kind: Literal["wrong_recipe"] = "wrong_recipe"


@dataclass(frozen=True, kw_only=True)
class Duplicate(_Fault):
    """Every `every`th message is sent twice."""

    every: Every = 1
    kind: Literal["duplicate"] = "duplicate"


@dataclass(frozen=True, kw_only=True)
class Late(_Fault):
    """Every `every`th message is held back and sent after `by` further welds."""

    every: Every = 10
    by: Every = 3
    kind: Literal["late"] = "late"


@dataclass(frozen=True, kw_only=True)
class Reordered(_Fault):
    """Every `every`th message changes places with the next one."""

    every: Every = 10
    kind: Literal["reordered"] = "reordered"


@dataclass(frozen=True, kw_only=True)
class Garbled(_Fault):
    """Every `every`th message is cut off in the middle."""

    every: Every = 10
    kind: Literal["garbled"] = "garbled"


@dataclass(frozen=True, kw_only=True)
class ClockError(_Fault):
    """The station's clock is `offset_s` ahead (or, below 0, behind)."""

    offset_s: Finite
    kind: Literal["clock_error"] = "clock_error"


@dataclass(frozen=True, kw_only=True)
class DataBeforeBirth(_Fault):
    """At weld `start` the edge node declares its death, and sends data without births until asked to."""

    kind: Literal["data_before_birth"] = "data_before_birth"


ProcessFault: TypeAlias = WindowDrift | WindowStep | Defocus | Gap | LocalGap | PowerError
SensorFault: TypeAlias = SensorBias | SensorFreeze | NotANumber
PublisherFault: TypeAlias = Duplicate | Late | Reordered | Garbled
Fault: TypeAlias = (
    ProcessFault | SensorFault | PublisherFault | SensorDropOut | WrongRecipe | ClockError | DataBeforeBirth
)


def conditions(faults: Sequence[Fault], number: int) -> Conditions:
    """The conditions of weld `number`; faults of one quantity add up, or multiply where they are factors."""
    result = Conditions()
    for fault in faults:
        if not fault.active(number):
            continue
        match fault:
            case WindowDrift():
                drifted = 1 + fault.per_weld * (number - fault.start + 1)
                transmission = result.window_transmission * min(1.0, max(0.0, drifted))
                result = replace(result, window_transmission=transmission)
            case WindowStep():
                transmission = result.window_transmission * fault.transmission
                result = replace(result, window_transmission=transmission)
            case Defocus():
                result = replace(result, defocus_mm=result.defocus_mm + fault.offset_mm)
            case Gap():
                result = replace(result, gap_um=fault.gap_um)
            case LocalGap():
                result = replace(result, local_gap_um=fault.gap_um)
            case PowerError():
                result = replace(result, power_factor=result.power_factor * fault.factor)
            case _:
                pass
    return result


def disturb_signals(
    faults: Sequence[Fault], number: int, signals: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What the sensors say of `signals` [time, signal] at weld `number`; the argument is left as it is."""
    disturbed = signals
    for fault in faults:
        if not (isinstance(fault, SensorFault) and fault.active(number)):
            continue
        if disturbed is signals:
            disturbed = signals.copy()
        column = disturbed[:, SIGNALS.index(fault.signal)]
        match fault:
            case SensorBias():
                column += np.float32(fault.offset)
            case SensorFreeze():
                column[:] = fault.value
            case NotANumber():
                column[len(column) - fault.samples :] = np.inf if fault.infinite else np.nan
    return disturbed


def missing_signals(faults: Sequence[Fault], number: int) -> frozenset[str]:
    """The signals that weld `number` is published without."""
    return frozenset(one.signal for one in faults if isinstance(one, SensorDropOut) and one.active(number))


def recipe_in_force(faults: Sequence[Fault], number: int, recipe: str) -> str:
    """The recipe that the PLC runs at weld `number`."""
    for fault in faults:
        if isinstance(fault, WrongRecipe) and fault.active(number):
            return fault.recipe
    return recipe


def clock_offset_s(faults: Sequence[Fault], number: int) -> float:
    """How far the station's clock is ahead at weld `number`."""
    return sum(one.offset_s for one in faults if isinstance(one, ClockError) and one.active(number))


def loses_its_birth(faults: Sequence[Fault], number: int) -> bool:
    """True at the weld where the edge node declares its death and goes on."""
    return any(isinstance(one, DataBeforeBirth) and one.start == number for one in faults)
