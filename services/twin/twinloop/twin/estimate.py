"""Where a process stands, from what its last parts showed: a posterior over a grid of states. Pure.

Each part is explained by the transmission of the window and the error of the focus, with Gaussian errors of
depth, temperature and reflection; parts are independent, the prior is flat over the grid. A grid because the
reflection allows two distances of focus, and a mean over both would be neither. A gap between the sheets is
no part of the state: it shows as plasma that the state does not explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinloop.twin.assets import WeldModel
from twinloop.twin.process import Array, Setpoints, back_reflection, depth_mm, plasma, window_temperature_c

_TRANSMISSION = np.linspace(0.5, 1.05, 111)
_ERROR_MM = np.linspace(-2.0, 2.0, 161)


@dataclass(frozen=True, slots=True)
class Part:
    """What was measured while a part was made, as means over the part, and the setpoints in force."""

    sequence: int
    depth_mm: float
    window_temperature_c: float
    back_reflection: float
    plasma: float
    setpoints: Setpoints


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """States and how likely each is: float64 [states] each; `weight` adds up to 1."""

    transmission: Array
    error_mm: Array
    weight: Array

    @property
    def mean(self) -> tuple[float, float]:
        """Expected transmission and focus error in mm."""
        return float(self.weight @ self.transmission), float(self.weight @ self.error_mm)


def estimate(model: WeldModel, parts: Sequence[Part]) -> State | None:
    """The state that explains `parts`, at least one; `None` when none does, as with setpoints that no machine
    has."""
    transmission, error = (axis.ravel() for axis in np.meshgrid(_TRANSMISSION, _ERROR_MM, indexing="ij"))
    misfit = np.zeros_like(transmission)
    with np.errstate(over="ignore", invalid="ignore"):  # what has no finite misfit is not the state
        for part in parts:
            at = part.setpoints
            misfit += ((depth_mm(model, transmission, error, at) - part.depth_mm) / model.depth_sigma_mm) ** 2
            warm = window_temperature_c(model, transmission, at) - part.window_temperature_c
            misfit += (warm / model.temperature_sigma_c) ** 2
            bright = back_reflection(model, transmission, error, at) - part.back_reflection
            misfit += (bright / model.reflection_sigma) ** 2
    misfit[~np.isfinite(misfit)] = np.inf
    if np.isinf(misfit).all():
        return None
    weight = np.exp(-0.5 * (misfit - misfit.min()))
    likely = weight > weight.max() * 1e-6
    weight = weight[likely]
    return State(transmission[likely], error[likely], weight / weight.sum())


def unexplained_plasma(model: WeldModel, state: State, parts: Sequence[Part]) -> float:
    """Median over `parts`, at least one, of the plasma beyond what `state` explains: the trace of a gap."""
    transmission, error_mm = state.mean
    one, other = np.array([transmission]), np.array([error_mm])
    return float(np.median([part.plasma - plasma(model, one, other, part.setpoints)[0] for part in parts]))
