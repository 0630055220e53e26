"""The physics of one laser weld of a Cu/Al tab: from setpoints and conditions to signals and resistance.

Illustrative, not validated. The form of these equations is this project's own, fitted to a joint of 42 µΩ;
the README of this service names the literature that the orders of magnitude come from. Everything is a pure
function of its arguments, and the noise of a weld is drawn before it, the same number of values whatever the
setpoints are: two stations that are given the same noise differ in nothing but their setpoints and faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIGNALS = (
    "plasma",
    "window_temperature_c",
    "back_reflection",
    "oct_depth_mm",
    "gas_flow_l_min",
    "clamp_force_n",
)
SIGNAL_SET = "weld.v1"
SAMPLES = 300
SAMPLE_PERIOD_US = 1000

NOMINAL_POWER_W = 1000.0
RAYLEIGH_LENGTH_MM = 1.2
REFLECTION_PLANE_MM = 0.4
"""The back-reflection comes out of the keyhole, so its own focus lies this far below the surface."""

_TOP_SHEET_MM = 0.30
_NOMINAL_DEPTH_MM = 0.50
_NOMINAL_GAP_UM = 20.0
_GAP_SD_UM = 6.0
_GAP_MEMORY = 0.97

METER_UOHM = 2.0
"""Standard deviation of the four-wire meter at end of line."""

_AT_ONCE = 1000
_PARTS = 4  # noise values a weld: absorptivity, window temperature, back-reflection, resistance
_ROWS = 9  # noise values a sample
NOISE_VALUES = _PARTS + _ROWS * SAMPLES
"""How many standard normal values one weld takes."""


def _ar1_matrix(samples: int, memory: float) -> Floats:
    """Turns independent standard normals into a stationary AR(1) series of unit variance."""
    lag = np.arange(samples)[:, None] - np.arange(samples)[None, :]
    matrix: Floats = np.where(lag >= 0, memory ** np.maximum(lag, 0), 0.0) * np.sqrt(1 - memory**2)
    matrix[:, 0] = memory ** np.arange(samples)
    return matrix


_GAP_SERIES = _ar1_matrix(SAMPLES, _GAP_MEMORY) * _GAP_SD_UM


@dataclass(frozen=True, slots=True)
class Setpoints:
    """What the PLC has in force for a weld. `focus_mm` is positive above the surface of the part."""

    power_w: float = NOMINAL_POWER_W
    focus_mm: float = 0.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the faults make of the station. The default is the healthy one.

    `window_transmission` τ in 0..1; `defocus_mm` is added to the focus setpoint; `gap_um` replaces the mean
    gap between the sheets, `local_gap_um` that of the middle third of the seam; `power_factor` is what the
    laser delivers of its setpoint.
    """

    window_transmission: float = 1.0
    defocus_mm: float = 0.0
    gap_um: float = _NOMINAL_GAP_UM
    local_gap_um: float | None = None
    power_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Variation:
    """Part-to-part spread, relative where without a unit."""

    absorptivity: float = 0.01
    window_temperature_c: float = 0.4
    back_reflection: float = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Weld:
    """One weld: `signals` float32 [SAMPLES, len(SIGNALS)], in the order of `SIGNALS`.

    `width` is the mean relative width of the seam at the interface (f, 1 when nominal), `resistance_uohm` the
    joint's, `measured_uohm` what the four-wire meter at the end of the line reads.
    """

    signals: NDArray[np.float32]
    width: float
    resistance_uohm: float
    measured_uohm: float


def draw_noise(generator: np.random.Generator) -> Floats:
    """The standard normal values of one weld, [NOISE_VALUES]."""
    return generator.standard_normal(NOISE_VALUES)


def weld(
    setpoints: Setpoints, conditions: Conditions, noise: Floats, variation: Variation | None = None
) -> Weld:
    """Make one weld. `noise` comes from `draw_noise`."""
    spread = Variation() if variation is None else variation
    part = noise[:_PARTS]
    power_n, depth_n, gap_n, plasma_n, window_n, reflection_n, oct_n, gas_n, clamp_n = noise[_PARTS:].reshape(
        _ROWS, SAMPLES
    )
    tau = conditions.window_transmission
    z_mm = conditions.defocus_mm + setpoints.focus_mm
    relative_power = conditions.power_factor * setpoints.power_w / NOMINAL_POWER_W

    absorptivity = 1 + spread.absorptivity * part[0]
    q = tau * absorptivity * relative_power * _coupling(z_mm) * (1 + 0.01 * power_n)
    gap_um = np.maximum(0, _mean_gap_um(conditions) + _GAP_SERIES @ gap_n)
    depth_mm, width, resistance = _seam(q, depth_n, gap_um)
    mean_width, resistance_uohm = float(width), float(resistance)

    signals = np.empty((SAMPLES, len(SIGNALS)), np.float32)
    signals[:, 0] = 0.8 * q + 0.25 * np.clip(gap_um / 50, 0, 4) + 0.05 * plasma_n
    signals[:, 1] = (
        28 + 60 * (1 - tau) * relative_power + spread.window_temperature_c * part[1] + 0.5 * window_n
    )
    signals[:, 2] = (
        _reflection(tau, relative_power, z_mm)
        * (1 + spread.back_reflection * part[2])
        * (1 + 0.03 * reflection_n)
    )
    signals[:, 3] = depth_mm + 0.020 * oct_n
    signals[:, 4] = 15 + 0.2 * gas_n
    signals[:, 5] = 400 + 5 * clamp_n
    return Weld(signals, mean_width, resistance_uohm, resistance_uohm + METER_UOHM * float(part[3]))


