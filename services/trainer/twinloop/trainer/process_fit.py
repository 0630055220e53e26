"""Fits a process model's parameters to the parts of a commissioning trial. Pure.

Two fits by least squares with a soft-L1 loss: what the sensors show against setpoints and test glass, and the
resistance against the depth that each part itself had, so that the scatter of depth between parts does not
blur the steep end of that curve. Residuals are in standard deviations; the covariance of the parameters is
that of the linearised fit, (JᵀJ)⁻¹. The same parts give the same model, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize

from twinloop.contracts.processes import Between, Spread, Validity
from twinloop.trainer.errors import PoorTrials
from twinloop.trainer.trials import Joints, TrialParts
from twinloop.trainer.weld_form import (
    Floats,
    Form,
    back_reflection,
    depth_mm,
    energy,
    plasma,
    resistance_uohm,
    spline_basis,
    window_temperature_c,
)

DRAWS = 16
"""Draws from the distribution of the parameters that travel with the model."""
_OUTLIER = 5.0
_ENERGY_KNOTS, _DEPTH_KNOTS = 3, 11
_ROUNDS, _SOFT = 4, 2.0
_CONDITION = 1e7
_BEND = 10.0
_WELD_MORE = (
    "the trials do not tell all parameters apart; weld more setpoints between the lowest and the highest"
    " power and focus of the plan, clean and under two test glasses, 10 parts or more each"
)
_SIGNALS = ("depth_mm", "window_temperature_c", "back_reflection", "plasma")


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """`parameters` [K], `covariance` [K, K], `draws` [M, K]; the rest as on the card."""

    form: Form
    parameters: Floats
    covariance: Floats
    draws: Floats
    energy_sigma: float
    resistance_sigma_uohm: float
    spreads: dict[str, Spread]
    validity: Validity


def fit(parts: TrialParts) -> Fitted:
    """Form, parameters and scatter. Raises `PoorTrials` when the parts do not determine the parameters."""
    joints = parts.joints
    pilot = Form(
        reference_power_w=float(np.median(joints.power_w)),
        energy_knots=(),
        depth_knots=_bends(joints),
        depth_mm=(float(joints.depth_mm.min()), float(joints.depth_mm.max())),
        resistance_uohm=(float(joints.resistance_uohm.min()), float(joints.resistance_uohm.max())),
    )
    rough, _ = _fit_signals(pilot, parts, _start(pilot, joints))
    delivered = energy(pilot, rough, joints.power_w, joints.focus_mm, parts.transmission)
    knots = np.linspace(delivered.min(), delivered.max(), _ENERGY_KNOTS + 2)[1:-1]
    form = replace(pilot, energy_knots=tuple(knots.tolist()))
    start = _start(form, joints)
    start[form.blocks["focus"]] = rough[pilot.blocks["focus"]]
    return fit_form(form, parts, start)


def _start(form: Form, joints: Joints) -> Floats:
    """Where a fit begins."""
    start = np.zeros(len(form.names))
    start[form.blocks["focus"].start + 1] = 0.3
    start[form.blocks["depth"].start : form.blocks["depth"].start + 2] = np.median(joints.depth_mm)
    start[form.blocks["temperature"].start] = np.median(joints.window_temperature_c)
    return start


def fit_form(form: Form, parts: TrialParts, start: Floats) -> Fitted:
    """Parameters and scatter of a form that is given. Raises `PoorTrials`."""
    theta, signals = _fit_signals(form, parts, start)
    resistance, own, sigma, blur = _fit_resistance(form, parts.joints)
    where = form.blocks["resistance"]
    theta[where] = resistance
    covariance = np.zeros((len(theta), len(theta)))
    covariance[: where.start, : where.start] = signals
    covariance[where, where] = own
    draws = _draws(theta, covariance)
    spreads, energy_sigma = _spreads(form, theta, parts, blur)
    validity = _validity(form, theta, parts, energy_sigma)
    return Fitted(form, theta, covariance, draws, energy_sigma, sigma, spreads, validity)


def _draws(theta: Floats, covariance: Floats) -> Floats:
    """[M, K]. From the correlations: the parameters' own scales differ too much for one decomposition."""
    deviation = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(deviation, deviation))
    normal = np.random.default_rng(0).standard_normal((DRAWS, len(theta)))
    draws: Floats = theta + normal @ (vectors * np.sqrt(np.maximum(values, 0))).T * deviation
    return draws


def shown(form: Form, theta: Floats, parts: TrialParts) -> dict[str, Floats]:
    """What the sensors show of `parts` by the model, [N] each."""
    power, focus, glass = parts.joints.power_w, parts.joints.focus_mm, parts.transmission
    delivered = energy(form, theta, power, focus, glass)
    return {
        "depth_mm": depth_mm(form, theta, delivered),
        "window_temperature_c": window_temperature_c(form, theta, power, glass),
        "back_reflection": back_reflection(form, theta, power, focus, glass),
        "plasma": plasma(form, theta, delivered),
    }


