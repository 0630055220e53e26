"""What the next parts would measure at given setpoints, and where the model says nothing. Pure."""

from __future__ import annotations

from statistics import NormalDist
from typing import Final

import numpy as np

from twinloop.contracts.changes import Forecast, Parameter, SetParameter
from twinloop.contracts.processes import Between
from twinloop.twin.estimate import State
from twinloop.twin.process import Array, ProcessModel, Setpoints

_SAMPLES: Final = 2048
_INSIDE: Final = 0.9
"""How much of the state must lie within what the model covers."""


def _spread_evenly(samples: int, dimensions: int) -> Array:
    """[samples, dimensions] in (0, 1), evenly spread (the additive recurrence of Roberts): the same points
    for every forecast, so that two forecasts differ by what differs between them and not by luck."""
    root = 2.0
    for _ in range(32):
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    points: Array = (0.5 + np.arange(samples)[:, None] * steps) % 1
    return points


_POINTS = _spread_evenly(_SAMPLES, 4)
_SCATTER, _MEASURED = (np.array([NormalDist().inv_cdf(one) for one in _POINTS[:, n]]) for n in (2, 3))


def invalid(model: ProcessModel, state: State, at: Setpoints) -> str | None:
    """Why the model says nothing at these setpoints in this state, if it does not: it was not identified
    there."""
    valid = model.card.validity
    for value, allowed, told in (
        (at.power_w, valid.power_w, f"{at.power_w:g} W"),
        (at.focus_mm, valid.focus_mm, f"a focus of {at.focus_mm:g} mm"),
    ):
        if not allowed.holds(value):
            return f"{told} is {_beyond(allowed)}"
    [energy] = model.at(("energy",), at, state.transmission, state.error_mm)
    for values, allowed, told in (
        (state.transmission, valid.transmission, "a transmission of the window of {:.2f}"),
        (state.error_mm + at.focus_mm, valid.distance_mm, "a focus {:.2f} mm from the surface"),
        (energy, valid.energy, "an energy of {:.2f}"),
    ):
        inside = float(state.weight @ ((values >= allowed.low) & (values <= allowed.high)))
        if inside < _INSIDE:
            return f"{told.format(float(state.weight @ values))} is {_beyond(allowed)}"
    return None


def forecast(model: ProcessModel, state: State, at: Setpoints, limit_uohm: float) -> Forecast:
    """Expected resistance of a part in micro-ohm, the 95 % interval of single parts, and how likely one is
    above `limit_uohm`.

    Over the states that are possible, what is not known of the parameters, the scatter of energy between
    parts and that of the measurement.
    """
    chosen = np.searchsorted(np.cumsum(state.weight), _POINTS[:, 0]).clip(max=len(state.weight) - 1)
    power = at.power_w * np.exp(model.card.energy_sigma * _SCATTER)
    focus = np.array(at.focus_mm)
    [draws] = model.evaluate(
        ("resistance_draws_uohm",), power, focus, state.transmission[chosen], state.error_mm[chosen]
    )
    drawn = (_POINTS[:, 1] * draws.shape[1]).astype(np.intp)
    values = draws[np.arange(_SAMPLES), drawn] + model.card.resistance_sigma_uohm * _MEASURED
    low, high = np.quantile(values, (0.025, 0.975))
    return Forecast(
        expected_uohm=float(values.mean()),
        low_uohm=float(low),
        high_uohm=float(high),
        scrap=float((values > limit_uohm).mean()),
    )


def changed(at: Setpoints, action: SetParameter) -> Setpoints:
    """The setpoints once `action` is in force. The quality gate is none of the process: it measures, and
    makes no joint better."""
    match action.parameter:
        case Parameter.LASER_POWER_W:
            return Setpoints(action.value, at.focus_mm)
        case Parameter.FOCUS_MM:
            return Setpoints(at.power_w, action.value)
        case Parameter.END_OF_LINE_LIMIT_UOHM:
            return at


def _beyond(allowed: Between) -> str:
    return f"outside the {allowed.low:.4g} to {allowed.high:.4g} that the model was identified in"