def weld_joints(
    setpoints: Setpoints, conditions: Sequence[Conditions], generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Many welds by the same equations, without what the sensors show of them: a fifth of the work.

    One under each of the N `conditions`; width f, resistance and measured resistance (µΩ), each [N].
    """
    made = [
        _joints(setpoints, conditions[first : first + _AT_ONCE], generator)
        for first in range(0, len(conditions), _AT_ONCE)
    ]
    width, resistance, measured = (np.concatenate(parts) for parts in zip(*made, strict=True))
    return width, resistance, measured


def _joints(
    setpoints: Setpoints, conditions: Sequence[Conditions], generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    count, spread = len(conditions), Variation()
    absorbed, meter = generator.standard_normal((2, count))
    power_n, depth_n, gap_n = generator.standard_normal((3, count, SAMPLES))
    tau = np.array([one.window_transmission for one in conditions])
    z_mm = np.array([one.defocus_mm for one in conditions]) + setpoints.focus_mm
    power = np.array([one.power_factor for one in conditions]) * setpoints.power_w / NOMINAL_POWER_W
    level = tau * (1 + spread.absorptivity * absorbed) * power * _coupling(z_mm)
    mean_gap_um = np.array([_mean_gap_um(one) for one in conditions])
    gap_um = np.maximum(0, mean_gap_um + gap_n @ _GAP_SERIES.T)
    _, width, resistance = _seam(level[:, None] * (1 + 0.01 * power_n), depth_n, gap_um)
    return width, resistance, resistance + METER_UOHM * meter


def _coupling(z_mm: Any) -> Any:
    """Spot radius a = a0·√(1+(z/zR)²); the coupled intensity goes with (a0/a)^1.5. The speed is nominal."""
    return (1 + (z_mm / RAYLEIGH_LENGTH_MM) ** 2) ** -0.75


def _seam(q: Floats, depth_n: Floats, gap_um: Floats) -> tuple[Floats, Floats, Floats]:
    """Depth [..., SAMPLES] in mm, mean width and resistance (µΩ) [...] of welds [..., SAMPLES]."""
    depth_mm = _NOMINAL_DEPTH_MM * np.maximum(0, (q - 0.4) / 0.6) + 0.012 * depth_n
    penetration_mm = np.maximum(0, depth_mm - _TOP_SHEET_MM - 0.0008 * np.maximum(0, gap_um - 30))
    width = np.where(gap_um > 120, 0.0, np.minimum(1.4, np.sqrt(penetration_mm / 0.2))).mean(axis=-1)
    burn_through_mm = np.maximum(0, depth_mm - 0.68).mean(axis=-1)
    resistance_uohm = 30 + 12 / np.maximum(width, 0.008) + 400 * burn_through_mm
    return depth_mm, np.asarray(width), np.asarray(resistance_uohm)


def _reflection(tau: float, relative_power: float, z_mm: float) -> float:
    """Mean back-reflection, 1 when healthy.

    It passes the window twice, and it is largest where the beam's focus meets its own: so it rises with one
    sign of defocus and falls with the other, while depth falls with both.
    """
    at_zero = 1 + (REFLECTION_PLANE_MM / RAYLEIGH_LENGTH_MM) ** 2
    here = 1 + ((z_mm - REFLECTION_PLANE_MM) / RAYLEIGH_LENGTH_MM) ** 2
    return tau**2 * relative_power * at_zero / here


def _mean_gap_um(conditions: Conditions) -> Floats:
    gap_um = np.full(SAMPLES, conditions.gap_um)
    if conditions.local_gap_um is not None:
        gap_um[SAMPLES // 3 : 2 * SAMPLES // 3] = conditions.local_gap_um
    return gap_um