def _fit_signals(form: Form, parts: TrialParts, start: Floats) -> tuple[Floats, Floats]:
    """All parameters, those of the resistance 0, and the covariance of the others."""
    joints = parts.joints
    fitted = form.blocks["resistance"].start
    plain = ("depth_mm", "window_temperature_c", "plasma")
    scales = {name: _within(getattr(joints, name), parts.trial) for name in plain}
    reflection = np.log(joints.back_reflection)
    scale = _within(reflection, parts.trial)

    def residuals(some: Floats) -> Floats:
        model = shown(form, np.concatenate([some, np.zeros(len(form.names) - fitted)]), parts)
        differences = [(getattr(joints, name) - model[name]) / scales[name] for name in plain]
        return np.concatenate([*differences, (reflection - np.log(model["back_reflection"])) / scale])

    return _solve(residuals, start[:fitted], len(form.names))


def _fit_resistance(form: Form, joints: Joints) -> tuple[Floats, Floats, float, float]:
    """The curve's parameters and their covariance; the scatter of the measurement in micro-ohm, and that of
    depth in mm which the depth sensor did not see."""
    where, total = form.blocks["resistance"], len(form.names)
    measured, depth = joints.resistance_uohm, joints.depth_mm

    def curve(own: Floats, at: Floats) -> Floats:
        whole = np.zeros(total)
        whole[where] = own
        return resistance_uohm(form, whole, at)

    def rise(own: Floats) -> Floats:
        return _slope(partial(curve, own), depth)

    basis = np.stack(spline_basis(depth, form.depth_knots[-1], form.depth_knots), axis=1)
    own, loose = _rough(basis, np.log(measured)), _looseness(form)
    sigma, blur = 0.0, 0.0
    spread: Any = 0.05 * curve(own, depth)
    for _ in range(3):
        residuals = partial(_resistance_residuals, curve, measured, depth, spread, loose)
        own, covariance = _solve(residuals, own, len(own))
        sigma, blur = _noise(measured - curve(own, depth), rise(own))
        spread = np.hypot(sigma, rise(own) * blur)
    return own, covariance, sigma, blur


def _resistance_residuals(
    curve: Callable[[Floats, Floats], Floats],
    measured: Floats,
    depth: Floats,
    spread: Any,
    loose: Floats,
    own: Floats,
) -> Floats:
    return np.concatenate([(measured - curve(own, depth)) / spread, own / loose])


def _looseness(form: Form) -> Floats:
    """How large the curve's parameters may well be, as a standard deviation: it turns by a few units of the
    logarithm between two knots. Far looser than any measured part; it only decides about a bend that no part
    shows, where the curve is held at an open joint."""
    low, high = form.depth_mm
    knots = np.array([low, *form.depth_knots, high])
    gaps = (knots[2:] - knots[:-2]) / 2
    reach = high - low
    return np.concatenate([[_BEND, _BEND / reach, _BEND / reach**2], _BEND / gaps**2])


def _rough(basis: Floats, values: Floats) -> Floats:
    """Linear least squares in which what lies far out loses its weight: where the curve's fit begins."""
    weight: Any = np.ones(len(values))
    found: Floats = np.zeros(basis.shape[1])
    for _ in range(10):
        solved = np.linalg.lstsq(basis * weight[:, None], values * weight, rcond=None)[0]
        found = np.asarray(solved, np.float64)
        away = values - basis @ found
        weight = 1 / (1 + (away / (3 * np.median(np.abs(away)) + 1e-9)) ** 2)
    return found


def _slope(curve: Callable[[Floats], Floats], x: Floats, step: float = 1e-3) -> Floats:
    difference: Floats = (curve(x + step) - curve(x - step)) / (2 * step)
    return difference


def _noise(residuals: Floats, slope: Floats) -> tuple[float, float]:
    """Maximum likelihood of a constant scatter, and of one that the slope makes visible."""

    def unlikely(logs: Floats) -> float:
        variance = np.exp(2 * logs[0]) + (slope * np.exp(logs[1])) ** 2
        score = np.minimum(residuals**2 / variance, _OUTLIER**2)
        return float(np.sum(score + np.log(variance)))

    flat = np.abs(slope) <= np.median(np.abs(slope))
    start = np.log([max(1e-9, 1.48 * np.median(np.abs(residuals[flat]))), 1e-3])
    sigma, blur = np.exp(minimize(unlikely, start, method="Nelder-Mead").x)
    return float(sigma), float(blur)


