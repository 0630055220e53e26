"""What the next parts would measure at given setpoints. Pure."""

from __future__ import annotations

import numpy as np

from twinloop.contracts.changes import Forecast, Parameter, SetParameter
from twinloop.twin.assets import WeldModel
from twinloop.twin.estimate import State
from twinloop.twin.process import Setpoints, depth_mm, resistance_uohm

_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


def forecast(model: WeldModel, state: State, at: Setpoints) -> Forecast:
    """Expected resistance of a part in micro-ohm, and the 95 % interval of single parts.

    Over the states that are possible and the scatter of depth between parts (Gauss-Hermite quadrature).
    """
    mean = depth_mm(model, state.transmission, state.error_mm, at)
    depth = np.maximum(mean[:, None] + model.depth_sigma_mm * _NODES, 0)
    values = resistance_uohm(model, depth).ravel()
    weights = (state.weight[:, None] * _NODE_WEIGHTS).ravel()
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    low, high = values[order][np.searchsorted(below, [0.025, 0.975]).clip(max=len(values) - 1)]
    return Forecast(expected_uohm=float(weights @ values), low_uohm=float(low), high_uohm=float(high))


def changed(at: Setpoints, action: SetParameter) -> Setpoints:
    """The setpoints once `action` is in force."""
    if action.parameter is Parameter.LASER_POWER_W:
        return Setpoints(action.value, at.focus_mm)
    return Setpoints(at.power_w, action.value)
