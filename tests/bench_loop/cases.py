"""What is played: one fault of the reference plant a case, from part `START` on. Pure data.

`right` are the actuators that mend the fault, or stop it where nothing mends it; every other command is a
wrong action. Faults of a sensor, and health, leave nothing to do: there each command is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bench_loop.rules import FOCUS, HOLD, POWER
from twinloop.simulator.faults import (
    Defocus,
    Duplicate,
    Fault,
    Gap,
    Late,
    LocalGap,
    PowerError,
    Reordered,
    SensorBias,
    SensorDropOut,
    SensorFreeze,
    WindowDrift,
    WindowStep,
    WrongRecipe,
)
from twinloop.simulator.plc import PlcFaults

START: Final = 30
HORIZON: Final = 400
"""Parts after a fault begins. Shares of avoidable parts depend on it: what a fault costs until it is mended
is the same however long the run is."""
SHORT: Final = 200
"""The same where a fault makes no bad parts, and only wrong actions can be made."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, or several at once. `truth` is its class in the confusion matrix, "" for none."""

    name: str
    title: str
    faults: tuple[Fault, ...]
    right: frozenset[str]
    truth: str = ""
    plc: PlcFaults = field(default_factory=PlcFaults)
    parts: int = START + HORIZON
    start: int = START


def _process(
    name: str, title: str, fault: Fault, truth: str, *right: str, parts: int = START + HORIZON
) -> Case:
    return Case(name, title, (fault,), frozenset(right), truth, parts=parts)


def _sensor(name: str, title: str, fault: Fault) -> Case:
    return Case(name, title, (fault,), frozenset(), "sensor fault", parts=START + SHORT)


_SLOW: Final = WindowDrift(start=50, per_weld=-0.0004)
_DRIFT: Final = WindowDrift(start=START, per_weld=-0.0008)
"""Twice as fast as the plant's own, so that it does its harm within the horizon."""


def _drifting(name: str, title: str, *faults: Fault, plc: PlcFaults | None = None) -> Case:
    right = frozenset({POWER}) if plc is None else frozenset({POWER, HOLD})
    return Case(name, f"drift, {title}", (_DRIFT, *faults), right, plc=plc or PlcFaults())


CASES: Final[tuple[Case, ...]] = (
    Case("healthy", "healthy", (), frozenset(), "healthy", parts=850),
    Case("window_drift", "window drift, −0.04 % a weld", (_SLOW,), frozenset({POWER}), parts=850, start=50),
    *(
        _process(
            f"window_{round(100 * tau)}",
            f"dirty window, τ {tau:g}",
            WindowStep(start=START, transmission=tau),
            "dirty window",
            POWER,
            parts=START + (SHORT if tau == 0.9 else HORIZON),
        )
        for tau in (0.9, 0.8, 0.75, 0.7)
    ),
    *(
        _process(
            f"defocus_{round(10 * offset):+d}",
            f"defocus {offset:+.1f} mm".replace("-", "−"),
            Defocus(start=START, offset_mm=offset),
            "defocus",
            FOCUS,
            parts=START + (SHORT if abs(offset) == 0.5 else HORIZON),
        )
        for offset in (0.5, -0.5, 0.8, -0.8, 1.0, -1.0)
    ),
    _process("gap_100", "gap 100 µm", Gap(start=START, gap_um=100.0), "gap", HOLD, parts=START + SHORT),
    _process("gap_140", "gap 140 µm", Gap(start=START, gap_um=140.0), "gap", HOLD),
    _process(
        "local_gap",
        "local gap 140 µm",
        LocalGap(start=START, gap_um=140.0),
        "local gap",
        HOLD,
        parts=START + SHORT,
    ),
    _process(
        "power_20",
        "power +20 %",
        PowerError(start=START, factor=1.2),
        "power error",
        POWER,
        parts=START + SHORT,
    ),
    _process("power_40", "power +40 %", PowerError(start=START, factor=1.4), "power error", POWER, HOLD),
    _sensor(
        "bias_temperature",
        "window temperature reads +5 °C",
        SensorBias(start=START, signal="window_temperature_c", offset=5.0),
    ),
    _sensor("bias_depth", "depth reads −0.1 mm", SensorBias(start=START, signal="oct_depth_mm", offset=-0.1)),
    _sensor("bias_plasma", "plasma reads +0.4", SensorBias(start=START, signal="plasma", offset=0.4)),
    _sensor(
        "bias_reflection",
        "reflection reads −0.2",
        SensorBias(start=START, signal="back_reflection", offset=-0.2),
    ),
    _sensor(
        "freeze_depth",
        "depth frozen at 0.42 mm",
        SensorFreeze(start=START, signal="oct_depth_mm", value=0.42),
    ),
    _sensor(
        "freeze_temperature",
        "window temperature frozen at 32 °C",
        SensorFreeze(start=START, signal="window_temperature_c", value=32.0),
    ),
    _drifting(
        "drop_out", "depth missing for 40 parts", SensorDropOut(start=150, until=190, signal="oct_depth_mm")
    ),
    _drifting("duplicates", "every event twice", Duplicate(start=0, every=1)),
    _drifting("late", "every 10th event 3 parts late", Late(start=0, every=10, by=3)),
    _drifting("reordered", "every 5th event after the next", Reordered(start=0, every=5)),
    _drifting(
        "wrong_recipe",
        "another recipe on parts 100 to 159",
        WrongRecipe(start=100, until=160, recipe="cu-cu-tab-2"),
    ),
    _drifting("plc_ignores", "the PLC ignores writes", plc=PlcFaults(ignore_writes=True)),
    _drifting(
        "read_back", "12 W more get in force than asked for", plc=PlcFaults(read_back_offset={POWER: 12.0})
    ),
)
BY_NAME: Final = {one.name: one for one in CASES}
