"""The resistance of a cell group with its joint, from a minute of driving. Pure.

The voltage of every group follows the open-circuit voltage and the polarisation of the pack; what is left
of V_i after the pack's median V is taken away is proportional to the current, and its slope is that group's
resistance less the median group's: ΔR = −slope of (V_i − median V) against I, by least squares over the
snippet. From 60 samples at 1 Hz its standard error is 2.6 to 3.0 µΩ, while cells differ by 30 µΩ from each
other: so a group is judged against its *own* ΔR at end of line, never against its neighbours.

`twinloop.trainer.cells_onnx` is the same as an ONNX graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SNIPPET: Final = 60
"""Samples of a snippet, at 1 Hz."""
NOISE_V: Final = 1.53e-3
"""What a healthy voltage sensor scatters: 1.5 mV, and the rounding to 1 mV (1 mV / √12)."""
LEAST_SXX_A2: Final = 1.0
LEAST_SCATTER_V: Final = 1e-9
"""Below these a line is computed as if they were it: no answer is ever infinite or none."""

_MICRO: Final = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """ΔR of every group and how well it is known, each [N, groups] and in micro-ohm.

    `noise` is the scatter around the line, as a multiple of `NOISE_V`: well above 1, the line is none.
    """

    delta_r_uohm: NDArray[np.float64]
    se_uohm: NDArray[np.float64]
    noise: NDArray[np.float64]


def slopes(windows: NDArray[Any]) -> Slopes:
    """Of `windows` [N, samples, 1 + groups]: the current in A (positive when discharging), then voltages.

    Always finite: where the current stood still, the standard error is so large that nothing stands out.
    """
    values = np.asarray(windows, np.float64)
    samples = values.shape[1]
    current, voltage = values[:, :, :1], values[:, :, 1:]
    away = voltage - np.median(voltage, axis=2, keepdims=True)
    i = current - current.mean(axis=1, keepdims=True)
    v = away - away.mean(axis=1, keepdims=True)
    sxx = np.maximum((i * i).sum(axis=1), LEAST_SXX_A2)
    slope = (i * v).sum(axis=1) / sxx
    rest = v - i * slope[:, None, :]
    scatter = np.maximum(np.sqrt((rest * rest).sum(axis=1) / (samples - 2)), LEAST_SCATTER_V)
    return Slopes(-slope * _MICRO, scatter / np.sqrt(sxx) * _MICRO, scatter / NOISE_V)


def against_baseline(
    delta_r_uohm: NDArray[Any], se_uohm: NDArray[Any], baseline_uohm: NDArray[Any], baseline_se: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What has been gained on each group's own baseline, its standard error, and z: of any equal shapes.

    Resistances in micro-ohm. z is not finite where the standard error is 0, or a value is none (NaN).
    """
    gained = np.asarray(delta_r_uohm, np.float64) - baseline_uohm
    se = np.hypot(se_uohm, baseline_se)
    with np.errstate(divide="ignore", invalid="ignore"):
        return gained, se, gained / se
