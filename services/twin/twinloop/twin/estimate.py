"""Where a process stands, from what its last parts showed: a posterior over a grid of states. Pure.

The parts are explained by the transmission of the window and the error of the focus, with Gaussian errors of
depth, temperature and reflection: the scatter between parts shrinks with their number, the model's own error
does not. The prior is flat over what the model covers. A grid because the reflection allows two distances of
focus, and a mean over both would be neither; it is coarse first, and fine where that is likely. A gap between
the sheets is no part of the state: it shows as plasma that the state does not explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinloop.twin.process import Array, ProcessModel, Setpoints

_COARSE = (48, 97)
_FINE = 6
"""Steps within a step of the coarse grid, along each axis."""
_MARGIN = 0.05
"""Beyond what the model covers, so that a state there is seen to be outside."""
_LIKELY = 40.0
"""Misfit above the least one up to which the coarse grid is refined."""
_EXPLAINED = 25.0
"""Mean squared error, in its own variances, of parts that the best state still explains."""
_SIGNALS = ("depth_mm", "window_temperature_c", "back_reflection")


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


def estimate(model: ProcessModel, parts: Sequence[Part]) -> State | None:
    """The state that explains `parts`, at least one; `None` when none does, as with setpoints that no machine
    has, or with a sensor that is wrong."""
    valid = model.card.validity
    groups = _groups(parts)
    if not all(np.isfinite([at.power_w, at.focus_mm]).all() and at.power_w > 0 for at in groups):
        return None
    focus = float(np.median([part.setpoints.focus_mm for part in parts]))
    glass, reach = valid.transmission.high - valid.transmission.low, valid.distance_mm
    margin = _MARGIN * (reach.high - reach.low)
    axes = [
        np.linspace(
            valid.transmission.low - _MARGIN * glass, valid.transmission.high + _MARGIN * glass, _COARSE[0]
        ),
        np.linspace(reach.low - margin, reach.high + margin, _COARSE[1]) - focus,
    ]
    transmission, error = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    misfit = _misfit(model, groups, transmission, error)
    if not np.isfinite(misfit).any():
        return None
    near = misfit <= misfit[np.isfinite(misfit)].min() + _LIKELY
    steps = [axis[1] - axis[0] for axis in axes]
    within = (np.arange(_FINE) + 0.5) / _FINE - 0.5
    finer = [one.ravel() for one in np.meshgrid(within * steps[0], within * steps[1], indexing="ij")]
    transmission = (transmission[near, None] + finer[0]).ravel()
    error = (error[near, None] + finer[1]).ravel()
    misfit = _misfit(model, groups, transmission, error)
    least = misfit[np.isfinite(misfit)].min(initial=np.inf)
    if least > _EXPLAINED * len(_SIGNALS) * len(groups):
        return None
    weight = np.exp(-0.5 * (misfit - least))
    likely = weight > 1e-6
    weight = weight[likely]
    return State(transmission[likely], error[likely], weight / weight.sum())


def newest_state(model: ProcessModel, parts: Sequence[Part], minimum: int) -> State | None:
    """The state that explains the newest of `parts`: all of them, or, when the process has changed at once
    and no state explains what was before and after that, fewer, but `minimum` at least."""
    count = len(parts)
    while count >= minimum:
        if (state := estimate(model, parts[-count:])) is not None:
            return state
        count = 0 if count == minimum else max(minimum, 2 * count // 3)
    return None


def unexplained_plasma(model: ProcessModel, state: State, parts: Sequence[Part]) -> float:
    """Median over `parts`, at least one, of the plasma beyond what `state` explains: the trace of a gap."""
    transmission, error_mm = state.mean
    [explained] = model.evaluate(
        ("plasma",),
        np.array([part.setpoints.power_w for part in parts]),
        np.array([part.setpoints.focus_mm for part in parts]),
        np.array(transmission),
        np.array(error_mm),
    )
    return float(np.median(np.array([part.plasma for part in parts]) - explained))


def _groups(parts: Sequence[Part]) -> dict[Setpoints, list[Part]]:
    """Parts by the setpoints in force."""
    groups: dict[Setpoints, list[Part]] = {}
    for part in parts:
        groups.setdefault(part.setpoints, []).append(part)
    return groups


def _misfit(
    model: ProcessModel, groups: dict[Setpoints, list[Part]], transmission: Array, error: Array
) -> Array:
    """Squared errors of the mean of each group, in their own variances; infinite where there are none."""
    total = np.zeros_like(transmission)
    covered = model.card.validity.energy
    lowest, highest = covered.low * (1 - 2 * _MARGIN), covered.high * (1 + 2 * _MARGIN)
    with np.errstate(over="ignore", invalid="ignore"):
        for at, parts in groups.items():
            energy, *signals = model.at(("energy", *_SIGNALS), at, transmission, error)
            total[(energy < lowest) | (energy > highest)] = np.inf
            for name, shown in zip(_SIGNALS, signals, strict=True):
                spread = model.card.spreads[name]
                variance = spread.part**2 / len(parts) + spread.model**2
                total += (shown - np.mean([getattr(part, name) for part in parts])) ** 2 / variance
    total[~np.isfinite(total)] = np.inf
    return total
