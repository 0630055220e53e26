"""Where a process stands, from what its last parts showed: a posterior over a grid of states. Pure.

The parts are explained by the transmission of the window and the error of the focus, with Gaussian errors of
depth, temperature and reflection: the scatter between parts shrinks with their number, the model's own error
does not. The prior is flat over what the model covers. A grid because the reflection allows two distances of
focus, and a mean over both would be neither; it is coarse first, and fine where that is likely. A gap between
the sheets is no part of the state: it shows as plasma that the state does not explain.

Where that explains the parts badly, another power than the set one is tried: delivered through a clean window
and in focus, so that depth, temperature and reflection together fix one figure, and a sensor that is wrong is
not taken for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
_EXCELLENT = 4.0
"""Up to this nothing better is looked for."""
_BETTER = 12.0
"""By so much less misfit another power must explain the parts: one time in 2000 by chance."""
_JUMP = 6.0
"""So many times the scatter between parts, from a median of four, is no accident."""
_FACTORS = np.linspace(0.6, 1.6, 2001)
"""Delivered of set power."""
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
    """States and how likely each is: float64 [states] each; `weight` adds up to 1. `power_factor` is what the
    laser delivers of its setpoint: [states], or [1] for all of them."""

    transmission: Array
    error_mm: Array
    weight: Array
    power_factor: Array = field(default_factory=lambda: np.ones(1))

    @property
    def mean(self) -> tuple[float, float]:
        """Expected transmission and focus error in mm."""
        return float(self.weight @ self.transmission), float(self.weight @ self.error_mm)

    @property
    def factors(self) -> Array:
        """`power_factor` of each state."""
        return np.broadcast_to(self.power_factor, self.weight.shape)

    @property
    def mean_factor(self) -> float:
        """Expected share of the set power that is delivered."""
        return float(self.weight @ self.factors)


def estimate(model: ProcessModel, parts: Sequence[Part]) -> State | None:
    """The state that explains `parts`, at least one; `None` when none does, as with setpoints that no machine
    has, or with a sensor that is wrong."""
    groups = _groups(parts)
    if not all(np.isfinite([at.power_w, at.focus_mm]).all() and at.power_w > 0 for at in groups):
        return None
    state, least = _of_the_window_and_focus(model, groups, parts)
    signals = len(_SIGNALS) * len(groups)
    if least > _EXCELLENT * signals:
        other, misfit = _of_the_power(model, groups, parts)
        if misfit < least - _BETTER:
            state, least = other, misfit
    return None if least > _EXPLAINED * signals else state


def _of_the_window_and_focus(
    model: ProcessModel, groups: dict[Setpoints, list[Part]], parts: Sequence[Part]
) -> tuple[State | None, float]:
    """The posterior with the power as set, and the least misfit."""
    valid = model.card.validity
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
        return None, np.inf
    near = misfit <= misfit[np.isfinite(misfit)].min() + _LIKELY
    steps = [axis[1] - axis[0] for axis in axes]
    within = (np.arange(_FINE) + 0.5) / _FINE - 0.5
    finer = [one.ravel() for one in np.meshgrid(within * steps[0], within * steps[1], indexing="ij")]
    transmission = (transmission[near, None] + finer[0]).ravel()
    error = (error[near, None] + finer[1]).ravel()
    misfit = _misfit(model, groups, transmission, error)
    return _posterior(misfit, transmission, error, np.ones_like(misfit))


def _of_the_power(
    model: ProcessModel, groups: dict[Setpoints, list[Part]], parts: Sequence[Part]
) -> tuple[State | None, float]:
    """The same with another power, a clean window, and the beam in focus at the newest setpoint."""
    clean = np.ones_like(_FACTORS)
    error = np.full_like(_FACTORS, -parts[-1].setpoints.focus_mm)
    return _posterior(_misfit(model, groups, clean, error, _FACTORS), clean, error, _FACTORS)


def _posterior(misfit: Array, transmission: Array, error: Array, factor: Array) -> tuple[State | None, float]:
    least = float(misfit[np.isfinite(misfit)].min(initial=np.inf))
    if not np.isfinite(least):
        return None, least
    weight = np.exp(-0.5 * (misfit - least))
    likely = weight > 1e-6
    weight = weight[likely]
    return State(transmission[likely], error[likely], weight / weight.sum(), factor[likely]), least


def alike(model: ProcessModel, parts: Sequence[Part], least: int) -> list[Part]:
    """The newest of `parts`, oldest first, that one state made: back to where the signals jumped.

    Parts with the same setpoints are compared, with the median of the newest `least` of them. One that is
    apart is an outlier, two in succession are of another time, and so is everything before.
    """
    groups = {at: list(reversed(same)) for at, same in _groups(parts).items()}
    names = (*_SIGNALS, "plasma")
    middle = {
        at: [float(np.median([getattr(one, name) for one in same[:least]])) for name in names]
        for at, same in groups.items()
    }
    allowed = [_JUMP * model.card.spreads[name].part for name in names]
    kept: list[Part] = []
    apart = 0
    for one in reversed(parts):
        away = [abs(getattr(one, name) - mid) for name, mid in zip(names, middle[one.setpoints], strict=True)]
        if all(value <= most for value, most in zip(away, allowed, strict=True)):
            kept.append(one)
            apart = 0
        elif (apart := apart + 1) > 1:
            break
    return kept[::-1]


def unexplained_plasma(model: ProcessModel, state: State, parts: Sequence[Part]) -> float:
    """Median over `parts`, at least one, of the plasma beyond what `state` explains: the trace of a gap."""
    transmission, error_mm = state.mean
    [explained] = model.evaluate(
        ("plasma",),
        np.array([part.setpoints.power_w for part in parts]) * state.mean_factor,
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
    model: ProcessModel,
    groups: dict[Setpoints, list[Part]],
    transmission: Array,
    error: Array,
    factor: Array | float = 1.0,
) -> Array:
    """Squared errors of the mean of each group, in their own variances; infinite where there are none."""
    total = np.zeros_like(transmission)
    covered = model.card.validity.energy
    lowest, highest = covered.low * (1 - 2 * _MARGIN), covered.high * (1 + 2 * _MARGIN)
    with np.errstate(over="ignore", invalid="ignore"):
        for at, parts in groups.items():
            energy, *signals = model.evaluate(
                ("energy", *_SIGNALS),
                np.array(at.power_w * factor),
                np.array(at.focus_mm),
                transmission,
                error,
            )
            total[(energy < lowest) | (energy > highest)] = np.inf
            for name, shown in zip(_SIGNALS, signals, strict=True):
                spread = model.card.spreads[name]
                variance = spread.part**2 / len(parts) + spread.model**2
                total += (shown - np.mean([getattr(part, name) for part in parts])) ** 2 / variance
    total[~np.isfinite(total)] = np.inf
    return total