def _solve(residuals: Callable[[Floats], Floats], start: Floats, size: int) -> tuple[Floats, Floats]:
    """The parameters, filled up with zeros to `size`, and the covariance of those fitted.

    Soft-L1 by reweighting: MINPACK minimises squares only, but is done in a tenth of the time that the dense
    decompositions of the other methods take on a busy machine. Residuals are in standard deviations.
    """
    found, jacobian = start, np.zeros((0, len(start)))
    for _ in range(_ROUNDS):
        weight = (1 + (residuals(found) / _SOFT) ** 2) ** -0.25
        solved = least_squares(partial(_weighted, residuals, weight), found, method="lm", x_scale="jac")
        found, jacobian = solved.x, solved.jac / weight[:, None]
    scale = np.sqrt(np.square(jacobian).sum(axis=0))
    if not (scale > 0).all():
        raise PoorTrials(_WELD_MORE)
    triangle = np.linalg.qr(jacobian / scale, mode="r")
    if np.linalg.cond(triangle) > _CONDITION:
        raise PoorTrials(_WELD_MORE)
    inverse = np.linalg.inv(triangle)
    covariance = inverse @ inverse.T / np.outer(scale, scale)
    whole = np.zeros(size)
    whole[: len(found)] = found
    return whole, covariance


def _weighted(residuals: Callable[[Floats], Floats], weight: Floats, some: Floats) -> Floats:
    return weight * residuals(some)


def _spreads(form: Form, theta: Floats, parts: TrialParts, blur: float) -> tuple[dict[str, Spread], float]:
    """How signals scatter about the model, and the scatter of energy between parts."""
    model, joints = shown(form, theta, parts), parts.joints
    spreads = {}
    for name in _SIGNALS:
        residuals = getattr(joints, name) - model[name]
        part = _within(residuals, parts.trial)
        counts = np.bincount(parts.trial)
        counts = counts[counts > 0]
        means = np.array([np.median(residuals[parts.trial == one]) for one in np.unique(parts.trial)])
        # A median of n scatters about 1.25 times as much as their mean.
        beyond = float(np.mean(means**2) - 1.57 * part**2 * np.mean(1 / counts))
        spreads[name] = Spread(part=part, model=max(0.0, beyond) ** 0.5)
    delivered = energy(form, theta, joints.power_w, joints.focus_mm, parts.transmission)
    rise = _slope(lambda e: depth_mm(form, theta, e), delivered) * delivered
    relative = _within((joints.depth_mm - model["depth_mm"]) / rise, parts.trial)
    return spreads, float(np.hypot(relative, blur / np.median(rise)))


def _within(values: Floats, trial: NDArray[np.int64]) -> float:
    """Standard deviation within trials, without what lies far out."""
    middles = np.array(
        [np.median(values[trial == one]) if (trial == one).any() else 0 for one in range(trial.max() + 1)]
    )
    away = values - middles[trial]
    scale = 1.4826 * float(np.median(np.abs(away)))
    near = away[np.abs(away) <= _OUTLIER * scale]
    groups = len(np.unique(trial))
    return max(float(np.sqrt(np.square(near).sum() / max(1, len(near) - groups))), 1e-9)


def _bends(joints: Joints) -> tuple[float, ...]:
    """Knots where the resistance turns: at equal steps along its curve over the depth."""
    order = np.argsort(joints.depth_mm)
    groups = np.array_split(order, 30)
    depth = np.array([joints.depth_mm[one].mean() for one in groups])
    logs = np.array([np.median(np.log(joints.resistance_uohm[one])) for one in groups])
    steps = np.hypot(2 * np.diff(depth) / np.ptp(depth), np.diff(logs) / np.ptp(logs))
    along = np.concatenate([[0], np.cumsum(steps)])
    wanted = np.linspace(0, along[-1], _DEPTH_KNOTS + 2)[1:-1]
    return tuple(np.interp(wanted, along, depth).tolist())


def _validity(form: Form, theta: Floats, parts: TrialParts, energy_sigma: float) -> Validity:
    """What the trials covered; parts scatter in energy, so a little more than the glasses' own figures."""
    joints = parts.joints
    delivered = energy(form, theta, joints.power_w, joints.focus_mm, parts.transmission)
    about = 3 * energy_sigma
    return Validity(
        power_w=_between(joints.power_w),
        focus_mm=_between(joints.focus_mm),
        distance_mm=_between(joints.focus_mm),
        transmission=Between(
            float(parts.transmission.min() * (1 - about)), float(parts.transmission.max() * (1 + about))
        ),
        energy=_between(delivered),
    )


def _between(values: Floats) -> Between:
    return Between(float(values.min()), float(values.max()))
